use super::*;
use crate::{KINDS, WRAPS};

fn why(text: &str) -> String {
    text.parse::<PortSpec>().unwrap_err().why
}

/// The help has this row, over as many lines as it takes.
fn explained(example: &str, about: &str) -> bool {
    let help = crate::help();
    let words: Vec<&str> = help.split_whitespace().collect();
    words.join(" ").contains(&format!("{example} {about}"))
}

fn texts(list: &str) -> Vec<String> {
    let ports = PortSpec::parse_list(list).unwrap();
    ports.iter().map(PortSpec::to_string).collect()
}

/// The table is what the parser knows: every example is right, says what it was read from, and is of its kind.
#[test]
fn every_row_of_the_table_is_a_port() {
    for kind in KINDS {
        let spec: PortSpec = kind.example.parse().unwrap();
        assert_eq!(spec.to_string(), kind.example);
        let colon = format!("{}:", kind.name);
        assert!(
            kind.example.starts_with(&colon) && kind.form.contains(&colon),
            "{colon}"
        );
        assert!(!kind.about.is_empty() && !kind.about.ends_with('.'), "{colon}");
        assert!(explained(kind.example, kind.about), "{}", kind.name);
    }
    let names: std::collections::BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(names.len(), KINDS.len(), "a name is taken twice");
}

#[test]
fn the_documentation_has_the_table() {
    let page = include_str!("../../../../engine/docs/ports.md");
    let rows: Vec<String> = KINDS
        .iter()
        .map(|kind| {
            let form = kind.form.replace('|', "\\|");
            format!("| `{form}` | {} | `{}` |\n", kind.about, kind.example)
        })
        .collect();
    let wraps = WRAPS
        .iter()
        .map(|wrap| format!("| `{}` | {} | `{}` |\n", wrap.form, wrap.about, wrap.example));
    for wanted in [rows.concat(), wraps.collect()] {
        assert!(
            page.contains(&wanted),
            "engine/docs/ports.md should have:\n{wanted}"
        );
    }
}

/// A letter lost, doubled or exchanged in a kind's name is answered with the example as it should be.
#[test]
fn a_slip_in_a_name_is_answered_with_the_right_form() {
    for kind in KINDS {
        let name = kind.name;
        let tail = &kind.example[name.len()..];
        for at in 0..name.len() {
            let (front, back) = name.split_at(at);
            let swapped: String = back.chars().take(2).collect::<Vec<_>>().iter().rev().collect();
            let rest: String = back.chars().skip(2).collect();
            for wrong in [
                format!("{front}{}", &back[1..]),
                format!("{front}{}{back}", &back[..1]),
                format!("{front}{swapped}{rest}"),
            ] {
                // Too short to be told from others, or hexadecimal.
                if wrong.len() < 3 || wrong == name {
                    continue;
                }
                let text = format!("{wrong}{tail}");
                let Err(error) = text.parse::<PortSpec>() else {
                    panic!("{text} is a port");
                };
                assert!(error.why.contains(kind.example), "{text}: {}", error.why);
            }
        }
    }
}

#[test]
fn addresses_and_models_are_ports() {
    for text in ["pci:0000:01:00.0", "0000:01:00.0", "pci:01:00.0", "01:00.0"] {
        assert_eq!(texts(text), ["pci:0000:01:00.0"]);
    }
    assert_eq!("sim:82576".parse(), Ok(PortSpec::from(SimSpec::new())));
}

#[test]
fn an_address_alone_is_on_the_bus_that_was_chosen() {
    let list = "01:00.0,pci:01:00.0,kmod:01:00.0";
    let of = |bus| PortSpec::parse_list_on(bus, list).unwrap();
    let (pci, kmod) = ("pci:0000:01:00.0", "kmod:0000:01:00.0");
    let on =
        |bus: &str| -> Vec<String> { of(bus.parse().unwrap()).iter().map(PortSpec::to_string).collect() };
    assert_eq!(on("vfio"), [pci, pci, kmod]);
    assert_eq!(on("kmod"), [kmod, pci, kmod]);
    let error = "kmdo".parse::<Bus>().unwrap_err().to_string();
    assert_eq!(error, "\"kmdo\" is not a bus: did you mean kmod?");
}

#[test]
fn options_belong_to_the_port_before_them() {
    assert_eq!(
        texts("sim:82576,mode=thread,size=1514, 01:00.0,sim:82576,rate=2.5"),
        [
            "sim:82576,mode=thread,size=1514",
            "pci:0000:01:00.0",
            "sim:82576,mode=thread,rate=2.5"
        ]
    );
}

/// A wrapper's example is right, says what it was read from, and wraps again.
#[test]
fn every_wrapper_goes_around_any_port() {
    for wrap in WRAPS {
        let spec: PortSpec = wrap.example.parse().unwrap();
        assert_eq!(spec.to_string(), wrap.example);
        assert!(spec.is_simulated());
        assert!(explained(wrap.example, wrap.about), "{}", wrap.example);
    }
    let list = "01:00.0+trace=5,snap=60+capture=/tmp/a,filter=/tmp/b,limit=7,ring:+trace=1,sim:82576";
    assert_eq!(
        texts(list),
        [
            "pci:0000:01:00.0+trace=5,snap=60+capture=/tmp/a,filter=/tmp/b,limit=7",
            "ring:+trace=1",
            "sim:82576"
        ]
    );
    // A plus sign in a path is none of a wrapper's.
    assert_eq!(texts("vhost-user:/tmp/a+b"), ["vhost-user:/tmp/a+b"]);
}

