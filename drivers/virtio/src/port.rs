//! The port as applications see it: stop, settings. `start.rs` brings it up.

use crate::regs::{Features, control};
use crate::start::Running;
use crate::{Virtio, config, init, irq};
use barline::mmio::{BarGuard, MmioError};
use barline::port::{
    BusEvents, Change, Link, MacAddress, Port, PortCaps, PortConfig, PortError, PortEvent, Queues, VlanFilter,
};
use barline::telemetry::CounterSink;
use std::os::fd::BorrowedFd;

/// Kinds of packets that are spread (5.1.6.4.3, `VIRTIO_NET_HASH_TYPE_*`): IPv4 and IPv6, with TCP, with UDP.
const SPREAD: u32 = 0x3f;
/// Entries of the table, where the device has room for as many.
const TABLE: u16 = 128;

/// The key that Microsoft publishes for verifying RSS ("Verifying the RSS hash calculation").
const RSS_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

impl Virtio {
    /// Everything off; buffers are freed only when the device is cut off from memory.
    pub(crate) fn shut_down(&mut self) -> Result<(), PortError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        let silent = match self.is_gone() {
            // Every wait would run to its end.
            true => Err(MmioError::Gone {
                register: "device_status",
            }),
            false => init::reset(&self.at),
        };
        if let Err(error) = self.cut_off() {
            // Not known to be quiet: what it can reach stays mapped and in nobody's hands.
            std::mem::forget(running);
            return Err(error);
        }
        irq::take_down(&**self.function, running.vectors);
        running.custody.open();
        Ok(silent?)
    }

    pub(crate) fn link_now(&self) -> Link {
        config::link(&self.at, self.features)
    }

    fn running(&self) -> Result<&Running, PortError> {
        self.running
            .as_ref()
            .ok_or(PortError::State("stopped; start it first"))
    }

    fn command(
        &mut self,
        needs: Features,
        command: [u8; 2],
        data: &[u8],
        what: &'static str,
    ) -> Result<(), PortError> {
        self.running()?;
        let control = self.running.as_mut().and_then(|running| running.control.as_mut());
        match control {
            Some(control) if self.features.contains(needs) => control.command(command, data, what),
            _ => Err(PortError::Unsupported(what)),
        }
    }

    /// Settings of a device that has just been started.
    pub(crate) fn configure(&mut self, config: &PortConfig) -> Result<(), PortError> {
        self.spread(config)?;
        // A device that takes no receive modes receives what its host sends it.
        if self.features.contains(Features::CTRL_RX) {
            self.set_promiscuous(config.promiscuous)?;
            self.set_all_multicast(false)?;
        }
        for id in config.vlans.iter().flat_map(VlanFilter::ids) {
            self.set_vlan(id, true)?;
        }
        if self.device.mac != Some(self.mac) && self.features.contains(Features::CTRL_MAC_ADDR) {
            self.set_mac(self.mac)?;
        }
        Ok(())
    }

    /// Pairs in use (5.1.6.5.5), and which of them receive (5.1.6.5.7).
    fn spread(&mut self, config: &PortConfig) -> Result<(), PortError> {
        let pairs = config.rx_queues.max(config.tx_queues);
        if pairs == 1 {
            return Ok(());
        }
        if !self.features.contains(Features::RSS) {
            return self.command(
                Features::MQ,
                control::MQ_PAIRS_SET,
                &pairs.to_le_bytes(),
                "use several queues",
            );
        }
        let (key, most, types) = self.device.rss;
        let len = (1u16 << most.max(1).ilog2()).min(TABLE);
        let key = &RSS_KEY[..RSS_KEY.len().min(key.into())];
        let mut data = Vec::new();
        data.extend((types & SPREAD).to_le_bytes());
        data.extend((len - 1).to_le_bytes());
        data.extend(0u16.to_le_bytes()); // the queue of what is not spread
        (0..len).for_each(|entry| data.extend((entry % config.rx_queues).to_le_bytes()));
        data.extend(config.tx_queues.to_le_bytes());
        data.push(key.len() as u8);
        data.extend(key);
        self.command(
            Features::RSS,
            control::MQ_RSS_CONFIG,
            &data,
            "spread over several queues",
        )
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<(), PortError> {
        let what = "change which frames it receives";
        self.command(Features::CTRL_RX, control::PROMISC, &[on.into()], what)
    }

    fn set_all_multicast(&mut self, on: bool) -> Result<(), PortError> {
        let what = "change which multicast frames it receives";
        self.command(Features::CTRL_RX, control::ALLMULTI, &[on.into()], what)
    }

    fn set_vlan(&mut self, id: u16, passes: bool) -> Result<(), PortError> {
        let command = if passes {
            control::VLAN_ADD
        } else {
            control::VLAN_DEL
        };
        // Checked here: what a device does with a number that is none is its own affair.
        VlanFilter::check(id)?;
        self.command(
            Features::CTRL_VLAN,
            command,
            &id.to_le_bytes(),
            "change which VLANs it receives",
        )
    }

    fn set_mac(&mut self, mac: MacAddress) -> Result<(), PortError> {
        self.command(
            Features::CTRL_MAC_ADDR,
            control::MAC_ADDR_SET,
            &mac.0,
            "change its address",
        )
    }

    fn set_mtu(&mut self, mtu: u32) -> Result<(), PortError> {
        let running = self.running()?;
        let most = self.caps.mtu.min((running.room as u32).saturating_sub(18));
        if !(68..=most).contains(&mtu) {
            return Err(PortError::Config(format!(
                "MTU {mtu} asked for, 68 to {most} fit the port's buffers"
            )));
        }
        running.limit.set(mtu + 18);
        Ok(())
    }
}

