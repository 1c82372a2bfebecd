//! The kernel module's policy code in user space, behind safe functions; the tests are in `tests/`.
//!
//! Errors are positive errno values, as the module would return their negatives.

pub mod ffi;

pub use ffi::{Area, CfgHost, CfgRow, CfgWrite, IrqRequest, Msix, Run, Span, Step};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::{fmt, ptr};

/// Result of a policy function; the error is an errno.
pub type Result<T> = std::result::Result<T, i32>;

fn checked<T>(code: c_int, value: T) -> Result<T> {
    if code == 0 { Ok(value) } else { Err(-code) }
}

/// `blp_span_of`.
pub fn span_of(start: u64, size: u64) -> Result<Span> {
    let mut out = Span::default();
    // SAFETY: `out` is a Span that the function writes.
    let code = unsafe { ffi::blp_span_of(start, size, &mut out) };
    checked(code, out)
}

/// `blp_spans_overlap`.
pub fn spans_overlap(a: Span, b: Span) -> bool {
    // SAFETY: both are read only.
    unsafe { ffi::blp_spans_overlap(&a, &b) }
}

/// `blp_span_covers`.
pub fn span_covers(outer: Span, inner: Span) -> bool {
    // SAFETY: both are read only.
    unsafe { ffi::blp_span_covers(&outer, &inner) }
}

/// `blp_range_fits`.
pub fn range_fits(start: u64, size: u64, limit: u64) -> bool {
    // SAFETY: values only.
    unsafe { ffi::blp_range_fits(start, size, limit) }
}

/// `blp_align_down`.
pub fn align_down(value: u64, align: u64) -> u64 {
    // SAFETY: values only.
    unsafe { ffi::blp_align_down(value, align) }
}

/// `blp_align_up`.
pub fn align_up(value: u64, align: u64) -> Result<u64> {
    let mut out = 0;
    // SAFETY: `out` is written.
    let code = unsafe { ffi::blp_align_up(value, align, &mut out) };
    checked(code, out)
}

/// `blp_dma_check`.
pub fn dma_check(span: Span, reserved: &[Span], vaddr: u64, iova: u64, size: u64, page: u64) -> Result<Span> {
    let aperture = ffi::Aperture {
        span,
        reserved: reserved.as_ptr(),
        nr_reserved: reserved.len() as u32,
    };
    let mut out = Span::default();
    // SAFETY: the aperture has the length of `reserved`, which outlives the call; `out` is written.
    let code = unsafe { ffi::blp_dma_check(&aperture, vaddr, iova, size, page, &mut out) };
    checked(code, out)
}

/// `blp_unmap_check`.
pub fn unmap_check(want: Span, map: Span) -> Result<()> {
    // SAFETY: both are read only.
    checked(unsafe { ffi::blp_unmap_check(&want, &map) }, ())
}

/// `blp_run_add`.
pub fn run_add(run: &mut Run, phys: u64, size: u64) -> bool {
    // SAFETY: `run` is a Run.
    unsafe { ffi::blp_run_add(run, phys, size) }
}

/// `blp_run_next`.
pub fn run_next(run: &mut Run) {
    // SAFETY: `run` is a Run.
    unsafe { ffi::blp_run_next(run) }
}

/// `blp_access_width`.
pub fn access_width(offset: u64, count: u64, max: u32) -> u32 {
    // SAFETY: values only.
    unsafe { ffi::blp_access_width(offset, count, max) }
}

/// `blp_msix_geometry`.
pub fn msix_geometry(flags: u16, table: u32, pba: u32, bar_len: &[u64; ffi::BARS]) -> Result<Msix> {
    let mut out = Msix::default();
    // SAFETY: the array has the six lengths that are read; `out` is written.
    let code = unsafe { ffi::blp_msix_geometry(flags, table, pba, bar_len.as_ptr(), &mut out) };
    checked(code, out)
}

/// `blp_msix_carve`.
pub fn msix_carve(msix: Option<&Msix>, bar: u32, bar_len: u64, page: u64) -> Vec<Area> {
    let mut out = [Area::default(); 3];
    let msix = msix.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `msix` is null or valid; `out` has room for BLP_AREAS.
    let count = unsafe { ffi::blp_msix_carve(msix, bar, bar_len, page, out.as_mut_ptr()) };
    out[..count as usize].to_vec()
}

/// `blp_msix_touches`.
pub fn msix_touches(msix: &Msix, bar: u32, offset: u64, size: u64) -> bool {
    // SAFETY: `msix` is read only.
    unsafe { ffi::blp_msix_touches(msix, bar, offset, size) }
}

/// `blp_mmap_check`.
pub fn mmap_check(areas: &[Area], offset: u64, size: u64, page: u64) -> Result<()> {
    // SAFETY: pointer and length are those of the slice.
    let code = unsafe { ffi::blp_mmap_check(areas.as_ptr(), areas.len() as u32, offset, size, page) };
    checked(code, ())
}

