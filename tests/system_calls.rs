//! No system call on the hot path, twice over.
//!
//! Once by the kernel itself: a forked child gives up every system call but `write` and `exit` (by a seccomp filter) and then runs ten
//! thousand rounds; one call more and it is dead. And once by `strace`, which names what it sees between two marks. Where one of the two is not to be
//! had the test says so aloud; where neither is, it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "hot/mod.rs"]
mod hot;
#[path = "process/mod.rs"]
mod process;
#[path = "process/on_shm.rs"]
mod under_test;

use handfast::clients::mirrored_log::Acknowledge;
use hot::log::{Log, Pollers};
use hot::posts::Posts;
use hot::quiet::Quiet;
use hot::remove_listings;
use hot::steps::Steps;
use process::child::command;
use process::role::{asked, variable};
use process::sys::{Ended, allow_no_system_calls, exit_thread, fork_and_wait, mark, some_system_call};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: u32 = 10_000;
/// With a second thread: on a busy machine each of the two may wait for the other to get a processor.
const ROUNDS_BESIDE: u32 = 1_000;
const BEGIN: &str = "handfast: the loop begins\n";
const END: &str = "handfast: the loop ends\n";

const LOOPS: [&str; 8] = [
    "steps",
    "steps-with-key",
    "posts",
    "quiet",
    "log-placed",
    "log-received",
    "log-placed-thread",
    "log-received-thread",
];
/// A loop that does make system calls: what must be caught.
const CONTROL: &str = "control";

fn rounds(which: &str) -> u32 {
    if which.ends_with("thread") { ROUNDS_BESIDE } else { ROUNDS }
}

/// A loop, made ready, and what a second thread does for ever meanwhile.
struct Prepared {
    once: Box<dyn FnMut()>,
    beside: Option<Pollers>,
}

fn prepared(which: &str) -> Prepared {
    let level = if which.contains("placed") { Acknowledge::Placed } else { Acknowledge::Received };
    let log = which.starts_with("log").then(|| Log::new(level));
    match log {
        None => Prepared { once: of_one_thread(which), beside: None },
        Some(mut log) => {
            let beside = which.ends_with("thread").then(|| log.pollers.take()).flatten();
            let (mut rounds, alone) = (0, beside.is_none());
            let once = move || {
                log.once();
                rounds += 1;
                if rounds == ROUNDS && alone {
                    log.verify();
                }
            };
            Prepared { once: Box::new(once), beside }
        }
    }
}

/// Polls until it is told to stop, or for longer than any loop takes.
fn poll_beside(mut pollers: Pollers, stop: &AtomicBool) {
    let began = Instant::now();
    while !stop.load(Ordering::Acquire) && began.elapsed() < Duration::from_secs(600) {
        pollers.poll();
    }
    std::mem::forget(pollers);
}

fn of_one_thread(which: &str) -> Box<dyn FnMut()> {
    match which {
        "steps" | "steps-with-key" => {
            let mut steps = Steps::new(which == "steps-with-key");
            Box::new(move || {
                steps.once();
            })
        }
        "posts" => {
            let mut posts = Posts::new();
            Box::new(move || posts.once())
        }
        // Looking at whether the partner lives enters the kernel, at intervals of its own: here once an hour.
        "quiet" => {
            let mut quiet = Quiet::new(Duration::from_secs(3600));
            let before = quiet.heartbeats();
            let mut rounds = 0;
            Box::new(move || {
                quiet.once();
                rounds += 1;
                if rounds == ROUNDS {
                    assert!(quiet.heartbeats() > before, "the nodes did not beat");
                }
            })
        }
        "clock" => Box::new(|| {
            std::hint::black_box(std::time::Instant::now());
        }),
        CONTROL => Box::new(some_system_call),
        other => panic!("there is no loop `{other}`"),
    }
}

#[test]
fn role() {
    let (Some(which), "loop") = (variable("HANDFAST_TEST_LOOP"), asked().as_deref().unwrap_or_default()) else {
        return;
    };
    let Prepared { mut once, beside } = prepared(&which);
    let (stop, ready) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        if let Some(pollers) = beside {
            scope.spawn(|| {
                ready.store(true, Ordering::Release);
                poll_beside(pollers, &stop);
            });
            while !ready.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
        }
        mark(BEGIN);
        for _ in 0..rounds(&which) {
            once();
        }
        mark(END);
        stop.store(true, Ordering::Release);
    });
    // The second thread's are not dropped.
    remove_listings();
}

