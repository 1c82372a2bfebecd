//! Sends frames of TCP whose checksums are left to the peer, and checks what it reflects: DPDK's testpmd.
//!
//! `reflect_open PORT raw|csum [frames=N]`, PORT as in `vhost-user:/tmp/socket`
//!
//! * `raw`: the peer (io mode) sends back what it received. The checksum must still be open: had our side completed it, because the
//!   peer did not agree to take it so, the bytes would be others.
//! * `csum`: the peer leaves the checksum to us (csum mode, hardware checksums). Every frame must say so, and be right once completed.
//!
//! It exits with 0 when all frames came back whole and in order, with 1 at the first that is wrong or missing.
#![allow(clippy::print_stdout, reason = "an example talks to a person, or to a test")]

use barline::offload::{Checksum, Offload, Offloads, Sum, complete};
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

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let spec: PortSpec = arguments.next().ok_or("which port?")?.parse()?;
    let marked = match arguments.next().as_deref() {
        Some("raw") => false,
        Some("csum") => true,
        _ => return Err("raw or csum?".into()),
    };
    let frames = match arguments
        .next()
        .as_deref()
        .map(|word| word.strip_prefix("frames="))
    {
        None => 20_000,
        Some(number) => number.ok_or("frames=N")?.parse()?,
    };
    let mut port = Opener::new(Feed::Generated).open(&spec)?.port;
    let pool = Pool::builder().packets(2048).build()?;
    let config = PortConfig {
        link: LinkRequest::DoNotWait,
        offloads: Offloads::RX_CHECKSUM | Offloads::TX_CHECKSUM,
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
    play(&mut queues, &mut cache, frames, marked)?;
    println!("{frames} frames came back whole and in order, their checksums open");
    port.stop(queues)?;
    Ok(())
}

/// Sends probes until one has come back: a driver may throw away what came before it was ready.
fn warm_up(queues: &mut Queues, cache: &mut PoolCache) -> Result<()> {
    let (end, mut batch) = (Instant::now() + LIMIT, Batch::new());
    while Instant::now() < end {
        let mut probe = cache.alloc().ok_or("the pool is empty")?;
        let mut bytes = frame(0);
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

fn play(queues: &mut Queues, cache: &mut PoolCache, frames: u64, marked: bool) -> Result<()> {
    warm_up(queues, cache)?;
    let (mut sent, mut seen) = (0u64, 0u64);
    let (mut away, mut batch, mut last) = (Batch::new(), Batch::new(), Instant::now());
    while seen < frames {
        while sent < frames && sent - seen < WINDOW && away.room() > 0 {
            away.extend([packet(cache, sent)?]);
            sent += 1;
        }
        queues.tx[0].transmit(cache, &mut away);
        queues.tx[0].reclaim(cache);
        queues.rx[0].receive(cache, &mut batch);
        for got in batch.as_mut_slice() {
            if got.get(12..14) != Some(&[8, 0]) {
                continue; // a probe
            }
            check(got, seen, marked).map_err(|why| format!("frame {seen}: {why}; {:02x?}", &got[..]))?;
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
fn frame(n: u64) -> Vec<u8> {
    let len = 60 + (n.wrapping_mul(0x9e37_79b9) % 1455) as usize;
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
    let sum = Sum::default().with(&frame[26..TCP]).with_u16(6);
    sum.with_u16((frame.len() - TCP) as u16)
}

fn packet(cache: &mut PoolCache, n: u64) -> Result<Packet> {
    let mut packet = cache.alloc().ok_or("the pool is empty")?;
    if !packet.set(&frame(n)) {
        return Err("a buffer is short".into());
    }
    let checksum = Checksum::Partial {
        start: TCP as u16,
        offset: CHECKSUM as u16,
    };
    packet.set_offload(Offload {
        checksum,
        segmentation: None,
    });
    Ok(packet)
}

fn check(got: &mut Packet, n: u64, marked: bool) -> std::result::Result<(), &'static str> {
    let mut wanted = frame(n);
    match got.offload().checksum {
        Checksum::Partial { start, offset } if marked => {
            // What the peer's sum of the pseudo header is, is its own affair: right once it is completed.
            complete(got, start.into(), offset.into());
            complete(&mut wanted, TCP, CHECKSUM);
        }
        Checksum::None if !marked => {}
        _ => {
            return Err(if marked {
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
