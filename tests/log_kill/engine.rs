//! The load: threads that append, and one that truncates now and then.

use super::board::{Board, PRODUCERS_MAX, What};
use super::content::{Recipe, Stamp};
use crate::process::random::Random;
use crate::process::role::say;
use crate::process::sys::kill_self;
use handfast::clients::mirrored_log::{Acknowledgement, Lsn, MirroredLog, ReserveError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A wait after which a thread looks whether it is to end.
const TURN: Duration = Duration::from_millis(5);

/// Records that are in the log, in order, as far as nobody truncated them.
type Kept = Mutex<VecDeque<(Lsn, Stamp)>>;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) recipe: Recipe,
    pub(crate) life: u32,
    pub(crate) producers: u8,
    pub(crate) ring_bytes: u64,
    pub(crate) expected: Acknowledgement,
    /// The truncating thread sleeps up to so many microseconds.
    pub(crate) truncate_us: u64,
    /// The process ends by its own hand when so many acknowledgements were told.
    pub(crate) die_after: u64,
}

pub(crate) struct Engine {
    log: MirroredLog,
    board: Arc<dyn Board>,
    load: Load,
    /// Of each producer, and of earlier lives.
    kept: [Kept; PRODUCERS_MAX + 1],
    acknowledged: AtomicU64,
    stop: AtomicBool,
    stop_truncating: AtomicBool,
}

/// A load at work.
pub(crate) struct Running {
    engine: Arc<Engine>,
    threads: Vec<JoinHandle<()>>,
    truncating: JoinHandle<()>,
}

impl Running {
    /// Starts it on a log that held these records when it was opened.
    pub(crate) fn start(
        log: &MirroredLog,
        board: Arc<dyn Board>,
        load: Load,
        restored: VecDeque<(Lsn, Stamp)>,
    ) -> Self {
        let kept: [Kept; PRODUCERS_MAX + 1] = Default::default();
        *lock(&kept[PRODUCERS_MAX]) = restored;
        let (stop, stop_truncating) = (AtomicBool::new(false), AtomicBool::new(false));
        let engine = Arc::new(Engine {
            log: log.clone(),
            board,
            load,
            kept,
            acknowledged: AtomicU64::new(0),
            stop,
            stop_truncating,
        });
        let thread = |number: u8| {
            let engine = Arc::clone(&engine);
            std::thread::spawn(move || engine.produce(number))
        };
        let threads = (0..load.producers).map(thread).collect();
        let truncating = {
            let engine = Arc::clone(&engine);
            std::thread::spawn(move || engine.truncate_now_and_then())
        };
        Self { engine, threads, truncating }
    }

    /// Ends it, once everything that was appended is acknowledged.
    pub(crate) fn stop(self) {
        self.engine.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a producer"));
        self.engine.stop_truncating.store(true, Ordering::Relaxed);
        self.truncating.join().expect("the truncating thread");
    }

    /// Whether the log has taken its end.
    pub(crate) fn is_over(&self) -> bool {
        !self.threads.is_empty() && self.threads.iter().all(JoinHandle::is_finished)
    }
}

fn lock(kept: &Kept) -> MutexGuard<'_, VecDeque<(Lsn, Stamp)>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread that appends.
struct Producing<'a> {
    engine: &'a Engine,
    number: u8,
    counter: u64,
    /// Committed, and not known to be acknowledged.
    waiting: VecDeque<(Lsn, u64)>,
    random: Random,
    depth: usize,
}

impl Engine {
    fn note(&self, producer: u8, what: What, count: u64) {
        self.board.note(self.load.life, producer, what, count);
    }

    fn produce(&self, number: u8) {
        let seed = self.load.recipe.seed ^ u64::from(self.load.life) << 8 ^ u64::from(number);
        let mut random = Random::new(seed.wrapping_mul(77));
        let depth = random.spread(1, 64) as usize;
        let producer = self.log.producer(&format!("producer {number}"));
        let mut producing = Producing { engine: self, number, counter: 0, waiting: VecDeque::new(), random, depth };
        while !self.stop.load(Ordering::Relaxed) || !producing.waiting.is_empty() {
            if !self.stop.load(Ordering::Relaxed) {
                match producing.append(&producer) {
                    Ok(()) | Err(ReserveError::Full | ReserveError::NotOpen) => {}
                    Err(error) => return say(&format!("over {error}")),
                }
            }
            if let Err(error) = producing.settle() {
                return say(&format!("over {error}"));
            }
        }
    }

