//! Drives a PCI device that barline.ko has given to somebody else, who passes it on: this program may open neither node.
//!
//! Usage, as root: `su USER -c kmod_passed <>/dev/barline/iommu 1<>/dev/barline/BDF`. The address space is standard input, the
//! device standard output. Exit code 0: everything worked; 1: the message says what did not.

use barline::bus::PciFunction;
use barline::bus::kmod::Ioas;
use barline::mem::{Access, DmaDomain, Mapping, Memory, Numa, Source};
use barline::pci::ConfigImage;
use barline::wait::EventFd;
use std::error::Error;
use std::io::{stdin, stdout};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    match run() {
        Ok(text) => {
            eprintln!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, Box<dyn Error>> {
    let ioas = Ioas::from_fd(stdin().as_fd().try_clone_to_owned()?)?;
    let function = ioas.add_device_fd(stdout().as_fd().try_clone_to_owned()?)?;
    let mut header = [0; 64];
    function.config_read(0, &mut header)?;
    if ConfigImage::new(&header)?.id() != function.id() {
        return Err("configuration space is another device's".into());
    }
    let domain: Arc<dyn DmaDomain> = ioas;
    let memory = Memory::new(2 << 20, Source::Auto, Numa::Any)?;
    let mapping = Mapping::new(&memory, &domain, Access::ReadWrite)?;
    let event = EventFd::new()?;
    function.set_msix(0, Some(event.as_fd()))?;
    function.set_bus_master(true)?;
    function.bar(0)?;
    function.reset()?;
    function.set_msix(0, None)?;
    drop(mapping);
    Ok(format!("{} {} is ours", function.address(), function.id()))
}
