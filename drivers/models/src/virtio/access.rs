//! Accesses of the host: which structure, which field, how wide.

use super::common::status;
use super::misuse::Misuse;
use super::{VirtioNet, common, device, pci};
use barline_sim::{Effect, Host};

/// A structure in the BAR.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Device,
    Isr,
    Common,
    Notify,
}

impl VirtioNet {
    /// The structure at an offset of the BAR, and the offset in it.
    fn part(&self, offset: u32) -> Option<(Part, u32)> {
        let parts = [
            (Part::Device, pci::DEVICE, pci::DEVICE_LEN),
            (Part::Isr, pci::ISR, 1),
            (Part::Common, pci::COMMON, pci::COMMON_LEN),
            (Part::Notify, pci::NOTIFY, pci::notify_len(&self.offer)),
        ];
        let inside = |(part, at, len): (Part, u32, u32)| {
            let within = offset.checked_sub(at)?;
            (within < len).then_some((part, within))
        };
        parts.into_iter().find_map(inside)
    }

    /// A read of 1, 2 or 4 bytes.
    pub(super) fn read_bytes(&mut self, bar: u8, offset: u32, bytes: u8) -> u32 {
        if bar == pci::TABLE_BAR {
            let word = self.table.get(offset as usize / 4).copied().unwrap_or(0);
            return word >> (offset % 4 * 8);
        }
        let Some((part, within)) = self.part(offset) else {
            self.misuse(None, Misuse::NoField(offset));
            return 0;
        };
        match part {
            // Write-only in effect; reading does no harm.
            Part::Notify => 0,
            Part::Isr => {
                if bytes != 1 {
                    self.misuse(None, Misuse::Width { offset, bytes });
                }
                std::mem::take(&mut self.isr).into()
            }
            Part::Device | Part::Common => self.read_fields(part, offset, within, bytes),
        }
    }

    fn read_field(&mut self, part: Part, field: u32) -> u32 {
        match part {
            Part::Device => self.device_read(field),
            _ => self.common_read(field),
        }
    }

    /// A field, or (which a driver must not ask for) a part of one or several.
    fn read_fields(&mut self, part: Part, offset: u32, within: u32, bytes: u8) -> u32 {
        if fields(part).contains(&(within, bytes)) {
            return self.read_field(part, within);
        }
        self.misuse(None, Misuse::Width { offset, bytes });
        let mut value = 0;
        for (field, size) in touched(part, within, bytes) {
            let whole = u64::from(self.read_field(part, field)) & mask_of(size);
            value |= if field >= within {
                whole << ((field - within) * 8)
            } else {
                whole >> ((within - field) * 8)
            };
        }
        (value & mask_of(bytes)) as u32
    }

    /// A write of 1, 2 or 4 bytes.
    pub(super) fn write_bytes(
        &mut self,
        host: &mut Host,
        bar: u8,
        offset: u32,
        bytes: u8,
        value: u32,
    ) -> Effect {
        if bar == pci::TABLE_BAR {
            if let Some(word) = self.table.get_mut(offset as usize / 4).filter(|_| bytes == 4) {
                *word = value;
            }
            return Effect::None;
        }
        match self.part(offset) {
            None => self.misuse(None, Misuse::NoField(offset)),
            Some((Part::Device | Part::Isr, _)) => self.misuse(None, Misuse::ReadOnly(offset)),
            Some((Part::Notify, within)) => return self.notified(within, bytes, value),
            Some((Part::Common, within)) if common::FIELDS.contains(&(within, bytes)) => {
                return self.common_write(host, within, value);
            }
            Some((Part::Common, within)) => {
                self.misuse(None, Misuse::Width { offset, bytes });
                return self.write_parts(host, within, bytes, value);
            }
        }
        Effect::None
    }

    /// A write that is no field: the bytes it covers of each.
    fn write_parts(&mut self, host: &mut Host, within: u32, bytes: u8, value: u32) -> Effect {
        let mut effect = Effect::None;
        let mask = mask_of(bytes);
        for (field, size) in touched(Part::Common, within, bytes) {
            let old = u64::from(self.common_read(field));
            let (mask, new) = if field >= within {
                let shift = (field - within) * 8;
                (mask >> shift, u64::from(value) >> shift)
            } else {
                let shift = (within - field) * 8;
                (mask << shift, u64::from(value) << shift)
            };
            let mask = mask & mask_of(size);
            let value = (old & !mask | new & mask) as u32;
            match self.common_write(host, field, value) {
                Effect::None => {}
                other => effect = other,
            }
        }
        effect
    }

