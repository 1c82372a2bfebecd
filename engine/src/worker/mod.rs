//! Threads of the engine's own, each pinned to a core, that can be stopped and that give back what they were given.
//!
//! The engine leaves the caller's thread, its affinity and its signals alone. A worker blocks no signals: which
//! thread of the process runs a handler stays the application's business, and no call of the packet path is
//! interrupted by one.

mod cores;
mod mailbox;
mod stop;
mod thread;

pub use cores::{CoreError, CoreId, Cores};
pub use mailbox::{Inbox, Mailbox};
pub use stop::StopToken;
pub use thread::{Worker, WorkerError};
