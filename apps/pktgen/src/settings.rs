use crate::Options;
use barline::worker::CoreId;
use barline_app::{Failure, Huge, at_least_one, burst, duration, workers};
use barline_drivers::{Bus, PortSpec};
use barline_traffic::{Rate, Replay, Shape, Stream, StreamConfig, TrafficError};
use std::path::PathBuf;
use std::time::Duration;

/// Options that have been checked, as far as that is possible without a device.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Ports.
    pub ports: Vec<PortSpec>,
    /// Whether each sends.
    pub sends: Vec<bool>,
    /// Queues a port.
    pub queues: u16,
    /// A worker each.
    pub workers: Vec<Option<CoreId>>,
    /// How fast.
    pub rate: Rate,
    /// In which pattern.
    pub shape: Shape,
    /// What.
    pub streams: Vec<Stream>,
    /// What in place of that.
    pub replay: Option<Replay>,
    /// How long.
    pub duration: Option<Duration>,
    /// Packets a port.
    pub count: Option<u64>,
    /// Packets at a time.
    pub burst: usize,
    /// Wait for what is on its way.
    pub settle: Duration,
    /// Look at every byte.
    pub verify: bool,
    /// JSON.
    pub json: bool,
    /// Socket for orders.
    pub control: Option<PathBuf>,
    /// Where memory comes from.
    pub huge: Huge,
    /// Descriptors of a receive ring, if it was said.
    pub rx_ring: Option<u32>,
    /// Descriptors of a transmit ring, if it was said.
    pub tx_ring: Option<u32>,
}

/// A failure of the user's making.
pub(crate) fn wrong(error: TrafficError) -> Failure {
    Failure::usage(error.to_string())
}

/// The ports when none are named.
const DEFAULT_PORTS: &str = "sim:82576,wire=a,sim:82576,wire=a";

impl Settings {
    /// Checks the options and reads the file to be replayed.
    ///
    /// # Errors
    /// The first option that is wrong.
    pub fn new(options: &Options) -> Result<Self, Failure> {
        let bus: Bus = options.bus.as_deref().unwrap_or("vfio").parse()?;
        let named = options.ports.join(",");
        let ports = PortSpec::parse_list_on(bus, if named.is_empty() { DEFAULT_PORTS } else { &named })?;
        let burst = burst(options.burst)?;
        let (queues, workers) = workers(options.cores.as_deref(), options.queues)?;
        let seconds = options
            .seconds
            .or((named.is_empty() && options.count.is_none()).then_some(5.0));
        let ring = |name, ring: Option<u32>| ring.map(|ring| at_least_one(name, ring)).transpose();
        let replay = replay(options)?;
        Ok(Self {
            sends: sends(&options.send, ports.len())?,
            ports,
            queues,
            workers,
            rate: options
                .rate
                .as_deref()
                .unwrap_or("100kpps")
                .parse()
                .map_err(wrong)?,
            shape: shape(options.shape.as_deref().unwrap_or("even"))?,
            streams: streams(options)?,
            duration: if replay.is_some() && options.seconds.is_none() {
                None
            } else {
                seconds.map(duration).transpose()?
            },
            replay,
            count: options
                .count
                .map(|count| at_least_one("count", count))
                .transpose()?,
            burst,
            settle: Duration::from_millis(options.settle.unwrap_or(100).min(60_000)),
            verify: options.verify == Some(true),
            json: options.json == Some(true),
            control: options.control.clone(),
            huge: options.huge.as_deref().unwrap_or("auto").parse()?,
            rx_ring: ring("rx-ring", options.rx_ring)?,
            tx_ring: ring("tx-ring", options.tx_ring)?,
        })
    }

    /// Flows: a stream of each queue of each port.
    pub fn flows(&self) -> usize {
        self.streams.len() * usize::from(self.queues) * self.ports.len()
    }

