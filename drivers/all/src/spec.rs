use crate::{list, user_spec, vhost_spec};
use barline::pci::PciAddress;
use barline_sim::Mode;
use barline_vhost as vhost;
use barline_virtio_user::Settings;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How a user names a port: `pci:0000:01:00.0` (or the address alone), `kmod:0000:01:00.0`, `sim:82576`,
/// `null:size=64`, `ring:`, `vhost-user:/tmp/socket`, `virtio-user:/tmp/socket`. A PCI function may have options of its driver behind it, as
/// in `01:00.0,packed=off`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PortSpec {
    /// A PCI function of this machine, through VFIO, with options of its driver.
    Pci(PciAddress, String),
    /// A PCI function of this machine, through barline.ko, likewise.
    Kmod(PciAddress, String),
    /// A simulated one in this process.
    Sim(SimSpec),
    /// One without a device, whose received packets have so many bytes: `null:size=64`.
    Null(usize),
    /// One that receives what it sends: `ring:`.
    Ring,
    /// The device of a virtual machine or another process: `vhost-user:/tmp/socket`, with `client` (the other side
    /// listens), `queues=N`, and `packed`, `mrg`, `in-order`, `indirect`, `event-idx` `=off`.
    VhostUser(vhost::Options),
    /// The driver's side of a vhost-user socket: `virtio-user:/tmp/socket`, with `server` (it listens), `queues=N`, and
    /// `packed`, `mrg`, `in-order`, `event-idx` `=on` or `=off`.
    VirtioUser(PathBuf, Settings),
}

/// The way to a device that is named by its address alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// Linux VFIO.
    #[default]
    Vfio,
    /// barline.ko.
    Kmod,
}

impl Bus {
    const NAMES: &[&str] = &["vfio", "kmod"];

    fn at(self, address: PciAddress) -> PortSpec {
        match self {
            Self::Vfio => PortSpec::Pci(address, String::new()),
            Self::Kmod => PortSpec::Kmod(address, String::new()),
        }
    }
}

impl FromStr for Bus {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "vfio" => Ok(Self::Vfio),
            "kmod" => Ok(Self::Kmod),
            _ => Err(SpecError {
                text: text.to_owned(),
                what: "a bus",
                why: format!("did you mean {}?", nearest(text, Self::NAMES)),
            }),
        }
    }
}

/// A simulated port.
#[derive(Clone, Debug, PartialEq)]
pub struct SimSpec {
    /// The model, by the name of the device it plays.
    pub model: &'static str,
    /// Whose time it runs on: `mode=sync` (the default) or `mode=thread` (the default with a rate).
    pub mode: Mode,
    /// Bytes of a generated frame without FCS: `size=60`.
    pub size: usize,
    /// Frames a second that the port receives: `rate=1000`, and none at all with `rate=0`. Without it they come as fast
    /// as the port takes them.
    pub rate: Option<f64>,
}

/// Text that names no port, or no bus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {why}")]
pub struct SpecError {
    /// What was given.
    pub text: String,
    /// What it should have named.
    pub what: &'static str,
    /// What is wrong, and the nearest that is right.
    pub why: String,
}

/// Devices that there is a model of.
const MODELS: &[&str] = &["82576"];
const FORMS: &str = "write pci:0000:01:00.0 (as lspci -D lists it) or sim:82576";
/// Frames without FCS that a port takes at the standard MTU.
const SIZES: std::ops::RangeInclusive<usize> = 60..=1514;

/// Frames a second of a gigabit link at most.
const RATE: f64 = 1_488_095.0;

impl PortSpec {
    /// A list of ports as in `sim:82576,sim:82576,mode=thread`: a part with `=` and without `:` belongs to the
    /// port before it, and so do `client` behind a `vhost-user:` and `server` behind a `virtio-user:`.
    ///
    /// # Errors
    /// [`SpecError`] about the first part that is wrong.
    pub fn parse_list(list: &str) -> Result<Vec<Self>, SpecError> {
        Self::parse_list_on(Bus::Vfio, list)
    }

