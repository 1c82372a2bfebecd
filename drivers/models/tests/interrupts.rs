//! MSI-X (data sheet 7.3).

mod common;

use barline::bus::PciFunction;
use barline::bus::local::LocalFunction;
use barline_sim::{Wire, WireEnd};
use common::{MAC, Rig, frame};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

const EICR: usize = 0x1580;
const EICS: usize = 0x1520;
const EIMS: usize = 0x1524;
const EIMC: usize = 0x1528;
const EIAC: usize = 0x152C;
const EIAM: usize = 0x1530;
const GPIE: usize = 0x1514;

/// A vector's other end. A socket takes the place of an eventfd: each message is 8 bytes.
struct Vector(UnixStream);

impl Vector {
    fn count(&mut self) -> usize {
        let mut buffer = [0; 4096];
        match self.0.read(&mut buffer) {
            Ok(bytes) => bytes / 8,
            Err(_) => 0,
        }
    }
}

fn rig(vectors: u16) -> (Rig, WireEnd, Vec<Vector>) {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start(2);
    let function = LocalFunction::new(
        rig.device.clone(),
        "0000:01:00.0".parse().unwrap(),
        rig.domain.clone(),
    );
    let vectors = (0..vectors)
        .map(|vector| {
            let (host, device) = UnixStream::pair().unwrap();
            host.set_nonblocking(true).unwrap();
            function.set_msix(vector, Some(device.as_fd())).unwrap();
            Vector(host)
        })
        .collect();
    assert!(function.set_msix(10, None).is_err());
    // Multiple MSI-X, non-selective ICR clear.
    rig.write(GPIE, 1 << 4 | 1);
    // Queue 0: receive to vector 1, transmit to vector 2. Queue 1: receive to vector 3. Other: vector 0.
    rig.write(0x1700, 0x8281);
    rig.write(0x1704, 0x0083);
    rig.write(0x1740, 0x8000);
    (rig, far, vectors)
}

#[test]
fn causes_go_to_their_vectors() {
    let (mut rig, far, mut vectors) = rig(4);
    rig.write(EIAC, 0xf);
    rig.write(EIMS, 0xf);
    far.send(&frame(MAC, 60, 1));
    rig.send(0, &frame(MAC, 60, 1));
    assert_eq!(
        vectors.iter_mut().map(Vector::count).collect::<Vec<_>>(),
        [0, 1, 1, 0]
    );
    far.send(&frame(MAC, 60, 1));
    assert_eq!(vectors[1].count(), 1, "auto clear: the next cause sends again");
    assert_eq!(rig.read(EICR), 0);
    assert_ne!(rig.read(0x1500) & 1 << 2, 0, "the link came up");
    rig.write(0x1508, 1 << 2);
    rig.device.set_link(false);
    assert_eq!(vectors[0].count(), 1, "link");
    assert_eq!(rig.read(0x1500) & (1 << 31 | 1 << 2), 1 << 31 | 1 << 2);
    assert_eq!(rig.read(0x00C0), 0, "read cleared");
    rig.assert_clean();
}

#[test]
fn masks_hold_back_and_let_go() {
    let (rig, far, mut vectors) = rig(4);
    rig.write(EIAC, 0x2);
    far.send(&frame(MAC, 60, 1));
    assert_eq!(vectors[1].count(), 0);
    assert_eq!(rig.read(EICR), 2, "the cause is kept");
    assert_eq!(rig.read(EICR), 2, "and not cleared by reading in MSI-X mode");
    rig.write(EIMS, 2);
    assert_eq!(vectors[1].count(), 1, "sent when enabled");
    rig.write(EIMC, 2);
    assert_eq!(rig.read(EIMS), 0);
    far.send(&frame(MAC, 60, 1));
    assert_eq!(vectors[1].count(), 0);
    rig.assert_clean();
}

#[test]
fn without_auto_clear_the_cause_must_be_cleared() {
    let (rig, far, mut vectors) = rig(4);
    rig.write(EIMS, 2);
    far.send(&frame(MAC, 60, 1));
    far.send(&frame(MAC, 60, 1));
    assert_eq!(vectors[1].count(), 1);
    rig.write(EICR, 2);
    far.send(&frame(MAC, 60, 1));
    assert_eq!(vectors[1].count(), 1);
}

#[test]
fn auto_mask_makes_it_one_shot_and_software_can_fire() {
    let (rig, far, mut vectors) = rig(4);
    rig.write(GPIE, 1 << 4 | 1 | 1 << 30);
    rig.write(EIAC, 0xf);
    rig.write(EIAM, 0xf);
    rig.write(EIMS, 2);
    far.send(&frame(MAC, 60, 1));
    far.send(&frame(MAC, 60, 1));
    assert_eq!((vectors[1].count(), rig.read(EIMS)), (1, 0));
    rig.write(EIMS, 2);
    assert_eq!(vectors[1].count(), 1, "the second frame's cause was waiting");
    rig.write(EIMS, 8);
    rig.write(EICS, 8);
    assert_eq!(vectors[3].count(), 1);
    assert_eq!(rig.device.counts().interrupts, 3);
    rig.assert_clean();
}
