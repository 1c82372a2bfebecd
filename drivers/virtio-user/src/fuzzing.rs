//! A conversation with a back end whose answers are given, for fuzz targets.

use crate::Settings;
use crate::back::BackEnd;
use crate::session::Session;
use barline::wait::EventFd;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// Takes these bytes for a back end's answers, from the greeting to the parting, or to the first that is none. The first byte
/// chooses how many queues are asked for.
///
/// # Panics
/// Out of file descriptors.
pub fn answers(bytes: &[u8]) {
    let (first, answers) = bytes.split_first().unwrap_or((&0, &[]));
    let settings = Settings {
        queues: 1 + u16::from(first % 3),
        ..Settings::default()
    };
    let (mut peer, ours) = UnixStream::pair().expect("a pair");
    // More would wait for a reader.
    peer.write_all(&answers[..answers.len().min(1 << 14)])
        .expect("room");
    peer.shutdown(Shutdown::Write).expect("a socket");
    let stop = EventFd::new().expect("a descriptor");
    // Errors are what is expected of it.
    if let Ok(mut session) = Session::greet(ours, &settings, &stop) {
        assert!(session.mtu().is_none_or(|mtu| mtu >= 68));
        assert!(session.mac().is_none_or(|mac| mac.is_station()));
        let _ = session.look();
        let _ = session.begin(&[], &[], &stop);
        drop(peer);
        let _ = session.part(&[], &stop);
    }
}
