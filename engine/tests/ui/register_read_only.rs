//! A read-only register cannot be written, nor one that clears when read.
use barline::mmio::{Bar, RC, RO, Reg};

const STATUS: Reg<RO> = Reg::new("STATUS", 8);
const GPRC: Reg<RC> = Reg::new("GPRC", 0x4074);

fn write(bar: &Bar) {
    bar.write(STATUS, 1);
    bar.modify(GPRC, |value| value + 1);
    let _ = bar.doorbell(STATUS);
}

fn main() {}
