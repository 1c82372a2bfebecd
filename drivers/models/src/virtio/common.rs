//! The common configuration structure (4.1.4.3): features, status, queues.

use super::misuse::Misuse;
use super::offer::Platform;
use super::queue::{NO_VECTOR, Queue};
use super::{VirtioNet, feature, pci};
use barline_sim::{Effect, Host};

/// Fields by offset, with their size in bytes; 64-bit addresses as their halves.
pub const FIELDS: &[(u32, u8)] = &[
    (at::DEVICE_FEATURE_SELECT, 4),
    (at::DEVICE_FEATURE, 4),
    (at::DRIVER_FEATURE_SELECT, 4),
    (at::DRIVER_FEATURE, 4),
    (at::CONFIG_VECTOR, 2),
    (at::NUM_QUEUES, 2),
    (at::STATUS, 1),
    (at::GENERATION, 1),
    (at::QUEUE_SELECT, 2),
    (at::QUEUE_SIZE, 2),
    (at::QUEUE_VECTOR, 2),
    (at::QUEUE_ENABLE, 2),
    (at::QUEUE_NOTIFY_OFF, 2),
    (at::QUEUE_AREAS, 4),
    (at::QUEUE_AREAS + 4, 4),
    (at::QUEUE_AREAS + 8, 4),
    (at::QUEUE_AREAS + 12, 4),
    (at::QUEUE_AREAS + 16, 4),
    (at::QUEUE_AREAS + 20, 4),
    (at::QUEUE_NOTIFY_DATA, 2),
    (at::QUEUE_RESET, 2),
    (at::ADMIN_INDEX, 2),
    (at::ADMIN_COUNT, 2),
];

/// Offsets.
pub mod at {
    /// Which word of the offered features is shown.
    pub const DEVICE_FEATURE_SELECT: u32 = 0x00;
    /// Offered features.
    pub const DEVICE_FEATURE: u32 = 0x04;
    /// Which word of the accepted features is shown.
    pub const DRIVER_FEATURE_SELECT: u32 = 0x08;
    /// Accepted features.
    pub const DRIVER_FEATURE: u32 = 0x0C;
    /// `config_msix_vector`.
    pub const CONFIG_VECTOR: u32 = 0x10;
    /// Queues.
    pub const NUM_QUEUES: u32 = 0x12;
    /// `device_status`.
    pub const STATUS: u32 = 0x14;
    /// `config_generation`.
    pub const GENERATION: u32 = 0x15;
    /// The queue that the fields below are of.
    pub const QUEUE_SELECT: u32 = 0x16;
    /// Descriptors.
    pub const QUEUE_SIZE: u32 = 0x18;
    /// `queue_msix_vector`.
    pub const QUEUE_VECTOR: u32 = 0x1A;
    /// 1 while it is enabled.
    pub const QUEUE_ENABLE: u32 = 0x1C;
    /// Where it is notified.
    pub const QUEUE_NOTIFY_OFF: u32 = 0x1E;
    /// Descriptor, driver and device area.
    pub const QUEUE_AREAS: u32 = 0x20;
    /// `queue_notif_config_data`, which is not offered.
    pub const QUEUE_NOTIFY_DATA: u32 = 0x38;
    /// 1 resets it.
    pub const QUEUE_RESET: u32 = 0x3A;
    /// Administration queues, which are not offered.
    pub const ADMIN_INDEX: u32 = 0x3C;
    /// How many.
    pub const ADMIN_COUNT: u32 = 0x3E;
}

/// `device_status` (2.1).
pub mod status {
    /// The driver found the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// It can drive it.
    pub const DRIVER: u8 = 2;
    /// It drives it.
    pub const DRIVER_OK: u8 = 4;
    /// Features are settled.
    pub const FEATURES_OK: u8 = 8;
    /// The device gave up.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver gave up.
    pub const FAILED: u8 = 128;
}

