//! What could be a port, the name that opens it, and what is missing for that.

use crate::machine::{BPF, Machine, NET_ADMIN, NET_RAW, Netdev, SYS_ADMIN};
use barline::bus::scan::Found;
use barline_drivers::{KINDS, driver_for};
use serde::Serialize;
use std::io;

/// One line of the list: one thing, and one name that opens it. What can be opened in two ways has two lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `pci`, `interface`, `node` or `software`.
    pub kind: &'static str,
    /// Its name on this machine.
    pub name: String,
    /// What it is.
    pub what: String,
    /// What opens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The one thing that is missing, and how to mend that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Of an interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Of an interface: `up`, `no carrier` or `down`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// Of an interface, in Mbit/s, where its driver says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<u32>,
    /// Of an interface's AF_XDP queues: whether its driver has zero copy, where the kernel says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero_copy: Option<bool>,
    /// The kernel's driver that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

impl Row {
    fn new(kind: &'static str, name: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            what: what.into(),
            port: None,
            missing: None,
            mac: None,
            state: None,
            speed: None,
            zero_copy: None,
            driver: None,
        }
    }

    fn opened(self, port: impl Into<String>, missing: Option<String>) -> Self {
        let port = Some(port.into());
        Self {
            port,
            missing,
            ..self
        }
    }
}

/// Everything, in a fixed order.
///
/// # Errors
/// The kernel does not list its interfaces.
pub fn list(machine: &Machine) -> io::Result<Vec<Row>> {
    let mut rows: Vec<Row> = machine
        .functions()
        .iter()
        .filter_map(|found| function(machine, found))
        .collect();
    let netdevs = match &machine.netdevs {
        Ok(netdevs) => netdevs,
        Err(error) => return Err(io::Error::new(error.kind(), error.to_string())),
    };
    rows.extend(netdevs.iter().flat_map(|netdev| interface(machine, netdev)));
    rows.push(tun(machine));
    rows.push(vhost_net(machine));
    let free = KINDS
        .iter()
        .filter(|kind| ["sim", "vhost-user", "pcap", "null", "ring"].contains(&kind.name));
    rows.extend(free.map(|kind| Row::new("software", kind.name, kind.about).opened(kind.example, None)));
    Ok(rows)
}

/// A PCI function that a driver of ours is for.
fn function(machine: &Machine, found: &Found) -> Option<Row> {
    let ours = driver_for(found.id)?;
    let address = found.address;
    let bus = match found.driver.as_deref() {
        Some("barline") => "kmod",
        _ => "pci",
    };
    let mut row = Row::new(
        "pci",
        address.to_string(),
        format!("{} ({})", ours.about, found.id),
    );
    row.driver.clone_from(&found.driver);
    Some(row.opened(format!("{bus}:{address}"), lacks(machine, found)))
}

fn lacks(machine: &Machine, found: &Found) -> Option<String> {
    let address = found.address;
    let Some(group) = found.iommu_group else {
        return Some(
            "no IOMMU: add intel_iommu=on to the kernel's command line (AMD's is on; see the firmware's setup)"
                .to_owned(),
        );
    };
    let bind = format!(
        "sudo modprobe vfio-pci; echo vfio-pci | sudo tee /sys/bus/pci/devices/{address}/driver_override; \
         echo {address} | sudo tee /sys/bus/pci/devices/{address}/driver/unbind; echo {address} | sudo tee /sys/bus/pci/drivers_probe"
    );
    match found.driver.as_deref() {
        Some("vfio-pci") => match machine.node(&format!("vfio/{group}")) {
            Some((_, true)) => None,
            Some((path, false)) => Some(format!("no right to {0}: sudo chown $USER {0}", path.display())),
            None => Some(format!(
                "there is no {}/vfio/{group}: sudo modprobe vfio-pci",
                machine.roots.dev.display()
            )),
        },
        Some("barline") => None,
        Some(driver) => Some(format!("the kernel's {driver} has it: {bind}")),
        None => Some(format!(
            "no driver has it: sudo modprobe vfio-pci; echo vfio-pci | sudo tee /sys/bus/pci/devices/{address}/driver_override; \
             echo {address} | sudo tee /sys/bus/pci/drivers_probe"
        )),
    }
}

