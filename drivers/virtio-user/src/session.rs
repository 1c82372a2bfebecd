//! A conversation with one back end, in the order of the vhost-user specification's "Starting and stopping rings".

use crate::Settings;
use crate::back::{BackEnd, News, Parted, Piece};
use crate::error::Refusal;
use crate::features::{PROTOCOL, choose, with_offloads};
use crate::guard::{Patience, guarded};
use crate::rings::Vring;
use crate::socket::{Waiting, look};
use crate::sys::lend;
use barline::mem::{Iova, SharedRegion};
use barline::offload::Offloads;
use barline::port::MacAddress;
use barline::wait::EventFd;
use barline_virtio::Features;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserHeaderFlag};
use vhost::vhost_user::{Frontend, VhostUserFrontend, VhostUserProtocolFeatures as Protocol};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};

/// Rings are told by addresses of our process, buffers by those of the guest. We choose both, so that the back end learns
/// nothing of where our memory is, and neither is taken for the other: the first are the second, so much further on.
const USER: u64 = 1 << 44;

/// A packed ring begins with wrap counters of 1; the highest bit says so.
const PACKED_BASE: u16 = 1 << 15;

/// A back end with which features are agreed upon.
pub(crate) struct Session {
    stream: UnixStream,
    front: Frontend,
    offered: Features,
    features: Features,
    mac: Option<MacAddress>,
    mtu: Option<u16>,
}

impl Session {
    /// Gets acquainted.
    ///
    /// # Errors
    /// It hangs up, does not answer in time, or does not have what the settings need.
    pub fn greet(stream: UnixStream, settings: &Settings, stop: &EventFd) -> Result<Self, Refusal> {
        let ours = stream.try_clone()?;
        let greeting = || Self::negotiate(ours, settings);
        let (result, cut) = guarded(&stream, stop, Patience::Greeting, greeting)?;
        if cut {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        result
    }

    fn negotiate(stream: UnixStream, settings: &Settings) -> Result<Self, Refusal> {
        let (mut front, offered, protocol) = acquaint(&stream, settings)?;
        if settings.queues > 1 {
            if !protocol.contains(Protocol::MQ) {
                return Err(Refusal::Lacks(
                    "a number of queues (VHOST_USER_PROTOCOL_F_MQ); write queues=1",
                ));
            }
            let (has, wanted) = (front.get_queue_num()?, settings.queues);
            if has < wanted.into() {
                return Err(Refusal::Queues { has, wanted });
            }
            // The crate takes the number of pairs for one of rings from now on, and refuses the rest of them.
            front = acquaint(&stream, settings)?.0;
        }
        let features = choose(offered, settings)?;
        let config = match protocol.contains(Protocol::CONFIG) {
            true => read_config(&mut front),
            false => [0; CONFIG],
        };
        let mac = MacAddress(std::array::from_fn(|i| config[i]));
        let mtu = u16::from_le_bytes([config[10], config[11]]);
        Ok(Self {
            stream,
            front,
            offered,
            features,
            mac: Some(mac).filter(|mac| features.contains(Features::MAC) && mac.is_station()),
            mtu: Some(mtu).filter(|mtu| features.contains(Features::MTU) && *mtu >= 68),
        })
    }
}

impl BackEnd for Session {
    fn features(&self) -> Features {
        self.features
    }

    fn agree(&mut self, offloads: Offloads) -> Result<(), Refusal> {
        self.features = with_offloads(self.features, self.offered, offloads);
        Ok(())
    }

    fn mac(&self) -> Option<MacAddress> {
        self.mac
    }

    fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    fn event(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn look(&self) -> News {
        match look(&self.stream) {
            Waiting::End => News::HungUp,
            Waiting::Data => News::Bad(Refusal::Unasked),
            Waiting::Nothing => News::Nothing,
        }
    }

    fn begin(&mut self, memory: &[Piece], vrings: &[Vring], stop: &EventFd) -> Result<(), Refusal> {
        let (front, features) = (&mut self.front, self.features);
        let (result, cut) = guarded(&self.stream, stop, Patience::Greeting, || {
            set_up(front, features, memory, vrings)
        })?;
        if cut {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        result
    }

    fn part(&mut self, vrings: &[Vring], stop: &EventFd) -> Parted {
        let (front, enabled) = (&mut self.front, self.features.contains(PROTOCOL));
        let stream = &self.stream;
        let parted = guarded(stream, stop, Patience::Parting, || {
            match take_back(front, vrings, enabled) {
                Ok(()) => Parted::Said,
                // Only its end counts now: it may have said anything.
                Err(_) if until_end(stream) => Parted::HungUp,
                Err(_) => Parted::Silent,
            }
        });
        match parted {
            Ok((parted, false)) => parted,
            _ => Parted::Silent,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?})", self.features)
    }
}

/// The first messages, and a crate's object that knows their answers.
fn acquaint(stream: &UnixStream, settings: &Settings) -> Result<(Frontend, Features, Protocol), Refusal> {
    let mut front = Frontend::from_stream(stream.try_clone()?, 2 * u64::from(settings.queues));
    front.set_owner()?;
    let offered = Features::from_bits_retain(front.get_features()?);
    let mut protocol = Protocol::empty();
    if offered.contains(PROTOCOL) {
        let wanted = Protocol::MQ | Protocol::REPLY_ACK | Protocol::CONFIG;
        protocol = front.get_protocol_features()? & wanted;
        front.set_protocol_features(protocol)?;
    }
    if protocol.contains(Protocol::REPLY_ACK) {
        front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    }
    Ok((front, offered, protocol))
}

/// Address, status, pairs and MTU (virtio 5.1.4).
const CONFIG: usize = 12;

/// Zeros where the back end has none after all.
fn read_config(front: &mut Frontend) -> [u8; CONFIG] {
    let zeros = [0; CONFIG];
    let answer = front.get_config(0, CONFIG as u32, VhostUserConfigFlags::empty(), &zeros);
    answer
        .ok()
        .and_then(|(_, bytes)| bytes.try_into().ok())
        .unwrap_or(zeros)
}

fn set_up(
    front: &mut Frontend,
    features: Features,
    memory: &[Piece],
    vrings: &[Vring],
) -> Result<(), Refusal> {
    front.set_features(features.bits())?;
    let regions: Vec<VhostUserMemoryRegionInfo> = memory.iter().map(|piece| told(&piece.region)).collect();
    front.set_mem_table(&regions)?;
    let base = if features.contains(Features::RING_PACKED) {
        PACKED_BASE
    } else {
        0
    };
    for vring in vrings {
        let (index, user) = (vring.index, |iova: Iova| iova.raw() + USER);
        front.set_vring_num(index, vring.len as u16)?;
        front.set_vring_base(index, base)?;
        let config = VringConfigData {
            queue_max_size: vring.len as u16,
            queue_size: vring.len as u16,
            flags: 0,
            desc_table_addr: user(vring.areas.desc),
            used_ring_addr: user(vring.areas.device),
            avail_ring_addr: user(vring.areas.driver),
            log_addr: None,
        };
        front.set_vring_addr(index, &config)?;
        front.set_vring_call(index, &lend(&vring.call)?)?;
        front.set_vring_kick(index, &lend(&vring.kick)?)?;
    }
    if features.contains(PROTOCOL) {
        // Without protocol features rings are enabled as they are.
        for vring in vrings {
            front.set_vring_enable(vring.index, true)?;
        }
    }
    // DPDK acknowledges a message before it acts on it, and drops what it takes while only half of its queues are on. An answer
    // to any question comes when it is done.
    front.get_features()?;
    Ok(())
}

fn told(region: &SharedRegion) -> VhostUserMemoryRegionInfo {
    VhostUserMemoryRegionInfo {
        guest_phys_addr: region.iova().raw(),
        memory_size: region.len() as u64,
        userspace_addr: region.iova().raw() + USER,
        mmap_offset: 0,
        mmap_handle: region.file().as_raw_fd(),
    }
}

/// After the answer to GET_VRING_BASE a ring is stopped.
fn take_back(front: &mut Frontend, vrings: &[Vring], enabled: bool) -> Result<(), vhost::Error> {
    for vring in vrings.iter().filter(|_| enabled) {
        front.set_vring_enable(vring.index, false)?;
    }
    for vring in vrings {
        front.get_vring_base(vring.index)?;
    }
    Ok(())
}

/// Says that it is over, and reads whatever comes until the peer has hung up. The guard ends it at last.
fn until_end(stream: &UnixStream) -> bool {
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let (mut stream, mut sink) = (stream, [0; 512]);
    loop {
        match io::Read::read(&mut stream, &mut sink) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}
