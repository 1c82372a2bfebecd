//! Packet filters: classic BPF programs, checked once, then run over frames.
//!
//! The machine and its text form are those of Linux (`Documentation/networking/filter.rst`, `include/uapi/linux/filter.h`):
//! `tcpdump -y EN10MB -ddd 'udp port 53'` prints a program for Ethernet frames. Linux's extensions beyond the frame
//! (negative offsets) are not known here.

mod check;
mod run;
mod text;

pub use check::Filter;

/// Most instructions, as in the kernel (`BPF_MAXINSNS`).
pub const MOST_INSTRUCTIONS: usize = 4096;
/// Scratch words (`BPF_MEMWORDS`).
const WORDS: usize = 16;

/// One instruction as it is written (`struct sock_filter`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instruction {
    /// Class, operation, size or mode, source.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Why a program is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not the text form.
    #[error(
        "line {0} of the filter is not a number, or four of them; write it by: tcpdump -y EN10MB -ddd 'EXPRESSION'"
    )]
    Text(usize),
    /// Nothing, or more than [`MOST_INSTRUCTIONS`], or another number than the first line says.
    #[error(
        "a filter has 1 to 4096 instructions, as many as its first line says; write it by: tcpdump -y EN10MB -ddd 'EXPRESSION'"
    )]
    Length,
    /// An instruction that does not exist, or not here.
    #[error("instruction {0} of the filter does not exist")]
    Code(usize),
    /// A jump behind the end.
    #[error("instruction {0} of the filter jumps out of it")]
    Jump(usize),
    /// An operand that cannot be.
    #[error("instruction {0} of the filter has an operand that cannot be")]
    Operand(usize),
    /// The end is not a return.
    #[error("the filter does not end with a return")]
    End,
}

/// What [`Filter`] is made of: instructions that cannot go wrong but by leaving the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// A = frame\[k..\]
    Load(Size, u32),
    /// A = frame\[X + k..\]
    LoadIndexed(Size, u32),
    Set(Register, u32),
    Length(Register),
    Recall(Register, u8),
    /// X = 4 * (frame\[k\] & 15): the length of an IPv4 header.
    HeaderLength(u32),
    Store(Register, u8),
    Alu(Alu, Source),
    Negate,
    Jump(u32),
    Branch(Test, Source, u8, u8),
    Return(u32),
    ReturnA,
    AToX,
    XToA,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    A,
    X,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Word,
    Half,
    Byte,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    K(u32),
    X,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Or,
    And,
    Xor,
    Left,
    Right,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}
