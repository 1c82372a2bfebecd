//! Guest instructions a packet: l2fwd and DPDK's testpmd forward the same frames between the same two NICs.
//!
//! QEMU counts instructions (`-icount`): one is 8 ns of the guest's time, so a program that is always busy spends
//! 125 million a second, and the packets a second that it reports tell how many each packet took. Both NICs are on a
//! hub. Frames from the host go out to both of them, and from then on whatever one sends the other receives: they
//! circulate, at the pace of the program. What the guest spends on anything else counts too.

use super::dpdk::Testpmd;
use super::frames::Recipe;
use super::kernel::Series;
use super::l2fwd;
use super::qemu::{Cable, Nic, Running, Vm};
use super::wire::End;
use crate::host::Tools;
use crate::kmod::build::{self as kmod, Options};
use crate::paths::Paths;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

/// An instruction takes 2^3 ns.
pub const SHIFT: u32 = 3;
/// Instructions in a second of the guest's time.
const A_SECOND: f64 = 1e9 / (1 << SHIFT) as f64;
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

/// What one program did.
#[derive(Debug, Default)]
struct Tally {
    /// Packets sent a second of the guest's time, a number for each window.
    rates: Vec<f64>,
    /// Packets sent in all boots, and writes to tail registers that QEMU saw.
    packets: u64,
    receive_doorbells: u64,
    transmit_doorbells: u64,
    /// Receive calls, and those that found nothing, in the windows; only our program says.
    polls: u64,
    idle_polls: u64,
}

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

/// Reads l2fwd's account after each window, one before them, and its summary.
fn of_l2fwd(lines: &[String], windows: usize, tally: &mut Tally) -> Result<()> {
    ensure!(
        lines.len() == windows + 2,
        "there are not as many lines as windows"
    );
    let accounts: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line))
        .collect::<Result<_, _>>()?;
    let sent = |account: &Value| account["sent"].as_u64().context("no packets sent");
    for pair in accounts[..=windows].windows(2) {
        let seconds = |account: &Value| account["seconds"].as_f64().context("no time");
        let time = seconds(&pair[1])? - seconds(&pair[0])?;
        tally
            .rates
            .push((sent(&pair[1])? - sent(&pair[0])?) as f64 / time);
    }
    let dropped = accounts[windows + 1]["dropped"].as_object().context("no drops")?;
    ensure!(dropped.values().all(|count| count == 0), "packets were dropped");
    tally.packets += sent(&accounts[windows + 1])?;
    let all = |account: &Value, name: &str| {
        let ports = account["ports"].as_array().map_or(&[][..], Vec::as_slice);
        ports
            .iter()
            .filter_map(|port| port["queues"][name].as_u64())
            .sum::<u64>()
    };
    let more = |name| all(&accounts[windows], name) - all(&accounts[0], name);
    tally.polls += more("rx_polls");
    tally.idle_polls += more("rx_idle_polls");
    Ok(())
}

/// Reads what testpmd shows of its ports after each window, two lines each, and the account of all ports at the end.
fn of_testpmd(lines: &[String], windows: usize, tally: &mut Tally) -> Result<()> {
    let rates: Vec<u64> = lines.iter().filter_map(|line| field(line, "Tx-pps:")).collect();
    ensure!(
        rates.len() >= 2 * windows && rates.len().is_multiple_of(2),
        "there are too few windows"
    );
    let measured = &rates[rates.len() - 2 * windows..];
    tally
        .rates
        .extend(measured.chunks(2).map(|ports| ports.iter().sum::<u64>() as f64));
    let all = lines
        .iter()
        .rfind(|line| line.contains("TX-dropped:"))
        .context("no account")?;
    ensure!(field(all, "TX-dropped:") == Some(0), "packets were dropped");
    tally.packets += field(all, "TX-packets:").context("no packets sent")?;
    Ok(())
}

