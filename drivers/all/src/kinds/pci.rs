//! `pci:0000:01:00.0` and `kmod:0000:01:00.0`: PCI functions of this machine.

use super::{Given, Kind, Target};
use crate::opened::Fresh;
use crate::spec::Bus;
use crate::{OpenError, Opener, list};
use barline::pci::PciAddress;
use std::fmt;

pub(super) const KIND: Kind = Kind {
    name: "pci",
    form: "[pci:]ADDRESS[,OPTIONS OF THE DRIVER]",
    about: "a PCI function bound to vfio-pci",
    example: "pci:0000:01:00.0",
    flags: &[],
    parse: |given| parse(Bus::Vfio, given),
};

pub(super) const KMOD: Kind = Kind {
    name: "kmod",
    form: "kmod:ADDRESS[,OPTIONS OF THE DRIVER]",
    about: "a PCI function bound to barline.ko",
    example: "kmod:0000:01:00.0",
    flags: &[],
    parse: |given| parse(Bus::Kmod, given),
};

/// What to write for a function.
pub(crate) const ADDRESS: &str = "write pci:0000:01:00.0 (as lspci -D lists it) or sim:82576";

/// A PCI function, and options of its driver.
#[derive(Debug)]
pub(crate) struct Pci {
    bus: Bus,
    address: PciAddress,
    options: String,
}

fn parse(bus: Bus, given: &Given<'_>) -> Result<Box<dyn Target>, String> {
    Ok(Box::new(Pci::parse(bus, given.name, given.options)?))
}

impl Pci {
    /// Whether the options are the device's is seen when it is opened; some driver has to know them.
    pub fn parse(bus: Bus, address: &str, options: &str) -> Result<Self, String> {
        let wrong = |_| match repaired(address) {
            Some(near) => format!("did you mean {}:{near}?", bus.kind()),
            None => ADDRESS.to_owned(),
        };
        let address = address.parse().map_err(wrong)?;
        let known = |option: &&str| list::knows(option.split('=').next().unwrap_or_default());
        let mut given = options.split(',').filter(|option| !option.is_empty());
        if let Some(option) = given.find(|option| !known(option)) {
            return Err(format!("no PCI port takes such an option; leave out {option:?}"));
        }
        Ok(Self {
            bus,
            address,
            options: options.to_owned(),
        })
    }
}

impl Target for Pci {
    fn open(&self, opener: &mut Opener) -> Result<Fresh, OpenError> {
        let function = match self.bus {
            Bus::Vfio => opener.open_pci(self.address)?,
            Bus::Kmod => opener.open_kmod(self.address)?,
        };
        let port = opener.drive(function, self, &self.options)?;
        Ok(Fresh::new(port).at(self.address))
    }
}

impl fmt::Display for Pci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bus.kind(), self.address)?;
        if self.options.is_empty() {
            return Ok(());
        }
        write!(f, ",{}", self.options)
    }
}

/// An address with a slip of the usual kinds mended: function left out, or the wrong mark before it.
fn repaired(text: &str) -> Option<PciAddress> {
    let with_function = format!("{text}.0");
    let plain = text.replace('.', ":");
    let dotted = plain
        .rsplit_once(':')
        .map(|(front, function)| format!("{front}.{function}"));
    let address = |text: &str| text.parse().ok();
    address(&with_function).or_else(|| address(dotted.as_deref()?))
}

#[cfg(test)]
mod tests {
    use crate::PortSpec;

    #[cfg(feature = "virtio")]
    #[test]
    fn a_pci_port_has_options_of_its_driver() {
        let ports = PortSpec::parse_list("01:00.0,packed=off,mrg=on,kmod:02:00.0,packed=on,03:00.0").unwrap();
        let texts: Vec<String> = ports.iter().map(PortSpec::to_string).collect();
        assert_eq!(
            texts,
            [
                "pci:0000:01:00.0,packed=off,mrg=on",
                "kmod:0000:02:00.0,packed=on",
                "pci:0000:03:00.0"
            ]
        );
        assert_eq!(texts[0].parse(), Ok(ports[0].clone()));
    }
}
