//! Offloads in the words of the kernel's TUN/TAP driver (linux/if_tun.h).

use barline::offload::Offloads;

/// TUN_F_CSUM and so on; TUN_F_USO4 and 6 are known from Linux 6.2 on.
const FLAGS: [(Offloads, u32); 5] = [
    (Offloads::RX_CHECKSUM, 0x01),
    (Offloads::RX_TCP4, 0x02),
    (Offloads::RX_TCP6, 0x04),
    (Offloads::RX_ECN, 0x08),
    (Offloads::RX_UDP, 0x60),
];

/// What the kernel may leave to whoever receives these: the argument of TUNSETOFFLOAD.
pub fn tun_offloads(offloads: Offloads) -> u32 {
    let wanted = FLAGS.iter().filter(|(offload, _)| offloads.contains(*offload));
    wanted.fold(0, |all, (_, flag)| all | flag)
}

/// The offloads of a kernel: all of them, or those without UDP's, which it does not know before 6.2. `try_to` sets the argument of
/// TUNSETOFFLOAD, and says whether it was taken.
pub fn probe_tun_offloads(try_to: impl Fn(u32) -> bool) -> Offloads {
    let all = Offloads::all();
    match try_to(tun_offloads(all)) {
        true => all,
        false => all - Offloads::RX_UDP - Offloads::TX_UDP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_received_is_asked_of_the_kernel() {
        assert_eq!(tun_offloads(Offloads::TX), 0);
        assert_eq!(tun_offloads(Offloads::all()), 0x6f);
        assert_eq!(tun_offloads(Offloads::RX_CHECKSUM | Offloads::RX_TCP6), 5);
        assert!(probe_tun_offloads(|_| true).is_all());
        let old = probe_tun_offloads(|flags| flags & 0x60 == 0);
        assert!(old.contains(Offloads::RX_TCP4) && !old.contains(Offloads::TX_UDP));
    }
}
