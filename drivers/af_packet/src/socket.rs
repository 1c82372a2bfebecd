//! A port's sockets: one for each queue, and what is set on all of them.

use crate::sys::{self, Instruction, Ring, Slots};
use crate::{AfPacketError, Fanout};
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes of a block. A frame that the sender has left to its device to cut is 64 KiB long, and has to fit one.
pub(crate) const BLOCK: usize = 128 << 10;
/// Least blocks of a ring. However short the frames are, each may hold one alone when it is handed over, a tick after the one before:
/// so many ticks without a poll are survived, whatever comes.
const LEAST_BLOCKS: usize = 32;
/// Bytes that a frame of the usual length takes in a block.
const FRAME: usize = 2048;

/// Which frames a port wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub promiscuous: bool,
    pub multicast: bool,
}

/// Drops everything.
const NOTHING: &[Instruction] = &[(RET, 0, 0, 0)];
const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// "All of it".
const WHOLE: u32 = u32::MAX;

impl Wanted {
    /// As a filter: by whom a frame is for, as the kernel sees it when it arrives.
    fn program(self) -> Vec<Instruction> {
        if self.promiscuous {
            return vec![(RET, 0, 0, WHOLE)];
        }
        let multicast = match self.multicast {
            true => libc::PACKET_MULTICAST,
            false => libc::PACKET_HOST,
        };
        let kind = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
        vec![
            (LOAD, 0, 0, kind),
            (EQUAL, 3, 0, libc::PACKET_HOST.into()),
            (EQUAL, 2, 0, libc::PACKET_BROADCAST.into()),
            (EQUAL, 1, 0, multicast.into()),
            (RET, 0, 0, 0),
            (RET, 0, 0, WHOLE),
        ]
    }
}

/// A socket that sends, with a ring of `descriptors` frames of up to `longest` bytes.
pub(crate) fn sender(index: i32, descriptors: u32, longest: usize) -> Result<Slots, AfPacketError> {
    let socket = sys::socket().map_err(AfPacketError::of("socket"))?;
    let fd = socket.as_fd();
    // A kernel that does not know it (before 3.14) queues frames, which is only slower.
    let _ = sys::option(fd, libc::PACKET_QDISC_BYPASS, 1);
    sys::bind(fd, index, false).map_err(AfPacketError::of("bind"))?;
    let bytes = Slots::bytes(descriptors as usize, longest);
    Slots::new(socket, descriptors as usize, longest).map_err(ring("setsockopt PACKET_TX_RING", bytes))
}

/// What it means that there is no ring.
fn ring(call: &'static str, bytes: usize) -> impl Fn(Errno) -> AfPacketError {
    move |errno| match errno {
        Errno::ENOMEM | Errno::ENOBUFS => AfPacketError::NoMemory { bytes },
        errno => AfPacketError::of(call)(errno),
    }
}

/// Sockets that receive, all of one interface: nothing yet, so that no frame comes to two of them before they are a group.
pub(crate) fn receivers(
    index: i32,
    queues: u16,
    descriptors: u32,
    fanout: Fanout,
) -> Result<Vec<Ring>, AfPacketError> {
    let blocks = (descriptors as usize * FRAME).div_ceil(BLOCK).max(LEAST_BLOCKS);
    let rings: Result<Vec<Ring>, _> = (0..queues).map(|_| receiver(index, blocks)).collect();
    let rings = rings?;
    if rings.len() > 1 {
        group(&rings, fanout).map_err(AfPacketError::of("setsockopt PACKET_FANOUT"))?;
    }
    Ok(rings)
}

fn receiver(index: i32, blocks: usize) -> Result<Ring, AfPacketError> {
    let socket = sys::socket().map_err(AfPacketError::of("socket"))?;
    let fd = socket.as_fd();
    let os = AfPacketError::of("setsockopt");
    sys::filter(fd, NOTHING).map_err(&os)?;
    sys::option(fd, libc::PACKET_VNET_HDR, 1).map_err(&os)?;
    sys::option(fd, libc::PACKET_IGNORE_OUTGOING, 1).map_err(&os)?;
    let bytes = blocks * BLOCK;
    let made = Ring::new(socket, blocks, BLOCK);
    let ring = made.map_err(ring("setsockopt PACKET_RX_RING", bytes))?;
    sys::bind(ring.as_fd(), index, true).map_err(AfPacketError::of("bind"))?;
    Ok(ring)
}

/// Makes the sockets one group with a number that no other has.
fn group(rings: &[Ring], fanout: Fanout) -> nix::Result<()> {
    let mut number = 0;
    for (index, ring) in rings.iter().enumerate() {
        let unique = if index == 0 {
            libc::PACKET_FANOUT_FLAG_UNIQUEID
        } else {
            0
        };
        let kind = fanout.number() | unique;
        sys::option(ring.as_fd(), libc::PACKET_FANOUT, (kind << 16 | number) as i32)?;
        if index == 0 {
            number = sys::option_of(ring.as_fd(), libc::PACKET_FANOUT)? as u32 & 0xffff;
        }
    }
    Ok(())
}

/// Lets the frames through that are wanted. Memberships end with the socket, whatever ends that.
pub(crate) fn want(fds: &[BorrowedFd<'_>], index: i32, before: Wanted, wanted: Wanted) -> nix::Result<()> {
    if let Some(first) = fds.first() {
        for (kind, was, is) in [
            (libc::PACKET_MR_PROMISC, before.promiscuous, wanted.promiscuous),
            (libc::PACKET_MR_ALLMULTI, before.multicast, wanted.multicast),
        ] {
            if was != is {
                sys::membership(*first, index, kind, is)?;
            }
        }
    }
    fds.iter().try_for_each(|fd| sys::filter(*fd, &wanted.program()))
}
