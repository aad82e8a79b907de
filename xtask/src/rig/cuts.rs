//! The jobs that cut the power of nodes with a mirrored log: what they have told on their consoles outlives them here, and must be kept.
//!
//! `b` owns the log and appends under load, `a` holds the copy. In `logpower` the power of `b` is cut again and again, in `logboth` that of both at
//! once, and the copy is on `a`'s disk. After each cut `a` says what it has, and `b`, booted again, what it restored.

use super::guest::{End, Guest, Heard, Image, MOUNT, Seat, Wire, verdict};
use super::prepare::Boot;
use super::promises::{Checked, Promises, Seen, Stretch, Told, Who};
use super::run::wires;
use crate::counts::Counts;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// The longest that a boot and anything after it may take.
const PATIENCE: Duration = Duration::from_secs(120);

const TAIL_LINES: usize = 30;
const PRODUCERS: u8 = 2;
const NAMES: [char; 2] = ['a', 'b'];
const MARK: &str = "@ ";

/// A job of this kind.
pub(super) struct Cuts {
    root: PathBuf,
    name: &'static str,
    /// The line that starts a node in a guest.
    node: String,
    both: bool,
    times: u64,
}

/// A guest, as it is now.
#[derive(Default)]
struct Place {
    guest: Option<Guest>,
    number: u32,
    life: u32,
    seen: Seen,
    /// Tail, end, records and digest of what was restored.
    span: String,
    lines: VecDeque<String>,
    /// What its node said, and nobody has waited for yet.
    said: VecDeque<String>,
    /// Its node has left: its machine may end.
    left: bool,
}

struct Course<'a> {
    job: &'a Cuts,
    boot: &'a Boot,
    wires: [Wire; 2],
    disk: Option<Arc<Image>>,
    tell: Sender<(u32, Heard)>,
    heard: Receiver<(u32, Heard)>,
    next: u32,
    seed: u64,
    places: [Place; 2],
    promises: Promises,
    board: BTreeMap<Who, Told>,
    settled: bool,
    /// What the copy spans by its holder's word since the last cut.
    copied: String,
    figures: Figures,
    began: Instant,
}

#[derive(Debug, Default)]
struct Figures {
    cuts: u64,
    readings: u64,
    acknowledged: u64,
    more: u64,
}

impl Cuts {
    pub(super) fn new(root: &Path, name: &'static str, node: String, both: bool, times: u64) -> Self {
        Self { root: root.to_owned(), name, node, both, times }
    }

    /// Runs it; how it ended. What went wrong is printed.
    pub(super) fn run(&self, boot: &Boot) -> io::Result<(End, Counts)> {
        let clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
        let seed = std::env::var("HANDFAST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(clock);
        println!("-- seed {seed}: HANDFAST_SEED={seed} repeats the choices");
        let disk = if self.both { Some(Arc::new(Image::make(&self.root, self.name)?)) } else { None };
        let (tell, heard) = mpsc::channel();
        let mut course = Course {
            job: self,
            boot,
            wires: wires()?,
            disk,
            tell,
            heard,
            next: 0,
            seed,
            places: Default::default(),
            promises: Promises::new(PRODUCERS),
            board: BTreeMap::new(),
            settled: false,
            copied: String::new(),
            figures: Figures::default(),
            began: Instant::now(),
        };
        let outcome = course.run(self.times);
        let acknowledged: u64 = course.board.values().map(|told| told.acknowledged).sum();
        println!("-- {:?}, {acknowledged} records acknowledged in all", course.figures);
        match outcome {
            Ok(()) => Ok((End::Status(0), Counts::PASSED)),
            Err(why) => {
                for (place, name) in course.places.iter().zip(NAMES) {
                    println!("-- {name}: the last lines of its console:");
                    place.lines.iter().for_each(|line| println!("   {line}"));
                }
                println!("-- FAILED, seed {seed}: {why}");
                Ok((End::Status(1), Counts::FAILED))
            }
        }
    }
}

impl Drop for Course<'_> {
    fn drop(&mut self) {
        self.places.iter_mut().for_each(|place| place.guest = None);
    }
}

fn wrong(error: io::Error) -> String {
    error.to_string()
}

