//! Virtqueues (virtio 1.2, 2.7 and 2.8): buffers have ids, and the device says which it has used.

use super::{Limits, Oracle, Seen};
use barline::mem::{Iova, LocalDomain};
use barline_models::virtio::VirtioNet;
use barline_sim::SimDevice;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of `struct virtio_net_hdr` (5.1.6).
const HEADER: u32 = 12;
/// Descriptor flags of packed rings (2.8.1), in a descriptor's second word.
const AVAIL: u64 = 1 << 55;
const USED: u64 = 1 << 63;

/// A receive queue of a virtio network device, one buffer a frame.
#[derive(Clone, Debug)]
pub struct Used {
    device: Arc<SimDevice<VirtioNet>>,
    queue: u16,
    packed: bool,
    in_order: bool,
    /// Free-running: buffers made available and buffers used, as far as was looked.
    tail: u32,
    head: u32,
    /// Of a split ring: how far the device was when its index was last read.
    announced: u32,
    /// Buffers with the device, the oldest first.
    out: VecDeque<u16>,
    /// Of a packed ring: ids that come next.
    free: VecDeque<u16>,
    /// So many buffers are used by one word about the last, which holds so many bytes.
    run: Option<(usize, u32)>,
    /// The device has said what cannot be: its driver believes nothing any more.
    broken: bool,
}

impl Used {
    /// The receive queue of pair `pair`, from its beginning on.
    pub fn new(device: &Arc<SimDevice<VirtioNet>>, pair: usize, (packed, in_order): (bool, bool)) -> Self {
        Self {
            device: device.clone(),
            queue: pair as u16 * 2,
            packed,
            in_order,
            tail: 0,
            head: 0,
            announced: 0,
            out: VecDeque::new(),
            free: VecDeque::new(),
            run: None,
            broken: false,
        }
    }
}

/// Ring and memory, for one look.
struct View<'a> {
    size: u32,
    areas: [u64; 3],
    domain: &'a LocalDomain,
    full: u32,
}

impl View<'_> {
    /// A field of 1 to 8 bytes.
    fn read(&self, at: u64, bytes: usize) -> Option<u64> {
        let mut value = [0; 8];
        self.domain.read(Iova::new(at), &mut value[..bytes]).ok()?;
        Some(u64::from_le_bytes(value))
    }

    /// Second word of the packed descriptor at a free-running position, and its wrap counter's bits.
    fn packed(&self, at: u32) -> Option<(u64, bool)> {
        let index = u64::from(at % self.size);
        let word = self.read(self.areas[0] + index * 16 + 8, 8)?;
        Some((word, (at / self.size).is_multiple_of(2)))
    }
}

impl Used {
    /// Notes what the driver has made available since the last look.
    fn posted(&mut self, view: &View<'_>) -> Option<()> {
        if !self.packed {
            let index = view.read(view.areas[1] + 2, 2)? as u16;
            while self.tail as u16 != index {
                let slot = u64::from(self.tail % view.size);
                self.out
                    .push_back(view.read(view.areas[1] + 4 + slot * 2, 2)? as u16);
                self.tail = self.tail.wrapping_add(1);
            }
            return Some(());
        }
        if self.tail == 0 {
            self.free = (0..view.size as u16).collect();
        }
        while let Some(id) = self.free.front() {
            let (word, wrap) = view.packed(self.tail)?;
            if (word & AVAIL != 0) != wrap {
                break;
            }
            self.out.push_back(*id);
            self.free.pop_front();
            self.tail = self.tail.wrapping_add(1);
        }
        Some(())
    }

    /// What the device says of the next buffer: its id, and bytes in it.
    fn next(&mut self, view: &View<'_>) -> Option<Option<(u32, u32)>> {
        if self.packed {
            let (word, wrap) = view.packed(self.head)?;
            let marks = if wrap { AVAIL | USED } else { 0 };
            let used = word & (AVAIL | USED) == marks;
            return Some(
                used.then_some((word as u32, word >> 32))
                    .map(|(len, high)| (u32::from(high as u16), len)),
            );
        }
        if self.announced.wrapping_sub(self.head) as i32 <= 0 {
            // What was announced stays announced; the index is read when all of that was taken, or more.
            let index = view.read(view.areas[2] + 2, 2)? as u16;
            let ahead = u32::from(index.wrapping_sub(self.head as u16));
            self.broken |= ahead as usize > self.out.len();
            if ahead == 0 || self.broken {
                return Some(None);
            }
            self.announced = self.head.wrapping_add(ahead);
        }
        let entry = view.areas[2] + 4 + u64::from(self.head % view.size) * 8;
        let (id, len) = (view.read(entry, 4)?, view.read(entry + 4, 4)?);
        Some(Some((id as u32, len as u32)))
    }

    /// Takes one buffer, if there is one; the bytes that the device says are in it.
    fn take(&mut self, view: &View<'_>) -> Option<Option<u32>> {
        if self.run.is_none() {
            let Some((id, len)) = self.next(view)? else {
                return Some(None);
            };
            let place = self.out.iter().position(|known| u32::from(*known) == id);
            let Some(place) = place else {
                self.broken = true;
                return Some(None);
            };
            if self.in_order {
                self.run = Some((place + 1, len));
            } else {
                // The two exchange their places.
                self.out.swap(0, place);
                self.run = Some((1, len));
            }
        }
        let Some((left, last)) = self.run else {
            return Some(None);
        };
        self.run = (left > 1).then_some((left - 1, last));
        let id = self.out.pop_front()?;
        if self.packed {
            self.free.push_back(id);
        }
        self.head = self.head.wrapping_add(1);
        Some(Some(if left > 1 { view.full } else { last }))
    }
}

impl Oracle for Used {
    fn look(&mut self, domain: &LocalDomain, limits: Limits) -> Option<Seen> {
        let (queue, packed) = (self.queue, self.packed);
        // A packed ring in which the device has written to the wrong places tells nobody what the driver posted.
        let (areas, lied) = self
            .device
            .model(|model| (model.queue_areas(queue), model.has_lied(queue)));
        let (size, areas) = areas.filter(|_| !(packed && lied))?;
        let view = View {
            size: size.into(),
            areas,
            domain,
            full: limits.buffer.saturating_add(HEADER),
        };
        self.posted(&view)?;
        let mut seen = Seen::default();
        // Where no buffer is out there is nothing to look at.
        while seen.packets < limits.room && !self.broken && !self.out.is_empty() {
            let Some(len) = self.take(&view)? else { break };
            let len = len.wrapping_sub(HEADER);
            if (1..=limits.frame.min(limits.buffer)).contains(&len) {
                seen.packets += 1;
                seen.bytes += u64::from(len);
            } else {
                seen.lengths += 1;
            }
        }
        Some(seen)
    }

    fn copy(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}
