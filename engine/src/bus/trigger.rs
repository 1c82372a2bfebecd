use std::os::fd::{AsRawFd, BorrowedFd};

/// What interrupts of one kind are directed to. The module's SET_IRQS is VFIO's, flags included.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trigger<'a> {
    /// Vectors from the first one on raise these eventfds; `None`: nothing.
    EventFds(u32, &'a [Option<BorrowedFd<'a>>]),
    /// All vectors off: `DATA_NONE` with count 0. A count above 0 would fire them.
    Off,
    /// Raises this vector's eventfd as if the device had.
    Fire(u32),
}

/// `VFIO_IRQ_SET_DATA_NONE`, `BARLINE_SET_DATA_NONE`.
const NO_DATA: u32 = 1 << 0;
/// `VFIO_IRQ_SET_DATA_EVENTFD`, `BARLINE_SET_DATA_EVENTFD`.
const EVENTFDS: u32 = 1 << 2;
/// `VFIO_IRQ_SET_ACTION_TRIGGER`, `BARLINE_SET_TRIGGER`.
const TRIGGER: u32 = 1 << 5;

/// The fields of a request, and its descriptors; -1 is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub flags: u32,
    pub start: u32,
    pub count: u32,
    pub fds: Vec<i32>,
}

impl Trigger<'_> {
    pub fn request(self) -> Request {
        let (data, start, fds): (_, _, &[Option<BorrowedFd<'_>>]) = match self {
            Trigger::EventFds(start, fds) => (EVENTFDS, start, fds),
            Trigger::Off => (NO_DATA, 0, &[]),
            Trigger::Fire(vector) => (NO_DATA, vector, &[]),
        };
        Request {
            flags: data | TRIGGER,
            start,
            count: match self {
                Trigger::Fire(_) => 1,
                _ => fds.len() as u32,
            },
            fds: fds.iter().map(|fd| fd.map_or(-1, |fd| fd.as_raw_fd())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use vfio_bindings::bindings::vfio::*;

    #[test]
    fn requests_say_what_vfio_and_the_module_expect() {
        let file = tempfile::tempfile().unwrap();
        let fds = [None, Some(file.as_fd())];
        let set = Trigger::EventFds(3, &fds).request();
        assert_eq!(set.flags, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER);
        assert_eq!(
            (set.start, set.count, set.fds),
            (3, 2, vec![-1, file.as_raw_fd()])
        );
        let none = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
        let off = Trigger::Off.request();
        assert_eq!((off.flags, off.start, off.count), (none, 0, 0));
        let fire = Trigger::Fire(7).request();
        assert_eq!((fire.flags, fire.start, fire.count), (none, 7, 1));
    }
}
