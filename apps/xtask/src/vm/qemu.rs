//! Runs one guest: command line, channel to its scripts, limits, and the verdict on its console.

use super::console;
use super::dynamic;
use super::evidence;
use super::initramfs;
use super::kernel::Kernel;
use super::monitor::Monitor;
use crate::host::Tools;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where a NIC's cable goes.
#[derive(Debug, Clone)]
pub enum Cable {
    /// A hub inside QEMU that joins the NICs with the same number.
    Hub(u32),
    /// Datagram sockets on the host: QEMU's own and the other side's.
    Wire {
        /// Socket that QEMU binds.
        qemu: PathBuf,
        /// Socket that the host binds.
        host: PathBuf,
    },
    /// A tap interface of the host.
    Tap {
        /// Its name.
        name: String,
        /// Queues that it has.
        queues: u32,
    },
}

/// A NIC behind a root port of its own; the first is 0000:01:00.0, the second 0000:02:00.0 and so on.
#[derive(Debug, Clone)]
pub struct Nic {
    /// QEMU's device name, with its own options if any: `virtio-net-pci,packed=on`.
    pub model: String,
    /// Its cable.
    pub cable: Cable,
}

impl Nic {
    /// MAC address of the NIC at an index.
    pub fn mac(index: usize) -> [u8; 6] {
        [0x52, 0x54, 0, 0, 0, index as u8 + 1]
    }

    /// PCI address of the NIC at an index.
    pub fn bdf(index: usize) -> String {
        format!("0000:{:02x}:00.0", index + 1)
    }

    /// Name of the kernel's driver for the model.
    fn kernel_driver(&self) -> &str {
        if self.is_virtio() {
            "virtio-pci"
        } else {
            &self.model
        }
    }

    fn is_virtio(&self) -> bool {
        self.model.starts_with("virtio-net")
    }

    fn arguments(&self, index: usize) -> Vec<String> {
        let number = index + 1;
        let netdev = match &self.cable {
            Cable::Hub(hub) => format!("hubport,id=net{number},hubid={hub}"),
            Cable::Wire { qemu, host } => format!(
                "dgram,id=net{number},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                qemu.display(),
                host.display()
            ),
            Cable::Tap { name, queues } => {
                format!("tap,id=net{number},ifname={name},queues={queues},script=no,downscript=no")
            }
        };
        vec![
            "-device".to_owned(),
            format!("pcie-root-port,id=rp{number},chassis={number},slot={number},addr={number}.0"),
            "-netdev".to_owned(),
            netdev,
            "-device".to_owned(),
            self.device(index),
        ]
    }

    /// QEMU's name for the root port above the NIC at an index.
    pub fn port(index: usize) -> String {
        format!("rp{}", index + 1)
    }

    /// QEMU's name for the NIC at an index.
    pub fn id(index: usize) -> String {
        format!("nic{}", index + 1)
    }

    /// The device itself, in the words of `-device` and of the monitor's `device_add`.
    pub fn device(&self, index: usize) -> String {
        let (number, id) = (index + 1, Self::id(index));
        let mac = Self::mac(index).map(|byte| format!("{byte:02x}")).join(":");
        // An option ROM would only cost start-up time. virtio needs the modern interface to honour the IOMMU.
        let extra = if self.is_virtio() {
            ",disable-legacy=on,iommu_platform=on"
        } else {
            ""
        };
        let (name, options) = self.model.split_once(',').unwrap_or((&self.model, ""));
        let comma = if options.is_empty() { "" } else { "," };
        format!("{name},id={id},bus=rp{number},netdev=net{number},mac={mac},romfile={extra}{comma}{options}")
    }
}

/// A host thread a processor.
const MULTI: &str = "multi";

/// A guest to be started.
#[derive(Debug, Clone)]
pub struct Vm {
    /// The kernel to boot.
    pub kernel: Kernel,
    /// Its image, when it is not to be the ELF one ([`Kernel::compressed`]).
    pub image: Option<PathBuf>,
    /// Virtual processors.
    pub smp: u32,
    /// Counts instructions: each takes 2^N ns of the guest's time, the host's plays no part. Needs one processor.
    pub icount: Option<u32>,
    /// Whether the IOMMU remaps interrupts.
    pub interrupt_remapping: bool,
    /// Memory in MiB.
    pub memory: u32,
    /// Reserved huge pages of 2 MiB.
    pub huge_pages: u32,
    /// Further words of the kernel command line.
    pub append: Vec<String>,
    /// Modules loaded before the script runs.
    pub modules: Vec<String>,
    /// The NICs, in slot order.
    pub nics: Vec<Nic>,
    /// Further arguments of QEMU.
    pub arguments: Vec<String>,
    /// Files that appear in `/payload`, with the libraries of those that are programs.
    pub payload: Vec<PathBuf>,
    /// The guest script (see `guest/`).
    pub script: &'static str,
    /// Further `NAME=value` settings the script sees.
    pub settings: Vec<(String, String)>,
    /// Pieces of console lines that are no faults here: a scenario that provokes one says so.
    pub expected_faults: Vec<String>,
    /// The guest is killed after this long. Emulation on a loaded machine is slow: be generous.
    pub limit: Duration,
    /// After this long without a line of the guest's, what it is doing is written to `silent-N.txt`. No verdict.
    pub silence: Duration,
}

