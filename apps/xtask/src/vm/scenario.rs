//! The table of VM scenarios and how one is run.

use super::capture::Shape;
use super::counted;
use super::idle;
use super::kernel::{Kernel, Series};
use super::kmod;
use super::l2fwd::{self, Variant};
use super::qemu::{Cable, Check, Nic, Vm};
use super::traffic::Lines;
use super::unplug::{self, How};
use super::vfio;
use super::vhost;
use super::vhost_iperf;
use super::vhost_migrate::{self, Announcer};
use super::vhost_net;
use super::virtio_tcp;
use crate::host::Tools;
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// What a scenario works with.
pub struct Bed<'a> {
    /// Directories of the workspace.
    pub paths: &'a Paths,
    /// Programs of the host.
    pub tools: &'a Tools,
    /// Kernel to run on.
    pub kernel: Kernel,
    /// Output directory of this run: logs, frames.
    pub dir: PathBuf,
}

/// A test that runs in a guest, on several kernels.
pub struct Scenario {
    /// Name; the kernel series is appended for a run.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// Kernels it runs on.
    pub kernels: &'static [Series],
    run: fn(&Bed<'_>) -> Result<Vec<Check>>,
}

/// All scenarios, cheap ones first. A new one is a function and a line here.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "boot",
        about: "IOMMU, interrupt remapping, vfio-pci takes igb and gives it back",
        kernels: &Series::STOCK,
        run: boot,
    },
    Scenario {
        name: "silent-guest",
        about: "of a guest that says nothing for long, the state is written down",
        kernels: &Series::STOCK,
        run: silent_guest,
    },
    Scenario {
        name: "bridge",
        about: "kernel drivers forward 10,000 frames each way over the wire",
        kernels: &Series::STOCK,
        run: bridge,
    },
    Scenario {
        name: "l2fwd-sigint",
        about: "l2fwd forwards 10,000 frames each way, ends cleanly",
        kernels: &Series::STOCK,
        run: |bed| l2fwd::run(bed, &Variant::PLAIN),
    },
    Scenario {
        name: "l2fwd-sigterm",
        about: "the same, ended by SIGTERM",
        kernels: &Series::STOCK,
        run: |bed| {
            l2fwd::run(
                bed,
                &Variant {
                    signal: "TERM",
                    ..Variant::PLAIN
                },
            )
        },
    },
    Scenario {
        name: "l2fwd-sigkill",
        about: "the same, killed: the machine must be left as it was",
        kernels: &Series::STOCK,
        run: |bed| {
            l2fwd::run(
                bed,
                &Variant {
                    signal: "KILL",
                    ..Variant::PLAIN
                },
            )
        },
    },
    Scenario {
        name: "l2fwd-queues",
        about: "the same on two queues and two cores",
        kernels: &Series::STOCK,
        run: |bed| {
            l2fwd::run(
                bed,
                &Variant {
                    arguments: "--queues 2 --cores 0,1",
                    ..Variant::PLAIN
                },
            )
        },
    },
    Scenario {
        name: "l2fwd-virtio-split",
        about: "10,000 frames each way through virtio-net behind the IOMMU: split rings",
        kernels: &Series::STOCK,
        run: |bed| virtio(bed, "virtio-net-pci", "", "INT"),
    },
    Scenario {
        name: "l2fwd-virtio-split-mrg",
        about: "the same with mergeable buffers, without event indices",
        kernels: &Series::STOCK,
        run: |bed| virtio(bed, "virtio-net-pci,event_idx=off", ",mrg=on", "INT"),
    },
    Scenario {
        name: "l2fwd-virtio-split-in-order",
        about: "the same with a device that completes in order",
        kernels: &Series::STOCK,
        run: |bed| virtio(bed, "virtio-net-pci,in_order=on", "", "INT"),
    },
    Scenario {
        name: "l2fwd-virtio-packed",
        about: "packed rings, a device without mergeable buffers",
        kernels: &Series::STOCK,
        run: |bed| virtio(bed, "virtio-net-pci,packed=on,mrg_rxbuf=off", "", "INT"),
    },
    Scenario {
        name: "l2fwd-virtio-packed-mrg",
        about: "packed rings with mergeable buffers",
        kernels: &Series::STOCK,
        run: |bed| virtio(bed, "virtio-net-pci,packed=on", ",mrg=on", "INT"),
    },
    Scenario {
        name: "l2fwd-virtio-packed-in-order",
        about: "packed rings of a device that completes in order",
        kernels: &Series::STOCK,
        run: |bed| virtio(bed, "virtio-net-pci,packed=on,in_order=on", "", "INT"),
    },
    Scenario {
        name: "l2fwd-virtio-sigkill",
        about: "packed rings, killed: the machine must be left as it was",
        kernels: &Series::STOCK,
        run: |bed| virtio(bed, "virtio-net-pci,packed=on", "", "KILL"),
    },
    Scenario {
        name: "l2fwd-virtio-queues",
        about: "two pairs of queues on two cores, packed rings",
        kernels: &Series::STOCK,
        run: |bed| virtio_queues(bed, "virtio-net-pci,packed=on,mq=on", 2),
    },
    Scenario {
        name: "l2fwd-virtio-rss",
        about: "the same spread by receive-side scaling, split rings",
        kernels: &Series::STOCK,
        run: |bed| virtio_queues(bed, "virtio-net-pci,mq=on,rss=on", 2),
    },
    Scenario {
        name: "l2fwd-virtio-rss-four",
        about: "four pairs of queues, all of which receive-side scaling uses",
        kernels: &[Series::V6_12],
        run: |bed| virtio_queues(bed, "virtio-net-pci,mq=on,rss=on", 4),
    },
    Scenario {
        name: "l2fwd-virtio-tcp",
        about: "TCP between two networks of the host through our driver, whose NICs offer offloads that it does not take",
        kernels: &[Series::V6_12],
        run: |bed| virtio_tcp::run(bed, "virtio-net-pci", Shape::Whole),
    },
    Scenario {
        name: "l2fwd-virtio-checksum",
        about: "the same, with checksums left open all the way, packed rings",
        kernels: &[Series::V6_12],
        run: |bed| virtio_tcp::run(bed, "virtio-net-pci,packed=on", Shape::Open),
    },
    Scenario {
        name: "l2fwd-virtio-long",
        about: "the same, with packets that nobody cuts, split rings",
        kernels: &Series::STOCK,
        run: |bed| virtio_tcp::run(bed, "virtio-net-pci", Shape::Long),
    },
    Scenario {
        name: "l2fwd-virtio-long-packed",
        about: "the same, packed rings",
        kernels: &[Series::V6_12],
        run: |bed| virtio_tcp::run(bed, "virtio-net-pci,packed=on", Shape::Long),
    },
    Scenario {
        name: "l2fwd-kmod-sigint",
        about: "l2fwd through barline.ko as an ordinary user: 10,000 frames each way, ends cleanly",
        kernels: &Series::ALL,
        run: |bed| {
            l2fwd::run(
                bed,
                &Variant {
                    arguments: "--bus kmod",
                    kmod: true,
                    ..Variant::PLAIN
                },
            )
        },
    },
    Scenario {
        name: "l2fwd-kmod-sigkill",
        about: "the same, killed: the machine must be left as it was",
        kernels: &Series::ALL,
        run: |bed| {
            l2fwd::run(
                bed,
                &Variant {
                    signal: "KILL",
                    arguments: "--bus kmod",
                    kmod: true,
                    ..Variant::PLAIN
                },
            )
        },
    },
    Scenario {
        name: "l2fwd-kmod-suspend",
        about: "the same, and the machine sleeps twice: told, stopped, started again",
        kernels: &Series::ALL,
        run: |bed| {
            l2fwd::run(
                bed,
                &Variant {
                    arguments: "--bus kmod",
                    kmod: true,
                    naps: 2,
                    ..Variant::PLAIN
                },
            )
        },
    },
    Scenario {
        name: "l2fwd-idle",
        about: "below 2 % of a core without traffic, and frames wake it",
        kernels: &Series::STOCK,
        run: idle::idle,
    },
    Scenario {
        name: "l2fwd-counted",
        about: "in counted time: below 2 % of a core without traffic, a NIC is let go within 100 ms",
        kernels: &Series::STOCK,
        run: counted::run,
    },
    Scenario {
        name: "l2fwd-syscalls",
        about: "no system call of the worker under load",
        kernels: &Series::STOCK,
        run: idle::system_calls,
    },
    Scenario {
        name: "l2fwd-kill",
        about: "killed at fourteen moments: nothing is left behind",
        kernels: &Series::STOCK,
        run: idle::kill,
    },
    Scenario {
        name: "l2fwd-unbind",
        about: "a NIC is unbound ten times under traffic: released in time, the others forward on",
        kernels: &Series::STOCK,
        run: |bed| unplug::run(bed, How::Unbind),
    },
    Scenario {
        name: "l2fwd-unplug",
        about: "the same, with device_del and device_add",
        kernels: &Series::STOCK,
        run: |bed| unplug::run(bed, How::DeviceDel),
    },
    Scenario {
        name: "l2fwd-aer",
        about: "the same, with an uncorrectable error on the bus",
        kernels: &Series::STOCK,
        run: |bed| unplug::run(bed, How::Aer),
    },
    Scenario {
        name: "vhost-user",
        about: "the kernel's virtio driver through l2fwd on the host: pings, streams, a reboot; split rings",
        kernels: &Series::STOCK,
        run: |bed| vhost::run(bed, &vhost::Variant::SPLIT),
    },
    Scenario {
        name: "vhost-user-packed",
        about: "the same; packed rings, frames in one buffer each",
        kernels: &[Series::V6_12],
        run: |bed| vhost::run(bed, &vhost::Variant::PACKED),
    },
    Scenario {
        name: "vhost-long",
        about: "two NICs of a guest through l2fwd: pings, and streams that nobody cuts; split rings",
        kernels: &Series::STOCK,
        run: |bed| {
            vhost::run(
                bed,
                &vhost::Variant {
                    shape: Shape::Long,
                    ..vhost::Variant::SPLIT
                },
            )
        },
    },
    Scenario {
        name: "vhost-long-packed",
        about: "the same; packed rings, packets in one buffer each",
        kernels: &[Series::V6_12],
        run: |bed| {
            vhost::run(
                bed,
                &vhost::Variant {
                    shape: Shape::Long,
                    ..vhost::Variant::PACKED
                },
            )
        },
    },
    Scenario {
        name: "vhost-mixed",
        about: "the same where one NIC has no offloads: l2fwd cuts and sums up in software",
        kernels: &[Series::V6_12],
        run: |bed| {
            vhost::run(
                bed,
                &vhost::Variant {
                    shape: Shape::Long,
                    mixed: true,
                    ..vhost::Variant::SPLIT
                },
            )
        },
    },
    Scenario {
        name: "vhost-iperf",
        about: "iperf3's TCP both ways between a guest and the host's kernel, a reboot between; split rings",
        kernels: &Series::STOCK,
        run: |bed| vhost_iperf::run(bed, &vhost::Variant::SPLIT),
    },
    Scenario {
        name: "vhost-iperf-packed",
        about: "the same; packed rings, frames in one buffer each",
        kernels: &[Series::V6_12],
        run: |bed| vhost_iperf::run(bed, &vhost::Variant::PACKED),
    },
    Scenario {
        name: "vhost-iperf-long",
        about: "iperf3 between a guest and a tap of the host, packets that nobody cuts; split rings",
        kernels: &[Series::V6_12],
        run: |bed| {
            vhost_iperf::run(
                bed,
                &vhost::Variant {
                    shape: Shape::Long,
                    ..vhost::Variant::SPLIT
                },
            )
        },
    },
    Scenario {
        name: "vhost-iperf-long-packed",
        about: "the same; packed rings, packets in one buffer each",
        kernels: &[Series::V6_12],
        run: |bed| {
            vhost_iperf::run(
                bed,
                &vhost::Variant {
                    shape: Shape::Long,
                    ..vhost::Variant::PACKED
                },
            )
        },
    },
    Scenario {
        name: "vhost-iperf-checksum",
        about: "the same with frames whose checksums are left open",
        kernels: &[Series::V6_12],
        run: |bed| {
            vhost_iperf::run(
                bed,
                &vhost::Variant {
                    shape: Shape::Open,
                    ..vhost::Variant::SPLIT
                },
            )
        },
    },
    Scenario {
        name: "vhost-migrate",
        about: "a guest moves to another QEMU while files come in through l2fwd: all whole, and it is announced; split rings",
        kernels: &Series::STOCK,
        run: |bed| vhost_migrate::run(bed, "", false, Announcer::Port),
    },
    Scenario {
        name: "vhost-migrate-packed",
        about: "the same, and the guest announces itself; packed rings, frames in one buffer each",
        kernels: &[Series::V6_12],
        run: |bed| vhost_migrate::run(bed, ",mrg=off", true, Announcer::Guest),
    },
    Scenario {
        name: "vhost-net",
        about: "l2fwd between two taps through the kernel's vhost-net: pings, streams, a tap that is removed",
        kernels: &Series::STOCK,
        run: |bed| vhost_net::run(bed, "", Shape::Whole),
    },
    Scenario {
        name: "vhost-net-mrg",
        about: "the same with mergeable buffers, without event indices",
        kernels: &[Series::V6_12],
        run: |bed| vhost_net::run(bed, ",mrg=on,event-idx=off", Shape::Whole),
    },
    Scenario {
        name: "vhost-net-long",
        about: "the same with packets that nobody cuts",
        kernels: &Series::STOCK,
        run: |bed| vhost_net::run(bed, "", Shape::Long),
    },
    Scenario {
        name: "vhost-net-long-mrg",
        about: "the same with mergeable buffers",
        kernels: &[Series::V6_12],
        run: |bed| vhost_net::run(bed, ",mrg=on", Shape::Long),
    },
    Scenario {
        name: "l2fwd-errors",
        about: "every lack of the machine: one cause, one remedy, nothing left behind",
        kernels: &Series::STOCK,
        run: |bed| l2fwd::errors(bed, true),
    },
    Scenario {
        name: "vf-token",
        about: "a VF opens with the token that its PF's owner has set, and with no other",
        kernels: &Series::STOCK,
        run: vfio::vf_token,
    },
    Scenario {
        name: "passed-devices",
        about: "a launcher opens the NICs, l2fwd without any privilege drives them",
        kernels: &Series::STOCK,
        run: vfio::passed_devices,
    },
    Scenario {
        name: "kmod",
        about: "the kernel module: every point of the review, every bug of the patch, every error path",
        kernels: &Series::ALL,
        run: kmod::main,
    },
    Scenario {
        name: "kmod-noremap",
        about: "the kernel module where interrupts are not remapped: refused, or with the table left out",
        kernels: &Series::ALL,
        run: kmod::noremap,
    },
    Scenario {
        name: "kmod-unplug",
        about: "devices of the kernel module are taken out of their slots; debug kernel: lockdep has only pciehp's own report",
        kernels: &Series::ALL,
        run: kmod::unplug,
    },
    Scenario {
        name: "kmod-sleep",
        about: "the machine sleeps (S3) and is woken while a process holds devices of the kernel module",
        kernels: &Series::ALL,
        run: kmod::sleep,
    },
    Scenario {
        name: "l2fwd-no-iommu",
        about: "the same where there is no IOMMU",
        kernels: &Series::STOCK,
        run: |bed| l2fwd::errors(bed, false),
    },
];

