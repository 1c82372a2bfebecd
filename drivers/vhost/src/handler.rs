//! What the peer's messages do (vhost-user, "Front-end message types"). The `vhost` crate reads and checks them.

use crate::device::Device;
use crate::features::virtio;
use crate::split::Places;
use crate::sys::{GuestMemory, Log, Region};
use barline::wait::EventFd;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::*;
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};

/// Protocol features that are offered; REPLY_ACK is the `vhost` crate's.
pub(crate) const PROTOCOL: VhostUserProtocolFeatures = VhostUserProtocolFeatures::MQ
    .union(VhostUserProtocolFeatures::LOG_SHMFD)
    .union(VhostUserProtocolFeatures::RARP)
    .union(VhostUserProtocolFeatures::REPLY_ACK)
    .union(VhostUserProtocolFeatures::MTU)
    .union(VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS)
    .union(VhostUserProtocolFeatures::RESET_DEVICE)
    .union(VhostUserProtocolFeatures::STATUS);

/// Regions of memory that a peer may have.
const SLOTS: usize = 128;

/// A message that was understood and cannot be obeyed: the peer hears of it, and the connection stands.
fn refused(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::ReqHandlerError(io::Error::other(why))
}

/// A file descriptor that is written to from the packet path, which never waits.
fn event(file: File) -> Result<EventFd> {
    let fd = OwnedFd::from(file);
    let flags = fcntl(&fd, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    let set = flags.and_then(|flags| fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)));
    set.map_err(refused)?;
    Ok(EventFd::from(fd))
}

fn region(region: &VhostUserMemoryRegion, file: &File) -> Result<Region> {
    let VhostUserMemoryRegion {
        guest_phys_addr,
        memory_size,
        user_addr,
        mmap_offset,
    } = *region;
    Region::new(file, mmap_offset, memory_size, guest_phys_addr, user_addr).map_err(refused)
}

impl Device {
    fn ring(&self, index: u32) -> Result<usize> {
        let index = index as usize;
        match index < self.rings.len() {
            true => Ok(index),
            false => Err(refused(format!("ring {index}: there are {}", self.rings.len()))),
        }
    }

    fn change_ring(&mut self, index: u32, change: impl FnOnce(&mut Self, usize)) -> Result<()> {
        let index = self.ring(index)?;
        self.change(index..index + 1, |device| change(device, index));
        Ok(())
    }

    /// Enables or disables a ring.
    pub fn enable(&mut self, index: u32, on: bool) -> Result<()> {
        if self
            .rings
            .get(index as usize)
            .is_some_and(|ring| ring.enabled == on)
        {
            return Ok(());
        }
        self.change_ring(index, |device, index| device.rings[index].enabled = on)
    }

    /// The driver's status; 0 is a reset (virtio 1.2, 2.1).
    pub fn set_status(&mut self, status: u8) {
        if status == 0 {
            self.stop(0..self.rings.len());
        }
        self.status = status;
    }
}

