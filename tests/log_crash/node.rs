//! A node whose process ends at a moment that is counted: the `n`th call that reaches its disk, or the `n`th turn in which something was done.
//!
//! Says: `booted`, `refused WHY`, `opened LIVES` (of each record it begins with, which life wrote it), `mirrored`, `alone`, `lost`, `broken WHY`,
//! `over WHY`, `done COUNT`, `wrong WHAT`, and answers, which begin with `= `. Commands: `append COUNT` (until there are so many; says `done`),
//! `copy` (answer: `STATE LIVES`), `alone` (answer: `begun`, or `refused WHY`), `take TERM` (answer: `taken LIVES`, or `refused WHY`), `term`,
//! `arm call|step N`, `count` (answer: `CALLS STEPS`).

use crate::calls::{self, Moment};
use crate::ledger::{Ledger, lives};
use crate::process::node::config;
use crate::process::role::{commands, say, variable};
use crate::under_test::{self, UnderTest};
use handfast::clients::mirrored_log::{
    Acknowledge, LogConfig, LogCopy, LogEvent, LogPoller, Lsn, MirroredLog, OnLoss, Producer, Term,
};
use handfast::manager::ClusterManager;
use handfast::memory::Backing;
use std::path::PathBuf;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

/// What holds the ring of the log that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ring {
    Anonymous,
    SharedMemory,
    File,
}

/// What a node is started with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Of both nodes.
    pub(crate) name: String,
    pub(crate) index: usize,
    pub(crate) life: u8,
    pub(crate) folder: PathBuf,
    pub(crate) ledger: PathBuf,
    pub(crate) ring: Ring,
    pub(crate) keeps: bool,
    pub(crate) persistent: bool,
    pub(crate) goes_alone: bool,
    pub(crate) moment: Moment,
}

impl Settings {
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let ring = match self.ring {
            Ring::Anonymous => "anonymous",
            Ring::SharedMemory => "shared",
            Ring::File => "file",
        };
        let flags = [self.keeps, self.persistent, self.goes_alone].map(|flag| u8::from(flag).to_string()).join(" ");
        vec![
            ("HANDFAST_TEST_NAME", self.name.clone()),
            ("HANDFAST_TEST_INDEX", self.index.to_string()),
            ("HANDFAST_TEST_LIFE", self.life.to_string()),
            ("HANDFAST_TEST_FOLDER", self.folder.display().to_string()),
            ("HANDFAST_TEST_LEDGER", self.ledger.display().to_string()),
            ("HANDFAST_TEST_RING", ring.to_owned()),
            ("HANDFAST_TEST_FLAGS", flags),
            ("HANDFAST_TEST_MOMENT", words(self.moment)),
        ]
    }

    fn asked() -> Self {
        let text = |name: &str| variable(name).unwrap_or_else(|| panic!("{name} is not set"));
        let number = |name: &str| text(name).parse::<usize>().expect("a number");
        let ring = match text("HANDFAST_TEST_RING").as_str() {
            "anonymous" => Ring::Anonymous,
            "shared" => Ring::SharedMemory,
            _ => Ring::File,
        };
        let flags = text("HANDFAST_TEST_FLAGS");
        let flags: Vec<bool> = flags.split(' ').map(|flag| flag == "1").collect();
        Self {
            name: text("HANDFAST_TEST_NAME"),
            index: number("HANDFAST_TEST_INDEX"),
            life: number("HANDFAST_TEST_LIFE") as u8,
            folder: text("HANDFAST_TEST_FOLDER").into(),
            ledger: text("HANDFAST_TEST_LEDGER").into(),
            ring,
            keeps: flags[0],
            persistent: flags[1],
            goes_alone: flags[2],
            moment: moment(&text("HANDFAST_TEST_MOMENT")),
        }
    }

    /// A ring in /dev/shm.
    pub(crate) fn shared_ring(&self) -> String {
        format!("{}-ring", self.name)
    }

    /// Names its machine's boot.
    pub(crate) fn boot(&self) -> PathBuf {
        self.folder.with_extension("boot")
    }

    fn log(&self) -> LogConfig {
        let log = LogConfig::new("wal".parse().expect("a name")).ring_bytes(64 << 10).pinned(false);
        if self.index == 1 {
            return if self.keeps { log.keep(self.folder.join("kept")) } else { log };
        }
        let level = if self.persistent { Acknowledge::Persistent } else { Acknowledge::Placed };
        let log = log.acknowledge(level).state_file(self.folder.join("state")).backing(match self.ring {
            Ring::Anonymous => Backing::Private,
            Ring::SharedMemory => Backing::SharedMemory(self.shared_ring()),
            Ring::File => Backing::File(self.folder.join("ring")),
        });
        match self.goes_alone {
            true => log.on_loss(OnLoss::GoOnAlone { term_file: self.folder.join("term") }),
            false => log,
        }
    }
}

pub(crate) fn words(moment: Moment) -> String {
    match moment {
        Moment::Call(at) => format!("call {at}"),
        Moment::Step(at) => format!("step {at}"),
        Moment::Never => "never 0".to_owned(),
    }
}

fn moment(words: &str) -> Moment {
    let (what, at) = words.split_once(' ').expect("two words");
    let at = at.parse().expect("a number");
    match what {
        "call" => Moment::Call(at),
        "step" => Moment::Step(at),
        _ => Moment::Never,
    }
}

