//! Frames and packets on a lane.

use super::Lane;
use crate::{Patience, frame};
use barline::pool::{Batch, Packet};

impl Lane {
    /// A frame to this port.
    pub fn frame(&self, len: usize, number: u64) -> Vec<u8> {
        frame(self.mac, len, number)
    }

    /// Sends a frame to the port.
    ///
    /// # Panics
    /// When the cable stays full.
    pub fn inject(&self, frame: &[u8]) {
        let patience = Patience::new();
        while !self.far.inject(frame) {
            patience.wait("room on the cable");
        }
    }

    /// One burst from every queue; the packets are the caller's.
    pub fn poll(&mut self) -> Vec<(usize, Packet)> {
        let mut packets = Vec::new();
        for (index, queue) in self.rx.iter_mut().enumerate() {
            let mut batch = Batch::new();
            let got = queue.receive(&mut self.cache, &mut batch);
            assert_eq!(got, batch.len());
            packets.extend(std::iter::from_fn(|| batch.pop()).map(|packet| (index, packet)));
        }
        packets
    }

    /// Receives `n` packets, of all queues.
    ///
    /// # Panics
    /// When they do not come.
    pub fn receive(&mut self, n: usize) -> Vec<Packet> {
        let mut packets = Vec::new();
        let mut patience = Patience::new();
        while packets.len() < n {
            let more = self.poll();
            if more.is_empty() {
                patience.wait(&format!("packet {} of {n}", packets.len() + 1));
            } else {
                patience.renew();
            }
            packets.extend(more.into_iter().map(|(_, packet)| packet));
        }
        packets
    }

    /// Injects frames, a few at a time, and receives all of them.
    ///
    /// # Panics
    /// When one is missing, out of order or changed.
    pub fn expect(&mut self, frames: &[Vec<u8>]) {
        let window = self.window() as usize;
        for lot in frames.chunks(window) {
            lot.iter().for_each(|frame| self.inject(frame));
            let packets = self.receive(lot.len());
            assert_eq!(packets.len(), lot.len());
            for (packet, frame) in packets.iter().zip(lot) {
                same(packet, frame);
            }
            packets.into_iter().for_each(|packet| self.cache.free_one(packet));
        }
    }

    /// Frames that may be on their way at once without any being lost for want of descriptors.
    pub fn window(&self) -> u64 {
        u64::from(self.config.rx_ring.min(self.config.tx_ring)) / 2
    }

    /// A packet with this content.
    ///
    /// # Panics
    /// When the pool is empty or the frame too long.
    pub fn packet(&mut self, frame: &[u8]) -> Packet {
        let mut packet = self.cache.alloc().expect("a packet");
        assert!(packet.set(frame), "{} bytes do not fit", frame.len());
        packet
    }

    /// A batch with these frames.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn batch(&mut self, frames: &[Vec<u8>]) -> Batch {
        let mut batch = Batch::new();
        for frame in frames {
            let packet = self.packet(frame);
            batch.push(packet).expect("room");
        }
        batch
    }

    /// Transmits all of a batch.
    ///
    /// # Panics
    /// When the ring stays full.
    pub fn transmit(&mut self, queue: usize, batch: &mut Batch) -> usize {
        let mut patience = Patience::new();
        let mut sent = 0;
        while !batch.is_empty() {
            let took = self.tx[queue].transmit(&mut self.cache, batch);
            self.tx[queue].reclaim(&mut self.cache);
            sent += took;
            if took > 0 {
                patience.renew();
            } else {
                patience.wait("room in the transmit ring");
            }
        }
        sent
    }

    /// The next `n` frames that the port sent.
    ///
    /// # Panics
    /// When they do not come.
    pub fn take(&self, n: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut patience = Patience::new();
        while frames.len() < n {
            match self.far.take() {
                Some(frame) => {
                    frames.push(frame);
                    patience.renew();
                }
                None => patience.wait(&format!("frame {} of {n} on the wire", frames.len() + 1)),
            }
        }
        frames
    }

    /// Injects `count` frames, receives each and sends it back, in bursts of `burst`; never more than `window` on
    /// their way.
    ///
    /// # Panics
    /// When one is missing, out of order or changed.
    pub fn echo(&mut self, count: u64, burst: usize, window: u64, make: impl Fn(u64) -> Vec<u8>) {
        let (mut injected, mut taken) = (0, 0);
        let mut batch = Batch::with_burst(burst);
        let mut patience = Patience::new();
        while taken < count {
            while injected < count && injected - taken < window {
                self.inject(&make(injected));
                injected += 1;
            }
            self.rx[0].receive(&mut self.cache, &mut batch);
            self.tx[0].transmit(&mut self.cache, &mut batch);
            let mut idle = true;
            while let Some(frame) = self.far.take() {
                same(&frame, &make(taken));
                (taken, idle) = (taken + 1, false);
                patience.renew();
            }
            if idle {
                patience.wait(&format!("frame {taken} of {count} to come back"));
            }
        }
        assert!(batch.is_empty());
    }
}

/// Compares frames; on a difference says where it is instead of printing both.
pub(crate) fn same(got: &[u8], wanted: &[u8]) {
    let at = got.iter().zip(wanted).position(|(a, b)| a != b);
    assert!(
        at.is_none() && got.len() == wanted.len(),
        "{} bytes (number {}) where {} bytes (number {}) were due; first difference at {at:?}",
        got.len(),
        crate::number(got),
        wanted.len(),
        crate::number(wanted)
    );
}
