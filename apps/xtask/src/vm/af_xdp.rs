//! l2fwd on the interfaces of a guest's own drivers, through AF_XDP with zero copy.

pub mod rate;

use super::frames::Frame;
use super::l2fwd::{build, rewritten, summary_checks};
use super::qemu::{Check, Nic, Running, Vm};
use super::scenario::Bed;
use super::traffic::Lines;
use crate::program;
use anyhow::{Context, Result};
use serde_json::Value;

/// What ports say of themselves.
const ZERO_COPY: &str = "zero copy, program in the driver";
const COPY: &str = "copy, program in the driver";

/// A guest with zero copy in its driver.
#[derive(Clone, Copy)]
pub struct Variant {
    /// QEMU's device.
    pub model: &'static str,
    /// Queues of each interface.
    pub queues: u32,
    /// What l2fwd has to say where zero copy is demanded for frames of 9,000 bytes, and the mode in which it has them.
    pub long: (&'static str, &'static str),
    /// Whether the IOMMU maps single pages for it; else it passes all through, as `iommu.passthrough=1` has it.
    pub translated: bool,
}

impl Variant {
    /// Two queues, and an IOMMU that maps pages where it likes.
    pub const IGB: Self = Self {
        model: "igb",
        queues: 2,
        // With a program, igb takes no frames that are longer than its buffers.
        long: (
            "takes no XDP program in mode=zerocopy",
            "copy, program behind the driver (SKB mode)",
        ),
        translated: true,
    };
    /// A queue that needs the driver's own reset of a virtqueue, and buffers on huge pages.
    pub const VIRTIO: Self = Self {
        model: "virtio-net-pci",
        queues: 1,
        long: ("has no zero copy for frames in several buffers", COPY),
        translated: false,
    };

    /// l2fwd's arguments for a pool that zero copy can have.
    fn memory(&self) -> &'static str {
        if self.translated {
            "--huge none"
        } else {
            "--huge 2m"
        }
    }

    fn workers(&self) -> String {
        match self.queues {
            1 => String::new(),
            _ => format!("--queues {} --cores 0,1", self.queues),
        }
    }
}

/// A guest, and what was seen of it so far.
struct Session<'a> {
    bed: &'a Bed<'a>,
    lines: Lines,
    guest: Running,
    checks: Vec<Check>,
}

/// Zero copy as it is asked for and as it is found, killed, set down, and without its NIC.
pub fn run(bed: &Bed<'_>, variant: &Variant) -> Result<Vec<Check>> {
    let lines = Lines::new()?;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/af-xdp.sh"));
    vm.nics = lines.nics(variant.model);
    if variant.model.starts_with("virtio") {
        vm.modules.extend(["virtio_pci", "virtio_net"].map(str::to_owned));
    }
    if !variant.translated {
        vm.append.push("iommu.passthrough=1".to_owned());
    }
    vm.payload = vec![build(bed.paths)?, program::BARLINE.build(bed.paths)?];
    vm.limit = std::time::Duration::from_secs(900);
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("UP")?;
    let mut session = Session {
        bed,
        lines,
        guest,
        checks: Vec::new(),
    };
    let (memory, workers) = (variant.memory(), variant.workers());
    session.killed(&format!(
        "{memory} {workers} --ports af_xdp:@1,mode=zerocopy,af_xdp:@2,mode=zerocopy"
    ))?;
    if variant.translated {
        session.on_huge_pages()?;
    }
    if variant.queues > 1 {
        session.queue_by_queue(memory)?;
    }
    session.copied(&format!(
        "{memory} {workers} --ports af_xdp:@1,mode=copy,af_xdp:@2,mode=copy"
    ))?;
    session.long(variant)?;
    session.lost(&format!("{memory} {workers} --ports af_xdp:@1,af_xdp:@2"))?;
    session.end()
}