    /// Like [`PortSpec::parse_list`], with addresses alone on `bus`.
    ///
    /// # Errors
    /// As [`PortSpec::parse_list`].
    pub fn parse_list_on(bus: Bus, list: &str) -> Result<Vec<Self>, SpecError> {
        let mut ports: Vec<String> = Vec::new();
        for part in list.split(',').map(str::trim) {
            match ports.last_mut() {
                Some(port) if part.contains('=') && !part.contains(':') => *port = format!("{port},{part}"),
                Some(port) if vhost_spec::is_flag(port, part) => *port = format!("{port},{part}"),
                Some(port) if user_spec::is_flag(port, part) => *port = format!("{port},{part}"),
                _ => ports.push(part.to_owned()),
            }
        }
        ports.iter().map(|port| Self::parse_on(bus, port)).collect()
    }

    fn parse_on(bus: Bus, text: &str) -> Result<Self, SpecError> {
        Self::parse(bus, text).map_err(|why| SpecError {
            text: text.to_owned(),
            what: "a port",
            why,
        })
    }

    fn parse(bus: Bus, text: &str) -> Result<Self, String> {
        let (name, options) = text.split_once(',').unwrap_or((text, ""));
        let spec = match name.split_once(':') {
            Some(("sim", model)) => return SimSpec::parse(model, options).map(Self::Sim),
            Some(("null", option)) => return Self::null(if options.is_empty() { option } else { options }),
            Some(("ring", "")) if options.is_empty() => return Ok(Self::Ring),
            Some(("ring", _)) => {
                return Err("a ring port takes no name and no options: write ring:".to_owned());
            }
            Some((vhost_spec::NAME, path)) => return vhost_spec::parse(path, options).map(Self::VhostUser),
            Some((user_spec::NAME, path)) => return user_spec::parse(path, options),
            Some(("pci", address)) => Self::pci(Bus::Vfio, address)?,
            Some(("kmod", address)) => Self::pci(Bus::Kmod, address)?,
            _ => Self::pci(bus, name).map_err(|why| guess(name).unwrap_or(why))?,
        };
        spec.with(options)
    }

    /// With options, whose names some driver has to know; whether it is the device's is seen when it is opened.
    fn with(self, options: &str) -> Result<Self, String> {
        let known = |option: &&str| list::knows(option.split('=').next().unwrap_or_default());
        let strange = options
            .split(',')
            .filter(|option| !option.is_empty())
            .find(|option| !known(option));
        if let Some(option) = strange {
            return Err(format!("no PCI port takes such an option; leave out {option:?}"));
        }
        Ok(match self {
            Self::Pci(address, _) => Self::Pci(address, options.to_owned()),
            Self::Kmod(address, _) => Self::Kmod(address, options.to_owned()),
            other => other,
        })
    }

    /// Options of the driver; empty for ports that take them in another way.
    pub fn options(&self) -> &str {
        match self {
            Self::Pci(_, options) | Self::Kmod(_, options) => options,
            _ => "",
        }
    }

    fn null(option: &str) -> Result<Self, String> {
        let wrong = || "write null: or null:size=64".to_owned();
        match option.split_once('=') {
            None if option.is_empty() => Ok(Self::Null(64)),
            Some(("size", size)) => size.parse().map(Self::Null).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    fn pci(bus: Bus, address: &str) -> Result<Self, String> {
        let wrong = |_| match repaired(address) {
            Some(near) => format!("did you mean {}?", bus.at(near)),
            None => FORMS.to_owned(),
        };
        address.parse().map(|address| bus.at(address)).map_err(wrong)
    }
}

/// Options behind a name.
fn behind(options: &str) -> String {
    if options.is_empty() {
        String::new()
    } else {
        format!(",{options}")
    }
}

impl FromStr for PortSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::parse_on(Bus::Vfio, text)
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(address, _) => write!(f, "pci:{address}{}", behind(self.options())),
            Self::Kmod(address, _) => write!(f, "kmod:{address}{}", behind(self.options())),
            Self::Sim(sim) => sim.fmt(f),
            Self::Null(size) => write!(f, "null:size={size}"),
            Self::Ring => write!(f, "ring:"),
            Self::VhostUser(options) => vhost_spec::write(options, f),
            Self::VirtioUser(path, settings) => user_spec::write(path, settings, f),
        }
    }
}

