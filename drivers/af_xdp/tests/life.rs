//! What happens to interfaces and their programs, and what is said about it.

#![allow(clippy::print_stdout, reason = "a second process tells the first")]

mod common;

use barline::pool::Batch;
use barline::port::{Port, PortConfig, PortEvent, Queues};
use barline::wait::{Armed, Watch};
use barline_af_xdp::{AfXdp, Options, Umems, XdpError};
use barline_conformance::{FarEnd, Lane, Patience, frame, pool, run, udp};
use barline_netif::program_on;
use common::{Pair, Pairs, able, enter, ip};
use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the second process of a test is to do: the name of the interface.
const OPEN: &str = "BARLINE_TEST_OPEN";

fn open(interface: &str) -> Result<AfXdp, XdpError> {
    AfXdp::open(&Options::new(interface), &Umems::default())
}

/// This test, in another process.
fn again(name: &str, interface: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture"])
        .env(OPEN, interface);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

#[test]
fn mistakes_have_one_remedy() {
    if !able() {
        return;
    }
    enter();
    let error = open("nowhere").unwrap_err();
    assert!(
        error.is_usage() && error.to_string().contains("nowhere"),
        "{error}"
    );
    let pair = Pair::new(1500, 2);
    let beyond = Options {
        queue: 2,
        ..Options::new(&pair.near)
    };
    let error = AfXdp::open(&beyond, &Umems::default()).unwrap_err();
    assert!(
        error.is_usage() && error.to_string().contains("has no queue 2: it has 2"),
        "{error}"
    );
    assert_eq!(program_on(&pair.near).unwrap(), None);
    let first = open(&pair.near).unwrap();
    let id = program_on(&pair.near).unwrap().expect("a program");
    let error = open(&pair.near).unwrap_err();
    let text = error.to_string();
    assert!(
        error.is_machine() && text.contains(&format!("number {id}")) && text.contains("xdp off"),
        "{text}"
    );
    assert_eq!(program_on(&pair.near).unwrap(), Some(id));
    drop(first);
    assert_eq!(program_on(&pair.near).unwrap(), None);
    let ports = [0, 1].map(|queue| Options {
        queue,
        ..Options::new(&pair.near)
    });
    let umems = Umems::default();
    let [one, other] =
        ports.map(|options| AfXdp::open(&options, &umems).expect("ports of one process share a program"));
    drop(one);
    assert!(program_on(&pair.near).unwrap().is_some());
    drop(other);
    assert_eq!(pair.complaints(), Vec::<String>::new());
}

#[test]
fn a_queue_in_use_is_said_to_be() {
    if !able() {
        return;
    }
    enter();
    let (pair, pool) = (Pair::new(1500, 1), pool(2048));
    let umems = Umems::default();
    let mut ports = [0, 1].map(|_| AfXdp::open(&Options::new(&pair.near), &umems).unwrap());
    let queues = ports[0].start(&PortConfig::new(&pool)).unwrap();
    let error = ports[1].start(&PortConfig::new(&pool)).unwrap_err().to_string();
    assert!(
        error.contains("queue 0") && error.contains("another AF_XDP socket"),
        "{error}"
    );
    ports[0].stop(queues).unwrap();
    let queues = ports[1].start(&PortConfig::new(&pool)).unwrap();
    ports[1].stop(queues).unwrap();
    assert_eq!(pool.available(), pool.packets());
}

#[test]
fn who_may_not_is_told_what_is_needed() {
    if let Ok(interface) = env::var(OPEN) {
        let error = open(&interface).unwrap_err();
        println!("\nERROR {} {error}", error.is_machine());
        return;
    }
    if !able() {
        return;
    }
    enter();
    let pair = Pair::new(1500, 1);
    let output = again("who_may_not_is_told_what_is_needed", &pair.near)
        .uid(65534)
        .gid(65534)
        .output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: nobody may not run this test's file");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.contains("ERROR") {
        eprintln!("SKIPPED: nobody may not run this test's file: {text}");
        return;
    }
    assert!(
        text.contains("ERROR true") && text.contains("setcap cap_net_raw"),
        "{text}"
    );
    assert_eq!(pair.complaints(), Vec::<String>::new());
}

