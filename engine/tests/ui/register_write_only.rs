//! A write-only register cannot be read.
use barline::mmio::{Bar, Reg, WO};

const IMC: Reg<WO> = Reg::new("IMC", 0x150c);

fn read(bar: &Bar) -> u32 {
    bar.read(IMC)
}

fn main() {}