impl SimSpec {
    /// A simulated 82576 with 60-byte frames.
    pub fn new() -> Self {
        Self {
            model: MODELS[0],
            mode: Mode::Sync,
            size: *SIZES.start(),
            rate: None,
        }
    }

    fn parse(model: &str, options: &str) -> Result<Self, String> {
        let known = MODELS.iter().find(|known| **known == model);
        let model = known.ok_or_else(|| {
            format!(
                "there is no model {model:?}; did you mean sim:{}?",
                nearest(model, MODELS)
            )
        })?;
        let mut sim = Self { model, ..Self::new() };
        let given = || options.split(',').filter(|option| !option.is_empty());
        given().try_for_each(|option| sim.set(option))?;
        if sim.rate.is_some() {
            // Somebody has to notice that the next frame is due while the port's core sleeps.
            if given().any(|option| option == "mode=sync") {
                return Err("a rate needs mode=thread; leave mode=sync out".to_owned());
            }
            sim.mode = Mode::Thread;
        }
        Ok(sim)
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        match option.split_once('=').unwrap_or((option, "")) {
            ("mode", "sync") => self.mode = Mode::Sync,
            ("mode", "thread") => self.mode = Mode::Thread,
            ("mode", _) => return Err("write mode=sync or mode=thread".to_owned()),
            ("size", size) => {
                let size = size.parse().ok().filter(|size| SIZES.contains(size));
                let (least, most) = (SIZES.start(), SIZES.end());
                self.size = size.ok_or_else(|| format!("write size={least} to size={most}"))?;
            }
            ("rate", rate) => {
                let rate = rate.parse().ok().filter(|rate| (0.0..=RATE).contains(rate));
                self.rate =
                    Some(rate.ok_or_else(|| format!("write rate=0 to rate={RATE}, in frames a second"))?);
            }
            (key, _) => {
                let near = nearest(key, &["mode", "size", "rate"]);
                return Err(format!("there is no option {key:?}; did you mean {near}=?"));
            }
        }
        Ok(())
    }
}

/// What is not the default is said.
impl fmt::Display for SimSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sim:{}", self.model)?;
        if self.mode == Mode::Thread {
            f.write_str(",mode=thread")?;
        }
        if self.size != *SIZES.start() {
            write!(f, ",size={}", self.size)?;
        }
        Ok(())
    }
}

impl Default for SimSpec {
    fn default() -> Self {
        Self::new()
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

/// What else somebody may have meant who wrote neither `pci:` nor `sim:` nor an address.
fn guess(name: &str) -> Option<String> {
    let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
    if MODELS.contains(&kind) {
        return Some(format!("did you mean sim:{kind}?"));
    }
    // Hexadecimal is the start of an address, not a kind of port.
    if rest.is_empty() {
        let letters = kind.bytes().any(|byte| byte.is_ascii_lowercase() && byte > b'f');
        return letters.then(|| {
            format!("if it is an interface of the kernel, this tells its address: readlink /sys/class/net/{kind}/device; then {FORMS}")
        });
    }
    if kind.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let near = format!(
        "{}:{rest}",
        nearest(
            kind,
            &[
                "pci",
                "kmod",
                "sim",
                "null",
                "ring",
                vhost_spec::NAME,
                user_spec::NAME
            ]
        )
    );
    let right = near.parse::<PortSpec>().is_ok();
    Some(if right {
        format!("did you mean {near}?")
    } else {
        FORMS.to_owned()
    })
}

/// The candidate with the fewest slips between it and `text`.
pub(crate) fn nearest<'a>(text: &str, candidates: &[&'a str]) -> &'a str {
    let by_slips = candidates.iter().min_by_key(|candidate| slips(text, candidate));
    by_slips.copied().unwrap_or_default()
}

