//! Sends numbered frames to a peer that reflects them, such as DPDK's testpmd in io mode, and checks every one that comes
//! back: its order, its length, each of its bytes.
//!
//! `reflect PORT [frames=N] [rounds=N] [least=60] [most=1514] [rate=N] [window=N]`, PORT as in `vhost-user:/tmp/socket,queues=2`
//!
//! A round begins when every queue has brought something back, and begins anew when the peer goes in the middle of it; both print a
//! line, and so does its end; while frames come back there is one every five seconds. Between rounds the peer has to go and come. At
//! the end of the last one it exits with 0; at the first wrong or missing frame with 1. Frames of somebody else, such as of one of
//! these that was killed, are let pass.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    reason = "a test program talks to a person, or to a test"
)]

mod frames;
mod report;

use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{LinkRequest, Port, PortConfig, Queues};
use barline_drivers::{Feed, Opener, PortSpec};
use frames::{is_foreign, len, write};
use report::{Progress, explain, faults};
use std::collections::VecDeque;
use std::error::Error;
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Descriptors of our rings, where we choose.
const RING: u32 = 1024;

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
    let spec: PortSpec = arguments.next().ok_or("which port?")?.parse()?;
    let mut port = Opener::new(Feed::Generated).open(&spec)?.port;
    let port = &mut *port;
    let mut plan = Plan {
        queues: u64::from(port.caps().rx_queues),
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
            "frames" => plan.frames = value,
            "rounds" => plan.rounds = value,
            "least" => plan.least = value,
            "most" => plan.most = value,
            "rate" => plan.rate = value,
            "window" => plan.window = value,
            _ => return Err(format!("what is {argument}?").into()),
        }
    }
    let pool = Pool::builder()
        .packets(8192)
        .data_room(plan.most as usize + 18)
        .build()?;
    let config = PortConfig {
        rx_queues: plan.queues as u16,
        tx_queues: plan.queues as u16,
        rx_ring: RING,
        tx_ring: RING,
        mtu: (plan.most as u32).max(1518) - 14,
        link: LinkRequest::DoNotWait,
        ..PortConfig::new(&pool)
    };
    let mut queues = port.start(&config)?;
    let mut cache = pool.cache();
    for round in 0..plan.rounds {
        let seconds = loop {
            if let Err(error) = wait_for(port, true) {
                explain(port, &queues);
                return Err(error);
            }
            plan.session += 1;
            let played = play(&plan, port, &mut queues, &mut cache);
            if played.is_err() {
                explain(port, &queues);
            }
            match played? {
                Some(seconds) => break seconds,
                None => println!("the peer is gone"),
            }
        };
        let frames = plan.frames * plan.queues;
        println!("round {round}: {frames} frames came back whole and in order, {seconds:.2} s");
        if round + 1 < plan.rounds {
            wait_for(port, false)?;
        }
    }
    let faults = faults(port, &queues);
    port.stop(queues)?;
    drop(cache);
    match (faults, pool.packets() - pool.available()) {
        (0, 0) => Ok(()),
        (faults, leaked) => Err(format!("{faults} faults of the peer's, {leaked} packets leaked").into()),
    }
}

const LIMIT: Duration = Duration::from_secs(30);

fn wait_for(port: &dyn Port, up: bool) -> Result<()> {
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
fn connects(port: &mut dyn Port) -> Option<u64> {
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

/// Sends probes until each queue has brought one back: a driver may throw away what came before it was ready, as DPDK's
/// does. Whether it came to that before the peer went.
fn warm_up(plan: &Plan, port: &dyn Port, queues: &mut Queues, cache: &mut PoolCache) -> Result<bool> {
    let (end, mut batch) = (Instant::now() + LIMIT, Batch::new());
    let mut cold: Vec<usize> = (0..queues.rx.len()).collect();
    while !cold.is_empty() {
        if Instant::now() > end {
            return Err(format!("no probe came back on queues {cold:?}").into());
        }
        for index in &cold {
            let mut packet = cache.alloc().ok_or("the pool is empty")?;
            let frame = packet.append(len(plan, 0)).ok_or("a buffer is short")?;
            write(frame, *index, 0, !plan.session);
            batch.extend([packet]);
            queues.tx[*index].transmit(cache, &mut batch);
            cache.free(&mut batch);
        }
        sleep(Duration::from_millis(5));
        cold.retain(|index| {
            let got = queues.rx[*index].receive(cache, &mut batch);
            cache.free(&mut batch);
            got == 0
        });
        if !port.link().up {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The seconds that it took; none where the peer has gone.
fn play(plan: &Plan, port: &mut dyn Port, queues: &mut Queues, cache: &mut PoolCache) -> Result<Option<f64>> {
    let peer = connects(port);
    if !warm_up(plan, port, queues, cache)? {
        return Ok(None);
    }
    println!("a round begins");
    let (begin, mut last) = (Instant::now(), Instant::now());
    let mut states: Vec<Queue> = (0..plan.queues).map(|_| Queue::default()).collect();
    let mut scratch = vec![0; plan.most as usize];
    let (mut batch, mut turns, mut progress) = (Batch::with_burst(32), 0u32, Progress::new());
    loop {
        turns += 1;
        if turns.is_multiple_of(64) && connects(port) != peer {
            return Ok(None);
        }
        let due = 1 + begin.elapsed().as_micros() as u64 * plan.rate / 1_000_000;
        let (mut open, mut idle) = (false, true);
        for (index, state) in states.iter_mut().enumerate() {
            let most = due.min(plan.frames);
            while state.sent < most && (state.away.len() as u64) < plan.window && batch.room() > 0 {
                let mut packet = cache.alloc().ok_or("the pool is empty")?;
                let frame = packet.append(len(plan, state.sent)).ok_or("a buffer is short")?;
                write(frame, index, state.sent, plan.session);
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
            progress.add(batch.len() as u64);
            idle &= batch.is_empty();
            for packet in batch.as_slice() {
                if is_foreign(plan, packet, index) {
                    continue;
                }
                let n = state.away.pop_front().ok_or("a frame came that was not sent")?;
                let wanted = &mut scratch[..len(plan, n)];
                write(wanted, index, n, plan.session);
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
        if last.elapsed() > LIMIT {
            let away: Vec<_> = states
                .iter()
                .map(|state| (state.sent, state.away.len()))
                .collect();
            return Err(format!("nothing came back for {LIMIT:?}; sent and away: {away:?}").into());
        }
        // The peer may want this processor; with something to do, as long as it takes.
        if idle {
            yield_now();
        }
    }
}
