//! Reset, one frame each way, rings that wrap.

mod common;

use barline::bus::PciFunction;
use barline::bus::local::{LocalDevice, LocalFunction};
use barline_sim::{Sink, Traffic, Wire};
use common::{MAC, RING, Rig, data, frame};

#[test]
fn one_frame_each_way() {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start(1);
    far.send(&frame(MAC, 60, 7));
    let received = rig.receive(0).unwrap();
    assert_eq!(received.frame, frame(MAC, 60, 7));
    assert_eq!(received.word1 & 0xfff0_0003, 3, "DD, EOP, no error");
    assert!(rig.receive(0).is_none());
    let index = rig.send(0, &frame([0xff; 6], 100, 9));
    assert!(rig.tx_done(0, index));
    assert_eq!(far.next_frame().unwrap(), frame([0xff; 6], 100, 9));
    rig.assert_clean();
}

#[test]
fn identity_and_configuration_space() {
    let rig = Rig::new(Traffic::silent(&Sink::new()));
    let function = LocalFunction::new(
        rig.device.clone(),
        "0000:01:00.0".parse().unwrap(),
        rig.domain.clone(),
    );
    let id = function.id();
    assert_eq!(
        (id.vendor, id.device, id.class, id.revision),
        (0x8086, 0x10c9, 0x02_0000, 1)
    );
    assert_eq!(function.bar(0).unwrap().len(), 128 << 10);
    assert_eq!(function.bar(3).unwrap().len(), 16 << 10);
    assert!(function.bar(1).is_err() && function.bar(2).is_err());
    assert_eq!(function.msix_vectors(), 10);
    let mut chain = Vec::new();
    let mut at = [0];
    function.config_read(0x34, &mut at).unwrap();
    while at[0] != 0 {
        let mut header = [0; 2];
        function.config_read(at[0].into(), &mut header).unwrap();
        chain.push(header[0]);
        at = [header[1]];
    }
    assert_eq!(chain, [0x01, 0x05, 0x11, 0x10]);
    let mut msix = [0; 10];
    function.config_read(0x72, &mut msix).unwrap();
    assert_eq!(msix, [9, 0, 3, 0, 0, 0, 3, 0x20, 0, 0]);
    function.config_write(0x10, &[0xff; 4]).unwrap();
    let mut bar = [0; 4];
    function.config_read(0x10, &mut bar).unwrap();
    assert_eq!(u32::from_le_bytes(bar), 0xfffe_0000);
}

#[test]
fn address_comes_from_the_eeprom() {
    let rig = Rig::new(Traffic::silent(&Sink::new()));
    assert_eq!((rig.read(0x5400), rig.read(0x5404)), (0x0000_0002, 0x8000_0100));
    rig.write(0x0014, 2 << 2 | 1);
    assert_eq!(rig.read(0x0014) & 0xffff_0002, 0x0100_0002);
    assert_eq!(rig.read(0x0010) & 0x300, 0x300, "EEPROM present and read");
    assert_eq!(
        (rig.read(0x5B50) & 1, rig.read(0x5B50) & 1),
        (0, 1),
        "SMBI is taken by reading it"
    );
    rig.write(0x5B50, 2);
    assert_eq!(rig.read(0x5B50) & 2, 2);
    rig.write(0x0020, 2 << 26 | 1 << 21 | 2 << 16);
    assert_eq!(rig.read(0x0020) & 0x5000_ffff, 0x1000_02a8);
    rig.assert_clean();
}

#[test]
fn rings_wrap_many_times() {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start(1);
    for number in 0..1000u32 {
        let sent = frame(MAC, 60 + number as usize % 1400, number as u8);
        far.send(&sent);
        assert_eq!(rig.receive(0).unwrap().frame, sent, "{number}");
        let index = rig.send(0, &sent);
        assert_eq!(index, number % RING);
        assert!(rig.tx_done(0, index));
        assert_eq!(far.next_frame().unwrap(), sent);
    }
    assert_eq!(rig.read(0xC010), 1000 % RING);
    assert_eq!(rig.read(0xE010), 1000 % RING);
    rig.assert_clean();
}