/// Runs a loop behind the filter.
fn filtered(which: &str) -> Option<Ended> {
    let ended = fork_and_wait(move || {
        let Prepared { mut once, beside } = prepared(which);
        // Nothing is dropped: `exit` is all it may.
        remove_listings();
        if let Some(pollers) = beside {
            poll_filtered_beside(pollers);
        }
        if allow_no_system_calls().is_err() {
            return 99;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| (0..rounds(which)).for_each(|_| once())));
        STOP.store(true, Ordering::Release);
        std::mem::forget(once);
        if outcome.is_ok() { 0 } else { 101 }
    });
    if ended == Ended::Code(99) { None } else { Some(ended) }
}

/// Ends the second thread of a filtered child.
static STOP: AtomicBool = AtomicBool::new(false);

/// In a forked child: a second thread behind a filter of its own. Returns once it polls.
fn poll_filtered_beside(pollers: Pollers) {
    static READY: AtomicBool = AtomicBool::new(false);
    let polling = std::thread::spawn(move || {
        let filtered = allow_no_system_calls();
        READY.store(true, Ordering::Release);
        if filtered.is_ok() {
            poll_beside(pollers, &STOP);
        }
        exit_thread(0);
    });
    while !READY.load(Ordering::Acquire) {
        std::hint::spin_loop();
    }
    std::mem::forget(polling);
}

/// Whether the filter is to be had, and catches what it must.
fn filter_works() -> bool {
    match filtered(CONTROL) {
        None => false,
        Some(ended) => {
            assert_eq!(ended, Ended::Signal(libc::SIGSYS), "a system call behind the filter went unnoticed");
            true
        }
    }
}

#[test]
fn the_kernel_sees_no_system_call() {
    if !filter_works() {
        return skip("seccomp filters are not to be had here");
    }
    if filtered("clock") != Some(Ended::Code(0)) {
        // On such a machine every reading of the clock is a system call, handfast's too.
        return skip("the clock of this machine cannot be read without the kernel");
    }
    for which in LOOPS {
        assert_eq!(filtered(which), Some(Ended::Code(0)), "loop `{which}`: a system call, or a panic (code 101)");
        eprintln!("loop `{which}`: {} rounds without a system call, says the kernel", rounds(which));
    }
}

fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
    assert!(filter_works() || strace_works(), "neither seccomp nor strace is to be had: nothing was proven");
}

/// The calls that `strace` saw between the marks; none where it cannot trace here.
fn traced(which: &str) -> Option<Vec<String>> {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let role = command("loop", &[("HANDFAST_TEST_LOOP", which.to_owned())]);
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-s", "64", "-o"]).arg(&trace).arg(role.get_program()).args(role.get_args());
    for (name, value) in role.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    let output = strace.stdin(Stdio::null()).output().ok()?;
    let lines = std::fs::read_to_string(&trace).ok()?;
    let has = |mark: &str| lines.contains(mark.trim_end());
    if !has(BEGIN) {
        return None;
    }
    assert!(output.status.success() && has(END), "the traced loop `{which}` failed: {output:?}");
    // The loop's thread, and those it started: what the process's first thread does (the harness waits) is none of it.
    let begin = lines.lines().position(|line| line.contains(BEGIN.trim_end()))?;
    let first = lines.split_whitespace().next()?;
    let own = lines.lines().skip(begin + 1).filter(|line| line.split_whitespace().next() != Some(first));
    Some(own.take_while(|line| !line.contains(END.trim_end())).map(str::to_owned).collect())
}

fn strace_works() -> bool {
    traced(CONTROL).is_some()
}

#[test]
fn strace_sees_no_system_call() {
    let Some(control) = traced(CONTROL) else {
        return skip("strace is missing, or may not trace here");
    };
    let caught = control.iter().filter(|line| line.contains("getppid")).count();
    assert_eq!(caught, ROUNDS as usize, "strace missed system calls");
    for which in LOOPS {
        let calls = traced(which).expect("a trace, as of the control");
        eprintln!("loop `{which}`: {} rounds, {} system calls", rounds(which), calls.len());
        assert!(calls.is_empty(), "loop `{which}`: {} system calls, the first {:?}", calls.len(), calls.first());
    }
}
