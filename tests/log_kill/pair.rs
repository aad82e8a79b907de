//! Two nodes as processes: started, killed, asked, and held to what they promised.

use super::board::{FileBoard, PRODUCERS_MAX};
use super::dump::Dump;
use super::ledger::{Ledger, agree, equal};
use super::node::Settings;
use super::promises::Checked;
use crate::process::child::Child;
use crate::process::{files_of, folder_on_disk};
use handfast::clients::mirrored_log::Generation;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest that anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What outlives a process of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Nothing: each log is in its owner's memory and in the partner's. One of them dies at a time.
    Private,
    /// The owner's ring, which lies in /dev/shm. Any number die at any time.
    Shared,
    /// The partner's file, by `Persistent`. Any number die at any time.
    Kept,
}

/// Who sends the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hand {
    /// The test.
    Ours,
    /// The node, which was told when.
    Own,
    /// The node, unless that takes too long.
    OwnSoon,
}

/// The longest wait for a death that may come.
const SOON: Duration = Duration::from_millis(150);

/// Figures of a pair.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) kills: u64,
    pub(crate) of_both: u64,
    pub(crate) in_turn: u64,
    pub(crate) at_start: u64,
    /// Acknowledged in all, most of them truncated since.
    pub(crate) promised: u64,
    /// Bytes that the logs grew to.
    pub(crate) bytes: u64,
    pub(crate) readings: u64,
    pub(crate) records: u64,
    pub(crate) acknowledged: u64,
    pub(crate) more: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.of_both += other.of_both;
        self.in_turn += other.in_turn;
        self.at_start += other.at_start;
        self.promised += other.promised;
        self.bytes += other.bytes;
        self.readings += other.readings;
        self.records += other.records;
        self.acknowledged += other.acknowledged;
        self.more += other.more;
    }

    fn read(&mut self, checked: Checked) {
        self.readings += 1;
        self.records += checked.acknowledged + checked.more;
        self.acknowledged += checked.acknowledged;
        self.more += checked.more;
    }
}

pub(crate) struct Pair {
    name: String,
    folder: tempfile::TempDir,
    pub(crate) kind: Kind,
    pub(crate) settings: [Settings; 2],
    nodes: [Option<Child>; 2],
    ledgers: [Ledger; 2],
    lives: [u32; 2],
    /// Whether the present life's opening was seen.
    opened: [bool; 2],
    /// The copy of this log, read after its owner's death, by a partner that has lived since.
    last: [Option<Dump>; 2],
    pub(crate) figures: Figures,
}

impl Drop for Pair {
    fn drop(&mut self) {
        for settings in &self.settings {
            if let Some(name) = &settings.shared {
                let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
            }
        }
    }
}