#[test]
fn a_long_frame_takes_several_descriptors() {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start(1);
    rig.write(0x5004, 9022);
    rig.write(0x0100, 1 << 1 | 1 << 5 | 1 << 15 | 1 << 26);
    let sent = frame(MAC, 5000, 3);
    far.send(&sent);
    let parts: Vec<_> = (0..3).map(|_| rig.receive(0).unwrap()).collect();
    assert_eq!(
        parts.iter().map(|p| p.frame.len()).collect::<Vec<_>>(),
        [2048, 2048, 904]
    );
    assert_eq!(
        parts.iter().map(|p| p.word1 & 3).collect::<Vec<_>>(),
        [1, 1, 3],
        "EOP on the last"
    );
    assert_eq!(parts.concat_frames(), sent);
    // And out again, gathered from three buffers; a doorbell in the middle of a frame makes the device wait.
    let flags = data(sent.len()) & !(1 << 24);
    rig.put(0, &sent[..2000], flags);
    rig.ring(0);
    rig.put(0, &sent[2000..4000], flags);
    assert!(far.next_frame().is_none());
    let last = rig.put(0, &sent[4000..], flags | 1 << 24 | common::RS);
    rig.ring(0);
    assert!(rig.tx_done(0, last) && !rig.tx_done(0, last - 1));
    assert_eq!(far.next_frame().unwrap(), sent);
    rig.assert_clean();
}

trait Concat {
    fn concat_frames(&self) -> Vec<u8>;
}

impl Concat for Vec<common::Received> {
    fn concat_frames(&self) -> Vec<u8> {
        self.iter().flat_map(|part| part.frame.clone()).collect()
    }
}

#[test]
fn short_frames_are_padded_and_head_write_back_reports() {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start(1);
    rig.send(0, &frame(MAC, 20, 5));
    let mut padded = frame(MAC, 20, 5);
    padded.resize(60, 0);
    assert_eq!(far.next_frame().unwrap(), padded);
    let report = rig.rx_desc(3, 0);
    rig.domain.store(report, u64::MAX).unwrap();
    rig.write(0xE03C, (report.raw() >> 32) as u32);
    rig.write(0xE038, report.raw() as u32 | 1);
    let index = rig.send(0, &frame(MAC, 60, 6));
    assert!(!rig.tx_done(0, index), "no descriptor write-back then");
    assert_eq!(rig.domain.load(report).unwrap() as u32, index + 1);
    rig.assert_clean();
}

#[test]
fn aliases_of_the_first_four_queues() {
    let mut rig = Rig::new(Traffic::silent(&Sink::new()));
    rig.start(4);
    for queue in 0..4 {
        for register in [0x00, 0x04, 0x08, 0x0C, 0x10, 0x18, 0x28] {
            let (new, old) = (
                0xC000 + queue * 0x40 + register,
                0x2800 + queue * 0x100 + register,
            );
            assert_eq!(rig.read(new), rig.read(old), "{old:#x}");
        }
        for register in [0x00, 0x04, 0x08, 0x10, 0x18, 0x28] {
            let (new, old) = (
                0xE000 + queue * 0x40 + register,
                0x3800 + queue * 0x100 + register,
            );
            assert_eq!(rig.read(new), rig.read(old), "{old:#x}");
        }
    }
    rig.write(0x3918, 0);
    assert_eq!(rig.device.counts().tx_doorbells[1], 1);
    rig.assert_clean();
}

#[test]
fn reset_and_function_level_reset_stop_everything() {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start(1);
    rig.write(0x0000, 1 << 26);
    far.send(&frame(MAC, 60, 1));
    assert_eq!(
        rig.domain.load(rig.rx_desc(0, 0).offset(8)).unwrap(),
        0,
        "nothing arrives after a reset"
    );
    assert_eq!(
        (rig.read(0xC008), rig.read(0x0100), rig.read(0x0008) & 2),
        (0, 0, 0)
    );
    rig.start(1);
    far.send(&frame(MAC, 60, 2));
    assert_eq!(rig.receive(0).unwrap().frame[59], 2);
    rig.device.reset();
    let mut command = [0];
    rig.device.config_read(4, &mut command);
    assert_eq!(command[0] & 4, 0, "no bus master after a function-level reset");
    rig.assert_clean();
}
