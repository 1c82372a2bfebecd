//! System calls on the module's descriptors. Errors are errno values, which is what most tests are about.

use crate::abi::*;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::ptr;
use std::time::{Duration, Instant};

/// Result of a system call.
pub type Sys<T> = std::result::Result<T, Errno>;

/// The node of address spaces.
pub const IOMMU_NODE: &str = "/dev/barline/iommu";
/// Page size of the machine.
pub const PAGE: u64 = 4096;

/// One ioctl with a structure as its argument.
pub fn ioctl<T>(fd: RawFd, request: u32, argument: &mut T) -> Sys<()> {
    raw_ioctl(
        fd,
        request,
        ptr::from_mut(argument).cast::<libc::c_void>() as usize,
    )
    .map(drop)
}

/// One ioctl with any word as its argument: for requests that must fail.
pub fn raw_ioctl(fd: RawFd, request: u32, argument: usize) -> Sys<i32> {
    // SAFETY: the kernel checks the argument; the structures of this crate have room for what it writes.
    Errno::result(unsafe { libc::ioctl(fd, request.into(), argument) })
}

/// Opens a node for reading and writing.
pub fn open(path: &str) -> Sys<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_CLOEXEC);
    options
        .open(path)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// Turns the error of `std` into an errno.
fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The kernel's messages that are still in its buffer (klogctl(2)).
pub fn kernel_log() -> Sys<String> {
    const READ_ALL: libc::c_int = 3;
    const SIZE: libc::c_int = 10;
    // SAFETY: asks for a number, and writes nothing.
    let size = Errno::result(unsafe { libc::klogctl(SIZE, ptr::null_mut(), 0) })?;
    let mut bytes = vec![0_u8; size as usize];
    // SAFETY: the kernel writes at most as many bytes as the buffer has.
    let got = Errno::result(unsafe { libc::klogctl(READ_ALL, bytes.as_mut_ptr().cast(), size) })?;
    bytes.truncate(got as usize);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An address space.
pub struct Ioas(pub File);

impl Ioas {
    /// A new one.
    pub fn new() -> Result<Self> {
        Ok(Self(
            open(IOMMU_NODE).with_context(|| format!("cannot open {IOMMU_NODE}"))?,
        ))
    }

    /// Its descriptor.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Maps memory for reading and writing.
    pub fn map(&self, vaddr: u64, iova: u64, size: u64) -> Sys<()> {
        let flags = MAP_READ | MAP_WRITE;
        ioctl(
            self.fd(),
            IOAS_MAP,
            &mut IoasMap {
                flags,
                vaddr,
                iova,
                size,
                ..IoasMap::new()
            },
        )
    }

    /// Unmaps; the bytes that were.
    pub fn unmap(&self, iova: u64, size: u64) -> Sys<u64> {
        let mut arg = IoasUnmap {
            iova,
            size,
            ..IoasUnmap::new()
        };
        ioctl(self.fd(), IOAS_UNMAP, &mut arg)?;
        Ok(arg.unmapped)
    }

    /// Its counts.
    pub fn stats(&self) -> Sys<IoasStats> {
        let mut arg = IoasStats::new();
        ioctl(self.fd(), IOAS_STATS, &mut arg)?;
        Ok(arg)
    }

    /// What can be mapped.
    pub fn info(&self) -> Sys<(IoasInfo, Vec<Range>)> {
        let mut ranges = vec![Range::default(); 32];
        let mut arg = IoasInfo::new();
        arg.nr_reserved = ranges.len() as u32;
        arg.reserved_ptr = ranges.as_mut_ptr() as u64;
        ioctl(self.fd(), IOAS_INFO, &mut arg)?;
        ranges.truncate(arg.nr_reserved as usize);
        Ok((arg, ranges))
    }
}

/// A function.
pub struct Dev {
    /// The open node.
    pub file: File,
    /// Its name.
    pub bdf: String,
}

impl Dev {
    /// Opens the node of a bound function.
    pub fn open(bdf: &str) -> Sys<Self> {
        let file = open(&format!("/dev/barline/{bdf}"))?;
        Ok(Self {
            file,
            bdf: bdf.to_owned(),
        })
    }

    /// Its descriptor.
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// DEV_INFO.
    pub fn info(&self) -> Sys<DevInfo> {
        let mut arg = DevInfo::new();
        ioctl(self.fd(), DEV_INFO, &mut arg)?;
        Ok(arg)
    }

    /// REGION_INFO with areas.
    pub fn region(&self, index: u32) -> Sys<(RegionInfo, Vec<Area>)> {
        let mut areas = vec![Area::default(); 8];
        let mut arg = RegionInfo {
            index,
            nr_areas: 8,
            areas_ptr: areas.as_mut_ptr() as u64,
            ..RegionInfo::new()
        };
        ioctl(self.fd(), DEV_REGION_INFO, &mut arg)?;
        areas.truncate(arg.nr_areas as usize);
        Ok((arg, areas))
    }

    /// Vectors of a kind.
    pub fn irqs(&self, index: u32) -> Sys<u32> {
        let mut arg = IrqInfo {
            index,
            ..IrqInfo::new()
        };
        ioctl(self.fd(), DEV_IRQ_INFO, &mut arg)?;
        Ok(arg.count)
    }

    /// Puts it into an address space.
    pub fn attach(&self, ioas: &Ioas) -> Sys<()> {
        ioctl(
            self.fd(),
            DEV_ATTACH,
            &mut Attach {
                ioas_fd: ioas.fd(),
                ..Attach::new()
            },
        )
    }

    /// A call without arguments.
    pub fn simple(&self, request: u32) -> Sys<()> {
        ioctl(self.fd(), request, &mut Simple::new())
    }

    /// Allows or stops DMA.
    pub fn master(&self, on: bool) -> Sys<()> {
        ioctl(
            self.fd(),
            DEV_BUS_MASTER,
            &mut BusMaster {
                on: on.into(),
                ..BusMaster::new()
            },
        )
    }

    /// Sets eventfds from vector `start` on; -1 is none.
    pub fn set_eventfds(&self, index: u32, start: u32, fds: &[i32]) -> Sys<i32> {
        let mut arg = SetIrqs {
            flags: DATA_EVENTFD | TRIGGER,
            index,
            start,
            count: fds.len() as u32,
            data_ptr: fds.as_ptr() as u64,
            ..SetIrqs::new()
        };
        raw_ioctl(self.fd(), DEV_SET_IRQS, ptr::from_mut(&mut arg) as usize)
    }

    /// A request without data.
    pub fn irq_action(&self, index: u32, action: u32, start: u32, count: u32) -> Sys<()> {
        let mut arg = SetIrqs {
            flags: DATA_NONE | action,
            index,
            start,
            count,
            ..SetIrqs::new()
        };
        ioctl(self.fd(), DEV_SET_IRQS, &mut arg)
    }

    /// Switches a kind off.
    pub fn irqs_off(&self, index: u32) -> Sys<()> {
        self.irq_action(index, TRIGGER, 0, 0)
    }

    /// Answers a power management event.
    pub fn pm_ack(&self, event: u32) -> Sys<()> {
        ioctl(
            self.fd(),
            DEV_PM_ACK,
            &mut PmAck {
                event,
                ..PmAck::new()
            },
        )
    }

    /// The live policy.
    pub fn policy(&self) -> Sys<Vec<CfgRow>> {
        let mut rows = vec![CfgRow::default(); 2048];
        let mut arg = CfgPolicy {
            count: 2048,
            rows_ptr: rows.as_mut_ptr() as u64,
            ..CfgPolicy::new()
        };
        ioctl(self.fd(), DEV_CFG_POLICY, &mut arg)?;
        rows.truncate(arg.count as usize);
        Ok(rows)
    }

    /// Reads a little-endian word of up to 4 bytes.
    pub fn read(&self, region: u32, offset: u64, width: usize) -> Sys<u32> {
        let mut raw = [0; 4];
        match self.file.read_at(&mut raw[..width], at(region, offset)) {
            Ok(n) if n == width => Ok(u32::from_le_bytes(raw)),
            Ok(_) => Err(Errno::EIO),
            Err(error) => Err(errno(&error)),
        }
    }

    /// Writes a little-endian word of up to 4 bytes.
    pub fn write(&self, region: u32, offset: u64, width: usize, value: u32) -> Sys<()> {
        match self
            .file
            .write_at(&value.to_le_bytes()[..width], at(region, offset))
        {
            Ok(n) if n == width => Ok(()),
            Ok(_) => Err(Errno::EIO),
            Err(error) => Err(errno(&error)),
        }
    }

    /// A word of configuration space.
    pub fn config(&self, offset: u64, width: usize) -> Sys<u32> {
        self.read(REGION_CONFIG, offset, width)
    }

    /// Offset of a standard capability, by the list that the process sees.
    pub fn capability(&self, id: u32) -> Result<u64> {
        let mut offset = u64::from(self.config(0x34, 1)?);
        while offset != 0 {
            if self.config(offset, 1)? == id {
                return Ok(offset);
            }
            offset = self.config(offset + 1, 1)?.into();
        }
        bail!("{} shows no capability {id:#x}", self.bdf)
    }

    /// Maps a part of a region.
    pub fn mmap(&self, region: u32, offset: u64, len: u64, writable: bool) -> Sys<Mapping> {
        self.mmap_at(at(region, offset), len, writable)
    }

    /// Maps at an offset of the file.
    pub fn mmap_at(&self, offset: u64, len: u64, writable: bool) -> Sys<Mapping> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        Mapping::new(len, protection, libc::MAP_SHARED, self.fd(), offset)
    }
}

