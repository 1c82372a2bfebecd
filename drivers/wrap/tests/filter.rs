//! Filters, against the kernel's own classic BPF: a program on a socket, a frame through it.

use barline_wrap::filter::Instruction;
use barline_wrap::{Filter, FilterError};
use proptest::prelude::*;
use socket2::{Domain, SockFilter, Socket, Type};
use std::os::unix::net::UnixDatagram;

/// Bytes that the kernel keeps of a frame; `None` when it refuses the program.
fn kernel(program: &[Instruction], frame: &[u8]) -> Option<usize> {
    let (to, from) = Socket::pair(Domain::UNIX, Type::DGRAM, None).expect("a socket pair");
    let code: Vec<SockFilter> = program
        .iter()
        .map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k))
        .collect();
    from.attach_filter(&code).ok()?;
    from.set_nonblocking(true).expect("a setting");
    to.set_nonblocking(true).expect("a setting");
    // A frame that the filter drops is an error of the sender's here.
    let _ = to.send(frame);
    let mut buffer = [0; 4096];
    let from: UnixDatagram = std::os::fd::OwnedFd::from(from).into();
    Some(from.recv(&mut buffer).unwrap_or(0))
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let codes = prop::sample::select(vec![
        0x00_u16, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0c, 0x0e, 0x14, 0x15, 0x16, 0x1c, 0x1d, 0x20,
        0x24, 0x25, 0x28, 0x2c, 0x2d, 0x30, 0x34, 0x35, 0x3c, 0x3d, 0x40, 0x44, 0x45, 0x48, 0x4c, 0x4d, 0x50,
        0x54, 0x5c, 0x60, 0x61, 0x64, 0x6c, 0x74, 0x7c, 0x80, 0x81, 0x84, 0x87, 0x94, 0x9c, 0xa4, 0xac, 0xb1,
    ]);
    let k = prop_oneof![4 => 0_u32..8, 3 => 0_u32..80, 1 => any::<u32>().prop_map(|k| k & 0x7fff_ffff)];
    (codes, 0_u8..4, 0_u8..4, k).prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// The kernel refuses programs too that read a scratch word nobody wrote; ours are zero then, so those are left out.
    #[test]
    fn a_program_keeps_what_the_kernel_keeps(
        mut program in prop::collection::vec(instruction(), 0..12),
        frame in prop::collection::vec(any::<u8>(), 1..96),
    ) {
        program.push(Instruction { code: 0x16, ..Instruction::default() });
        let ours = Filter::new(&program).ok().map(|filter| filter.keep(&frame));
        let theirs = kernel(&program, &frame);
        if let Some(theirs) = theirs {
            prop_assert_eq!(ours, Some(theirs), "{:?}", program);
        } else if ours.is_some() {
            prop_assert!(program.iter().any(|i| matches!(i.code, 0x60 | 0x61)), "{:?}", program);
        }
    }

    #[test]
    fn any_text_is_survived(text in "[0-9 ,\n-]{0,80}|\\PC{0,40}") {
        let _ = text.parse::<Filter>();
    }

    #[test]
    fn any_instructions_are_survived(
        raw in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u8>(), any::<u32>()), 0..20),
        frame in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let program: Vec<_> =
            raw.into_iter().map(|(code, jt, jf, k)| Instruction { code, jt, jf, k }).collect();
        if let Ok(filter) = Filter::new(&program) {
            prop_assert!(filter.keep(&frame) <= frame.len());
        }
    }
}

/// What `tcpdump -y EN10MB -ddd 'ip proto 17'` prints.
const UDP: &str = "6\n40 0 0 12\n21 0 3 2048\n48 0 0 23\n21 0 1 17\n6 0 0 262144\n6 0 0 0\n";

#[test]
fn tcpdump_s_text_is_read() {
    let filter: Filter = UDP.parse().expect("a filter");
    let mut frame = [0; 60];
    frame[12] = 8;
    frame[23] = 17;
    assert!(filter.matches(&frame));
    assert_eq!(filter.keep(&frame), 60);
    frame[23] = 6;
    assert!(!filter.matches(&frame));
    assert!(
        !filter.matches(&frame[..20]),
        "a frame that ends before what is compared"
    );
    assert_eq!(UDP.replace('\n', ",").parse(), Ok(filter));
}

#[test]
fn what_is_wrong_is_said() {
    for (text, why) in [
        ("", FilterError::Length),
        ("udp", FilterError::Text(1)),
        ("1\n6 0 0", FilterError::Text(2)),
        ("1\n6 0 0 0 0", FilterError::Text(2)),
        ("2\n6 0 0 0", FilterError::Length),
        ("0", FilterError::Length),
        ("5000", FilterError::Length),
        ("2\n65535 0 0 0\n6 0 0 0", FilterError::Code(0)),
        ("2\n21 1 0 0\n6 0 0 0", FilterError::Jump(0)),
        ("2\n5 0 0 1\n6 0 0 0", FilterError::Jump(0)),
        ("2\n52 0 0 0\n6 0 0 0", FilterError::Operand(0)),
        ("2\n96 0 0 16\n6 0 0 0", FilterError::Operand(0)),
        ("2\n40 0 0 4294963200\n6 0 0 0", FilterError::Operand(0)),
        ("1\n0 0 0 0", FilterError::End),
    ] {
        assert_eq!(text.parse::<Filter>(), Err(why), "{text:?}");
    }
}
