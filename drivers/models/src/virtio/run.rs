//! What the device does by itself, and how it gives up.

use super::VirtioNet;
use super::chain::{Chain, Fail};
use super::common::status;
use barline_sim::Host;

impl VirtioNet {
    /// DRIVER_OK: the device looks at every queue once, notified or not.
    pub(super) fn go_live(&mut self, host: &mut Host) {
        for number in 0..self.queues.len() {
            let queue = &mut self.queues[number];
            queue.awake = queue.enabled();
            if self.offer.polls && queue.enabled() {
                let asked = queue.ask(host, false);
                self.check(host, number as u16, asked);
            }
        }
    }

    /// The next buffer of a queue, and complaints about it that do not end it.
    pub(super) fn next_buffer(&mut self, host: &mut Host, number: u16) -> Result<Option<Chain>, Fail> {
        let Some(queue) = self.queues.get_mut(usize::from(number)) else {
            return Ok(None);
        };
        let next = queue.next_or_sleep(host, self.offer.polls, &mut self.notes);
        self.note(number);
        next
    }

    fn note(&mut self, number: u16) {
        let notes = std::mem::take(&mut self.notes);
        let innocent = self.queues[usize::from(number)].lied();
        for what in notes.into_iter().filter(|_| !innocent) {
            self.misuse(Some(number), what);
        }
    }

    /// Gives up where a queue cannot go on: DEVICE_NEEDS_RESET (2.1.2).
    pub(super) fn check<T>(&mut self, host: &mut Host, number: u16, result: Result<T, Fail>) -> Option<T> {
        let why = match result {
            Ok(done) => return Some(done),
            Err(why) => why,
        };
        // Whoever was lied to may err.
        let innocent = self.queues[usize::from(number)].lied();
        match why {
            Fail::Misuse(what) if !innocent => self.misuse(Some(number), what),
            _ => {}
        }
        if !self.status_has(status::NEEDS_RESET) {
            self.common.status |= status::NEEDS_RESET;
            if self.status_has(status::DRIVER_OK) {
                self.config_interrupt(host);
            }
        }
        None
    }

    /// Everything that there is to do, up to `budget` frames each way.
    pub(super) fn work(&mut self, host: &mut Host, budget: u32) -> Result<u32, (u16, Fail)> {
        let mut moved = self.control(host, budget)?;
        moved = moved.max(self.transmit(host, budget)?);
        let received = match self.link {
            true => self.receive(host, budget)?,
            false => self.lose(host, budget),
        };
        Ok(moved.max(received))
    }

    /// Interrupts for what was used.
    pub(super) fn tell(&mut self, host: &mut Host) {
        for number in 0..self.queues.len() {
            let tells = self.queues[number].tells(host, &mut self.notes);
            self.note(number as u16);
            if self.check(host, number as u16, tells) == Some(true) {
                self.queue_interrupt(host, number);
            }
        }
    }
}
