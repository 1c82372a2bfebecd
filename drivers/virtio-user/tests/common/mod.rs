//! A back end written from the specification (vhost-user, "Message Specification"; virtio 2.7), without the driver's code and
//! without mapping anything: it reads and writes our memory through its descriptors. Split rings only, one pair.
#![allow(dead_code, reason = "each test takes what it needs")]

pub mod rig;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const GET_FEATURES: u32 = 1;
pub const SET_MEM_TABLE: u32 = 5;
pub const SET_VRING_NUM: u32 = 8;
pub const SET_VRING_ADDR: u32 = 9;
pub const SET_VRING_BASE: u32 = 10;
pub const GET_VRING_BASE: u32 = 11;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_CALL: u32 = 13;
pub const GET_PROTOCOL_FEATURES: u32 = 15;
pub const SET_VRING_ENABLE: u32 = 18;
/// In a header's flags: this is an answer, and one is wanted.
const REPLY: u32 = 4;
const NEED_REPLY: u32 = 8;
/// VERSION_1 and protocol features; of those, acknowledgements.
const FEATURES: u64 = 1 << 32 | 1 << 30;
const REPLY_ACK: u64 = 8;

/// Where back ends listen.
pub struct Socket {
    listener: UnixListener,
    pub path: PathBuf,
    _dir: TempDir,
}

impl Socket {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        Self {
            listener,
            path,
            _dir: dir,
        }
    }

    /// Connects to a port that listens.
    pub fn reach(path: &Path) -> Peer {
        Peer::new(UnixStream::connect(path).unwrap())
    }

    pub fn accept(&self) -> Peer {
        let waiting = PollFd::new(self.listener.as_fd(), PollFlags::POLLIN);
        assert_eq!(
            poll(&mut [waiting], PollTimeout::from(60_000u16)),
            Ok(1),
            "nobody comes"
        );
        Peer::new(self.listener.accept().unwrap().0)
    }
}

pub struct Message {
    pub request: u32,
    pub flags: u32,
    pub body: Vec<u8>,
    files: Vec<File>,
}

impl Message {
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.body[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.body[at..at + 8].try_into().unwrap())
    }
}

struct Region {
    guest: u64,
    len: u64,
    user: u64,
    file: File,
}

/// Length, and where descriptors, used and available ring are.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ring {
    pub len: u32,
    pub desc: u64,
    pub used: u64,
    pub avail: u64,
    /// How many of the available ones it has used.
    pub done: u16,
}

pub struct Peer {
    pub stream: UnixStream,
    regions: Vec<Region>,
    pub rings: BTreeMap<u32, Ring>,
    pub enabled: usize,
    /// The question that ends the port's setting up was answered.
    pub greeted: bool,
    /// By ring.
    calls: BTreeMap<u32, File>,
    kicks: BTreeMap<u32, File>,
    pub echoed: u64,
}

