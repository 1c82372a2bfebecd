use super::StopToken;
use super::stop::MAIL;
use crossbeam::queue::ArrayQueue;
use std::fmt;
use std::sync::Arc;

/// Messages for a core, from anywhere. To reach what a core owns, send it a message: it acts between two bursts.
///
/// ```
/// use barline::worker::{Mailbox, StopToken, Worker};
///
/// let stop = StopToken::default();
/// let (mailbox, inbox) = Mailbox::new(8, &stop);
/// let worker = Worker::spawn_with(stop, None, "sum", move |stop| {
///     let mut sum = 0;
///     while !stop.is_stopped() {
///         while let Some(number) = inbox.take() {
///             sum += number;
///         }
///         std::thread::yield_now(); // a real loop polls its queues here
///     }
///     sum + std::iter::from_fn(|| inbox.take()).sum::<u32>()
/// })
/// .unwrap();
/// mailbox.send(3).unwrap();
/// mailbox.send(4).unwrap();
/// worker.stop();
/// assert_eq!(worker.join().unwrap(), 7);
/// ```
pub struct Mailbox<M> {
    queue: Arc<ArrayQueue<M>>,
    stop: StopToken,
}

/// A core's own end of its [`Mailbox`].
pub struct Inbox<M> {
    queue: Arc<ArrayQueue<M>>,
    stop: StopToken,
}

impl<M> Mailbox<M> {
    /// For the loop that looks at `stop`, with room for `depth` messages (at least one).
    pub fn new(depth: usize, stop: &StopToken) -> (Self, Inbox<M>) {
        let queue = Arc::new(ArrayQueue::new(depth.max(1)));
        let inbox = Inbox {
            queue: queue.clone(),
            stop: stop.clone(),
        };
        let stop = stop.clone();
        (Self { queue, stop }, inbox)
    }

    /// Puts a message in, and wakes the core if it sleeps. A system call only then.
    ///
    /// # Errors
    /// The message, when the box is full.
    pub fn send(&self, message: M) -> Result<(), M> {
        self.queue.push(message)?;
        self.stop.alarm().ring(MAIL);
        Ok(())
    }
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            stop: self.stop.clone(),
        }
    }
}

impl<M> Inbox<M> {
    /// The next message. Without one it costs a load and a branch.
    #[inline(always)]
    pub fn take(&self) -> Option<M> {
        if self.stop.has_mail() {
            self.take_one()
        } else {
            None
        }
    }

    #[cold]
    fn take_one(&self) -> Option<M> {
        if let Some(message) = self.queue.pop() {
            return Some(message);
        }
        // In this order: a message that comes after the note was taken brings a new one.
        self.stop.alarm().take(MAIL);
        self.queue.pop()
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({} of {})", self.queue.len(), self.queue.capacity())
    }
}

impl<M> fmt::Debug for Inbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({} of {})", self.queue.len(), self.queue.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_order_and_a_full_box_gives_them_back() {
        let stop = StopToken::default();
        let (mailbox, inbox) = Mailbox::new(2, &stop);
        assert_eq!(inbox.take(), None);
        assert_eq!(
            (mailbox.send(1), mailbox.clone().send(2), mailbox.send(3)),
            (Ok(()), Ok(()), Err(3))
        );
        assert_eq!(
            (inbox.take(), inbox.take(), inbox.take()),
            (Some(1), Some(2), None)
        );
        assert!(!stop.has_mail(), "the note was taken with the last one");
        mailbox.send(4).unwrap();
        stop.stop();
        assert_eq!(
            (inbox.take(), inbox.take(), stop.is_stopped()),
            (Some(4), None, true)
        );
    }
}
