//! RFC 2544 with ports, and what ends it before its time.

use barline_traffic::rfc2544::{Load, Outcome, Report};
use clap::Parser;
use pktgen::{Failure, Job, Options, Rig};
use std::sync::atomic::{AtomicBool, Ordering};

const WIRE: &str = "sim:82576,wire=a,sim:82576,wire=a";

/// What a test says, trial by trial.
struct Told {
    report: Report,
    result: Result<(), Failure>,
    trials: Vec<(Load, Outcome)>,
}

/// Runs a test with trials of so many seconds; `after` is called behind every one.
fn test(
    ports: &str,
    trial: &str,
    more: &[&str],
    stop: &AtomicBool,
    after: impl FnOnce(&Rig) -> Box<dyn FnMut(usize)>,
) -> Told {
    let mut arguments = vec!["pktgen", "--ports", ports, "--send", "0", "--rate", "1kpps"];
    arguments.extend([
        "--huge",
        "none",
        "--sizes",
        "64",
        "--resolution",
        "20",
        "--trial",
        trial,
    ]);
    arguments.extend(more);
    let (job, settings) = Job::new(&Options::parse_from(arguments)).unwrap().unwrap();
    let mut rig = Rig::start(&settings, &AtomicBool::new(false)).unwrap();
    let (mut after, mut trials) = (after(&rig), Vec::new());
    let (report, result) = job.run(&mut rig, stop, &mut |progress, _| {
        trials.push((progress.load, progress.outcome));
        after(trials.len());
    });
    let (account, _) = rig.stop();
    assert!(account.balances(), "{account:?}");
    Told {
        report,
        result,
        trials,
    }
}

fn nothing(_: &Rig) -> Box<dyn FnMut(usize)> {
    Box::new(|_| ())
}

/// Counters are read when everything has come, not when everything was sent.
#[test]
fn a_trial_waits_for_what_is_on_its_way() {
    let slow = "sim:82576,wire=a+impair=delay=150ms,sim:82576,wire=a";
    let more = ["--rfc2544", "throughput,back-to-back", "--settle", "400"];
    let told = test(slow, "0.1", &more, &AtomicBool::new(false), nothing);
    told.result.unwrap();
    for (load, outcome) in &told.trials {
        let sent = match load {
            Load::Rate { pps, seconds } => (pps * seconds).round() as u64,
            Load::Burst(frames) => *frames,
        };
        // Nor do those count by which it rose to its rate.
        assert_eq!((outcome.sent, outcome.received), (sent, sent), "{load:?}");
        assert_eq!(outcome.latency_ns.count, sent);
        assert!(outcome.latency_ns.min >= 150_000_000);
    }
    assert!(!told.report.partial);
    assert_eq!(told.report.sizes[0].back_to_back, Some(100));
}

/// Nor is what comes after that counted for the next trial: its flows have other numbers.
#[test]
fn what_comes_too_late_is_nobodys() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let slow = "sim:82576,wire=a+impair=delay=5000ms,sim:82576,wire=a";
    let after =
        |_: &Rig| -> Box<dyn FnMut(usize)> { Box::new(|trials| STOP.store(trials > 2, Ordering::SeqCst)) };
    let more = ["--rfc2544", "frame-loss", "--settle", "50"];
    let told = test(slow, "0.3", &more, &STOP, after);
    told.result.unwrap();
    let received: Vec<u64> = told.trials.iter().map(|(_, outcome)| outcome.received).collect();
    assert_eq!(received, [0; 3]);
}

#[test]
fn a_signal_ends_it_and_what_was_found_stays() {
    let stopped = AtomicBool::new(true);
    let told = test(WIRE, "0.1", &["--rfc2544", "all"], &stopped, nothing);
    told.result.unwrap();
    assert!(told.report.partial && told.trials.is_empty());
    assert_eq!(told.report.sizes.len(), 1);
    // After the frame losses, before the search for a burst.
    static STOP: AtomicBool = AtomicBool::new(false);
    let after =
        |_: &Rig| -> Box<dyn FnMut(usize)> { Box::new(|trials| STOP.store(trials > 1, Ordering::SeqCst)) };
    let told = test(
        WIRE,
        "0.1",
        &["--rfc2544", "frame-loss,back-to-back"],
        &STOP,
        after,
    );
    told.result.unwrap();
    assert!(told.report.partial);
    let of = &told.report.sizes[0];
    assert_eq!((told.trials.len(), of.frame_loss.len()), (2, 2));
    assert_eq!(of.back_to_back, None);
}

#[test]
fn a_port_that_dies_ends_it_and_what_was_found_stays() {
    let after = |rig: &Rig| -> Box<dyn FnMut(usize)> {
        let end = rig.far_ends().next().unwrap().clone();
        Box::new(move |trials| {
            if trials == 2 {
                end.remove();
            }
        })
    };
    let told = test(
        WIRE,
        "0.1",
        &["--rfc2544", "frame-loss,back-to-back"],
        &AtomicBool::new(false),
        after,
    );
    let said = told.result.unwrap_err().to_string();
    assert!(said.starts_with("sim:82576,wire=a: the port died"), "{said}");
    assert!(told.report.partial);
    assert_eq!(told.report.sizes[0].frame_loss.len(), 2);
}

#[test]
fn what_a_test_cannot_do_is_said() {
    for (more, wanted) in [
        (&["--rate", "50%"][..], "--rate 5Mpps"),
        (&["--unsigned"], "leave --unsigned out"),
        (&["--replay", "a.pcap"], "leave --replay out"),
        (&["--trial", "0"], "0.01 to 3600"),
        (&["--resolution", "0"], "0.001 to 50"),
        (&["--search", "linear"], "binary or mlr"),
        (&["--sizes", "64-128"], "64,512,1518"),
        (&["--sizes", "imix"], "64,512,1518"),
        (&["--sizes", "20"], "64 (with FCS"),
        (&["--report", "/proc/report"], "--report DIR"),
    ] {
        let mut options = vec!["pktgen", "--rfc2544", "all"];
        options.extend(more);
        let error = Job::new(&Options::parse_from(options)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{more:?}: {error}");
    }
    let mut options = Options::from_toml("rfc2544 = ['all']\n[[streams]]\n").unwrap();
    assert!(
        Job::new(&options)
            .unwrap_err()
            .to_string()
            .contains("[[streams]]")
    );
    options.streams.clear();
    assert!(Job::new(&options).unwrap().is_some());
}
