use barline::port::MacAddress;

/// IEEE 802, local experimental: no driver or device makes anything of it.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];
const SOURCE: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];
/// Where [`frame`] and [`udp`] have the number.
const NUMBER: usize = 14;
const UDP_NUMBER: usize = 42;

fn start(to: MacAddress, kind: &[u8]) -> Vec<u8> {
    [&to.0[..], &SOURCE, kind].concat()
}

fn filled(mut frame: Vec<u8>, len: usize, number: u64) -> Vec<u8> {
    let filler = (frame.len()..len).map(|at| (number as usize * 31 + at * 7) as u8);
    frame.extend(filler);
    frame.truncate(len);
    frame
}

/// A frame of `len` bytes (22 and more) whose every byte follows from its number.
pub fn frame(to: MacAddress, len: usize, number: u64) -> Vec<u8> {
    let mut frame = start(to, &EXPERIMENTAL);
    frame.extend_from_slice(&number.to_be_bytes());
    filled(frame, len, number)
}

/// The number of a [`frame`], 0 for one that is too short to have one.
pub fn number(frame: &[u8]) -> u64 {
    frame
        .get(NUMBER..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// A frame with a VLAN tag.
pub fn tagged(to: MacAddress, len: usize, number: u64) -> Vec<u8> {
    of_vlan(to, 7, len, number)
}

/// One of a VLAN, with a priority.
pub fn of_vlan(to: MacAddress, id: u16, len: usize, number: u64) -> Vec<u8> {
    let [high, low] = (id | 5 << 13).to_be_bytes();
    let mut frame = start(to, &[0x81, 0, high, low]);
    frame.extend_from_slice(&EXPERIMENTAL);
    filled(frame, len, number)
}

/// An IPv4/UDP frame of one of 2^31 flows: source address and source port tell them apart.
pub fn udp(to: MacAddress, flow: u32, number: u64) -> Vec<u8> {
    let ([a, b], [c, d]) = (
        ((flow >> 15) as u16).to_be_bytes(),
        (flow as u16 | 0x8000).to_be_bytes(),
    );
    let mut header = [
        0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 198, 18, a, b, 198, 19, 0, 1,
    ];
    let sum: u32 = header
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = start(to, &[8, 0]);
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&[c, d, 0, 9, 0, 26, 0, 0]);
    frame.extend_from_slice(&number.to_be_bytes());
    filled(frame, 60, number)
}

/// Ones' complement sum of 16-bit words, by the book.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Addresses, protocol and length, as TCP's checksum takes them in.
fn pseudo(frame: &[u8]) -> Vec<u8> {
    let len = (frame.len() - 34) as u16;
    [&frame[26..34], &[0, 6], &len.to_be_bytes()].concat()
}

/// An IPv4/TCP frame of `len` bytes (55 and more) whose TCP checksum is left open: the pseudo header's sum stands in its place.
pub(crate) fn tcp(to: MacAddress, len: usize, number: u64) -> Vec<u8> {
    let total = (len - 14) as u16;
    let mut header = [
        0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 198, 18, 0, 1, 198, 19, 0, 1,
    ];
    header[2..4].copy_from_slice(&total.to_be_bytes());
    let check = !sum(&header);
    header[10..12].copy_from_slice(&check.to_be_bytes());
    let mut frame = start(to, &[8, 0]);
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&[0x80, 1, 0, 9]);
    frame.extend_from_slice(&(number as u32 * 70_000).to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    let mut frame = filled(frame, len, number);
    let open = sum(&pseudo(&frame));
    frame[50..52].copy_from_slice(&open.to_be_bytes());
    frame
}

/// A [`tcp`] frame with its checksum, as it stands on a wire.
pub(crate) fn summed(to: MacAddress, len: usize, number: u64) -> Vec<u8> {
    let mut frame = tcp(to, len, number);
    let whole = !sum(&frame[34..]);
    frame[50..52].copy_from_slice(&whole.to_be_bytes());
    frame
}

/// A [`tcp`] frame without what pads it to the 60 bytes of a wire.
fn unpadded(frame: &[u8]) -> &[u8] {
    let total = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    match frame.len() {
        60 => &frame[..total.min(60)],
        _ => frame,
    }
}

/// What TCP carries in a [`tcp`] frame.
pub(crate) fn payload(frame: &[u8]) -> &[u8] {
    &unpadded(frame)[54..]
}

/// Whether lengths and checksums of a [`tcp`] frame, or of a segment of one, are right.
pub(crate) fn is_right(frame: &[u8]) -> bool {
    let frame = unpadded(frame);
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let whole = [&pseudo(frame)[..], &frame[34..]].concat();
    total + 14 == frame.len() && sum(&frame[14..34]) == 0xffff && sum(&whole) == 0xffff
}

/// Flow and number of a [`udp`] frame.
pub(crate) fn udp_parts(frame: &[u8]) -> (u32, u64) {
    let host = u32::from(u16::from_be_bytes([frame[28], frame[29]]));
    let port = u32::from(u16::from_be_bytes([frame[34], frame[35]]));
    let flow = host << 15 | port & 0x7fff;
    let number = frame[UDP_NUMBER..]
        .first_chunk()
        .map(|bytes| u64::from_be_bytes(*bytes));
    (flow, number.unwrap_or_default())
}
