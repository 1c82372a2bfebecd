//! Sends frames of TCP whose checksums are left to the peer, and checks what it reflects: DPDK's testpmd.
//!
//! `reflect_open PORT raw|csum [frames=N] [sent=SIZE back=SIZE]`, PORT as in `vhost-user:/tmp/socket`
//!
//! * `raw`: the peer (io mode) sends back what it received. The checksum must still be open: had our side completed it, because the
//!   peer did not agree to take it so, the bytes would be others.
//! * `csum`: the peer leaves the checksum to us (csum mode, hardware checksums). Every frame must say so, and be right once completed.
//!
//! With sizes, frames are long ones that are to be cut into segments of so many bytes: `sent` is what our side asks for, and `back` what
//! the peer does, which sends them back uncut. With `raw` that is DPDK's vhost, which sums their pseudo headers without a length.
//!
//! It exits with 0 when all frames came back whole and in order, with 1 at the first that is wrong or missing.
#![allow(clippy::print_stdout, reason = "an example talks to a person, or to a test")]

use barline::offload::{Checksum, LONG_ROOM, Offload, Offloads, SegmentKind, Segmentation, Sum, complete};
use barline::pool::{Batch, Packet, Pool, PoolCache};
use barline::port::{LinkRequest, PortConfig, Queues};
use barline_drivers::{Feed, Opener, PortSpec};
use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Only for what would never come.
const LIMIT: Duration = Duration::from_secs(30);
/// Frames on their way.
const WINDOW: u64 = 32;
/// Where TCP begins, and where its checksum is from there on.
const TCP: usize = 34;
const CHECKSUM: usize = 16;
/// Ethernet, IPv4 and TCP.
const HEADERS: usize = 54;

/// What is to come back, and how often.
#[derive(Clone, Copy)]
struct Wish {
    /// The peer leaves checksums to us.
    marked: bool,
    frames: u64,
    /// Bytes of segments that we ask for, and that the peer does.
    sizes: Option<(u16, u16)>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let spec: PortSpec = arguments.next().ok_or("which port?")?.parse()?;
    let mut wish = Wish {
        marked: match arguments.next().as_deref() {
            Some("raw") => false,
            Some("csum") => true,
            _ => return Err("raw or csum?".into()),
        },
        frames: 20_000,
        sizes: None,
    };
    for word in arguments {
        let (name, number) = word.split_once('=').ok_or("NAME=NUMBER")?;
        let (sent, back) = wish.sizes.unwrap_or_default();
        match name {
            "frames" => wish.frames = number.parse()?,
            "sent" => wish.sizes = Some((number.parse()?, back)),
            "back" => wish.sizes = Some((sent, number.parse()?)),
            _ => return Err("frames, sent or back?".into()),
        }
    }
    let mut port = Opener::new(Feed::Generated).open(&spec)?.port;
    let mut offloads = Offloads::RX_CHECKSUM | Offloads::TX_CHECKSUM;
    let mut pool = Pool::builder().packets(2048);
    if wish.sizes.is_some() {
        // testpmd takes both kinds or none.
        offloads |= Offloads::RX_TCP4 | Offloads::TX_TCP4 | Offloads::RX_TCP6 | Offloads::TX_TCP6;
        pool = pool.data_room(LONG_ROOM);
    }
    let pool = pool.build()?;
    let config = PortConfig {
        link: LinkRequest::DoNotWait,
        offloads,
        ..PortConfig::new(&pool)
    };
    let mut queues = port.start(&config)?;
    let mut cache = pool.cache();
    let end = Instant::now() + LIMIT;
    while !port.link().up {
        if Instant::now() > end {
            return Err("no peer came".into());
        }
        sleep(Duration::from_millis(2));
    }
    println!("the peer is there");
    play(&mut queues, &mut cache, wish)?;
    let Wish { frames, sizes, .. } = wish;
    let long = if sizes.is_some() { ", uncut" } else { "" };
    println!("{frames} frames came back whole and in order, their checksums open{long}");
    port.stop(queues)?;
    Ok(())
}

/// Sends probes until one has come back: a driver may throw away what came before it was ready.
fn warm_up(queues: &mut Queues, cache: &mut PoolCache) -> Result<()> {
    let (end, mut batch) = (Instant::now() + LIMIT, Batch::new());
    while Instant::now() < end {
        let mut probe = cache.alloc().ok_or("the pool is empty")?;
        let mut bytes = frame(0, false);
        // Local experimental: whose it is anybody sees.
        bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
        probe.set(&bytes);
        batch.extend([probe]);
        queues.tx[0].transmit(cache, &mut batch);
        cache.free(&mut batch);
        sleep(Duration::from_millis(5));
        let got = queues.rx[0].receive(cache, &mut batch);
        cache.free(&mut batch);
        if got > 0 {
            return Ok(());
        }
    }
    Err("no probe came back".into())
}

