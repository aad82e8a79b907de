//! A node with a log of its own and a copy of the other's, in a process that may die at any moment.
//!
//! Says: `opened GENERATION TAIL END` (what was restored is in a file by then), `mirrored BYTES`, `copy STATE GENERATION` where the copy of the
//! partner's log changes, `lost`, `over WHY` where the log has ended, `wrong: WHAT`, `note WHAT`, and answers, which begin with `= `. Commands:
//! `go` (append), `die LINE US` (once it has said such a line), `dump FILE` (reads the copy; answer: `STATE END RECORDS`), `tell` (the same for one who
//! sees no files; answer: `STATE TAIL END RECORDS DIGEST`), `halt` (answer when everything is acknowledged: the end), `ping`,
//! `leave`.

use super::board::{Board, What};
use super::content::{Recipe, Stamp};
use super::dump::Dump;
use super::engine::{Load, Running};
use super::ledger::seen;
use super::promises::Stretch;
use crate::process::role::{commands, say, variable};
use crate::process::sys::kill_self;
use crate::under_test::{self, UnderTest};
use handfast::clients::mirrored_log::{
    Acknowledge, Acknowledgement, CopyState, Generation, LogConfig, LogCopy, LogEvent, LogPoller, Lsn, MirroredLog,
};
use handfast::manager::{ClusterManager, ControlThread, NodeConfig};
use handfast::memory::{Backing, InPlace};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

/// What a node is started with, by variables of its environment.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) recipe: Recipe,
    pub(crate) life: u32,
    pub(crate) producers: u8,
    pub(crate) ring_bytes: u64,
    pub(crate) acknowledge: Acknowledge,
    pub(crate) batch_bytes_max: u32,
    pub(crate) batches_max: u32,
    pub(crate) truncate_us: u64,
    /// Polls between two looks at events.
    pub(crate) polls: u32,
    /// Of a ring in /dev/shm.
    pub(crate) shared: Option<String>,
    /// Keeps its copy of the partner's log here.
    pub(crate) keep: Option<PathBuf>,
    /// Where what was restored goes.
    pub(crate) restored: PathBuf,
    /// Dies so many microseconds after it has said a line that begins so; `acknowledged`: after so many acknowledgements, at once.
    pub(crate) die: Option<(String, u64)>,
}

impl Settings {
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let acknowledge = match self.acknowledge {
            Acknowledge::Received => "received",
            Acknowledge::Placed => "placed",
            _ => "persistent",
        };
        let mut variables = vec![
            ("HANDFAST_TEST_RECIPE", format!("{} {}", self.recipe.seed, self.recipe.bytes_max)),
            ("HANDFAST_TEST_LIFE", self.life.to_string()),
            ("HANDFAST_TEST_PRODUCERS", self.producers.to_string()),
            ("HANDFAST_TEST_RING", self.ring_bytes.to_string()),
            ("HANDFAST_TEST_ACKNOWLEDGE", acknowledge.to_owned()),
            ("HANDFAST_TEST_BATCHES", format!("{} {}", self.batch_bytes_max, self.batches_max)),
            ("HANDFAST_TEST_TRUNCATE_US", self.truncate_us.to_string()),
            ("HANDFAST_TEST_POLLS", self.polls.to_string()),
            ("HANDFAST_TEST_RESTORED", self.restored.display().to_string()),
        ];
        variables.extend(self.shared.clone().map(|name| ("HANDFAST_TEST_SHARED", name)));
        variables.extend(self.keep.clone().map(|path| ("HANDFAST_TEST_KEEP", path.display().to_string())));
        variables.extend(self.die.clone().map(|(line, us)| ("HANDFAST_TEST_DIE_AT", format!("{line} {us}"))));
        variables
    }

    pub(crate) fn asked() -> Self {
        let text = |name: &str| variable(name).unwrap_or_else(|| panic!("{name} is not set"));
        let number = |name: &str| text(name).parse::<u64>().expect("a number");
        let two = |name: &str| {
            let text = text(name);
            let (one, other) = text.split_once(' ').expect("two words");
            (one.parse::<u64>().expect("a number"), other.parse::<u64>().expect("a number"))
        };
        let (seed, bytes_max) = two("HANDFAST_TEST_RECIPE");
        let (batch_bytes_max, batches_max) = two("HANDFAST_TEST_BATCHES");
        let acknowledge = match text("HANDFAST_TEST_ACKNOWLEDGE").as_str() {
            "received" => Acknowledge::Received,
            "placed" => Acknowledge::Placed,
            _ => Acknowledge::Persistent,
        };
        let die = variable("HANDFAST_TEST_DIE_AT").map(|words| death(&words));
        Self {
            recipe: Recipe { seed, bytes_max },
            life: number("HANDFAST_TEST_LIFE") as u32,
            producers: number("HANDFAST_TEST_PRODUCERS") as u8,
            ring_bytes: number("HANDFAST_TEST_RING"),
            acknowledge,
            batch_bytes_max: batch_bytes_max as u32,
            batches_max: batches_max as u32,
            truncate_us: number("HANDFAST_TEST_TRUNCATE_US"),
            polls: number("HANDFAST_TEST_POLLS") as u32,
            shared: variable("HANDFAST_TEST_SHARED"),
            keep: variable("HANDFAST_TEST_KEEP").map(PathBuf::from),
            restored: text("HANDFAST_TEST_RESTORED").into(),
            die,
        }
    }

    fn config(&self) -> LogConfig {
        let mut config = LogConfig::new("wal".parse().expect("a name"))
            .ring_bytes(self.ring_bytes)
            .pinned(false)
            .acknowledge(self.acknowledge)
            .batch_bytes_max(self.batch_bytes_max)
            .batches_max(self.batches_max);
        if let Some(name) = &self.shared {
            config = config.backing(Backing::SharedMemory(name.clone())).in_place(promise());
        }
        match &self.keep {
            Some(path) => config.keep(path),
            None => config,
        }
    }

    fn load(&self) -> Load {
        let expected = match self.acknowledge {
            Acknowledge::Received => Acknowledgement::Received,
            Acknowledge::Placed => Acknowledgement::Placed,
            _ => Acknowledgement::Persistent,
        };
        let Self { recipe, life, producers, ring_bytes, truncate_us, .. } = *self;
        let die_after = match &self.die {
            Some((line, count)) if line == "acknowledged" => *count,
            _ => u64::MAX,
        };
        Load { recipe, life, producers, ring_bytes, expected, truncate_us, die_after }
    }
}