/// Registers that belong to no queue.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    pub(super) status: u8,
    /// What the driver accepted of what was offered.
    pub(super) features: u64,
    pub(super) config_vector: u16,
    device_select: u32,
    driver_select: u32,
    pub(super) queue_select: u16,
    pub(super) generation: u8,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            status: 0,
            features: 0,
            config_vector: NO_VECTOR,
            device_select: 0,
            driver_select: 0,
            queue_select: 0,
            generation: 0,
        }
    }
}

/// A half of a 64-bit set.
fn half(set: u64, select: u32) -> u32 {
    match select {
        0 => set as u32,
        1 => (set >> 32) as u32,
        _ => 0,
    }
}

impl VirtioNet {
    /// Whether a feature is in force.
    pub(super) fn has(&self, bit: u64) -> bool {
        self.common.features & bit != 0
    }

    pub(super) fn status_has(&self, bit: u8) -> bool {
        self.common.status & bit != 0
    }

    /// DRIVER_OK, and nothing wrong.
    pub(super) fn is_live(&self) -> bool {
        let bits = status::DRIVER_OK | status::FEATURES_OK | status::NEEDS_RESET;
        self.common.status & bits == status::DRIVER_OK | status::FEATURES_OK
    }

    /// Queue pairs that exist: more than one only with MQ or RSS (5.1.2). Before features are settled, all.
    pub(super) fn pairs(&self) -> u16 {
        let many = !self.status_has(status::FEATURES_OK) || self.has(feature::MQ | feature::RSS);
        if many { self.offer.pairs } else { 1 }
    }

    /// The control queue, where it exists: behind the pairs that exist.
    pub(super) fn control_queue(&self) -> Option<u16> {
        let settled = self.status_has(status::FEATURES_OK);
        let there = self.offer.control && (!settled || self.has(feature::CTRL_VQ));
        there.then(|| self.pairs() * 2)
    }

    /// Whether a queue exists.
    pub(super) fn exists(&self, queue: u16) -> bool {
        queue < self.pairs() * 2 || self.control_queue() == Some(queue)
    }

    fn selected(&self) -> Option<&Queue> {
        let queue = self.common.queue_select;
        self.queues.get(usize::from(queue)).filter(|_| self.exists(queue))
    }

    /// What a field holds.
    pub(super) fn common_read(&self, field: u32) -> u32 {
        let common = &self.common;
        let queue = |read: fn(&Queue) -> u32| self.selected().map_or(0, read);
        match field {
            at::DEVICE_FEATURE_SELECT => common.device_select,
            at::DEVICE_FEATURE => half(self.offer.features(), common.device_select),
            at::DRIVER_FEATURE_SELECT => common.driver_select,
            at::DRIVER_FEATURE => half(common.features, common.driver_select),
            at::CONFIG_VECTOR => common.config_vector.into(),
            at::NUM_QUEUES => pci::queues(&self.offer).into(),
            at::STATUS => common.status.into(),
            at::GENERATION => common.generation.into(),
            at::QUEUE_SELECT => common.queue_select.into(),
            at::QUEUE_SIZE => queue(|queue| queue.size.into()),
            at::QUEUE_VECTOR => queue(|queue| queue.vector.into()),
            at::QUEUE_ENABLE => queue(|queue| queue.enabled().into()),
            at::QUEUE_NOTIFY_OFF => self
                .selected()
                .map_or(0, |_| pci::notify_off(&self.offer, common.queue_select)),
            // Half 0 to 5: descriptor, driver and device area.
            at::QUEUE_AREAS..at::QUEUE_NOTIFY_DATA => self.selected().map_or(0, |queue| {
                let at = (field - at::QUEUE_AREAS) as usize;
                half(queue.areas[at / 8], at as u32 % 8 / 4)
            }),
            // A queue's reset is done when it was asked for; the rest was not offered.
            _ => 0,
        }
    }

