//! DMA memory: what a device can reach, and under which address.
//!
//! An [`Iova`] is an address as the device sees it; it is never equal to, and cannot be made from, a pointer.
//! [`Memory`] is host memory fit for DMA (huge pages where there are any), [`Mapping`] is its registration with
//! one [`DmaDomain`]: one MAP call for its whole length, undone when the last owner lets go.

mod domain;
mod hugepage;
mod iova;
mod local;
pub mod order;
mod page;
mod plan;
mod region;
mod shared;
mod slice;

pub use domain::{Access, DmaDomain, DmaError, DmaLimits, IovaMap, Window};
pub use iova::Iova;
pub use local::{DmaFault, LocalDomain};
pub use page::{HugePages, MemoryError, PageSize, Source, free_huge_pages};
pub use plan::{Plan, PlanError};
pub(crate) use region::ARENA;
pub use region::{Mapping, Memory, Numa};
pub use shared::{SharedDomain, SharedRegion};
pub use slice::{Desc16, DescWords, DmaSlice};
