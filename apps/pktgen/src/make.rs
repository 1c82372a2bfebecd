//! What a [`crate::Rig`] is made of: pool, rings, senders and receivers.

use crate::rig::Member;
use crate::settings::{Settings, wrong};
use barline::pool::{Pool, PoolBuilder};
use barline::port::{PortConfig, Queues};
use barline_app::{CACHE, Failure, Sizes, start};
use barline_drivers::{Opened, PortSpec};
use barline_traffic::{Analyser, Cost, Generator, Pacer, Receiver, Sender, Stream};

/// The longest frame, without FCS.
pub(crate) fn longest(settings: &Settings) -> usize {
    let replayed = settings.replay.as_ref().map_or(0, |replay| replay.longest());
    settings
        .streams
        .iter()
        .map(Stream::longest)
        .max()
        .unwrap_or(0)
        .max(replayed)
}

/// Receive and transmit ring: as asked for, or 512, or what all ports take.
pub(crate) fn rings(settings: &Settings, opened: &[Opened]) -> [u32; 2] {
    let most = opened
        .iter()
        .map(|opened| opened.port.caps().ring.1)
        .min()
        .unwrap_or(512);
    [settings.rx_ring, settings.tx_ring].map(|ring| ring.unwrap_or(512.min(most)))
}

/// Enough packets that no ring ever starves.
pub(crate) fn shape(settings: &Settings, sizes: Sizes, longest: usize) -> PoolBuilder {
    let rings = sizes.descriptors(settings.ports.len());
    let hands = (CACHE + 2 * settings.burst * settings.ports.len()) * settings.workers.len();
    // Frames are written in blocks; NICs count buffers in KiB.
    let room = (longest + 64 + 18).next_multiple_of(1024).max(2048);
    Pool::builder()
        .packets(rings + hands)
        .data_room(room)
        .headroom(PortSpec::pool_headroom(&settings.ports))
        .source(settings.huge.pool)
}

pub(crate) fn lane(
    settings: &Settings,
    port: usize,
    queue: usize,
    first: u16,
) -> Result<(Option<Sender>, Receiver), Failure> {
    let flows = settings.numbers();
    if flows > usize::from(u16::MAX) {
        let (most, asked) = (usize::from(u16::MAX) / 4, settings.flows());
        return Err(Failure::usage(format!(
            "{asked} streams times queues times ports are asked for, and {most} are possible; leave some out"
        )));
    }
    let fill = settings
        .streams
        .first()
        .map(|stream| stream.fill)
        .filter(|_| settings.verify);
    let receiver = Receiver::new(Analyser::new(flows, &settings.places(), fill), settings.burst);
    if !settings.sends[port] {
        return Ok((None, receiver));
    }
    let generator = match &settings.replay {
        Some(replay) => Generator::replaying(replay.clone()),
        None => {
            Generator::new(&settings.streams, first, queue as u64, settings.queues.into()).map_err(wrong)?
        }
    };
    let pacer = Pacer::new(settings.shape, Cost::NONE, 0);
    Ok((Some(Sender::new(generator, pacer, settings.burst)), receiver))
}

impl Member {
    pub(crate) fn start(mut opened: Opened, config: &PortConfig) -> Result<(Self, Queues), Failure> {
        let queues = start(&mut opened, config)?;
        let member = Self {
            rx: queues.rx.iter().map(|rx| rx.shared_counters()).collect(),
            tx: queues.tx.iter().map(|tx| tx.shared_counters()).collect(),
            opened,
        };
        Ok((member, queues))
    }
}
