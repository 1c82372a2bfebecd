//! The device configuration structure (5.1.4), ISR status, and interrupts (4.1.5.3, 4.1.5.4).

use super::common::status;
use super::misuse::Misuse;
use super::queue::NO_VECTOR;
use super::{VirtioNet, feature, pci};
use barline_sim::Host;

/// Fields by offset, with their size in bytes.
pub const FIELDS: &[(u32, u8)] = &[
    (0, 1),
    (1, 1),
    (2, 1),
    (3, 1),
    (4, 1),
    (5, 1),
    (STATUS, 2),
    (PAIRS, 2),
    (MTU, 2),
    (SPEED, 4),
    (DUPLEX, 1),
    (KEY, 1),
    (TABLE, 2),
    (HASHES, 4),
];
const STATUS: u32 = 6;
const PAIRS: u32 = 8;
const MTU: u32 = 10;
const SPEED: u32 = 12;
const DUPLEX: u32 = 16;
const KEY: u32 = 17;
const TABLE: u32 = 18;
const HASHES: u32 = 20;

/// VIRTIO_NET_S_LINK_UP.
const LINK_UP: u32 = 1;
/// The text of 5.1.4 says 1, its device requirements say 0; 1 is what devices have.
const FULL_DUPLEX: u32 = 1;
const UNKNOWN: u32 = 0xffff_ffff;
/// ISR status bits.
pub const QUEUE_INTERRUPT: u8 = 1;
const CONFIG_INTERRUPT: u8 = 2;

impl VirtioNet {
    /// What a field holds, and a complaint where its feature is not offered.
    pub(super) fn device_read(&mut self, field: u32) -> u32 {
        if self.config_changed {
            self.config_changed = false;
            self.common.generation = self.common.generation.wrapping_add(1);
        }
        let offered = self.offer.features();
        let needs = match field {
            0..STATUS => feature::MAC,
            STATUS => feature::STATUS,
            PAIRS => feature::MQ | feature::RSS,
            MTU => feature::MTU,
            SPEED | DUPLEX => feature::SPEED_DUPLEX,
            _ => feature::RSS,
        };
        if offered & needs == 0 {
            self.misuse(None, Misuse::ConfigField(field));
            return 0;
        }
        let rss = self.offer.rss.unwrap_or_default();
        match field {
            0..STATUS => self.mac[field as usize].into(),
            STATUS if self.link => LINK_UP,
            PAIRS => self.offer.pairs.into(),
            MTU => self.offer.mtu.unwrap_or(0).into(),
            SPEED if self.link => self.offer.speed.unwrap_or(UNKNOWN),
            SPEED => UNKNOWN,
            DUPLEX if self.link => FULL_DUPLEX,
            DUPLEX => 0xff,
            KEY => rss.key.into(),
            TABLE => rss.table.into(),
            HASHES => rss.types,
            _ => 0,
        }
    }

    /// Whether interrupts are messages.
    fn has_msix(&self, host: &Host) -> bool {
        let mut control = [0; 2];
        self.config.read(pci::MSIX_CONTROL, &mut control);
        control[1] & 0x80 != 0 || host.has_vectors()
    }

    /// A configuration change notification.
    pub(super) fn config_interrupt(&mut self, host: &mut Host) {
        self.isr |= CONFIG_INTERRUPT;
        self.raise(host, self.common.config_vector);
    }

    /// Sends the message, where messages are sent. The interrupt line is not there: a driver polls ISR status.
    fn raise(&self, host: &mut Host, vector: u16) {
        if vector != NO_VECTOR && self.has_msix(host) {
            host.interrupt(vector);
        }
    }

    /// A used buffer notification of a queue.
    pub(super) fn queue_interrupt(&mut self, host: &mut Host, queue: usize) {
        if !self.has_msix(host) {
            self.isr |= QUEUE_INTERRUPT;
        }
        self.queues[queue].stats.interrupts += 1;
        self.raise(host, self.queues[queue].vector);
    }

    /// The configuration has changed by itself.
    pub(super) fn config_changes(&mut self, host: &mut Host) {
        self.config_changed = true;
        if self.status_has(status::DRIVER_OK) {
            self.config_interrupt(host);
        }
    }
}