/// `LINE US`.
fn death(words: &str) -> (String, u64) {
    let (line, us) = words.rsplit_once(' ').expect("two words");
    (line.to_owned(), us.parse().expect("a number"))
}

struct Node {
    settings: Settings,
    board: Arc<dyn Board>,
    control: ControlThread,
    log: MirroredLog,
    poller: LogPoller<UnderTest>,
    copy: LogCopy,
    told: (CopyState, Generation),
    /// Records that were there when it was opened, and where they end; none before.
    restored: Option<(VecDeque<(Lsn, Stamp)>, Lsn)>,
    settled: bool,
    wanted: bool,
    running: Option<Running>,
}

impl Node {
    fn boot(settings: Settings, config: NodeConfig, board: Arc<dyn Board>) -> Result<Self, handfast::Error> {
        let mut manager = ClusterManager::boot(under_test::fabric(), config)?;
        let (log, poller, copy) = MirroredLog::open(settings.config(), &mut manager)?;
        manager.open();
        let control = manager.spawn()?;
        let told = (CopyState::Nothing, Generation(0));
        let (restored, settled, wanted, running) = (None, false, false, None);
        Ok(Self { settings, board, control, log, poller, copy, told, restored, settled, wanted, running })
    }

    /// Says it, and dies of it where that is wanted.
    fn tell(&mut self, line: &str) {
        if self.settings.die.as_ref().is_some_and(|(wanted, _)| line.starts_with(wanted.as_str())) {
            let us = self.settings.die.take().map_or(0, |(_, us)| us);
            say(line);
            if us == 0 {
                // Between this poll and the next.
                kill_self();
            }
            std::thread::spawn(move || {
                let until = Instant::now() + Duration::from_micros(us);
                while Instant::now() < until {
                    std::thread::yield_now();
                }
                kill_self();
            });
            return;
        }
        say(line);
    }

    fn take(&mut self, event: &LogEvent) {
        match event {
            LogEvent::Opened { generation, tail, end, .. } => {
                self.read_own();
                self.tell(&format!("opened {generation} {tail} {end}"));
            }
            LogEvent::Mirrored { refilled, .. } => self.tell(&format!("mirrored {refilled}")),
            LogEvent::Restoring { done, total } => self.tell(&format!("restoring {done} {total}")),
            LogEvent::Refilling { done, total } => self.tell(&format!("refilling {done} {total}")),
            LogEvent::Lost { .. } => self.tell("lost"),
            LogEvent::Ended(why) => self.tell(&format!("over {why}")),
            LogEvent::KeepFailed(why) => self.tell(&format!("wrong: not kept: {why}")),
            other => self.tell(&format!("note {other:?}")),
        }
    }

    /// What an engine would replay.
    fn read_own(&mut self) {
        let dump = match self.poller.records() {
            Ok(Some(records)) => Dump::of(records),
            Ok(None) => return say("wrong: opened, and it has no records to be read"),
            Err(error) => Err(error),
        };
        let dump = match dump {
            Ok(dump) => dump,
            Err(error) => return say(&format!("wrong: its own records: {error}")),
        };
        dump.store(&self.settings.restored);
        if variable("HANDFAST_TEST_TELL").is_some() {
            self.tell_seen("restored", &dump);
            say(&format!("span {}", dump.line()));
        }
        let mut restored = VecDeque::new();
        for record in &dump.records {
            match self.settings.recipe.check(&record.payload, record.lsn) {
                Ok(stamp) => restored.push_back((record.lsn, stamp)),
                Err(why) => say(&format!("wrong: restored: {why}")),
            }
        }
        self.restored = Some((restored, dump.end));
    }