/// Each right that is missing alone, the others being there: told with the same remedy, and nothing is attached.
#[test]
fn one_missing_right_is_told_as_well() {
    if let Ok(interface) = env::var(OPEN) {
        let error = open(&interface).unwrap_err();
        println!("\nERROR {} {error}", error.is_machine());
        return;
    }
    if !able() {
        return;
    }
    enter();
    let pair = Pair::new(1500, 1);
    // CAP_SYS_ADMIN stands for CAP_BPF and, to bpf(2), for CAP_NET_ADMIN too.
    for without in ["-net_raw", "-bpf,-sys_admin", "-net_admin,-sys_admin"] {
        let mut command = again("one_missing_right_is_told_as_well", &pair.near);
        let mut limited = Command::new("setpriv");
        limited
            .args(["--bounding-set", without])
            .arg(command.get_program());
        limited.args(command.get_args()).env(OPEN, &pair.near);
        command = limited;
        let Ok(output) = command.output() else {
            eprintln!("SKIPPED: no setpriv command: apt install util-linux");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains("ERROR true no right to")
                && text.contains("setcap cap_net_raw,cap_net_admin,cap_bpf"),
            "without {without}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(pair.complaints(), Vec::<String>::new(), "without {without}");
    }
}

/// Nobody takes the interface away by force while the port runs: the kernel protects a program that a link attaches.
#[test]
fn a_program_is_not_replaced_by_force() {
    if !able() {
        return;
    }
    enter();
    let mut lane = Lane::up(&Pairs::new());
    let names = barline_netif::all().unwrap();
    let near = names
        .iter()
        .map(|interface| interface.facts().unwrap().name)
        .find(|name| name.starts_with("near"))
        .unwrap();
    let id = program_on(&near).unwrap().expect("a program");
    for force in ["", "-force "] {
        for mode in ["xdp", "xdpdrv", "xdpgeneric"] {
            // Some are refused, some do nothing where there is no program of that mode.
            let _ = barline_netif::testing::ip(&format!("{force}link set dev {near} {mode} off"));
        }
    }
    assert_eq!(program_on(&near).unwrap(), Some(id));
    assert_eq!(lane.port().event(), None);
    lane.expect(&[lane.frame(60, 1)]);
    lane.end();
}

/// As containers do it. The program went with the interface, and goes with the port.
#[test]
fn an_interface_that_is_moved_to_another_namespace_is_gone() {
    if !able() {
        return;
    }
    enter();
    let space = format!("barline-xdp-{}", std::process::id());
    if let Err(why) = barline_netif::testing::ip(&format!("netns add {space}")) {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let (pair, pool) = (Pair::new(1500, 1), pool(2048));
    let mut port = open(&pair.near).unwrap();
    let queues = port.start(&PortConfig::new(&pool)).unwrap();
    ip(&format!("link set {} netns {space}", pair.near));
    let (event, link) = (port.event(), port.link());
    port.stop(queues).unwrap();
    drop(port);
    let shown = || {
        let mut show = Command::new("ip");
        let output = show
            .args(["-n", &space, "-d", "link", "show", &pair.near])
            .output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    };
    let patience = Patience::new();
    while shown().contains("xdp") {
        patience.wait("the program to go");
    }
    assert!(shown().contains(&pair.near), "{}", shown());
    ip(&format!("netns del {space}"));
    assert!(pair.was_removed());
    assert_eq!((event, link.up), (Some(PortEvent::Gone), false));
    assert_eq!(pool.available(), pool.packets());
}

#[test]
fn nothing_is_left_of_a_process_that_is_killed() {
    if let Ok(interface) = env::var(OPEN) {
        let pool = pool(2048);
        let mut port = open(&interface).unwrap();
        let _queues = port
            .start(&PortConfig {
                promiscuous: true,
                ..PortConfig::new(&pool)
            })
            .unwrap();
        println!("\nSTARTED");
        loop {
            std::thread::park();
        }
    }
    if !able() {
        return;
    }
    enter();
    let pair = Pair::new(1500, 1);
    let mut child = again("nothing_is_left_of_a_process_that_is_killed", &pair.near)
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines.map_while(Result::ok).any(|line| line == "STARTED"),
        "it does not start"
    );
    assert!(program_on(&pair.near).unwrap().is_some());
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let patience = Patience::new();
    while program_on(&pair.near).unwrap().is_some() {
        patience.wait("the program to go");
    }
    let shown = Command::new("ip")
        .args(["-d", "link", "show", &pair.near])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        !shown.contains("xdp") && shown.contains("promiscuity 0"),
        "{shown}"
    );
}

#[test]
fn a_removed_interface_ends_the_run_and_a_renamed_one_does_not() {
    if !able() {
        return;
    }
    enter();
    let (pair, pool) = (Pair::new(1500, 1), pool(2048));
    let mut port = open(&pair.near).unwrap();
    let config = PortConfig {
        promiscuous: true,
        ..PortConfig::new(&pool)
    };
    let mut queues = port.start(&config).unwrap();
    let (watch, mut cache, mut batch) = (Watch::new().unwrap(), pool.cache(), Batch::new());
    port.event_fds().into_iter().for_each(|fd| watch.add(fd).unwrap());
    ip(&format!("link set {} down", pair.near));
    assert!(watch.wait(Duration::from_secs(20)).unwrap());
    assert_eq!(port.event(), None);
    assert!(!port.link().up);
    ip(&format!("link set {} name another", pair.near));
    ip("link set another up");
    let patience = Patience::new();
    while !port.link().up {
        patience.wait("the link");
    }
    assert_eq!(port.event(), None);
    let sent = frame(port.mac(), 100, 1);
    let patience = Patience::new();
    while queues.rx[0].receive(&mut cache, &mut batch) == 0 {
        pair.inject(&sent);
        patience.wait("a frame after the renaming");
    }
    assert_eq!(batch.as_slice()[0][..], sent[..]);
    cache.free(&mut batch);
    ip("link del another");
    let patience = Patience::new();
    while port.event() != Some(PortEvent::Gone) {
        patience.wait("the end");
    }
    assert!(!port.link().up);
    assert_eq!(queues.rx[0].receive(&mut cache, &mut batch), 0);
    port.stop(queues).unwrap();
    cache.flush();
    assert_eq!(pool.available(), pool.packets());
}

