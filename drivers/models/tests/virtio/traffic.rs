//! What the driver does once it is up: buffers, frames, commands.

use crate::driver::Rig;
use crate::vq::Piece;
use std::collections::VecDeque;

impl Rig {
    /// Posts receive buffers while there is room.
    pub fn fill(&mut self, pair: u16) {
        let (len, pieces) = self.rx_shape;
        let slots = if self.indirect { 1 } else { pieces as u16 };
        while self.queues[&(pair * 2)].room() >= slots {
            let at = self.alloc(len.into());
            let each = len / pieces;
            let shape: Vec<Piece> = (0..pieces)
                .map(|n| {
                    (
                        at.offset(u64::from(n * each)),
                        if n + 1 == pieces { len - n * each } else { each },
                        true,
                    )
                })
                .collect();
            self.add(pair * 2, &shape);
        }
    }

    pub fn add(&mut self, queue: u16, pieces: &[Piece]) -> u16 {
        let indirect = self.indirect;
        self.queues.get_mut(&queue).unwrap().add(pieces, indirect)
    }

    /// Rings the doorbell where the device wants it; whether it did.
    pub fn kick(&mut self, queue: u16) -> bool {
        let wanted = self.queues.get_mut(&queue).unwrap().is_to_notify();
        if wanted {
            self.notify(queue);
        }
        wanted
    }

    pub fn notify(&self, queue: u16) {
        self.select(queue);
        let at = self.read(1, 0x1e, 2) * self.multiplier;
        self.write(2, at as usize, 2, queue.into());
    }

    /// Puts a frame with its header into the transmit queue, cut at `cuts` (offsets with the header).
    pub fn put(&mut self, pair: u16, header: [u8; 12], frame: &[u8], cuts: &[usize]) -> u16 {
        let bytes = [&header[..], frame].concat();
        let at = self.alloc(bytes.len() as u64);
        self.domain.write(at, &bytes).unwrap();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([bytes.len()]) {
            pieces.push((at.offset(from as u64), (cut - from) as u32, false));
            from = cut;
        }
        self.add(pair * 2 + 1, &pieces)
    }

    pub fn send(&mut self, pair: u16, frame: &[u8]) {
        self.put(pair, [0; 12], frame, &[]);
        self.kick(pair * 2 + 1);
    }

    /// Takes back what was sent; how many buffers.
    pub fn reclaim(&mut self, pair: u16) -> usize {
        let vq = self.queues.get_mut(&(pair * 2 + 1)).unwrap();
        let mut all = 0;
        loop {
            let done = vq.poll();
            if done.is_empty() {
                return all;
            }
            all += done.len();
        }
    }

    fn bytes(&self, pieces: &[Piece], len: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (at, piece, _) in pieces {
            let mut part = vec![0; *piece as usize];
            self.domain.read(*at, &mut part).unwrap();
            bytes.extend(part);
        }
        bytes.truncate(len as usize);
        bytes
    }

    /// Takes all received frames; the buffers go back. Their headers say nothing.
    pub fn receive_all(&mut self, pair: u16) -> Vec<Vec<u8>> {
        let silent = |(header, frame): ([u8; 12], Vec<u8>)| {
            assert_eq!(header[..10], [0; 10], "header");
            frame
        };
        self.packets(pair).into_iter().map(silent).collect()
    }

    /// Takes all received frames with their headers; the buffers go back.
    pub fn packets(&mut self, pair: u16) -> Vec<([u8; 12], Vec<u8>)> {
        let mut buffers = VecDeque::new();
        loop {
            let done = self.queues.get_mut(&(pair * 2)).unwrap().poll();
            if done.is_empty() {
                break;
            }
            buffers.extend(done);
        }
        let mut packets = Vec::new();
        while let Some((first, len)) = buffers.pop_front() {
            let mut packet = self.bytes(&first.pieces, len);
            let header = *packet.first_chunk::<12>().expect("a header");
            let count = u16::from_le_bytes([header[10], header[11]]);
            assert!(count == 1 || self.has(15), "{count} buffers");
            for _ in 1..count {
                let (next, len) = buffers.pop_front().expect("all buffers of a packet at once");
                packet.extend(self.bytes(&next.pieces, len));
            }
            packets.push((header, packet.split_off(12)));
        }
        self.fill(pair);
        self.kick(pair * 2);
        packets
    }

    /// Sends a command; its answer and what follows it.
    pub fn command(&mut self, class: u8, command: u8, data: &[u8], room: u32) -> (u8, Vec<u8>) {
        let bytes = [&[class, command][..], data].concat();
        let (at, answer) = (self.alloc(bytes.len() as u64), self.alloc(1 + u64::from(room)));
        self.domain.write(at, &bytes).unwrap();
        self.domain.write(answer, &[0xaa]).unwrap();
        let mut pieces = vec![(at, 2, false)];
        if !data.is_empty() {
            pieces.push((at.offset(2), data.len() as u32, false));
        }
        pieces.push((answer, 1, true));
        if room > 0 {
            pieces.push((answer.offset(1), room, true));
        }
        let control = self.control;
        self.add(control, &pieces);
        self.kick(control);
        let done = self.queues.get_mut(&control).unwrap().poll();
        let (buffer, len) = done.into_iter().next().expect("an answer");
        let writable: Vec<_> = buffer.pieces.iter().filter(|piece| piece.2).copied().collect();
        let mut answer = self.bytes(&writable, len);
        let rest = answer.split_off(1);
        (answer[0], rest)
    }
}
