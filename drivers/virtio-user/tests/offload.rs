//! Offloads between this port and our own back end: what one end says of a packet the other receives; what was not asked for on either
//! side is done in software.

use barline::mem::{PageSize, Source};
use barline::offload::{LONG_ROOM, Offload, Offloads};
use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{LinkRequest, Port, PortConfig, PortError, Queues};
use barline_conformance::stream::{asks, is_summed_up, open as tcp};
use barline_vhost::{Options, Vhost};
use barline_virtio_user::{Settings, VirtioUser};
use std::path::Path;
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// Only for what would never come.
const LIMIT: Duration = Duration::from_secs(60);

/// One end.
struct Side<P> {
    port: P,
    queues: Queues,
    cache: PoolCache,
    pool: Pool,
}

impl<P: Port> Side<P> {
    fn start(mut port: P, offloads: Offloads) -> Self {
        let memory = Source::MemFd(PageSize::Base4K);
        let pool = Pool::builder().packets(128).data_room(LONG_ROOM).source(memory);
        let pool = pool.build().unwrap();
        let config = PortConfig {
            rx_ring: 32,
            tx_ring: 32,
            link: LinkRequest::DoNotWait,
            ring_memory: memory,
            offloads,
            ..PortConfig::new(&pool)
        };
        let queues = port.start(&config).unwrap();
        let cache = pool.cache();
        Self {
            port,
            queues,
            cache,
            pool,
        }
    }

    fn send(&mut self, bytes: &[u8], offload: Offload) {
        let mut packet = self.cache.alloc().unwrap();
        assert!(packet.set(bytes));
        packet.set_offload(offload);
        let (mut batch, end) = (Batch::new(), Instant::now() + LIMIT);
        batch.push(packet).unwrap();
        while !batch.is_empty() {
            assert!(Instant::now() < end, "it is not sent");
            self.queues.tx[0].transmit(&mut self.cache, &mut batch);
        }
    }

    fn receive(&mut self, count: usize) -> Vec<(Vec<u8>, Offload)> {
        let (mut got, end, mut batch) = (Vec::new(), Instant::now() + LIMIT, Batch::new());
        while got.len() < count {
            assert!(Instant::now() < end, "{} of {count} came", got.len());
            self.queues.rx[0].receive(&mut self.cache, &mut batch);
            let packets = batch.as_slice().iter();
            got.extend(packets.map(|packet| (packet.to_vec(), packet.offload())));
            self.cache.free(&mut batch);
        }
        got
    }

    fn await_link(&mut self, up: bool, mut other: impl FnMut()) {
        let end = Instant::now() + LIMIT;
        while self.port.link().up != up {
            assert!(Instant::now() < end, "the link is not as it should be");
            other();
            yield_now();
        }
        // A ring that has come is taken, and filled.
        let mut batch = Batch::new();
        self.queues.rx[0].receive(&mut self.cache, &mut batch);
    }

    fn end(self) {
        let Self {
            mut port,
            queues,
            cache,
            pool,
        } = self;
        port.stop(queues).unwrap();
        drop(cache);
        assert_eq!(pool.available(), pool.packets());
    }
}

fn both(path: &Path, options: &str, [back, front]: [Offloads; 2]) -> (Side<Vhost>, Side<VirtioUser>) {
    let mut back = Side::start(Vhost::open(&Options::new(path)).unwrap(), back);
    let settings = Settings::parse(options).unwrap();
    let mut front = Side::start(VirtioUser::open(path, settings).unwrap(), front);
    front.await_link(true, || ());
    back.await_link(true, || ());
    (back, front)
}

/// Sends what can be asked for one way, and looks at what comes.
fn pass(from: &mut Side<impl Port>, to: &mut Side<impl Port>, whole: bool) {
    from.send(&tcp(100), asks(None));
    from.send(&tcp(30_000), asks(Some(1400)));
    from.send(&tcp(64), Offload::default());
    if whole {
        let wanted = [
            (tcp(100), asks(None)),
            (tcp(30_000), asks(Some(1400))),
            (tcp(64), Offload::default()),
        ];
        assert!(to.receive(3) == wanted, "as it was sent");
        return;
    }
    let segments = 30_000usize.div_ceil(1400);
    let got = to.receive(2 + segments);
    for (bytes, offload) in &got[..=segments] {
        assert!(*offload == Offload::default() && bytes.len() <= 1518);
        assert!(is_summed_up(bytes));
    }
    assert_eq!(got[segments + 1], (tcp(64), Offload::default()));
    let payload: Vec<u8> = got[1..=segments]
        .iter()
        .flat_map(|(bytes, _)| bytes[54..].to_vec())
        .collect();
    assert!(payload == tcp(30_000)[54..], "all of it, in order");
}

#[test]
fn what_one_end_says_the_other_receives_and_what_it_does_not_take_is_done_in_software() {
    let dir = tempfile::tempdir().unwrap();
    let (all, none) = (Offloads::all(), Offloads::empty());
    for (n, options) in ["packed=on", "packed=off", "packed=on,mrg=on", "packed=off,mrg=on"]
        .into_iter()
        .enumerate()
    {
        for (m, sides) in [[all, all], [all, none], [none, all]].into_iter().enumerate() {
            let path = dir.path().join(format!("{n}-{m}"));
            let (mut back, mut front) = both(&path, options, sides);
            for _ in 0..20 {
                pass(&mut front, &mut back, sides == [all; 2]);
                pass(&mut back, &mut front, sides == [all; 2]);
                front.queues.tx[0].reclaim(&mut front.cache);
            }
            front.end();
            back.end();
        }
    }
}

#[test]
fn long_packets_need_long_buffers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut port = Vhost::open(&Options::new(&path)).unwrap();
    let pool = Pool::builder()
        .packets(64)
        .source(Source::MemFd(PageSize::Base4K));
    let pool = pool.build().unwrap();
    let config = PortConfig {
        offloads: Offloads::RX_CHECKSUM | Offloads::RX_TCP4,
        link: LinkRequest::DoNotWait,
        ..PortConfig::new(&pool)
    };
    let error = port.start(&config).unwrap_err();
    assert!(
        matches!(&error, PortError::Config(text) if text.contains("data_room")),
        "{error}"
    );
    let mut front = VirtioUser::open(&path, Settings::parse("server").unwrap()).unwrap_err();
    assert!(front.to_string().contains("cannot listen"));
    let other = dir.path().join("t");
    let mut user = VirtioUser::open(&other, Settings::parse("server").unwrap()).unwrap();
    front = user.start(&config).unwrap_err();
    assert!(front.to_string().contains("data_room"), "{front}");
}