#[test]
fn a_sleeping_core_is_woken_by_a_frame() {
    if !able() {
        return;
    }
    enter();
    let mut lane = Lane::up(&Pairs::new());
    let watch = Watch::new().unwrap();
    watch
        .add(lane.rx[0].wake_fd().expect("something to wait for"))
        .unwrap();
    for n in 0..5 {
        assert_eq!(lane.rx[0].arm(), Armed::Wakes);
        assert!(
            !watch.wait(Duration::from_millis(10)).unwrap(),
            "nothing has come"
        );
        lane.inject(&lane.frame(60, n));
        assert!(watch.wait(Duration::from_secs(20)).unwrap(), "a frame has come");
        assert_eq!(lane.rx[0].arm(), Armed::Pending);
        lane.rx[0].disarm();
        assert_eq!(lane.receive(1).len(), 1);
    }
    lane.end();
}

#[test]
fn every_frame_is_received_or_in_a_counter_of_the_kernel() {
    if !able() {
        return;
    }
    enter();
    let mut lane = Lane::with(&Pairs::new(), |config| config.rx_ring = 64);
    const FRAMES: u64 = 1000;
    for n in 0..FRAMES {
        lane.inject(&lane.frame(60, n));
    }
    let (mut received, patience) = (0, Patience::new());
    loop {
        received += lane.poll().len() as u64;
        let counters = lane.device_counters();
        let lost = counters["xsk_rx_dropped"] + counters["xsk_rx_ring_full"];
        if received + lost == FRAMES {
            assert!(
                lost >= FRAMES - 128 && received >= 64,
                "{received} received, {counters:?}"
            );
            break;
        }
        patience.wait("the sum to be right");
    }
    let last = lane.device_counters();
    let queues = lane.queues();
    lane.port().stop(queues).unwrap();
    assert_eq!(lane.device_counters(), last, "they stay");
    lane.gone();
}

#[test]
fn several_queues_share_a_umem_and_an_interface() {
    if !able() {
        return;
    }
    enter();
    let (pair, pool) = (Pair::new(1500, 2), pool(4096));
    let mut port = open(&pair.near).unwrap();
    assert_eq!((port.caps().rx_queues, port.caps().tx_queues), (2, 2));
    let config = PortConfig {
        rx_queues: 2,
        tx_queues: 2,
        ..PortConfig::new(&pool)
    };
    let Queues { mut rx, mut tx } = port.start(&config).unwrap();
    let (mut cache, mut batch, mac) = (pool.cache(), Batch::new(), port.mac());
    let (mut homes, mut got) = (BTreeSet::new(), 0);
    for flow in 0..64 {
        pair.inject(&udp(mac, flow * 7919, 0));
    }
    let patience = Patience::new();
    while got < 64 {
        for (index, queue) in rx.iter_mut().enumerate() {
            let n = queue.receive(&mut cache, &mut batch);
            got += n;
            if n > 0 {
                homes.insert(index);
            }
            // What came by one queue leaves by the other.
            tx[1 - index].transmit(&mut cache, &mut batch);
            cache.free(&mut batch);
        }
        patience.wait("flows");
    }
    let (mut back, patience) = (0, Patience::new());
    while back < 64 {
        for queue in &mut tx {
            queue.reclaim(&mut cache);
        }
        back += usize::from(pair.take().is_some());
        patience.wait("frames to come back");
    }
    eprintln!("queues that frames came by: {homes:?}");
    port.stop(Queues { rx, tx }).unwrap();
    cache.flush();
    assert_eq!(pool.available(), pool.packets());
}

/// Cases of the suite with frames in several buffers, and with the driver's work in our calls.
#[test]
fn cases_with_jumbo_frames_and_with_busy_polling() {
    if !able() {
        return;
    }
    enter();
    let jumbo = Pairs {
        mtu: 9000,
        ..Pairs::new()
    };
    for case in [
        "jumbo_frames_pass_both_ways",
        "an_mtu_that_is_accepted_fits_the_buffers",
        "every_length_both_ways",
    ] {
        run(&jumbo, case);
    }
    let busy = Pairs {
        busy_poll: Some(64),
        ..Pairs::new()
    };
    for case in [
        "starts_stops_and_starts_again",
        "bursts_of_any_size_wrap_rings_of_any_length",
    ] {
        run(&busy, case);
    }
}