impl Course<'_> {
    fn run(&mut self, times: u64) -> Result<(), String> {
        self.power_up(0)?;
        self.power_up(1)?;
        for _ in 0..times {
            self.until_restored()?;
            self.until(1, |line| line.starts_with("mirrored"))?;
            self.tell(1, "go")?;
            self.until(1, |line| line.starts_with("board") && line.contains("acknowledged"))?;
            let pause = Duration::from_millis(20 + self.chance(1000));
            self.listen(pause)?;
            self.cut()?;
        }
        self.until_restored()?;
        self.until(1, |line| line.starts_with("mirrored"))?;
        self.tell(1, "go")?;
        self.listen(Duration::from_millis(500))?;
        self.tell(1, "halt")?;
        let durable = self.until(1, |line| line.starts_with("= "))?;
        let span = self.check_copy()?;
        let number = |text: &str, at: usize| text.split(' ').nth(at).and_then(|word| word.parse::<u64>().ok());
        if number(&span, 1) < number(&durable, 1) {
            return Err(format!("durable up to `{durable}`, and the copy is `{span}`"));
        }
        for index in [1, 0] {
            self.tell(index, "leave")?;
            self.until(index, |line| line == "left")?;
        }
        Ok(())
    }

    fn chance(&mut self, limit: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % limit
    }

    /// Cuts the power, boots again, and has the copy looked at before its owner goes on.
    fn cut(&mut self) -> Result<(), String> {
        self.figures.cuts += 1;
        println!("-- power cut {} at {:.1} s", self.figures.cuts, self.began.elapsed().as_secs_f64());
        let victims: &[usize] = if self.job.both { &[0, 1] } else { &[1] };
        let numbers: Vec<u32> = victims.iter().map(|index| self.places[*index].number).collect();
        for index in victims {
            self.places[*index].guest = None;
        }
        // What they said before the cut is still under way.
        let mut closed = 0;
        while closed < numbers.len() {
            let (number, heard) = self.heard.recv_timeout(PATIENCE).map_err(|error| error.to_string())?;
            match heard {
                Heard::Closed(_) if numbers.contains(&number) => closed += 1,
                heard => self.take(number, heard)?,
            }
        }
        for index in victims {
            self.power_up(*index)?;
        }
        if self.job.both {
            self.until(0, |line| line == "booted")?;
        }
        self.copied = self.check_copy()?;
        Ok(())
    }

    /// Has the partner say what it holds; tail, end, records and digest of that.
    fn check_copy(&mut self) -> Result<String, String> {
        self.places[0].seen.clear();
        self.tell(0, "tell")?;
        let answer = self.until(0, |line| line.starts_with("= "))?;
        let Some(span) = answer.strip_prefix("= whole ") else {
            return Err(format!("the copy is not worthy of a takeover: `{answer}`"));
        };
        let seen = std::mem::take(&mut self.places[0].seen);
        let checked = self.check(&seen).map_err(|why| format!("the copy, `{answer}`: {why}"))?;
        let (life, Checked { acknowledged, more }) = (self.promises.life(), checked);
        println!("-- life {life}, the copy: {span}; {acknowledged} acknowledged, {more} more");
        Ok(span.to_owned())
    }

    fn check(&mut self, seen: &Seen) -> Result<Checked, String> {
        if std::mem::take(&mut self.settled) {
            self.promises.settled();
        }
        let board = &self.board;
        let checked = self.promises.check(seen, |who| told(board, who), !self.job.both)?;
        self.figures.readings += 1;
        self.figures.acknowledged += checked.acknowledged;
        self.figures.more += checked.more;
        Ok(checked)
    }

    /// Waits until the owner has opened its log: with the very records that the copy had.
    fn until_restored(&mut self) -> Result<(), String> {
        let line = self.until(1, |line| line.starts_with("opened"))?;
        let generation = line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let seen = std::mem::take(&mut self.places[1].seen);
        self.check(&seen).map_err(|why| format!("what was restored: {why}"))?;
        let (copy, restored) = (std::mem::take(&mut self.copied), self.places[1].span.clone());
        if !copy.is_empty() && copy != restored {
            return Err(format!("the copy was `{copy}`, and `{restored}` was restored"));
        }
        let (life, board) = (self.places[1].life, &self.board);
        self.promises.reopened(&seen, |who| told(board, who), life, generation)
    }

    fn power_up(&mut self, index: usize) -> Result<(), String> {
        let place = &mut self.places[index];
        place.life += 1;
        place.number = self.next;
        place.lines.clear();
        place.said.clear();
        place.seen.clear();
        let name = NAMES[index];
        let script = self.job.root.join(format!("target/rig/{}.{name}-{}.sh", self.job.name, std::process::id()));
        std::fs::write(&script, self.job.script(index, place.life)).map_err(wrong)?;
        let disk = self.disk.clone().filter(|_| index == 0);
        let script = script.canonicalize().map_err(wrong)?;
        let seat = Seat { name, script, wire: Some(self.wires[index]), disk };
        place.guest = Some(Guest::boot(self.boot, &seat, self.next, &self.tell).map_err(wrong)?);
        self.next += 1;
        Ok(())
    }

    fn tell(&mut self, index: usize, line: &str) -> Result<(), String> {
        self.places[index].lines.push_back(format!("> {line}"));
        let guest = self.places[index].guest.as_mut().ok_or("a guest without power")?;
        guest.tell(line).map_err(wrong)
    }

    /// Takes in lines for so long.
    fn listen(&mut self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        while let Ok((number, heard)) = self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.take(number, heard)?;
        }
        Ok(())
    }

    /// Waits for a line of a guest.
    fn until(&mut self, index: usize, wanted: impl Fn(&str) -> bool) -> Result<String, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            while let Some(line) = self.places[index].said.pop_front() {
                if wanted(&line) {
                    return Ok(line);
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            let heard = self.heard.recv_timeout(left);
            let (number, heard) = heard.map_err(|_| format!("{} is not that far in time", NAMES[index]))?;
            self.take(number, heard)?;
        }
    }

    /// Takes in what a guest said.
    fn take(&mut self, number: u32, heard: Heard) -> Result<(), String> {
        let Some(index) = self.places.iter().position(|place| place.number == number) else { return Ok(()) };
        let place = &mut self.places[index];
        let line = match heard {
            Heard::Line(line) => line,
            Heard::Closed(_) if place.guest.is_none() || place.left => return Ok(()),
            Heard::Closed(said) => return Err(format!("{} ended: {said}", NAMES[index])),
        };
        if place.lines.len() >= TAIL_LINES {
            place.lines.pop_front();
        }
        place.lines.push_back(line.clone());
        match verdict(&line) {
            Some(End::Kernel(line)) => return Err(line),
            Some(End::Status(status)) if status != 0 => return Err(format!("{}: status {status}", NAMES[index])),
            _ => {}
        }
        let Some((_, said)) = line.split_once(MARK) else { return Ok(()) };
        let words: Vec<&str> = said.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        match words.first().copied() {
            Some("wrong:" | "over" | "refused") => return Err(format!("{} says `{said}`", NAMES[index])),
            Some("seen") => {
                let stretch = Stretch { first: number(4), last: number(5), generation: number(6) as u32 };
                place.seen.insert((number(2) as u32, number(3) as u8), stretch);
            }
            Some("left") => place.left = true,
            Some("span") => place.span = words[1..].join(" "),
            Some("board") if index == 1 => {
                let told = self.board.entry((number(1) as u32, number(2) as u8)).or_default();
                match words.get(3).copied() {
                    Some("acknowledged") => told.acknowledged = number(4).max(told.acknowledged),
                    Some("dropped") => told.dropped = number(4).max(told.dropped),
                    Some("settled") => self.settled = true,
                    _ => {}
                }
            }
            _ => {}
        }
        place.said.push_back(said.to_owned());
        Ok(())
    }
}

