//! No allocation on the hot path: an allocator that counts, and ten thousand rounds of everything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "hot_path/counting.rs"]
mod counting;
#[path = "support/ending.rs"]
mod ending;
#[path = "hot/mod.rs"]
mod hot;

use counting::{Counting, counted};
use ending::StopOnDrop;
use handfast::clients::mirrored_log::Acknowledge;
use hot::log::Log;
use hot::posts::Posts;
use hot::quiet::Quiet;
use hot::steps::Steps;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: u32 = 10_000;

#[test]
fn the_allocator_counts() {
    let (calls, kept) = counted(|| std::hint::black_box(vec![1u8; 100]));
    assert_eq!(calls, 1);
    let (calls, ()) = counted(|| drop(std::hint::black_box(kept)));
    assert_eq!(calls, 1, "giving memory back counts too");
}

#[test]
fn the_four_steps_on_an_open_link_allocate_nothing() {
    for key in [false, true] {
        let mut steps = Steps::new(key);
        steps.once();
        let (calls, rounds) = counted(|| (0..ROUNDS).map(|_| u64::from(steps.once())).sum::<u64>());
        eprintln!("key {key}: {ROUNDS} handshakes, {rounds} rounds, {calls} calls to the allocator");
        assert_eq!(calls, 0, "with key: {key}");
    }
}

#[test]
fn posting_and_polling_allocate_nothing() {
    let mut posts = Posts::new();
    let (calls, ()) = counted(|| (0..ROUNDS).for_each(|_| posts.once()));
    eprintln!("{ROUNDS} rounds of every operation, {calls} calls to the allocator");
    assert_eq!(calls, 0);
}

/// With the looks at the kernel that [`Timing::check`](handfast::session::Timing::check) asks for, every 100 us.
#[test]
fn an_established_session_that_only_beats_and_watches_allocates_nothing() {
    let mut quiet = Quiet::new(Duration::from_micros(100));
    let (before, began, mut rounds) = (quiet.heartbeats(), Instant::now(), 0u32);
    let (calls, ()) = counted(|| {
        while rounds < ROUNDS || began.elapsed() < Duration::from_millis(100) {
            quiet.once();
            rounds += 1;
        }
    });
    let beats = [0, 1].map(|index: usize| quiet.heartbeats()[index] - before[index]);
    eprintln!("{rounds} rounds, {beats:?} heartbeats, {calls} calls to the allocator");
    assert!(beats.iter().all(|beats| *beats > 100), "the nodes did not beat: {beats:?}");
    assert_eq!(calls, 0);
}

#[test]
fn the_mirrored_log_allocates_nothing_from_reserve_to_durable() {
    for level in [Acknowledge::Placed, Acknowledge::Received] {
        let mut log = Log::new(level);
        let (calls, ()) = counted(|| (0..ROUNDS).for_each(|_| log.once()));
        log.verify();
        eprintln!("{level:?}: {ROUNDS} rounds of the log, {calls} calls to the allocator");
        assert_eq!(calls, 0, "{level:?}");
    }
}

#[test]
fn the_mirrored_log_allocates_nothing_with_a_poller_on_another_thread() {
    for level in [Acknowledge::Placed, Acknowledge::Received] {
        let mut log = Log::new(level);
        let (mut pollers, stop) = (log.pollers.take().expect("the pollers"), AtomicBool::new(false));
        let (theirs, ours) = std::thread::scope(|scope| {
            let polling = scope.spawn(|| counted(|| poll_until(&stop, || pollers.poll())).0);
            let stopping = StopOnDrop(&stop);
            let (ours, ()) = counted(|| (0..ROUNDS / 10).for_each(|_| log.once()));
            drop(stopping);
            (polling.join().expect("the poller's thread"), ours)
        });
        eprintln!("{level:?}: {ours} calls to the allocator by the producer, {theirs} by the poller");
        assert_eq!((ours, theirs), (0, 0), "{level:?}");
    }
}

fn poll_until(stop: &AtomicBool, mut poll: impl FnMut()) {
    while !stop.load(Ordering::Relaxed) {
        poll();
    }
}
