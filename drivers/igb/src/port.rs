//! The port as applications see it: stop, settings, statistics. `start.rs` brings it up.

use crate::regs::rctl;
use crate::start::Running;
use crate::{Igb, init, irq, regs};
use barline::mmio::{BarGuard, MmioError};
use barline::port::{
    BusEvents, Change, Link, MacAddress, Port, PortCaps, PortConfig, PortError, PortEvent, Queues, VlanFilter,
};
use barline::telemetry::CounterSink;
use std::os::fd::BorrowedFd;

/// Which frames for others are received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub promiscuous: bool,
    pub all_multicast: bool,
    /// Of tagged frames only these.
    pub vlans: Option<VlanFilter>,
}

impl Filter {
    pub fn bits(&self) -> u32 {
        let unicast = if self.promiscuous { rctl::UPE } else { 0 };
        let multicast = if self.promiscuous || self.all_multicast {
            rctl::MPE
        } else {
            0
        };
        let vlans = if self.vlans.is_some() { rctl::VFE } else { 0 };
        unicast | multicast | vlans
    }
}

impl Igb {
    /// Everything off; buffers are freed only when the device is cut off from memory.
    pub(crate) fn shut_down(&mut self) -> Result<(), PortError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        let silent = match self.is_gone() {
            // Every wait would run to its end.
            true => Err(MmioError::Gone { register: "STATUS" }),
            false => init::shutdown(&self.bar, running.queues),
        };
        if let Err(error) = self.cut_off() {
            // Not known to be quiet: what it can reach stays mapped and in nobody's hands.
            std::mem::forget(running);
            return Err(error);
        }
        irq::take_down(self.function.as_ref(), running.vectors);
        running.custody.open();
        Ok(silent?)
    }

    pub(crate) fn count(&mut self) {
        if let Some(running) = &self.running {
            self.counters.update(&self.bar, running.queues);
        }
    }

    pub(crate) fn running(&self) -> Result<&Running, PortError> {
        self.running.as_ref().ok_or(PortError::STOPPED)
    }

    /// Promiscuous takes multicast too, so the two settings share a bit.
    fn apply_filter(&self) {
        let bits = self.filter.bits();
        self.bar
            .modify(regs::RCTL, |v| v & !(rctl::UPE | rctl::MPE | rctl::VFE) | bits);
    }
}

impl Port for Igb {
    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn start(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        Ok(self.start_concrete(config)?.into())
    }

    fn stop(&mut self, queues: Queues) -> Result<(), PortError> {
        drop(queues); // their buffers go to the custody, which opens when the device is quiet
        self.count();
        self.shut_down()
    }

    fn link(&self) -> Link {
        init::link(&self.bar)
    }

    fn counters(&mut self, out: &mut dyn CounterSink) {
        self.count();
        self.counters.show(out);
    }

    fn event(&mut self) -> Option<PortEvent> {
        self.look()
    }

    fn acknowledge(&mut self, event: PortEvent) -> Result<(), PortError> {
        BusEvents::acknowledge(self.function.as_ref(), event)
    }

    fn event_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.events.fds()
    }

    fn guards(&self) -> Vec<BarGuard> {
        BarGuard::new(&self.bar).into_iter().collect()
    }

    fn set(&mut self, change: Change) -> Result<(), PortError> {
        let Running { room, limit, .. } = self.running()?;
        let (room, limit) = (*room, limit.clone());
        match change {
            Change::Promiscuous(true) if self.filter.vlans.is_some() => return Err(VlanFilter::PROMISCUOUS),
            Change::Promiscuous(on) => {
                self.filter.promiscuous = on;
                self.apply_filter();
            }
            Change::AllMulticast(on) => {
                self.filter.all_multicast = on;
                self.apply_filter();
            }
            Change::Vlan { id, passes } => {
                let vlans = self.filter.vlans.as_mut().ok_or(VlanFilter::NOT_STARTED)?;
                vlans.set(id, passes)?;
                init::set_vlans(&self.bar, vlans);
            }
            Change::Mac(mac) if mac.is_station() => {
                init::set_mac(&self.bar, mac);
                self.mac = mac;
            }
            Change::Mac(mac) => {
                return Err(PortError::Config(format!(
                    "{mac} is no station address: it must be unicast and not zero"
                )));
            }
            Change::Mtu(mtu) if (68..=self.caps.mtu.min(room as u32 - 18)).contains(&mtu) => {
                init::set_max_frame(&self.bar, mtu + 18);
                limit.set(mtu + 18);
            }
            Change::Mtu(mtu) => {
                return Err(PortError::Config(format!(
                    "MTU {mtu} asked for, 68 to {} fit the port's buffers",
                    room - 18
                )));
            }
            _ => return Err(PortError::Unsupported("change this setting")),
        }
        Ok(())
    }
}

impl Drop for Igb {
    fn drop(&mut self) {
        // A device that does not answer has been cut off by the bus; there is nobody left to tell.
        let _ = self.shut_down();
    }
}
