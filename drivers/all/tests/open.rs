//! Opening ports: what is wrong with a machine or an address is told before anything is touched.

use barline::bus::scan::Roots;
use barline::mem::{PageSize, Plan, Source};
use barline::pool::{Batch, Pool};
use barline::port::PortConfig;
use barline_drivers::{ALL, Fault, Feed, OpenError, Opened, Opener, PortSpec};
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const ADDRESS: &str = "0000:01:00.0";

/// A machine with one PCI device, as its sysfs shows it.
fn machine(device: &str, group: bool) -> (TempDir, Roots) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let roots = Roots {
        sys: at("sys"),
        dev: at("dev"),
        proc: at("proc"),
    };
    let function = roots.sys.join("bus/pci/devices").join(ADDRESS);
    fs::create_dir_all(&function).unwrap();
    for (name, text) in [("vendor", "0x8086"), ("device", device), ("class", "0x020000")] {
        fs::write(function.join(name), text).unwrap();
    }
    if group {
        let members = roots.sys.join("kernel/iommu_groups/7/devices");
        fs::create_dir_all(&members).unwrap();
        symlink("../../../kernel/iommu_groups/7", function.join("iommu_group")).unwrap();
    }
    (dir, roots)
}

fn refused(roots: Roots, port: &str) -> (Fault, String) {
    let spec: PortSpec = port.parse().unwrap();
    let error = Opener::with_roots(Feed::Silence, roots).open(&spec).unwrap_err();
    (error.fault(), error.to_string())
}

#[test]
fn each_lack_has_its_own_message_and_remedy() {
    for (device, group, port, fault, wanted) in [
        (
            "0x10c9",
            true,
            "02:00.0",
            Fault::Usage,
            "there is no PCI device 0000:02:00.0",
        ),
        (
            "0x1234",
            true,
            ADDRESS,
            Fault::Usage,
            "is a 8086:1234, which no driver",
        ),
        ("0x10c9", false, ADDRESS, Fault::Machine, "intel_iommu=on"),
        ("0x10c9", true, ADDRESS, Fault::Machine, "sudo modprobe vfio-pci"),
        (
            "0x10c9",
            true,
            "kmod:02:00.0",
            Fault::Usage,
            "there is no PCI device 0000:02:00.0",
        ),
        ("0x10c9", false, "kmod:01:00.0", Fault::Machine, "intel_iommu=on"),
        (
            "0x10c9",
            true,
            "kmod:01:00.0",
            Fault::Machine,
            "sudo modprobe barline",
        ),
    ] {
        let (_dir, roots) = machine(device, group);
        let (found, text) = refused(roots, port);
        assert_eq!(found, fault, "{text}");
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn simulated_ports_share_one_address_space_and_differ_in_their_macs() {
    let mut opener = Opener::new(Feed::Silence);
    let spec: PortSpec = "sim:82576".parse().unwrap();
    let ports: Vec<_> = (0..32).map(|_| opener.open(&spec).unwrap()).collect();
    assert!(matches!(opener.open(&spec), Err(OpenError::TooManySims(32))));
    let mut macs: Vec<_> = ports.iter().map(|opened| opened.port.mac().0).collect();
    macs.dedup();
    assert_eq!(macs.len(), 32);
    assert!(ports.iter().all(|opened| opened.port.mac().is_station()));
    assert!(!opener.is_dry(), "silence is not an end");
}

#[test]
fn ports_on_one_wire_receive_what_the_other_sends() {
    let pool = Pool::builder().packets(4096).build().unwrap();
    let mut opener = Opener::new(Feed::Generated);
    let specs = PortSpec::parse_list("sim:82576,wire=a,sim:82576,wire=a").unwrap();
    let mut ports: Vec<_> = specs.iter().map(|spec| opener.open(spec).unwrap()).collect();
    let config = PortConfig {
        promiscuous: true,
        ..PortConfig::new(&pool)
    };
    let start = |opened: &mut Opened| opened.port.start(&config).unwrap();
    let mut queues: Vec<_> = ports.iter_mut().map(start).collect();
    let (mut cache, mut batch, mut got) = (pool.cache(), Batch::new(), Batch::new());
    for round in 0..200u8 {
        let (from, to) = (usize::from(round % 2), usize::from(1 - round % 2));
        cache.alloc_batch(&mut batch, 8, 60);
        batch
            .as_mut_slice()
            .iter_mut()
            .for_each(|packet| packet.fill(round));
        assert_eq!(queues[from].tx[0].transmit(&mut cache, &mut batch), 8);
        assert_eq!(queues[to].rx[0].receive(&mut cache, &mut got), 8);
        assert!(got.as_slice().iter().all(|packet| **packet == [round; 60]));
        cache.free(&mut got);
        queues[from].tx[0].reclaim(&mut cache);
    }
    for (opened, queues) in ports.iter_mut().zip(queues) {
        opened.port.stop(queues).unwrap();
    }
}

#[test]
fn a_plan_that_no_machine_can_meet_is_refused() {
    let mut opener = Opener::new(Feed::Silence);
    let _port = opener.open(&"sim:82576".parse().unwrap()).unwrap();
    let plan = Plan::new().with(1 << 46, Source::MemFd(PageSize::Huge1G));
    let error = opener.check(&plan).unwrap_err();
    assert_eq!(error.fault(), Fault::Machine);
    assert!(error.to_string().contains("nr_hugepages"), "{error}");
}

#[test]
fn no_device_has_two_drivers() {
    let mut ids: Vec<_> = ALL.iter().flat_map(|driver| driver.ids).collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn a_socket_is_made_once_and_its_file_goes_with_the_port() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let spec: PortSpec = format!("vhost-user:{}", path.display()).parse().unwrap();
    let mut opener = Opener::new(Feed::Silence);
    let opened = opener.open(&spec).unwrap();
    let error = opener.open(&spec).unwrap_err();
    assert_eq!(error.fault(), Fault::Machine);
    assert!(error.to_string().contains("another path"), "{error}");
    opener.close(opened);
    assert!(!path.exists());
    fs::write(&path, "").unwrap();
    assert_eq!(opener.open(&spec).unwrap_err().fault(), Fault::Usage);
}
