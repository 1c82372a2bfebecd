//! Guest instructions a packet: l2fwd and DPDK's testpmd forward the same frames between the same two NICs.
//!
//! QEMU counts instructions (`-icount`): one is 8 ns of the guest's time, so a program that is always busy spends
//! 125 million a second, and the packets a second that it reports tell how many each packet took. Both NICs are on a
//! hub. Frames from the host go out to both of them, and from then on whatever one sends the other receives: they
//! circulate, at the pace of the program. What the guest spends on anything else counts too.

mod account;

use super::dpdk::Testpmd;
use super::frames::Recipe;
use super::kernel::Series;
use super::l2fwd;
use super::qemu::{Cable, Nic, Running, Vm};
use super::wire::End;
use crate::host::Tools;
use crate::kmod::build::{self as kmod, Options};
use crate::paths::Paths;
use account::{Tally, object, of_l2fwd, of_testpmd, table};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

/// An instruction takes 2^3 ns.
pub const SHIFT: u32 = 3;
/// Frames on their way in each direction: what testpmd's `start tx_first 4` sends.
const FRAMES: u32 = 4 * 32;
/// Bytes of a frame without its check sequence.
const LENGTH: usize = 60;
/// The hub.
const HUB: u32 = 1;
/// Options of QEMU's virtio-net that make it send on the processor's own thread, 1 ns of the guest's time after a doorbell, as igb
/// does in the doorbell. Otherwise a thread of the host's sends when it gets to it, and how often the guest polls in
/// vain meanwhile is the host's doing: 94 % of all polls, 10 to 90 instructions a packet of one program and thousands of the other.
const AT_ONCE: &str = ",tx=timer,x-txtimer=1,ioeventfd=off";

/// What `cargo xtask vm-instructions` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object; the table goes to standard error.
    #[arg(long)]
    json: bool,
    /// The NICs: igb, or virtio-net-pci with options of QEMU's, as in virtio-net-pci,packed=on.
    #[arg(long, default_value = "igb")]
    nic: String,
    /// Our program goes through this bus: vfio, or our own kernel module.
    #[arg(long, value_enum, default_value = "vfio")]
    bus: Bus,
    /// Times that each program is booted; they take turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    boots: u32,
    /// Seconds of the guest's time that are measured in each boot, each by itself.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    windows: u32,
}

/// How our program reaches the NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Bus {
    /// vfio-pci.
    Vfio,
    /// barline.ko.
    Kmod,
}

/// What is booted, over and over.
struct Bench<'a> {
    paths: &'a Paths,
    tools: Tools,
    vm: Vm,
    windows: usize,
    doorbells: Doorbells,
}

/// How QEMU tells of doorbells.
#[derive(Debug, Clone, Copy)]
struct Doorbells {
    /// Its trace event.
    event: &'static str,
    /// What is in the event's line before the number of a register or a queue.
    before: &'static str,
    /// Numbers of receive and of transmit.
    receive: &'static [&'static str],
    transmit: &'static [&'static str],
    /// For the result's name.
    name: &'static str,
}

/// Tail registers of the first queues (data sheet 8.10.7 and 8.12.11).
const IGB: Doorbells = Doorbells {
    event: "e1000e_core_write",
    before: "register 0x",
    receive: &["2818", "c018"],
    transmit: &["3818", "e018"],
    name: "igb",
};
const VIRTIO: Doorbells = Doorbells {
    event: "virtio_queue_notify",
    before: " n ",
    receive: &["0"],
    transmit: &["1"],
    name: "virtio",
};

/// Boots both programs in turn and prints what they took.
pub fn run(paths: &Paths, args: &Args) -> Result<()> {
    let tools = Tools::find(paths)?;
    let testpmd = Testpmd::find()?;
    let mut vm = Vm::new(super::kernel(paths, Series::V6_12)?, "");
    (vm.smp, vm.icount, vm.huge_pages) = (1, Some(SHIFT), 128);
    vm.limit = Duration::from_secs(900);
    let cable = Cable::Hub(HUB);
    let virtio = args.nic.starts_with("virtio");
    let model = format!("{}{}", args.nic, if virtio { AT_ONCE } else { "" });
    vm.nics = vec![Nic { model, cable }; 2];
    // The shorter rings are those of QEMU's virtio.
    vm.settings = vec![("RING".to_owned(), if virtio { "256" } else { "512" }.to_owned())];
    let doorbells = if virtio { VIRTIO } else { IGB };
    vm.settings.push(("WINDOWS".to_owned(), args.windows.to_string()));
    vm.payload = vec![l2fwd::build(paths)?];
    let mut peer = vm.clone();
    vm.script = include_str!("guest/icount-l2fwd.sh");
    peer.script = include_str!("guest/icount-testpmd.sh");
    peer.payload.clone_from(&testpmd.files);
    peer.settings
        .push(("PLUGINS".to_owned(), testpmd.plugins.join(" ")));
    if args.bus == Bus::Kmod {
        vm.payload
            .push(kmod::module(paths, &vm.kernel, Options::default())?);
        vm.settings.push(("BUS".to_owned(), "kmod".to_owned()));
    }
    let windows = args.windows as usize;
    let bench = |vm| Bench {
        paths,
        tools: tools.clone(),
        vm,
        windows,
        doorbells,
    };
    let (ours, peer) = (bench(vm), bench(peer));
    let (mut our_tally, mut peer_tally) = (Tally::default(), Tally::default());
    for boot in 1..=args.boots {
        eprintln!("boot {boot} of {}", args.boots);
        ours.boot("icount-l2fwd", &mut our_tally, of_l2fwd)?;
        peer.boot("icount-testpmd", &mut peer_tally, of_testpmd)?;
    }
    let shown = table(&our_tally, &peer_tally, &testpmd.name);
    if args.json {
        eprint!("{shown}");
        println!(
            "{}",
            object(doorbells.name, &our_tally, &peer_tally, &testpmd.name)
        );
    } else {
        print!("{shown}");
    }
    Ok(())
}

