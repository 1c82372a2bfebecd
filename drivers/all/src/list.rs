use barline::bus::PciFunction;
use barline::pci::PciId;
use barline::port::{Port, PortError};
use std::sync::Arc;

/// Takes a function over, with options of the driver's own as in `packed=off,mrg=on`.
pub type OpenFn = fn(Arc<dyn PciFunction>, &str) -> Result<Box<dyn Port>, PortError>;

/// One driver family.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// Its name, which is that of its cargo feature.
    pub name: &'static str,
    /// What it drives, in words.
    pub about: &'static str,
    /// What it drives: vendor and device.
    pub ids: &'static [(u16, u16)],
    /// Names of its options.
    pub options: &'static [&'static str],
    /// Takes a function over.
    pub open: OpenFn,
}

/// The drivers that this build has.
pub const ALL: &[Driver] = &[
    #[cfg(feature = "igb")]
    Driver {
        name: "igb",
        about: "Intel 82576 gigabit Ethernet",
        ids: barline_igb::IDS,
        options: &[],
        open: |function, options| {
            none("82576", options)?;
            Ok(Box::new(barline_igb::Igb::open(function)?))
        },
    },
    #[cfg(feature = "virtio")]
    Driver {
        name: "virtio",
        about: "virtio network device",
        ids: barline_virtio::IDS,
        options: barline_virtio::Options::NAMES,
        open: |function, options| {
            let options = barline_virtio::Options::parse(options)?;
            Ok(Box::new(barline_virtio::Virtio::open(function, options)?))
        },
    },
];

/// Refuses options for a driver without any.
#[cfg(feature = "igb")]
fn none(device: &str, options: &str) -> Result<(), PortError> {
    match options {
        "" => Ok(()),
        _ => Err(PortError::Config(format!(
            "a {device} takes no options; leave out {options:?}"
        ))),
    }
}

/// Whether a driver of this build knows an option of this name.
pub(crate) fn knows(option: &str) -> bool {
    ALL.iter().any(|driver| driver.options.contains(&option))
}

/// The options of the driver of this name; none where this build does not have it.
pub(crate) fn options_of(name: &str) -> &'static [&'static str] {
    let driver = ALL.iter().find(|driver| driver.name == name);
    driver.map_or(&[], |driver| driver.options)
}

/// The driver for a device, if there is one.
pub fn driver_for(id: PciId) -> Option<&'static Driver> {
    ALL.iter()
        .find(|driver| driver.ids.contains(&(id.vendor, id.device)))
}

/// What this build drives: for messages.
pub(crate) fn known() -> String {
    let one = |driver: &Driver| {
        let ids: Vec<String> = driver
            .ids
            .iter()
            .map(|(vendor, device)| format!("{vendor:04x}:{device:04x}"))
            .collect();
        format!("{} ({})", ids.join(", "), driver.about)
    };
    let list: Vec<String> = ALL.iter().map(one).collect();
    if list.is_empty() {
        "no device at all: build it with a driver's feature".to_owned()
    } else {
        list.join("; ")
    }
}
