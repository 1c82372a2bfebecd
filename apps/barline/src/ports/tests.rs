use super::*;
use barline::bus::scan::Roots;
use barline::port::MacAddress;
use barline_drivers::PortSpec;
use barline_netif::Facts;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const ALL: u64 = u64::MAX;

/// A machine with one 82576 and the given interfaces.
fn machine(driver: Option<&str>, group: bool, capabilities: u64, netdevs: Vec<Netdev>) -> (TempDir, Machine) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let function = at("sys/bus/pci/devices/0000:01:00.0");
    fs::create_dir_all(&function).unwrap();
    for (name, text) in [("vendor", "0x8086"), ("device", "0x10c9"), ("class", "0x020000")] {
        fs::write(function.join(name), text).unwrap();
    }
    if group {
        symlink("../../../kernel/iommu_groups/7", function.join("iommu_group")).unwrap();
    }
    if let Some(driver) = driver {
        symlink(format!("../../drivers/{driver}"), function.join("driver")).unwrap();
    }
    let machine = Machine {
        roots: Roots {
            sys: at("sys"),
            dev: at("dev"),
            proc: at("proc"),
        },
        capabilities,
        netdevs: Ok(netdevs),
        xdp: true,
    };
    (dir, machine)
}

fn netdev(up: bool, ethernet: bool) -> Netdev {
    Netdev {
        facts: Facts {
            name: "eth7".to_owned(),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up,
            running: up,
            ethernet,
            kind: if ethernet { 1 } else { 65534 },
        },
        speed: Some(1000),
        driver: Some(("e1000e".to_owned(), "0000:05:00.0".to_owned())),
        program: None,
        zero_copy: Some(true),
    }
}

fn row(machine: &Machine, name: &str) -> Row {
    let rows = list(machine).unwrap();
    rows.into_iter().find(|row| row.name == name).expect("a row")
}

#[test]
fn a_function_is_opened_by_its_address_and_what_is_missing_is_one_thing() {
    for (driver, group, node, missing) in [
        (
            Some("igb"),
            true,
            false,
            Some("the kernel's igb has it: sudo modprobe vfio-pci"),
        ),
        (
            None,
            true,
            false,
            Some("no driver has it: sudo modprobe vfio-pci"),
        ),
        (Some("vfio-pci"), false, false, Some("intel_iommu=on")),
        (Some("vfio-pci"), true, false, Some("there is no")),
        (Some("vfio-pci"), true, true, None),
        (Some("barline"), true, false, None),
    ] {
        let (_dir, machine) = machine(driver, group, ALL, Vec::new());
        if node {
            fs::create_dir_all(machine.roots.dev.join("vfio")).unwrap();
            fs::write(machine.roots.dev.join("vfio/7"), "").unwrap();
        }
        let row = row(&machine, "0000:01:00.0");
        let kind = if driver == Some("barline") { "kmod" } else { "pci" };
        assert_eq!(row.port.as_deref(), Some(&*format!("{kind}:0000:01:00.0")));
        match missing {
            Some(text) => assert!(
                row.missing.as_ref().is_some_and(|why| why.contains(text)),
                "{row:?}"
            ),
            None => assert_eq!(row.missing, None),
        }
    }
}

#[test]
fn interfaces_are_opened_by_packet_sockets() {
    for (up, ethernet, capabilities, missing) in [
        (true, true, ALL, None),
        (false, true, ALL, Some("sudo ip link set eth7 up")),
        (true, true, 0, Some("cap_net_raw")),
        (true, false, ALL, Some("no Ethernet frames")),
    ] {
        let (_dir, machine) = machine(None, false, capabilities, vec![netdev(up, ethernet)]);
        let row = row(&machine, "eth7");
        assert_eq!(row.port.is_some(), ethernet);
        assert_eq!(row.missing.is_some(), missing.is_some(), "{row:?}");
        assert!(
            row.missing
                .unwrap_or_default()
                .contains(missing.unwrap_or_default())
        );
    }
}

#[test]
fn interfaces_are_opened_by_af_xdp_where_that_can_be() {
    let (raw, admin, bpf, sys) = (1u64 << 13, 1u64 << 12, 1u64 << 39, 1u64 << 21);
    for (capabilities, program, xdp, missing) in [
        (ALL, None, true, None),
        (raw | admin | sys, None, true, None),
        (raw | admin, None, true, Some("no CAP_BPF")),
        (raw | bpf, None, true, Some("no CAP_NET_ADMIN")),
        (admin | bpf, None, true, Some("no CAP_NET_RAW")),
        (ALL, Some(9), true, Some("sudo ip link set dev eth7 xdp off")),
        (ALL, None, false, Some("af_packet:")),
    ] {
        let one = Netdev {
            program,
            ..netdev(true, true)
        };
        let (_dir, mut machine) = machine(None, false, capabilities, vec![one]);
        machine.xdp = xdp;
        let rows = list(&machine).unwrap();
        let row = rows
            .into_iter()
            .find(|row| row.port.as_deref() == Some("af_xdp:eth7"));
        let row = row.expect("a row of its own");
        assert_eq!(row.missing.is_some(), missing.is_some(), "{row:?}");
        assert!(
            row.missing
                .unwrap_or_default()
                .contains(missing.unwrap_or_default())
        );
    }
    let (_dir, mut machine) = machine(None, false, ALL, vec![netdev(false, true)]);
    machine.xdp = true;
    let all = list(&machine).unwrap();
    let down =
        |row: &&Row| row.name == "eth7" && row.missing.as_ref().is_some_and(|why| why.contains("eth7 up"));
    assert_eq!(all.iter().filter(down).count(), 2);
}

/// What the list says opens something is what the parser takes.
#[test]
fn every_name_that_is_shown_is_one() {
    let (_dir, machine) = machine(Some("vfio-pci"), true, ALL, vec![netdev(true, true)]);
    let rows = list(&machine).unwrap();
    for port in rows.iter().filter_map(|row| row.port.as_ref()) {
        let spec: PortSpec = port.parse().unwrap();
        assert_eq!(spec.to_string(), *port);
    }
    assert!(rows.len() >= 9);
}
