//! Setting up, enabling and resetting one queue (4.1.4.3, 4.1.5.1.3, 2.6.1).

use super::common::{at, status};
use super::misuse::Misuse;
use super::queue::Queue;
use super::{VirtioNet, feature};
use barline_sim::Effect;

impl VirtioNet {
    /// A write to a field of the selected queue.
    pub(super) fn write_queue(&mut self, field: u32, value: u32) -> Effect {
        let number = self.common.queue_select;
        let most = self.offer.queue_size;
        let is_packed = self.has(feature::RING_PACKED);
        let Some(queue) = self.queues.get_mut(usize::from(number)) else {
            return Effect::None;
        };
        let complaint = match field {
            at::QUEUE_VECTOR => {
                let vector = self.vector(Some(number), value as u16);
                self.queues[usize::from(number)].vector = vector;
                None
            }
            at::QUEUE_RESET => return self.reset_queue(number, value as u16),
            at::QUEUE_ENABLE if value != 1 => Some(Misuse::Disabled),
            _ if queue.enabled() => Some(Misuse::WhileEnabled(field)),
            at::QUEUE_ENABLE => return self.enable_queue(number),
            at::QUEUE_SIZE => {
                let size = value as u16;
                let fits = size != 0 && size <= most && (is_packed || size.is_power_of_two());
                if fits {
                    queue.size = size;
                }
                (!fits).then_some(Misuse::Size(size))
            }
            _ => {
                let at = (field - at::QUEUE_AREAS) as usize;
                let shift = at % 8 * 8;
                let area = &mut queue.areas[at / 8];
                *area = *area & !(0xffff_ffff << shift) | u64::from(value) << shift;
                None
            }
        };
        if let Some(what) = complaint {
            self.misuse(Some(number), what);
        }
        Effect::None
    }

    fn enable_queue(&mut self, number: u16) -> Effect {
        if !self.status_has(status::FEATURES_OK) {
            self.misuse(Some(number), Misuse::QueueEarly);
            return Effect::None;
        }
        let queue = &mut self.queues[usize::from(number)];
        let late = self.common.status & status::DRIVER_OK != 0 && !queue.was_reset;
        if let Err(what) = queue.enable(self.common.features) {
            self.misuse(Some(number), what);
            return Effect::None;
        }
        if late {
            self.misuse(Some(number), Misuse::QueueLate);
        }
        if !self.is_live() {
            return Effect::None;
        }
        self.queues[usize::from(number)].awake = true;
        Effect::Run
    }

    /// Virtqueue reset (2.6.1): done at once.
    fn reset_queue(&mut self, number: u16, value: u16) -> Effect {
        let allowed = self.has(feature::RING_RESET) && self.queues[usize::from(number)].enabled();
        if value != 1 || !allowed {
            self.misuse(Some(number), Misuse::QueueReset(value));
            return Effect::None;
        }
        let queue = &mut self.queues[usize::from(number)];
        *queue = Queue {
            vector: queue.vector,
            stats: queue.stats,
            was_reset: true,
            ..Queue::new(self.offer.queue_size)
        };
        Effect::None
    }
}
