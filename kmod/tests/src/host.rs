//! What the tests do as the machine's administrator: binding, modules, counters.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PCI: &str = "/sys/bus/pci";
/// The module's own directory of parameters.
const PARAMETERS: &str = "/sys/module/barline/parameters";

/// Emulation is slow and a debug kernel slower: no wait in these tests is a measurement.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often tests of races try: `KMOD_ROUNDS`, or what a run that comes with every change can afford.
pub fn rounds() -> u32 {
    let set = std::env::var("KMOD_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok());
    set.unwrap_or(20)
}

/// Waits for something to become true.
pub fn wait_until(what: &str, mut test: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !test() {
        ensure!(Instant::now() < end, "{what}: not in {} s", PATIENCE.as_secs());
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Functions with a vendor and device id, by address.
pub fn functions(vendor: u16, device: u16) -> Vec<String> {
    let id = |bdf: &str, name: &str| {
        let text = fs::read_to_string(format!("{PCI}/devices/{bdf}/{name}")).unwrap_or_default();
        u16::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap_or(0)
    };
    let entries = fs::read_dir(format!("{PCI}/devices"))
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    found.retain(|bdf| id(bdf, "vendor") == vendor && id(bdf, "device") == device);
    found.sort();
    found
}

/// Path of a function's file in sysfs.
pub fn sysfs(bdf: &str, name: &str) -> String {
    format!("{PCI}/devices/{bdf}/{name}")
}

/// Writes a file of the kernel; the error has its name.
pub fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write '{text}' to {path}"))
}

/// Driver of a function.
pub fn driver(bdf: &str) -> Option<String> {
    let link = fs::read_link(sysfs(bdf, "driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

/// Takes a function from its driver, if it has one.
pub fn unbind(bdf: &str) -> Result<()> {
    if driver(bdf).is_some() {
        write(&sysfs(bdf, "driver/unbind"), bdf)?;
    }
    Ok(())
}

/// Takes a function from its driver in a program of its own, which ends when that is done.
pub fn unbind_elsewhere(bdf: &str) -> Result<Child> {
    let line = format!("echo {bdf} >{}", sysfs(bdf, "driver/unbind"));
    Command::new("sh")
        .args(["-c", &line])
        .spawn()
        .context("cannot start a shell")
}

/// Takes a function from the bus in a program of its own.
pub fn remove_elsewhere(bdf: &str) -> Result<Child> {
    let line = format!("echo 1 >{}", sysfs(bdf, "remove"));
    Command::new("sh")
        .args(["-c", &line])
        .spawn()
        .context("cannot start a shell")
}

/// Gives a function to a driver; whether it took it.
pub fn offer(bdf: &str, to: &str) -> Result<bool> {
    unbind(bdf)?;
    write(&sysfs(bdf, "driver_override"), to)?;
    // The write fails when no driver takes it, which is an answer here.
    fs::write(format!("{PCI}/drivers_probe"), bdf).ok();
    Ok(driver(bdf).as_deref() == Some(to))
}

/// Binds a function to the module.
pub fn bind(bdf: &str) -> Result<()> {
    if driver(bdf).as_deref() == Some("barline") {
        return Ok(());
    }
    ensure!(
        offer(bdf, "barline")?,
        "barline does not take {bdf}: {}",
        last_line(bdf)
    );
    Ok(())
}

/// Gives a function back to its kernel driver, which must take it.
pub fn rebind_native(bdf: &str, native: &str) -> Result<()> {
    ensure!(
        offer(bdf, native)?,
        "{native} does not take {bdf} back: {}",
        last_line(bdf)
    );
    Ok(())
}

/// The kernel's messages.
pub fn dmesg() -> String {
    crate::sys::kernel_log().unwrap_or_default()
}

/// The last message that has a word.
pub fn last_line(word: &str) -> String {
    dmesg()
        .lines()
        .rev()
        .find(|line| line.contains(word))
        .unwrap_or("(no message)")
        .to_owned()
}

/// A parameter of the module.
pub fn parameter(name: &str) -> Result<String> {
    let text =
        fs::read_to_string(format!("{PARAMETERS}/{name}")).with_context(|| format!("no parameter {name}"))?;
    Ok(text.trim().to_owned())
}

/// Sets a parameter of the module.
pub fn set_parameter(name: &str, value: &str) -> Result<()> {
    write(&format!("{PARAMETERS}/{name}"), value)
}

/// Whether the module is loaded.
pub fn is_loaded() -> bool {
    Path::new("/sys/module/barline").exists()
}

/// Unloads the module if it is loaded, and loads a build of it.
pub fn reload(file: &str, parameters: &[&str]) -> Result<()> {
    unload()?;
    let out = Command::new("insmod")
        .arg(format!("/payload/{file}"))
        .args(parameters)
        .output()?;
    ensure!(
        out.status.success(),
        "insmod {file}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(())
}

/// Unloads the module.
pub fn unload() -> Result<()> {
    if is_loaded() {
        let out = Command::new("rmmod").arg("barline").output()?;
        ensure!(
            out.status.success(),
            "rmmod barline: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(())
}

/// References to the module.
pub fn module_references() -> Result<i64> {
    let text = fs::read_to_string("/sys/module/barline/refcnt").context("no reference count")?;
    Ok(text.trim().parse()?)
}

/// Pages that are pinned for DMA, of the whole machine.
pub fn pinned_pages() -> Result<i64> {
    // The counters are kept per processor: reading this folds them.
    fs::read("/proc/sys/vm/stat_refresh").ok();
    let text = fs::read_to_string("/proc/vmstat").context("no /proc/vmstat")?;
    let counter = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse::<i64>().ok())
    };
    match (counter("nr_foll_pin_acquired"), counter("nr_foll_pin_released")) {
        (Some(acquired), Some(released)) => Ok(acquired - released),
        _ => bail!("/proc/vmstat has no nr_foll_pin counters"),
    }
}

/// KiB that a process has locked.
pub fn locked_kib(pid: i32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("no status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let number = line
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmLck")?;
    Ok(number.parse()?)
}

/// KiB of kernel memory in slabs.
pub fn slab_kib() -> Result<i64> {
    let text = fs::read_to_string("/proc/meminfo").context("no /proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Slab:"))
        .context("no Slab")?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}

/// Changes a word of a function's configuration space, as the administrator can: behind its driver's back. What it was.
pub fn change_config(bdf: &str, offset: u64, change: impl FnOnce(u16) -> u16) -> Result<u16> {
    let path = sysfs(bdf, "config");
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {path}"))?;
    let mut raw = [0; 2];
    file.read_exact_at(&mut raw, offset)?;
    let old = u16::from_le_bytes(raw);
    file.write_all_at(&change(old).to_le_bytes(), offset)?;
    Ok(old)
}

/// Offset of a standard capability of a function.
pub fn capability(bdf: &str, id: u8) -> Result<u64> {
    let config = fs::read(sysfs(bdf, "config"))?;
    let byte = |at: usize| config.get(at).copied().unwrap_or(0);
    let mut at = byte(0x34);
    while at != 0 {
        if byte(at.into()) == id {
            return Ok(at.into());
        }
        at = byte(usize::from(at) + 1);
    }
    bail!("{bdf} has no capability {id:#x}")
}

/// The port that a function is behind.
pub fn port_of(bdf: &str) -> Result<String> {
    let path = fs::canonicalize(sysfs(bdf, ""))?;
    let port = path.parent().and_then(Path::file_name).context("no port")?;
    Ok(port.to_string_lossy().into_owned())
}
