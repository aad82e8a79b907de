//! The end of a log, whoever brings it about: nobody waits for ever, and each is told why.

use crate::pair::{Pair, Side, has, payload, plain};
use crate::process::folder_on_disk;
use crate::process::node::config;
use crate::under_test::{self, UnderTest};
use handfast::clients::mirrored_log::{
    Acknowledgement, LogConfig, LogError, LogEvent, LogPoller, LogThread, Lsn, MirroredLog, OnLoss, Pace, ReserveError,
};
use handfast::manager::ClusterManager;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Until then a test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn going_alone(folder: &Path) -> LogConfig {
    plain().on_loss(OnLoss::GoOnAlone { term_file: folder.join("term") })
}

/// A log without a partner, and its manager, which the caller ends.
fn lone(title: &str, log: LogConfig) -> (ClusterManager<UnderTest>, MirroredLog, LogPoller<UnderTest>) {
    let name = Pair::new(title).name;
    let mut manager = ClusterManager::boot(under_test::fabric(), config(&name, 0)).expect("boot");
    let (log, poller, _) = MirroredLog::open(log, &mut manager).expect("a log");
    manager.open();
    (manager, log, poller)
}

/// Does it on a thread of its own. What it comes to arrives here, or is missed when patience ends.
fn beside<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let _ = tell.send(what());
    });
    told
}

/// Waits for a record that nobody acknowledges, without a deadline, on a thread of its own.
fn waiter(log: &MirroredLog, lsn: Lsn) -> Receiver<Result<Acknowledgement, LogError>> {
    let log = log.clone();
    beside(move || log.wait(lsn))
}