/// A mapping; unmapped when dropped.
pub struct Mapping {
    /// First byte.
    pub base: *mut u8,
    /// Bytes.
    pub len: u64,
}

// SAFETY: it is a range of addresses; accesses are volatile.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: u64, protection: i32, flags: i32, fd: RawFd, offset: u64) -> Sys<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len as usize,
                protection,
                flags,
                fd,
                offset as i64,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Self {
            base: base.cast(),
            len,
        })
    }

    /// Anonymous memory that children share, touched.
    pub fn memory(len: u64) -> Result<Self> {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        Self::new(len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0).context("memory")
    }

    /// Memory below 4 GiB, touched.
    pub fn low(len: u64) -> Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE | libc::MAP_32BIT;
        Self::new(len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0).context("memory below 4 GiB")
    }

    /// Huge pages that children share.
    pub fn huge(len: u64) -> Result<Self> {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE | libc::MAP_HUGETLB;
        Self::new(len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0).context("huge pages")
    }

    /// Its address.
    pub fn va(&self) -> u64 {
        self.base as u64
    }

    fn at<T>(&self, offset: u64) -> *mut T {
        assert!(
            offset + size_of::<T>() as u64 <= self.len,
            "{offset:#x} is outside of the mapping"
        );
        self.base.wrapping_add(offset as usize).cast()
    }

    /// Reads a word, or a structure of plain numbers. A register mapping may have been taken away: the process gets SIGBUS then.
    pub fn read<T: Copy>(&self, offset: u64) -> T {
        // SAFETY: inside the mapping; T is made of integers.
        unsafe { self.at::<T>(offset).read_volatile() }
    }

    /// Writes a word.
    pub fn write<T: Copy>(&self, offset: u64, value: T) {
        // SAFETY: inside the mapping; T is made of integers.
        unsafe { self.at::<T>(offset).write_volatile(value) }
    }

    /// Fills it with a byte.
    pub fn fill(&self, byte: u8) {
        for offset in 0..self.len {
            self.write(offset, byte);
        }
    }

    /// Whether all bytes are `byte`.
    pub fn is(&self, byte: u8) -> bool {
        (0..self.len).all(|offset| self.read::<u8>(offset) == byte)
    }

    /// Changes its protection.
    pub fn protect(&self, protection: i32) -> Sys<()> {
        // SAFETY: our own mapping.
        Errno::result(unsafe { libc::mprotect(self.base.cast(), self.len as usize, protection) }).map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping; nobody keeps a reference into it.
        unsafe { libc::munmap(self.base.cast(), self.len as usize) };
    }
}

