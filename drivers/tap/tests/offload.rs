//! Offloads between a tap and the kernel's own sockets.

use barline::mem::{PageSize, Source};
use barline::offload::{Checksum, LONG_ROOM, Offload, Offloads, SegmentKind, Segmentation, Sum};
use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{Port, PortConfig, Queues};
use barline_netif::Interface;
use barline_netif::testing::{enter, fresh, ip};
use barline_tap::Tap;
use nix::sys::socket::{setsockopt, sockopt};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const OURS: [u8; 4] = [10, 9, 0, 2];
const THEIRS: [u8; 4] = [10, 9, 0, 1];
/// Ethernet, IPv4 and UDP.
const HEADERS: usize = 42;
const LIMIT: Duration = Duration::from_secs(30);

/// A started port, and a socket of the kernel's at the other end.
struct Bench {
    port: Tap,
    queues: Queues,
    cache: PoolCache,
    socket: UdpSocket,
    their_mac: [u8; 6],
}

impl Bench {
    /// None where this machine has no such thing.
    fn new(offloads: Offloads) -> Option<Self> {
        let tun = std::fs::File::open("/dev/net/tun").map_err(|error| format!("no /dev/net/tun: {error}"));
        if let Err(why) = enter().and(tun.map(drop)) {
            eprintln!("SKIPPED: {why}");
            return None;
        }
        let name = fresh("bt");
        let mut port = Tap::open(&name).unwrap();
        let offloads = offloads & port.caps().offloads;
        let memory = Source::MemFd(PageSize::Base4K);
        let pool = Pool::builder()
            .packets(256)
            .data_room(LONG_ROOM)
            .source(memory)
            .build()
            .unwrap();
        let config = PortConfig {
            offloads,
            ..PortConfig::new(&pool)
        };
        let queues = port.start(&config).unwrap();
        ip(&format!("addr add 10.9.0.1/24 dev {name}")).unwrap();
        ip(&format!(
            "neigh add 10.9.0.2 lladdr {} dev {name} nud permanent",
            port.mac()
        ))
        .unwrap();
        let their_mac = Interface::find(&name).unwrap().facts().unwrap().mac.0;
        let socket = UdpSocket::bind("10.9.0.1:5000").unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Some(Self {
            port,
            queues,
            cache: pool.cache(),
            socket,
            their_mac,
        })
    }

    /// Packets to our port 7, all others are the kernel's own affair.
    fn receive(&mut self, count: usize) -> Vec<(Vec<u8>, Offload)> {
        let (mut got, end, mut batch) = (Vec::new(), Instant::now() + LIMIT, Batch::new());
        while got.len() < count {
            assert!(Instant::now() < end, "{} of {count} came", got.len());
            self.queues.rx[0].receive(&mut self.cache, &mut batch);
            let ours =
                |bytes: &[u8]| bytes.get(12..14) == Some(&[8, 0]) && bytes.get(36..38) == Some(&[0, 7]);
            for packet in batch.as_slice().iter().filter(|packet| ours(packet)) {
                got.push((packet.to_vec(), packet.offload()));
            }
            self.cache.free(&mut batch);
        }
        got
    }

    fn send(&mut self, payload: &[u8], offload: Offload) {
        let mut frame = [&self.their_mac[..], &self.port.mac().0, &[8, 0]].concat();
        let len = (28 + payload.len()) as u16;
        let mut header = vec![0x45, 0];
        header.extend(len.to_be_bytes());
        header.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
        header.extend([OURS, THEIRS].concat());
        let sum = Sum::default().with(&header).finish();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(header);
        frame.extend([0, 7, 0x13, 0x88]);
        frame.extend((len - 20).to_be_bytes());
        frame.extend((!pseudo(OURS, THEIRS, len - 20).finish()).to_be_bytes());
        frame.extend(payload);
        let mut packet = self.cache.alloc().unwrap();
        assert!(packet.set(&frame));
        packet.set_offload(offload);
        let mut batch = Batch::new();
        batch.push(packet).unwrap();
        self.queues.tx[0].transmit(&mut self.cache, &mut batch);
        assert!(batch.is_empty());
    }

    fn end(self) {
        let Self { mut port, queues, .. } = self;
        port.stop(queues).unwrap();
    }
}

fn pseudo(from: [u8; 4], to: [u8; 4], len: u16) -> Sum {
    let sum = Sum::default().with(&[from, to].concat()).with_u16(17);
    sum.with_u16(len)
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 256) as u8).collect()
}

fn partial(size: Option<u16>) -> Offload {
    Offload {
        checksum: Checksum::Partial { start: 34, offset: 6 },
        segmentation: size.map(|size| Segmentation {
            kind: SegmentKind::Udp,
            ecn: false,
            size,
            header: HEADERS as u16,
        }),
    }
}

/// The checksum of a received datagram, which is right.
fn is_summed_up(bytes: &[u8]) -> bool {
    let sum = pseudo(THEIRS, OURS, bytes.len() as u16 - 34).with(&bytes[34..]);
    sum.finish() == 0
}

#[test]
fn the_kernel_does_what_packets_ask_for_or_software_does() {
    for offloads in [Offloads::all(), Offloads::TX_CHECKSUM, Offloads::empty()] {
        let Some(mut bench) = Bench::new(offloads) else {
            return;
        };
        bench.send(&payload(300), partial(None));
        bench.send(&payload(3500), partial(Some(1000)));
        let mut datagrams = Vec::new();
        for _ in 0..5 {
            let mut bytes = [0; 4000];
            let len = bench
                .socket
                .recv(&mut bytes)
                .expect("a datagram, with a checksum that is right");
            datagrams.push(bytes[..len].to_vec());
        }
        let lens: Vec<_> = datagrams.iter().map(Vec::len).collect();
        assert_eq!(lens, [300, 1000, 1000, 1000, 500], "{offloads:?}");
        assert!(datagrams[1..].concat() == payload(3500));
        bench.end();
    }
}

#[test]
fn what_the_kernel_leaves_open_is_told() {
    for offloads in [Offloads::all(), Offloads::RX_CHECKSUM, Offloads::empty()] {
        let Some(mut bench) = Bench::new(offloads) else {
            return;
        };
        let offloads = offloads & bench.port.caps().offloads;
        bench.socket.send_to(&payload(300), "10.9.0.2:7").unwrap();
        let (bytes, offload) = bench.receive(1).remove(0);
        assert!(bytes[HEADERS..] == payload(300));
        match offloads.contains(Offloads::RX_CHECKSUM) {
            true => assert_eq!(offload, partial(None)),
            false => assert!(offload == Offload::default() && is_summed_up(&bytes)),
        }
        setsockopt(&bench.socket, sockopt::UdpGsoSegment, &1000).unwrap();
        bench.socket.send_to(&payload(3500), "10.9.0.2:7").unwrap();
        if offloads.contains(Offloads::RX_UDP) {
            let (bytes, offload) = bench.receive(1).remove(0);
            assert!(bytes[HEADERS..] == payload(3500));
            let segmentation = offload.segmentation.expect("it is to be cut");
            assert_eq!((segmentation.kind, segmentation.size), (SegmentKind::Udp, 1000));
            assert_eq!(offload.checksum, partial(None).checksum);
        } else {
            let got = bench.receive(4);
            let all: Vec<u8> = got
                .iter()
                .flat_map(|(bytes, _)| bytes[HEADERS..].to_vec())
                .collect();
            assert!(all == payload(3500));
            assert!(got.iter().all(|(_, offload)| offload.segmentation.is_none()));
        }
        bench.end();
    }
}
