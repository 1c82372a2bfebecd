//! A register's offset is a multiple of four.
barline::registers! {
    /// Not a register.
    ODD: RW = 0x0002;
}

fn main() {
    let _ = ODD;
}