impl Port for Virtio {
    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn start(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        self.start_queues(config)
    }

    fn stop(&mut self, queues: Queues) -> Result<(), PortError> {
        drop(queues); // their buffers go to the custody, which opens when the device is quiet
        self.count();
        self.shut_down()
    }

    fn link(&self) -> Link {
        self.link_now()
    }

    fn counters(&mut self, out: &mut dyn CounterSink) {
        self.count();
        self.show_statistics(out);
    }

    fn event(&mut self) -> Option<PortEvent> {
        self.look()
    }

    fn event_fds(&self) -> Vec<BorrowedFd<'_>> {
        Self::event_fds(self)
    }

    fn acknowledge(&mut self, event: PortEvent) -> Result<(), PortError> {
        BusEvents::acknowledge(self.function.as_ref(), event)
    }

    fn guards(&self) -> Vec<BarGuard> {
        self.at.bars().into_iter().filter_map(BarGuard::new).collect()
    }

    fn set(&mut self, change: Change) -> Result<(), PortError> {
        self.running()?;
        // Taken only where the port was started with a filter.
        let filters = self.features.contains(Features::CTRL_VLAN);
        match change {
            Change::Promiscuous(true) if filters => return Err(VlanFilter::PROMISCUOUS),
            Change::Vlan { .. } if !filters => return Err(VlanFilter::NOT_STARTED),
            Change::Vlan { id, passes } => self.set_vlan(id, passes)?,
            Change::Promiscuous(on) => self.set_promiscuous(on)?,
            Change::AllMulticast(on) => self.set_all_multicast(on)?,
            Change::Mac(mac) if mac.is_station() => {
                self.set_mac(mac)?;
                self.mac = mac;
            }
            Change::Mac(mac) => {
                return Err(PortError::Config(format!(
                    "{mac} is no station address: it must be unicast and not zero"
                )));
            }
            Change::Mtu(mtu) => self.set_mtu(mtu)?,
            _ => return Err(PortError::Unsupported("change this setting")),
        }
        Ok(())
    }
}

impl Drop for Virtio {
    fn drop(&mut self) {
        // A device that does not answer has been cut off by the bus; there is nobody left to tell.
        let _ = self.shut_down();
    }
}
