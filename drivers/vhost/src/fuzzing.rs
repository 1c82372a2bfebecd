//! A device without a control thread, for fuzz targets: messages from bytes, and rings in a file.

use crate::device::{Device, Shared};
use crate::features::{Features, of_offloads};
use crate::rx::VhostRx;
use crate::serve::converse;
use crate::tx::VhostTx;
use barline::offload::Offloads;
use barline::wait::EventFd;
use std::fs::File;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use vhost::vhost_user::VhostUserBackendReqHandlerMut;
use vhost::vhost_user::message::{VhostUserSingleMemoryRegion, VhostUserVringAddrFlags};

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
    device: Device,
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

impl Rings {
    /// Rings with these features in the first 128 KiB of a file, all of which is the guest's memory.
    ///
    /// # Panics
    /// A file that is too short, features that are not offered.
    pub fn new(file: &File, len: u64, features: u64, most: u32) -> Self {
        let shared = Shared::new(1).expect("descriptors");
        let (life, limit) = (Arc::new(()), Arc::new(AtomicU32::new(most)));
        let tx = VhostTx::new(&shared.gates[0], &life, &limit);
        let rx = VhostRx::new(&shared.gates[1], &life, &limit);
        let offered = Features::default().offered() | of_offloads(Offloads::all());
        let mut device = Device::new(&shared, offered);
        device.set_features(features & device.offered).expect("features");
        let region = VhostUserSingleMemoryRegion::new(GUEST, len, USER, 0);
        let file = file.try_clone().expect("a descriptor");
        device.add_mem_region(&region, file, None).expect("a region");
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
        let log = VhostUserVringAddrFlags::empty();
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
