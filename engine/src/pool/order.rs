use std::fmt;

/// Which id stands at which position of a ring whose device gives back in an order of its own.
///
/// Position and id are the same until a device gives something back out of turn. Then the two positions exchange their
/// ids (and [`super::Posted::swap`] what they stand for), so that the oldest position is always the one that was given back.
pub struct Order {
    ids: Box<[u16]>,
    /// The other way round: the position of an id, less than the length.
    places: Box<[u16]>,
    mask: u32,
}

impl Order {
    /// For a ring of `len` positions; `None` unless that is a power of two, 32,768 at most.
    pub fn new(len: u32) -> Option<Self> {
        let good = len.is_power_of_two() && len <= 1 << 15;
        let ids: Box<[u16]> = (0..len.min(1 << 15)).map(|id| id as u16).collect();
        good.then(|| Self {
            places: ids.clone(),
            ids,
            mask: len - 1,
        })
    }

    /// The id at a free-running position.
    #[inline(always)]
    pub fn id(&self, position: u32) -> u16 {
        // SAFETY: masked by the length minus one.
        unsafe { *self.ids.get_unchecked((position & self.mask) as usize) }
    }

    /// The free-running position of `id` among `head..tail`; `None` where it is not in flight.
    pub fn find(&self, id: u32, head: u32, tail: u32) -> Option<u32> {
        let place = u32::from(*self.places.get(id as usize)?);
        let age = place.wrapping_sub(head) & self.mask;
        (age < tail.wrapping_sub(head)).then(|| head.wrapping_add(age))
    }

    /// Exchanges the ids at two positions.
    pub fn swap(&mut self, a: u32, b: u32) {
        let (a, b) = ((a & self.mask) as usize, (b & self.mask) as usize);
        self.ids.swap(a, b);
        self.places[usize::from(self.ids[a])] = a as u16;
        self.places[usize::from(self.ids[b])] = b as u16;
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Order({} positions)", self.ids.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_is_found_where_it_stands_whatever_was_exchanged(
            shift in 0u32..8, start: u32, swaps in proptest::collection::vec(any::<(u32, u32)>(), 0..50), ids in proptest::collection::vec(any::<u32>(), 1..20),
        ) {
            let len = 1 << shift;
            let mut order = Order::new(len).unwrap();
            swaps.iter().for_each(|(a, b)| order.swap(*a, *b));
            for in_flight in [0, len / 2, len] {
                let tail = start.wrapping_add(in_flight);
                for id in (0..len).chain(ids.iter().copied()) {
                    let slow = (0..in_flight).map(|i| start.wrapping_add(i)).find(|at| u32::from(order.id(*at)) == id);
                    prop_assert_eq!(order.find(id, start, tail), slow);
                }
            }
        }
    }

    #[test]
    fn lengths_that_no_ring_has_are_refused() {
        assert!(Order::new(0).is_none() && Order::new(3).is_none() && Order::new(1 << 16).is_none());
        assert!(Order::new(1 << 15).is_some());
    }
}
