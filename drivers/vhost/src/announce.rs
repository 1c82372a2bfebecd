//! A guest that has moved here tells nobody where it is, if its driver cannot: the switches that send its frames still
//! take the old way. Then its front end sends SEND_RARP with the guest's address, and one frame from that address goes out of
//! the queue that the guest's frames come from.

use barline::pool::{Batch, PoolCache};
use barline::port::MacAddress;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of the frame, without FCS: the shortest there is.
const LEN: usize = 60;

/// An address to be announced, if any: the control thread leaves it, a queue's worker takes it. Its six bytes, and a seventh that is 1:
/// all there is, so that nothing needs to be in order with it.
#[derive(Debug, Default)]
pub(crate) struct Announcement(AtomicU64);

impl Announcement {
    /// Has this address announced; one that was not yet is forgotten.
    pub fn leave(&self, MacAddress([a, b, c, d, e, f]): MacAddress) {
        self.0
            .store(u64::from_le_bytes([a, b, c, d, e, f, 1, 0]), Relaxed);
    }

    /// Whether there is one: looked at when a burst finds nothing.
    #[inline(always)]
    pub fn is_there(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    /// Puts the frame into a batch; its bytes. 0: there is nothing to announce, no buffer or no room, and it stays.
    #[cold]
    #[inline(never)]
    pub fn receive(&self, cache: &mut PoolCache, out: &mut Batch) -> u64 {
        let packet = (out.room() > 0).then(|| cache.alloc()).flatten();
        let Some(mut packet) = packet else {
            return 0;
        };
        let [a, b, c, d, e, f, there, _] = self.0.swap(0, Relaxed).to_le_bytes();
        if there == 0 || !packet.set(&frame([a, b, c, d, e, f])) || out.push(packet).is_err() {
            return 0;
        }
        LEN as u64
    }
}

/// Reverse ARP (RFC 903): a station asks for its own protocol address, which nobody need answer.
fn frame(mac: [u8; 6]) -> [u8; LEN] {
    let mut frame = [0; LEN];
    // Ethernet: broadcast, type 0x8035.
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&[0x80, 0x35]);
    // Hardware Ethernet, protocol IPv4, lengths of addresses, "request reverse".
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 3]);
    // Sender and target: the station, without a protocol address.
    frame[22..28].copy_from_slice(&mac);
    frame[32..38].copy_from_slice(&mac);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use barline::mem::{PageSize, Source};
    use barline::pool::Pool;

    #[test]
    fn the_latest_address_is_announced_once() {
        let pool = Pool::builder()
            .packets(1)
            .source(Source::MemFd(PageSize::Base4K))
            .build()
            .expect("a pool");
        let (mut cache, mut out) = (pool.cache(), Batch::new());
        let announcement = Announcement::default();
        assert_eq!(announcement.receive(&mut cache, &mut out), 0, "nothing to say");
        announcement.leave(MacAddress([2, 0, 0, 0, 0, 1]));
        announcement.leave(MacAddress([2, 0, 0, 0, 0, 2]));
        let held = cache.alloc();
        assert_eq!(announcement.receive(&mut cache, &mut out), 0, "no buffer");
        assert!(announcement.is_there(), "it stays");
        drop(held);
        cache.flush();
        assert_eq!(announcement.receive(&mut cache, &mut out), LEN as u64);
        let packet = out.pop().expect("a frame");
        assert_eq!(
            packet[..14],
            [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 0x80, 0x35]
        );
        assert_eq!(
            packet[14..42],
            [
                0, 1, 8, 0, 6, 4, 0, 3, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0
            ]
        );
        assert_eq!(packet.len(), 60);
        assert!(!announcement.is_there());
    }
}