fn play(queues: &mut Queues, cache: &mut PoolCache, wish: Wish) -> Result<()> {
    let frames = wish.frames;
    warm_up(queues, cache)?;
    let (mut sent, mut seen) = (0u64, 0u64);
    let (mut away, mut batch, mut last) = (Batch::new(), Batch::new(), Instant::now());
    while seen < frames {
        while sent < frames && sent - seen < WINDOW && away.room() > 0 {
            away.extend([packet(cache, sent, wish)?]);
            sent += 1;
        }
        queues.tx[0].transmit(cache, &mut away);
        queues.tx[0].reclaim(cache);
        queues.rx[0].receive(cache, &mut batch);
        for got in batch.as_mut_slice() {
            if got.get(12..14) != Some(&[8, 0]) {
                continue; // a probe
            }
            check(got, seen, wish).map_err(|why| format!("frame {seen}: {why}; {:02x?}", &got[..]))?;
            seen += 1;
            last = Instant::now();
        }
        cache.free(&mut batch);
        if last.elapsed() > LIMIT {
            return Err(format!("{seen} of {frames} came back").into());
        }
    }
    Ok(())
}

/// Number `n`: its bytes follow from the number, its checksum is open.
fn frame(n: u64, long: bool) -> Vec<u8> {
    // A long one is more than two segments, and less than 9,000 bytes.
    let (least, span) = if long { (2_500, 6_400) } else { (60, 1455) };
    let len = least + (n.wrapping_mul(0x9e37_79b9) % span) as usize;
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    frame.extend((len as u16 - 14).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 198, 18, 0, 1, 198, 19, 0, 1]);
    frame.extend([0x80, 1, 0, 9]);
    frame.extend((n as u32).to_be_bytes());
    frame.extend([0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    frame.extend((HEADERS..len).map(|at| (at as u64 ^ n) as u8));
    let header = Sum::default().with(&frame[14..TCP]).finish();
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    let seed = !pseudo(&frame).finish();
    frame[TCP + CHECKSUM..][..2].copy_from_slice(&seed.to_be_bytes());
    frame
}

fn pseudo(frame: &[u8]) -> Sum {
    addresses(frame).with_u16((frame.len() - TCP) as u16)
}

/// What of the pseudo header is no length.
fn addresses(frame: &[u8]) -> Sum {
    Sum::default().with(&frame[26..TCP]).with_u16(6)
}

/// Segments of TCP over IPv4 of so many bytes each.
fn segments(size: u16) -> Segmentation {
    Segmentation {
        kind: SegmentKind::Tcp4,
        ecn: false,
        size,
        header: HEADERS as u16,
    }
}

fn packet(cache: &mut PoolCache, n: u64, wish: Wish) -> Result<Packet> {
    let mut packet = cache.alloc().ok_or("the pool is empty")?;
    if !packet.set(&frame(n, wish.sizes.is_some())) {
        return Err("a buffer is short".into());
    }
    let checksum = Checksum::Partial {
        start: TCP as u16,
        offset: CHECKSUM as u16,
    };
    packet.set_offload(Offload {
        checksum,
        segmentation: wish.sizes.map(|(sent, _)| segments(sent)),
    });
    Ok(packet)
}

fn check(got: &mut Packet, n: u64, wish: Wish) -> std::result::Result<(), &'static str> {
    let mut wanted = frame(n, wish.sizes.is_some());
    let Offload {
        checksum,
        segmentation,
    } = got.offload();
    let size = segmentation.map(|asked| (asked.kind, asked.size));
    if size != wish.sizes.map(|(_, back)| (SegmentKind::Tcp4, back)) {
        return Err("it asks for other segments");
    }
    match checksum {
        Checksum::Partial { .. } if !wish.marked && wish.sizes.is_some() => {
            // DPDK's vhost (22.11) sums the pseudo header anew, that of a long packet without the length.
            let seed = !addresses(&wanted).finish();
            wanted[TCP + CHECKSUM..][..2].copy_from_slice(&seed.to_be_bytes());
        }
        Checksum::Partial { start, offset } if wish.marked => {
            // What the peer's sum of the pseudo header is, is its own affair: right once it is completed.
            complete(got, start.into(), offset.into());
            complete(&mut wanted, TCP, CHECKSUM);
        }
        Checksum::None if !wish.marked => {}
        _ => {
            return Err(if wish.marked {
                "its checksum is not left to us"
            } else {
                "it says something"
            });
        }
    }
    match got[14..] == wanted[14..] {
        true => Ok(()),
        false => Err("it is another, or its checksum was made"),
    }
}
