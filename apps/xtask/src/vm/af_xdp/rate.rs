//! What a frame costs through AF_XDP with zero copy, and with copies: instructions of the guest, its kernel's among them.
//!
//! QEMU counts instructions (`-icount`), as for [`crate::vm::instructions`]: both NICs are on a hub, and frames circulate at the
//! pace of the guest's one processor. The modes take turns in one guest.

use crate::host::Tools;
use crate::paths::Paths;
use crate::vm::instructions::{SHIFT, inject};
use crate::vm::kernel::Series;
use crate::vm::l2fwd;
use crate::vm::qemu::{Cable, Nic, Vm};
use crate::vm::wire::End;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::Duration;

const HUB: u32 = 1;
/// Instructions in a second of the guest's time.
const A_SECOND: f64 = 1e9 / (1 << SHIFT) as f64;

/// What `cargo xtask vm af-xdp-rate` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The NICs: igb, or virtio-net-pci.
    #[arg(long, default_value = "igb")]
    nic: String,
    /// Turns of each mode.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// Seconds of the guest's time that are measured in a turn, each by itself.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    windows: u32,
}

/// Frames a second of a mode, in each window.
#[derive(Debug)]
struct Rates(&'static str, Vec<f64>);

/// Measures, and prints a table.
pub fn run(paths: &Paths, args: &Args) -> Result<()> {
    let tools = Tools::find(paths)?;
    let mut vm = Vm::new(
        crate::vm::kernel(paths, Series::Newest)?,
        include_str!("../guest/af-xdp-rate.sh"),
    );
    (vm.smp, vm.icount, vm.huge_pages) = (1, Some(SHIFT), 0);
    vm.limit = Duration::from_secs(1200);
    vm.nics = vec![
        Nic {
            model: args.nic.clone(),
            cable: Cable::Hub(HUB)
        };
        2
    ];
    if args.nic.starts_with("virtio") {
        vm.modules.extend(["virtio_pci", "virtio_net"].map(str::to_owned));
    }
    vm.payload = vec![l2fwd::build(paths)?];
    let settings = [("TURNS", args.turns), ("WINDOWS", args.windows)];
    vm.settings = settings
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .to_vec();
    let dir = paths.run_dir("af-xdp-rate");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let sockets = tempfile::tempdir().context("cannot make a directory for sockets")?;
    let wire = End::new(sockets.path(), "wire")?;
    vm.arguments = wire.on_hub(HUB).to_vec();
    let mut guest = vm.start(&tools, &dir)?;
    guest.wait_for("UP")?;
    // Nobody listens to what circulates: QEMU drops its copies at once.
    fs::remove_file(sockets.path().join("wire.host")).context("the wire has no socket")?;
    let mut rates = [Rates("zerocopy", Vec::new()), Rates("copy", Vec::new())];
    loop {
        match guest.wait_for_one(&["ASK", "RATE", "DONE"])? {
            ("ASK", _) => {
                inject(&wire)?;
                guest.tell("done")?;
            }
            ("RATE", said) => note(&mut rates, &said)?,
            _ => break,
        }
    }
    let failed = guest.finish()?.into_iter().find(|check| !check.ok);
    ensure!(failed.is_none(), "{failed:?}, see {}", dir.display());
    print!("{}", table(&mut rates));
    Ok(())
}

/// A line of the guest: a mode, and frames a second.
fn note(rates: &mut [Rates], said: &str) -> Result<()> {
    let (mode, rate) = said.split_once(' ').context("a rate without a mode")?;
    let known = rates.iter_mut().find(|known| known.0 == mode);
    let Rates(_, known) = known.with_context(|| format!("there is no mode {mode}"))?;
    known.push(rate.parse().with_context(|| format!("{rate} is no rate"))?);
    Ok(())
}

fn table(rates: &mut [Rates]) -> String {
    let mut text = format!(
        "{:<10} {:>8} {:>12} {:>20} {:>14}\n",
        "mode", "windows", "frames/s", "least to most", "instructions"
    );
    for Rates(mode, rates) in rates {
        rates.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (rates.first(), rates.last()) else {
            continue;
        };
        let median = rates[rates.len() / 2];
        text.push_str(&format!(
            "{mode:<10} {:>8} {median:>12.0} {:>20} {:>14.0}\n",
            rates.len(),
            format!("{least:.0} to {most:.0}"),
            A_SECOND / median
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_told_apart_and_turned_into_instructions() {
        let mut rates = [Rates("zerocopy", Vec::new()), Rates("copy", Vec::new())];
        for said in ["copy 50000", "zerocopy 125000", "copy 60000", "copy 62500"] {
            note(&mut rates, said).expect("a rate");
        }
        assert!(note(&mut rates, "none 1").is_err() && note(&mut rates, "copy").is_err());
        let text = table(&mut rates);
        assert!(
            text.contains("50000 to 62500") && text.contains("60000 "),
            "{text}"
        );
        assert!(
            text.lines()
                .any(|line| line.starts_with("zerocopy") && line.ends_with(" 1000")),
            "{text}"
        );
    }
}
