//! What cannot be done safely elsewhere: the `vhost` crate's eventfds, and the calls of the kernel's vhost-net and tap.
#![allow(unsafe_code)]

use crate::kernel::TapName;
use barline::mem::{Iova, Mapping};
use barline::wait::EventFd;
use nix::libc;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use vhost::vhost_kern::vhost_binding::{
    vhost_memory_region, vhost_vring_addr, vhost_vring_file, vhost_vring_state,
};

/// The same counter as the `vhost` crate wants it.
///
/// # Errors
/// Out of file descriptors.
pub(crate) fn lend(event: &EventFd) -> io::Result<vmm_sys_util::eventfd::EventFd> {
    let fd = event.duplicate()?.into_raw_fd();
    // SAFETY: a descriptor of our own that was just given up, and an eventfd.
    Ok(unsafe { vmm_sys_util::eventfd::EventFd::from_raw_fd(fd) })
}

/// Most regions of memory that back ends take (`VHOST_MEMORY_BASELINE_NREGIONS`); one is the rings'.
pub(crate) const REGIONS: usize = 8;

/// `struct vhost_memory` with its array.
#[repr(C)]
struct Table {
    count: u32,
    padding: u32,
    regions: [vhost_memory_region; REGIONS],
}

/// `struct vhost_memory` alone, whose size is in the call's number.
#[repr(C)]
struct TableHead([u32; 2]);

/// Numbers and structures of `linux/vhost.h`.
mod vhost_calls {
    use super::{TableHead, vhost_vring_addr, vhost_vring_file, vhost_vring_state};
    const VHOST: u8 = 0xaf;
    nix::ioctl_read!(get_features, VHOST, 0x00, u64);
    nix::ioctl_write_ptr!(set_features, VHOST, 0x00, u64);
    nix::ioctl_none!(set_owner, VHOST, 0x01);
    nix::ioctl_write_ptr!(set_mem_table, VHOST, 0x03, TableHead);
    nix::ioctl_write_ptr!(set_vring_num, VHOST, 0x10, vhost_vring_state);
    nix::ioctl_write_ptr!(set_vring_addr, VHOST, 0x11, vhost_vring_addr);
    nix::ioctl_write_ptr!(set_vring_base, VHOST, 0x12, vhost_vring_state);
    nix::ioctl_write_ptr!(set_vring_kick, VHOST, 0x20, vhost_vring_file);
    nix::ioctl_write_ptr!(set_vring_call, VHOST, 0x21, vhost_vring_file);
    nix::ioctl_write_ptr!(set_vring_err, VHOST, 0x22, vhost_vring_file);
    nix::ioctl_write_ptr!(net_set_backend, VHOST, 0x30, vhost_vring_file);
}

/// Of `linux/if_tun.h`.
mod tun_calls {
    use nix::libc;
    nix::ioctl_write_ptr_bad!(set_iff, libc::TUNSETIFF, libc::ifreq);
    nix::ioctl_read_bad!(get_iff, libc::TUNGETIFF, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_header_size, libc::TUNSETVNETHDRSZ, libc::c_int);
    nix::ioctl_write_int_bad!(set_offload, libc::TUNSETOFFLOAD);
}

/// What a ring's descriptor is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    Kick,
    Call,
    Error,
}

/// One pair of rings of the kernel's back end.
#[derive(Debug)]
pub(crate) struct VhostNet {
    // Declared first: closed, which stops the rings, before the memory may go.
    file: File,
    memory: Vec<Arc<Mapping>>,
}

impl VhostNet {
    /// # Errors
    /// The kernel's word.
    pub fn open(path: &std::path::Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        // SAFETY: it takes no argument.
        unsafe { vhost_calls::set_owner(file.as_raw_fd()) }?;
        Ok(Self {
            file,
            memory: Vec::new(),
        })
    }

    /// # Errors
    /// The kernel's word.
    pub fn features(&self) -> io::Result<u64> {
        let mut features = 0;
        // SAFETY: it writes 8 bytes there.
        unsafe { vhost_calls::get_features(self.file.as_raw_fd(), &mut features) }?;
        Ok(features)
    }

    /// # Errors
    /// The kernel's word.
    pub fn set_features(&self, features: u64) -> io::Result<()> {
        // SAFETY: it reads 8 bytes there.
        unsafe { vhost_calls::set_features(self.file.as_raw_fd(), &features) }?;
        Ok(())
    }

