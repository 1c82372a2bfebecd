//! The one report of lockdep that a machine with hot-plug slots makes by itself.
//!
//! pciehp takes a slot's `reset_lock`, then `pci_rescan_remove_lock`, and under that, when a function has gone,
//! `reset_lock` again (`pciehp_unconfigure_device()` of 6.12). lockdep reports that circle at the first function that is
//! taken out, whoever drives it, and ends its work.

use super::reports::Known;
use std::collections::BTreeSet;

pub const REPORT: Known = Known {
    name: "lockdep-pciehp",
    head: "WARNING: possible circular locking dependency detected",
    is: is_own,
    most: 1,
};

/// The locks of pciehp's own circle.
const OWN: [&str; 2] = ["&ctrl->reset_lock", "pci_rescan_remove_lock"];

fn is_own(report: &str) -> Result<String, String> {
    // "-> #1 (pci_rescan_remove_lock){+.+.}-{4:4}:" is a link of the chain.
    let locks: BTreeSet<&str> = report
        .lines()
        .filter_map(|line| line.split_once("-> #")?.1.split_once('(')?.1.split_once("){"))
        .map(|(name, _)| name)
        .collect();
    if locks != BTreeSet::from(OWN) {
        return Err(format!("a circle of {locks:?}"));
    }
    Ok(format!("{} alone", OWN.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::REPORT as KNOWN;

    const REPORT: &str = "[ 9.0] WARNING: possible circular locking dependency detected\n\
        [ 9.0] irq/24-pciehp/60 is trying to acquire lock:\n\
        [ 9.0] -> #1 (pci_rescan_remove_lock){+.+.}-{4:4}:\n\
        [ 9.0]        pciehp_unconfigure_device+0x100/0x200\n\
        [ 9.0] -> #0 (&ctrl->reset_lock){.+.+}-{4:4}:\n\
        [ 9.0] Call Trace:\n\
        [ 9.0]  pciehp_ist+0x1/0x2\n\
        [ 9.0]  </TASK>\n";

    #[test]
    fn the_known_report_is_taken() {
        assert!(KNOWN.judge(REPORT, true).is_ok());
        assert!(KNOWN.judge("[ 1.0] all is well\n", false).is_ok());
        assert!(KNOWN.judge("[ 1.0] all is well\n", true).is_err());
    }

    #[test]
    fn every_other_report_is_a_fault() {
        let twice = format!("{REPORT}{REPORT}");
        let beside = format!("{REPORT}[ 9.9] Call Trace:\n");
        let lock = REPORT.replace("-> #0", "-> #2 (&bd->lock){+.+.}-{4:4}:\n-> #0");
        let stack = REPORT.replace("pciehp_ist+0x1/0x2", "bl_remove+0x1/0x2 [barline]");
        let kind = REPORT.replace("circular locking", "recursive locking");
        for text in [twice, beside, lock, stack, kind] {
            assert!(KNOWN.judge(&text, false).is_err(), "{text}");
        }
    }
}
