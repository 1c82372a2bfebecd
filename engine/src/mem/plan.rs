use super::{DmaDomain, DmaLimits, PageSize, Source, free_huge_pages};
use nix::sys::resource::{Resource, getrlimit};

/// What an engine is going to allocate and map, summed and compared with what the machine has before anything is
/// touched.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    bytes: usize,
    source: Source,
}

/// What a plan asks for that the machine does not have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Not enough free huge pages.
    #[error(
        "the plan needs {need} huge pages of {size}, {free} are free; reserve them: echo {want} | sudo tee {path}"
    )]
    HugePages {
        /// Page size.
        size: PageSize,
        /// Needed.
        need: usize,
        /// Free.
        free: usize,
        /// Number to write.
        want: usize,
        /// File to write it to.
        path: String,
    },
    /// RLIMIT_MEMLOCK is too low.
    #[error(
        "the plan maps {need} KiB for DMA, but this process may lock {limit} KiB; raise the limit: ulimit -l {need} (or run with CAP_IPC_LOCK)"
    )]
    Memlock {
        /// KiB needed.
        need: u64,
        /// KiB allowed.
        limit: u64,
    },
    /// The container has too few mapping entries.
    #[error(
        "the plan needs {need} DMA mappings, the IOMMU container has {left} left; use fewer pools or raise vfio_iommu_type1.dma_entry_limit"
    )]
    Entries {
        /// Needed.
        need: usize,
        /// Left.
        left: u32,
    },
    /// No window is large enough.
    #[error("the IOMMU's usable windows cannot hold {need} bytes; use a smaller pool")]
    Windows {
        /// Bytes.
        need: u64,
    },
}

impl Plan {
    /// An empty plan.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one piece of memory, with one mapping.
    #[must_use]
    pub fn with(mut self, bytes: usize, source: Source) -> Self {
        self.parts.push(Part { bytes, source });
        self
    }

    /// Bytes, rounded up to the pages they will take; `u64::MAX` where that is more than can be said.
    pub fn bytes(&self) -> u64 {
        let whole = |part: &Part| part.bytes.checked_next_multiple_of(part.page().bytes());
        let sizes = self.parts.iter().map(whole);
        sizes.fold(0, |sum: u64, size| {
            sum.saturating_add(size.map_or(u64::MAX, |size| size as u64))
        })
    }

    /// Compares the plan with the machine and with what `domain` can map.
    ///
    /// # Errors
    /// The first thing that is missing, and the command that mends it. Nothing has been allocated.
    pub fn check(&self, domain: &dyn DmaDomain) -> Result<(), PlanError> {
        for size in [PageSize::Huge2M, PageSize::Huge1G] {
            self.check_pages(size)?;
        }
        let limits = domain.limits();
        if limits.counts_memlock {
            self.check_memlock()?;
        }
        self.check_domain(&limits)
    }

    fn check_pages(&self, size: PageSize) -> Result<(), PlanError> {
        let firm = self
            .parts
            .iter()
            .filter(|part| part.source != Source::Auto && part.page() == size);
        let need: usize = firm.map(|part| part.bytes.div_ceil(size.bytes())).sum();
        let pages = free_huge_pages(size);
        if need <= pages.free {
            return Ok(());
        }
        let path = format!(
            "/sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages",
            size.bytes() / 1024
        );
        Err(PlanError::HugePages {
            size,
            need,
            free: pages.free,
            want: pages.total + need - pages.free,
            path,
        })
    }

    fn check_memlock(&self) -> Result<(), PlanError> {
        let Ok((soft, _)) = getrlimit(Resource::RLIMIT_MEMLOCK) else {
            return Ok(());
        };
        let (need, limit) = (self.bytes().div_ceil(1024), soft / 1024);
        if soft == nix::libc::RLIM_INFINITY || need <= limit || may_lock_anything() {
            return Ok(());
        }
        Err(PlanError::Memlock { need, limit })
    }

    fn check_domain(&self, limits: &DmaLimits) -> Result<(), PlanError> {
        if let Some(left) = limits
            .entries_left
            .filter(|left| self.parts.len() > *left as usize)
        {
            return Err(PlanError::Entries {
                need: self.parts.len(),
                left,
            });
        }
        let most = limits.windows.iter().map(|w| w.last - w.first).max().unwrap_or(0);
        let need = self.bytes();
        if need > most {
            Err(PlanError::Windows { need })
        } else {
            Ok(())
        }
    }
}

impl Part {
    fn page(&self) -> PageSize {
        self.source.expected_page(self.bytes)
    }
}

/// Whether CAP_IPC_LOCK (bit 14, linux/capability.h) is effective: it lifts the limit.
fn may_lock_anything() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let caps = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    caps.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|caps| caps >> 14 & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::LocalDomain;

    #[test]
    fn what_no_machine_has_is_refused_with_the_command() {
        let plan = Plan::new().with(1 << 50, Source::MemFd(PageSize::Huge2M));
        let text = plan.check(&LocalDomain::new()).unwrap_err().to_string();
        assert!(
            text.contains("sudo tee /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
            "{text}"
        );
    }

    #[test]
    fn small_plans_pass_anywhere() {
        Plan::new()
            .with(1 << 20, Source::Auto)
            .check(&LocalDomain::new())
            .unwrap();
    }
}
