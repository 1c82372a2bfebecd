//! Which id stands for which address of the UMEM: the kernel gives buffers back by their addresses.

/// Addresses by id, and ids by position. Positions run freely.
#[derive(Debug)]
pub(crate) struct Ids {
    addresses: Box<[u64]>,
    ids: Box<[u16]>,
    mask: u32,
}

impl Ids {
    /// For `len` positions, a power of two.
    pub fn new(len: u32) -> Self {
        Self {
            addresses: vec![u64::MAX; len as usize].into_boxed_slice(),
            ids: (0..len).map(|id| id as u16).collect(),
            mask: len - 1,
        }
    }

    /// At `at` stands `id`, which is the buffer at `address`.
    #[inline(always)]
    pub fn put(&mut self, at: u32, id: u16, address: u64) {
        self.ids[(at & self.mask) as usize] = id;
        self.addresses[(u32::from(id) & self.mask) as usize] = address;
    }

    pub fn renumber(&mut self, at: u32, id: u16) {
        self.ids[(at & self.mask) as usize] = id;
    }

    /// The id that stands at a position.
    #[inline(always)]
    pub fn id(&self, at: u32) -> u16 {
        self.ids[(at & self.mask) as usize]
    }

    /// The id of the buffer at `address`, among positions `at..tail`; the first is the likeliest. `None` where it is not
    /// there.
    #[inline(always)]
    pub fn find(&self, address: u64, at: u32, tail: u32) -> Option<u16> {
        let first = self.id(at);
        if self.addresses[(u32::from(first) & self.mask) as usize] == address && at != tail {
            return Some(first);
        }
        self.search(address, at, tail)
    }

    #[cold]
    fn search(&self, address: u64, at: u32, tail: u32) -> Option<u16> {
        let positions = (0..tail.wrapping_sub(at).min(self.mask + 1)).map(|i| at.wrapping_add(i));
        let mut ids = positions.map(|at| self.id(at));
        ids.find(|id| self.addresses[(u32::from(*id) & self.mask) as usize] == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_is_found_where_it_is_in_flight_and_nowhere_else(
            shift in 0u32..7, start: u32, used in 0u32..70, probe in 0u64..90, swaps in proptest::collection::vec(any::<(u32, u32)>(), 0..20),
        ) {
            let len = 1u32 << shift;
            let used = used.min(len);
            let mut ids = Ids::new(len);
            let mut order: Vec<u16> = (0..len as u16).collect();
            for (a, b) in swaps {
                order.swap((a % len) as usize, (b % len) as usize);
            }
            for i in 0..used {
                let at = start.wrapping_add(i);
                ids.put(at, order[(at & (len - 1)) as usize], u64::from(i) * 3);
            }
            let tail = start.wrapping_add(used);
            let wanted = (probe % 3 == 0 && probe / 3 < u64::from(used))
                .then(|| order[(start.wrapping_add((probe / 3) as u32) & (len - 1)) as usize]);
            prop_assert_eq!(ids.find(probe, start, tail), wanted);
        }
    }
}