/// `blp_irq_range`.
pub fn irq_range(start: u32, count: u32, total: u32) -> Result<()> {
    // SAFETY: values only.
    checked(unsafe { ffi::blp_irq_range(start, count, total) }, ())
}

/// `blp_irq_check`.
pub fn irq_check(flags: u32, start: u32, count: u32, total: u32, maskable: bool) -> Result<IrqRequest> {
    let mut out = IrqRequest::default();
    // SAFETY: `out` is written.
    let code = unsafe { ffi::blp_irq_check(flags, start, count, total, maskable, &mut out) };
    checked(code, out)
}

/// Configuration space as an image, and what was read of it.
pub struct Image {
    /// The bytes, in the order of the device.
    pub bytes: Vec<u8>,
    /// Dwords that were read.
    pub reads: u32,
    /// A read that was not an aligned dword of the image.
    pub astray: Option<u32>,
}

impl fmt::Debug for Image {
    /// Nobody reads 4 KiB of noise.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image of {} bytes", self.bytes.len())
    }
}

impl Image {
    /// An image of zeros.
    pub fn new(size: usize) -> Self {
        Self::of(vec![0; size])
    }

    /// An image of these bytes.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            reads: 0,
            astray: None,
        }
    }

    /// Stores `width` bytes of `value`, little-endian.
    pub fn set(&mut self, offset: usize, width: usize, value: u32) {
        self.bytes[offset..offset + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }

    /// The bytes at an offset, little-endian.
    pub fn get(&self, offset: usize, width: usize) -> u32 {
        let mut raw = [0; 4];
        raw[..width].copy_from_slice(&self.bytes[offset..offset + width]);
        u32::from_le_bytes(raw)
    }

    /// Calls `with` a reader of this image.
    fn read<T>(&mut self, with: impl FnOnce(&ffi::Reader) -> T) -> T {
        let reader = ffi::Reader {
            dword: read_image,
            ctx: ptr::from_mut(self).cast(),
        };
        with(&reader)
    }
}

extern "C" fn read_image(ctx: *mut c_void, offset: u32, value: *mut u32) -> c_int {
    // SAFETY: `ctx` is the Image that `Image::read` borrows exclusively for the time of the call; `value` is the
    // policy's own variable. Nothing here panics.
    let (image, value) = unsafe { (&mut *ctx.cast::<Image>(), &mut *value) };
    image.reads += 1;
    let bytes = image
        .bytes
        .get(offset as usize..)
        .and_then(|rest| rest.first_chunk::<4>());
    match bytes {
        Some(bytes) if offset.is_multiple_of(4) => {
            *value = u32::from_le_bytes(*bytes);
            0
        }
        _ => {
            image.astray = Some(offset);
            -5
        }
    }
}

/// `blp_cap_walk`: the map of an image.
pub fn cap_walk(image: &mut Image) -> Result<Box<ffi::CapMap>> {
    let size = image.bytes.len() as u32;
    let mut map = Box::new(ffi::CapMap {
        dwords: 0,
        start: [0; ffi::DWORDS],
        id: [0; ffi::DWORDS],
    });
    // SAFETY: the map is written, the reader is valid for the call.
    let code = image.read(|reader| unsafe { ffi::blp_cap_walk(&mut *map, size, reader) });
    checked(code, map)
}

/// `blp_cap_find`.
pub fn cap_find(map: &ffi::CapMap, ext: bool, id: u16) -> u32 {
    // SAFETY: the map is read only.
    unsafe { ffi::blp_cap_find(map, ext, id) }
}

/// A `struct blp_cfg`.
pub struct Cfg(Box<ffi::Cfg>);

impl Cfg {
    /// `blp_cfg_init`.
    pub fn new(host: &CfgHost, image: &mut Image) -> Result<Self> {
        // SAFETY: it is integers and bools, for all of which zero is a value.
        let mut cfg: Box<ffi::Cfg> = Box::new(unsafe { std::mem::zeroed() });
        // SAFETY: all three are valid for the call.
        let code = image.read(|reader| unsafe { ffi::blp_cfg_init(&mut *cfg, host, reader) });
        checked(code, Self(cfg))
    }

    /// The C structure.
    pub fn raw(&self) -> &ffi::Cfg {
        &self.0
    }

    /// `blp_cfg_chunk`.
    pub fn chunk(&self, offset: u32, count: u64) -> u32 {
        // SAFETY: read only.
        unsafe { ffi::blp_cfg_chunk(&*self.0, offset, count) }
    }

    /// `blp_cfg_needs_hw` for a chunk.
    pub fn needs_hw(&self, offset: u32, width: u32) -> bool {
        self.must_be_chunk(offset, width);
        // SAFETY: the chunk is inside of configuration space.
        unsafe { ffi::blp_cfg_needs_hw(&*self.0, offset, width) }
    }

    /// `blp_cfg_read` of a chunk.
    pub fn read(&self, offset: u32, width: u32, hw: u32) -> u32 {
        self.must_be_chunk(offset, width);
        // SAFETY: the chunk is inside of configuration space.
        unsafe { ffi::blp_cfg_read(&*self.0, offset, width, hw) }
    }

