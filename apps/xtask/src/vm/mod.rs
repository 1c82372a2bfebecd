//! Virtual machines with a real IOMMU: kernels, guests, wires and the scenarios that run on them.
//!
//! A scenario is a function in `scenario.rs` (or a file of its own) that fills in a [`Vm`], starts it and
//! talks to it, and a line in the table. Its guest half is a shell script in `guest/`, which sources
//! `guest/lib.sh`. The two talk over the second serial port, a line at a time:
//!
//! * `TEST name ok|FAIL text` from the guest is a result, kept on the way to whatever the host waits for;
//! * any other line is a message, `TAG rest`, that the host waits for with [`qemu::Running::wait_for`];
//! * [`qemu::Running::tell`] sends a line, which the script takes with `hear`;
//! * `EXIT code` and the matching exit code of QEMU end it.
//!
//! The kernel's console is the first serial port. It is kept in `target/vm/NAME/console.log`, and a fault
//! in it fails the scenario.

pub mod af_xdp;
mod capture;
pub mod console;
pub mod counted;
pub mod dpdk;
pub mod dynamic;
pub mod evidence;
mod files;
pub mod frames;
pub mod idle;
pub mod initramfs;
pub mod instructions;
pub mod kernel;
pub mod kmod;
pub mod l2fwd;
mod lengths;
pub mod monitor;
pub mod qemu;
pub mod scenario;
pub mod taps;
pub mod traffic;
pub mod unplug;
pub mod vfio;
pub mod vhost;
mod vhost_iperf;
mod vhost_migrate;
mod vhost_net;
mod virtio_tcp;
pub mod wire;

use crate::host::{Missing, Tools, Usage};
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use kernel::{Kernel, Series};
use qemu::{Cable, Nic, Vm};
use std::fs;
use std::path::PathBuf;

/// What `cargo xtask vm` does besides booting a guest.
#[derive(Debug, clap::Subcommand)]
pub enum VmTask {
    /// Build the kernel with KASAN, lockdep and kmemleak (`kmod/debug.config`) once and keep it in the cache.
    DebugKernel,
    /// Measure l2fwd's rate through the kernel module and through vfio-pci, in turn in one machine.
    KmodRate(kmod::rate::Args),
    /// Count the guest's instructions a frame through AF_XDP, with zero copy and with copies in turn in one machine.
    AfXdpRate(af_xdp::rate::Args),
}

/// What `cargo xtask vm` takes.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct VmArgs {
    #[command(subcommand)]
    pub task: Option<VmTask>,
    /// Kernel series of the guest.
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Series,
    /// QEMU model of the two NICs.
    #[arg(long, default_value = "igb")]
    nic: String,
    /// Virtual processors.
    #[arg(long, default_value_t = 2)]
    smp: u32,
    /// Memory in MiB.
    #[arg(long, default_value_t = 1536)]
    memory: u32,
    /// Huge pages of 2 MiB to reserve.
    #[arg(long, default_value_t = 128)]
    huge_pages: u32,
    /// Build the forwarder and put it into /payload.
    #[arg(long)]
    l2fwd: bool,
    /// Files to put into /payload; the libraries of programs come along.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    run: Vec<PathBuf>,
}

/// The cached kernel of a series, or how to get it.
pub fn kernel(paths: &Paths, series: Series) -> Result<Kernel> {
    let lack = || match series {
        Series::Debug => format!("a kernel {series} in the cache: run `cargo xtask vm debug-kernel`"),
        Series::V6_1 | Series::V6_12 => format!("a kernel {series} in the cache: run `cargo xtask setup`"),
        Series::Newest => kernel::lack(series),
    };
    Kernel::cached(paths, series).ok_or_else(|| Missing(vec![lack()]).into())
}

/// Boots a guest with two joined NICs and gives its shell to the terminal.
pub fn interactive(paths: &Paths, args: &VmArgs) -> Result<()> {
    // Half of the memory is left to the guest's kernel and programs.
    if u64::from(args.huge_pages) * 2 > u64::from(args.memory) / 2 {
        let most = args.memory / 4;
        let text = format!(
            "--huge-pages {}: {most} are the most in {} MiB of memory",
            args.huge_pages, args.memory
        );
        return Err(Usage(text).into());
    }
    let tools = Tools::find(paths)?;
    let mut vm = Vm::new(kernel(paths, args.kernel)?, include_str!("guest/shell.sh"));
    vm.smp = args.smp;
    vm.memory = args.memory;
    vm.huge_pages = args.huge_pages;
    vm.payload.clone_from(&args.run);
    if args.l2fwd {
        vm.payload.push(l2fwd::build(paths)?);
    }
    vm.nics = vec![
        Nic {
            model: args.nic.clone(),
            cable: Cable::Hub(1)
        };
        2
    ];
    if args.nic != "igb" && !args.nic.starts_with("virtio") {
        vm.modules.push(args.nic.clone());
    }
    let dir = paths.run_dir("interactive");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let status = vm.interact(&tools, &dir)?;
    match status.code() {
        // Ctrl-A X, and what isa-debug-exit makes of the code in guest/shell.sh. 1: QEMU did not start.
        Some(0 | 3) => Ok(()),
        _ => bail!("QEMU ended with {status}"),
    }
}