    /// Numbers that flows have in turn, from one run to the next: a trial of RFC 2544 takes two shares of them, one to rise to
    /// its rate, and has none in common with the trial before.
    pub fn numbers(&self) -> usize {
        self.flows() * 4
    }

    /// The number of the first flow of a queue.
    pub fn first_flow(&self, port: usize, queue: usize) -> usize {
        (port * usize::from(self.queues) + queue) * self.streams.len()
    }

    /// The mean length of frames, with FCS.
    pub fn mean(&self) -> f64 {
        if let Some(replay) = &self.replay {
            return replay.mean();
        }
        let weight: f64 = self.streams.iter().map(|stream| f64::from(stream.weight)).sum();
        let bytes: f64 = self
            .streams
            .iter()
            .map(|stream| stream.sizes.mean() * f64::from(stream.weight))
            .sum();
        bytes / weight
    }

    /// Whether loss and latency can be known.
    pub fn is_marked(&self) -> bool {
        self.replay.is_none() && self.streams.iter().any(|stream| stream.mark.is_some())
    }

    /// Where marks stand.
    pub fn places(&self) -> Vec<usize> {
        self.streams.iter().filter_map(|stream| stream.mark).collect()
    }
}

fn sends(list: &[usize], ports: usize) -> Result<Vec<bool>, Failure> {
    if let Some(port) = list.iter().find(|port| **port >= ports) {
        return Err(Failure::usage(format!(
            "--send {port}: the ports are 0 to {}",
            ports - 1
        )));
    }
    Ok((0..ports)
        .map(|port| list.is_empty() || list.contains(&port))
        .collect())
}

fn shape(text: &str) -> Result<Shape, Failure> {
    let (name, number) = text
        .split_once(':')
        .map_or((text, None), |(name, number)| (name, Some(number)));
    match (name, number, number.and_then(|number| number.parse().ok())) {
        ("even", None, _) => Ok(Shape::Even),
        ("burst", _, Some(length @ 1..=1_000_000)) => Ok(Shape::Bursts(length as u32)),
        ("poisson", None, _) => Ok(Shape::Poisson(1)),
        ("poisson", _, Some(seed)) => Ok(Shape::Poisson(seed)),
        _ => Err(Failure::usage(format!(
            "--shape {text}: write even, burst:32, poisson or poisson:7"
        ))),
    }
}

fn replay(options: &Options) -> Result<Option<Replay>, Failure> {
    let Some(path) = &options.replay else {
        return match options.speed.is_some() || options.repeat == Some(true) {
            true => Err(Failure::usage(
                "--speed and --repeat need a file: --replay FILE.pcap",
            )),
            false => Ok(None),
        };
    };
    if options.speed.is_some_and(|speed| !(1e-6..=1e6).contains(&speed)) {
        return Err(Failure::usage("--speed: 0.000001 to 1000000 times are possible"));
    }
    if options.queues.unwrap_or(1) > 1 {
        return Err(Failure::usage(
            "--replay sends in one order, through one queue; leave --queues out",
        ));
    }
    Replay::read(path, options.speed, options.repeat == Some(true))
        .map(Some)
        .map_err(wrong)
}

/// Those of the file, or the one that the options describe.
fn streams(options: &Options) -> Result<Vec<Stream>, Failure> {
    let mut all = options.streams.clone();
    if all.is_empty() {
        all.push(StreamConfig {
            frame: options.frame.clone(),
            vary: options.vary.clone(),
            size: options.size.clone(),
            signed: options.unsigned.map(|unsigned| !unsigned),
            ..StreamConfig::default()
        });
    }
    let all: Result<Vec<Stream>, _> = all.iter().map(StreamConfig::compile).collect();
    let all = all.map_err(wrong)?;
    if options.verify == Some(true) && all.windows(2).any(|two| two[0].fill != two[1].fill) {
        return Err(Failure::usage(
            "--verify looks for the same byte behind every mark; give all streams the same fill",
        ));
    }
    Ok(all)
}
