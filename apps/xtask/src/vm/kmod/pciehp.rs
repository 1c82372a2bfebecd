//! The one report of lockdep that a machine with hot-plug slots makes by itself.
//!
//! pciehp takes a slot's `reset_lock`, then `pci_rescan_remove_lock`, and under that, when a function has gone,
//! `reset_lock` again (`pciehp_unconfigure_device()` of 6.12). lockdep reports that circle at the first function that is
//! taken out, whoever drives it, and ends its work. No lock of the module, and no function of it, may be in the report.

use crate::vm::console;
use crate::vm::qemu::Check;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Lines of that report which are faults anywhere else.
pub const EXPECTED: [&str; 2] = [HEAD, "Call Trace:"];

const HEAD: &str = "WARNING: possible circular locking dependency detected";
/// The last line of a report: the end of its stack.
const END: &str = "</TASK>";
/// The locks of pciehp's own circle.
const OWN: [&str; 2] = ["&ctrl->reset_lock", "pci_rescan_remove_lock"];

/// Whether the console has no fault but that report; `must` it be there?
pub fn check(log: &Path, must: bool) -> Check {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    match judge(&text, must) {
        Ok(said) => Check::new("lockdep-pciehp", true, said),
        Err(why) => Check::new("lockdep-pciehp", false, why),
    }
}

fn judge(text: &str, must: bool) -> Result<String, String> {
    let (reports, rest) = split(text);
    let other = console::faults(&rest, &[]);
    if !other.is_empty() {
        return Err(format!("beside pciehp's report: {}", other.join("; ")));
    }
    match reports.as_slice() {
        [] if must => Err("the kernel makes no such report any more: expect none".to_owned()),
        [] => Ok("no report".to_owned()),
        [one] => is_own(one).map(|()| format!("one report, of {} alone", OWN.join(" and "))),
        more => Err(format!("{} reports", more.len())),
    }
}

/// The reports of circles, and the console without them.
fn split(text: &str) -> (Vec<String>, String) {
    let (mut reports, mut rest, mut inside) = (Vec::<String>::new(), String::new(), false);
    for line in text.lines() {
        if line.contains(HEAD) {
            reports.push(String::new());
            inside = true;
        }
        let to = match reports.last_mut() {
            Some(report) if inside => report,
            _ => &mut rest,
        };
        to.push_str(line);
        to.push('\n');
        inside &= !line.contains(END);
    }
    (reports, rest)
}

fn is_own(report: &str) -> Result<(), String> {
    // "-> #1 (pci_rescan_remove_lock){+.+.}-{4:4}:" is a link of the chain.
    let locks: BTreeSet<&str> = report
        .lines()
        .filter_map(|line| line.split_once("-> #")?.1.split_once('(')?.1.split_once("){"))
        .map(|(name, _)| name)
        .collect();
    if locks != BTreeSet::from(OWN) {
        return Err(format!("a circle of {locks:?}"));
    }
    let ours = |line: &&str| line.contains("[barline]") || line.contains(" bl_");
    match report.lines().find(ours) {
        Some(line) => Err(format!("the module is in the report: {line}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(judge(REPORT, true).is_ok());
        assert!(judge("[ 1.0] all is well\n", false).is_ok());
        assert!(judge("[ 1.0] all is well\n", true).is_err());
    }

    #[test]
    fn every_other_report_is_a_fault() {
        let twice = format!("{REPORT}{REPORT}");
        let beside = format!("{REPORT}[ 9.9] Call Trace:\n");
        let lock = REPORT.replace("-> #0", "-> #2 (&bd->lock){+.+.}-{4:4}:\n-> #0");
        let stack = REPORT.replace("pciehp_ist+0x1/0x2", "bl_remove+0x1/0x2 [barline]");
        let kind = REPORT.replace("circular locking", "recursive locking");
        for text in [twice, beside, lock, stack, kind] {
            assert!(judge(&text, false).is_err(), "{text}");
        }
    }
}
