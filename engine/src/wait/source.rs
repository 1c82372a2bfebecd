use super::Cpu;
use crate::port::RxQueue;
use std::os::fd::BorrowedFd;

/// What a source says when its core wants to sleep. Of several, the greatest decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Armed {
    /// It is empty, and whatever comes raises its eventfd.
    Wakes,
    /// As [`Armed::Wakes`], but it holds something that ends without telling, such as packets that a device has not
    /// sent yet: sleep shortly, longer each time.
    Holds,
    /// It is empty, and nothing tells when something comes: sleep no longer than the policy's nap.
    Silent,
    /// It has something: do not sleep. It is not armed.
    Pending,
}

/// Something that a core polls.
pub trait Source {
    /// Looks for the last time before a sleep: tells the source to raise its eventfd, then (full barrier) looks whether
    /// it has something after all.
    fn arm(&mut self) -> Armed;
    /// The core is awake: no events, please.
    fn disarm(&mut self);
    /// The eventfd that it raises, where it has one.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>>;
    /// Rests for a few microseconds at most, less if something comes and the processor can tell.
    fn pause(&self, cpu: Cpu) {
        cpu.pause();
    }
}

impl Source for Box<dyn RxQueue> {
    fn arm(&mut self) -> Armed {
        (**self).arm()
    }

    fn disarm(&mut self) {
        (**self).disarm();
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).wake_fd()
    }

    fn pause(&self, cpu: Cpu) {
        (**self).pause(cpu);
    }
}