impl Bench<'_> {
    /// Boots once, sets frames going, and adds what the program says and what QEMU saw.
    fn boot(
        &self,
        name: &str,
        tally: &mut Tally,
        read: fn(&[String], usize, &mut Tally) -> Result<()>,
    ) -> Result<()> {
        let dir = self.paths.run_dir(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let writes = dir.join("writes.log");
        let sockets = tempfile::tempdir().context("cannot make a directory for sockets")?;
        let wire = End::new(sockets.path(), "wire")?;
        let mut vm = self.vm.clone();
        vm.arguments = wire.on_hub(HUB).to_vec();
        vm.arguments
            .extend(["-trace", &format!("enable={}", self.doorbells.event), "-D"].map(str::to_owned));
        vm.arguments.push(writes.display().to_string());
        let mut guest = vm.start(&self.tools, &dir)?;
        let started = guest.wait_for("READY")? == "started";
        ensure!(
            started,
            "{name} did not start: see {}",
            dir.join("console.log").display()
        );
        if self.doorbells.name == VIRTIO.name {
            fs::write(dir.join("features.txt"), features(&guest)?).context("cannot write features.txt")?;
        }
        inject(&wire)?;
        // Nobody listens any more: QEMU drops its copies of what circulates at once.
        drop(wire);
        fs::remove_file(sockets.path().join("wire.host")).context("the wire has no socket")?;
        guest.tell("go")?;
        let lines = outcome(guest).with_context(|| format!("{name}, see {}", dir.display()))?;
        read(&lines, self.windows, tally).with_context(|| format!("{name} said: {}", lines.join("\n")))?;
        let [receive, transmit] = self.doorbells.count(&writes)?;
        tally.receive_doorbells += receive;
        tally.transmit_doorbells += transmit;
        fs::remove_file(&writes).ok();
        fs::remove_file(dir.join("initrd.cpio")).ok();
        Ok(())
    }
}

/// What the first NIC and the program's driver have agreed upon, in QEMU's words.
pub fn features(guest: &Running) -> Result<String> {
    let path = format!("/machine/peripheral/{}/virtio-backend", Nic::id(0));
    guest.monitor()?.human(&format!("info virtio-status {path}"))
}

/// Sends the frames that will circulate.
pub fn inject(wire: &End) -> Result<()> {
    let recipe = Recipe {
        seed: 1,
        count: FRAMES,
        dst: Nic::mac(0),
        src: [2, 0xb0, 0, 0, 0, 0],
    };
    for frame in recipe.frames_of(LENGTH) {
        ensure!(wire.send(&frame)?, "QEMU does not take frames");
    }
    Ok(())
}

/// The lines of the program that the guest passes on, when all went well.
fn outcome(mut guest: Running) -> Result<Vec<String>> {
    let count = guest.wait_for("LINES")?;
    let count: usize = count.parse().context("the guest counts wrongly")?;
    let lines: Result<Vec<String>> = (0..count).map(|_| guest.wait_for("LINE")).collect();
    let checks = guest.finish()?;
    let failed: Vec<String> = checks
        .into_iter()
        .filter(|check| !check.ok)
        .map(|check| format!("{}: {}", check.name, check.text))
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    lines
}

impl Doorbells {
    /// Writes that QEMU has seen: of receive, of transmit.
    fn count(self, log: &Path) -> Result<[u64; 2]> {
        let file = fs::File::open(log).with_context(|| format!("QEMU did not write {}", log.display()))?;
        let mut counts = [0; 2];
        for line in BufReader::new(file).lines() {
            let line = line.context("cannot read QEMU's log")?;
            let rest = line.split_once(self.before).map_or("", |(_, rest)| rest);
            let number = rest.split([',', ' ']).next().unwrap_or_default();
            counts[0] += u64::from(self.receive.contains(&number));
            counts[1] += u64::from(self.transmit.contains(&number));
        }
        Ok(counts)
    }
}
