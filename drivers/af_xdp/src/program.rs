//! The redirect program: eBPF instructions (RFC 9669), made here, without a compiler.

use barline::port::MacAddress;

/// Which frames are the port's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The station.
    pub mac: MacAddress,
    /// All frames.
    pub promiscuous: bool,
    /// All multicast frames, not only broadcasts.
    pub all_multicast: bool,
}

/// A frame that is not the port's goes to the kernel (`XDP_PASS`).
const PASS: i32 = 2;
const REDIRECT_MAP: i32 = 51;
/// Offsets in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
const RX_QUEUE_INDEX: i16 = 16;
/// An Ethernet address.
const ADDRESS: i32 = 6;

/// Operation codes (RFC 9669, 3 to 5).
mod op {
    pub const LOAD_U8: u8 = 0x71;
    pub const LOAD_U16: u8 = 0x69;
    pub const LOAD_U32: u8 = 0x61;
    pub const LOAD_IMM64: u8 = 0x18;
    pub const MOVE: u8 = 0xbf;
    pub const MOVE_IMM: u8 = 0xb7;
    pub const ADD_IMM: u8 = 0x07;
    pub const AND_IMM: u8 = 0x57;
    pub const JUMP_GT: u8 = 0x2d;
    pub const JUMP_NE_IMM: u8 = 0x55;
    /// Of the lower 32 bits.
    pub const JUMP32_EQ_IMM: u8 = 0x16;
    pub const JUMP32_NE_IMM: u8 = 0x56;
    pub const CALL: u8 = 0x85;
    pub const EXIT: u8 = 0x95;
}

/// The source "register" that says that an immediate is a map's descriptor.
const MAP_FD: u8 = 1;

fn instruction(op: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    let registers = u64::from(to) | u64::from(from) << 4;
    u64::from(op) | registers << 8 | u64::from(offset as u16) << 16 | u64::from(value as u32) << 32
}

/// The program for a map of sockets, which has this descriptor.
pub(crate) fn redirect(map: i32, filter: &Filter) -> Vec<u64> {
    let end = [
        // The queue, the map, what to do where the map has no socket.
        instruction(op::LOAD_U32, 2, 1, RX_QUEUE_INDEX, 0),
        instruction(op::LOAD_IMM64, 1, MAP_FD, 0, map),
        0,
        instruction(op::MOVE_IMM, 3, 0, 0, PASS),
        instruction(op::CALL, 0, 0, 0, REDIRECT_MAP),
        instruction(op::EXIT, 0, 0, 0, 0),
    ];
    let mut program = if filter.promiscuous {
        Vec::new()
    } else {
        look(filter)
    };
    program.extend(end);
    program
}

/// Looks at the destination; falls through for the port's frames.
fn look(filter: &Filter) -> Vec<u64> {
    let [a, b, c, d, e, f] = filter.mac.0;
    // As the processor loads them.
    let (front, back) = (i32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
    // What is accepted besides the station: jumps over the exit, which is the last before the program goes on.
    let group = if filter.all_multicast {
        vec![
            instruction(op::LOAD_U8, 4, 2, 0, 0),
            instruction(op::AND_IMM, 4, 0, 0, 1),
            instruction(op::JUMP_NE_IMM, 4, 0, 2, 0),
        ]
    } else {
        vec![
            instruction(op::JUMP32_NE_IMM, 4, 0, 1, -1),
            instruction(op::JUMP32_EQ_IMM, 5, 0, 2, 0xffff),
        ]
    };
    let to_pass = group.len() as i16;
    let mut program = vec![
        instruction(op::LOAD_U32, 2, 1, DATA, 0),
        instruction(op::LOAD_U32, 3, 1, DATA_END, 0),
        instruction(op::MOVE, 4, 2, 0, 0),
        instruction(op::ADD_IMM, 4, 0, 0, ADDRESS),
        // Shorter than an address: pass.
        instruction(op::JUMP_GT, 4, 3, 4 + to_pass, 0),
        instruction(op::LOAD_U32, 4, 2, 0, 0),
        instruction(op::LOAD_U16, 5, 2, 4, 0),
        instruction(op::JUMP32_NE_IMM, 4, 0, 1, front),
        instruction(op::JUMP32_EQ_IMM, 5, 0, 2 + to_pass, back.into()),
    ];
    program.extend(group);
    program.push(instruction(op::MOVE_IMM, 0, 0, 0, PASS));
    program.push(instruction(op::EXIT, 0, 0, 0, 0));
    program
}
