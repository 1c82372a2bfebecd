use crate::options::IdleOptions;
use crate::{Failure, Options};
use barline::offload::Offloads;
use barline::port::VlanFilter;
use barline::wait::IdlePolicy;
use barline::worker::CoreId;
use barline_app::{Huge, Sizes, at_least_one, burst, duration, workers};
use barline_drivers::{Bus, Feed, PortSpec, SimSpec};
use barline_sim::frames_from_pcap;
use std::path::Path;
use std::time::Duration;

/// Options that have been checked, as far as that is possible without a device.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Ports; neighbours are pairs.
    pub ports: Vec<PortSpec>,
    /// Queues a port, at least one.
    pub queues: u16,
    /// A worker each, at least one, pinned where a core is given.
    pub workers: Vec<Option<CoreId>>,
    /// Packets a burst, 1 to [`barline::pool::MAX_BURST`].
    pub burst: usize,
    /// When to end.
    pub duration: Option<Duration>,
    /// What simulated ports receive.
    pub feed: Feed,
    /// JSON instead of tables.
    pub json: bool,
    /// Write MAC addresses.
    pub mac_update: bool,
    /// Receive frames for any address.
    pub promiscuous: bool,
    /// Of tagged frames receive only these.
    pub vlans: Option<VlanFilter>,
    /// Where memory comes from.
    pub huge: Huge,
    /// Descriptors of a receive ring.
    pub rx_ring: u32,
    /// Descriptors of a transmit ring.
    pub tx_ring: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// What ports are to do for packets, as far as they can.
    pub offloads: Offloads,
    /// Never sleep.
    pub busy: bool,
    /// Bring ports back whose device comes back.
    pub replug: bool,
    /// Thresholds that are not derived from rings and links.
    idle: IdleOptions,
    /// Whether nobody asked for a length of the receive rings, and of the transmit rings.
    free: [bool; 2],
}

/// VLANs to receive, which a promiscuous port cannot choose.
fn vlans(options: &Options) -> Result<Option<VlanFilter>, Failure> {
    let Some(list) = options.vlans.as_deref() else {
        return Ok(None);
    };
    if options.no_promiscuous != Some(true) {
        return Err(Failure::usage(format!(
            "--vlans {list}: a promiscuous port receives every VLAN; add --no-promiscuous"
        )));
    }
    let filter = list.parse();
    filter
        .map(Some)
        .map_err(|error| Failure::usage(format!("--vlans: {error}")))
}

impl Settings {
    /// Checks the options and reads the file to be replayed.
    ///
    /// # Errors
    /// The first option that is wrong.
    pub fn new(options: &Options) -> Result<Self, Failure> {
        let ports = ports(options)?;
        let burst = burst(options.burst)?;
        let simulated = ports.iter().any(PortSpec::is_simulated);
        let (queues, workers) = workers(options.cores.as_deref(), options.queues)?;
        Ok(Self {
            workers,
            duration: options.seconds.map(duration).transpose()?,
            feed: feed(options.replay.as_deref(), options.repeat == Some(true), simulated)?,
            ports,
            queues,
            burst,
            json: options.json == Some(true),
            mac_update: options.no_mac_update != Some(true),
            promiscuous: options.no_promiscuous != Some(true),
            vlans: vlans(options)?,
            huge: options.huge.as_deref().unwrap_or("auto").parse()?,
            rx_ring: at_least_one("rx-ring", options.rx_ring.unwrap_or(512))?,
            tx_ring: at_least_one("tx-ring", options.tx_ring.unwrap_or(512))?,
            mtu: at_least_one("mtu", options.mtu.unwrap_or(1500))?,
            offloads: offloads(options.offloads.as_deref())?,
            busy: options.busy == Some(true),
            replug: options.replug == Some(true),
            idle: sleep_bounded(&options.idle)?,
            free: [options.rx_ring.is_none(), options.tx_ring.is_none()],
        })
    }

    /// With rings that ports which take `most` descriptors can have, where nobody asked for a length.
    pub(crate) fn with_rings_up_to(mut self, most: u32) -> Self {
        for (ring, free) in [&mut self.rx_ring, &mut self.tx_ring].into_iter().zip(self.free) {
            if free {
                *ring = most.min(*ring);
            }
        }
        self
    }

    /// With those offloads only that one of the ports has.
    pub(crate) fn with_offloads_of(mut self, ports: Offloads) -> Self {
        self.offloads &= ports;
        self
    }

    /// What sizes a pool.
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            queues: self.queues,
            rx_ring: self.rx_ring,
            tx_ring: self.tx_ring,
        }
    }

    /// How cores without work behave, on links of `speed` Mbit/s.
    pub fn idle_policy(&self, speed: u32) -> IdlePolicy {
        if self.busy {
            return IdlePolicy::busy();
        }
        let derived = IdlePolicy::for_link(self.rx_ring, speed);
        let micros = |given: Option<u32>, or| given.map_or(or, |us| Duration::from_micros(us.into()));
        IdlePolicy {
            spin: micros(self.idle.spin_us, derived.spin),
            pause: micros(self.idle.pause_us, derived.pause),
            nap: micros(self.idle.nap_us, derived.nap),
            sleep: (self.idle.sleep_ms).map_or(derived.sleep, |ms| Duration::from_millis(ms.into())),
        }
    }

    /// The port that sends what port `index` receives.
    pub fn partner(&self, index: usize) -> usize {
        let partner = index ^ 1;
        if partner < self.ports.len() {
            partner
        } else {
            index
        }
    }
}

