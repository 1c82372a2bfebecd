use super::{Alu, FilterError, Instruction, MOST_INSTRUCTIONS, Op, Register, Size, Source, Test, WORDS};

/// A filter that has been checked: it ends after at most as many steps as it has instructions, and reads nothing outside
/// the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub(super) ops: Vec<Op>,
}

impl Filter {
    /// Checks a program.
    ///
    /// # Errors
    /// [`FilterError`] about the first instruction that cannot be.
    pub fn new(program: &[Instruction]) -> Result<Self, FilterError> {
        if !(1..=MOST_INSTRUCTIONS).contains(&program.len()) {
            return Err(FilterError::Length);
        }
        let ops = program
            .iter()
            .enumerate()
            .map(|(at, instruction)| decode(at, instruction, program.len() - at - 1))
            .collect::<Result<Vec<_>, _>>()?;
        match ops.last() {
            Some(Op::Return(_) | Op::ReturnA) => Ok(Self { ops }),
            _ => Err(FilterError::End),
        }
    }
}

/// One instruction at place `at`, with `behind` more after it.
fn decode(at: usize, instruction: &Instruction, behind: usize) -> Result<Op, FilterError> {
    let &Instruction { code, jt, jf, k } = instruction;
    let unknown = FilterError::Code(at);
    // Every bit counts: what is left over must be zero (linux/bpf_common.h, BPF_CLASS and the rest).
    let source = if code & 0x08 == 0 { Source::K(k) } else { Source::X };
    let operation = code & 0xf0;
    let slot = |op: fn(Register, u8) -> Op, register| match u8::try_from(k) {
        Ok(slot) if usize::from(slot) < WORDS => Ok(op(register, slot)),
        _ => Err(FilterError::Operand(at)),
    };
    match code {
        0x00 => Ok(Op::Set(Register::A, k)),
        0x01 => Ok(Op::Set(Register::X, k)),
        0x80 => Ok(Op::Length(Register::A)),
        0x81 => Ok(Op::Length(Register::X)),
        0x60 => slot(Op::Recall, Register::A),
        0x61 => slot(Op::Recall, Register::X),
        0x02 => slot(Op::Store, Register::A),
        0x03 => slot(Op::Store, Register::X),
        0xb1 => offset(at, k).map(Op::HeaderLength),
        0x20 | 0x28 | 0x30 => Ok(Op::Load(size(code), offset(at, k)?)),
        0x40 | 0x48 | 0x50 => Ok(Op::LoadIndexed(size(code), k)),
        0x84 => Ok(Op::Negate),
        0x05 if (k as usize) < behind => Ok(Op::Jump(k)),
        0x05 => Err(FilterError::Jump(at)),
        0x06 => Ok(Op::Return(k)),
        0x16 => Ok(Op::ReturnA),
        0x07 => Ok(Op::AToX),
        0x87 => Ok(Op::XToA),
        _ if code & 0xff07 == 0x04 => alu(at, operation, source).map(|alu| Op::Alu(alu, source)),
        _ if code & 0xff07 == 0x05 => {
            let test = test(operation).ok_or(unknown)?;
            if usize::from(jt.max(jf)) < behind {
                Ok(Op::Branch(test, source, jt, jf))
            } else {
                Err(FilterError::Jump(at))
            }
        }
        _ => Err(unknown),
    }
}

/// Offsets from 0xfff0_0000 on are Linux's extensions, or relative to headers (`SKF_NET_OFF`, `SKF_LL_OFF`, `SKF_AD_OFF`).
fn offset(at: usize, k: u32) -> Result<u32, FilterError> {
    if k < 0xfff0_0000 {
        Ok(k)
    } else {
        Err(FilterError::Operand(at))
    }
}

fn size(code: u16) -> Size {
    match code & 0x18 {
        0x00 => Size::Word,
        0x08 => Size::Half,
        _ => Size::Byte,
    }
}

fn alu(at: usize, operation: u16, source: Source) -> Result<Alu, FilterError> {
    let alu = match operation {
        0x00 => Alu::Add,
        0x10 => Alu::Sub,
        0x20 => Alu::Mul,
        0x30 => Alu::Div,
        0x40 => Alu::Or,
        0x50 => Alu::And,
        0x60 => Alu::Left,
        0x70 => Alu::Right,
        0x90 => Alu::Rem,
        0xa0 => Alu::Xor,
        _ => return Err(FilterError::Code(at)),
    };
    match (alu, source) {
        (Alu::Div | Alu::Rem, Source::K(0)) => Err(FilterError::Operand(at)),
        (Alu::Left | Alu::Right, Source::K(32..)) => Err(FilterError::Operand(at)),
        _ => Ok(alu),
    }
}

fn test(operation: u16) -> Option<Test> {
    match operation {
        0x10 => Some(Test::Equal),
        0x20 => Some(Test::Greater),
        0x30 => Some(Test::GreaterOrEqual),
        0x40 => Some(Test::AnyBit),
        _ => None,
    }
}
