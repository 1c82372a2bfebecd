//! Opens a PCI device through VFIO, tries every path to it once, and gives it back.
//!
//! Usage: `vfio_probe [hold] [token=UUID] [set-token=UUID] BDF [BDF]...`; all devices go into one container. `hold`
//! keeps them until the host wants one back. `token` is the VF token to open them with, `set-token` is set for the VFs
//! of each. Exit code 0: everything worked; 1: the message says what did not; 2: wrong usage.
#![allow(clippy::print_stdout, reason = "a command-line tool talks to a person")]

use barline::bus::scan::{self, Roots};
use barline::bus::vfio::{Container, OpenOptions, VfToken, VfioError, VfioFunction};
use barline::bus::{BusError, PciFunction};
use barline::mem::{Access, DmaDomain, DmaError, Iova, Mapping, Memory, Numa, Source};
use barline::mmio::{RO, Reg};
use barline::pci::{ConfigImage, PciAddress};
use barline::wait::EventFd;
use std::error::Error;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tracing::Metadata;
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};

type Done = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let _ = tracing::subscriber::set_global_default(Warnings);
    let task = match Task::parse() {
        Ok(task) if !task.devices.is_empty() => task,
        Ok(_) => return usage("no device was named"),
        Err(error) => return usage(&error.to_string()),
    };
    match if task.hold {
        hold_until_unplugged(&task)
    } else {
        probe(&task.devices, &task.options)
    } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
#[derive(Default)]
struct Task {
    hold: bool,
    options: OpenOptions,
    set_token: Option<VfToken>,
    devices: Vec<PciAddress>,
}

impl Task {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut task = Self::default();
        for word in std::env::args().skip(1) {
            match word.split_once('=') {
                Some(("token", token)) => task.options.vf_token = Some(token.parse()?),
                Some(("set-token", token)) => task.set_token = Some(token.parse()?),
                _ if word == "hold" => task.hold = true,
                _ => task.devices.push(word.parse()?),
            }
        }
        Ok(task)
    }
}

/// Prints the engine's warnings, which a drop can only tell this way.
struct Warnings;

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::new();
        event
            .record(&mut |field: &Field, value: &dyn std::fmt::Debug| text += &format!(" {field}={value:?}"));
        eprintln!("{}:{text}", event.metadata().level());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn usage(why: &str) -> ExitCode {
    eprintln!("{why}; usage: vfio_probe [hold] [token=UUID] [set-token=UUID] BDF [BDF]...");
    ExitCode::from(2)
}

fn probe(devices: &[PciAddress], options: &OpenOptions) -> Done {
    for found in scan::scan(&Roots::default())? {
        println!(
            "{} {} driver {:?} group {:?}",
            found.address, found.id, found.driver, found.iommu_group
        );
    }
    let container = Container::new()?;
    let none: Arc<dyn DmaDomain> = container.clone();
    let memory = Memory::new(2 << 20, Source::Auto, Numa::Any)?;
    expect(
        "mapping before a device is open is refused",
        Mapping::new(&memory, &none, Access::Read).is_err(),
    )?;
    let mut functions = Vec::new();
    for address in devices {
        println!("-- {address}");
        let function = container.open(*address, options)?;
        config(&function)?;
        bars(&function)?;
        msix(&function)?;
        dma(&function)?;
        match function.reset() {
            Err(BusError::Vfio(error @ VfioError::NotResettable { .. })) => println!("{error}"),
            done => done?,
        }
        functions.push(function);
    }
    // Mappings outlive devices: the kernel must not drop them when the last one goes.
    let kept = Mapping::new(&memory, &none, Access::ReadWrite)?;
    let passed = Container::pass(functions, &UnixStream::pair()?.0); // which drops them
    expect(
        "devices with mappings are not passed on",
        matches!(passed, Err(VfioError::Handover(_))),
    )?;
    let (iova, len) = (kept.iova(), kept.len());
    println!("{iova} stays mapped without a device");
    drop(kept);
    // Only so if the drop has unmapped it.
    let twice = none.unmap(iova, len);
    expect(
        "a second unmap is refused",
        matches!(twice, Err(DmaError::NotMapped { .. })),
    )?;
    drop(none);
    drop(container);
    let again = Container::new()?; // the first has let go of its groups
    pass_on(again.open(devices[0], options)?)
}

