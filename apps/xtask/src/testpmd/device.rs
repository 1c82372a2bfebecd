use std::path::Path;

/// Descriptors of a ring, theirs or ours.
const RING: u32 = 1024;

/// Our end of the socket; testpmd's is the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The back end.
    Vhost,
    /// The driver side.
    VirtioUser,
}

/// What the two ends are to agree on.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    pub ours: End,
    pub packed: bool,
    pub mergeable: bool,
    pub in_order: bool,
    pub queues: u8,
    /// We listen, and testpmd connects.
    pub we_listen: bool,
    /// Bytes of the longest frame.
    pub most: u32,
}

impl Device {
    /// Each combination of features by its number, 0 to 7, with one pair of queues; the back end listens.
    pub fn of(ours: End, bits: u8) -> Self {
        let on = |bit: u8| bits >> bit & 1 != 0;
        Self {
            ours,
            packed: on(0),
            mergeable: on(1),
            in_order: on(2),
            queues: 1,
            we_listen: ours == End::Vhost,
            most: 1514,
        }
    }

    /// What it is called by in messages and in `BARLINE_DEVICES`, as in `packed-mrg-in_order-2q-9014`.
    pub fn name(self) -> String {
        let word = |on: bool, yes: &'static str, no: &'static str| if on { yes } else { no };
        let ring = word(self.packed, "packed", "split");
        let mergeable = word(self.mergeable, "mrg", "one_buffer");
        let order = word(self.in_order, "in_order", "any_order");
        format!("{ring}-{mergeable}-{order}-{}q-{}", self.queues, self.most)
    }

    /// Most frames on their way, a queue: on a busy machine the two sides take turns, a slice of time each. testpmd drops what its
    /// ring has no room for, and a long frame takes six descriptors where it uses no tables of them.
    pub fn window(self) -> u32 {
        if self.most > 1514 { RING / 8 } else { RING / 2 }
    }

    /// Whether frames are damaged once a back end has been killed and has come back: with packed rings testpmd 22.11 frees the
    /// buffers of its rings while its other thread forwards them, and then posts the same ones twice (seen in its memory with
    /// its own back end too: 69 of 2,048).
    pub fn testpmd_mixes_up_buffers(self) -> bool {
        self.ours == End::Vhost && self.packed
    }

    /// The name of our port.
    pub fn port(self, socket: &Path) -> String {
        let (socket, queues) = (socket.display(), self.queues);
        match self.ours {
            End::Vhost => {
                let client = if self.we_listen { "" } else { ",client" };
                format!("vhost-user:{socket},queues={queues}{client}")
            }
            End::VirtioUser => {
                let on = |on: bool| if on { "on" } else { "off" };
                let (packed, mrg, in_order) = (on(self.packed), on(self.mergeable), on(self.in_order));
                let server = if self.we_listen { ",server" } else { "" };
                format!(
                    "virtio-user:{socket},queues={queues},packed={packed},mrg={mrg},in-order={in_order}{server}"
                )
            }
        }
    }

    /// DPDK's device.
    pub fn vdev(self, socket: &Path) -> String {
        let (socket, queues) = (socket.display(), self.queues);
        let on = |on: bool| u8::from(on).to_string();
        match self.ours {
            End::Vhost => format!(
                "net_virtio_user0,path={socket},queues={queues},queue_size={RING},packed_vq={},mrg_rxbuf={},in_order={},server={}",
                on(self.packed),
                on(self.mergeable),
                on(self.in_order),
                on(!self.we_listen),
            ),
            End::VirtioUser => format!(
                "net_vhost0,iface={socket},queues={queues},client={}",
                on(self.we_listen)
            ),
        }
    }

    /// testpmd's own arguments.
    pub fn testpmd(self) -> Vec<String> {
        let mut arguments = vec![
            "--forward-mode=io".to_owned(),
            // What comes before it is ready is not to be thrown away; buffers of one frame where frames are not spread.
            "--no-flush-rx".to_owned(),
            "--nb-cores=1".to_owned(),
            "--total-num-mbufs=8192".to_owned(),
            format!("--rxq={}", self.queues),
            format!("--txq={}", self.queues),
        ];
        let mut more = |some: &[&str]| arguments.extend(some.iter().map(|text| (*text).to_owned()));
        if self.ours == End::VirtioUser {
            // Its link comes with us.
            more(&["--disable-link-check"]);
        }
        if self.most > 1514 {
            more(&["--max-pkt-len=9100", "--tx-offloads=0x8000"]);
            match (self.ours, self.mergeable) {
                (End::Vhost, true) => more(&["--enable-scatter"]),
                (End::Vhost, false) => more(&["--mbuf-size=9728"]),
                // It chains buffers of its own by itself.
                (End::VirtioUser, _) => {}
            }
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_told_the_same_and_one_of_them_listens() {
        let socket = Path::new("/s");
        let device = Device {
            queues: 2,
            ..Device::of(End::VirtioUser, 0b101)
        };
        assert_eq!(
            device.port(socket),
            "virtio-user:/s,queues=2,packed=on,mrg=off,in-order=on"
        );
        assert_eq!(device.vdev(socket), "net_vhost0,iface=/s,queues=2,client=0");
        assert_eq!(device.name(), "packed-one_buffer-in_order-2q-1514");
        let device = Device {
            we_listen: false,
            ..Device::of(End::Vhost, 0b010)
        };
        assert_eq!(device.port(socket), "vhost-user:/s,queues=1,client");
        let theirs = device.vdev(socket);
        assert!(
            theirs.contains("packed_vq=0,mrg_rxbuf=1,in_order=0,server=1"),
            "{theirs}"
        );
    }
}
