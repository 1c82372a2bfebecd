//! Reports of the kernel on a guest's console that are its own faults: each taken by its form, nothing else beside it.

use crate::vm::console;
use crate::vm::qemu::Check;
use std::fs;
use std::path::Path;

/// The last line of a report: the end of its stack.
const END: &str = "</TASK>";

/// A fault of the kernel that comes without the module too.
pub struct Known {
    /// The check's name.
    pub name: &'static str,
    /// What the first line of its report has.
    pub head: &'static str,
    /// Whether a report is this fault; what it says, or why it is not.
    pub is: fn(&str) -> Result<String, String>,
    /// The most reports a boot makes.
    pub most: usize,
}

impl Known {
    /// Lines of such a report which are faults anywhere else.
    pub fn expected(&self) -> Vec<String> {
        [self.head, "Call Trace:"].map(str::to_owned).to_vec()
    }

    /// Whether the console has no fault but these reports; `must` there be one?
    pub fn check(&self, log: &Path, must: bool) -> Check {
        let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
        match self.judge(&text, must) {
            Ok(said) => Check::new(self.name, true, said),
            Err(why) => Check::new(self.name, false, why),
        }
    }

    pub fn judge(&self, text: &str, must: bool) -> Result<String, String> {
        let (reports, rest) = self.split(text);
        let other = console::faults(&rest, &[]);
        if !other.is_empty() {
            return Err(format!("beside the known report: {}", other.join("; ")));
        }
        if reports.len() > self.most {
            return Err(format!("{} reports", reports.len()));
        }
        let mut said = None;
        for report in &reports {
            self.is_whole(report)?;
            not_ours(report)?;
            said = Some((self.is)(report)?);
        }
        match said {
            Some(said) => Ok(format!("{} of the kernel's own: {said}", reports.len())),
            None if must => Err("the kernel makes no such report any more: expect none".to_owned()),
            None => Ok("no report".to_owned()),
        }
    }

    /// Nothing else may hide in a report that was cut off.
    fn is_whole(&self, report: &str) -> Result<(), String> {
        let inside = console::faults(report, &self.expected());
        match (report.contains(END), inside.first()) {
            (true, None) => Ok(()),
            (_, Some(line)) => Err(format!("within the known report: {line}")),
            (false, None) => Err("the known report has no end".to_owned()),
        }
    }

    /// The reports, and the console without them.
    fn split(&self, text: &str) -> (Vec<String>, String) {
        let (mut reports, mut rest, mut inside) = (Vec::<String>::new(), String::new(), false);
        for line in text.lines() {
            if !inside && line.contains(self.head) {
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
}

/// No function of the module, and none of its locks, may be in the report.
fn not_ours(report: &str) -> Result<(), String> {
    let ours = |line: &&str| line.contains("[barline]") || line.contains(" bl_");
    match report.lines().find(ours) {
        Some(line) => Err(format!("the module is in the report: {line}")),
        None => Ok(()),
    }
}