    /// A write to a field.
    pub(super) fn common_write(&mut self, host: &mut Host, field: u32, value: u32) -> Effect {
        let queue = Some(self.common.queue_select);
        match field {
            at::DEVICE_FEATURE_SELECT => self.common.device_select = value,
            at::DRIVER_FEATURE_SELECT => self.common.driver_select = value,
            at::DRIVER_FEATURE => self.accept(value),
            at::CONFIG_VECTOR => self.common.config_vector = self.vector(None, value as u16),
            at::STATUS => return self.write_status(host, value as u8),
            at::QUEUE_SELECT => self.common.queue_select = value as u16,
            at::QUEUE_NOTIFY_OFF | at::NUM_QUEUES | at::DEVICE_FEATURE | at::GENERATION => {
                self.misuse(None, Misuse::ReadOnly(pci::COMMON + field));
            }
            at::QUEUE_NOTIFY_DATA.. if field != at::QUEUE_RESET => {
                self.misuse(None, Misuse::ReadOnly(pci::COMMON + field));
            }
            _ if self.selected().is_none() => self.misuse(queue, Misuse::NoQueue),
            _ => return self.write_queue(field, value),
        }
        Effect::None
    }

    /// A vector, or none where the table has no such entry.
    pub(super) fn vector(&mut self, queue: Option<u16>, vector: u16) -> u16 {
        if vector != NO_VECTOR && vector >= self.offer.vectors {
            self.misuse(queue, Misuse::Vector(vector));
            return NO_VECTOR;
        }
        vector
    }

    fn accept(&mut self, value: u32) {
        let select = self.common.driver_select;
        if self.status_has(status::FEATURES_OK) {
            if value != half(self.common.features, select) {
                self.misuse(None, Misuse::FeaturesLate);
            }
            return;
        }
        let (mask, set) = match select {
            0 => (0xffff_ffff, u64::from(value)),
            1 => (0xffff_ffff << 32, u64::from(value) << 32),
            _ if value == 0 => return,
            _ => return self.misuse(None, Misuse::NotOffered(0)),
        };
        let offered = self.offer.features();
        if set & !offered != 0 {
            self.misuse(None, Misuse::NotOffered(set & !offered));
        }
        self.common.features = self.common.features & !mask | set & offered;
    }

    /// Whether the accepted set will do (2.2.2, chapter 6).
    fn settles(&mut self) -> bool {
        let set = self.common.features;
        if set & !feature::KNOWN != 0 {
            self.misuse(None, Misuse::Unknown(set & !feature::KNOWN));
            return false;
        }
        if let Some(bit) = feature::lacking(set) {
            self.misuse(None, Misuse::Lacks(bit));
            return false;
        }
        let platform = self.offer.platform != Platform::Required || self.has(feature::ACCESS_PLATFORM);
        platform && self.has(feature::VERSION_1)
    }

    fn write_status(&mut self, host: &mut Host, value: u8) -> Effect {
        let old = self.common.status;
        if value == 0 {
            self.restart();
            return Effect::None;
        }
        // NEEDS_RESET is the device's; a driver writes it back as it read it, or not.
        let cleared = old & !value & !status::NEEDS_RESET;
        if cleared != 0 {
            self.misuse(None, Misuse::StatusCleared(old, value));
        }
        let fresh = value & !old;
        let all = old | value;
        // Between these steps there is something to do, so one write cannot take two of them.
        let early = [
            (status::DRIVER, status::ACKNOWLEDGE, all),
            (status::FEATURES_OK, status::DRIVER, old),
            (status::DRIVER_OK, status::FEATURES_OK, old),
        ];
        let foreign = fresh & (0x30 | status::NEEDS_RESET);
        let wrong = early
            .iter()
            .any(|(bit, needs, has)| fresh & bit != 0 && has & needs == 0);
        if (wrong && fresh & status::FAILED == 0) || foreign != 0 {
            self.misuse(None, Misuse::StatusOrder(old, value));
        }
        let mut now = all & !foreign;
        if fresh & status::FEATURES_OK != 0 && !self.settles() {
            now &= !status::FEATURES_OK;
        }
        self.common.status = now;
        if fresh & status::DRIVER_OK == 0 || !self.is_live() {
            return Effect::None;
        }
        self.go_live(host);
        Effect::Run
    }
}