fn hold_until_unplugged(task: &Task) -> Done {
    let container = Container::new()?;
    let open = task
        .devices
        .iter()
        .map(|address| container.open(*address, &task.options));
    let functions = open.collect::<Result<Vec<_>, _>>()?;
    if let Some(token) = &task.set_token {
        functions
            .iter()
            .try_for_each(|function| function.set_vf_token(token))?;
        println!("the VF token is set");
    }
    let events: Vec<_> = functions
        .iter()
        .filter_map(|function| function.events().unplug_request)
        .collect();
    println!(
        "holding {} devices, {} can be asked for",
        functions.len(),
        events.len()
    );
    for _ in 0..600 {
        // An eventfd that does not block: reading fails until it was raised.
        if events
            .iter()
            .any(|event| nix::unistd::read(event, &mut [0; 8]).is_ok())
        {
            println!("the host wants a device back");
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("nobody asked for a device within a minute".into())
}

/// What a privileged launcher and its child do, in one process.
fn pass_on(function: VfioFunction) -> Done {
    let address = function.address();
    let function = Container::from_device_fd(address, function.into_fds()?)?;
    let (launcher, program) = UnixStream::pair()?;
    Container::pass(vec![function], &launcher)?;
    let function = Container::receive(&program)?.pop().ok_or("no device came")?;
    expect("a passed device keeps its address", function.address() == address)?;
    dma(&function)?;
    msix(&function)?;
    println!("passed on as descriptors: {:?}", function.bar(0));
    Ok(())
}

fn expect(what: &str, holds: bool) -> Done {
    if holds {
        Ok(())
    } else {
        Err(format!("this does not hold: {what}").into())
    }
}

fn config(function: &VfioFunction) -> Done {
    println!(
        "id {} class {:06x} node {:?}",
        function.id(),
        function.id().class,
        function.numa_node()
    );
    let mut bytes = [0; 4096];
    let len = if function.config_read(0, &mut bytes).is_ok() {
        4096
    } else {
        256
    };
    function.config_read(0, &mut bytes[..len])?;
    let image = ConfigImage::new(&bytes[..len])?;
    for cap in image.capabilities() {
        println!("capability {:#04x} at {:#04x}", cap?.id, cap?.offset);
    }
    for cap in image.extended_capabilities() {
        println!("extended capability {:#06x} at {:#05x}", cap?.id, cap?.offset);
    }
    println!(
        "{:?} {:?} {:?}",
        image.msix()?,
        image.pci_express()?,
        image.power_management()?
    );
    expect(
        "configuration space has an end",
        function.config_read(len as u16 - 1, &mut [0; 2]).is_err(),
    )?;
    function.set_bus_master(true)?;
    let mut command = [0; 2];
    function.config_read(4, &mut command)?;
    println!("command with bus master {:#06x}", u16::from_le_bytes(command));
    expect("bus master is on", command[0] & 4 != 0)?;
    function.set_bus_master(false)?;
    function.config_read(4, &mut command)?;
    expect("bus master is off", command[0] & 4 == 0)
}

fn bars(function: &VfioFunction) -> Done {
    for index in 0..7 {
        match function.bar(index) {
            // Offset 8 is STATUS on Intel NICs, a plain register elsewhere.
            Ok(bar) => println!(
                "BAR{index} {bar:?} +8: {:#010x}",
                bar.read(Reg::<RO>::new("STATUS", 8))
            ),
            Err(error) => println!("BAR{index}: {error}"),
        }
    }
    Ok(())
}

fn msix(function: &VfioFunction) -> Done {
    let vectors = function.msix_vectors();
    println!("{vectors} MSI-X vectors; events {:?}", function.events());
    expect(
        "a vector too far is refused",
        function.set_msix(vectors, None).is_err(),
    )?;
    let Some(last) = vectors.checked_sub(1) else {
        return Ok(());
    };
    let (first, other) = (EventFd::new()?, EventFd::new()?);
    // Out of order and twice: on, off, and on again.
    for round in 0..2 {
        function.set_msix(last, Some(other.as_fd()))?;
        function.set_msix(0, Some(first.as_fd()))?;
        for _ in 0..3 {
            function.fire_msix(last)?;
        }
        let counts = (first.drain()?, other.drain()?);
        println!("round {round}: fired vector {last} three times, counted {counts:?}");
        expect(
            "each vector has its own count",
            counts == if last == 0 { (3, 0) } else { (0, 3) },
        )?;
        function.set_msix(last, None)?;
        if last > 0 {
            function.fire_msix(0)?;
            expect("vector 0 is untouched by the other", first.drain()? == 1)?;
        }
        function.set_msix(0, None)?;
        expect(
            "switching off fires nothing",
            first.drain()? + other.drain()? == 0,
        )?;
    }
    Ok(())
}

fn dma(function: &VfioFunction) -> Done {
    println!("{:?}", function.dma().limits());
    let memory = Memory::new(2 << 20, Source::Auto, Numa::Any)?;
    let before = function.dma().limits().entries_left;
    let mapping = Mapping::new(&memory, function.dma(), Access::ReadWrite)?;
    let second = Mapping::new(&memory, function.dma(), Access::Read)?;
    println!(
        "{:?} pages mapped at {} and {}",
        memory.page_size(),
        mapping.iova(),
        second.iova()
    );
    expect(
        "an IOVA is no address",
        mapping.iova().raw() != mapping.as_ptr().as_ptr() as u64,
    )?;
    expect(
        "huge pages stay aligned",
        mapping.iova().raw().is_multiple_of(2 << 20),
    )?;
    let part = function.dma().unmap(mapping.iova(), 4096);
    expect(
        "a part is not unmapped",
        matches!(part, Err(DmaError::NotMapped { .. })),
    )?;
    let stranger = function.dma().unmap(Iova::new(0x1234_0000), 4096);
    expect(
        "what is not mapped is not unmapped",
        matches!(stranger, Err(DmaError::NotMapped { .. })),
    )?;
    let during = function.dma().limits().entries_left;
    drop((mapping, second));
    let after = function.dma().limits().entries_left;
    println!("entries left: {before:?}, with two mappings {during:?}, then {after:?}");
    expect("entries come back", before == after && before != during)
}
