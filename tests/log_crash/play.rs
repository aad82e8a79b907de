//! One play: two nodes come to some point, one of them ends there, with its power or without, and what they make of what is left is judged.

use crate::calls::Moment;
use crate::judge::{Left, judge};
use crate::ledger::{Ledger, Row};
use crate::machine::{cut_power, furnish, remove, ring_path};
use crate::node::{Ring, Settings, words};
use crate::process::child::Child;
use crate::process::folder_on_disk;
use crate::process::random::Random;
use handfast::clients::mirrored_log::LogHeader;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// Records before what is played, and one part and two parts of it later.
const RECORDS: [usize; 3] = [6, 12, 18];

/// What the victim ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scene {
    /// The first beginning of both.
    Open,
    /// The primary comes back without its ring, or with an older one.
    Restore,
    /// The replica comes back with nothing, with its file, or with an older one.
    Refill,
    /// The primary goes on alone.
    Alone,
    /// The replica comes back to one that went on alone.
    Rejoin,
    /// The replica takes over from a primary that is gone.
    TakeOver,
}

/// The primary and the replica of the log that is followed.
pub(crate) const PRIMARY: usize = 0;
pub(crate) const REPLICA: usize = 1;

/// Every scene with who ends in it.
pub(crate) const SCENES: [(Scene, usize); 10] = [
    (Scene::Open, PRIMARY),
    (Scene::Open, REPLICA),
    (Scene::Restore, PRIMARY),
    (Scene::Restore, REPLICA),
    (Scene::Refill, PRIMARY),
    (Scene::Refill, REPLICA),
    (Scene::Alone, PRIMARY),
    (Scene::Rejoin, PRIMARY),
    (Scene::Rejoin, REPLICA),
    (Scene::TakeOver, REPLICA),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Death {
    Kill,
    /// The other one is killed just after.
    KillBoth,
    Power,
    /// Both machines lose it.
    PowerBoth,
}

pub(crate) const DEATHS: [Death; 4] = [Death::Kill, Death::KillBoth, Death::Power, Death::PowerBoth];

impl Death {
    fn is_of_both(self) -> bool {
        matches!(self, Self::KillBoth | Self::PowerBoth)
    }

    pub(crate) fn cuts_power(self) -> bool {
        matches!(self, Self::Power | Self::PowerBoth)
    }
}

/// What holds the log here and there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backings {
    pub(crate) ring: Ring,
    pub(crate) keeps: bool,
    pub(crate) persistent: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Play {
    pub(crate) scene: Scene,
    pub(crate) victim: usize,
    pub(crate) backings: Backings,
    pub(crate) death: Death,
    pub(crate) moment: Moment,
    pub(crate) seed: u64,
}

/// How a play came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Everything acknowledged was there.
    Whole,
    /// The other one has taken over, and everything acknowledged was there.
    TakenOver,
    /// A node said by name why it does not go on, and no node had all of it.
    Refused,
    /// The same, and nothing was acknowledged yet.
    RefusedEmpty,
    /// The moment did not come.
    NotReached,
}

