//! A trace shows descriptors of ports that have them, each beside its frame.

use barline::pool::{Batch, Pool};
use barline::port::{Port, PortConfig};
use barline_drivers::{Feed, Opener, PortSpec};
use barline_netif::testing;
use barline_wrap::{Select, Watch, Wrapped};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A file in memory.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a trace says of frames of 60 to 79 bytes that go from one port to the other.
fn traced(specs: &str) -> String {
    let pool = Pool::builder().packets(4096).build().unwrap();
    let mut opener = Opener::new(Feed::Generated);
    let specs = PortSpec::parse_list(specs).unwrap();
    let out = Shared::default();
    let mut ports: Vec<Wrapped> = (specs.iter())
        .map(|spec| {
            let watch = Watch::trace("p", out.clone(), Select::default());
            Wrapped::new(opener.open(spec).unwrap().port, Box::new(watch))
        })
        .collect();
    let config = PortConfig {
        promiscuous: true,
        rx_ring: 256,
        tx_ring: 256,
        ..PortConfig::new(&pool)
    };
    let mut queues: Vec<_> = ports
        .iter_mut()
        .map(|port| port.start(&config).unwrap())
        .collect();
    let (mut cache, mut batch) = (pool.cache(), Batch::new());
    for len in 60..80 {
        let mut packet = cache.alloc().unwrap();
        let mut frame = vec![0; len];
        frame[..6].fill(0xff);
        packet.set(&frame);
        batch.extend([packet]);
    }
    let (mut got, end) = (0, Instant::now() + Duration::from_secs(20));
    while !batch.is_empty() {
        assert!(Instant::now() < end, "they are not taken");
        queues[0].tx[0].transmit(&mut cache, &mut batch);
    }
    while got < 20 {
        assert!(Instant::now() < end, "{got} of 20 frames came");
        got += queues[1].rx[0].receive(&mut cache, &mut batch);
        cache.free(&mut batch);
    }
    for (port, queues) in ports.iter_mut().zip(queues) {
        port.stop(queues).unwrap();
    }
    let text = out.0.lock().unwrap().clone();
    String::from_utf8(text).unwrap()
}

/// Each frame's line, with what the line below says of its descriptor.
fn beside(text: &str, way: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let heads = lines
        .windows(2)
        .filter(|pair| pair[0].contains(&format!(" {way} 0 ")));
    let parsed = heads.map(|pair| {
        let (front, _) = pair[0].split_once(" bytes:").unwrap();
        let len = front.rsplit(' ').next().unwrap().parse().unwrap();
        (len, pair[1].trim().to_owned())
    });
    parsed.collect()
}

#[test]
fn descriptors_are_beside_their_frames() {
    // Bytes before a frame; and whether what was posted is still there when the device is done with it.
    for (port, sent, received, header, stays) in [
        ("sim:82576,wire=a", ": tx ", "rx write-back", 0, false),
        (
            "sim:virtio-net,packed=off,wire=a",
            "available entry",
            "used entry",
            12,
            true,
        ),
        (
            "sim:virtio-net,packed=on,wire=a",
            "descriptor",
            "descriptor",
            12,
            false,
        ),
    ] {
        let text = traced(&format!("{port},{port}"));
        shows(&text, "tx", sent, header, stays);
        shows(&text, "rx", received, header, true);
    }
}

/// Each of the frames has such a descriptor beside it, with its length if that stays there.
fn shows(text: &str, way: &str, what: &str, header: usize, stays: bool) {
    let frames = beside(text, way);
    assert_eq!(frames.len(), 20, "{text}");
    for (len, descriptor) in frames {
        let right = !stays || descriptor.contains(&format!("length {}", len + header));
        assert!(descriptor.contains(what) && right, "{way} of {len}: {descriptor}");
    }
}

#[test]
fn xdp_sockets_show_their_descriptors() {
    if let Err(why) = testing::enter() {
        return eprintln!("SKIPPED: {why}");
    }
    let [near, far] = testing::veth(1500).unwrap();
    let specs = format!("af_xdp:{near},af_xdp:{far}");
    let first = PortSpec::parse_list(&specs).unwrap().remove(0);
    if let Err(error) = Opener::new(Feed::Generated).open(&first) {
        return eprintln!("SKIPPED: {error}");
    }
    let text = traced(&specs);
    shows(&text, "tx", "tx entry", 0, true);
    shows(&text, "rx", "rx entry", 0, true);
}

/// Off at no cost: a port around which nothing is named is the driver's own, and so are its queues. There is no instruction of
/// a wrapper on the way of a packet, because there is no wrapper.
#[test]
fn what_is_not_named_is_not_there() {
    let pool = Pool::builder().packets(4096).build().unwrap();
    let config = PortConfig {
        rx_ring: 256,
        tx_ring: 256,
        ..PortConfig::new(&pool)
    };
    let around = ["Watch", "Impair"];
    for port in ["null:", "ring:", "sim:82576", "sim:virtio-net"] {
        let mut wrapped = Vec::new();
        for text in [
            port.to_owned(),
            format!("{port}+trace=1"),
            format!("{port}+impair=loss=1%"),
        ] {
            let spec: PortSpec = text.parse().unwrap();
            let mut opened = Opener::new(Feed::Generated).open(&spec).unwrap();
            let queues = opened.port.start(&config).unwrap();
            let shown = format!("{:?}{:?}", queues.rx, queues.tx);
            wrapped.push(around.iter().any(|name| shown.contains(name)));
            assert_eq!(format!("{:?}", opened.port).starts_with("Wrapped"), text != port);
            opened.port.stop(queues).unwrap();
        }
        assert_eq!(wrapped, [false, true, true], "{port}");
    }
}