    /// `blp_cfg_write` of a chunk.
    pub fn write(&mut self, offset: u32, width: u32, value: u32) -> CfgWrite {
        self.must_be_chunk(offset, width);
        let mut out = CfgWrite::default();
        // SAFETY: the chunk is inside of configuration space; `out` is written.
        unsafe { ffi::blp_cfg_write(&mut *self.0, offset, width, value, &mut out) };
        out
    }

    /// All of `blp_cfg_row`.
    pub fn rows(&self) -> Vec<CfgRow> {
        let mut rows = Vec::new();
        loop {
            let mut row = CfgRow::default();
            // SAFETY: read only; `row` is written.
            if unsafe { ffi::blp_cfg_row(&*self.0, rows.len() as u32, &mut row) } != 0 {
                return rows;
            }
            rows.push(row);
        }
    }

    fn must_be_chunk(&self, offset: u32, width: u32) {
        assert!(
            width != 0 && offset.is_multiple_of(width) && self.chunk(offset, u64::from(width)) == width,
            "{width} bytes at {offset:#x} are no chunk"
        );
    }
}

/// A row of the table as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doc {
    /// Capability by its name; `HEADER` for the header.
    pub id: &'static str,
    /// Register; none: the whole capability.
    pub reg: Option<&'static str>,
    /// Bits by their names.
    pub bits: Option<&'static str>,
    /// Name of the rule.
    pub rule: &'static str,
    /// Name of the action.
    pub action: &'static str,
    /// Name of the reason.
    pub why: &'static str,
    /// The sentence.
    pub text: &'static str,
}

impl Doc {
    fn of(doc: &'static ffi::RowDoc) -> Self {
        let optional = |text: *const c_char| {
            // SAFETY: a pointer that is not null is a C string literal.
            (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("not UTF-8"))
        };
        let text = |text| optional(text).unwrap_or_default();
        Self {
            id: text(doc.id),
            reg: optional(doc.reg),
            bits: optional(doc.bits),
            rule: text(doc.rule),
            action: text(doc.action),
            why: text(doc.why),
            text: text(doc.text),
        }
    }
}

/// The rows of the table about whole capabilities.
pub fn cap_rows() -> Vec<&'static ffi::CapRow> {
    // SAFETY: what is not null is a row of a constant table.
    (0..)
        .map_while(|index| unsafe { ffi::blp_cap_row(index).as_ref() })
        .collect()
}

/// The rows of the table about registers.
pub fn reg_rows() -> Vec<&'static ffi::RegRow> {
    // SAFETY: what is not null is a row of a constant table.
    (0..)
        .map_while(|index| unsafe { ffi::blp_reg_row(index).as_ref() })
        .collect()
}

/// All rows as text: capabilities, then registers.
pub fn docs() -> Vec<Doc> {
    let caps = cap_rows().into_iter().map(|row| Doc::of(&row.doc));
    let regs = reg_rows().into_iter().map(|row| Doc::of(&row.doc));
    caps.chain(regs).collect()
}

/// `blp_state_next`.
pub fn state_next(state: u32, event: u32) -> Result<Step> {
    let mut out = Step::default();
    // SAFETY: `out` is written.
    let code = unsafe { ffi::blp_state_next(state, event, &mut out) };
    checked(code, out)
}

/// `blp_state_attached`.
pub fn state_attached(state: u32) -> bool {
    // SAFETY: values only.
    unsafe { ffi::blp_state_attached(state) }
}

/// `blp_state_can_read_config`.
pub fn state_can_read_config(state: u32) -> bool {
    // SAFETY: values only.
    unsafe { ffi::blp_state_can_read_config(state) }
}

#[cfg(test)]
mod tests {
    use super::ffi::*;
    use std::mem::{offset_of, size_of};

    /// What the bindings have, in the order of `layout.c`.
    const LAYOUTS: [usize; 24] = [
        size_of::<Span>(),
        size_of::<Aperture>(),
        offset_of!(Aperture, nr_reserved),
        size_of::<Run>(),
        size_of::<Msix>(),
        offset_of!(Msix, pba_size),
        size_of::<Area>(),
        size_of::<IrqRequest>(),
        offset_of!(IrqRequest, disable),
        size_of::<Reader>(),
        size_of::<CapMap>(),
        offset_of!(CapMap, id),
        size_of::<CfgHost>(),
        offset_of!(CfgHost, snoop_enforced),
        size_of::<Cfg>(),
        offset_of!(Cfg, hidden),
        size_of::<CfgWrite>(),
        size_of::<CfgRow>(),
        offset_of!(CfgRow, write),
        size_of::<Step>(),
        size_of::<CapRow>(),
        offset_of!(CapRow, doc),
        size_of::<RegRow>(),
        offset_of!(RegRow, doc),
    ];

    #[test]
    fn bindings_have_the_layout_of_the_headers() {
        // SAFETY: a constant array.
        let theirs = unsafe { blp_layout };
        assert_eq!(LAYOUTS.map(|value| value as u64), theirs);
    }
}