impl VhostUserBackendReqHandlerMut for Device {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.stop(0..self.rings.len());
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        self.stop(0..self.rings.len());
        self.rings.iter_mut().for_each(|ring| ring.enabled = false);
        self.status = 0;
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.offered)
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        let unknown = features & !self.offered;
        if unknown != 0 {
            return Err(refused(format!("features {unknown:#x} were not offered")));
        }
        if features != self.features {
            self.change_all(|device| device.features = features);
        }
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        let mut memory = GuestMemory::default();
        for (description, file) in regions.iter().zip(&files) {
            let mapped = region(description, file)?;
            memory = memory.with(mapped).ok_or_else(|| refused("regions overlap"))?;
        }
        self.change_all(|device| device.memory = Arc::new(memory));
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let size = u16::try_from(num)
            .ok()
            .filter(|size| (1..=1 << 15).contains(size));
        let size = size.ok_or_else(|| refused(format!("a ring of {num} descriptors")))?;
        self.change_ring(index, |device, index| device.rings[index].size = size)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        flags: VhostUserVringAddrFlags,
        descriptors: u64,
        device: u64,
        driver: u64,
        _log: u64,
    ) -> Result<()> {
        let log = flags.contains(VhostUserVringAddrFlags::VHOST_VRING_F_LOG);
        let places = Places {
            descriptors,
            driver,
            device,
        };
        self.change_ring(index, |device, index| {
            (device.rings[index].places, device.rings[index].log) = (Some(places), log);
        })
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        self.change_ring(index, |device, index| {
            // A packed ring's upper half is the used ring's place: the same, because nothing is held back.
            (device.rings[index].base, device.rings[index].fresh) = (base as u16, true);
            device.shared.gates[index].forgive();
        })
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        // Without an answer the peer would wait for ever: a wrong number ends the connection.
        let at = self.ring(index).map_err(|_| Error::InvalidParam)?;
        self.stop(at..at + 1);
        let base = u32::from(self.rings[at].base);
        let packed = self.has(virtio::RING_PACKED);
        Ok(VhostUserVringState::new(
            index,
            if packed { base | base << 16 } else { base },
        ))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let kick = fd.map(event).transpose()?;
        self.change_ring(index.into(), |device, index| {
            device.set_kick(index, kick);
            device.rings[index].started = true;
        })
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let call = fd.map(event).transpose()?.map(Arc::new);
        self.change_ring(index.into(), |device, index| device.rings[index].call = call)
    }

    fn set_vring_err(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let error = fd.map(event).transpose()?.map(Arc::new);
        self.change_ring(index.into(), |device, index| device.rings[index].error = error)
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(PROTOCOL)
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        self.protocol = features & PROTOCOL.bits();
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.rings.len() as u64 / 2)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.enable(index, enable)
    }

    fn get_config(&mut self, _offset: u32, _size: u32, _flags: VhostUserConfigFlags) -> Result<Vec<u8>> {
        Err(Error::InvalidOperation("CONFIG is not offered"))
    }

    fn set_config(&mut self, _offset: u32, _buf: &[u8], _flags: VhostUserConfigFlags) -> Result<()> {
        Err(Error::InvalidOperation("CONFIG is not offered"))
    }

    fn set_gpu_socket(&mut self, _gpu: GpuBackend) -> Result<()> {
        Err(Error::InvalidOperation("a network card"))
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> Result<File> {
        Err(Error::InvalidOperation("SHARED_OBJECT is not offered"))
    }

    fn get_inflight_fd(&mut self, _inflight: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        Err(Error::InvalidOperation("INFLIGHT_SHMFD is not offered"))
    }

    fn set_inflight_fd(&mut self, _inflight: &VhostUserInflight, _file: File) -> Result<()> {
        Err(Error::InvalidOperation("INFLIGHT_SHMFD is not offered"))
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(SLOTS as u64)
    }

    fn add_mem_region(
        &mut self,
        description: &VhostUserSingleMemoryRegion,
        fd: File,
        _postcopy: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        if self.memory.regions() == SLOTS {
            return Err(refused(format!("{SLOTS} regions are the most")));
        }
        let mapped = region(description, &fd)?;
        let memory = self
            .memory
            .with(mapped)
            .ok_or_else(|| refused("regions overlap"))?;
        self.change_all(|device| device.memory = Arc::new(memory));
        Ok(None)
    }

    fn remove_mem_region(&mut self, description: &VhostUserSingleMemoryRegion) -> Result<()> {
        let VhostUserMemoryRegion {
            guest_phys_addr,
            memory_size,
            user_addr,
            ..
        } = **description;
        let memory = self.memory.without(guest_phys_addr, user_addr, memory_size);
        let memory = memory.ok_or_else(|| refused("there is no such region"))?;
        self.change_all(|device| device.memory = Arc::new(memory));
        Ok(())
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _fd: File,
    ) -> Result<Option<File>> {
        Err(Error::InvalidOperation("DEVICE_STATE is not offered"))
    }

    fn check_device_state(&mut self) -> Result<()> {
        Err(Error::InvalidOperation("DEVICE_STATE is not offered"))
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Err(Error::InvalidOperation("SHMEM is not offered"))
    }

    fn set_log_base(&mut self, log: &VhostUserLog, file: File) -> Result<()> {
        // Its answer is the same message: without one the peer would wait for ever.
        let mapped = Log::new(&file, log.mmap_offset, log.mmap_size).map_err(|_| Error::InvalidParam)?;
        self.change_all(|device| device.log = Some(Arc::new(mapped)));
        Ok(())
    }
}