/// An eventfd.
pub struct Event(File);

impl Event {
    /// A new one that does not block.
    pub fn new() -> Result<Self> {
        let fd = nix::sys::eventfd::EventFd::from_flags(nix::sys::eventfd::EfdFlags::EFD_NONBLOCK)?;
        Ok(Self(File::from(std::os::fd::OwnedFd::from(fd))))
    }

    /// Its descriptor.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Takes the count; 0 when there is none.
    pub fn take(&self) -> u64 {
        let mut raw = [0; 8];
        match std::io::Read::read(&mut &self.0, &mut raw) {
            Ok(8) => u64::from_le_bytes(raw),
            _ => 0,
        }
    }

    /// Waits for a count.
    pub fn wait(&self, limit: Duration) -> Result<u64> {
        let end = Instant::now() + limit;
        loop {
            let count = self.take();
            if count > 0 {
                return Ok(count);
            }
            ensure!(Instant::now() < end, "no event in {} ms", limit.as_millis());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A child process that runs a function and ends; killed when dropped.
pub struct Child(i32);

impl Child {
    /// Forks. The child's exit code is what the function returns; it must not return to the tests.
    pub fn run(work: impl FnOnce() -> i32) -> Result<Self> {
        // SAFETY: this process has one thread whenever it forks; the child leaves by _exit.
        match unsafe { libc::fork() } {
            -1 => bail!("cannot fork: {}", Errno::last()),
            0 => {
                let code = work();
                // SAFETY: ends the child without running the parent's destructors.
                unsafe { libc::_exit(code) }
            }
            pid => Ok(Self(pid)),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.0
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: our own child, which has not been waited for.
        unsafe { libc::kill(self.0, signal) };
    }

    /// Waits for its end: exit code, or minus the signal.
    pub fn wait(mut self) -> i32 {
        self.reap()
    }

    fn reap(&mut self) -> i32 {
        let mut status = 0;
        // SAFETY: our own child.
        if self.0 > 0 && unsafe { libc::waitpid(self.0, &mut status, 0) } == self.0 {
            self.0 = 0;
        }
        if libc::WIFSIGNALED(status) {
            -libc::WTERMSIG(status)
        } else {
            libc::WEXITSTATUS(status)
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.0 > 0 {
            self.signal(libc::SIGKILL);
            self.reap();
        }
    }
}
