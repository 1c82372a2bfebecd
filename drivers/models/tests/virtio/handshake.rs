//! PCI identity, capabilities, features, status, registers.

use crate::driver::{MAC, Rig, bit};
use barline::bus::local::LocalDevice;
use barline_models::virtio::{Offer, Platform, RssOffer};

const VERSION_1: u64 = bit(32);

#[test]
fn a_function_says_what_it_is() {
    for (transitional, device, revision, subsystem) in [(false, 0x1041, 1, 0x1100), (true, 0x1000, 0, 1)] {
        let (rig, _far) = Rig::new(Offer {
            transitional,
            pairs: 3,
            ..Offer::default()
        });
        assert_eq!(rig.config(0, 4), device << 16 | 0x1af4);
        assert_eq!(rig.config(8, 4), 0x0200_0000 | revision);
        assert_eq!(rig.config(0x2c, 4), subsystem << 16 | 0x1af4);
        let mut kinds: Vec<u8> = rig.places.keys().copied().collect();
        kinds.sort_unstable();
        assert_eq!(kinds, [1, 2, 3, 4, 5]);
        for kind in 1..5 {
            let (bar, offset, len) = rig.places[&kind];
            assert!(
                len > 0 && offset + len as usize <= rig.device.bar_len(bar),
                "{kind}"
            );
            assert!(kind == 3 || offset % 4 == 0);
        }
        // Seven queues can be notified.
        assert!(rig.places[&2].2 >= 6 * rig.multiplier + 2);
        let bar0 = {
            rig.device.config_write(0x10, &[0xff; 4]);
            rig.config(0x10, 4)
        };
        assert_eq!(bar0, if transitional { 0xffff_ffe1 } else { 0 });
        assert_eq!(rig.device.bar_len(0), 0);
        rig.assert_clean();
    }
}

#[test]
fn offers_are_closed_and_configurable() {
    let bare = Offer::bare().features();
    assert_eq!(bare, VERSION_1 | bit(5) | bit(36));
    let all = Offer {
        pairs: 4,
        rss: Some(RssOffer::default()),
        mtu: Some(9000),
        statistics: true,
        ..Offer::default()
    };
    assert_eq!(all.features() & (bit(22) | bit(60)), bit(22) | bit(60));
    // Without a control queue nothing is offered that needs one.
    let none = Offer {
        control: false,
        ..all
    }
    .features();
    for needs in [17, 18, 19, 20, 22, 23, 50, 60] {
        assert_eq!(none & bit(needs), 0, "{needs}");
    }
    assert_ne!(none & bit(3), 0);
}

#[test]
fn feature_words_are_selected_and_read_back() {
    let (mut rig, _far) = Rig::new(Offer::default());
    let offered = rig.offered();
    assert_eq!(offered, Offer::default().features());
    rig.write(1, 0, 4, 2);
    assert_eq!(rig.read(1, 4, 4), 0, "no features above 63");
    assert!(rig.negotiate(VERSION_1 | bit(5) | bit(16)));
    rig.write(1, 8, 4, 0);
    assert_eq!(rig.read(1, 12, 4), 1 << 5 | 1 << 16);
    rig.write(1, 8, 4, 1);
    assert_eq!(rig.read(1, 12, 4), 1);
    assert_eq!(
        rig.device.model(|model| model.features()),
        VERSION_1 | bit(5) | bit(16)
    );
    rig.assert_clean();
}

#[test]
fn sets_that_will_not_do_are_refused() {
    let (mut rig, _far) = Rig::new(Offer::default());
    assert!(!rig.negotiate(bit(5)), "VERSION_1 is missing");
    assert_eq!(rig.status(), 3);
    rig.assert_clean();
    assert!(!rig.negotiate(VERSION_1 | bit(18)), "CTRL_RX without CTRL_VQ");
    assert_eq!(rig.misuses(), ["without what it requires: CTRL_RX"]);
    assert!(rig.negotiate(VERSION_1));

    let (mut rig, _far) = Rig::new(Offer {
        platform: Platform::Required,
        ..Offer::default()
    });
    assert!(!rig.negotiate(VERSION_1));
    assert!(rig.negotiate(VERSION_1 | bit(33)));
    rig.assert_clean();

    // A bit nobody has defined, offered by a device of the future.
    let (mut rig, _far) = Rig::new(Offer {
        more: bit(44),
        ..Offer::default()
    });
    assert_ne!(rig.offered() & bit(44), 0);
    assert!(rig.negotiate(VERSION_1));
    rig.assert_clean();
    assert!(!rig.negotiate(VERSION_1 | bit(44)));
    assert_eq!(rig.misuses(), ["not known: bit 44"]);
}

