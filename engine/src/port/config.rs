use super::{MacAddress, PortError, VlanFilter};
use crate::mem::Source;
use crate::offload::{LONG_ROOM, Offloads};
use crate::pool::Pool;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What a port can do: data, not code.
#[derive(Clone, Debug)]
pub struct PortCaps {
    /// Most receive queues.
    pub rx_queues: u16,
    /// Most transmit queues.
    pub tx_queues: u16,
    /// Shortest and longest ring, in descriptors; lengths are powers of two.
    pub ring: (u32, u32),
    /// Longest MTU in bytes (frame without Ethernet header and FCS).
    pub mtu: u32,
    /// Its fastest link in Mbit/s; 0 where nothing limits it.
    pub speed: u32,
    /// What it can do for its packets.
    pub offloads: Offloads,
    /// Whether it can filter tags ([`PortConfig::vlans`]).
    pub vlans: bool,
}

/// How a port is to be started.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors a receive ring, a power of two.
    pub rx_ring: u32,
    /// Descriptors a transmit ring, a power of two.
    pub tx_ring: u32,
    /// Where received packets come from; packets of it are sent the fast way.
    pub pool: Pool,
    /// Further pools whose packets may be sent.
    pub send_pools: Vec<Pool>,
    /// MTU in bytes. A receive buffer must hold MTU + 18 bytes (header and one VLAN tag).
    pub mtu: u32,
    /// Receive frames for any address.
    pub promiscuous: bool,
    /// Of tagged frames receive only these; all where it is `None`. Not together with `promiscuous`.
    pub vlans: Option<VlanFilter>,
    /// How to wait for the link.
    pub link: LinkRequest,
    /// Where the descriptor rings' memory comes from: at most 32 bytes a descriptor, rounded up to a page.
    pub ring_memory: Source,
    /// Set up an interrupt for each receive queue, as far as the device has vectors, so that a core can sleep. They
    /// stay masked while it polls.
    pub interrupts: bool,
    /// What it is to do for its packets. Whatever a transmit queue was not started with is done in software for the packets that
    /// ask for it; received packets carry nothing that was not asked for here.
    pub offloads: Offloads,
}

/// Whether starting waits for the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkRequest {
    /// Start returns at once.
    DoNotWait,
    /// Start waits up to so many milliseconds and goes on without a link after that.
    WaitMillis(u32),
}

impl LinkRequest {
    /// Waits until `up` says so, or the time is over: for ports over what the kernel has.
    pub fn wait(self, mut up: impl FnMut() -> bool) {
        let Self::WaitMillis(limit) = self else {
            return;
        };
        let end = Instant::now() + Duration::from_millis(limit.into());
        while !up() && Instant::now() < end {
            sleep(Duration::from_millis(5));
        }
    }
}