/// The nodes of a play.
pub(crate) struct Stage {
    pub(crate) play: Play,
    random: Random,
    _folder: TempDir,
    settings: [Settings; 2],
    pub(crate) nodes: [Option<Child>; 2],
    lives: u8,
    /// What a takeover answered.
    pub(crate) taken: Option<String>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.nodes = [None, None];
        if let Some(path) = ring_path(&self.settings[PRIMARY]) {
            let _ = std::fs::remove_file(format!("{}.new", path.display()));
            let _ = std::fs::remove_file(path);
        }
        for path in crate::process::files_of(&self.settings[PRIMARY].name) {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Stage {
    fn new(play: Play) -> Self {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("crash-{}-{}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed));
        let folder = folder_on_disk();
        let Backings { ring, keeps, persistent } = play.backings;
        let settings = [PRIMARY, REPLICA].map(|index| Settings {
            name: name.clone(),
            index,
            life: 0,
            folder: folder.path().join(crate::process::node::NAMES[index]),
            ledger: folder.path().join(if index == PRIMARY { "ledger" } else { "nothing" }),
            ring: if index == PRIMARY { ring } else { Ring::Anonymous },
            keeps,
            persistent,
            goes_alone: matches!(play.scene, Scene::Alone | Scene::Rejoin),
            moment: Moment::Never,
        });
        settings.iter().for_each(furnish);
        let random = Random::new(play.seed);
        Self { play, random, _folder: folder, settings, nodes: [None, None], lives: 0, taken: None }
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        Ledger::rows(&self.settings[PRIMARY].ledger)
    }

    fn node(&mut self, index: usize) -> &mut Child {
        self.nodes[index].as_mut().expect("a started node")
    }

    fn start(&mut self, index: usize, moment: Moment) {
        self.lives += 1;
        let settings = Settings { life: self.lives, moment, ..self.settings[index].clone() };
        self.nodes[index] = Some(Child::start("crash", &settings.variables()));
    }

    /// With its moment, where it is the victim.
    fn start_to_end(&mut self, index: usize) {
        let moment = if index == self.play.victim { self.play.moment } else { Moment::Never };
        self.start(index, moment);
    }

    pub(crate) fn end(&mut self, index: usize) {
        if let Some(mut node) = self.nodes[index].take() {
            node.kill();
        }
    }

    /// From here on the victim counts, where it runs already.
    fn arm(&mut self) -> Result<(), String> {
        let (victim, moment) = (self.play.victim, self.play.moment);
        self.node(victim).tell(&format!("arm {}", words(moment)));
        self.count().map(|_| ())
    }

    /// Calls and steps of the victim.
    fn count(&mut self) -> Result<(u64, u64), String> {
        let victim = self.play.victim;
        let Ok(answer) = self.node(victim).ask("count", PATIENCE) else { return Ok((0, 0)) };
        let (calls, steps) = answer.split_once(' ').ok_or("no two numbers")?;
        Ok((calls.parse().map_err(|_| "no number")?, steps.parse().map_err(|_| "no number")?))
    }

    /// Whether the node has said it; false: the victim has ended before.
    fn until(&mut self, index: usize, word: &str) -> Result<bool, String> {
        let from = self.node(index).lines.len();
        self.until_from(index, from, word)
    }

    fn until_from(&mut self, index: usize, from: usize, word: &str) -> Result<bool, String> {
        let began = Instant::now();
        loop {
            let victim = self.play.victim;
            let is_gone = self.nodes[victim].as_mut().is_some_and(|node| !matches!(node.process.try_wait(), Ok(None)));
            let node = self.node(index);
            node.listen();
            if node.lines[from..].iter().any(|line| line.starts_with(word)) {
                return Ok(true);
            }
            if is_gone {
                return Ok(false);
            }
            if began.elapsed() > PATIENCE {
                return Err(self.stories(&format!("no `{word}` of node {index} in time")));
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    pub(crate) fn stories(&mut self, problem: &str) -> String {
        let stories = self.nodes.iter_mut().flatten().map(|node| node.story("")).collect::<Vec<_>>();
        format!("{problem}\n{}", stories.join("\n"))
    }

    fn append(&mut self, records: usize) {
        self.node(PRIMARY).tell(&format!("append {records}"));
    }

    fn begin(&mut self) -> Result<(), String> {
        self.start(REPLICA, Moment::Never);
        self.start(PRIMARY, Moment::Never);
        self.append(RECORDS[0]);
        match self.until_from(PRIMARY, 0, &format!("done {}", RECORDS[0]))? {
            true => Ok(()),
            false => Err(self.stories("a node ended before its time")),
        }
    }

    /// Plays until the victim ends, or the scene; whether the victim did.
    fn run(&mut self) -> Result<bool, String> {
        let [one, two, three] = RECORDS.map(|records| format!("done {records}"));
        if self.play.scene == Scene::Open {
            self.start_to_end(REPLICA);
            self.start_to_end(PRIMARY);
            self.append(RECORDS[0]);
            return self.until_from(PRIMARY, 0, &one).map(|done| !done);
        }
        self.begin()?;
        let runs_on = match self.play.scene {
            Scene::Restore | Scene::TakeOver => REPLICA,
            _ => PRIMARY,
        };
        if self.play.victim == runs_on {
            self.arm()?;
        }
        match self.play.scene {
            Scene::Restore => {
                self.end(PRIMARY);
                self.lose_ring();
                self.start_to_end(PRIMARY);
                self.append(RECORDS[1]);
                self.until_from(PRIMARY, 0, &two).map(|done| !done)
            }
            Scene::Refill => {
                self.end(REPLICA);
                self.lose_copy();
                self.start_to_end(REPLICA);
                self.append(RECORDS[1]);
                self.until(PRIMARY, &two).map(|done| !done)
            }
            Scene::Alone => {
                self.end(REPLICA);
                self.append(RECORDS[1]);
                self.until(PRIMARY, &two).map(|done| !done)
            }
            Scene::Rejoin => {
                self.end(REPLICA);
                self.append(RECORDS[1]);
                if !self.until(PRIMARY, &two)? {
                    return Ok(true);
                }
                self.lose_copy();
                self.start_to_end(REPLICA);
                let done = self.until(PRIMARY, "mirrored")?;
                self.append(RECORDS[2]);
                Ok(!(done && self.until(PRIMARY, &three)?))
            }
            _ => self.take_over(),
        }
    }

    fn take_over(&mut self) -> Result<bool, String> {
        let term = self.node(PRIMARY).ask("term", PATIENCE)?;
        self.end(PRIMARY);
        if !self.until_from(REPLICA, 0, "lost")? {
            return Ok(true);
        }
        let answer = self.node(REPLICA).ask(&format!("take {term}"), PATIENCE);
        self.taken = answer.ok();
        Ok(self.taken.is_none())
    }

    /// The primary's ring is gone with its name, or is an older one.
    fn lose_ring(&mut self) {
        let settings = &self.settings[PRIMARY];
        if settings.ring == Ring::File && self.random.chance(2) {
            cut_power(settings, &mut self.random);
        } else if let Some(path) = ring_path(settings) {
            remove(settings, &path);
        }
    }

    /// The replica's file is there, or its power went, or it is gone.
    fn lose_copy(&mut self) {
        let settings = &self.settings[REPLICA];
        match self.random.below(3) {
            0 => cut_power(settings, &mut self.random),
            // What waited for that file is lost then, by the hand of whoever removed it.
            1 if !self.play.backings.persistent => {
                remove(settings, &settings.folder.join("kept"));
            }
            _ => {}
        }
    }

    /// Ends what is to end, and takes from its files what is to be taken; what is left elsewhere.
    fn lose(&mut self) -> Result<Left, String> {
        let (victim, death) = (self.play.victim, self.play.death);
        let was_open = self.nodes[PRIMARY].as_mut().is_some_and(|node| {
            if victim == PRIMARY {
                node.kill();
            }
            node.listen();
            node.last_of(&["opened"]).is_some()
        });
        self.end(victim);
        if death.is_of_both() {
            self.end(1 - victim);
        }
        let copied = match &mut self.nodes[REPLICA] {
            Some(replica) => Some(replica.ask("copy", PATIENCE)?),
            None => None,
        };
        for index in [PRIMARY, REPLICA] {
            if death.cuts_power() && (index == victim || death.is_of_both()) {
                cut_power(&self.settings[index], &mut self.random);
            }
        }
        let [primary, replica] = &self.settings;
        let term = std::fs::read_to_string(primary.folder.join("term")).unwrap_or_default();
        let of_header = |path: PathBuf| {
            let header = File::open(path).ok().and_then(|file| LogHeader::read(&file).ok());
            header.map_or(0, |header| header.term.0)
        };
        let taken = term
            .split(' ')
            .next()
            .and_then(|term| term.trim().parse().ok())
            .unwrap_or(0)
            .max(ring_path(primary).map_or(0, of_header));
        let is_superseded = taken > of_header(replica.folder.join("kept"));
        Ok(Left { was_open, copied, is_primary_alive: self.nodes[PRIMARY].is_some(), is_superseded })
    }

    /// Starts what is not there.
    pub(crate) fn bring_back(&mut self) {
        for index in [REPLICA, PRIMARY] {
            if self.nodes[index].is_none() {
                self.start(index, Moment::Never);
            }
        }
    }
}

/// Plays it; how it came out, and how many calls and steps the victim made.
///
/// # Errors
/// Something acknowledged is gone, or wrong, or nobody says anything.
pub(crate) fn play(play: Play) -> Result<(Outcome, (u64, u64)), String> {
    let mut stage = Stage::new(play);
    let told = |why: String| format!("{play:?}: {why}");
    if !stage.run().map_err(told)? {
        let counted = stage.count().map_err(told)?;
        if play.moment == Moment::Never && play.scene != Scene::TakeOver {
            return Ok((Outcome::NotReached, counted));
        }
        // As after any other moment: it ends now.
        let left = stage.lose().map_err(told)?;
        judge(&mut stage, &left).map_err(told)?;
        return Ok((Outcome::NotReached, counted));
    }
    let left = stage.lose().map_err(told)?;
    let outcome = judge(&mut stage, &left).map_err(told)?;
    Ok((outcome, (0, 0)))
}
