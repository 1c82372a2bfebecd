use barline::mem::{
    Access, Desc16, DmaDomain, DmaFault, DmaSlice, Iova, LocalDomain, Mapping, Memory, Numa, PageSize, Source,
};
use barline::mmio::{Bar, Doorbell, RW, Reg, Trap};
use barline::pool::{Custody, Pool, PoolMap};
use std::sync::Arc;

const SMALL: Source = Source::MemFd(PageSize::Base4K);
/// Fewer than two rings want, so that the pool runs dry.
const PACKETS: usize = 24;
/// Descriptors of a ring.
pub const RING: u32 = 16;

/// One ring's surroundings, and the side of a device that writes what it likes to the ring's descriptors.
#[derive(Debug)]
pub struct Rig {
    pub pool: Pool,
    pub map: PoolMap,
    pub custody: Arc<Custody>,
    domain: Arc<LocalDomain>,
    base: Iova,
}

#[derive(Debug)]
struct Nothing;

impl Trap for Nothing {
    fn read32(&self, _offset: usize) -> u32 {
        panic!("a register was read on the packet path");
    }

    fn write32(&self, _offset: usize, tail: u32) {
        assert!(tail < RING, "a tail of {tail}");
    }
}

impl Rig {
    /// The surroundings, descriptors, and their doorbell.
    pub fn new() -> (Self, DmaSlice<Desc16>, Doorbell) {
        let domain = Arc::new(LocalDomain::new());
        let space: Arc<dyn DmaDomain> = domain.clone();
        let pool = Pool::builder().packets(PACKETS).data_room(256).headroom(64);
        let pool = pool.source(SMALL).build().expect("memory for a pool");
        let map = pool.map(&space).expect("an address for the pool");
        let memory = Memory::new(RING as usize * 16, SMALL, Numa::Any).expect("memory for a ring");
        let mapping = Mapping::new(&memory, &space, Access::ReadWrite).expect("an address for the ring");
        let ring = DmaSlice::new(&mapping, 0, RING).expect("descriptors that fit");
        let doorbell = Bar::trapped(Arc::new(Nothing), 4).doorbell(Reg::<RW>::new("TAIL", 0));
        let rig = Self {
            pool,
            map,
            custody: Custody::new(),
            domain,
            base: ring.iova(),
        };
        (rig, ring, doorbell.expect("a register inside the BAR"))
    }

    /// Where the device finds a word of a descriptor.
    fn at(&self, index: u8, word: u8) -> Iova {
        let (index, word) = (u64::from(index) % u64::from(RING), u64::from(word & 1));
        self.base.offset(index * 16 + word * 8)
    }

    /// Writes one word of a descriptor: anything, anywhere in the ring, at any time.
    pub fn store(&self, index: u8, word: u8, value: u64) {
        let stored = self.domain.store(self.at(index, word), value);
        stored.expect("the ring is mapped");
    }

    /// Fills the buffer that a descriptor names, as far as the device can: the name may be nonsense by now.
    pub fn fill(&self, index: u8, bytes: &[u8]) -> Result<(), DmaFault> {
        let buffer = self.domain.load(self.at(index, 0))?;
        self.domain.write(Iova::new(buffer), bytes)
    }

    /// The end, when ring, cache and packets are gone: the pool is whole and nothing stays mapped.
    pub fn end(self) {
        self.custody.open();
        assert_eq!(self.pool.available(), PACKETS, "packets are missing");
        drop((self.pool, self.map));
        assert_eq!(self.domain.mapped(), 0, "mappings are left");
    }
}