fn offloads(kind: Option<&str>) -> Result<Offloads, Failure> {
    match kind.unwrap_or("off") {
        "off" => Ok(Offloads::empty()),
        "checksum" => Ok(Offloads::RX_CHECKSUM | Offloads::TX_CHECKSUM),
        "on" => Ok(Offloads::all()),
        other => Err(Failure::usage(format!(
            "--offloads {other}: write off, checksum or on"
        ))),
    }
}

fn ports(options: &Options) -> Result<Vec<PortSpec>, Failure> {
    let bus: Bus = options.bus.as_deref().unwrap_or("vfio").parse()?;
    if options.ports.is_empty() {
        return Ok(vec![SimSpec::new().into(); 2]);
    }
    let ports = PortSpec::parse_list_on(bus, &options.ports.join(","))?;
    // The index of the sending port is one byte of an address.
    if ports.len() > 256 {
        return Err(Failure::usage(format!("{} ports: 256 are the most", ports.len())));
    }
    Ok(ports)
}

/// A sleep of nothing would be a loop of system calls, and one without end would hide a lost interrupt.
fn sleep_bounded(idle: &IdleOptions) -> Result<IdleOptions, Failure> {
    let wrong = |text| Err(Failure::usage(text));
    match (idle.nap_us, idle.sleep_ms) {
        (Some(0), _) => wrong("idle.nap-us 0: at least 1 is needed; to poll for ever: busy = true"),
        (_, Some(ms)) if !(1..=LONGEST_SLEEP_MS).contains(&ms) => {
            wrong("idle.sleep-ms: 1 to 10000 are possible; to poll for ever: busy = true")
        }
        _ => Ok(idle.clone()),
    }
}

const LONGEST_SLEEP_MS: u32 = 10_000;

fn feed(replay: Option<&Path>, repeat: bool, simulated: bool) -> Result<Feed, Failure> {
    match replay {
        None if repeat => Err(Failure::usage("--repeat needs a file: --replay FILE.pcap")),
        None => Ok(Feed::Generated),
        Some(_) if !simulated => Err(Failure::usage(
            "--replay feeds simulated ports and --ports names none; add sim:82576, or leave --ports out",
        )),
        Some(path) => {
            let frames = frames_from_pcap(path)?;
            if frames.is_empty() {
                return Err(Failure::usage(format!("{} holds no frames", path.display())));
            }
            Ok(Feed::Frames { frames, repeat })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut Options)) -> Result<Settings, Failure> {
        let mut options = Options::default();
        change(&mut options);
        Settings::new(&options)
    }

    fn text(change: impl FnOnce(&mut Options)) -> String {
        settings(change).unwrap_err().to_string()
    }

    #[test]
    fn ports_are_paired_and_the_last_odd_one_is_its_own() {
        let three = settings(|o| o.ports = vec!["sim:82576".into(); 3]).unwrap();
        let partners: Vec<usize> = (0..3).map(|port| three.partner(port)).collect();
        assert_eq!(partners, [1, 0, 2]);
        assert_eq!(settings(|_| ()).unwrap().ports.len(), 2);
    }

    #[test]
    fn wrong_values_name_the_range() {
        for (wrong, wanted) in [
            (text(|o| o.burst = Some(0)), "1 to 64"),
            (text(|o| o.burst = Some(65)), "1 to 64"),
            (text(|o| o.queues = Some(0)), "at least 1"),
            (text(|o| o.vlans = Some("7".into())), "add --no-promiscuous"),
            (
                text(|o| (o.vlans, o.no_promiscuous) = (Some("5000".into()), Some(true))),
                "0 to 4094",
            ),
            (text(|o| o.rx_ring = Some(0)), "at least 1"),
            (text(|o| o.seconds = Some(0.0)), "above 0"),
            (text(|o| o.seconds = Some(-1.0)), "above 0"),
            (text(|o| o.seconds = Some(f64::NAN)), "above 0"),
            (text(|o| o.seconds = Some(1e18)), "up to 1000000000"),
            (text(|o| o.huge = Some("4m".into())), "2m, 1g, private"),
            (text(|o| o.repeat = Some(true)), "--replay"),
            (text(|o| o.cores = Some("x".into())), "0,2-3"),
            (text(|o| o.ports = vec!["sim:82577".into()]), "sim:82576"),
            (
                text(|o| (o.ports, o.replay) = (vec!["01:00.0".into()], Some("x".into()))),
                "add sim:82576",
            ),
        ] {
            assert!(wrong.contains(wanted), "{wrong}");
        }
    }

    #[test]
    fn options_of_a_port_may_be_lists_of_their_own() {
        let given = vec!["sim:82576,size=64".to_owned(), "mode=thread,sim:82576".to_owned()];
        assert_eq!(settings(|o| o.ports = given).unwrap().ports.len(), 2);
    }
}
