//! bpf(2): a map of sockets, a program, and the link that attaches it. `union bpf_attr` of `linux/bpf.h`.

use super::done;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const MAP_CREATE: i64 = 0;
const MAP_UPDATE_ELEM: i64 = 2;
const MAP_DELETE_ELEM: i64 = 3;
const PROG_LOAD: i64 = 5;
const OBJ_GET_INFO_BY_FD: i64 = 15;
const LINK_CREATE: i64 = 28;
const LINK_UPDATE: i64 = 29;
const LINK_DETACH: i64 = 34;
#[cfg(test)]
const LINK_GET_FD_BY_ID: i64 = 30;

const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
/// The program copes with frames in several buffers (`BPF_F_XDP_HAS_FRAGS`).
const HAS_FRAGS: u32 = 1 << 5;
/// Bytes of the verifier's log.
const LOG: usize = 1 << 16;

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct MapElem {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The program that is replaced must be the one given (`BPF_F_REPLACE`).
const REPLACE: u32 = 1 << 2;

/// Of LINK_CREATE: program, interface, kind, flags; of LINK_UPDATE: link, program, flags, program replaced.
type Link = [u32; 4];

#[repr(C)]
#[derive(Default)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// # Safety
/// `attr` is the command's structure, and its pointers point to what the command reads and writes there.
unsafe fn bpf<T>(command: i64, attr: &mut T) -> io::Result<i64> {
    // SAFETY: the structure outlives the call and its length is its own; the rest is the caller's promise.
    done(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) })
}

/// # Safety
/// As [`bpf`], of a command that returns a descriptor.
unsafe fn object<T>(command: i64, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: fresh from the kernel, ours alone; close-on-exec is set.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    name.iter_mut()
        .take(15)
        .zip(text.bytes())
        .for_each(|(to, byte)| *to = byte);
    name
}

/// A map from receive queues to AF_XDP sockets, with room for queues below `queues`.
pub(crate) fn socket_map(queues: u32) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        map_type: MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: queues,
        name: name("barline_xsks"),
        ..MapCreate::default()
    };
    // SAFETY: no pointers.
    unsafe { object(MAP_CREATE, &mut attr) }
}

/// Frames of `queue` go to `socket`, or to nobody.
pub(crate) fn map(map: BorrowedFd<'_>, queue: u32, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let value = socket.map_or(0, raw);
    let mut attr = MapElem {
        map_fd: raw(map),
        key: std::ptr::from_ref(&queue) as u64,
        value: std::ptr::from_ref(&value) as u64,
        ..MapElem::default()
    };
    let command = if socket.is_some() {
        MAP_UPDATE_ELEM
    } else {
        MAP_DELETE_ELEM
    };
    // SAFETY: key and value are 4 bytes each, as the map was made, and outlive the call.
    unsafe { bpf(command, &mut attr) }.map(drop)
}

/// Loads a program, with or without the promise to cope with frames in several buffers.
///
/// # Errors
/// The kernel's word, and what its verifier says where it says something.
pub(crate) fn load(instructions: &[u64], frags: bool) -> Result<OwnedFd, (io::Error, String)> {
    let mut log = Vec::new();
    load_with(instructions, frags, &mut log).map_err(|error| {
        log = vec![0; LOG];
        // Once more, for the log; should it work now, the first error is the one to tell.
        let _ = load_with(instructions, frags, &mut log);
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        (error, String::from_utf8_lossy(&log[..end]).trim().to_owned())
    })
}

fn load_with(instructions: &[u64], frags: bool, log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attr = ProgLoad {
        prog_type: PROG_TYPE_XDP,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buf: if log.is_empty() {
            0
        } else {
            log.as_mut_ptr() as u64
        },
        prog_flags: if frags { HAS_FRAGS } else { 0 },
        name: name("barline_redir"),
        expected_attach_type: ATTACH_XDP,
        ..ProgLoad::default()
    };
    // SAFETY: instructions, licence and log outlive the call, with the lengths given.
    unsafe { object(PROG_LOAD, &mut attr) }
}

/// Attaches a program to an interface until the descriptor is closed. `flags`: `XDP_FLAGS_SKB_MODE` or `XDP_FLAGS_DRV_MODE`.
pub(crate) fn attach(program: BorrowedFd<'_>, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr: Link = [raw(program), interface, ATTACH_XDP, flags];
    // SAFETY: no pointers.
    unsafe { object(LINK_CREATE, &mut attr) }
}

/// Another program in the place of `old`, which a link attaches.
///
/// # Errors
/// `EPERM`: the link attaches another one. `ENOLINK`: it attaches none any more.
pub(crate) fn replace(link: BorrowedFd<'_>, program: BorrowedFd<'_>, old: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr: Link = [raw(link), raw(program), REPLACE, raw(old)];
    // SAFETY: no pointers.
    unsafe { bpf(LINK_UPDATE, &mut attr) }.map(drop)
}

/// Takes a link's program off, whoever has the link open.
pub(crate) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = raw(link);
    // SAFETY: no pointers.
    unsafe { bpf(LINK_DETACH, &mut attr) }.map(drop)
}

/// The link with this number, as any program with the right to it gets it.
#[cfg(test)]
pub(crate) fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = id;
    // SAFETY: no pointers.
    unsafe { object(LINK_GET_FD_BY_ID, &mut attr) }
}

/// The number by which the kernel's tools show a program or a link.
pub(crate) fn id(object: BorrowedFd<'_>) -> io::Result<u32> {
    // The first words of `struct bpf_prog_info`, and of `bpf_link_info`: type, id.
    let mut info = [0u32; 2];
    let mut attr = InfoByFd {
        bpf_fd: raw(object),
        info_len: size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: the kernel writes no more than `info_len` bytes.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info[1])
}
