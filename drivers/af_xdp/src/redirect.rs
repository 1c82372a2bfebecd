//! The program on an interface, and the map behind it.

use crate::error::XdpError;
use crate::options::Mode;
use crate::program::{Filter, redirect};
use crate::sys::bpf;
use barline_netif::program_of;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE` (linux/if_link.h).
const SKB: u32 = 1 << 1;
const DRIVER: u32 = 1 << 2;
/// Queues that the map has room for.
const QUEUES: u32 = 1024;

/// An attached redirect program. It goes when this is dropped, or the process ends: the link is a descriptor.
#[derive(Debug)]
pub(crate) struct Redirect {
    name: String,
    index: u32,
    map: OwnedFd,
    link: OwnedFd,
    frags: bool,
    /// It runs in the driver.
    native: bool,
    program: Mutex<Program>,
}

/// A loaded program, and its number.
#[derive(Debug)]
struct Program {
    fd: OwnedFd,
    id: u32,
}

impl Program {
    fn new(fd: OwnedFd) -> Result<Self, XdpError> {
        let id = bpf::id(fd.as_fd()).map_err(XdpError::os("ask for the program's number"))?;
        Ok(Self { fd, id })
    }
}

/// Loads the program, if possible one that copes with frames in several buffers (Linux 5.18).
fn load(map: &OwnedFd, filter: &Filter, frags: bool) -> Result<(OwnedFd, bool), XdpError> {
    let program = redirect(map.as_raw_fd(), filter);
    let refused = |(source, log): (io::Error, String)| match source.raw_os_error() {
        Some(libc::EPERM) => XdpError::NoRight("load a BPF program (bpf)"),
        _ => XdpError::Refused { source, log },
    };
    match bpf::load(&program, frags) {
        Ok(loaded) => Ok((loaded, frags)),
        Err((error, _)) if frags && error.raw_os_error() == Some(libc::EINVAL) => bpf::load(&program, false)
            .map(|loaded| (loaded, false))
            .map_err(refused),
        Err(error) => Err(refused(error)),
    }
}

/// How long a program may still be there after its owner has let it go.
const GOING: Duration = Duration::from_millis(500);

/// The program that is there, if it stays. One that was let go may stay a moment: a child between fork and exec has its
/// parent's descriptors too.
fn await_none(there: impl Fn() -> Option<u32>) -> Option<u32> {
    let begin = Instant::now();
    loop {
        match there() {
            Some(_) if begin.elapsed() < GOING => sleep(Duration::from_millis(5)),
            found => return found,
        }
    }
}

impl Redirect {
    pub fn attach((name, index): (&str, u32), mode: Mode, filter: &Filter) -> Result<Self, XdpError> {
        let taken = |id| XdpError::Taken {
            interface: name.to_owned(),
            id,
        };
        let there = || program_of(index).ok().flatten();
        if let Some(id) = await_none(there) {
            return Err(taken(id));
        }
        let map = bpf::socket_map(QUEUES).map_err(XdpError::os("make a BPF map (bpf)"))?;
        let (program, frags) = load(&map, filter, true)?;
        let ways: &[(u32, bool)] = match mode {
            Mode::ZeroCopy => &[(DRIVER, true)],
            Mode::Skb => &[(SKB, false)],
            Mode::Copy | Mode::Auto => &[(DRIVER, true), (SKB, false)],
        };
        let mut refusal = None;
        for (flags, native) in ways {
            let error = match bpf::attach(program.as_fd(), index, *flags) {
                Ok(link) => {
                    return Ok(Self {
                        name: name.to_owned(),
                        index,
                        map,
                        link,
                        frags,
                        native: *native,
                        program: Mutex::new(Program::new(program)?),
                    });
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EBUSY | libc::EEXIST) => {
                    return Err(taken(there().unwrap_or_default()));
                }
                Some(libc::EPERM) => return Err(XdpError::NoRight("attach an XDP program (bpf)")),
                _ => {
                    tracing::info!(interface = name, native, %error, "the XDP program is not taken")
                }
            }
            refusal.get_or_insert(error);
        }
        Err(XdpError::NoMode {
            interface: name.to_owned(),
            mode,
            source: refusal.unwrap_or_else(|| io::Error::from(io::ErrorKind::Unsupported)),
        })
    }

    /// Whether it runs in the driver, where zero copy is possible.
    pub fn is_native(&self) -> bool {
        self.native
    }

    fn program(&self) -> MutexGuard<'_, Program> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether our program is no longer there, or another one is in its place. Asks the kernel: not for the packet path.
    pub fn displaced(&self) -> Option<XdpError> {
        // Held, so that no other port of this interface replaces it meanwhile.
        let ours = self.program();
        // An interface that is gone, or of which the kernel says nothing, is not told here.
        let by = program_of(self.index).ok()?;
        (by != Some(ours.id)).then(|| XdpError::Displaced {
            interface: self.name.clone(),
            by,
        })
    }

    /// Its link.
    #[cfg(test)]
    pub fn link(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// A descriptor of its program.
    #[cfg(test)]
    pub fn program_fd(&self) -> OwnedFd {
        self.program().fd.try_clone().unwrap()
    }

    /// Another choice of frames.
    pub fn choose(&self, filter: &Filter) -> Result<(), XdpError> {
        let (program, _) = load(&self.map, filter, self.frags)?;
        let mut ours = self.program();
        let next = Program::new(program)?;
        match bpf::replace(self.link.as_fd(), next.fd.as_fd(), ours.fd.as_fd()) {
            Ok(()) => *ours = next,
            Err(error) => {
                drop(ours);
                let other = self.displaced();
                return Err(other.unwrap_or_else(|| XdpError::os("replace the redirect program")(error)));
            }
        }
        Ok(())
    }

    /// Frames of a queue go to a socket.
    pub fn open(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        bpf::map(self.map.as_fd(), queue, Some(socket))
    }

    /// Frames of a queue go to the kernel again.
    pub fn close(&self, queue: u32) {
        // It is not in the map, or the kernel has taken it out: that is what is wanted.
        let _ = bpf::map(self.map.as_fd(), queue, None);
    }
}

impl Drop for Redirect {
    /// Takes the program off even where somebody else keeps the link open. A program that somebody else has put into it
    /// is left to them.
    fn drop(&mut self) {
        if self.displaced().is_none() {
            // An interface that is gone has taken it off.
            let _ = bpf::detach(self.link.as_fd());
        }
    }
}