/// What was told of a producer. What it began is not told: its console would be busy with nothing else.
fn told(board: &BTreeMap<Who, Told>, who: Who) -> Told {
    Told { begun: u64::MAX, ..board.get(&who).copied().unwrap_or_default() }
}

impl Cuts {
    fn script(&self, index: usize, life: u32) -> String {
        let (producers, acknowledge) =
            (if index == 1 { PRODUCERS } else { 0 }, if self.both { "persistent" } else { "placed" });
        let mut lines = vec!["set -e".to_owned(), "stty -echo".to_owned()];
        let mut variables = vec![
            ("ROLE", "log".to_owned()),
            ("INDEX", index.to_string()),
            ("RECIPE", "77 6000".to_owned()),
            ("LIFE", life.to_string()),
            ("PRODUCERS", producers.to_string()),
            ("RING", (256 << 10).to_string()),
            ("ACKNOWLEDGE", acknowledge.to_owned()),
            ("BATCHES", "65536 8".to_owned()),
            ("TRUNCATE_US", "200000".to_owned()),
            ("POLLS", "16".to_owned()),
            ("RESTORED", "/run/restored".to_owned()),
            ("TELL", "1".to_owned()),
        ];
        if self.both && index == 0 {
            lines.push(MOUNT.to_owned());
            variables.push(("KEEP", "/run/disk/kept".to_owned()));
        }
        lines.extend(variables.iter().map(|(name, value)| format!("export HANDFAST_TEST_{name}='{value}'")));
        lines.push(self.node.clone());
        lines.join("\n")
    }
}