/// Characters to insert, drop or change to make `a` into `b`.
fn slips(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row.pop().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        text.parse::<PortSpec>().unwrap_err().why
    }

    #[test]
    fn addresses_and_models_are_ports() {
        let address: PciAddress = "0000:01:00.0".parse().unwrap();
        for text in ["pci:0000:01:00.0", "0000:01:00.0", "pci:01:00.0", "01:00.0"] {
            let spec: PortSpec = text.parse().unwrap();
            assert_eq!(
                (spec.clone(), spec.to_string()),
                (Bus::Vfio.at(address), "pci:0000:01:00.0".into())
            );
        }
        assert_eq!("sim:82576".parse(), Ok(PortSpec::Sim(SimSpec::new())));
    }

    #[test]
    fn an_address_alone_is_on_the_bus_that_was_chosen() {
        let address: PciAddress = "0000:01:00.0".parse().unwrap();
        let list = "01:00.0,pci:01:00.0,kmod:01:00.0";
        let (vfio, kmod) = (Bus::Vfio.at(address), Bus::Kmod.at(address));
        let of = |bus| PortSpec::parse_list_on(bus, list).unwrap();
        assert_eq!(of(Bus::Vfio), [vfio.clone(), vfio.clone(), kmod.clone()]);
        assert_eq!(of("kmod".parse().unwrap()), [kmod.clone(), vfio, kmod.clone()]);
        assert_eq!(kmod.to_string(), "kmod:0000:01:00.0");
        let error = "kmdo".parse::<Bus>().unwrap_err().to_string();
        assert_eq!(error, "\"kmdo\" is not a bus: did you mean kmod?");
    }

    #[test]
    fn options_belong_to_the_port_before_them() {
        let ports = PortSpec::parse_list("sim:82576,mode=thread,size=1514, 01:00.0,sim:82576").unwrap();
        let sim = SimSpec {
            mode: Mode::Thread,
            size: 1514,
            ..SimSpec::new()
        };
        assert_eq!(ports.len(), 3);
        assert_eq!(
            (&ports[0], &ports[2]),
            (&PortSpec::Sim(sim), &PortSpec::Sim(SimSpec::new()))
        );
    }

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
        assert_eq!(ports[0].options(), "packed=off,mrg=on");
        assert_eq!(texts[0].parse(), Ok(ports[0].clone()));
    }

    #[test]
    fn slips_are_answered_with_the_nearest_right_form() {
        for (text, near) in [
            ("sim:82567", "sim:82576"),
            ("sim:", "sim:82576"),
            ("82576", "sim:82576"),
            ("smi:82576", "sim:82576"),
            ("pic:0000:01:00.0", "pci:0000:01:00.0"),
            ("kmdo:0000:01:00.0", "kmod:0000:01:00.0"),
            ("pci:0000:01:00", "pci:0000:01:00.0"),
            ("kmod:0000:01:00", "kmod:0000:01:00.0"),
            ("0000:01:00:1", "pci:0000:01:00.1"),
            ("0000.01.00.1", "pci:0000:01:00.1"),
            ("sim:82576,moed=sync", "mode="),
            ("sim:82576,mode=fast", "mode=thread"),
            ("sim:82576,size=9", "size=60"),
            ("sim:82576,rate=-1", "rate=0 to rate=1488095"),
            ("sim:82576,rate=nan", "rate=0"),
            ("sim:82576,mode=sync,rate=1", "leave mode=sync out"),
            ("01:00.0,size=60", "leave out \"size=60\""),
            ("enp1s0", "/sys/class/net/enp1s0/device"),
            ("", FORMS),
            ("0000:01:00.9", FORMS),
            ("pci:sim", FORMS),
            ("foo:bar", FORMS),
        ] {
            assert!(why(text).contains(near), "{text}: {}", why(text));
        }
    }

    #[test]
    fn slips_are_counted() {
        assert_eq!(
            (slips("", "abc"), slips("abc", "abc"), slips("moed", "mode")),
            (3, 0, 2)
        );
    }
}
