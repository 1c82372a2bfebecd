//! SIGBUS: the peer's memory is the peer's file, and whoever has a file may make it shorter while it is mapped here, or punch holes
//! into its huge pages. The next access raises SIGBUS, which ends a process.
//!
//! So a handler is installed with the first mapping, and never taken out. It knows all mappings of this crate's, puts a page of zeros
//! in the place of one that is gone, and lets the access go on: what a ring or a frame says then is nonsense, of which nothing is
//! believed anyway. Every other SIGBUS goes to the handler that was there before. An application that installs one of its own later
//! has to pass on what it does not know, as this one does.

use nix::libc::{self, c_int, c_void, siginfo_t};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// Most mappings of all ports: 128 a peer, and a log.
const MOST: usize = 2048;

/// A mapping. The handler takes no lock: it looks through all of them.
#[derive(Debug)]
struct Range {
    /// 0: free; [`CLAIMED`]: about to be used; else its first byte.
    start: AtomicUsize,
    end: AtomicUsize,
    page: AtomicUsize,
    /// Pages that were gone.
    lost: AtomicUsize,
}

const CLAIMED: usize = 1;

static RANGES: [Range; MOST] = [const {
    Range {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        page: AtomicUsize::new(0),
        lost: AtomicUsize::new(0),
    }
}; MOST];

/// Who handled SIGBUS before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

impl Range {
    /// Its page that has the address, if any has.
    fn page_of(&self, address: usize) -> Option<(usize, usize)> {
        let start = self.start.load(Acquire);
        let (end, page) = (self.end.load(Acquire), self.page.load(Acquire));
        // Not one that has become another meanwhile.
        let same = self.start.load(Acquire) == start;
        (same && start > CLAIMED && (start..end).contains(&address)).then(|| (address & !(page - 1), page))
    }
}

/// A mapping is guarded while this lives. It goes before the mapping.
#[derive(Debug)]
pub(super) struct Guard(&'static Range);

impl Guard {
    /// For `len` bytes at `start` in pages of `page` bytes.
    ///
    /// # Errors
    /// The kernel's word; more mappings than anybody needs.
    pub fn new(start: usize, len: usize, page: usize) -> io::Result<Self> {
        install()?;
        let free = |range: &&Range| {
            let claimed = range.start.compare_exchange(0, CLAIMED, AcqRel, Relaxed);
            claimed.is_ok()
        };
        let full = || io::Error::other(format!("{MOST} pieces of peers' memory are the most"));
        let range = RANGES.iter().find(free).ok_or_else(full)?;
        range.lost.store(0, Relaxed);
        range.page.store(page, Release);
        range.end.store(start + len, Release);
        range.start.store(start, Release);
        Ok(Self(range))
    }

    /// Pages that were gone when they were used.
    pub fn lost(&self) -> usize {
        self.0.lost.load(Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.start.store(CLAIMED, Release);
        self.0.end.store(0, Release);
        self.0.start.store(0, Release);
    }
}

/// Has SIGBUS come here first, once for all.
fn install() -> io::Result<()> {
    static DONE: OnceLock<Result<(), i32>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        // SAFETY: zeros are an empty set of signals, no flags and no handler.
        let (mut action, mut before): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        // On the stack that the standard library made for such signals, where there is one.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: asks; and installs a handler that does only what may be done in one.
        let installed = unsafe {
            libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before) == 0 && {
                let _ = BEFORE.set(before);
                libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) == 0
            }
        };
        let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(0);
        if installed { Ok(()) } else { Err(errno()) }
    });
    done.map_err(io::Error::from_raw_os_error)
}

extern "C" fn handler(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a valid structure to a handler installed with SA_SIGINFO.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // Not memory that is broken (BUS_MCEERR_AR): that is the machine's.
    if code == libc::BUS_ADRERR && absorb(address) {
        return;
    }
    pass_on(signal, info, context);
}

/// Whether there are bytes at the address now. Takes no lock and allocates nothing.
fn absorb(address: usize) -> bool {
    let Some((range, (at, page))) = RANGES
        .iter()
        .find_map(|range| Some(range).zip(range.page_of(address)))
    else {
        return false;
    };
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: the errno of the thread that was interrupted is its own to keep. The page is one of a mapping of ours, which whoever made
    // the access keeps alive; all accesses to it are atomics and copies that take any value. The later unmapping covers it.
    let mapped = unsafe {
        let errno = *libc::__errno_location();
        let mapped = libc::mmap(at as *mut c_void, page, access, flags, -1, 0);
        *libc::__errno_location() = errno;
        mapped
    };
    range.lost.fetch_add(1, Relaxed);
    mapped != libc::MAP_FAILED
}

/// As if this handler were not there.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    type Plain = extern "C" fn(c_int);
    type Full = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
    let before = BEFORE
        .get()
        .filter(|before| before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN);
    match before {
        // SAFETY: what stands there is a handler of the kind that its flags tell.
        Some(before) if before.sa_flags & libc::SA_SIGINFO != 0 => unsafe {
            std::mem::transmute::<usize, Full>(before.sa_sigaction)(signal, info, context);
        },
        // SAFETY: as above.
        Some(before) => unsafe {
            std::mem::transmute::<usize, Plain>(before.sa_sigaction)(signal);
        },
        // SAFETY: zeros are the default action, no flags; the access is made again and ends the process.
        None => unsafe {
            let default: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, &default, std::ptr::null_mut());
        },
    }
}
