//! What a back end is to the port, whoever plays it.

use crate::error::Refusal;
use crate::rings::Vring;
use barline::mem::{Mapping, SharedRegion};
use barline::offload::Offloads;
use barline::port::MacAddress;
use barline::wait::EventFd;
use barline_virtio::Features;
use std::fmt::Debug;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Memory that the back end is to see.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// For one in this machine's kernel: it uses our addresses, and must not outlive the mapping.
    pub mapping: Arc<Mapping>,
    /// For another process.
    pub region: SharedRegion,
}

/// How a back end let go of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parted {
    /// It says that its rings are stopped.
    Said,
    /// It has hung up.
    HungUp,
    /// Not at all: it may write to them at any time.
    Silent,
}

/// A look at a back end.
#[derive(Debug)]
pub(crate) enum News {
    Nothing,
    HungUp,
    /// It is to be cut off.
    Bad(Refusal),
}

/// One that is there, with which features are agreed upon.
pub(crate) trait BackEnd: Send + Debug {
    fn features(&self) -> Features;

    /// Agrees on offloads too, as far as it has them. Before [`BackEnd::begin`].
    ///
    /// # Errors
    /// It refuses what it has offered.
    fn agree(&mut self, offloads: Offloads) -> Result<(), Refusal>;

    fn mac(&self) -> Option<MacAddress> {
        None
    }

    fn mtu(&self) -> Option<u16> {
        None
    }

    /// Shares memory and rings, and has it begin.
    ///
    /// # Errors
    /// It hangs up, refuses, or does not answer in time.
    fn begin(&mut self, memory: &[Piece], vrings: &[Vring], stop: &EventFd) -> Result<(), Refusal>;

    /// Readable when a look is worth while.
    fn event(&self) -> BorrowedFd<'_>;

    fn look(&self) -> News;

    /// Takes the rings back.
    fn part(&mut self, vrings: &[Vring], stop: &EventFd) -> Parted;
}
