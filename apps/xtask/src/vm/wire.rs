//! The cable between the host and a guest's NICs: datagram sockets, one frame a datagram.

use super::frames::{Frame, sequence};
use super::qemu::Cable;
use anyhow::{Context, Result, bail};
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Frames on their way at once. Fewer than the smallest ring of a NIC, so that nothing has to drop one.
pub const WINDOW: usize = 64;
/// Without progress for this long the rest is taken for lost. A loaded machine may pause a guest for seconds.
const STALL: Duration = Duration::from_secs(30);
/// A read gives up this often to look around; also the silence that ends a run.
const TICK: Duration = Duration::from_millis(200);

/// The host's end of a cable.
#[derive(Debug)]
pub struct End {
    socket: UnixDatagram,
    host: PathBuf,
    qemu: PathBuf,
}

impl End {
    /// Binds the host's socket in `dir`; socket names must be short, so this is not the output directory.
    pub fn new(dir: &Path, name: &str) -> Result<Self> {
        let host = dir.join(format!("{name}.host"));
        let socket = UnixDatagram::bind(&host).with_context(|| format!("cannot bind {}", host.display()))?;
        socket
            .set_read_timeout(Some(TICK))
            .context("cannot set a time limit on a socket")?;
        socket
            .set_write_timeout(Some(TICK))
            .context("cannot set a time limit on a socket")?;
        Ok(Self {
            socket,
            host,
            qemu: dir.join(format!("{name}.qemu")),
        })
    }

    /// The cable to give to the NIC.
    pub fn cable(&self) -> Cable {
        Cable::Wire {
            qemu: self.qemu.clone(),
            host: self.host.clone(),
        }
    }

    /// QEMU arguments that let the frames out of a hub, with no NIC of their own.
    pub fn on_hub(&self, hub: u32) -> [String; 4] {
        let wire = format!(
            "dgram,id=wire{hub},local.type=unix,local.path={},remote.type=unix,remote.path={}",
            self.qemu.display(),
            self.host.display()
        );
        let port = format!("hubport,id=wireport{hub},hubid={hub},netdev=wire{hub}");
        ["-netdev".to_owned(), wire, "-netdev".to_owned(), port]
    }

    /// Sends a frame, waiting while QEMU's queue is full; `false` when it stays full.
    pub fn send(&self, frame: &[u8]) -> Result<bool> {
        let start = Instant::now();
        while start.elapsed() < STALL {
            match self.socket.send_to(frame, &self.qemu) {
                Ok(_) => return Ok(true),
                Err(error) if is_timeout(error.kind()) => {}
                Err(error) => return Err(error).context("QEMU does not take frames any more"),
            }
        }
        Ok(false)
    }

