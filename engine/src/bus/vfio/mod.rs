//! Linux VFIO: groups and the type1 (version 2) IOMMU.

/// Why VFIO could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VfioError {
    /// What the kernel said.
    #[error("{step}: {source}")]
    Os {
        /// What was tried.
        step: &'static str,
        /// The kernel's word.
        source: std::io::Error,
    },
}