impl Scenario {
    /// Name of the run on a kernel series.
    pub fn run_name(&self, series: Series) -> String {
        format!("{}-{series}", self.name)
    }

    /// Runs it with a fresh output directory.
    pub fn run(&self, paths: &Paths, tools: &Tools, kernel: Kernel, series: Series) -> Result<Vec<Check>> {
        let dir = paths.run_dir(&self.run_name(series));
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let checks = (self.run)(&Bed {
            paths,
            tools,
            kernel,
            dir: dir.clone(),
        })?;
        // The archive is large and made again each time.
        fs::remove_file(dir.join("initrd.cpio")).ok();
        Ok(checks)
    }
}

fn virtio(
    bed: &Bed<'_>,
    model: &'static str,
    options: &'static str,
    signal: &'static str,
) -> Result<Vec<Check>> {
    let variant = Variant {
        model,
        options,
        signal,
        ..Variant::PLAIN
    };
    l2fwd::run(bed, &variant)
}

fn virtio_queues(bed: &Bed<'_>, model: &'static str, queues: u32) -> Result<Vec<Check>> {
    let variant = Variant {
        model,
        taps: queues,
        arguments: if queues == 4 {
            "--cores 0,1,2,3"
        } else {
            "--cores 0,1"
        },
        ..Variant::PLAIN
    };
    l2fwd::run(bed, &variant)
}

