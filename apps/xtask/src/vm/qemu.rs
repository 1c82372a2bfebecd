//! Runs one guest: command line, channel to its scripts, limits, and the verdict on its console.

mod check;
mod nic;
mod running;

use super::dynamic;
use super::initramfs;
use super::kernel::Kernel;
use crate::host::Tools;
use anyhow::{Context, Result};
pub use check::Check;
pub use nic::{Cable, Nic};
pub use running::Running;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

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