impl Vm {
    /// A guest with the sizes that suit most tests.
    pub fn new(kernel: Kernel, script: &'static str) -> Self {
        Self {
            kernel,
            image: None,
            smp: 2,
            icount: None,
            interrupt_remapping: true,
            memory: 1024,
            huge_pages: 64,
            append: Vec::new(),
            modules: ["vfio-pci", "vfio_iommu_type1", "igb"]
                .map(str::to_owned)
                .to_vec(),
            nics: Vec::new(),
            arguments: Vec::new(),
            payload: Vec::new(),
            script,
            settings: Vec::new(),
            expected_faults: Vec::new(),
            limit: Duration::from_secs(300),
            silence: Duration::from_secs(90),
        }
    }

    /// Starts the guest with its output in `dir`.
    pub fn start(&self, tools: &Tools, dir: &Path) -> Result<Running> {
        let mut command = self.command(tools, dir)?;
        let console = dir.join("console.log");
        let messages = File::create(dir.join("qemu.log")).context("cannot make qemu.log")?;
        command
            .arg("-chardev")
            .arg(format!("file,id=console,path={}", console.display()));
        command.args([
            "-serial",
            "chardev:console",
            "-chardev",
            "stdio,id=control,signal=off",
        ]);
        command.args(["-serial", "chardev:control", "-monitor", "none"]);
        // Names of sockets must be short, so it is not in the output directory.
        let sockets =
            TempDir::with_prefix("barline-").context("cannot make a directory for QEMU's monitor")?;
        let monitor = sockets.path().join("monitor");
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", monitor.display())]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(messages);
        let mut child = command.spawn().context("cannot start QEMU")?;
        let stdin = child.stdin.take().context("QEMU has no input")?;
        let stdout = child.stdout.take().context("QEMU has no output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let deadline = Instant::now() + self.limit;
        Ok(Running {
            child,
            stdin,
            lines,
            deadline,
            limit: self.limit,
            silence: self.silence,
            silences: 0,
            monitor,
            _sockets: sockets,
            dir: dir.to_path_buf(),
            checks: Vec::new(),
            exit: None,
            expected_faults: self.expected_faults.clone(),
        })
    }

    /// Runs the guest on this terminal until it ends.
    pub fn interact(&self, tools: &Tools, dir: &Path) -> Result<ExitStatus> {
        let mut command = self.command(tools, dir)?;
        command.args(["-serial", "mon:stdio", "-serial", "null"]);
        command.status().context("cannot start QEMU")
    }

    fn command(&self, tools: &Tools, dir: &Path) -> Result<Command> {
        let initrd = self.write_initrd(tools, dir)?;
        // setpriv has the kernel kill QEMU when this process ends, however it ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&tools.qemu);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args([
            "-name",
            "guest,debug-threads=on",
            "-M",
            "q35,kernel-irqchip=split",
            "-cpu",
            "max",
        ]);
        let threads = self.threads();
        command.args(["-accel", &format!("tcg,thread={threads},tb-size=512")]);
        if let Some(shift) = self.icount {
            command.args(["-icount", &format!("shift={shift},sleep=off")]);
        }
        command.args(["-smp", &self.smp.to_string(), "-m", &self.memory.to_string()]);
        let remap = match (self.interrupt_remapping, threads) {
            (false, _) => "intremap=off",
            (true, MULTI) => "intremap=on,eim=on",
            (true, _) => "intremap=on",
        };
        command.arg("-device");
        command.arg(format!("intel-iommu,{remap},caching-mode=on,device-iotlb=on"));
        command.args(["-device", "isa-debug-exit,iobase=0x501,iosize=1"]);
        command
            .arg("-kernel")
            .arg(self.image.clone().unwrap_or_else(|| self.kernel.vmlinux()))
            .arg("-initrd")
            .arg(initrd);
        command.args(["-append", &self.command_line()]);
        for (index, nic) in self.nics.iter().enumerate() {
            command.args(nic.arguments(index));
        }
        command.args(&self.arguments);
        Ok(command)
    }

    /// How the processors are emulated. In threads of their own, an access to memory-mapped registers is now and then looked up
    /// in a memory map that another processor is replacing (QEMU's issue 1921): an end-of-interrupt was lost while a
    /// BAR moved and its processor never took a timer tick again, or QEMU died of `iotlb_to_section`. With remapped
    /// interrupts in extended mode (`eim`) guests use x2APIC, whose registers are no memory; without, one thread serves.
    /// Counting instructions needs one thread, and QEMU dies there of an x2APIC's timer ("Bad icount read").
    fn threads(&self) -> &'static str {
        if self.interrupt_remapping && self.icount.is_none() {
            MULTI
        } else {
            "single"
        }
    }

    fn write_initrd(&self, tools: &Tools, dir: &Path) -> Result<PathBuf> {
        let mut bytes = initramfs::base(&self.kernel, &tools.busybox)?;
        let files = dynamic::with_libraries(&self.payload);
        bytes.extend(initramfs::payload(self.script, &self.settings(), &files)?);
        let path = dir.join("initrd.cpio");
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn settings(&self) -> String {
        let nics: Vec<String> = (0..self.nics.len()).map(Nic::bdf).collect();
        let driver = self.nics.first().map_or("none", Nic::kernel_driver);
        let mut text = format!("NICS='{}'\nNIC_DRIVER='{driver}'\n", nics.join(" "));
        text.push_str(&format!("MODULES='{}'\n", self.modules.join(" ")));
        for (name, value) in &self.settings {
            text.push_str(&format!("{name}='{value}'\n"));
        }
        text
    }

    fn command_line(&self) -> String {
        // loglevel=5 shows warnings, so that one from the kernel is seen even when the guest then dies.
        // Emulated processors stall when the host is busy: lockup detectors would report the host.
        let mut words = vec![
            "console=ttyS0 loglevel=5 panic=-1 intel_iommu=on mitigations=off tsc=reliable no_timer_check"
                .to_owned(),
            "nokaslr random.trust_cpu=on cryptomgr.notests nosoftlockup nowatchdog".to_owned(),
            "rcupdate.rcu_cpu_stall_suppress=1 ipv6.disable=1 sysrq_always_enabled=1".to_owned(),
            format!("hugepages={}", self.huge_pages),
        ];
        words.extend(self.append.iter().cloned());
        words.join(" ")
    }
}