#[test]
fn steps_out_of_order_are_recorded() {
    let (rig, _far) = Rig::new(Offer::bare());
    rig.set_status(1);
    rig.set_status(1 | 8);
    assert_eq!(rig.misuses(), ["status out of order: 0x01 to 0x09"]);
    assert_eq!(rig.status() & 8, 0, "no VERSION_1");
    rig.set_status(3);
    rig.set_status(2);
    assert_eq!(rig.misuses()[1..], ["status bits cleared: 0x03 to 0x02"]);
    rig.set_status(0x80);
    assert_eq!(rig.misuses().len(), 3, "cleared again");
    rig.set_status(0);
    rig.set_status(0x40);
    assert_eq!(rig.misuses()[3..], ["status out of order: 0x00 to 0x40"]);
    assert_eq!(rig.status(), 0);
}

#[test]
fn features_after_the_end_of_negotiation_do_not_take() {
    let (mut rig, _far) = Rig::new(Offer::default());
    assert!(rig.negotiate(VERSION_1));
    rig.write(1, 8, 4, 0);
    rig.write(1, 12, 4, 1 << 16);
    assert_eq!(rig.misuses(), ["features after FEATURES_OK"]);
    assert_eq!(rig.device.model(|model| model.features()), VERSION_1);
    let (rig, _far) = Rig::new(Offer::bare());
    rig.set_status(3);
    rig.write(1, 8, 4, 0);
    rig.write(1, 12, 4, 1 << 16);
    assert_eq!(rig.misuses(), ["not offered: STATUS"]);
}

#[test]
fn the_queues_that_exist_follow_from_the_features() {
    let offer = Offer {
        pairs: 2,
        queue_size: 128,
        ..Offer::default()
    };
    let (mut rig, _far) = Rig::new(offer);
    let sizes = |rig: &Rig| {
        [0, 1, 2, 3, 4, 5].map(|queue| {
            rig.select(queue);
            rig.read(1, 0x18, 2)
        })
    };
    assert_eq!(rig.read(1, 0x12, 2), 5);
    assert!(rig.negotiate(VERSION_1 | bit(17) | bit(22)));
    assert_eq!(sizes(&rig), [128, 128, 128, 128, 128, 0]);
    // The control queue comes right behind the pairs that exist: one, without MQ.
    assert!(rig.negotiate(VERSION_1 | bit(17)));
    assert_eq!(sizes(&rig), [128, 128, 128, 0, 0, 0]);
    assert!(rig.negotiate(VERSION_1));
    assert_eq!(sizes(&rig), [128, 128, 0, 0, 0, 0]);
    rig.assert_clean();
}

#[test]
fn the_device_configuration_has_what_is_offered() {
    let (mut rig, _far) = Rig::new(Offer {
        mtu: Some(4000),
        pairs: 2,
        rss: Some(RssOffer::default()),
        ..Offer::default()
    });
    assert_eq!(std::array::from_fn(|at| rig.read(4, at, 1) as u8), MAC);
    let fields = [
        (6, 2),
        (8, 2),
        (10, 2),
        (12, 4),
        (16, 1),
        (17, 1),
        (18, 2),
        (20, 4),
    ];
    let values = fields.map(|(at, bytes)| rig.read(4, at, bytes));
    assert_eq!(values, [1, 2, 4000, 10_000, 1, 40, 128, 0x1ff]);
    rig.start(VERSION_1 | bit(5) | bit(16) | bit(63), 1, 16);
    let before = rig.read(1, 0x15, 1);
    assert_eq!((rig.read(4, 6, 2), rig.read(1, 0x15, 1)), (1, before));
    rig.device.set_link(false);
    assert_eq!(rig.read(3, 0, 1), 2, "configuration interrupt");
    assert_eq!(rig.read(3, 0, 1), 0, "reading clears");
    assert_eq!((rig.read(4, 6, 2), rig.read(4, 12, 4)), (0, u32::MAX));
    assert_ne!(rig.read(1, 0x15, 1), before, "generation");
    rig.assert_clean();
    let (rig, _far) = Rig::new(Offer::bare());
    assert_eq!(rig.read(4, 10, 2), 0);
    assert_eq!(rig.misuses(), ["device configuration at 0xa is not offered"]);
}

