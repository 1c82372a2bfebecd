//! The table of VM scenarios.

use super::{Bed, Run, Scenario, basic};
use crate::vm::capture::Shape;
use crate::vm::kernel::Series;
use crate::vm::l2fwd::{self, Variant};
use crate::vm::qemu::Check;
use crate::vm::unplug::{self, How};
use crate::vm::vhost_migrate::{self, Announcer};
use crate::vm::{af_xdp, counted, idle, kmod, vfio, vhost, vhost_iperf, vhost_net, virtio_tcp};
use anyhow::Result;

/// On both kernels of Debian.
const fn stock(name: &'static str, about: &'static str, run: Run) -> Scenario {
    on(&Series::STOCK, name, about, run)
}

/// On the newer one alone.
const fn newer(name: &'static str, about: &'static str, run: Run) -> Scenario {
    on(&[Series::V6_12], name, about, run)
}

/// On the debug kernel too.
const fn all(name: &'static str, about: &'static str, run: Run) -> Scenario {
    on(&Series::ALL, name, about, run)
}

/// On the newest kernel that is to be had, and on no other.
const fn newest(name: &'static str, about: &'static str, run: Run) -> Scenario {
    on(&[Series::Newest], name, about, run)
}

const fn on(kernels: &'static [Series], name: &'static str, about: &'static str, run: Run) -> Scenario {
    Scenario {
        name,
        about,
        kernels,
        run,
    }
}