/// One result, of the guest or of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// What was seen.
    pub text: String,
}

impl Check {
    /// A result.
    pub fn new(name: impl Into<String>, ok: bool, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ok,
            text: text.into(),
        }
    }

    /// Reads `TEST name ok|FAIL text`.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("TEST ")?.splitn(3, ' ');
        let name = words.next()?;
        let ok = match words.next()? {
            "ok" => true,
            "FAIL" => false,
            _ => return None,
        };
        Some(Self::new(name, ok, words.next().unwrap_or_default().trim()))
    }
}

/// Most times that evidence of a silent guest is taken.
const SILENCES: u32 = 2;

/// A guest at work; it is killed when this goes away.
pub struct Running {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    deadline: Instant,
    limit: Duration,
    silence: Duration,
    /// Times that evidence was taken.
    silences: u32,
    monitor: PathBuf,
    _sockets: TempDir,
    dir: PathBuf,
    checks: Vec<Check>,
    /// Exit code that the guest announced.
    exit: Option<i32>,
    expected_faults: Vec<String>,
}

impl Running {
    /// Waits for a line `TAG rest` of the guest and returns the rest; results on the way are kept.
    pub fn wait_for(&mut self, tag: &str) -> Result<String> {
        Ok(self.wait_for_one(&[tag])?.1)
    }

