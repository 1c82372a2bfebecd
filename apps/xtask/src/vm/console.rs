//! What a guest kernel printed: faults that fail a test, and tails for messages.

use super::qemu::Check;
use std::fs;
use std::path::Path;

/// Pieces of kernel messages that mean something went wrong.
const FAULTS: &[&str] = &[
    "BUG:",
    "Oops",
    "UBSAN:",
    "DMA-API:",
    "Kernel panic",
    "WARNING: CPU",
    "WARNING: possible",
    "general protection fault",
    "Call Trace:",
    "DMAR: DRHD: handling fault",
    "DMAR: [DMA",
    "DMAR: [INTR-REMAP]",
    "blocked for more than",
    "Out of memory",
    "NETDEV WATCHDOG",
];

/// The faults in a console log, but for the expected ones.
pub fn faults<'a>(text: &'a str, expected: &[String]) -> Vec<&'a str> {
    text.lines()
        .filter(|line| FAULTS.iter().any(|fault| line.contains(fault)))
        .filter(|line| !expected.iter().any(|piece| line.contains(piece)))
        .collect()
}

/// The result that a console log stands for.
pub fn check(log: &Path, expected: &[String]) -> Check {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let found = faults(&text, expected);
    let shown = if found.is_empty() {
        "no faults".to_owned()
    } else {
        found[..found.len().min(5)].join("\n")
    };
    Check::new("console", found.is_empty(), shown)
}

/// The last lines of a file; nothing when it is not there.
pub fn tail(file: &Path, lines: usize) -> String {
    let text = String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
    let all: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_and_chatter_is_not() {
        let text = "[1.0] igb 0000:01:00.0: Intel NIC\n[2.0] DMAR: [DMA Read NO_PASID] Request device [01:00.0] fault\n\
                    [3.0] DMAR: IOMMU enabled\n[4.0] BUG: kernel NULL pointer\n";
        assert_eq!(faults(text, &[]).len(), 2);
        assert_eq!(
            faults(text, &["[DMA Read".to_owned()]),
            ["[4.0] BUG: kernel NULL pointer"]
        );
    }
}
