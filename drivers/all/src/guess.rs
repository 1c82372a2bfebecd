//! What somebody may have meant whose text names no port.

use crate::PortSpec;
use crate::kinds::{KINDS, kind};
use crate::near::slips;
use crate::spec::kind_of;

/// Words of other programs for our kinds.
const OTHERS: &[(&str, &str)] = &[
    ("xdp", "af_xdp"),
    ("xsk", "af_xdp"),
    ("packet", "af_packet"),
    ("raw", "af_packet"),
    ("iface", "af_packet"),
    ("interface", "af_packet"),
    ("netdev", "af_packet"),
    ("tun", "tap"),
    ("vfio", "pci"),
    ("file", "pcap"),
    ("pcapng", "pcap"),
    ("vhost", "vhost-user"),
];

/// The text itself, if it is right.
fn right(text: String) -> Option<String> {
    text.parse::<PortSpec>().is_ok().then_some(text)
}

/// What else somebody may have meant who wrote neither a kind nor an address.
pub(crate) fn guess(port: &str, options: &str) -> Option<String> {
    let (name, rest) = port.split_once(':').unwrap_or((port, ""));
    if let Some(sim) = right(format!("sim:{name}")) {
        return Some(format!("did you mean {sim}?"));
    }
    // Hexadecimal is the start of an address, not a kind of port.
    let word = name
        .bytes()
        .any(|byte| byte.is_ascii_alphabetic() && byte.to_ascii_lowercase() > b'f');
    if !word {
        return None;
    }
    let tail = match options {
        "" => String::new(),
        options => format!(",{options}"),
    };
    let mended = foreign(port, options).or_else(|| near_kind(name, rest, &tail, port.contains(':')));
    if mended.is_some() {
        return mended;
    }
    if !port.contains(':') {
        return Some(format!(
            "for an interface of the kernel write af_packet:{name}; for its whole NIC write pci: and its address: readlink /sys/class/net/{name}/device"
        ));
    }
    let kinds: Vec<String> = KINDS.iter().map(|kind| format!("{}:", kind.name)).collect();
    Some(format!("write one of {}", kinds.join(", ")))
}

/// As others write it: another word for a kind, capitals, an equals sign for the colon, a virtual device of DPDK's.
fn foreign(port: &str, options: &str) -> Option<String> {
    let given = options
        .split(',')
        .find_map(|option| option.strip_prefix("iface="));
    let device = ["net_", "eth_"].iter().find_map(|front| port.strip_prefix(front));
    if let (Some(interface), Some(device)) = (given, device) {
        let device = device.trim_end_matches(|digit: char| digit.is_ascii_digit());
        return right(format!("{device}:{interface}")).map(|text| format!("did you mean {text}?"));
    }
    let (name, rest) = port.split_once([':', '='])?;
    let lower = name.to_ascii_lowercase();
    let other = OTHERS.iter().find(|(word, _)| *word == lower);
    let name = other.map_or(&*lower, |(_, name)| name);
    let text = match options {
        "" => format!("{name}:{rest}"),
        options => format!("{name}:{rest},{options}"),
    };
    kind(name)?;
    right(text).map(|text| format!("did you mean {text}?"))
}

/// The nearest kind by slips.
fn near_kind(name: &str, rest: &str, tail: &str, colon: bool) -> Option<String> {
    // An exchange of two letters is two slips. Without a colon it is rather the name of something.
    let most = if colon { 2.max(name.len() / 2) } else { 1 };
    let mut near: Vec<_> = KINDS.iter().map(|kind| (slips(name, kind.name), kind)).collect();
    near.retain(|(slips, _)| *slips <= most);
    near.sort_by_key(|(slips, _)| *slips);
    // Of several that are as near, what stands behind the name may tell.
    let mended = near
        .iter()
        .find_map(|(_, kind)| right(format!("{}:{rest}{tail}", kind.name)));
    if let Some(mended) = mended {
        return Some(format!("did you mean {mended}?"));
    }
    let (_, kind) = near.first()?;
    Some(format!("did you mean {}:, as in {}?", kind.name, kind.example))
}

/// What a part of a list may have been that is no port: an option of the port before it, without its name or its value.
pub(crate) fn option(port: &str, part: &str) -> Option<String> {
    let (kind, _) = kind_of(port)?;
    let keys = kind
        .form
        .split(['[', ',', ']'])
        .filter_map(|option| option.split_once('='));
    let flags = kind.flags.iter().copied().filter(|flag| slips(part, flag) <= 2);
    let mut near = flags.map(|flag| format!("{port},{flag}")).find_map(right);
    for (key, values) in keys {
        if key == part {
            let value = values.split('|').next().unwrap_or_default();
            return Some(format!("it needs a value, as in {key}={value}"));
        }
        if near.is_none() && !port.contains(&format!("{key}=")) {
            near = right(format!("{port},{key}={part}"));
        }
    }
    near.map(|text| format!("did you mean {text}?"))
}
