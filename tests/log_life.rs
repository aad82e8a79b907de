//! A log acknowledges nothing in the name of a partner whose process has died or stands still, even
//! where this node's manager is not polled: the log's poller has to know by itself.
//!
//! The partner is a process of its own over shared memory. It is killed, becomes another program, is
//! killed while a child that it forked lives on, or is stopped. How soon acknowledgements end is no
//! matter here (`handfast-perf life` measures it).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "process/mod.rs"]
mod process;
#[path = "process/on_shm.rs"]
mod under_test;

use handfast::clients::mirrored_log::{LogConfig, LogEvent, LogPoller, Lsn, MirroredLog, Pace};
use handfast::manager::ClusterManager;
use process::child::Child;
use process::node::config;
use process::role::{asked, commands, config_asked, say, variable};
use process::sys::{fork_and_live_on, is_stopped, signal};
use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use under_test::UnderTest;

/// Whatever is waited for comes within this.
const PATIENCE: Duration = Duration::from_secs(10);
/// `mirrored` stands still where it does not rise for so long.
const STILL: Duration = Duration::from_millis(300);

fn log() -> LogConfig {
    LogConfig::new("life".parse().expect("a name")).ring_bytes(16 << 20).pinned(false)
}

/// The partner: says `ready`, and on `exec` that it `execs`.
fn partner() {
    let mut manager = ClusterManager::boot(under_test::fabric(), config_asked()).expect("boot");
    let (_log, poller, _) = MirroredLog::open(log(), &mut manager).expect("a log");
    manager.open();
    let manager = manager.spawn().expect("a control thread");
    let poller = poller.spawn(Pace::default()).expect("the log's thread");
    loop {
        match poller.events().recv_timeout(PATIENCE) {
            Ok(LogEvent::Mirrored { .. }) => break,
            Ok(_) => {}
            Err(error) => return say(&format!("refused {error}")),
        }
    }
    if variable("HANDFAST_TEST_FORK").is_some() {
        fork_and_live_on();
    }
    let heard = commands();
    say("ready");
    while let Ok(command) = heard.recv() {
        if command == "exec" {
            say("execs");
            panic!("exec: {}", std::process::Command::new("sleep").arg("60").exec());
        }
    }
    drop((poller, manager));
}

/// A thread that appends and polls, until this is dropped.
struct Engine {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    fn start(log: MirroredLog, mut poller: LogPoller<UnderTest>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, began) = (Arc::clone(&stop), Instant::now());
        let thread = std::thread::spawn(move || {
            let producer = log.producer("engine");
            while !stopped.load(Ordering::Relaxed) && began.elapsed() < 6 * PATIENCE {
                // Refused before the log is open, and when its ring is full.
                let _ = producer.append(&[7; 64]);
                for _ in 0..8 {
                    poller.poll();
                }
                let _ = log.truncate(log.durable());
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A pair whose log flows, and whose manager here is polled no more.
struct Flow {
    partner: Child,
    _engine: Engine,
    log: MirroredLog,
    manager: ClusterManager<UnderTest>,
    name: String,
}

impl Flow {
    fn begin(way: &str) -> Self {
        let name = format!("life-{way}-{}", std::process::id());
        let mut variables = vec![("HANDFAST_TEST_NAME", name.clone()), ("HANDFAST_TEST_INDEX", "1".into())];
        if way == "fork" {
            variables.push(("HANDFAST_TEST_FORK", "1".into()));
        }
        let partner = Child::start("life", &variables);
        let mut manager = ClusterManager::boot(under_test::fabric(), config(&name, 0)).expect("boot");
        let (log, poller, _) = MirroredLog::open(log(), &mut manager).expect("a log");
        manager.open();
        let engine = Engine::start(log.clone(), poller);
        let mut flow = Self { partner, _engine: engine, log, manager, name };
        let risen = flow.until("the log to flow", |flow| {
            flow.poll();
            flow.partner.listen();
            flow.partner.last_of(&["ready"]).is_some() && flow.log.mirrored() > Lsn::ZERO
        });
        // Nobody polls the manager from here on, and still it flows.
        flow.until("another acknowledgement", |flow| flow.log.mirrored() > risen);
        flow
    }

    fn poll(&mut self) {
        while self.manager.poll().is_some() {}
    }

    /// Waits; `mirrored` by then.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) -> Lsn {
        let began = Instant::now();
        while !holds(self) {
            let mut story = || self.partner.story("was waited for");
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}; {}", story());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.log.mirrored()
    }

    /// Whether `mirrored` does not rise for so long, while records are appended.
    fn is_still(&self, how_long: Duration) -> bool {
        let before = self.log.status();
        std::thread::sleep(how_long);
        let after = self.log.status();
        assert!(after.head > before.head, "nothing was appended: {after:?}");
        after.mirrored == before.mirrored
    }

    /// Until `mirrored` stands still; then it never rises again.
    fn expect_end(mut self, way: &str) {
        self.until("an end of acknowledgements", |flow| flow.is_still(STILL));
        assert!(self.is_still(2 * STILL), "{way}: acknowledged again, and the manager is not polled");
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // Who was killed could not remove them.
        for path in under_test::leftovers(&self.name) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[test]
fn role() {
    if asked().as_deref() == Some("life") {
        partner();
    }
}

#[test]
fn nothing_is_acknowledged_in_the_name_of_a_partner_that_died() {
    for way in ["kill", "exec", "fork"] {
        let mut flow = Flow::begin(way);
        if way == "exec" {
            flow.partner.tell("exec");
            flow.partner.wait_for(0, "execs", Instant::now() + PATIENCE).expect("it obeys");
        } else {
            flow.partner.kill();
        }
        flow.expect_end(way);
    }
}

#[test]
fn nothing_is_acknowledged_in_the_name_of_a_stopped_partner_until_it_runs_on() {
    let mut flow = Flow::begin("stop");
    let process = flow.partner.process.id();
    signal(process, libc::SIGSTOP);
    flow.until("the partner to stop", |_| is_stopped(process));
    std::thread::sleep(Duration::from_secs(1));
    assert!(flow.is_still(STILL), "acknowledged in the name of a stopped partner");
    let before = flow.log.mirrored();
    signal(process, libc::SIGCONT);
    flow.until("acknowledgements to go on", |flow| {
        flow.poll();
        flow.log.mirrored() > before
    });
}
