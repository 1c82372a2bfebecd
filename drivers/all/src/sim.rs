//! Simulated devices, and what is at the far end of their cables.

mod end;

use crate::SimSpec;
use crate::pace::{Clocked, Paced, Times};
use barline::bus::PciFunction;
use barline::bus::local::{LocalDevice, LocalFunction, LocalPower};
use barline::mem::LocalDomain;
use barline::pci::PciAddress;
use barline::wait::EventFd;
use barline_models::{e82576, virtio};
use barline_sim::{
    FrameSpec, Frames, Generator, Mode, Model, Peer, SimDevice, Sink, Source, Traffic, Wire, WireEnd,
};
pub use end::SimEnd;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A device that there is a model of.
#[derive(Debug)]
pub(crate) struct Simulated {
    /// What it is called in `sim:NAME`.
    pub name: &'static str,
    /// Its driver, whose options the port takes.
    pub driver: &'static str,
    /// Most queues that it can be given (`queues=N`), where that is a matter of choice.
    pub queues: Option<u16>,
    build: fn(Parts) -> Arc<dyn Device>,
}

/// All of them; the first is the one that a port is without being told.
pub(crate) const MODELS: &[Simulated] = &[
    Simulated {
        name: "82576",
        driver: "igb",
        queues: None,
        build: |parts| {
            e82576::E82576::new(e82576::Options {
                mac: parts.mac,
                peer: parts.peer,
                domain: parts.domain,
                mode: parts.mode,
            })
        },
    },
    Simulated {
        name: "virtio-net",
        driver: "virtio",
        queues: Some(16),
        build: |parts| {
            virtio::VirtioNet::new(virtio::Options {
                mac: parts.mac,
                peer: parts.peer,
                domain: parts.domain,
                mode: parts.mode,
                offer: virtio::Offer {
                    pairs: parts.queues,
                    rss: (parts.queues > 1).then(virtio::RssOffer::default),
                    vectors: parts.queues + 1,
                    statistics: true,
                    ..virtio::Offer::default()
                },
            })
        },
    },
];

/// What a device is built with.
struct Parts {
    mac: [u8; 6],
    peer: Box<dyn Peer>,
    domain: Arc<LocalDomain>,
    mode: Mode,
    queues: u16,
}

/// A model behind the bus, whichever it is.
trait Device: LocalDevice {
    fn remove(&self);
    fn set_link(&self, up: bool);
}

impl<M: Model> Device for SimDevice<M> {
    fn remove(&self) {
        self.surprise_remove();
    }

    fn set_link(&self, up: bool) {
        self.set_link(up);
    }
}

/// What comes in at the wire of simulated ports.
#[derive(Clone, Debug, Default)]
pub enum Feed {
    /// UDP frames of many flows, without end, as fast as the port takes them.
    #[default]
    Generated,
    /// These frames, at every port.
    Frames {
        /// The frames, without FCS.
        frames: Vec<Vec<u8>>,
        /// Over and over, or once.
        repeat: bool,
    },
    /// Nothing.
    Silence,
}

/// Flows in generated traffic: enough for any number of queues.
const FLOWS: u32 = 1024;
/// No machine has this segment (that of a VMD starts at 0x10000), so the address cannot be taken for a real one.
const SEGMENT: u16 = 0xffff;
/// Devices on one bus.
pub(crate) const MOST: usize = 32;

/// Cables between simulated ports: the ends that nobody is plugged into so far, by name.
#[derive(Debug, Default)]
pub(crate) struct Wires(HashMap<String, WireEnd>);

impl Wires {
    /// An end of the cable of this name: the second one, if the first is taken.
    fn end(&mut self, name: &str) -> WireEnd {
        self.0.remove(name).unwrap_or_else(|| {
            let (one, two) = Wire::pair();
            self.0.insert(name.to_owned(), two);
            one
        })
    }
}

/// Notes when a source has come to its end.
#[derive(Debug)]
struct Watched<S> {
    source: S,
    dry: Arc<AtomicBool>,
}

impl<S: Source> Source for Watched<S> {
    fn next(&mut self, frame: &mut Vec<u8>) -> bool {
        let more = self.source.next(frame);
        if !more {
            self.dry.store(true, Ordering::Relaxed);
        }
        more
    }
}

/// Builds simulated port number `index` and plugs it in.
pub(crate) fn build(
    spec: &SimSpec,
    index: u8,
    feed: &Feed,
    wires: &mut Wires,
    domain: &Arc<LocalDomain>,
) -> io::Result<(Arc<dyn PciFunction>, SimEnd)> {
    // Locally administered, with the first model's name in it.
    let mac = [0x52, 0x54, 0x82, 0x57, 0x60, index];
    let (sink, dry) = (Sink::new(), Arc::new(AtomicBool::new(false)));
    let times = Times::default();
    let peer = match &spec.wire {
        Some(name) => Box::new(wires.end(name)),
        None => peer(spec, source(spec, index, mac, feed, &dry), &sink, &times),
    };
    let device = (spec.device().build)(Parts {
        mac,
        peer,
        domain: domain.clone(),
        mode: spec.mode,
        queues: spec.queues,
    });
    let address = PciAddress {
        segment: SEGMENT,
        bus: 0,
        device: index,
        function: 0,
    };
    let (request, error) = (Arc::new(EventFd::new()?), Arc::new(EventFd::new()?));
    let power = Arc::new(LocalPower::new()?);
    let function = LocalFunction::new(device.clone(), address, domain.clone())
        .with_events(&request, &error)
        .with_power(&power);
    let end = SimEnd {
        sink,
        times,
        device,
        request,
        error,
        power,
        dry,
    };
    Ok((Arc::new(function), end))
}

/// What comes in at the port, if anything does.
fn source(
    spec: &SimSpec,
    index: u8,
    mac: [u8; 6],
    feed: &Feed,
    dry: &Arc<AtomicBool>,
) -> Option<Box<dyn Source>> {
    match feed {
        Feed::Generated => Some(Box::new(Generator::new(&FrameSpec {
            destination: mac,
            sizes: vec![spec.size],
            flows: FLOWS,
            seed: u64::from(index) + 1,
            ..FrameSpec::default()
        }))),
        Feed::Frames { frames, repeat } => {
            let source = match repeat {
                true => Frames::looping(frames.clone()),
                false => Frames::once(frames.clone()),
            };
            let dry = dry.clone();
            Some(Box::new(Watched { source, dry }))
        }
        Feed::Silence => None,
    }
}

/// The far end of the cable.
fn peer(spec: &SimSpec, source: Option<Box<dyn Source>>, sink: &Sink, times: &Times) -> Box<dyn Peer> {
    let traffic = |source: Option<Box<dyn Source>>| match source {
        Some(source) => Traffic::new(source, sink),
        None => Traffic::silent(sink),
    };
    match spec.rate {
        None => Box::new(traffic(source)),
        Some(rate) => {
            let paced = source.and_then(|source| Paced::new(source, rate));
            let traffic = traffic(paced.map(|paced| Box::new(paced) as _));
            Box::new(Clocked::new(traffic, times))
        }
    }
}
