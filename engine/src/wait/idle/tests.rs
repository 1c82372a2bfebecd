use super::*;
use crate::wait::EventFd;
use std::os::fd::{AsFd, BorrowedFd};

/// A source whose answers are written down beforehand, and that notes what it is asked.
#[derive(Debug)]
struct Script {
    answers: Vec<Armed>,
    event: Option<EventFd>,
    armed: bool,
    arms: usize,
}

impl Script {
    fn new(answers: &[Armed]) -> Self {
        Self {
            answers: answers.iter().rev().copied().collect(),
            event: Some(EventFd::new().unwrap()),
            armed: false,
            arms: 0,
        }
    }

    fn raise(&self) {
        self.event.as_ref().unwrap().raise().unwrap();
    }
}

impl Source for Script {
    fn arm(&mut self) -> Armed {
        assert!(!self.armed, "armed twice");
        self.arms += 1;
        let answer = self.answers.pop().unwrap_or(Armed::Pending);
        self.armed = answer != Armed::Pending;
        answer
    }

    fn disarm(&mut self) {
        self.armed = false;
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.event.as_ref().map(AsFd::as_fd)
    }
}

/// Sleeps as soon as the clock has been looked at.
const AT_ONCE: IdlePolicy = IdlePolicy {
    spin: Duration::ZERO,
    pause: Duration::ZERO,
    nap: Duration::from_millis(1),
    sleep: Duration::from_millis(20),
};

fn idle(policy: IdlePolicy, sources: &[Script]) -> (Idle, Arc<Alarm>) {
    let alarm = Arc::new(Alarm::default());
    let idle = Idle::new(policy, &alarm).unwrap();
    for source in sources {
        idle.watch(source).unwrap();
    }
    (idle, alarm)
}

/// Rounds without work until the sources are asked to arm.
fn until_asked(idle: &mut Idle, sources: &mut [Script]) -> u32 {
    let before = sources[0].arms;
    let mut rounds = 0;
    while sources[0].arms == before {
        idle.turn(false, sources);
        rounds += 1;
    }
    rounds
}

#[test]
fn nothing_is_armed_while_there_is_work_and_all_are_disarmed_after_a_sleep() {
    let mut sources = [Script::new(&[Armed::Wakes; 3]), Script::new(&[Armed::Wakes; 3])];
    let (mut idle, _alarm) = idle(AT_ONCE, &sources);
    for round in 0..10_000 {
        idle.turn(round % UNTIMED < 2, &mut sources);
    }
    assert_eq!((sources[0].arms, idle.stats().sleeps.get()), (0, 0));
    idle.turn(true, &mut sources);
    sources[1].raise();
    assert_eq!(until_asked(&mut idle, &mut sources), UNTIMED);
    assert!(sources.iter().all(|source| !source.armed && source.arms == 1));
    let stats = idle.stats();
    assert_eq!((stats.sleeps.get(), stats.source_wakes.get()), (1, 1));
    // Back to polling: as many rounds again.
    sources[0].raise();
    assert_eq!(until_asked(&mut idle, &mut sources), UNTIMED);
}

#[test]
fn a_source_with_something_keeps_the_core_awake() {
    let mut sources = [
        Script::new(&[Armed::Wakes]),
        Script::new(&[Armed::Pending]),
        Script::new(&[]),
    ];
    let (mut idle, _alarm) = idle(AT_ONCE, &sources);
    until_asked(&mut idle, &mut sources);
    assert_eq!((idle.stats().sleeps.get(), idle.stats().refused.get()), (0, 1));
    assert_eq!(sources.each_ref().map(|source| source.arms), [1, 1, 0]);
    assert!(!sources[0].armed);
}

#[test]
fn a_sleep_is_bounded_by_what_the_worst_source_says() {
    for (worst, least) in [(Armed::Silent, 1), (Armed::Holds, 1), (Armed::Wakes, 20)] {
        let mut sources = [Script::new(&[worst]), Script::new(&[Armed::Wakes])];
        let (mut idle, _alarm) = idle(AT_ONCE, &sources);
        until_asked(&mut idle, &mut sources);
        let stats = idle.stats().clone();
        assert_eq!((stats.sleeps.get(), stats.timer_wakes.get()), (1, 1), "{worst:?}");
        assert!(stats.asleep_ns.get() >= least * 1_000_000, "{worst:?}");
        assert_eq!(stats.wake_latency.count(), 1);
        // Nothing came: the very next round sleeps again.
        sources[0].answers = vec![Armed::Wakes];
        sources[1].answers = vec![Armed::Wakes];
        assert_eq!(until_asked(&mut idle, &mut sources), 1);
    }
}

#[test]
fn what_is_held_makes_sleeps_longer_each_time() {
    let mut sources = [Script::new(&[Armed::Holds; 8])];
    let (mut idle, _alarm) = idle(AT_ONCE, &sources);
    let mut bounds = Vec::new();
    for _ in 0..8 {
        bounds.push(idle.hold);
        until_asked(&mut idle, &mut sources);
    }
    let millis: Vec<u128> = bounds.iter().map(Duration::as_millis).collect();
    assert_eq!(millis, [1, 2, 4, 8, 16, 20, 20, 20]);
}

#[test]
fn news_wake_the_core_or_keep_it_awake() {
    let mut sources = [Script::new(&[Armed::Wakes; 4])];
    let (mut idle, alarm) = idle(
        IdlePolicy {
            sleep: Duration::from_secs(60),
            ..AT_ONCE
        },
        &sources,
    );
    alarm.ring(1);
    for _ in 0..2 * UNTIMED {
        idle.turn(false, &mut sources);
    }
    assert_eq!(sources[0].arms, 0, "there are news");
    alarm.take(1);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while idle_is_awake(&alarm) {
                std::thread::yield_now();
            }
            alarm.ring(2);
        });
        until_asked(&mut idle, &mut sources);
    });
    assert_eq!((idle.stats().alarm_wakes.get(), alarm.news()), (1, 2));
    assert_eq!(idle.stats().wake_latency.count(), 1);
}

fn idle_is_awake(alarm: &Alarm) -> bool {
    !format!("{alarm:?}").contains("armed: true")
}

#[test]
fn a_busy_policy_never_asks() {
    let mut sources = [Script::new(&[])];
    let (mut idle, _alarm) = idle(IdlePolicy::busy(), &sources);
    for _ in 0..100_000 {
        idle.turn(false, &mut sources);
    }
    assert_eq!(sources[0].arms, 0);
}
