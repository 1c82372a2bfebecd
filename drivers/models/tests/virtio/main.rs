//! The virtio-net model, driven by a small driver that is written from the specification and shares nothing with the
//! model: numbers are written out on purpose.

mod chains;
mod control;
mod driver;
mod events;
mod faults;
mod handshake;
mod hostile;
mod lies;
mod misuse;
mod offload;
mod rings;
mod traffic;
mod vq;
