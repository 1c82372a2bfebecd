//! TCP between two networks of the host through our driver in a guest, on NICs behind the IOMMU whose back ends are taps: the
//! host's kernel leaves checksums and segments to them where our driver takes such packets.

use super::capture::{Capture, Shape};
use super::files::Files;
use super::l2fwd::{account, build};
use super::lengths::lengths;
use super::qemu::{Cable, Check, Nic, Vm};
use super::scenario::Bed;
use super::taps::fresh;
use super::vhost_iperf::{BYTES, Beyond, verdict};
use crate::cmd;
use crate::host::need_packages;
use crate::netns::world::Namespace;
use anyhow::{Context, Result};
use std::process::Command;

/// Frames that l2fwd must have forwarded at least: as few as there are when none is cut.
const FRAMES: u64 = 2 * BYTES / 65_536;
/// Bytes of the files.
const FILE: u64 = 8 << 20;
/// Their addresses.
const NEAR: &str = "10.7.0.1";
const FAR: &str = "10.7.0.2";

/// The two networks with their taps, which QEMU has made; they go with it.
struct Ends {
    near: Namespace,
    far: Beyond,
    taps: [String; 2],
}

impl Ends {
    fn new() -> Result<Self> {
        Ok(Self {
            far: Beyond::new()?,
            near: Namespace::new("near")?,
            taps: fresh(["t", "u"]),
        })
    }

    /// Puts the taps into the networks.
    fn join(&self) -> Result<()> {
        let [near, far] = &self.taps;
        for (tap, space) in [(near, &self.near), (far, &self.far.space)] {
            cmd::output(Command::new("ip").args(["link", "set", tap, "netns", &space.0]))?;
        }
        self.near.ip(&["addr", "add", "10.7.0.1/24", "dev", near])?;
        self.near.ip(&["link", "set", near, "up"])?;
        self.far.address(far)
    }

    /// A stream and a file each way; what comes out of the guest is to look like that.
    fn talk(&self, bed: &Bed<'_>, shape: Shape) -> Result<Vec<Check>> {
        let mut checks = Vec::new();
        let ways = [
            ("there", &self.far.space, 1, NEAR, vec![]),
            ("back", &self.near, 0, FAR, vec!["-R"]),
        ];
        for (way, to, tap, from, options) in ways {
            let capture = Capture::start(to, &self.taps[tap], from)?;
            checks.push(verdict(&format!("tcp-{way}"), &iperf(&self.near, &options)?));
            checks.push(capture.check(format!("packets-{way}"), shape)?);
        }
        let files = [
            ("file-back", &self.far.space, [10, 7, 0, 2], &self.near),
            ("file-there", &self.near, [10, 7, 0, 1], &self.far.space),
        ];
        for (name, server, address, client) in files {
            checks.push(Files::serve(bed, server, FILE)?.fetch(name, client, address)?);
        }
        for (tap, space) in self.taps.iter().zip([&self.near, &self.far.space]) {
            checks.push(sums(space, tap)?);
        }
        Ok(checks)
    }
}

/// iperf3 and files both ways, on QEMU's device with these options.
pub fn run(bed: &Bed<'_>, model: &str, shape: Shape) -> Result<Vec<Check>> {
    need_packages(&["tcpdump"])?;
    let ends = Ends::new()?;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/l2fwd.sh"));
    vm.nics = ends.taps.each_ref().map(|tap| nic(model, tap)).to_vec();
    vm.modules.extend(["virtio_pci", "virtio_net"].map(str::to_owned));
    if shape == Shape::Long {
        // Every buffer has 64 KiB.
        (vm.memory, vm.huge_pages) = (1536, 128);
    }
    vm.payload = vec![build(bed.paths)?];
    let arguments = format!("--no-mac-update {}", shape.arguments());
    vm.settings = vec![
        ("SIGNALS".to_owned(), "INT".to_owned()),
        ("ARGUMENTS".to_owned(), arguments),
    ];
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let mut checks = Vec::new();
    if guest.wait_for("READY")? == "started" {
        ends.join()?;
        checks.extend(ends.talk(bed, shape)?);
    }
    guest.tell("stop")?;
    let summary = guest.wait_for("SUMMARY")?;
    checks.extend(account(&summary, FRAMES));
    checks.extend(lengths(&summary, shape));
    guest.wait_for("DONE")?;
    checks.extend(guest.finish()?);
    Ok(checks)
}

fn nic(model: &str, tap: &str) -> Nic {
    Nic {
        model: model.to_owned(),
        cable: Cable::Tap {
            name: tap.to_owned(),
            queues: 1,
        },
    }
}

/// What iperf3 says of a run, once the other end can be reached.
fn iperf(near: &Namespace, options: &[&str]) -> Result<String> {
    cmd::output(
        near.command("ping")
            .args(["-q", "-c", "1", "-w", "60", "10.7.0.2"]),
    )
    .context("there is no way through the guest")?;
    let bytes = BYTES.to_string();
    let mut command = near.command("iperf3");
    command
        .args(["-c", "10.7.0.2", "-n", &bytes, "-i", "0", "-J"])
        .args(options);
    // Its errors are in what it prints.
    let said = command.output().context("cannot start iperf3")?;
    Ok(String::from_utf8_lossy(&said.stdout).replace(['\n', '\t'], ""))
}

/// Checksums that a kernel found wrong.
fn sums(space: &Namespace, tap: &str) -> Result<Check> {
    let snmp = cmd::text(space.command("cat").arg("/proc/net/snmp"))?;
    let wrong = snmp
        .lines()
        .filter_map(|line| line.strip_prefix("Tcp:"))
        .next_back();
    let wrong = wrong.and_then(|line| line.split_whitespace().next_back());
    Ok(Check::new(
        format!("checksums-at-{tap}"),
        wrong == Some("0"),
        format!("{} wrong", wrong.unwrap_or("?")),
    ))
}
