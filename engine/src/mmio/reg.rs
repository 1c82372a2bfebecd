use std::fmt;
use std::marker::PhantomData;

/// Read only.
#[derive(Clone, Copy, Debug)]
pub enum RO {}
/// Read and write.
#[derive(Clone, Copy, Debug)]
pub enum RW {}
/// Write only.
#[derive(Clone, Copy, Debug)]
pub enum WO {}
/// Read clears (statistics): reading has an effect.
#[derive(Clone, Copy, Debug)]
pub enum RC {}

/// How a register may be accessed.
pub trait Access {}
/// May be read.
pub trait Readable: Access {}
/// May be written.
pub trait Writable: Access {}

impl Access for RO {}
impl Access for RW {}
impl Access for WO {}
impl Access for RC {}
impl Readable for RO {}
impl Readable for RW {}
impl Readable for RC {}
impl Writable for RW {}
impl Writable for WO {}

/// A 32-bit register: name, offset in bytes, access. Made by [`crate::registers!`].
pub struct Reg<A: Access> {
    name: &'static str,
    offset: u32,
    access: PhantomData<A>,
}

impl<A: Access> Reg<A> {
    /// A register at `offset`, which must be a multiple of 4 (checked when compiled, in a constant).
    pub const fn new(name: &'static str, offset: u32) -> Self {
        assert!(offset.is_multiple_of(4));
        Self {
            name,
            offset,
            access: PhantomData,
        }
    }

    /// The data sheet's name.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Offset in the BAR in bytes.
    pub const fn offset(self) -> usize {
        self.offset as usize
    }
}

impl<A: Access> Clone for Reg<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Access> Copy for Reg<A> {}

impl<A: Access> fmt::Debug for Reg<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:#x}", self.name, self.offset)
    }
}

/// Registers that repeat at a stride, one a queue or filter.
pub struct RegArray<A: Access> {
    name: &'static str,
    first: u32,
    stride: u32,
    len: u32,
    access: PhantomData<A>,
}

impl<A: Access> RegArray<A> {
    /// `len` registers from `first` on, `stride` bytes apart.
    pub const fn new(name: &'static str, first: u32, stride: u32, len: u32) -> Self {
        assert!(first.is_multiple_of(4) && stride.is_multiple_of(4) && len > 0);
        Self {
            name,
            first,
            stride,
            len,
            access: PhantomData,
        }
    }

    /// Register `index`; the last one for an index beyond the end (a driver's own limits keep it from that).
    pub const fn at(self, index: usize) -> Reg<A> {
        debug_assert!(index < self.len as usize);
        let index = if index < self.len as usize {
            index as u32
        } else {
            self.len - 1
        };
        Reg::new(self.name, self.first + index * self.stride)
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "never empty, checked when made")]
    pub const fn len(self) -> usize {
        self.len as usize
    }
}

impl<A: Access> Clone for RegArray<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Access> Copy for RegArray<A> {}

impl<A: Access> fmt::Debug for RegArray<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}[{}]@{:#x}+{:#x}",
            self.name, self.len, self.first, self.stride
        )
    }
}

/// A table of registers.
///
/// ```
/// use barline::{mmio::RegArray, registers};
/// registers! {
///     /// Device control (data sheet 8.2.1).
///     CTRL: RW = 0x0000;
///     /// Device status (8.2.2).
///     STATUS: RO = 0x0008;
///     /// Receive descriptor tail, one a queue (8.10.8).
///     RDT: [RW; 16] = 0xC018, 0x40;
/// }
/// assert_eq!(RDT.at(2).offset(), 0xC098);
/// ```
///
/// Writing a read-only register does not compile:
///
/// ```compile_fail
/// barline::registers! {
///     /// Device status.
///     STATUS: RO = 0x0008;
/// }
/// fn write(bar: &barline::mmio::Bar) { bar.write(STATUS, 1) }
/// ```
#[macro_export]
macro_rules! registers {
    () => {};
    ($(#[$doc:meta])* $name:ident : [$access:ident; $len:expr] = $first:expr, $stride:expr; $($rest:tt)*) => {
        $(#[$doc])*
        pub const $name: $crate::mmio::RegArray<$crate::mmio::$access> =
            $crate::mmio::RegArray::new(stringify!($name), $first, $stride, $len);
        $crate::registers! { $($rest)* }
    };
    ($(#[$doc:meta])* $name:ident : $access:ident = $offset:expr; $($rest:tt)*) => {
        $(#[$doc])*
        pub const $name: $crate::mmio::Reg<$crate::mmio::$access> =
            $crate::mmio::Reg::new(stringify!($name), $offset);
        $crate::registers! { $($rest)* }
    };
}