fn interface(machine: &Machine, netdev: &Netdev) -> Vec<Row> {
    let facts = &netdev.facts;
    let what = match &netdev.driver {
        Some((_, bus)) if bus.contains(':') => format!("interface of the device at {bus}"),
        _ => "interface of the kernel".to_owned(),
    };
    let mut row = Row::new("interface", &facts.name, what);
    row.mac = Some(facts.mac.to_string());
    row.state = Some(match (facts.up, facts.running) {
        (true, true) => "up",
        (true, false) => "no carrier",
        (false, _) => "down",
    });
    row.speed = netdev.speed;
    row.driver = netdev.driver.as_ref().map(|(driver, _)| driver.clone());
    if !facts.ethernet {
        row.missing = Some("it carries no Ethernet frames".to_owned());
        return vec![row];
    }
    let shared = row
        .clone()
        .opened(format!("af_packet:{}", facts.name), lacks_packet(machine, netdev));
    let mut taken = row;
    taken.zero_copy = netdev.zero_copy;
    if netdev.zero_copy == Some(true) {
        taken.what.push_str(", zero copy");
    }
    let taken = taken.opened(format!("af_xdp:{}", facts.name), lacks_xdp(machine, netdev));
    vec![shared, taken]
}

fn is_down(netdev: &Netdev) -> Option<String> {
    let facts = &netdev.facts;
    (!facts.up).then(|| format!("it is down: sudo ip link set {} up", facts.name))
}

fn lacks_packet(machine: &Machine, netdev: &Netdev) -> Option<String> {
    match machine.may(NET_RAW) {
        true => is_down(netdev),
        false => Some("no CAP_NET_RAW: run it as root, or sudo setcap cap_net_raw=ep PROGRAM".to_owned()),
    }
}

fn lacks_xdp(machine: &Machine, netdev: &Netdev) -> Option<String> {
    let rights = [
        ("CAP_NET_RAW", machine.may(NET_RAW)),
        ("CAP_NET_ADMIN", machine.may(NET_ADMIN)),
        ("CAP_BPF", machine.may(BPF) || machine.may(SYS_ADMIN)),
    ];
    if !machine.xdp {
        return Some(
            "this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS): use af_packet: instead".to_owned(),
        );
    }
    if let Some((name, _)) = rights.iter().find(|(_, may)| !may) {
        return Some(format!(
            "no {name}: run it as root, or sudo setcap cap_net_raw,cap_net_admin,cap_bpf+ep PROGRAM"
        ));
    }
    let name = &netdev.facts.name;
    let taken = |id| format!("it has an XDP program (number {id}): sudo ip link set dev {name} xdp off");
    netdev.program.map(taken).or_else(|| is_down(netdev))
}

fn tun(machine: &Machine) -> Row {
    let missing = match machine.node("net/tun") {
        None => Some("there is none: sudo modprobe tun (in a container: --device /dev/net/tun)".to_owned()),
        Some((path, false)) => Some(format!("no right to it: sudo chmod 666 {}", path.display())),
        Some(_) if !machine.may(NET_ADMIN) => {
            Some("no CAP_NET_ADMIN: sudo ip tuntap add tap0 mode tap multi_queue user $USER".to_owned())
        }
        Some(_) => None,
    };
    Row::new("node", "/dev/net/tun", "new interfaces of the kernel").opened("tap:tap0", missing)
}

/// vhost-net is another program's way into the kernel, until a kind of ours uses it.
fn vhost_net(machine: &Machine) -> Row {
    let row = Row::new("node", "/dev/vhost-net", "virtio rings into the kernel");
    let missing = match machine.node("vhost-net") {
        None => Some("there is none: sudo modprobe vhost_net".to_owned()),
        Some((path, false)) => Some(format!("no right to it: sudo chmod 666 {}", path.display())),
        Some(_) => None,
    };
    match KINDS.iter().find(|kind| kind.name == "virtio-user") {
        Some(kind) => row.opened(kind.example, missing),
        None => Row {
            missing: missing.or(Some("no port of this build uses it".to_owned())),
            ..row
        },
    }
}

#[cfg(test)]
mod tests;
