//! A device without a control thread, for fuzz targets and tests: messages from bytes, and rings in a file.

use crate::device::{Device, Shared};
use crate::features::{Features, of_offloads, virtio};
use crate::rx::VhostRx;
use crate::serve::converse;
use crate::tx::VhostTx;
use barline::offload::Offloads;
use barline::wait::EventFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use vhost::vhost_user::VhostUserBackendReqHandlerMut;
use vhost::vhost_user::message::{VhostUserLog, VhostUserSingleMemoryRegion, VhostUserVringAddrFlags};

/// Where the guest has its memory, and where the front end's process does.
pub const GUEST: u64 = 0x10_0000;
const USER: u64 = 0x7000_0000_0000;

/// Has a device read these bytes as its peer's messages, to their end or to the first that ends the connection.
///
/// # Panics
/// Out of file descriptors.
pub fn messages(bytes: &[u8]) {
    let shared = Shared::new(2).expect("descriptors");
    let device = Arc::new(Mutex::new(Device::new(&shared, Features::default().offered())));
    let (mut peer, ours) = UnixStream::pair().expect("a pair");
    let own = ours.try_clone().expect("a descriptor");
    // More would wait for a reader.
    peer.write_all(&bytes[..bytes.len().min(1 << 14)]).expect("room");
    peer.shutdown(Shutdown::Write).expect("a socket");
    let stop = EventFd::new().expect("a descriptor");
    // Errors are what is expected of it.
    let _ = converse(ours, own, &device, &stop);
    device.lock().expect("no panic").reset();
}

/// Both rings of a pair, in a file.
#[derive(Debug)]
pub struct Rings {
    pub(crate) device: Device,
    /// What the peer sends.
    pub rx: VhostRx,
    /// What it receives.
    pub tx: VhostTx,
}

/// Offsets in the file of a ring's descriptors, driver's area and device's area; the second ring's are 64 KiB behind.
pub const PLACES: [u64; 3] = [0, 0x4000, 0x8000];
/// Bytes between the two rings.
pub const APART: u64 = 0x1_0000;
/// Descriptors of a ring.
pub const SIZE: u32 = 64;

/// What the rings stand on.
#[derive(Clone, Copy, Debug)]
pub struct Ground {
    /// Bytes of the guest's memory.
    pub len: u64,
    /// Where a second region begins, if there is one: as far into the memory, and right behind the first one.
    pub border: Option<u64>,
    /// The features that the peer takes, of those that are offered.
    pub features: u64,
    /// Longest frame in bytes.
    pub most: u32,
}

/// VHOST_F_LOG_ALL: writes are logged.
pub const LOG_ALL: u64 = virtio::LOG_ALL;

impl Rings {
    /// Rings in the first 128 KiB of a file, all of which is the guest's memory.
    ///
    /// # Panics
    /// A file that is too short.
    pub fn new(file: &File, ground: &Ground) -> Self {
        let shared = Shared::new(1).expect("descriptors");
        let (life, limit) = (Arc::new(()), Arc::new(AtomicU32::new(ground.most)));
        let tx = VhostTx::new(&shared.gates[0], &life, &limit);
        let rx = VhostRx::new(&shared.gates[1], &life, &limit);
        let offered = Features::default().offered() | of_offloads(Offloads::all());
        let mut device = Device::new(&shared, offered);
        let features = ground.features & device.offered;
        device.set_features(features).expect("features");
        let border = ground.border.unwrap_or(ground.len);
        for (at, end) in [(0, border), (border, ground.len)] {
            if at < end {
                let region = VhostUserSingleMemoryRegion::new(GUEST + at, end - at, USER + at, at);
                let file = file.try_clone().expect("a descriptor");
                device.add_mem_region(&region, file, None).expect("a region");
            }
        }
        if features & LOG_ALL != 0 {
            // A bit a page.
            let log = File::from(memfd_create(c"log", MFdFlags::MFD_CLOEXEC).expect("memory"));
            let len = (GUEST + ground.len).div_ceil(8 * 4096);
            log.set_len(len).expect("memory");
            let place = VhostUserLog {
                mmap_size: len,
                mmap_offset: 0,
            };
            device.set_log_base(&place, log).expect("a log");
        }
        let mut rings = Self { device, rx, tx };
        rings.restart(0, 0);
        rings.restart(1, 0);
        rings
    }

    /// Stops a ring and sets it up anew.
    ///
    /// # Panics
    /// Out of file descriptors.
    pub fn restart(&mut self, index: u32, base: u32) {
        let Self { device, .. } = self;
        device.get_vring_base(index).expect("a ring");
        let [descriptors, driver, place] = PLACES.map(|place| USER + u64::from(index) * APART + place);
        let log = match device.has(LOG_ALL) {
            true => VhostUserVringAddrFlags::VHOST_VRING_F_LOG,
            false => VhostUserVringAddrFlags::empty(),
        };
        device.set_vring_num(index, SIZE).expect("a length");
        device.set_vring_base(index, base).expect("a base");
        device
            .set_vring_addr(index, log, descriptors, place, driver, 0)
            .expect("places");
        let event = || {
            File::from(
                EventFd::new()
                    .expect("a descriptor")
                    .as_fd()
                    .try_clone_to_owned()
                    .expect("one"),
            )
        };
        device.set_vring_call(index as u8, Some(event())).expect("a call");
        device.set_vring_kick(index as u8, Some(event())).expect("a kick");
        device.set_vring_enable(index, true).expect("a ring");
    }
}