/// Why the log takes no more records, once it does not.
fn end_of(log: &MirroredLog) -> LogError {
    let producer = log.producer("late");
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match producer.append(b"late") {
            Err(ReserveError::Ended(why)) => return why,
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    panic!("it takes records still")
}

/// "Stop the log once this is durable", said in the callback that tells so.
pub(crate) fn a_thread_that_its_own_callback_drops_ends_the_log() {
    let folder = folder_on_disk();
    let (_manager, log, mut poller) = lone("log-self", going_alone(folder.path()));
    poller.begin_alone().expect("alone");
    let slot: Arc<Mutex<Option<LogThread>>> = Arc::default();
    let here = Arc::clone(&slot);
    let (tell, told) = channel();
    poller.on_durable(Box::new(move |_, _| {
        drop(here.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = tell.send(());
    }));
    *slot.lock().expect("no panic") = Some(poller.spawn(Pace::default()).expect("a thread"));
    let lsn = log.producer("test").append(b"x").expect("room");
    told.recv_timeout(PATIENCE).expect("the callback goes on after the drop");
    assert_eq!(end_of(&log), LogError::Closed);
    assert_eq!(log.wait(lsn), Ok(Acknowledgement::Alone), "what was acknowledged stays so");
    let after = waiter(&log, log.status().head).recv_timeout(PATIENCE).expect("no wait for ever");
    assert_eq!(after, Err(LogError::Closed));
}

pub(crate) fn a_thread_that_sleeps_for_ever_ends_when_it_is_dropped() {
    let (_manager, log, poller) = lone("log-asleep", plain());
    let thread = poller.spawn(Pace::Relaxed { spin: Duration::ZERO, sleep: Duration::MAX }).expect("a thread");
    // Time to fall asleep: without it the case is only easier.
    std::thread::sleep(Duration::from_millis(50));
    beside(move || drop(thread)).recv_timeout(PATIENCE).expect("the drop ends");
    assert_eq!(log.wait(Lsn::ZERO), Err(LogError::Closed));
}

pub(crate) fn a_wait_ends_with_the_poller() {
    let (_manager, log, mut poller) = lone("log-closed", plain());
    for _ in 0..100 {
        poller.poll();
    }
    let waits = waiter(&log, Lsn::ZERO);
    drop(poller);
    assert_eq!(waits.recv_timeout(PATIENCE).expect("no wait for ever"), Err(LogError::Closed));
    assert_eq!(end_of(&log), LogError::Closed);
}

/// Nobody delivers a session any more, so nobody would ever wake the one who waits.
pub(crate) fn a_wait_ends_with_the_manager() {
    // Never open, its manager polled by its user; and open and mirrored, on a control thread.
    let (manager, log, mut poller) = lone("log-no-manager", plain());
    let early = waiter(&log, Lsn::ZERO);
    drop(manager);
    let began = Instant::now();
    let ended = |event: LogEvent| event == LogEvent::Ended(LogError::ManagerGone);
    while !std::iter::from_fn(|| poller.next_event()).any(ended) {
        assert!(began.elapsed() < PATIENCE, "no event tells of the end");
        poller.poll();
    }
    assert_eq!(early.recv_timeout(PATIENCE).expect("no wait for ever"), Err(LogError::ManagerGone));
    assert_eq!(end_of(&log), LogError::ManagerGone);
    assert_eq!(poller.begin_alone(), Err(LogError::ManagerGone));

    let mut pair = Pair::new("log-manager-ends");
    pair.start_both([plain(), plain()]);
    pair.until_mirrored(0);
    let (lsn, _) = pair.append(0, b"mirrored");
    let (side, mut partner) = (pair.take(0), pair.take(1));
    let log = side.log;
    let control = side.manager.spawn().expect("a thread");
    let _thread = side.poller.spawn(Pace::default()).expect("a thread");
    let late = waiter(&log, log.status().head);
    drop(control);
    assert_eq!(late.recv_timeout(PATIENCE).expect("no wait for ever"), Err(LogError::ManagerGone));
    assert_eq!(log.wait(lsn), Ok(Acknowledgement::Placed), "what was acknowledged stays so");
    while partner.manager.poll().is_some() {}
}

pub(crate) fn a_log_that_may_go_on_alone_does_so_without_its_manager() {
    let folder = folder_on_disk();
    let mut pair = Pair::new("log-alone-for-good");
    pair.start_both([going_alone(folder.path()), plain()]);
    pair.until_mirrored(0);
    let (_, standing) = pair.append(0, b"mirrored");
    assert_eq!(standing, Acknowledgement::Placed);
    let mut side = pair.take(0);
    drop(side.manager);
    let began = Instant::now();
    let mut alone = false;
    while !alone {
        assert!(began.elapsed() < PATIENCE, "{:?}", side.events);
        side.poller.poll();
        side.events.extend(std::iter::from_fn(|| side.poller.next_event()));
        alone = side.events.iter().any(|event| matches!(event, LogEvent::Alone { .. }));
    }
    let lsn = side.producer.append(b"alone").expect("room");
    while side.log.durable() <= lsn {
        assert!(began.elapsed() < PATIENCE, "{:?}", side.events);
        side.poller.poll();
    }
    assert_eq!(side.log.wait(lsn), Ok(Acknowledgement::Alone));
}

/// The record stays acknowledged; who appends and who waits is told what ended the log.
pub(crate) fn a_callback_that_panics_ends_the_log() {
    let folder = folder_on_disk();
    let (_manager, log, mut poller) = lone("log-panic", going_alone(folder.path()));
    poller.begin_alone().expect("alone");
    poller.on_durable(Box::new(|_, _| panic!("what a test wants to see")));
    let thread = poller.spawn(Pace::default()).expect("a thread");
    let lsn = log.producer("test").append(b"x").expect("room");
    let why = end_of(&log);
    let LogError::Callback { message, .. } = &why else { panic!("{why}") };
    assert_eq!(message, "what a test wants to see");
    assert!(why.to_string().contains("on_durable"), "{why}");
    assert_eq!(log.wait(lsn), Ok(Acknowledgement::Alone));
    assert_eq!(log.wait(log.status().head), Err(why.clone()));
    let ended = LogEvent::Ended(why);
    while thread.events().recv_timeout(PATIENCE).expect("an event tells so") != ended {}
}

/// What was told of a log that could not go on alone, in order.
fn broken(side: &Side) -> Vec<String> {
    let told = |event: &LogEvent| match event {
        LogEvent::Broken(error @ LogError::Storage(_)) => Some(error.to_string()),
        _ => None,
    };
    side.events.iter().filter_map(told).collect()
}

/// The folder of the term file is away when the partner goes: nothing is acknowledged meanwhile, and no person is needed once it is back.
pub(crate) fn a_term_that_cannot_be_kept_for_a_while_is_tried_again() {
    let folder = folder_on_disk();
    let (here, aside) = (folder.path().join("here"), folder.path().join("aside"));
    std::fs::create_dir(&here).expect("a folder");
    let mut pair = Pair::new("log-alone-later");
    pair.start_both([going_alone(&here), plain()]);
    pair.until_mirrored(0);
    std::fs::rename(&here, &aside).expect("a folder");
    pair.end(1);
    pair.until("a first try", |pair| !broken(pair.side(0)).is_empty());
    let lsn = pair.side(0).producer.append(&payload(1)).expect("room");
    pair.rounds_for(Duration::from_secs(1));
    assert!(pair.side(0).log.durable() <= lsn, "no term is kept, and it is acknowledged");
    let told = broken(pair.side(0));
    assert!(told.len() == 1 && told[0].contains("ENOENT"), "told once, however often it is tried: {told:?}");
    // Another reason.
    std::fs::write(&here, b"a letter").expect("a file");
    pair.until("another reason", |pair| broken(pair.side(0)).len() == 2);
    let told = broken(pair.side(0));
    assert!(told[1].contains("ENOTDIR"), "{told:?}");
    std::fs::remove_file(&here).expect("a file");
    std::fs::rename(&aside, &here).expect("a folder");
    pair.until("alone", |pair| has(pair.side(0), |event| matches!(event, LogEvent::Alone { .. })));
    pair.until("acknowledged", |pair| pair.side(0).log.durable() > lsn);
    assert_eq!(pair.side(0).log.wait(lsn), Ok(Acknowledgement::Alone));
}

/// The manager is gone for good, and the term cannot be kept: the end tells both.
pub(crate) fn a_log_that_ends_for_it_could_not_go_alone_says_why() {
    let folder = folder_on_disk();
    let (here, aside) = (folder.path().join("here"), folder.path().join("aside"));
    std::fs::create_dir(&here).expect("a folder");
    let mut pair = Pair::new("log-deserted");
    pair.start_both([going_alone(&here), plain()]);
    pair.until_mirrored(0);
    std::fs::rename(&here, &aside).expect("a folder");
    let mut side = pair.take(0);
    drop(side.manager);
    let waits = waiter(&side.log, side.log.status().head);
    let began = Instant::now();
    let why = loop {
        assert!(began.elapsed() < PATIENCE, "it does not end");
        side.poller.poll();
        match side.poller.next_event() {
            Some(LogEvent::Ended(why)) => break why,
            _ => continue,
        }
    };
    let told = why.to_string();
    assert!(matches!(why, LogError::NotAlone { .. }), "{told}");
    assert!(["manager is gone", "here/term", "ENOENT"].iter().all(|part| told.contains(part)), "{told}");
    assert_eq!(waits.recv_timeout(PATIENCE).expect("no wait for ever"), Err(why));
}
