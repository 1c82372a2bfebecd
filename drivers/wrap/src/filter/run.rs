use super::{Alu, Filter, Op, Register, Size, Source, Test, WORDS};

/// The machine's registers.
#[derive(Default)]
struct State {
    a: u32,
    x: u32,
    words: [u32; WORDS],
}

impl Filter {
    /// Bytes of a frame to keep; none when it does not match. A program that reads behind the frame's end, or divides by
    /// zero, keeps none of it.
    pub fn keep(&self, frame: &[u8]) -> usize {
        self.run(frame).map_or(0, |keep| frame.len().min(keep as usize))
    }

    /// Whether a frame is to be kept.
    pub fn matches(&self, frame: &[u8]) -> bool {
        self.run(frame).is_some_and(|keep| keep > 0)
    }

    fn run(&self, frame: &[u8]) -> Option<u32> {
        let mut state = State::default();
        let mut at = 0;
        // Jumps go forward only, so this ends.
        loop {
            let op = *self.ops.get(at)?;
            at += 1;
            match op {
                Op::Jump(by) => at += by as usize,
                Op::Branch(test, source, yes, no) => {
                    at += usize::from(if state.holds(test, source) { yes } else { no });
                }
                Op::Return(keep) => return Some(keep),
                Op::ReturnA => return Some(state.a),
                _ => state.step(op, frame)?,
            }
        }
    }
}

impl State {
    fn value(&self, source: Source) -> u32 {
        match source {
            Source::K(k) => k,
            Source::X => self.x,
        }
    }

    fn register(&mut self, register: Register) -> &mut u32 {
        match register {
            Register::A => &mut self.a,
            Register::X => &mut self.x,
        }
    }

    fn holds(&self, test: Test, source: Source) -> bool {
        let other = self.value(source);
        match test {
            Test::Equal => self.a == other,
            Test::Greater => self.a > other,
            Test::GreaterOrEqual => self.a >= other,
            Test::AnyBit => self.a & other != 0,
        }
    }

    fn step(&mut self, op: Op, frame: &[u8]) -> Option<()> {
        match op {
            Op::Load(size, k) => self.a = load(frame, size, k)?,
            Op::LoadIndexed(size, k) => self.a = load(frame, size, indexed(self.x, k)?)?,
            Op::Set(register, k) => *self.register(register) = k,
            Op::Length(register) => *self.register(register) = frame.len() as u32,
            Op::Recall(register, slot) => *self.register(register) = self.words[usize::from(slot)],
            Op::HeaderLength(k) => self.x = 4 * (load(frame, Size::Byte, k)? & 15),
            Op::Store(register, slot) => self.words[usize::from(slot)] = *self.register(register),
            Op::Alu(alu, source) => self.a = compute(alu, self.a, self.value(source))?,
            Op::Negate => self.a = self.a.wrapping_neg(),
            Op::AToX => self.x = self.a,
            Op::XToA => self.a = self.x,
            Op::Jump(_) | Op::Branch(..) | Op::Return(_) | Op::ReturnA => {}
        }
        Some(())
    }
}

/// The sum of an index and an offset, as the kernel takes it: it wraps, and a negative one is no place in the frame.
fn indexed(x: u32, k: u32) -> Option<u32> {
    let place = x.wrapping_add(k);
    (place <= i32::MAX as u32).then_some(place)
}

fn load(frame: &[u8], size: Size, at: u32) -> Option<u32> {
    let from = frame.get(at as usize..)?;
    match size {
        Size::Word => from.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)),
        Size::Half => from.first_chunk().map(|bytes| u16::from_be_bytes(*bytes).into()),
        Size::Byte => from.first().map(|byte| (*byte).into()),
    }
}

/// Shifts take the low five bits of a register, as the kernel does.
fn compute(alu: Alu, a: u32, b: u32) -> Option<u32> {
    Some(match alu {
        Alu::Add => a.wrapping_add(b),
        Alu::Sub => a.wrapping_sub(b),
        Alu::Mul => a.wrapping_mul(b),
        Alu::Div => a.checked_div(b)?,
        Alu::Rem => a.checked_rem(b)?,
        Alu::Or => a | b,
        Alu::And => a & b,
        Alu::Xor => a ^ b,
        Alu::Left => a.wrapping_shl(b),
        Alu::Right => a.wrapping_shr(b),
    })
}