    /// Waits for the first line with one of these tags; the tag and the rest.
    pub fn wait_for_one<'a>(&mut self, tags: &[&'a str]) -> Result<(&'a str, String)> {
        while let Some(line) = self.next_line()? {
            for tag in tags {
                let rest = line.strip_prefix(tag);
                if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
                    return Ok((tag, rest.trim().to_owned()));
                }
            }
        }
        bail!(
            "the guest ended before it said {}: {}",
            tags.join(" or "),
            self.explain()
        )
    }

    /// Says a line to the guest.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.stdin, "{line}")
            .and_then(|()| self.stdin.flush())
            .context("the guest does not listen any more")
    }

    /// From now on this silence is worth writing down what the guest does ([`Vm::silence`]).
    pub fn suspect_after(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// A connection to QEMU's monitor. There is one at a time: drop it after use.
    pub fn monitor(&self) -> Result<Monitor> {
        Monitor::connect(&self.monitor)
    }

    /// The next line that is no result; `None` when the guest has ended.
    fn next_line(&mut self) -> Result<Option<String>> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(self.silence)) {
                Ok(line) => {
                    if let Some(check) = Check::parse(&line) {
                        self.checks.push(check);
                    } else if let Some(code) = line.strip_prefix("EXIT ") {
                        self.exit = code.parse().ok();
                    } else {
                        return Ok(Some(line));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if self.silences < SILENCES => self.note_silence()?,
                Err(RecvTimeoutError::Timeout) if left > self.silence => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "the guest took longer than {} s: {}",
                        self.limit.as_secs(),
                        self.explain()
                    )
                }
            }
        }
    }

    /// Writes down what the silent guest is doing.
    fn note_silence(&mut self) -> Result<()> {
        self.silences += 1;
        let path = self.dir.join(format!("silent-{}.txt", self.silences));
        let console = self.dir.join("console.log");
        fs::write(&path, evidence::collect(&self.monitor, self.child.id(), &console))
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.expected_faults.push(evidence::ADDED.to_owned());
        println!(
            "    no line of the guest for {} s: what it does is in {}",
            self.silence.as_secs(),
            path.display()
        );
        Ok(())
    }

    /// Waits for the end of the guest. Its exit code and its console become results too.
    pub fn finish(mut self) -> Result<Vec<Check>> {
        while self.next_line()?.is_some() {}
        let status = self.child.wait().context("cannot wait for QEMU")?;
        let mut checks = std::mem::take(&mut self.checks);
        checks.push(exit_check(status, self.exit, &self.dir));
        checks.push(console::check(
            &self.dir.join("console.log"),
            &self.expected_faults,
        ));
        Ok(checks)
    }

    /// Ends QEMU, whose guest is elsewhere now: what it said until then, and its console.
    pub fn leave(mut self) -> Vec<Check> {
        let mut checks = std::mem::take(&mut self.checks);
        checks.push(console::check(
            &self.dir.join("console.log"),
            &self.expected_faults,
        ));
        checks
    }

    /// Results so far and the end of the console, for an error message.
    fn explain(&self) -> String {
        let failed: Vec<String> = self
            .checks
            .iter()
            .filter(|c| !c.ok)
            .map(|c| format!("{}: {}", c.name, c.text))
            .collect();
        let mut text = if failed.is_empty() {
            String::new()
        } else {
            format!("failed before: {}; ", failed.join("; "))
        };
        let faults = console::check(&self.dir.join("console.log"), &self.expected_faults);
        if !faults.ok {
            text.push_str(&format!("kernel faults:\n{}\n", faults.text));
        }
        for log in ["qemu.log", "console.log"] {
            let tail = console::tail(&self.dir.join(log), 15);
            if !tail.is_empty() {
                text.push_str(&format!("end of {}:\n{tail}\n", self.dir.join(log).display()));
            }
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when QEMU has ended already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The guest's exit code r makes QEMU exit with 2r+1; an even code is QEMU's own end (reset, power-off).
fn exit_check(status: ExitStatus, announced: Option<i32>, dir: &Path) -> Check {
    let text = match (status.code(), announced) {
        (Some(1), Some(0)) => return Check::new("exit", true, "0"),
        (Some(code), Some(said)) if code == 2 * said + 1 => format!("the guest script ended with {said}"),
        (Some(code), None) if code % 2 == 1 => format!("QEMU ended with {code} before the guest did"),
        (Some(code), _) => format!("the guest was reset (kernel panic?); QEMU ended with {code}"),
        (None, _) => format!("QEMU was killed: {status}"),
    };
    let tails = ["qemu.log", "console.log"]
        .map(|log| console::tail(&dir.join(log), 10))
        .join("\n");
    Check::new("exit", false, format!("{text}\n{}", tails.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_parsed() {
        assert_eq!(Check::parse("TEST boot ok"), Some(Check::new("boot", true, "")));
        assert_eq!(
            Check::parse("TEST a FAIL b c"),
            Some(Check::new("a", false, "b c"))
        );
        assert_eq!(Check::parse("TEST a maybe"), None);
        assert_eq!(Check::parse("READY"), None);
    }

    #[test]
    fn nics_sit_behind_ports_of_their_own() {
        let nic = Nic {
            model: "igb".into(),
            cable: Cable::Hub(1),
        };
        let line = nic.arguments(1).join(" ");
        assert!(
            line.contains("pcie-root-port,id=rp2,chassis=2,slot=2,addr=2.0"),
            "{line}"
        );
        assert!(
            line.contains("igb,id=nic2,bus=rp2,netdev=net2,mac=52:54:00:00:00:02,romfile="),
            "{line}"
        );
        assert_eq!(Nic::bdf(1), "0000:02:00.0");
    }
}