struct Node {
    life: u8,
    ledger: Ledger,
    manager: ClusterManager<UnderTest>,
    log: MirroredLog,
    poller: LogPoller<UnderTest>,
    copy: LogCopy,
    producer: Producer,
    /// Records there are, once it is open.
    count: Option<usize>,
    wanted: usize,
    on_its_way: Option<Lsn>,
}

fn shown(lives: &[u8]) -> String {
    lives.iter().map(|life| format!(" {life}")).collect()
}

impl Node {
    fn boot(settings: &Settings) -> Result<Self, handfast::Error> {
        let mut manager = ClusterManager::boot(under_test::fabric(), config(&settings.name, settings.index))?;
        let (log, poller, copy) = MirroredLog::open(settings.log(), &mut manager)?;
        manager.open();
        let (producer, ledger) = (log.producer("test"), Ledger::open(&settings.ledger));
        let (count, wanted, on_its_way) = (None, 0, None);
        Ok(Self { life: settings.life, ledger, manager, log, poller, copy, producer, count, wanted, on_its_way })
    }

    fn turn(&mut self) -> bool {
        let mut worked = false;
        while self.manager.poll().is_some() {
            calls::step();
            worked = true;
        }
        if self.poller.poll() {
            calls::step();
            worked = true;
        }
        while let Some(event) = self.poller.next_event() {
            self.take(&event);
            worked = true;
        }
        self.append() || worked
    }

    fn take(&mut self, event: &LogEvent) {
        match event {
            LogEvent::Opened { .. } => {
                let read = self.poller.records().map_err(|error| error.to_string());
                match read.and_then(|records| lives(records.into_iter().flatten())) {
                    Ok(lives) => {
                        self.count = Some(lives.len());
                        say(&format!("opened{}", shown(&lives)));
                    }
                    Err(why) => say(&format!("wrong {why}")),
                }
            }
            LogEvent::Mirrored { .. } => say("mirrored"),
            LogEvent::Alone { .. } => say("alone"),
            LogEvent::Lost { .. } => say("lost"),
            LogEvent::Broken(why) => say(&format!("broken {why}")),
            LogEvent::Ended(why) => say(&format!("over {why}")),
            LogEvent::KeepFailed(why) => say(&format!("wrong not kept: {why}")),
            other => say(&format!("note {other:?}")),
        }
    }

    /// One at a time.
    fn append(&mut self) -> bool {
        let Some(count) = self.count else { return false };
        if let Some(lsn) = self.on_its_way {
            if self.log.durable() <= lsn {
                return false;
            }
            self.on_its_way = None;
            let Ok(by) = self.log.wait(lsn) else { return false };
            self.ledger.acknowledge(count, self.life, by);
            self.count = Some(count + 1);
            if count + 1 == self.wanted {
                say(&format!("done {}", count + 1));
            }
            return true;
        }
        if count >= self.wanted {
            return false;
        }
        self.ledger.begin(count, self.life);
        self.on_its_way = self.producer.append(&crate::ledger::payload(count, self.life)).ok();
        self.on_its_way.is_some()
    }

    fn copied(&self) -> String {
        let state = self.copy.status().state;
        let read = self.copy.records().map_err(|error| error.to_string());
        match read.and_then(|records| lives(records.into_iter().flatten())) {
            Ok(lives) => format!("{state:?}{}", shown(&lives)),
            Err(why) => format!("wrong {why}"),
        }
    }

    fn obey(&mut self, command: &str) {
        match command.split_once(' ').unwrap_or((command, "")) {
            ("append", count) => {
                self.wanted = count.parse().expect("a number");
                if self.count.is_some_and(|count| count >= self.wanted) {
                    say(&format!("done {}", self.wanted));
                }
            }
            ("copy", _) => say(&format!("= {}", self.copied())),
            ("term", _) => say(&format!("= {}", self.log.status().term.0)),
            ("alone", _) => match self.poller.begin_alone() {
                Ok(()) => say("= begun"),
                Err(why) => say(&format!("= refused {why}")),
            },
            ("take", term) => match self.copy.take_over(Term(term.parse().expect("a number")), false) {
                Ok(records) => match lives(records) {
                    Ok(lives) => say(&format!("= taken{}", shown(&lives))),
                    Err(why) => say(&format!("= wrong {why}")),
                },
                Err(why) => say(&format!("= refused {why}")),
            },
            ("arm", words) => calls::arm(moment(words)),
            ("count", _) => {
                let (calls, steps) = calls::counted();
                say(&format!("= {calls} {steps}"));
            }
            _ => say(&format!("wrong `{command}` is no command")),
        }
    }
}

/// Runs until nobody commands any more, or until its moment.
pub(crate) fn run() {
    let settings = Settings::asked();
    calls::watch(&settings.folder, &settings.boot());
    calls::arm(settings.moment);
    let mut node = match Node::boot(&settings) {
        Ok(node) => node,
        Err(error) => return say(&format!("refused {error}")),
    };
    say("booted");
    let heard = commands();
    let mut idle_since = Instant::now();
    loop {
        if node.turn() {
            idle_since = Instant::now();
        } else if idle_since.elapsed() > Duration::from_micros(100) {
            std::thread::sleep(Duration::from_micros(30));
        }
        match heard.try_recv() {
            Ok(command) => node.obey(&command),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return,
        }
    }
}
