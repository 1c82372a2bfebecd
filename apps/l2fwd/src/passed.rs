//! Devices from a launcher: this process then needs no right to open any.

use barline::bus::PciFunction;
use barline::bus::vfio::{Container, VfioFunction};
use barline_drivers::OpenError;
use l2fwd::{Failure, Options};
use std::io::stdin;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A launcher opens devices in no time; the kernel resets each.
const PATIENCE: Duration = Duration::from_secs(30);

/// With `--passed`, the devices that come through the socket on standard input, which become the ports unless others
/// are named; none without it.
pub fn devices(options: &mut Options) -> Result<Vec<VfioFunction>, Failure> {
    if options.passed != Some(true) {
        return Ok(Vec::new());
    }
    let wrong = |error| {
        Failure::usage(format!(
            "--passed: standard input is no socket ({error}); start this through a launcher: launch BDF,BDF -- l2fwd --passed"
        ))
    };
    let socket = UnixStream::from(stdin().as_fd().try_clone_to_owned().map_err(wrong)?);
    socket.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
    let devices = Container::receive(&socket).map_err(OpenError::from)?;
    if options.ports.is_empty() {
        options.ports = devices
            .iter()
            .map(|device| device.address().to_string())
            .collect();
    }
    Ok(devices)
}