/// All scenarios: first those without the forwarder, which is built meanwhile; cheap ones first but for some at the end, which leave
/// no lane idle for long. A new one is a function and a line here.
pub const SCENARIOS: &[Scenario] = &[
    stock(
        "boot",
        "IOMMU, interrupt remapping, vfio-pci takes igb and gives it back",
        basic::boot,
    ),
    stock(
        "silent-guest",
        "of a guest that says nothing for long, the state is written down",
        basic::silent_guest,
    ),
    stock(
        "bridge",
        "kernel drivers forward 10,000 frames each way over the wire",
        basic::bridge,
    ),
    stock(
        "vf-token",
        "a VF opens with the token that its PF's owner has set, and with no other",
        vfio::vf_token,
    ),
    stock(
        "l2fwd-signals",
        "l2fwd forwards 10,000 frames each way and ends cleanly; by SIGTERM too; killed, it leaves the machine as it was",
        |bed| {
            l2fwd::run(
                bed,
                &Variant {
                    signals: &["INT", "TERM", "KILL"],
                    ..Variant::PLAIN
                },
            )
        },
    ),
    stock(
        "l2fwd-queues",
        "10,000 frames each way on two queues and two cores",
        |bed| {
            l2fwd::run(
                bed,
                &Variant {
                    arguments: "--queues 2 --cores 0,1",
                    ..Variant::PLAIN
                },
            )
        },
    ),
    stock(
        "l2fwd-virtio-split",
        "10,000 frames each way through virtio-net behind the IOMMU: split rings",
        |bed| virtio(bed, "virtio-net-pci", "", &["INT"]),
    ),
    stock(
        "l2fwd-virtio-split-mrg",
        "the same with mergeable buffers, without event indices",
        |bed| virtio(bed, "virtio-net-pci,event_idx=off", ",mrg=on", &["INT"]),
    ),
    stock(
        "l2fwd-virtio-split-in-order",
        "the same with a device that completes in order",
        |bed| virtio(bed, "virtio-net-pci,in_order=on", "", &["INT"]),
    ),
    stock(
        "l2fwd-virtio-split-mrg-in-order",
        "the same with mergeable buffers",
        |bed| virtio(bed, "virtio-net-pci,in_order=on", ",mrg=on", &["INT"]),
    ),
    stock(
        "l2fwd-virtio-packed",
        "packed rings, a device without mergeable buffers",
        |bed| virtio(bed, "virtio-net-pci,packed=on,mrg_rxbuf=off", "", &["INT"]),
    ),
    stock(
        "l2fwd-virtio-packed-mrg",
        "packed rings with mergeable buffers",
        |bed| virtio(bed, "virtio-net-pci,packed=on", ",mrg=on", &["INT"]),
    ),
    stock(
        "l2fwd-virtio-packed-in-order",
        "packed rings of a device that completes in order",
        |bed| virtio(bed, "virtio-net-pci,packed=on,in_order=on", "", &["INT"]),
    ),
    stock(
        "l2fwd-virtio-packed-mrg-in-order",
        "the same with mergeable buffers",
        |bed| virtio(bed, "virtio-net-pci,packed=on,in_order=on", ",mrg=on", &["INT"]),
    ),
    stock(
        "l2fwd-virtio-packed-event-idx",
        "packed rings with event indices, of a QEMU that looks once more after each frame (x-txburst=1): by default it stalls",
        |bed| {
            virtio(
                bed,
                "virtio-net-pci,packed=on,x-txburst=1",
                ",event-idx=on",
                &["INT"],
            )
        },
    ),
    stock(
        "l2fwd-virtio-sigkill",
        "packed rings, killed: the machine must be left as it was",
        |bed| virtio(bed, "virtio-net-pci,packed=on", "", &["KILL"]),
    ),
    stock(
        "l2fwd-virtio-queues",
        "two pairs of queues on two cores, packed rings",
        |bed| virtio_queues(bed, "virtio-net-pci,packed=on,mq=on", 2),
    ),
    stock(
        "l2fwd-virtio-rss",
        "the same spread by receive-side scaling, split rings",
        |bed| virtio_queues(bed, "virtio-net-pci,mq=on,rss=on", 2),
    ),
    newer(
        "l2fwd-virtio-rss-four",
        "four pairs of queues, all of which receive-side scaling uses",
        |bed| virtio_queues(bed, "virtio-net-pci,mq=on,rss=on", 4),
    ),
    newer(
        "l2fwd-virtio-tcp",
        "TCP between two networks of the host through our driver, whose NICs offer offloads that it does not take",
        |bed| virtio_tcp::run(bed, "virtio-net-pci", Shape::Whole),
    ),
    newer(
        "l2fwd-virtio-checksum",
        "the same, with checksums left open all the way, packed rings",
        |bed| virtio_tcp::run(bed, "virtio-net-pci,packed=on", Shape::Open),
    ),
    stock(
        "l2fwd-virtio-long",
        "the same, with packets that nobody cuts, split rings",
        |bed| virtio_tcp::run(bed, "virtio-net-pci", Shape::Long),
    ),
    newer("l2fwd-virtio-long-packed", "the same, packed rings", |bed| {
        virtio_tcp::run(bed, "virtio-net-pci,packed=on", Shape::Long)
    }),
    all(
        "l2fwd-kmod-signals",
        "l2fwd through barline.ko as an ordinary user: 10,000 frames each way, ends cleanly; killed, it leaves the machine as it was",
        |bed| {
            l2fwd::run(
                bed,
                &Variant {
                    signals: &["INT", "KILL"],
                    arguments: "--bus kmod",
                    kmod: true,
                    ..Variant::PLAIN
                },
            )
        },
    ),
    all(
        "l2fwd-kmod-suspend",
        "the same, and the machine sleeps twice: told, stopped, started again",
        |bed| {
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
    ),
    stock(
        "l2fwd-idle",
        "below 2 % of a core without traffic, and frames wake it",
        idle::idle,
    ),
    stock(
        "l2fwd-counted",
        "in counted time: below 2 % of a core without traffic, a NIC is let go within 100 ms",
        counted::run,
    ),
    stock(
        "l2fwd-syscalls",
        "no system call of the worker under load",
        idle::system_calls,
    ),
    stock(
        "l2fwd-kill",
        "killed at fourteen moments: nothing is left behind",
        idle::kill,
    ),
    stock(
        "l2fwd-unbind",
        "a NIC is unbound ten times under traffic: released in time, the others forward on",
        |bed| unplug::run(bed, How::Unbind),
    ),
    stock(
        "l2fwd-unplug",
        "the same, with device_del and device_add",
        |bed| unplug::run(bed, How::DeviceDel),
    ),
    stock(
        "l2fwd-aer",
        "the same, with an uncorrectable error on the bus",
        |bed| unplug::run(bed, How::Aer),
    ),
    stock(
        "vhost-user",
        "the kernel's virtio driver through l2fwd on the host: pings, streams, a reboot; split rings",
        |bed| vhost::run(bed, &vhost::Variant::SPLIT),
    ),
    newer(
        "vhost-user-packed",
        "the same; packed rings, frames in one buffer each",
        |bed| vhost::run(bed, &vhost::Variant::PACKED),
    ),
    stock(
        "vhost-long",
        "two NICs of a guest through l2fwd: pings, and streams that nobody cuts; split rings",
        |bed| vhost::run(bed, &vhost::Variant::SPLIT.shaped(Shape::Long)),
    ),
    newer(
        "vhost-long-packed",
        "the same; packed rings, packets in one buffer each",
        |bed| vhost::run(bed, &vhost::Variant::PACKED.shaped(Shape::Long)),
    ),
    newer(
        "vhost-mixed",
        "the same where one NIC has no offloads: l2fwd cuts and sums up in software",
        |bed| vhost::run(bed, &vhost::Variant::SPLIT.shaped(Shape::Long).mixed()),
    ),
    stock(
        "vhost-iperf",
        "iperf3's TCP both ways between a guest and the host's kernel, a reboot between; split rings",
        |bed| vhost_iperf::run(bed, &vhost::Variant::SPLIT),
    ),
    newer(
        "vhost-iperf-packed",
        "the same; packed rings, frames in one buffer each",
        |bed| vhost_iperf::run(bed, &vhost::Variant::PACKED),
    ),
    newer(
        "vhost-iperf-long",
        "iperf3 between a guest and a tap of the host, packets that nobody cuts; split rings",
        |bed| vhost_iperf::run(bed, &vhost::Variant::SPLIT.shaped(Shape::Long)),
    ),
    newer(
        "vhost-iperf-long-packed",
        "the same; packed rings, packets in one buffer each",
        |bed| vhost_iperf::run(bed, &vhost::Variant::PACKED.shaped(Shape::Long)),
    ),
    newer(
        "vhost-iperf-checksum",
        "the same with frames whose checksums are left open",
        |bed| vhost_iperf::run(bed, &vhost::Variant::SPLIT.shaped(Shape::Open)),
    ),
    stock(
        "vhost-migrate",
        "a guest moves to another QEMU while files come in through l2fwd: all whole, and it is announced; split rings",
        |bed| vhost_migrate::run(bed, "", false, Announcer::Port),
    ),
    newer(
        "vhost-migrate-packed",
        "the same, and the guest announces itself; packed rings, frames in one buffer each",
        |bed| vhost_migrate::run(bed, ",mrg=off", true, Announcer::Guest),
    ),
    stock(
        "vhost-net",
        "l2fwd between two taps through the kernel's vhost-net: pings, streams, a tap that is removed",
        |bed| vhost_net::run(bed, "", Shape::Whole),
    ),
    newer(
        "vhost-net-mrg",
        "the same with mergeable buffers, without event indices",
        |bed| vhost_net::run(bed, ",mrg=on,event-idx=off", Shape::Whole),
    ),
    stock(
        "vhost-net-long",
        "the same with packets that nobody cuts",
        |bed| vhost_net::run(bed, "", Shape::Long),
    ),
    newer("vhost-net-long-mrg", "the same with mergeable buffers", |bed| {
        vhost_net::run(bed, ",mrg=on", Shape::Long)
    }),
    newest(
        "af-xdp-zerocopy",
        "l2fwd on two queues of the kernel's igb with AF_XDP's zero copy: killed, set down and up, unplugged",
        |bed| af_xdp::run(bed, &af_xdp::Variant::IGB),
    ),
    newest(
        "af-xdp-zerocopy-virtio",
        "the same on the kernel's virtio_net, with buffers on huge pages",
        |bed| af_xdp::run(bed, &af_xdp::Variant::VIRTIO),
    ),
    all(
        "kmod",
        "the kernel module: every point of the review, every bug of the patch, every error path",
        kmod::main,
    ),
    all(
        "kmod-sleep",
        "the machine sleeps (S3) and is woken while a process holds devices of the kernel module",
        kmod::sleep,
    ),
    stock(
        "l2fwd-errors",
        "every lack of the machine: one cause, one remedy, nothing left behind",
        |bed| l2fwd::errors(bed, true),
    ),
    stock(
        "passed-devices",
        "a launcher opens the NICs, l2fwd without any privilege drives them",
        vfio::passed_devices,
    ),
    all(
        "kmod-noremap",
        "the kernel module where interrupts are not remapped: refused, or with the table left out",
        kmod::noremap,
    ),
    all(
        "kmod-unplug",
        "devices of the kernel module are taken out of their slots; debug kernel: lockdep has only pciehp's own report",
        kmod::unplug,
    ),
    stock("l2fwd-no-iommu", "the same where there is no IOMMU", |bed| {
        l2fwd::errors(bed, false)
    }),
];

fn virtio(
    bed: &Bed<'_>,
    model: &'static str,
    options: &'static str,
    signals: &'static [&'static str],
) -> Result<Vec<Check>> {
    let variant = Variant {
        model,
        options,
        signals,
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