    /// One turn; whether there was anything to do.
    fn turn(&mut self) -> bool {
        let mut worked = false;
        for _ in 0..self.settings.polls {
            worked |= self.poller.poll();
        }
        while let Some(event) = self.poller.next_event() {
            self.take(&event);
            worked = true;
        }
        let status = self.copy.status();
        if (status.state, status.generation) != self.told {
            self.told = (status.state, status.generation);
            self.tell(&format!("copy {} {}", status.state.name(), status.generation));
        }
        let Some((restored, end)) = &mut self.restored else { return worked };
        if !self.settled && self.log.durable() >= *end {
            self.board.note(self.settings.life, super::board::PRODUCERS_MAX as u8, What::Settled, 1);
            self.settled = true;
        }
        if self.wanted && self.running.is_none() {
            self.wanted = false;
            let restored = std::mem::take(restored);
            self.running = Some(Running::start(&self.log, Arc::clone(&self.board), self.settings.load(), restored));
        }
        worked
    }

    fn dump(&self, path: &str) -> String {
        let state = self.copy.status().state;
        let read = self.copy.records().and_then(|records| records.map_or(Ok(Dump::empty()), Dump::of));
        match read {
            Ok(dump) => {
                dump.store(path.as_ref());
                format!("= {} {} {}", state.name(), dump.end, dump.records.len())
            }
            Err(error) => format!("= failed {error}"),
        }
    }

    /// Says of each producer which of its records were read: `seen WHERE LIFE PRODUCER FIRST LAST GENERATION`.
    fn tell_seen(&self, place: &str, dump: &Dump) {
        match seen(self.settings.recipe, dump) {
            Ok(seen) => {
                for ((life, producer), Stretch { first, last, generation }) in seen {
                    say(&format!("seen {place} {life} {producer} {first} {last} {generation}"));
                }
            }
            Err(why) => say(&format!("wrong: {place}: {why}")),
        }
    }

    fn tell_copy(&self) -> String {
        let state = self.copy.status().state;
        match self.copy.records().and_then(|records| records.map_or(Ok(Dump::empty()), Dump::of)) {
            Ok(dump) => {
                self.tell_seen("copy", &dump);
                format!("= {} {}", state.name(), dump.line())
            }
            Err(error) => format!("= failed {error}"),
        }
    }

    /// Ends the load; polls on until everything is acknowledged.
    fn halt(&mut self) -> String {
        if let Some(running) = self.running.take() {
            let over = running.is_over();
            let stopping = std::thread::spawn(move || running.stop());
            let began = Instant::now();
            while !stopping.is_finished() {
                self.turn();
                if began.elapsed() > Duration::from_secs(60) {
                    return format!("= failed: the load does not end: {:?}", self.log.status());
                }
            }
            if stopping.join().is_err() {
                return "= failed: a thread panicked".to_owned();
            }
            if over {
                return "= failed: the log is over".to_owned();
            }
        }
        let began = Instant::now();
        // Holes are waited for by nobody else.
        while self.log.durable() < self.log.status().head {
            self.turn();
            if began.elapsed() > Duration::from_secs(10) {
                return format!("= failed: not durable in time: {:?}", self.log.status());
            }
        }
        format!("= {}", self.log.durable())
    }
}

/// Runs until `leave`, or until nobody commands any more.
pub(crate) fn run(config: NodeConfig, board: Arc<dyn Board>) {
    let mut node = match Node::boot(Settings::asked(), config, board) {
        Ok(node) => node,
        Err(error) => return say(&format!("refused {error}")),
    };
    node.tell("booted");
    let heard = commands();
    let mut idle_since = Instant::now();
    loop {
        if node.turn() {
            idle_since = Instant::now();
        } else if idle_since.elapsed() > Duration::from_micros(100) {
            std::thread::sleep(Duration::from_micros(30));
        }
        match heard.try_recv() {
            Ok(command) if command == "leave" => break,
            Ok(command) if command == "go" => node.wanted = node.running.is_none(),
            Ok(command) if command == "ping" => say("= pong"),
            Ok(command) if command == "tell" => say(&node.tell_copy()),
            Ok(command) if command == "halt" => say(&node.halt()),
            Ok(command) => match command.split_once(' ') {
                Some(("dump", path)) => say(&node.dump(path)),
                Some(("die", words)) => {
                    node.settings.die = Some(death(words));
                    say("= armed");
                }
                _ => say(&format!("= failed: `{command}` is no command")),
            },
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => break,
        }
    }
    let Node { control, poller, running, .. } = node;
    drop(poller);
    drop(running);
    control.leave();
    say("left");
}

/// Records are reserved in place, in a segment that has a name.
#[allow(unsafe_code, reason = "the promise is this test's to make")]
fn promise() -> InPlace {
    // SAFETY:
    // - alias: the segment is one node's, which locks it; the test looks into it only after that process has ended.
    unsafe { InPlace::promise() }
}