    /// An available buffer notification (4.1.5.2).
    fn notified(&mut self, within: u32, bytes: u8, value: u32) -> Effect {
        let queue = value as u16;
        let exists = self.exists(queue);
        let place = if exists {
            pci::notify_off(&self.offer, queue) * self.offer.multiplier
        } else {
            within
        };
        if bytes != 2 || place != within {
            self.misuse(exists.then_some(queue), Misuse::Notification(bytes, within));
        }
        if !exists {
            self.misuse(Some(queue), Misuse::NoQueue);
            return Effect::None;
        }
        if !self.status_has(status::DRIVER_OK) {
            self.misuse(Some(queue), Misuse::NotifiedEarly);
            return Effect::None;
        }
        let Some(state) = self
            .queues
            .get_mut(usize::from(queue))
            .filter(|queue| queue.enabled())
        else {
            self.misuse(Some(queue), Misuse::NotifiedDisabled);
            return Effect::None;
        };
        state.stats.notifications += 1;
        state.awake = true;
        match (self.control_queue() == Some(queue), queue % 2) {
            (true, _) => Effect::Command,
            (false, 0) => Effect::RxDoorbell((queue / 2) as u8),
            (false, _) => Effect::TxDoorbell((queue / 2) as u8),
        }
    }

    /// The access that the window in configuration space stands for (4.1.4.9): BAR, offset, bytes.
    fn window(&mut self) -> Option<(u8, u32, u8)> {
        let word = |at: u16| {
            let mut bytes = [0; 4];
            self.config.read(at, &mut bytes);
            u32::from_le_bytes(bytes)
        };
        let (bar, offset, length) = (
            word(pci::WINDOW_BAR) as u8,
            word(pci::WINDOW_OFFSET),
            word(pci::WINDOW_LENGTH),
        );
        let aligned = matches!(length, 1 | 2 | 4) && offset.is_multiple_of(length);
        let ends = aligned && self.part(offset).is_some() && self.part(offset + length - 1).is_some();
        if bar != pci::BAR || !ends {
            self.misuse(None, Misuse::Window);
            return None;
        }
        Some((bar, offset, length as u8))
    }

    /// Where a read of configuration space touches the window's data, they are fetched first.
    pub(super) fn read_window(&mut self, offset: u16, len: usize) {
        let end = usize::from(offset) + len;
        let data = usize::from(pci::WINDOW_DATA);
        // Nobody reads the window by reading all of configuration space.
        if len > 4 || usize::from(offset) < data || end > data + 4 {
            return;
        }
        if let Some((bar, at, bytes)) = self.window() {
            let value = self.read_bytes(bar, at, bytes).to_le_bytes();
            self.config.set(pci::WINDOW_DATA, &value[..usize::from(bytes)]);
        }
    }

    /// What a write to the window's data stands for. The effect is left to the next run.
    pub(super) fn write_window(&mut self, host: &mut Host, offset: u16, len: usize) {
        if offset != pci::WINDOW_DATA || len > 4 {
            return;
        }
        if let Some((bar, at, bytes)) = self.window() {
            let mut value = [0; 4];
            self.config
                .read(pci::WINDOW_DATA, &mut value[..usize::from(bytes)]);
            self.write_bytes(host, bar, at, bytes, u32::from_le_bytes(value));
        }
    }
}

/// The bits of so many bytes.
fn mask_of(bytes: u8) -> u64 {
    (1 << (8 * u32::from(bytes))) - 1
}

fn fields(part: Part) -> &'static [(u32, u8)] {
    match part {
        Part::Device => device::FIELDS,
        _ => common::FIELDS,
    }
}

/// The fields that an access covers a byte of.
fn touched(part: Part, within: u32, bytes: u8) -> impl Iterator<Item = (u32, u8)> {
    let end = within + u32::from(bytes);
    fields(part)
        .iter()
        .copied()
        .filter(move |(at, size)| *at < end && at + u32::from(*size) > within)
}
