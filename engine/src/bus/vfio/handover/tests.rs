use super::*;
use proptest::prelude::*;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Descriptors that can be told apart: files of their own.
fn files(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| tempfile::tempfile().unwrap().into()).collect()
}

fn inode(fd: &OwnedFd) -> u64 {
    File::from(fd.try_clone().unwrap()).metadata().unwrap().ino()
}

fn addresses(count: usize) -> Vec<PciAddress> {
    let address = |n: usize| PciAddress {
        segment: 0x1234,
        bus: n as u8,
        device: 31,
        function: 7,
    };
    (0..count).map(address).collect()
}

fn passed(count: usize) -> Vec<PassedFds> {
    let container = tempfile::tempfile().unwrap();
    let one = |mut pair: Vec<OwnedFd>| PassedFds {
        container: container.try_clone().unwrap().into(),
        group: pair.remove(0),
        device: pair.remove(0),
    };
    (0..count).map(|_| one(files(2))).collect()
}

fn received(socket: &UnixStream) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut bytes = [0; HEADER + MOST * ADDRESS];
    let (len, fds) = socket::receive(socket.as_fd(), &mut bytes).unwrap();
    (bytes[..len].to_vec(), fds)
}

/// What `Container::receive` says to `bytes` and `fds`.
fn refusal(bytes: &[u8], fds: &[OwnedFd]) -> String {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    assert_eq!(socket::send(ours.as_fd(), bytes, &fds).unwrap(), bytes.len());
    Container::receive(&theirs).unwrap_err().to_string()
}

fn message(count: u8, addresses: usize) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(count);
    bytes.resize(HEADER + addresses * ADDRESS, 0);
    bytes
}

#[test]
fn addresses_and_descriptors_arrive_in_order() {
    for count in [1, 2, MOST] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (addresses, passed) = (addresses(count), passed(count));
        send(ours.as_fd(), &addresses, &passed).unwrap();
        let (bytes, fds) = received(&theirs);
        let devices = parse(&bytes, fds).unwrap();
        assert_eq!(inode(&devices.container), inode(&passed[0].container));
        assert_eq!(devices.list.len(), count);
        for ((address, group, device), (sent, fds)) in devices.list.iter().zip(addresses.iter().zip(&passed))
        {
            assert_eq!(address, sent);
            assert_eq!(
                (inode(group), inode(device)),
                (inode(&fds.group), inode(&fds.device))
            );
        }
    }
}

#[test]
fn two_messages_stay_two() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    for count in [2, 1] {
        send(ours.as_fd(), &addresses(count), &passed(count)).unwrap();
    }
    for count in [2, 1] {
        let (bytes, fds) = received(&theirs);
        assert_eq!(parse(&bytes, fds).unwrap().list.len(), count);
    }
}

#[test]
fn other_messages_are_refused_and_their_descriptors_closed() {
    let other = "not what Container::pass sends";
    assert!(refusal(b"hello", &files(3)).contains(other));
    assert!(refusal(&message(1, 1), &files(2)).contains(other));
    assert!(refusal(&message(1, 1), &files(4)).contains(other));
    assert!(refusal(&message(1, 1), &[]).contains(other));
    assert!(refusal(&message(2, 1), &files(5)).contains(other));
    assert!(refusal(&message(0, 0), &files(1)).contains(other));
    let mut newer = message(1, 1);
    newer[MAGIC.len() - 1] += 1;
    assert!(refusal(&newer, &files(3)).contains(other));
    // A pipe tells when its last writer is gone.
    let (reader, writer) = std::io::pipe().unwrap();
    refusal(b"hello", &[writer.into()]);
    assert_eq!(std::io::read_to_string(reader).unwrap(), "");
}

#[test]
fn descriptors_of_other_files_are_named() {
    let text = refusal(&message(1, 1), &files(3));
    assert!(
        text.starts_with("what was passed as the container is no VFIO descriptor"),
        "{text}"
    );
    assert!(text.ends_with("Container::pass"), "{text}");
}

#[test]
fn a_launcher_that_is_gone_or_silent_is_told() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    let error = Container::receive(&theirs).unwrap_err();
    assert!(error.to_string().contains("closed the socket first"), "{error}");
    let (_ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let error = Container::receive(&theirs).unwrap_err();
    assert!(error.to_string().contains("in time"), "{error}");
}

#[test]
fn a_receiver_that_is_gone_is_an_error_not_a_signal() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let error = send(ours.as_fd(), &addresses(1), &passed(1)).unwrap_err();
    assert!(matches!(error, VfioError::Os { .. }), "{error}");
}

#[test]
fn plain_bytes_carry_no_descriptors() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(&message(1, 1)).unwrap();
    assert!(received(&theirs).1.is_empty());
}

#[test]
fn nothing_to_pass_is_an_error() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let error = Container::pass(Vec::new(), &ours).unwrap_err();
    assert!(matches!(error, VfioError::Handover(_)), "{error}");
}

proptest! {
    #[test]
    fn any_message_is_taken_or_refused(
        tail in proptest::collection::vec(any::<u8>(), 0..20), whole: bool, count in 0usize..6,
    ) {
        let mut bytes = if whole { MAGIC.to_vec() } else { Vec::new() };
        bytes.extend(tail);
        if let Ok(devices) = parse(&bytes, files(count)) {
            prop_assert_eq!(1 + 2 * devices.list.len(), count);
            prop_assert_eq!(bytes.len(), HEADER + devices.list.len() * ADDRESS);
        }
    }
}
