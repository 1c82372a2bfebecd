use barline::pci::PciAddress;
use barline::port::MacAddress;
use barline::worker::Cores;
use barline_drivers::PortSpec;
use barline_modes::Mode;
use barline_sim::frames_from_capture;
use l2fwd::{Options, Settings};
use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Instant;

/// A capture file, pcap or pcapng.
pub fn pcap(bytes: &[u8]) {
    match frames_from_capture(Cursor::new(bytes), Path::new("input")) {
        Ok(frames) => {
            let padded = |frame: &Vec<u8>| frame.len() == 60 || frame.len() <= bytes.len();
            assert!(frames.iter().all(|frame| frame.len() >= 60 && padded(frame)));
        }
        Err(error) => assert!(error.to_string().contains("input")),
    }
}

/// A configuration file of l2fwd, and the checks behind it.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut options = match Options::from_toml(text) {
        Ok(options) => options,
        Err(failure) => return assert!(!failure.to_string().is_empty()),
    };
    // Any file of this machine, or a pipe that never ends.
    options.replay = None;
    match Settings::new(&options) {
        Ok(settings) => {
            assert!(!settings.ports.is_empty() && settings.ports.len() <= 256);
            assert!(settings.queues > 0 && !settings.workers.is_empty());
            assert!(settings.workers.len() <= settings.queues.into());
            let end = settings
                .duration
                .map(|duration| Instant::now().checked_add(duration));
            assert!(end != Some(None), "an end that no clock reaches");
        }
        Err(failure) => assert!(!failure.to_string().is_empty()),
    }
}

static CORES: LazyLock<Cores> = LazyLock::new(|| Cores::read().expect("cores of this process"));

/// What stands on a command line: ports, addresses, lists of cores, modes.
pub fn port_spec(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match PortSpec::parse_list(text) {
        Ok(ports) => {
            for port in ports {
                let again: PortSpec = port.to_string().parse().expect("a port's name is one");
                assert_eq!(again, port);
            }
        }
        Err(error) => assert!(!error.why.is_empty() && error.to_string().contains(&error.why)),
    }
    if let Ok(address) = text.parse::<PciAddress>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(mac) = text.parse::<MacAddress>() {
        assert!(mac.to_string().eq_ignore_ascii_case(text));
    }
    if let Ok(cores) = CORES.parse(text) {
        assert!(!cores.is_empty() && cores.len() <= CORES.all().len());
    }
    if let Ok(mode) = text.parse::<Mode>() {
        assert_eq!(mode.name(), text);
    }
}
