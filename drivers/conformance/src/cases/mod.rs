//! The cases. Their names say what holds.

pub mod counters;
pub mod data;
pub mod hostile;
pub mod life;
pub mod mishaps;
pub mod offloads;
pub mod pools;
pub mod queues;
pub mod settings;
