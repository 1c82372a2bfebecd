//! The rate of l2fwd through the kernel module and through vfio-pci, in time: both in one machine, in turn.
//!
//! `vm-instructions` counts what each takes, and the host plays no part in that. Here it does: packets a second of the host's
//! time. So the two take turns, and each run is compared with the one beside it; how far two runs through the same bus are from each other
//! says what that is worth.

use crate::host::Tools;
use crate::kmod::build::{self, Options};
use crate::paths::Paths;
use crate::vm::instructions::inject;
use crate::vm::kernel::Series;
use crate::vm::l2fwd;
use crate::vm::qemu::{Cable, Nic, Running, Vm};
use crate::vm::wire::End;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;

const HUB: u32 = 1;

/// What `cargo xtask vm kmod-rate` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Pairs of runs.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Seconds that are measured in each run; their median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    windows: u32,
}

/// Boots a machine, runs the pairs and prints what they did.
pub fn run(paths: &Paths, args: &Args) -> Result<()> {
    let tools = Tools::find(paths)?;
    let kernel = crate::vm::kernel(paths, Series::V6_12)?;
    let mut vm = Vm::new(kernel, include_str!("../guest/kmod-rate.sh"));
    vm.huge_pages = 128;
    vm.limit = Duration::from_secs(900);
    let cable = Cable::Hub(HUB);
    vm.nics = vec![
        Nic {
            model: "igb".into(),
            cable
        };
        2
    ];
    vm.payload = vec![
        l2fwd::build(paths)?,
        build::module(paths, &vm.kernel, Options::default())?,
    ];
    let order = order(args.pairs);
    vm.settings = vec![
        ("WINDOWS".to_owned(), args.windows.to_string()),
        ("ORDER".to_owned(), order.join(" ")),
    ];
    let dir = paths.run_dir("kmod-rate");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let sockets = tempfile::tempdir().context("cannot make a directory for sockets")?;
    let wire = End::new(sockets.path(), "wire")?;
    vm.arguments = wire.on_hub(HUB).to_vec();
    let mut guest = vm.start(&tools, &dir)?;
    let mut rates = Vec::new();
    for bus in &order {
        rates.push((
            *bus,
            one(&mut guest, &wire, bus, sockets.path()).context("see console.log")?,
        ));
    }
    let failed: Vec<String> = guest
        .finish()?
        .into_iter()
        .filter(|check| !check.ok)
        .map(|check| format!("{}: {}", check.name, check.text))
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    print!("{}", table(&rates));
    Ok(())
}

/// Which bus comes when: neither is always the first of its pair.
fn order(pairs: u32) -> Vec<&'static str> {
    let pair = |n| {
        if n % 2 == 0 {
            ["vfio", "kmod"]
        } else {
            ["kmod", "vfio"]
        }
    };
    (0..pairs).flat_map(pair).collect()
}

/// One run: packets a second in its median window.
fn one(guest: &mut Running, wire: &End, bus: &str, sockets: &Path) -> Result<f64> {
    let ready = guest.wait_for("READY")?;
    ensure!(ready == bus, "{bus} did not start");
    inject(wire)?;
    // Nobody listens: QEMU drops its copies of what circulates at once.
    fs::remove_file(sockets.join("wire.host")).ok();
    guest.tell("go")?;
    let count: usize = guest
        .wait_for("LINES")?
        .parse()
        .context("the guest counts wrongly")?;
    let lines: Result<Vec<String>> = (0..count).map(|_| guest.wait_for("LINE")).collect();
    rate(&lines?)
}

/// From l2fwd's accounts, one before each window and one after the last, and its summary.
fn rate(lines: &[String]) -> Result<f64> {
    let accounts: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line))
        .collect::<Result<_, _>>()?;
    let (summary, accounts) = accounts.split_last().context("no summary")?;
    ensure!(accounts.len() > 1, "no window");
    let dropped = summary["dropped"].as_object().context("no drops")?;
    ensure!(dropped.values().all(|count| count == 0), "packets were dropped");
    let number = |account: &Value, name: &str| account[name].as_f64().with_context(|| format!("no {name}"));
    let mut rates = Vec::new();
    for pair in accounts.windows(2) {
        let more = |name| Ok::<_, anyhow::Error>(number(&pair[1], name)? - number(&pair[0], name)?);
        rates.push(more("sent")? / more("seconds")?);
    }
    Ok(median(rates))
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let (middle, last) = (all.len() / 2, all.len() - 1);
    (all[middle] + all[last - middle]) / 2.0
}

/// Ratios of runs beside each other: of the pairs, kmod to vfio, and of each bus to itself, the next run to the one before.
fn ratios(rates: &[(&str, f64)]) -> [Vec<f64>; 2] {
    let of = |bus: &str| -> Vec<f64> {
        let its = rates.iter().filter(|(name, _)| *name == bus);
        its.map(|(_, rate)| *rate).collect()
    };
    let (kmod, vfio) = (of("kmod"), of("vfio"));
    let between = kmod.iter().zip(&vfio).map(|(ours, other)| ours / other);
    let within = [&kmod, &vfio]
        .into_iter()
        .flat_map(|runs| runs.windows(2).map(|pair| pair[1] / pair[0]));
    [between.collect(), within.collect()]
}

fn table(rates: &[(&str, f64)]) -> String {
    let shown = |all: &[f64]| {
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        let most = all.iter().copied().fold(0.0, f64::max);
        format!(
            "{:.3} [{least:.3}..{most:.3}] of {}",
            median(all.to_vec()),
            all.len()
        )
    };
    let [between, within] = ratios(rates);
    let mut text = String::new();
    for bus in ["vfio", "kmod"] {
        let its = rates.iter().filter(|(name, _)| *name == bus);
        let k: Vec<f64> = its.map(|(_, rate)| rate / 1e3).collect();
        text.push_str(&format!("{bus}: k packets/s {}\n", shown(&k)));
    }
    text.push_str(&format!("kmod to vfio, a pair: {}\n", shown(&between)));
    if !within.is_empty() {
        text.push_str(&format!(
            "a bus to itself, one run to the next: {}\n",
            shown(&within)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buses_take_turns_at_being_first() {
        assert_eq!(order(2), ["vfio", "kmod", "kmod", "vfio"]);
    }

    #[test]
    fn the_median_window_is_the_rate() {
        let lines: Vec<String> = [
            r#"{"seconds":1.0,"sent":0}"#,
            r#"{"seconds":2.0,"sent":100}"#,
            r#"{"seconds":3.0,"sent":400}"#,
            r#"{"seconds":3.5,"sent":500}"#,
            r#"{"seconds":4.0,"sent":500,"dropped":{"tx_full":0}}"#,
        ]
        .map(str::to_owned)
        .to_vec();
        assert_eq!(rate(&lines).expect("a rate"), 200.0);
        assert!(rate(&lines[..4]).is_err());
    }

    #[test]
    fn runs_are_compared_with_those_beside_them() {
        let rates = [("vfio", 100.0), ("kmod", 110.0), ("kmod", 121.0), ("vfio", 110.0)];
        let [between, within] = ratios(&rates);
        assert_eq!(between, [1.1, 1.1]);
        assert_eq!(within, [1.1, 1.1]);
        assert!(table(&rates).contains("a pair: 1.100 [1.100..1.100] of 2"));
    }
}
