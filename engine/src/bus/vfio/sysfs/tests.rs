use super::*;
use crate::bus::bind::{Holder, holder};
use crate::bus::scan::fake::Machine;
use std::fs;
use std::os::unix::fs::symlink;

const NIC: &str = "0000:01:00.0";

fn locate_nic(machine: &Machine) -> Result<Place, VfioError> {
    locate(&machine.roots, NIC.parse().unwrap())
}

#[test]
fn a_device_on_vfio_is_found() {
    for driver in ["vfio-pci", "mlx5_vfio_pci"] {
        let machine = Machine::new();
        machine.add(NIC, Some(driver), Some(12));
        machine.write(NIC, "numa_node", "1\n");
        assert_eq!(
            locate_nic(&machine).unwrap(),
            Place {
                group: 12,
                numa: Some(1),
                is_vf: false,
            }
        );
    }
}

#[test]
fn a_wrong_address_says_how_to_list_devices() {
    let error = locate_nic(&Machine::new()).unwrap_err();
    assert!(matches!(error, VfioError::NoDevice { .. }));
    assert_eq!(
        error.to_string(),
        "there is no PCI device 0000:01:00.0; list the devices: lspci -D"
    );
}

#[test]
fn a_kernel_driver_is_named_with_the_commands_that_unbind_it() {
    let machine = Machine::new();
    machine.add(NIC, Some("igb"), Some(12));
    let text = locate_nic(&machine).unwrap_err().to_string();
    assert!(text.contains("held by the driver igb"), "{text}");
    assert!(
        text.contains("echo vfio-pci | sudo tee /sys/bus/pci/devices/0000:01:00.0/driver_override"),
        "{text}"
    );
    assert!(
        text.contains("echo 0000:01:00.0 | sudo tee /sys/bus/pci/devices/0000:01:00.0/driver/unbind"),
        "{text}"
    );
    assert!(
        text.contains("echo 0000:01:00.0 | sudo tee /sys/bus/pci/drivers_probe"),
        "{text}"
    );
}

#[test]
fn a_device_without_a_driver_needs_no_unbind() {
    let machine = Machine::new();
    machine.add(NIC, None, Some(12));
    let text = locate_nic(&machine).unwrap_err().to_string();
    assert!(
        text.contains("without a driver") && !text.contains("unbind"),
        "{text}"
    );
}

#[test]
fn a_machine_without_iommu_says_how_to_turn_it_on() {
    let machine = Machine::new();
    machine.add(NIC, Some("igb"), None);
    let error = locate_nic(&machine).unwrap_err();
    assert!(matches!(error, VfioError::NoIommu { .. }));
    assert!(error.to_string().contains("intel_iommu=on"));
}

#[test]
fn a_group_names_the_neighbours_that_block_it() {
    let machine = Machine::new();
    machine.add(NIC, Some("vfio-pci"), Some(3));
    machine.add("0000:01:00.1", Some("igb"), Some(3));
    machine.add("0000:01:00.2", None, Some(3));
    machine.add("0000:00:01.0", Some("pcieport"), Some(3));
    machine.add("0000:02:00.0", Some("igb"), Some(4));
    let blockers = blockers(&machine.roots, 3);
    assert_eq!(
        blockers,
        [Blocker {
            device: "0000:01:00.1".into(),
            driver: "igb".into()
        }]
    );
    let text = VfioError::NotViable { group: 3, blockers }.to_string();
    assert!(
        text.contains("group 3") && text.contains("0000:01:00.1 (igb)"),
        "{text}"
    );
    assert!(
        text.contains("sudo tee /sys/bus/pci/devices/0000:01:00.1/driver/unbind"),
        "{text}"
    );
}

#[test]
fn the_process_that_holds_a_group_is_named() {
    let machine = Machine::new();
    let node = machine.roots.dev.join("vfio/3");
    for (pid, file) in [("17", machine.roots.dev.join("null")), ("42", node.clone())] {
        let dir = machine.roots.proc.join(pid);
        fs::create_dir_all(dir.join("fd")).unwrap();
        fs::write(dir.join("comm"), "dpdk-testpmd\n").unwrap();
        symlink(file, dir.join("fd/5")).unwrap();
    }
    let holder = holder(&machine.roots, &node);
    assert_eq!(
        holder,
        Some(Holder {
            pid: 42,
            command: "dpdk-testpmd".into()
        })
    );
    let text = VfioError::GroupBusy { path: node, holder }.to_string();
    assert!(
        text.contains("in use by process 42 (dpdk-testpmd); end it: kill 42"),
        "{text}"
    );
    let holder = Some(Holder {
        pid: std::process::id(),
        command: "me".into(),
    });
    let text = VfioError::GroupBusy {
        path: "/dev/vfio/3".into(),
        holder,
    }
    .to_string();
    assert!(text.contains("by this process"), "{text}");
}
