//! Each queue's ring, told to the device.

use super::{Common, LAYOUT};
use crate::regs::{Features, common};
use crate::rings::{Empty, Kick, Shape};
use crate::split::Split;
use crate::{Packed, Virtio, init, irq};
use barline::port::{Interrupt, PortError, TxQueue};
use barline::ring::completion::{RxRing, TxRing};

impl Virtio {
    fn ring<F: Shape>(
        &self,
        index: u16,
        len: u32,
        vector: u16,
        common: &mut Common<'_>,
    ) -> Result<(F, Kick, bool), PortError> {
        let format = F::make(&common.rings, common.at, len, common.traits).ok_or(LAYOUT)?;
        common.at += F::bytes(len);
        let setup = init::Setup {
            index,
            len,
            areas: format.areas(),
            vector,
        };
        let (doorbell, took) = init::enable(&self.at, &setup)?;
        Ok((
            format,
            Kick {
                doorbell,
                queue: index,
            },
            took,
        ))
    }

    pub(super) fn tx_queue(&self, q: u16, common: &mut Common<'_>) -> Result<Box<dyn TxQueue>, PortError> {
        match self.features.contains(Features::RING_PACKED) {
            true => self.tx_ring::<Packed<false>>(q, common),
            false => self.tx_ring::<Split<false>>(q, common),
        }
    }

    fn tx_ring<F: Shape>(&self, q: u16, common: &mut Common<'_>) -> Result<Box<dyn TxQueue>, PortError> {
        let len = common.config.tx_ring;
        let (format, kick, _) = self.ring::<F>(2 * q + 1, len, common::NO_VECTOR, common)?;
        let Common {
            pool,
            others,
            custody,
            limit,
            health,
            ..
        } = common;
        let ring = TxRing::new(format, kick, pool, others, custody, limit, health);
        Ok(Box::new(ring.ok_or(LAYOUT)?))
    }

    pub(super) fn rx_queue(
        &self,
        q: u16,
        vector: Option<irq::Vector>,
        common: &mut Common<'_>,
    ) -> Result<Box<dyn Empty>, PortError> {
        match self.features.contains(Features::RING_PACKED) {
            true => self.rx_ring::<Packed<true>>(q, vector, common),
            false => self.rx_ring::<Split<true>>(q, vector, common),
        }
    }

    fn rx_ring<F: Shape>(
        &self,
        q: u16,
        vector: Option<irq::Vector>,
        common: &mut Common<'_>,
    ) -> Result<Box<dyn Empty>, PortError> {
        let number = if vector.is_some() {
            q + 1
        } else {
            common::NO_VECTOR
        };
        let (format, kick, took) = self.ring::<F>(2 * q, common.config.rx_ring, number, common)?;
        // A device that has no room for the vector (4.1.5.1.2.1) raises none.
        let interrupt = vector
            .filter(|_| took)
            .map(|vector| Box::new(vector) as Box<dyn Interrupt>);
        let Common {
            pool,
            custody,
            limit,
            health,
            ..
        } = common;
        let ring = RxRing::new(format, kick, pool, custody, limit, health).ok_or(LAYOUT)?;
        Ok(Box::new(ring.with_interrupt(interrupt)))
    }
}