#[test]
fn widths_are_natural_and_others_work_with_a_complaint() {
    let (rig, _far) = Rig::new(Offer::default());
    rig.set_status(1);
    rig.select(1);
    assert_eq!(
        rig.read(1, 0x14, 4),
        1 << 16 | 1,
        "status, generation, queue_select"
    );
    assert_eq!(rig.read(1, 0x15, 2), 0x0100);
    // queue_select again, by a write that covers status with the value it has.
    rig.write(1, 0x14, 4, 2 << 16 | 1);
    assert_eq!((rig.read(1, 0x16, 2), rig.status()), (2, 1));
    let misuses = rig.misuses();
    assert_eq!(misuses[0], "access of 4 bytes at 0x1014");
    assert_eq!(misuses[1], "access of 2 bytes at 0x1015");
    assert!(misuses[2..].contains(&"write to read-only field at 0x1015".to_owned()));
}

#[test]
fn the_window_in_configuration_space_reaches_the_structures() {
    let (rig, _far) = Rig::new(Offer::default());
    let mut at = rig.config(0x34, 1) as u16;
    while rig.config(at, 1) != 9 || rig.config(at + 3, 1) != 5 {
        at = rig.config(at + 1, 1) as u16;
    }
    let (bar, common, _) = rig.places[&1];
    let aim = |offset: usize, bytes: u32| {
        rig.device.config_write(at + 4, &[bar]);
        rig.device.config_write(at + 8, &(offset as u32).to_le_bytes());
        rig.device.config_write(at + 12, &bytes.to_le_bytes());
    };
    aim(common + 0x14, 1);
    rig.device.config_write(at + 16, &[1, 0, 0, 0]);
    assert_eq!(rig.status(), 1);
    rig.device.config_write(at + 16, &[3]);
    assert_eq!((rig.config(at + 16, 1), rig.status()), (3, 3));
    aim(common + 4, 4);
    assert_eq!(rig.config(at + 16, 4), rig.read(1, 4, 4));
    rig.assert_clean();
    aim(common + 0x13, 2);
    rig.config(at + 16, 4);
    assert_eq!(
        rig.misuses(),
        ["configuration window leads outside the structures"]
    );
}

#[test]
fn resets_of_every_kind_bring_everything_back() {
    let (mut rig, _far) = Rig::new(Offer::default());
    let express = {
        let mut at = rig.config(0x34, 1) as u16;
        while rig.config(at, 1) != 0x10 {
            at = rig.config(at + 1, 1) as u16;
        }
        at
    };
    assert_ne!(rig.config(express + 4, 4) & 1 << 28, 0, "function-level reset");
    for kind in 0..3 {
        rig.device.config_write(4, &[6, 0]);
        rig.start(VERSION_1 | bit(5), 1, 16);
        match kind {
            0 => rig.set_status(0),
            1 => LocalDevice::reset(&*rig.device),
            _ => rig.device.config_write(express + 8, &[0x00, 0x80]),
        }
        assert_eq!((rig.status(), rig.config(express + 8, 2) & 0x8000), (0, 0));
        assert_eq!(rig.device.is_master(), kind == 0, "kind {kind}");
        rig.select(0);
        assert_eq!((rig.read(1, 0x1c, 2), rig.read(1, 0x18, 2)), (0, 256));
        assert_eq!((rig.read(1, 0x1a, 2), rig.read(1, 0x10, 2)), (0xffff, 0xffff));
    }
    rig.assert_clean();
}