impl Pair {
    pub(crate) fn new(name: String, kind: Kind, mut settings: [Settings; 2]) -> Self {
        let folder = folder_on_disk();
        for (index, settings) in settings.iter_mut().enumerate() {
            match kind {
                Kind::Private => {}
                Kind::Shared => settings.shared = Some(format!("{name}-ring-{index}")),
                Kind::Kept => settings.keep = Some(folder.path().join(format!("kept-{index}"))),
            }
        }
        let ledger = |index: usize| {
            let board = FileBoard::open(&folder.path().join(format!("board-{index}")));
            let Settings { recipe, producers, .. } = settings[index];
            Ledger::new(recipe, producers, board)
        };
        let ledgers = [ledger(0), ledger(1)];
        let (nodes, lives, opened, last) = ([None, None], [0; 2], [false; 2], [None, None]);
        Self { name, folder, kind, settings, nodes, ledgers, lives, opened, last, figures: Figures::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn node(&mut self, index: usize) -> &mut Child {
        self.nodes[index].as_mut().expect("a started node")
    }

    fn is_loaded(&self, index: usize) -> bool {
        self.settings[index].producers != 0
    }

    /// Starts a node; `die`: after such a line, or so many microseconds after its start.
    pub(crate) fn start(&mut self, index: usize, die: Option<(&str, u64)>) {
        self.lives[index] += 1;
        self.opened[index] = false;
        let life = self.lives[index];
        let mut settings = Settings {
            life,
            restored: self.path(&format!("restored-{index}-{life}")),
            die: None,
            ..self.settings[index].clone()
        };
        let mut more = Vec::new();
        match die {
            Some(("start", us)) => more.push(("HANDFAST_TEST_DIE_US", us.to_string())),
            Some((line, us)) => settings.die = Some((line.to_owned(), us)),
            None => {}
        }
        more.extend(settings.variables());
        more.push(("HANDFAST_TEST_NAME", self.name.clone()));
        more.push(("HANDFAST_TEST_INDEX", index.to_string()));
        more.push(("HANDFAST_TEST_BOARD", self.path(&format!("board-{index}")).display().to_string()));
        let mut child = Child::start("log", &more);
        child.lines.push(format!("note this is node {index} of {}, life {life}: {die:?}", self.name));
        self.nodes[index] = Some(child);
        // A partner that is gone takes its copy with it.
        self.last[1 - index] = None;
    }

    /// Has a node die so many microseconds after it has said such a line, or after so many acknowledgements.
    pub(crate) fn arm(&mut self, index: usize, line: &str, number: u64) -> Result<(), String> {
        self.node(index).ask(&format!("die {line} {number}"), PATIENCE).map(drop)
    }

    /// Has both append.
    pub(crate) fn go(&mut self) {
        self.node(0).tell("go");
        self.node(1).tell("go");
    }

    /// Has both append for so long, and goes on.
    pub(crate) fn load(&mut self, us: u64) {
        self.go();
        std::thread::sleep(Duration::from_micros(us));
    }

    /// Nothing may have gone wrong by a node's own account.
    fn sane(&mut self, index: usize) -> Result<(), String> {
        let node = self.node(index);
        node.listen();
        match node.last_of(&["wrong", "over", "refused"]).map(str::to_owned) {
            Some(line) => Err(node.story(&format!("says `{line}`"))),
            None => Ok(()),
        }
    }

    /// Waits until a log is open; what was restored must be what was promised.
    pub(crate) fn until_opened(&mut self, index: usize) -> Result<(), String> {
        if self.opened[index] {
            return Ok(());
        }
        let line = self.until(index, |line| line.starts_with("opened"))?;
        self.take_opened(index, &line)
    }

    fn take_opened(&mut self, index: usize, line: &str) -> Result<(), String> {
        let numbers: Vec<u64> = line.split(' ').skip(1).filter_map(|word| word.parse().ok()).collect();
        let &[generation, tail, end] = numbers.as_slice() else { return Err(format!("what is `{line}`?")) };
        let life = self.lives[index];
        let restored = Dump::load(&self.path(&format!("restored-{index}-{life}")));
        let before = self.last[index].as_ref().map(|copy| (copy.tail, copy.end));
        let told = |why: String| format!("log {index} as restored in life {life} (the copy was {before:?}): {why}");
        if (restored.tail.0, restored.end.0) != (tail, end) {
            return Err(told(format!("`{line}`, and {} to {} was read", restored.tail, restored.end)));
        }
        self.figures.read(self.ledgers[index].check(&restored, self.kind != Kind::Kept).map_err(told)?);
        if let Some(copy) = self.last[index].take() {
            match self.kind {
                Kind::Shared => agree(&copy, &restored),
                _ => equal(&copy, &restored),
            }
            .map_err(told)?;
        }
        self.opened[index] = true;
        self.ledgers[index].reopened(&restored, life, Generation(generation as u32)).map_err(told)
    }

    /// Waits for a line, and for trouble.
    fn until(&mut self, index: usize, wanted: impl Fn(&str) -> bool) -> Result<String, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.sane(index)?;
            if let Some(line) = self.node(index).lines.iter().rev().find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            if Instant::now() > until {
                let other = self.nodes[1 - index].as_mut().map(|node| node.story("is the other")).unwrap_or_default();
                return Err(format!("{}\n{other}", self.node(index).story("is not that far")));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits until the partner says that its copy of this log is whole.
    pub(crate) fn until_whole(&mut self, index: usize) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.sane(0)?;
            self.sane(1)?;
            if self.node(1 - index).last_of(&["copy "]).is_some_and(|line| line.starts_with("copy whole")) {
                return Ok(());
            }
            if Instant::now() > until {
                let stories = [0, 1].map(|index| self.node(index).story("has no whole copy, or makes none"));
                return Err(stories.join("\n"));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Kills these nodes at once, the first by its own hand where that is wanted. The survivor's copy is checked.
    pub(crate) fn fell(&mut self, indices: &[usize], by: Hand) -> Result<(), String> {
        if by != Hand::Ours {
            self.until_dead(indices[0], by)?;
        }
        for index in indices {
            // Both signals are under way before either is waited for.
            let _ = self.node(*index).process.kill();
        }
        for index in indices.iter().copied() {
            let status = self.node(index).kill();
            if status.signal() != Some(9) {
                return Err(self.node(index).story(&format!("was to die by SIGKILL, and ended by itself: {status}")));
            }
            // What it said last may still be on its way through the pipe.
            let _ = self.node(index).wait_for(usize::MAX, "nothing", Instant::now() + PATIENCE);
            self.figures.kills += 1;
            self.sane(index)?;
            if !self.opened[index]
                && let Some(line) = self.node(index).last_of(&["opened"]).map(str::to_owned)
            {
                self.take_opened(index, &line)?;
            }
            // Its copy of the other's log is gone.
            self.last[1 - index] = None;
        }
        match indices {
            [index] => self.check_copy(*index),
            _ => Ok(()),
        }
    }

    fn until_dead(&mut self, index: usize, by: Hand) -> Result<(), String> {
        let began = Instant::now();
        while self.node(index).process.try_wait().expect("its state").is_none() {
            self.sane(index)?;
            match by {
                Hand::OwnSoon if began.elapsed() > SOON => return Ok(()),
                _ if began.elapsed() > PATIENCE => return Err(self.stories("one of them did not die")),
                _ => std::thread::sleep(Duration::from_micros(100)),
            }
        }
        Ok(())
    }

    /// A problem, with what both have said last.
    fn stories(&mut self, problem: &str) -> String {
        let told = self.nodes.iter_mut().flatten().map(|node| node.story("is one of them"));
        format!("{problem}\n{}", told.collect::<Vec<_>>().join("\n"))
    }

    /// The partner of a log reads its copy.
    fn check_copy(&mut self, index: usize) -> Result<(), String> {
        let path = self.path(&format!("copy-{index}"));
        let answer = self.node(1 - index).ask(&format!("dump {}", path.display()), PATIENCE)?;
        let told = |why: String| format!("the copy of log {index}, `{answer}`: {why}");
        let worthy = answer.starts_with("whole");
        if !worthy && (self.kind == Kind::Shared || !self.is_loaded(index)) {
            return Ok(());
        }
        // Before anything was acknowledged it may be empty.
        let copy = if worthy { Dump::load(&path) } else { Dump::empty() };
        if self.kind == Kind::Private && !worthy {
            return Err(told(self.stories("not worthy of a takeover")));
        }
        // A ring that outlives its process may hold more than was ever sent.
        let checked = self.ledgers[index].check(&copy, self.kind == Kind::Private);
        let checked = checked.map_err(|why| told(self.stories(&why)))?;
        self.figures.read(checked);
        self.last[index] = (worthy && self.is_loaded(index)).then_some(copy);
        Ok(())
    }

    /// Everything appended is acknowledged, the copies hold it, both leave, and nothing remains.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        for index in 0..2 {
            self.until_opened(index)?;
        }
        for index in 0..2 {
            let answer = self.node(index).ask("halt", PATIENCE)?;
            let durable: u64 = answer.parse().map_err(|_| self.node(index).story(&format!("answers `{answer}`")))?;
            self.check_copy(index)?;
            self.figures.promised += self.ledgers[index].promised();
            self.figures.bytes += durable;
            let end = self.last[index].take().map(|copy| copy.end.0);
            if end.is_some_and(|end| end < durable) {
                return Err(format!("log {index} is durable up to {durable}, and the copy ends at {end:?}"));
            }
        }
        for index in 0..2 {
            self.sane(index)?;
            self.nodes[index].take().expect("a started node").leave(PATIENCE)?;
        }
        let left = files_of(&self.name);
        if left.is_empty() { Ok(()) } else { Err(format!("left in /dev/shm: {left:?}")) }
    }

    /// Threads that append, in all: for the reader of figures.
    pub(crate) fn producers(&self) -> u8 {
        debug_assert!(self.settings.iter().all(|settings| usize::from(settings.producers) <= PRODUCERS_MAX));
        self.settings.iter().map(|settings| settings.producers).sum()
    }
}