impl PortConfig {
    /// One queue each way, rings of 512, MTU 1500, promiscuous off, five seconds for the link, interrupts, no offloads.
    pub fn new(pool: &Pool) -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_ring: 512,
            tx_ring: 512,
            pool: pool.clone(),
            send_pools: Vec::new(),
            mtu: 1500,
            promiscuous: false,
            vlans: None,
            link: LinkRequest::WaitMillis(5000),
            ring_memory: Source::Auto,
            interrupts: true,
            offloads: Offloads::empty(),
        }
    }

    /// Whether there are as many receive as transmit queues, for a port whose kind has them in pairs.
    ///
    /// # Errors
    /// [`PortError::Config`].
    pub fn check_pairs(&self, kind: &str) -> Result<(), PortError> {
        if self.rx_queues == self.tx_queues {
            return Ok(());
        }
        Err(PortError::Config(format!(
            "a {kind} port needs as many receive as transmit queues"
        )))
    }

    fn check_vlans(&self, caps: &PortCaps) -> Result<(), PortError> {
        match (&self.vlans, caps.vlans, self.promiscuous) {
            (None, ..) | (Some(_), true, false) => Ok(()),
            (Some(_), false, _) => Err(PortError::Unsupported("filter VLANs")),
            (Some(_), true, true) => Err(VlanFilter::PROMISCUOUS),
        }
    }

    /// Longest frame in bytes without FCS: MTU, header and one VLAN tag.
    pub fn max_frame(&self) -> u32 {
        self.mtu + 18
    }

    /// Compares the configuration with what a port can do.
    ///
    /// # Errors
    /// [`PortError::Config`] with the first thing that does not fit, and the range that does.
    pub fn check(&self, caps: &PortCaps) -> Result<(), PortError> {
        let wrong = |text: String| Err(PortError::Config(text));
        for (what, n, most) in [
            ("receive", self.rx_queues, caps.rx_queues),
            ("transmit", self.tx_queues, caps.tx_queues),
        ] {
            if n == 0 || n > most {
                return wrong(format!("{n} {what} queues asked for, this port has 1 to {most}"));
            }
        }
        for ring in [self.rx_ring, self.tx_ring] {
            let (least, most) = caps.ring;
            if !ring.is_power_of_two() || ring < least || ring > most {
                return wrong(format!(
                    "a ring of {ring} descriptors asked for, a power of two from {least} to {most} is possible"
                ));
            }
        }
        if self.mtu < 68 || self.mtu > caps.mtu {
            return wrong(format!(
                "MTU {} asked for, 68 to {} is possible",
                self.mtu, caps.mtu
            ));
        }
        self.check_offloads(caps)?;
        self.check_vlans(caps)?;
        let room = self.pool.data_room();
        if room < self.max_frame() as usize {
            let need = self.max_frame();
            return wrong(format!(
                "MTU {} needs buffers of {need} bytes, the pool's have {room}; make the pool with data_room({need})",
                self.mtu
            ));
        }
        Ok(())
    }
}

impl PortConfig {
    /// Whether the pool's buffers hold the long packets that are asked for, where a device writes them whole.
    ///
    /// # Errors
    /// [`PortError::Config`].
    pub fn check_long_buffers(&self) -> Result<(), PortError> {
        let room = self.pool.data_room();
        if !self.offloads.intersects(Offloads::RX_LONG) || room >= LONG_ROOM {
            return Ok(());
        }
        Err(PortError::Config(format!(
            "long packets are received into buffers of {LONG_ROOM} bytes, the pool's have {room}; make the pool with \
             data_room({LONG_ROOM}), or do not ask for RX_TCP4, RX_TCP6 and RX_UDP"
        )))
    }

    fn check_offloads(&self, caps: &PortCaps) -> Result<(), PortError> {
        let names = |offloads: Offloads| match offloads.is_empty() {
            true => String::from("none"),
            false => offloads
                .iter_names()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
                .join(" | "),
        };
        if !caps.offloads.contains(self.offloads) {
            return Err(PortError::Config(format!(
                "offloads {} asked for, this port has {}",
                names(self.offloads),
                names(caps.offloads)
            )));
        }
        let lone = self.offloads.difference(self.offloads.consistent());
        if !lone.is_empty() {
            return Err(PortError::Config(format!(
                "offloads {} need the checksums of their side: add TX_CHECKSUM or RX_CHECKSUM",
                names(lone)
            )));
        }
        Ok(())
    }
}

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can pass.
    pub up: bool,
    /// Speed in Mbit/s, 0 when down.
    pub speed: u32,
    /// Both directions at once.
    pub full_duplex: bool,
}

/// A setting that can be changed while the port runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Receive frames for any address.
    Promiscuous(bool),
    /// Receive all multicast frames.
    AllMulticast(bool),
    /// Receive frames of a VLAN, or not any more; of a port that was started with [`PortConfig::vlans`].
    Vlan {
        /// Its identifier, 0 to 4094.
        id: u16,
        /// Whether they are received.
        passes: bool,
    },
    /// The station's address.
    Mac(MacAddress),
    /// The MTU in bytes.
    Mtu(u32),
}
