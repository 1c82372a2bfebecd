//! The C declarations of `kmod/policy/*.h`. `layouts` in `lib.rs` holds them against the C compiler's.

#![allow(missing_docs, reason = "the headers document them")]

use std::ffi::{c_char, c_int, c_void};

pub const BARS: usize = 6;
pub const DWORDS: usize = 1024;
pub const CAP_GAP: u16 = 0xffff;

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    pub first: u64,
    pub last: u64,
}

#[repr(C)]
pub struct Aperture {
    pub span: Span,
    pub reserved: *const Span,
    pub nr_reserved: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Run {
    pub iova: u64,
    pub phys: u64,
    pub size: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Msix {
    pub count: u32,
    pub table_bar: u32,
    pub table_offset: u64,
    pub table_size: u64,
    pub pba_bar: u32,
    pub pba_offset: u64,
    pub pba_size: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Area {
    pub offset: u64,
    pub size: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IrqRequest {
    pub data: u32,
    pub action: u32,
    pub bytes: u32,
    pub disable: bool,
}

#[repr(C)]
pub struct Reader {
    pub dword: extern "C" fn(*mut c_void, u32, *mut u32) -> c_int,
    pub ctx: *mut c_void,
}

#[repr(C)]
pub struct CapMap {
    pub dwords: u32,
    pub start: [u16; DWORDS],
    pub id: [u16; DWORDS],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CfgHost {
    pub bar_len: [u64; BARS],
    pub rom_len: u64,
    pub size: u32,
    pub snoop_enforced: bool,
}

#[repr(C)]
pub struct Cfg {
    pub map: CapMap,
    pub shadow: [u32; DWORDS],
    pub virt: [u32; DWORDS],
    pub write: [u32; DWORDS],
    pub w1c: [u32; DWORDS],
    pub hidden: [u8; DWORDS],
    pub snoop_enforced: bool,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CfgWrite {
    pub mask: u32,
    pub keep: u32,
    pub actions: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CfgRow {
    pub offset: u16,
    pub size: u16,
    pub cap: u16,
    pub why: u8,
    pub action: u8,
    pub bits: u32,
    pub virt: u32,
    pub write: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    pub state: u32,
    pub todo: u32,
}

#[repr(C)]
pub struct RowDoc {
    pub id: *const c_char,
    pub reg: *const c_char,
    pub bits: *const c_char,
    pub rule: *const c_char,
    pub action: *const c_char,
    pub why: *const c_char,
    pub text: *const c_char,
}

#[repr(C)]
pub struct CapRow {
    pub list: u8,
    pub rule: u8,
    pub why: u8,
    pub id: u16,
    pub bytes: u16,
    pub doc: RowDoc,
}

#[repr(C)]
pub struct RegRow {
    pub list: u8,
    pub rule: u8,
    pub action: u8,
    pub why: u8,
    pub id: u16,
    pub reg: u16,
    pub size: u32,
    pub bits: u32,
    pub doc: RowDoc,
}

unsafe extern "C" {
    pub static blp_layout: [u64; 24];
    pub fn blp_span_of(start: u64, size: u64, out: *mut Span) -> c_int;
    pub fn blp_spans_overlap(a: *const Span, b: *const Span) -> bool;
    pub fn blp_span_covers(outer: *const Span, inner: *const Span) -> bool;
    pub fn blp_range_fits(start: u64, size: u64, limit: u64) -> bool;
    pub fn blp_align_down(value: u64, align: u64) -> u64;
    pub fn blp_align_up(value: u64, align: u64, out: *mut u64) -> c_int;
    pub fn blp_dma_check(
        aperture: *const Aperture,
        vaddr: u64,
        iova: u64,
        size: u64,
        page: u64,
        out: *mut Span,
    ) -> c_int;
    pub fn blp_unmap_check(want: *const Span, map: *const Span) -> c_int;
    pub fn blp_run_add(run: *mut Run, phys: u64, size: u64) -> bool;
    pub fn blp_run_next(run: *mut Run);
    pub fn blp_access_width(offset: u64, count: u64, max: u32) -> u32;
    pub fn blp_msix_geometry(flags: u16, table: u32, pba: u32, bar_len: *const u64, out: *mut Msix) -> c_int;
    pub fn blp_msix_carve(msix: *const Msix, bar: u32, bar_len: u64, page: u64, out: *mut Area) -> u32;
    pub fn blp_msix_touches(msix: *const Msix, bar: u32, offset: u64, size: u64) -> bool;
    pub fn blp_mmap_check(areas: *const Area, nr_areas: u32, offset: u64, size: u64, page: u64) -> c_int;
    pub fn blp_irq_range(start: u32, count: u32, total: u32) -> c_int;
    pub fn blp_irq_check(
        flags: u32,
        start: u32,
        count: u32,
        total: u32,
        maskable: bool,
        out: *mut IrqRequest,
    ) -> c_int;
    pub fn blp_cap_walk(map: *mut CapMap, size: u32, reader: *const Reader) -> c_int;
    pub fn blp_cap_find(map: *const CapMap, ext: bool, id: u16) -> u32;
    pub fn blp_cfg_init(cfg: *mut Cfg, host: *const CfgHost, reader: *const Reader) -> c_int;
    pub fn blp_cfg_chunk(cfg: *const Cfg, offset: u32, count: u64) -> u32;
    pub fn blp_cfg_needs_hw(cfg: *const Cfg, offset: u32, width: u32) -> bool;
    pub fn blp_cfg_read(cfg: *const Cfg, offset: u32, width: u32, hw: u32) -> u32;
    pub fn blp_cfg_write(cfg: *mut Cfg, offset: u32, width: u32, value: u32, out: *mut CfgWrite);
    pub fn blp_cfg_row(cfg: *const Cfg, index: u32, out: *mut CfgRow) -> c_int;
    pub fn blp_cap_row(index: u32) -> *const CapRow;
    pub fn blp_reg_row(index: u32) -> *const RegRow;
    pub fn blp_state_next(state: u32, event: u32, out: *mut Step) -> c_int;
    pub fn blp_state_attached(state: u32) -> bool;
    pub fn blp_state_can_read_config(state: u32) -> bool;
}
