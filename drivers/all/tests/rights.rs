//! Who may not open an interface of the kernel is told what is missing and how to get it, for each kind of port.
//!
//! A file of its own: the test gives up the whole process's rights.

use barline_drivers::{Fault, Feed, Opener, PortSpec};
use nix::unistd::{Uid, geteuid, seteuid};

#[test]
fn what_is_missing_is_named_with_the_remedy() {
    if geteuid().is_root() {
        // Nobody, whose effective capabilities are none.
        seteuid(Uid::from_raw(65534)).unwrap();
    }
    let mut opener = Opener::new(Feed::Generated);
    for (text, right, remedy) in [
        ("af_packet:lo", "CAP_NET_RAW", "sudo setcap cap_net_raw=ep"),
        ("af_xdp:lo", "AF_XDP", "cap_net_raw,cap_net_admin,cap_bpf"),
        ("tap:barline-no", "CAP_NET_ADMIN", "sudo ip tuntap add barline-no"),
    ] {
        let spec: PortSpec = text.parse().unwrap();
        let error = opener.open(&spec).unwrap_err();
        let said = error.to_string();
        if said.contains("this kernel has no") || said.contains("there is no /dev/net/tun") {
            eprintln!("SKIPPED: {said}");
            continue;
        }
        assert_eq!(error.fault(), Fault::Machine, "{said}");
        // /dev/net/tun may be closed to nobody: the remedy is the same.
        assert!(said.contains(right) && said.contains(remedy), "{said}");
    }
}
