//! Waiting: what an idle core sleeps on.

mod eventfd;

pub use eventfd::EventFd;
