//! A warning that a machine which sleeps in its first two minutes makes by itself, now and then.
//!
//! While it resumes the core of the system, ACPI allocates memory (`irqrouter_resume()`). If that takes a new slab, its free
//! list is shuffled, which may ask the kernel's random generator to make new bytes; and that looks at the clock, which is
//! still suspended, as long as the machine is young (`crng_reseed_interval()`, `early_boot`; 6.1 and 6.12).

use super::reports::Known;

pub const REPORT: Known = Known {
    name: "warning-crng",
    head: "ktime_get_seconds+",
    is: is_own,
    // One each time it wakes, which is three times.
    most: 3,
};

/// What calls what.
const STACK: [&str; 4] = [
    " crng_make_state+",
    " allocate_slab+",
    " irqrouter_resume+",
    " syscore_resume+",
];

fn is_own(report: &str) -> Result<String, String> {
    let mut rest = report;
    for function in STACK {
        rest = rest
            .split_once(function)
            .ok_or_else(|| format!("{} is not in the stack", function.trim()))?
            .1;
    }
    Ok("the random generator looks at the suspended clock".to_owned())
}

#[cfg(test)]
mod tests {
    use super::REPORT as KNOWN;

    /// The first line's function comes again within.
    const REPORT: &str = "[ 38.7] WARNING: CPU: 0 PID: 111 at kernel/time/timekeeping.c:1005 ktime_get_seconds+0x1b/0x30\n\
        [ 38.7] Modules linked in: barline(OE) e1000e igb\n\
        [ 38.7] RIP: 0010:ktime_get_seconds+0x1b/0x30\n\
        [ 38.7] Call Trace:\n\
        [ 38.7]  crng_make_state+0x136/0x1c0\n\
        [ 38.7]  allocate_slab+0x169/0x490\n\
        [ 38.7]  acpi_pci_link_set+0x76/0x260\n\
        [ 38.7]  irqrouter_resume+0x44/0x50\n\
        [ 38.7]  syscore_resume+0x4b/0x180\n\
        [ 38.7]  </TASK>\n";

    #[test]
    fn the_known_warning_is_taken() {
        assert!(KNOWN.judge(REPORT, true).is_ok());
        assert!(KNOWN.judge(&REPORT.repeat(3), true).is_ok());
        assert!(KNOWN.judge("[ 1.0] all is well\n", false).is_ok());
    }

    #[test]
    fn every_other_warning_is_a_fault() {
        let often = REPORT.repeat(4);
        let other = "[ 9.9] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 kfree+0x1/0x2\n";
        let caller = REPORT.replace("irqrouter_resume", "other_resume");
        let ours = REPORT.replace("acpi_pci_link_set", "bl_pm_resume");
        let end = REPORT.replace("</TASK>", "");
        let beside = [format!("{REPORT}{other}"), format!("{end}{other}")];
        for text in [often, caller, ours, end].into_iter().chain(beside) {
            assert!(KNOWN.judge(&text, false).is_err(), "{text}");
        }
    }
}