/// The number after a name.
fn field(line: &str, name: &str) -> Option<u64> {
    line.split_once(name)?.1.split_whitespace().next()?.parse().ok()
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

impl Tally {
    /// Instructions a packet: the median window's, the least and the most.
    fn instructions(&self) -> [f64; 3] {
        let mut all: Vec<f64> = self.rates.iter().map(|rate| A_SECOND / rate).collect();
        all.sort_by(f64::total_cmp);
        let (middle, most) = (all.len() / 2, all.len() - 1);
        let median = (all[middle] + all[most - middle]) / 2.0;
        [median, all[0], all[most]]
    }

    /// Writes to receive and to transmit tail registers for each packet sent.
    fn doorbells(&self) -> [f64; 2] {
        [self.receive_doorbells, self.transmit_doorbells].map(|count| count as f64 / self.packets as f64)
    }
}

fn rounded(number: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (number * unit).round() / unit
}

/// The result for programs.
fn object(nic: &str, ours: &Tally, peer: &Tally, name: &str) -> Value {
    let ([our, low, high], [their, peer_low, peer_high]) = (ours.instructions(), peer.instructions());
    let bells = |tally: &Tally| rounded(tally.doorbells().iter().sum(), 4);
    json!({
        "bench": format!("vm-{nic}-io"),
        "unit": "instructions/packet",
        "ours": rounded(our, 1),
        "peer": name,
        "theirs": rounded(their, 1),
        "ratio": rounded(our / their, 3),
        "windows": ours.rates.len(),
        "spread": [rounded(low, 1), rounded(high, 1)],
        "peer_spread": [rounded(peer_low, 1), rounded(peer_high, 1)],
        "doorbells_per_packet": bells(ours),
        "peer_doorbells_per_packet": bells(peer),
        "idle_polls": rounded(ours.idle_polls as f64 / ours.polls.max(1) as f64, 4),
    })
}

/// The result for people; Markdown.
fn table(ours: &Tally, peer: &Tally, name: &str) -> String {
    let mut text =
        "| 64-byte frames, io, burst 32 | instructions a packet | windows [least..most] | k packets/s \
                    | RX doorbells a packet | TX doorbells a packet |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (name, tally) in [("l2fwd", ours), (name, peer)] {
        let ([median, low, high], [receive, transmit]) = (tally.instructions(), tally.doorbells());
        text.push_str(&format!(
            "| {name} | {median:.1} | {} [{low:.1}..{high:.1}] | {:.1} | {receive:.4} | {transmit:.4} |\n",
            tally.rates.len(),
            A_SECOND / median / 1e3,
        ));
    }
    text.push_str(&format!(
        "\nratio {:.3}; {} of {} receive calls of l2fwd found nothing\n",
        ours.instructions()[0] / peer.instructions()[0],
        ours.idle_polls,
        ours.polls
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn accounts_of_l2fwd_become_rates() {
        let said = lines(&[
            r#"{"seconds":2.0,"sent":100,"ports":[{"queues":{"rx_polls":10,"rx_idle_polls":5}}]}"#,
            r#"{"seconds":3.0,"sent":600,"ports":[{"queues":{"rx_polls":30,"rx_idle_polls":6}}]}"#,
            r#"{"seconds":3.5,"sent":700,"dropped":{"tx_full":0}}"#,
        ]);
        let mut tally = Tally::default();
        of_l2fwd(&said, 1, &mut tally).expect("read");
        assert_eq!((tally.rates.as_slice(), tally.packets), (&[500.0][..], 700));
        assert_eq!((tally.polls, tally.idle_polls), (20, 1));
        assert!(of_l2fwd(&said, 2, &mut tally).is_err());
    }

    #[test]
    fn the_last_outputs_of_testpmd_become_rates() {
        let said = lines(&[
            "  Tx-pps:            1          Tx-bps:            0",
            "  Tx-pps:            1          Tx-bps:            0",
            "  Tx-pps:         1000          Tx-bps:       480000",
            "  Tx-pps:         1001          Tx-bps:       480480",
            "  TX-packets: 7              TX-dropped: 0             TX-total: 7",
            "  TX-packets: 14             TX-dropped: 0             TX-total: 14",
        ]);
        let mut tally = Tally::default();
        of_testpmd(&said, 1, &mut tally).expect("read");
        assert_eq!((tally.rates.as_slice(), tally.packets), (&[2001.0][..], 14));
        assert!(of_testpmd(&said, 3, &mut tally).is_err());
        assert!(of_testpmd(&lines(&["  TX-packets: 1  TX-dropped: 2 "]), 0, &mut tally).is_err());
    }

    #[test]
    fn the_median_window_counts() {
        let tally = |rates: &[f64]| Tally {
            rates: rates.to_vec(),
            ..Tally::default()
        };
        assert_eq!(
            tally(&[1.25e6, 0.625e6, 1e6]).instructions(),
            [125.0, 100.0, 200.0]
        );
        assert_eq!(tally(&[1.25e6, 0.625e6]).instructions(), [150.0, 100.0, 200.0]);
    }
}