    /// Lets it see these; they stay mapped until it is closed.
    ///
    /// # Errors
    /// The kernel's word; too many.
    pub fn share(&mut self, memory: Vec<Arc<Mapping>>) -> io::Result<()> {
        let mut table = Table {
            count: memory.len() as u32,
            padding: 0,
            regions: [vhost_memory_region::default(); REGIONS],
        };
        if memory.len() > REGIONS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (region, mapping) in table.regions.iter_mut().zip(&memory) {
            region.guest_phys_addr = mapping.iova().raw();
            region.memory_size = mapping.len() as u64;
            region.userspace_addr = mapping.as_ptr().as_ptr() as u64;
        }
        let table: *const Table = &raw const table;
        // SAFETY: it reads the head and as many regions as that says. The kernel works on this memory until the file is
        // closed, and `self` holds the mappings for longer than that; what is in them is atomics and buffers that nobody else
        // looks at while they are posted.
        unsafe { vhost_calls::set_mem_table(self.file.as_raw_fd(), table.cast()) }?;
        self.memory = memory;
        Ok(())
    }

    /// The address of ours at which the kernel finds that of the device's; 0, which it refuses, where there is none.
    fn address(&self, iova: Iova) -> u64 {
        let offset = |mapping: &Arc<Mapping>| {
            let offset = iova.raw().checked_sub(mapping.iova().raw())?;
            (offset < mapping.len() as u64).then(|| mapping.as_ptr().as_ptr() as u64 + offset)
        };
        self.memory.iter().find_map(offset).unwrap_or(0)
    }

    /// Ring 0 (receive) or 1 (transmit): length, and where descriptors, driver's and device's area are. The memory is shared before.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn ring(&self, index: u32, len: u32, [desc, driver, device]: [Iova; 3]) -> io::Result<()> {
        let fd = self.file.as_raw_fd();
        let (len, base) = (
            vhost_vring_state { index, num: len },
            vhost_vring_state { index, num: 0 },
        );
        let addresses = vhost_vring_addr {
            index,
            desc_user_addr: self.address(desc),
            avail_user_addr: self.address(driver),
            used_user_addr: self.address(device),
            ..vhost_vring_addr::default()
        };
        // SAFETY: each reads its structure. The addresses are in memory that `share` has kept; a ring was made for `len`
        // positions, and the kernel checks that it can reach what it uses.
        unsafe {
            vhost_calls::set_vring_num(fd, &len)?;
            vhost_calls::set_vring_base(fd, &base)?;
            vhost_calls::set_vring_addr(fd, &addresses)?;
        }
        Ok(())
    }

    /// # Errors
    /// The kernel's word.
    pub fn event(&self, index: u32, to: Use, event: &EventFd) -> io::Result<()> {
        let fd = self.file.as_raw_fd();
        let file = vhost_vring_file {
            index,
            fd: event.as_fd().as_raw_fd(),
        };
        // SAFETY: it reads the structure, and takes a reference to the file.
        unsafe {
            match to {
                Use::Kick => vhost_calls::set_vring_kick(fd, &file),
                Use::Call => vhost_calls::set_vring_call(fd, &file),
                Use::Error => vhost_calls::set_vring_err(fd, &file),
            }
        }?;
        Ok(())
    }

    /// Starts a ring with a tap's queue behind it. Without one it is stopped: the kernel has let go of its buffers when this
    /// returns.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn back(&self, index: u32, tap: Option<&Tap>) -> io::Result<()> {
        let fd = tap.map_or(-1, |tap| tap.0.as_raw_fd());
        let file = vhost_vring_file { index, fd };
        // SAFETY: it reads the structure, and takes a reference to the file.
        unsafe { vhost_calls::net_set_backend(self.file.as_raw_fd(), &file) }?;
        Ok(())
    }
}

/// One queue of a tap.
#[derive(Debug)]
pub(crate) struct Tap(File);

impl Tap {
    /// Opens a queue of the tap of this name, which is made if there is none; it goes with its last queue.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn open(name: TapName, header: usize) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let tap = Self(file.open("/dev/net/tun")?);
        let fd = tap.0.as_raw_fd();
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
        let mut request = empty();
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = flags as i16;
        let header = header as libc::c_int;
        // SAFETY: they read a structure, a number behind a pointer, and a number.
        unsafe {
            tun_calls::set_iff(fd, &request)?;
            tun_calls::set_header_size(fd, &header)?;
            // Until it is asked for more: whole frames with their checksums.
            tun_calls::set_offload(fd, 0)?;
        }
        Ok(tap)
    }

    /// What the kernel may leave to us of frames that it sends: TUN_F_*.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn set_offload(&self, flags: u32) -> io::Result<()> {
        // SAFETY: it takes a number.
        unsafe { tun_calls::set_offload(self.0.as_raw_fd(), flags as libc::c_int) }?;
        Ok(())
    }

    /// Whether the interface is still there.
    pub fn is_attached(&self) -> bool {
        let mut request = empty();
        // SAFETY: it writes the structure.
        unsafe { tun_calls::get_iff(self.0.as_raw_fd(), &mut request) }.is_ok()
    }
}

fn empty() -> libc::ifreq {
    // SAFETY: zeros are a name without letters and a union of numbers.
    unsafe { std::mem::zeroed() }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
