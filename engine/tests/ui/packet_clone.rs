//! A buffer has one owner.
use barline::pool::Packet;

fn second_owner(packet: &Packet) -> Packet {
    packet.clone()
}

fn main() {}