impl Peer {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            regions: Vec::new(),
            rings: BTreeMap::new(),
            enabled: 0,
            greeted: false,
            calls: BTreeMap::new(),
            kicks: BTreeMap::new(),
            echoed: 0,
        }
    }

    /// The next message; none at the end.
    pub fn next(&mut self) -> Option<Message> {
        let mut head = [0; 12];
        let (mut space, mut files) = (nix::cmsg_space!([i32; 8]), Vec::new());
        let mut slice = [IoSliceMut::new(&mut head)];
        let fd = self.stream.as_raw_fd();
        let got = recvmsg::<UnixAddr>(fd, &mut slice, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).ok()?;
        for message in got.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(fds) = message {
                // SAFETY: descriptors that the kernel has just made for us.
                files.extend(
                    fds.into_iter()
                        .map(|fd| File::from(unsafe { OwnedFd::from_raw_fd(fd) })),
                );
            }
        }
        let bytes = got.bytes;
        if bytes < 12 {
            self.stream.read_exact(&mut head[bytes..]).ok()?;
        }
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let mut body = vec![0; word(8) as usize];
        self.stream.read_exact(&mut body).ok()?;
        Some(Message {
            request: word(0),
            flags: word(4),
            body,
            files,
        })
    }

    /// Does what a message says and answers it.
    pub fn obey(&mut self, mut message: Message) {
        match message.request {
            GET_FEATURES => {
                self.greeted = self.enabled == 2;
                return self.reply(&message, &FEATURES.to_le_bytes());
            }
            GET_PROTOCOL_FEATURES => return self.reply(&message, &REPLY_ACK.to_le_bytes()),
            SET_MEM_TABLE => {
                let files: Vec<File> = message.files.drain(..).collect();
                for (index, file) in files.into_iter().enumerate() {
                    let at = 8 + 32 * index;
                    let (guest, len, user) = (message.u64(at), message.u64(at + 8), message.u64(at + 16));
                    assert_eq!(message.u64(at + 24), 0, "all of ours begin with their files");
                    assert_ne!(guest, user);
                    self.regions.push(Region {
                        guest,
                        len,
                        user,
                        file,
                    });
                }
            }
            SET_VRING_NUM => self.ring(&message).len = message.u32(4),
            SET_VRING_ADDR => {
                let (desc, used, avail) = (message.u64(8), message.u64(16), message.u64(24));
                let ring = self.ring(&message);
                (ring.desc, ring.used, ring.avail) = (desc, used, avail);
            }
            SET_VRING_BASE => self.ring(&message).done = message.u32(4) as u16,
            GET_VRING_BASE => {
                let done = u32::from(self.ring(&message).done);
                let answer = [message.u32(0).to_le_bytes(), done.to_le_bytes()].concat();
                return self.reply(&message, &answer);
            }
            SET_VRING_KICK => drop(self.kicks.insert(message.u32(0), message.files.remove(0))),
            SET_VRING_CALL => drop(self.calls.insert(message.u32(0), message.files.remove(0))),
            SET_VRING_ENABLE => self.enabled += message.u32(4) as usize,
            _ => {}
        }
        if message.flags & NEED_REPLY != 0 {
            self.reply(&message, &0u64.to_le_bytes());
        }
    }

    fn ring(&mut self, message: &Message) -> &mut Ring {
        self.rings.entry(message.u32(0) & 0xff).or_default()
    }

    pub fn reply(&mut self, message: &Message, body: &[u8]) {
        self.say(message.request, 1 | REPLY, body.len() as u32, body);
    }

    pub fn say(&mut self, request: u32, flags: u32, size: u32, body: &[u8]) {
        let head = [request.to_le_bytes(), flags.to_le_bytes(), size.to_le_bytes()].concat();
        // A port that has given up has closed it.
        let _ = self.stream.write_all(&[&head, body].concat());
    }

    /// Obeys until both rings are enabled and the port is content.
    pub fn greet(&mut self) {
        while !self.greeted {
            let message = self.next().expect("it hung up");
            self.obey(message);
        }
    }

    /// Sends back what comes, until the port hangs up or `end` says so.
    pub fn serve(&mut self, mut end: impl FnMut(&Self) -> bool) {
        self.greet();
        while !end(self) {
            self.echo();
            self.stream.set_nonblocking(true).unwrap();
            let waiting = nix::sys::socket::recv(self.stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK);
            self.stream.set_nonblocking(false).unwrap();
            match waiting {
                Ok(1..) => {
                    let Some(message) = self.next() else { return };
                    self.obey(message);
                }
                Err(nix::errno::Errno::EAGAIN) => std::thread::yield_now(),
                _ => return,
            }
        }
    }

    fn find(&self, at: u64, len: usize, start: impl Fn(&Region) -> u64) -> Option<(&File, u64)> {
        let here = |region: &&Region| at >= start(region) && at + len as u64 <= start(region) + region.len;
        let region = self.regions.iter().find(here)?;
        Some((&region.file, at - start(region)))
    }

    /// Of the rings.
    pub fn load<const N: usize>(&self, at: u64) -> [u8; N] {
        let (file, offset) = self.find(at, N, |region| region.user).expect("not shared");
        let mut bytes = [0; N];
        file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    pub fn store(&self, at: u64, bytes: &[u8]) {
        let (file, offset) = self
            .find(at, bytes.len(), |region| region.user)
            .expect("not shared");
        file.write_all_at(bytes, offset).unwrap();
    }

    /// Address, length and flags of the next available buffer.
    fn available(&self, index: u32) -> Option<(u16, u64, u32, u16)> {
        let ring = self.rings[&index];
        if u16::from_le_bytes(self.load(ring.avail + 2)) == ring.done {
            return None;
        }
        Some(self.buffer(&ring))
    }

    /// What stands at the position `done` of a ring.
    fn buffer(&self, ring: &Ring) -> (u16, u64, u32, u16) {
        let slot = u64::from(u32::from(ring.done) % ring.len);
        let id = u16::from_le_bytes(self.load(ring.avail + 4 + 2 * slot));
        let desc: [u8; 16] = self.load(ring.desc + 16 * u64::from(id));
        let at = u64::from_le_bytes(desc[..8].try_into().unwrap());
        let len = u32::from_le_bytes(desc[8..12].try_into().unwrap());
        (id, at, len, u16::from_le_bytes(desc[12..14].try_into().unwrap()))
    }

    /// Where it may write: buffers of a ring that it has not given back, and their lengths.
    pub fn held(&self, index: u32) -> Vec<(u64, u32)> {
        let mut ring = self.rings[&index];
        let newest = u16::from_le_bytes(self.load(ring.avail + 2));
        let mut held = Vec::new();
        while ring.done != newest {
            held.push(self.buffer(&ring));
            ring.done = ring.done.wrapping_add(1);
        }
        held.into_iter().map(|(_, at, len, _)| (at, len)).collect()
    }

    /// Fills such a buffer.
    pub fn write(&self, (at, len): (u64, u32), byte: u8) {
        let bytes = vec![byte; len as usize];
        let (file, offset) = self
            .find(at, bytes.len(), |region| region.guest)
            .expect("not shared");
        file.write_all_at(&bytes, offset).unwrap();
    }

    /// Gives buffer `id` back, `len` bytes of it written.
    pub fn give_back(&mut self, index: u32, id: u32, len: u32) {
        let ring = self.rings[&index];
        let slot = u64::from(u32::from(ring.done) % ring.len);
        self.store(
            ring.used + 4 + 8 * slot,
            &[id.to_le_bytes(), len.to_le_bytes()].concat(),
        );
        let done = ring.done.wrapping_add(1);
        self.store(ring.used + 2, &done.to_le_bytes());
        if u16::from_le_bytes(self.load(ring.avail)) & 1 == 0 {
            (&self.calls[&index]).write_all(&1u64.to_ne_bytes()).unwrap();
        }
        self.rings.get_mut(&index).unwrap().done = done;
    }

    /// It polls, and wants no kicks.
    pub fn hush(&self) {
        for ring in self.rings.values() {
            self.store(ring.used, &1u16.to_le_bytes());
        }
    }

    /// Kicks of a ring since the last look.
    pub fn kicked(&self, index: u32) -> u64 {
        let mut count = [0; 8];
        let got = (&self.kicks[&index]).read(&mut count);
        got.map_or(0, |_| u64::from_ne_bytes(count))
    }

    /// One frame from the transmit to the receive ring; whether there was one.
    pub fn echo(&mut self) -> bool {
        let (Some((tx, from, len, flags)), Some((rx, to, room, write))) =
            (self.available(1), self.available(0))
        else {
            return false;
        };
        assert_eq!(
            (flags, write),
            (0, 2),
            "read-only and write-only, one descriptor each"
        );
        assert!(len <= room);
        let mut frame = vec![0; len as usize];
        let (file, offset) = self
            .find(from, frame.len(), |region| region.guest)
            .expect("not shared");
        file.read_exact_at(&mut frame, offset).unwrap();
        assert_eq!(frame[..12], [0; 12], "no offload is asked for");
        frame[10] = 1; // buffers
        let (file, offset) = self
            .find(to, frame.len(), |region| region.guest)
            .expect("not shared");
        file.write_all_at(&frame, offset).unwrap();
        self.give_back(0, rx.into(), len);
        self.give_back(1, tx.into(), 0);
        self.echoed += 1;
        true
    }
}