impl Session<'_> {
    fn check(&mut self, name: &str, good: bool, text: impl Into<String>) {
        self.checks.push(Check::new(name, good, text));
    }

    /// Starts l2fwd; what all its ports say that they have must begin with `mode`.
    fn start(&mut self, name: &str, arguments: &str, mode: &str) -> Result<bool> {
        self.guest.tell(&format!("start {arguments}"))?;
        let said = self.guest.wait_for("READY")?;
        let (word, line) = said.split_once(' ').unwrap_or((&said, ""));
        let started: Value = serde_json::from_str(line).unwrap_or_default();
        let ports = started["ports"].as_array().map_or(&[][..], Vec::as_slice);
        let modes: Vec<&str> = ports
            .iter()
            .map(|port| port["mode"].as_str().unwrap_or("none"))
            .collect();
        let good =
            word == "started" && !modes.is_empty() && modes.iter().all(|found| found.starts_with(mode));
        let text = if word == "started" {
            modes.join("; ")
        } else {
            said.clone()
        };
        self.check(&format!("{name}-mode"), good, text);
        Ok(word == "started")
    }

    /// 10,000 frames each way; all must come back as `expect` makes them.
    fn frames(&mut self, name: &str, expect: fn(&Frame, usize) -> Frame) -> Result<()> {
        let checks = self.lines.run(self.bed, Nic::mac, expect)?.into_iter();
        self.checks.extend(checks.map(|check| Check {
            name: format!("{name}-{}", check.name),
            ..check
        }));
        Ok(())
    }

    /// Ends l2fwd, which must have sent the frames of so many runs.
    fn stop(&mut self, name: &str, signal: &str, runs: u32) -> Result<()> {
        self.guest.tell(&format!("stop {signal}"))?;
        let said = self.guest.wait_for("STOPPED")?;
        let (code, summary) = said.split_once(' ').unwrap_or((&said, ""));
        let wanted = if signal == "KILL" { "137" } else { "0" };
        self.check(&format!("{name}-exit-code"), code == wanted, code);
        if signal != "KILL" && runs > 0 {
            let checks = summary_checks(summary, runs).into_iter();
            self.checks.extend(checks.map(|check| Check {
                name: format!("{name}-{}", check.name),
                ..check
            }));
        }
        Ok(())
    }

    /// Forwards, is killed, and can begin again at once.
    fn killed(&mut self, arguments: &str) -> Result<()> {
        for (name, signal) in [("killed", "KILL"), ("again", "TERM")] {
            if self.start(name, arguments, ZERO_COPY)? {
                self.frames(name, rewritten)?;
                self.stop(name, signal, 1)?;
            }
        }
        Ok(())
    }

    /// Buffers that cross pages, which a translating IOMMU scatters: refused where zero copy is demanded, else copied.
    fn on_huge_pages(&mut self) -> Result<()> {
        let ports = "--ports af_xdp:@1,mode=zerocopy,af_xdp:@2,mode=zerocopy";
        self.guest.tell(&format!("start --huge 2m {ports}"))?;
        let said = self.guest.wait_for("READY")?;
        let good = said.starts_with("failed 2 ")
            && ["no zero copy", "IOMMU", "--huge none"]
                .iter()
                .all(|word| said.contains(word));
        self.check("huge-refused", good, said);
        if self.start(
            "huge-auto",
            "--huge 2m --queues 2 --ports af_xdp:@1,af_xdp:@2",
            "copy (no zero copy: its IOMMU maps pages of 4 KiB",
        )? {
            self.frames("huge-auto", rewritten)?;
            self.stop("huge-auto", "TERM", 1)?;
        }
        Ok(())
    }

    /// Each queue of each interface a port of its own, which share program and UMEM.
    fn queue_by_queue(&mut self, memory: &str) -> Result<()> {
        let arguments = format!(
            "{memory} --no-mac-update --ports af_xdp:@1,queue=1,af_xdp:@2,queue=1,af_xdp:@1,af_xdp:@2"
        );
        if self.start("by-queue", &arguments, ZERO_COPY)? {
            self.frames("by-queue", |frame, _| frame.clone())?;
            self.stop("by-queue", "TERM", 1)?;
        }
        Ok(())
    }

    fn copied(&mut self, arguments: &str) -> Result<()> {
        if self.start("copied", arguments, COPY)? {
            self.frames("copied", rewritten)?;
            self.stop("copied", "TERM", 1)?;
        }
        Ok(())
    }

    /// Frames of 9,000 bytes take several buffers, of which zero copy has one in these drivers.
    fn long(&mut self, variant: &Variant) -> Result<()> {
        self.guest.tell("mtu 9000")?;
        let ports = "--ports af_xdp:@1,mode=zerocopy,af_xdp:@2,mode=zerocopy";
        self.guest.tell(&format!("start --huge 2m --mtu 9000 {ports}"))?;
        let said = self.guest.wait_for("READY")?;
        let good = said.starts_with("failed ") && said.contains(variant.long.0) && said.contains("mode=auto");
        self.check("long-refused", good, said);
        let arguments = format!(
            "--huge 2m --mtu 9000 {} --ports af_xdp:@1,af_xdp:@2",
            variant.workers()
        );
        if self.start("long", &arguments, variant.long.1)? {
            self.frames("long", rewritten)?;
            self.stop("long", "TERM", 1)?;
        }
        self.guest.tell("mtu 1500")
    }

    /// Zero copy is found by itself; the link goes and comes; then one of the NICs is unplugged.
    fn lost(&mut self, arguments: &str) -> Result<()> {
        if !self.start("auto", arguments, ZERO_COPY)? {
            return Ok(());
        }
        self.frames("auto", rewritten)?;
        self.guest.tell("bounce")?;
        self.guest.wait_for("BOUNCED")?;
        self.frames("after-down-and-up", rewritten)?;
        self.guest.tell("lost")?;
        self.guest
            .wait_for("ASK")
            .context("the guest does not ask for the NIC to be taken")?;
        self.guest
            .monitor()?
            .order(&format!("device_del {}", Nic::id(1)))?;
        self.guest.tell("done")?;
        self.guest.wait_for("LOST")?;
        self.stop("lost", "TERM", 0)
    }

    fn end(mut self) -> Result<Vec<Check>> {
        self.guest.tell("over")?;
        self.guest.wait_for("DONE")?;
        self.checks.extend(self.guest.finish()?);
        Ok(self.checks)
    }
}