    fn truncate_now_and_then(&self) {
        let mut random = Random::new(self.load.recipe.seed ^ u64::from(self.load.life) << 20);
        while !self.stop_truncating.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_micros(random.spread(50, self.load.truncate_us)));
            let status = self.log.status();
            let used = status.head.0 - status.tail.0;
            if used * 4 > self.load.ring_bytes * (1 + random.below(3)) || random.chance(16) {
                self.truncate(&mut random);
            }
        }
    }

    /// Frees up to an acknowledged record, or everything that is acknowledged; tells first what goes.
    fn truncate(&self, random: &mut Random) {
        let durable = self.log.durable();
        let to = if random.chance(4) {
            durable
        } else {
            let kept = lock(&self.kept[random.below(PRODUCERS_MAX as u64 + 1) as usize]);
            let known = kept.iter().take_while(|(lsn, _)| *lsn < durable).count() as u64;
            match known {
                0 => return,
                // As a rule a good part of it.
                _ => kept[random.below(known).max(random.below(known)) as usize].0,
            }
        };
        let mut gone: BTreeMap<(u32, u8), u64> = BTreeMap::new();
        for kept in &self.kept {
            let mut kept = lock(kept);
            while let Some((lsn, stamp)) = kept.front().copied()
                && lsn < to
            {
                gone.insert((stamp.life, stamp.producer), stamp.counter);
                kept.pop_front();
            }
        }
        for ((life, producer), counter) in gone {
            self.board.note(life, producer, What::Dropped, counter);
        }
        if let Err(error) = self.log.truncate(to) {
            say(&format!("wrong: truncate to {to}: {error}"));
        }
    }
}

impl Producing<'_> {
    /// One record, or now and then a reservation that is given up.
    fn append(&mut self, producer: &handfast::clients::mirrored_log::Producer) -> Result<(), ReserveError> {
        let Load { recipe, life, .. } = self.engine.load;
        let counter = self.counter + 1;
        let stamp = Stamp { life, producer: self.number, counter };
        self.engine.note(self.number, What::Started, counter);
        let mut space = producer.reserve_until(recipe.bytes(stamp), Instant::now() + TURN)?;
        if self.random.chance(16) {
            space.fill(0xee);
            match self.random.chance(2) {
                true => space.abort(),
                false => drop(space),
            }
            return Ok(());
        }
        let lsn = space.lsn();
        recipe.fill(&mut space, stamp, lsn);
        // Before it is acknowledged, so that whoever truncates knows it by then.
        lock(&self.engine.kept[usize::from(self.number)]).push_back((lsn, stamp));
        if space.commit() != lsn {
            say("wrong: committed elsewhere than reserved");
        }
        self.counter = counter;
        self.waiting.push_back((lsn, counter));
        Ok(())
    }

    /// Tells what is acknowledged; waits for the oldest where too many are not.
    fn settle(&mut self) -> Result<(), String> {
        let engine = self.engine;
        let durable = engine.log.durable();
        let mut last = None;
        while let Some((lsn, counter)) = self.waiting.front().copied()
            && lsn < durable
        {
            last = Some(counter);
            self.waiting.pop_front();
        }
        let over = self.waiting.len() >= self.depth || engine.stop.load(Ordering::Relaxed);
        if let Some((lsn, counter)) = self.waiting.front().copied()
            && over
        {
            match engine.log.wait_until(lsn, Instant::now() + TURN) {
                Ok(how) if how == engine.load.expected => {
                    last = Some(counter);
                    self.waiting.pop_front();
                }
                Ok(how) => say(&format!("wrong: acknowledged as {how:?}")),
                Err(handfast::clients::mirrored_log::LogError::Late { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        if let Some(counter) = last {
            engine.note(self.number, What::Acknowledged, counter);
            if engine.acknowledged.fetch_add(1, Ordering::Relaxed) >= engine.load.die_after {
                kill_self();
            }
        }
        Ok(())
    }
}