#[cfg(feature = "virtio")]
#[test]
fn a_simulated_virtio_device_has_queues_and_options_of_its_driver() {
    let text = "sim:virtio-net,mode=thread,size=64,queues=4,packed=off,mrg=on";
    assert_eq!(texts(text), [text]);
    for (text, near) in [
        ("sim:virtio-net,queues=17", "queues=16"),
        ("sim:virtio-net,paked=off", "packed"),
        ("sim:virtio", "sim:virtio-net"),
        ("sim:82576,packed=off", "there is no option"),
        ("sim:82576,queues=2", "there is no option"),
    ] {
        assert!(why(text).contains(near), "{text}: {}", why(text));
    }
}

#[test]
fn a_part_of_a_list_that_is_no_port_may_be_an_option_of_the_one_before() {
    for (list, near) in [
        ("af_xdp:eth0,zerocopy", "did you mean af_xdp:eth0,mode=zerocopy?"),
        (
            "af_xdp:eth0,mode=copy,1",
            "did you mean af_xdp:eth0,mode=copy,queue=1?",
        ),
        (
            "sim:82576,af_packet:eth0,fanout",
            "it needs a value, as in fanout=hash",
        ),
        ("af_packet:eth0,eth1", "write af_packet:eth1"),
        ("pcap:rx=a,lop", "did you mean pcap:rx=a,loop?"),
        ("ring:,,ring:", "nothing between two commas"),
        ("ring:,", "nothing behind the last comma"),
        (
            "sim:82576,wire=a,sim:82576,wire=a+trace=1,sim:82576,wire=b,sim:virtio-net,wire=a",
            "both ends of wire=a are taken",
        ),
    ] {
        let why = PortSpec::parse_list(list).unwrap_err().why;
        assert!(why.contains(near), "{list}: {why}");
    }
}

#[test]
fn slips_are_answered_with_the_nearest_right_form() {
    for (text, near) in [
        ("sim:82567", "sim:82576"),
        ("sim:", "sim:82576"),
        ("82576", "sim:82576"),
        ("smi:82576", "sim:82576"),
        ("smi:82576,size=61", "sim:82576,size=61"),
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
        ("sim:82576,wier=a", "wire="),
        ("sim:82576,wire=", "wire=a"),
        ("sim:82576,wire=a,rate=1", "leave rate= out"),
        ("sim:82576,mode=sync,rate=1", "leave mode=sync out"),
        ("01:00.0,size=60", "leave out \"size=60\""),
        ("null:seize=60", "did you mean size?"),
        (
            "sim:82576+trcae=5",
            "did you mean +trace=, as in sim:82576+trace=10?",
        ),
        ("sim:82576+capture", "did you mean +capture=,"),
        ("sim:82576+trace=0", "write trace=1 to"),
        ("sim:82576+capture=", "name a file, as in"),
        ("ring:+trace=1,limt=2", "there is no option \"limt\""),
        ("smi:82576+trace=5", "did you mean sim:82576?"),
        ("enp1s0", "/sys/class/net/enp1s0/device"),
        ("eth0", "write af_packet:eth0"),
        ("", crate::kinds::ADDRESS),
        ("0000:01:00.9", crate::kinds::ADDRESS),
        ("pci:sim", crate::kinds::ADDRESS),
        ("quux:bar", "write one of pci:, kmod:, sim:"),
        ("xdp:eth0", "did you mean af_xdp:eth0?"),
        ("packet:eth0,fanout=lb", "did you mean af_packet:eth0,fanout=lb?"),
        ("AF_PACKET:eth0", "did you mean af_packet:eth0?"),
        ("af_xdp=eth0,queue=1", "did you mean af_xdp:eth0,queue=1?"),
        ("tun:tap0", "did you mean tap:tap0?"),
        ("net_af_packet0,iface=eth1", "did you mean af_packet:eth1?"),
        ("eth_af_xdp3,iface=eth1", "did you mean af_xdp:eth1?"),
        ("af_xdp:eth0:1", "did you mean af_xdp:eth0,queue=1?"),
        ("af_packet:eth0:1", "write af_packet:eth0"),
        ("pcap:in=a.pcap", "did you mean rx=?"),
        ("pcap:rx=a.pcap,out=b.pcap", "did you mean tx=?"),
        ("null:60", "did you mean null:size=60?"),
        (
            "pcap:rx=a.pcap,loop=1",
            "\"loop\" takes no value; write loop alone",
        ),
        (
            "null:+",
            "write what is to be put around it, as in sim:82576+trace=10",
        ),
    ] {
        assert!(why(text).contains(near), "{text}: {}", why(text));
    }
}