    /// The next frame, or nothing within a tick.
    fn receive(&self, buffer: &mut [u8]) -> Result<Option<Frame>> {
        match self.socket.recv(buffer) {
            Ok(length) => Ok(Some(buffer[..length].to_vec())),
            Err(error) if is_timeout(error.kind()) => Ok(None),
            Err(error) => Err(error).context("cannot receive from QEMU"),
        }
    }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// What became of the frames of one direction.
#[derive(Debug, Default)]
pub struct Trip {
    /// Frames that QEMU took.
    pub sent: usize,
    /// Frames of ours that came out at the other end, in order of arrival.
    pub received: Vec<Frame>,
    /// Frames that are not ours: the guest's own.
    pub strays: usize,
    /// Time from the first frame to the last.
    pub time: Duration,
}

/// Progress that the sender and the receiver of a direction share.
#[derive(Default)]
struct Progress {
    sent: AtomicUsize,
    returned: AtomicUsize,
    sender_done: AtomicBool,
}

/// Sends `forth` into `a` and takes it from `b`, and `back` the other way round, both at once.
pub fn exchange(a: &End, b: &End, forth: &[Frame], back: &[Frame], window: usize) -> Result<[Trip; 2]> {
    let (there, here) = (Progress::default(), Progress::default());
    thread::scope(|scope| {
        let tasks = [
            scope.spawn(|| send(a, forth, window, &there)),
            scope.spawn(|| send(b, back, window, &here)),
        ];
        let trips = [
            scope.spawn(|| receive(b, forth.len(), &there)),
            scope.spawn(|| receive(a, back.len(), &here)),
        ];
        for task in tasks {
            joined(task)?;
        }
        let [first, second] = trips.map(joined);
        Ok([first?, second?])
    })
}

fn joined<T>(task: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    match task.join() {
        Ok(result) => result,
        Err(_) => bail!("a thread of the wire panicked"),
    }
}

fn send(end: &End, frames: &[Frame], window: usize, progress: &Progress) -> Result<()> {
    let result = send_all(end, frames, window, progress);
    progress.sender_done.store(true, Ordering::Release);
    result
}

fn send_all(end: &End, frames: &[Frame], window: usize, progress: &Progress) -> Result<()> {
    for (i, frame) in frames.iter().enumerate() {
        let start = Instant::now();
        while i.saturating_sub(progress.returned.load(Ordering::Acquire)) >= window {
            if start.elapsed() > STALL {
                return Ok(());
            }
            thread::sleep(Duration::from_micros(50));
        }
        if !end.send(frame)? {
            return Ok(());
        }
        progress.sent.store(i + 1, Ordering::Release);
    }
    Ok(())
}

fn receive(end: &End, expected: usize, progress: &Progress) -> Result<Trip> {
    let mut buffer = vec![0; 65536];
    let mut trip = Trip::default();
    let start = Instant::now();
    let mut last = start;
    loop {
        match end.receive(&mut buffer)? {
            Some(frame) if sequence(&frame).is_some() => {
                trip.received.push(frame);
                progress.returned.store(trip.received.len(), Ordering::Release);
                last = Instant::now();
                trip.time = last - start;
            }
            Some(_) => trip.strays += 1,
            None => {
                // Silence: complete (and nothing came twice), or lost.
                let all_back = trip.received.len() >= expected;
                let given_up = progress.sender_done.load(Ordering::Acquire) && last.elapsed() > STALL;
                if all_back || given_up {
                    trip.sent = progress.sent.load(Ordering::Acquire);
                    return Ok(trip);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::frames::{Comparison, Recipe};

    /// Stands for the guest: takes frames at one socket and hands them out at the other.
    fn forward(from: &UnixDatagram, to: &UnixDatagram, target: &Path, count: usize) {
        let mut buffer = vec![0; 2048];
        for _ in 0..count {
            let length = from.recv(&mut buffer).expect("a frame");
            to.send_to(&buffer[..length], target).expect("sent");
        }
    }

    #[test]
    fn frames_make_the_trip_both_ways() {
        let dir = tempfile::tempdir().expect("a directory");
        let (a, b) = (
            End::new(dir.path(), "a").expect("a"),
            End::new(dir.path(), "b").expect("b"),
        );
        let (qa, qb) = (
            UnixDatagram::bind(&a.qemu).expect("qa"),
            UnixDatagram::bind(&b.qemu).expect("qb"),
        );
        let recipe = Recipe {
            seed: 1,
            count: 300,
            dst: [2; 6],
            src: [4; 6],
        };
        let (forth, back) = (recipe.frames(), Recipe { seed: 2, ..recipe }.frames());
        let trips = thread::scope(|scope| {
            scope.spawn(|| forward(&qa, &qb, &b.host, 300));
            scope.spawn(|| forward(&qb, &qa, &a.host, 300));
            exchange(&a, &b, &forth, &back, 8).expect("trips")
        });
        assert_eq!((trips[0].sent, trips[1].sent), (300, 300));
        assert!(Comparison::new(&forth, &trips[0].received, Clone::clone).is_perfect());
        assert!(Comparison::new(&back, &trips[1].received, Clone::clone).is_perfect());
    }
}
