use barline::bus::PciFunction;
use barline::pci::PciId;
use barline::port::{Port, PortError};
use std::sync::Arc;

/// Takes a function over.
pub type OpenFn = fn(Arc<dyn PciFunction>) -> Result<Box<dyn Port>, PortError>;

/// One driver family.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// Its name, which is that of its cargo feature.
    pub name: &'static str,
    /// What it drives, in words.
    pub about: &'static str,
    /// What it drives: vendor and device.
    pub ids: &'static [(u16, u16)],
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
        open: |function| Ok(Box::new(barline_igb::Igb::open(function)?)),
    },
];

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
