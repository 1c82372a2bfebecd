//! Frames through a guest: two wired NICs, a list each way, and what must come back.

use super::frames::{self, Comparison, Frame, Recipe};
use super::qemu::{Check, Nic};
use super::scenario::Bed;
use super::wire::{End, Trip, WINDOW, exchange};
use anyhow::{Context, Result};
use std::fs;
use tempfile::TempDir;

/// Frames sent each way.
pub const COUNT: u32 = 10_000;

/// Two cables from the host to a guest's first two NICs.
pub struct Lines {
    /// Whether frames of a flow may overtake each other: where the host itself spreads them over queues.
    pub any_order: bool,
    ends: [End; 2],
    // Holds the sockets' directory; removed with the last use.
    _dir: TempDir,
}

impl Lines {
    /// Binds the sockets.
    pub fn new() -> Result<Self> {
        let dir = TempDir::with_prefix("barline-").context("cannot make a directory for sockets")?;
        Ok(Self {
            any_order: false,
            ends: [End::new(dir.path(), "a")?, End::new(dir.path(), "b")?],
            _dir: dir,
        })
    }

    /// The NICs at the guest's ends.
    pub fn nics(&self, model: &str) -> Vec<Nic> {
        self.ends
            .iter()
            .map(|end| Nic {
                model: model.to_owned(),
                cable: end.cable(),
            })
            .collect()
    }

    /// Sends a pcap into each NIC, takes what comes out of the other and compares it with what `expect`
    /// makes of each frame; `expect` is told the index of the NIC it should leave by.
    pub fn run(
        &self,
        bed: &Bed<'_>,
        dst: impl Fn(usize) -> [u8; 6],
        expect: impl Fn(&Frame, usize) -> Frame,
    ) -> Result<Vec<Check>> {
        let lists = [make(bed, 0, dst(0))?, make(bed, 1, dst(1))?];
        let trips = exchange(&self.ends[0], &self.ends[1], &lists[0], &lists[1], WINDOW)?;
        let mut checks = Vec::new();
        for (index, (list, trip)) in lists.iter().zip(&trips).enumerate() {
            let mut result = Comparison::new(list, &trip.received, |frame| expect(frame, 1 - index));
            if self.any_order {
                result.reordered = 0;
            }
            if result.is_perfect() {
                fs::remove_file(bed.dir.join(format!("into-{index}.pcap"))).ok();
            } else {
                frames::write_pcap(
                    &bed.dir.join(format!("out-of-{}.pcap", 1 - index)),
                    &trip.received,
                )?;
            }
            checks.push(check(index, list.len(), trip, &result));
        }
        Ok(checks)
    }
}

/// Writes the frames for the NIC at `index` to a pcap and reads them from it: it is what is sent.
fn make(bed: &Bed<'_>, index: usize, dst: [u8; 6]) -> Result<Vec<Frame>> {
    let src = [2, 0xb0, 0, 0, 0, index as u8];
    let path = bed.dir.join(format!("into-{index}.pcap"));
    frames::write_pcap(
        &path,
        &Recipe {
            seed: index as u64 + 1,
            count: COUNT,
            dst,
            src,
        }
        .frames(),
    )?;
    frames::read_pcap(&path)
}

fn check(index: usize, count: usize, trip: &Trip, result: &Comparison) -> Check {
    let seconds = trip.time.as_secs_f64();
    let mut text = format!(
        "{} of {count} frames back in {seconds:.1} s ({:.0}/s), {} strays",
        result.good,
        trip.received.len() as f64 / seconds.max(1e-3),
        trip.strays
    );
    let perfect = result.is_perfect() && trip.sent == count;
    if !perfect {
        text.push_str(&format!(
            "; sent {}, lost {}, changed {}, repeated {}, reordered {}; {}",
            trip.sent, result.lost, result.changed, result.repeated, result.reordered, result.first
        ));
    }
    Check::new(format!("frames-{index}-to-{}", 1 - index), perfect, text)
}
