//! NICs of a guest, and where their cables go.

use std::path::PathBuf;

/// Where a NIC's cable goes.
#[derive(Debug, Clone)]
pub enum Cable {
    /// A hub inside QEMU that joins the NICs with the same number.
    Hub(u32),
    /// Datagram sockets on the host: QEMU's own and the other side's.
    Wire {
        /// Socket that QEMU binds.
        qemu: PathBuf,
        /// Socket that the host binds.
        host: PathBuf,
    },
    /// A tap interface of the host.
    Tap {
        /// Its name.
        name: String,
        /// Queues that it has.
        queues: u32,
    },
}

/// A NIC behind a root port of its own; the first is 0000:01:00.0, the second 0000:02:00.0 and so on.
#[derive(Debug, Clone)]
pub struct Nic {
    /// QEMU's device name, with its own options if any: `virtio-net-pci,packed=on`.
    pub model: String,
    /// Its cable.
    pub cable: Cable,
}

impl Nic {
    /// MAC address of the NIC at an index.
    pub fn mac(index: usize) -> [u8; 6] {
        [0x52, 0x54, 0, 0, 0, index as u8 + 1]
    }

    /// PCI address of the NIC at an index.
    pub fn bdf(index: usize) -> String {
        format!("0000:{:02x}:00.0", index + 1)
    }

    /// Name of the kernel's driver for the model.
    pub(super) fn kernel_driver(&self) -> &str {
        if self.is_virtio() {
            "virtio-pci"
        } else {
            &self.model
        }
    }

    fn is_virtio(&self) -> bool {
        self.model.starts_with("virtio-net")
    }

    pub(super) fn arguments(&self, index: usize) -> Vec<String> {
        let number = index + 1;
        let netdev = match &self.cable {
            Cable::Hub(hub) => format!("hubport,id=net{number},hubid={hub}"),
            Cable::Wire { qemu, host } => format!(
                "dgram,id=net{number},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                qemu.display(),
                host.display()
            ),
            Cable::Tap { name, queues } => {
                format!("tap,id=net{number},ifname={name},queues={queues},script=no,downscript=no")
            }
        };
        vec![
            "-device".to_owned(),
            format!("pcie-root-port,id=rp{number},chassis={number},slot={number},addr={number}.0"),
            "-netdev".to_owned(),
            netdev,
            "-device".to_owned(),
            self.device(index),
        ]
    }

    /// QEMU's name for the root port above the NIC at an index.
    pub fn port(index: usize) -> String {
        format!("rp{}", index + 1)
    }

    /// QEMU's name for the NIC at an index.
    pub fn id(index: usize) -> String {
        format!("nic{}", index + 1)
    }

    /// The device itself, in the words of `-device` and of the monitor's `device_add`.
    pub fn device(&self, index: usize) -> String {
        let (number, id) = (index + 1, Self::id(index));
        let mac = Self::mac(index).map(|byte| format!("{byte:02x}")).join(":");
        // An option ROM would only cost start-up time. virtio needs the modern interface to honour the IOMMU.
        let extra = if self.is_virtio() {
            ",disable-legacy=on,iommu_platform=on"
        } else {
            ""
        };
        let (name, options) = self.model.split_once(',').unwrap_or((&self.model, ""));
        let comma = if options.is_empty() { "" } else { "," };
        format!("{name},id={id},bus=rp{number},netdev=net{number},mac={mac},romfile={extra}{comma}{options}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nics_sit_behind_ports_of_their_own() {
        let nic = Nic {
            model: "igb".into(),
            cable: Cable::Hub(1),
        };
        let line = nic.arguments(1).join(" ");
        assert!(
            line.contains("pcie-root-port,id=rp2,chassis=2,slot=2,addr=2.0"),
            "{line}"
        );
        assert!(
            line.contains("igb,id=nic2,bus=rp2,netdev=net2,mac=52:54:00:00:00:02,romfile="),
            "{line}"
        );
        assert_eq!(Nic::bdf(1), "0000:02:00.0");
    }
}
