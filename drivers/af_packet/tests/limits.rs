//! A start for which the kernel gives too little is the machine's fault, and leaves nothing behind.
//!
//! A file of its own: the test lowers a limit of the whole process.

mod common;

use barline::port::{PortConfig, PortError};
use barline_af_packet::Fanout;
use barline_conformance::pool;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[test]
fn a_start_that_finds_too_little_is_the_machines_fault() {
    if let Some(why) = common::lacking() {
        return eprintln!("SKIPPED: {why}");
    }
    let (station, _far) = common::station(Fanout::Hash);
    let mut port = (station.open)().unwrap();
    let pool = pool(1024);
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let (before, limits) = (open(), getrlimit(Resource::RLIMIT_NOFILE).unwrap());
    setrlimit(Resource::RLIMIT_NOFILE, before + 8, limits.1).unwrap();
    let mut config = PortConfig::new(&pool);
    (config.rx_queues, config.tx_queues) = (8, 8);
    let error = port.start(&config).map(drop).unwrap_err();
    assert!(matches!(error, PortError::Lacks(_)), "{error}");
    assert_eq!(open(), before);
    setrlimit(Resource::RLIMIT_NOFILE, limits.0, limits.1).unwrap();
    let queues = port.start(&config).unwrap();
    port.stop(queues).unwrap();
    assert_eq!(open(), before);
}
