//! Sends numbered frames to a peer that reflects them, such as DPDK's testpmd in io mode, and checks every one that comes
//! back: its order, its length, each of its bytes.
//!
//! `user_reflect PATH[,OPTIONS] [queues=N] [frames=N] [rounds=N] [least=60] [most=1514] [rate=N] [window=N]`
//!
//! A round begins when the peer's rings are there, and begins anew when the peer goes in the middle of it; both print a
//! line, and so does its end. Between rounds the peer has to go and come. At the end of the last one it exits with 0; at
//! the first wrong or missing frame with 1. Frames of somebody else, such as of one of these that was killed, are let
//! pass.
#![allow(clippy::print_stdout, reason = "an example talks to a person, or to a test")]

use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{LinkRequest, Port, PortConfig, Queues};
use barline_virtio_user::{Settings, VirtioUser};
use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Debug)]
struct Plan {
    queues: u64,
    frames: u64,
    rounds: u64,
    least: u64,
    most: u64,
    /// Frames a second and queue.
    rate: u64,
    /// Most frames on their way, a queue.
    window: u64,
    /// Whose frames these are: no other process, and no attempt of this one, has them.
    session: u64,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("which socket?")?;
    let (path, options) = name.split_once(',').unwrap_or((&name, ""));
    let mut settings = Settings::parse(options)?;
    let mut plan = Plan {
        queues: 1,
        frames: 100_000,
        rounds: 1,
        least: 60,
        most: 1514,
        rate: 50_000,
        window: 128,
        session: u64::from(std::process::id()) << 16,
    };
    for argument in arguments {
        let (key, value) = argument.split_once('=').unwrap_or((&argument, "1"));
        let value: u64 = value.parse()?;
        match key {
            "queues" => plan.queues = value,
            "frames" => plan.frames = value,
            "rounds" => plan.rounds = value,
            "least" => plan.least = value,
            "most" => plan.most = value,
            "rate" => plan.rate = value,
            "window" => plan.window = value,
            _ => return Err(format!("what is {argument}?").into()),
        }
    }
    settings.queues = plan.queues as u16;
    let mut port = VirtioUser::open(Path::new(path), settings)?;
    let pool = Pool::builder()
        .packets(8192)
        .data_room(plan.most as usize + 18)
        .build()?;
    let config = PortConfig {
        rx_queues: plan.queues as u16,
        tx_queues: plan.queues as u16,
        mtu: (plan.most as u32).max(1518) - 14,
        link: LinkRequest::DoNotWait,
        ..PortConfig::new(&pool)
    };
    let mut queues = port.start(&config)?;
    let mut cache = pool.cache();
    for round in 0..plan.rounds {
        let seconds = loop {
            wait_for(&port, true)?;
            println!("round {round} begins");
            plan.session += 1;
            match play(&plan, &mut port, &mut queues, &mut cache)? {
                Some(seconds) => break seconds,
                None => println!("the peer is gone"),
            }
        };
        let frames = plan.frames * plan.queues;
        println!("round {round}: {frames} frames came back whole and in order, {seconds:.2} s");
        if round + 1 < plan.rounds {
            wait_for(&port, false)?;
        }
    }
    port.counters(&mut |name: &'static str, value: u64| println!("{name} {value}"));
    let mut faults = 0;
    for (rx, tx) in queues.rx.iter().zip(&queues.tx) {
        let (rx, tx) = (rx.counters(), tx.counters());
        faults += rx.rx_bad_ids.get() + rx.rx_overruns.get() + rx.rx_lengths.get();
        faults += tx.tx_bad_ids.get() + tx.tx_overruns.get() + tx.tx_lengths.get();
        println!(
            "received {} sent {} kicks {}",
            rx.rx_packets.get(),
            tx.tx_packets.get(),
            tx.tx_doorbells.get()
        );
    }
    port.stop(queues)?;
    drop(cache);
    match (faults, pool.packets() - pool.available()) {
        (0, 0) => Ok(()),
        (faults, leaked) => Err(format!("{faults} faults of the peer's, {leaked} packets leaked").into()),
    }
}

const LIMIT: Duration = Duration::from_secs(60);

fn wait_for(port: &VirtioUser, up: bool) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while port.link().up != up {
        if Instant::now() > end {
            return Err(format!("the link is not {}", if up { "up" } else { "down" }).into());
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// How many peers there have been; none while there is none.
fn connects(port: &mut VirtioUser) -> Option<u64> {
    let mut connects = None;
    port.counters(&mut |name: &'static str, value: u64| {
        if name == "peer_connects" {
            connects = Some(value);
        }
    });
    connects.filter(|_| port.link().up)
}

/// What one queue has sent and not seen again: sequence numbers.
#[derive(Default)]
struct Queue {
    sent: u64,
    away: VecDeque<u64>,
}

/// Length of frame number `n`: all of them, again and again, far apart ones next to each other.
fn len(plan: &Plan, n: u64) -> usize {
    (plan.least + n.wrapping_mul(0x9e37_79b9) % (plan.most - plan.least + 1)) as usize
}

/// Fills a frame: addresses, a local experimental Ethertype, number, session, and bytes that follow from them and from the
/// queue.
fn write(bytes: &mut [u8], session: u64, queue: usize, n: u64) {
    bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    let seed = (n << 8 | queue as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[14..22].copy_from_slice(&n.to_le_bytes());
    bytes[22..30].copy_from_slice(&session.to_le_bytes());
    for (at, byte) in bytes[30..].iter_mut().enumerate() {
        *byte = (seed >> (at % 8 * 8)) as u8 ^ at as u8;
    }
}

/// The seconds that it took; none where the peer has gone.
fn play(
    plan: &Plan,
    port: &mut VirtioUser,
    queues: &mut Queues,
    cache: &mut PoolCache,
) -> Result<Option<f64>> {
    let peer = connects(port);
    let (begin, mut last) = (Instant::now(), Instant::now());
    let mut states: Vec<Queue> = (0..plan.queues).map(|_| Queue::default()).collect();
    let mut scratch = vec![0; plan.most as usize];
    let (mut batch, mut turns) = (Batch::with_burst(32), 0u32);
    loop {
        turns += 1;
        if turns.is_multiple_of(64) && connects(port) != peer {
            return Ok(None);
        }
        let due = 1 + begin.elapsed().as_micros() as u64 * plan.rate / 1_000_000;
        let mut open = false;
        for (index, state) in states.iter_mut().enumerate() {
            let most = due.min(plan.frames);
            while state.sent < most && (state.away.len() as u64) < plan.window && batch.room() > 0 {
                let mut packet = cache.alloc().ok_or("the pool is empty")?;
                let frame = packet.append(len(plan, state.sent)).ok_or("a buffer is short")?;
                write(frame, plan.session, index, state.sent);
                state.away.push_back(state.sent);
                state.sent += 1;
                if batch.push(packet).is_err() {
                    break;
                }
            }
            queues.tx[index].transmit(cache, &mut batch);
            // No room: the newest ones were not sent after all.
            state.sent -= batch.len() as u64;
            state.away.truncate(state.away.len() - batch.len());
            cache.free(&mut batch);
            queues.rx[index].receive(cache, &mut batch);
            for packet in batch.as_slice() {
                if packet
                    .get(22..30)
                    .is_some_and(|id| id != plan.session.to_le_bytes())
                {
                    continue;
                }
                let n = state.away.pop_front().ok_or("a frame came that was not sent")?;
                let wanted = &mut scratch[..len(plan, n)];
                write(wanted, plan.session, index, n);
                if packet[..] != *wanted {
                    let got = packet
                        .get(14..22)
                        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
                    return Err(format!(
                        "queue {index}: frame {n} of {} bytes came back as {got:?} of {} bytes",
                        wanted.len(),
                        packet.len()
                    )
                    .into());
                }
                last = Instant::now();
            }
            cache.free(&mut batch);
            open |= state.sent < plan.frames || !state.away.is_empty();
        }
        if !open {
            return Ok(Some(begin.elapsed().as_secs_f64()));
        }
        if last.elapsed() > LIMIT / 4 {
            let away: Vec<_> = states
                .iter()
                .map(|state| (state.sent, state.away.len()))
                .collect();
            return Err(format!("nothing came back for {:?}; sent and away: {away:?}", LIMIT / 4).into());
        }
        yield_now();
    }
}