fn boot(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/boot.sh"));
    vm.nics = vec![
        Nic {
            model: "igb".into(),
            cable: Cable::Hub(1)
        };
        2
    ];
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("DONE")?;
    guest.finish()
}

/// The harness itself: what it writes down about a guest that sleeps.
fn silent_guest(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let mut vm = Vm::new(bed.kernel.clone(), "sleep 30; echo DONE >&3\n");
    vm.silence = Duration::from_secs(5);
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("DONE")?;
    let mut checks = guest.finish()?;
    let text = fs::read_to_string(bed.dir.join("silent-2.txt")).unwrap_or_default();
    for wanted in [
        "VM status: running",
        "RIP=",
        "CPU#1",
        "sysrq: Show State",
        "task:sleep",
        "Tick Device: mode",
        "portb[0x02fd]",
    ] {
        let lines = text.lines().filter(|line| line.contains(wanted)).count();
        checks.push(Check::new(
            wanted.replace(' ', "-"),
            lines > 0,
            format!("{lines} lines"),
        ));
    }
    Ok(checks)
}

fn bridge(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let lines = Lines::new()?;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/bridge.sh"));
    vm.nics = lines.nics("igb");
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("READY")?;
    // An address nobody has: the bridge sends the frames out of the other port, unchanged.
    let mut checks = lines.run(bed, |_| [2, 0xee, 0, 0, 0, 1], |frame, _| frame.clone())?;
    guest.tell("stop")?;
    guest.wait_for("DONE")?;
    checks.extend(guest.finish()?);
    Ok(checks)
}
