//! What was promised of one log, life by life, and whether what is read keeps it.

use super::board::{FileBoard, PRODUCERS_MAX, What};
use super::content::{Recipe, Stamp};
use super::dump::Dump;
use handfast::clients::mirrored_log::{Generation, Lsn};
use std::collections::BTreeMap;

/// What an earlier life left, as read at the start of a later one: records of one producer up to `most`; those up to `least` may not be lost.
#[derive(Debug, Clone, Copy)]
struct Left {
    least: u64,
    most: u64,
}

/// Figures of one reading.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Checked {
    /// Records read, each right to the last byte.
    pub(crate) records: u64,
    /// Of these, acknowledged before.
    pub(crate) acknowledged: u64,
    /// Of these, not known to be acknowledged.
    pub(crate) more: u64,
}

pub(crate) struct Ledger {
    recipe: Recipe,
    producers: u8,
    board: FileBoard,
    /// Whether what was restored stays from then on, or only once it is acknowledged anew.
    restored_stays: bool,
    left: BTreeMap<(u32, u8), Left>,
    generations: BTreeMap<u32, Generation>,
    life: u32,
}

impl Ledger {
    pub(crate) fn new(recipe: Recipe, producers: u8, board: FileBoard, restored_stays: bool) -> Self {
        let (left, generations) = (BTreeMap::new(), BTreeMap::new());
        Self { recipe, producers, board, restored_stays, left, generations, life: 0 }
    }

    /// What may and what must be there of a producer: (acknowledged, begun, dropped).
    fn bounds(&self, life: u32, producer: u8) -> (u64, u64, u64) {
        let read = |what| self.board.read(life, producer, what);
        let dropped = read(What::Dropped);
        match self.left.get(&(life, producer)) {
            Some(left) => (left.least, left.most, dropped),
            None => (read(What::Acknowledged), read(What::Started), dropped),
        }
    }

    /// What was restored at the start of the present life is durable by now: it stays whole.
    fn settle(&mut self) {
        if self.board.read(self.life, PRODUCERS_MAX as u8, What::Settled) == 1 {
            self.left.values_mut().for_each(|left| left.least = left.most);
        }
    }

    /// Records acknowledged in all lives so far.
    pub(crate) fn promised(&self) -> u64 {
        let producers = |life| (0..self.producers).map(move |producer| (life, producer));
        let each = (1..=self.life).flat_map(producers);
        each.map(|(life, producer)| self.board.read(life, producer, What::Acknowledged)).sum()
    }

    /// A dump must hold everything acknowledged and not truncated, each record once, right, and in order.
    pub(crate) fn check(&mut self, dump: &Dump) -> Result<Checked, String> {
        self.settle();
        let seen = self.seen(dump)?;
        let mut checked = Checked { records: dump.records.len() as u64, ..Checked::default() };
        let mut wanted: Vec<(u32, u8)> = self.left.keys().copied().collect();
        wanted.extend((0..self.producers).map(|producer| (self.life, producer)));
        for (life, producer) in wanted {
            let (least, most, dropped) = self.bounds(life, producer);
            let told = format!(
                "life {life} producer {producer}: acknowledged {least}, begun {most}, truncated up to {dropped}; \
                 read from {} to {}: {}",
                dump.tail, dump.end, dump.stopped
            );
            let Some((first, last)) = seen.get(&(life, producer)).copied() else {
                if least > dropped {
                    return Err(format!("LOST {} acknowledged records: {told}; none read", least - dropped));
                }
                continue;
            };
            let told = format!("{told}; records {first} to {last} were read");
            if first > dropped + 1 {
                return Err(format!("LOST {} records at the tail: {told}", first - dropped - 1));
            }
            if last < least {
                return Err(format!("LOST {} acknowledged records: {told}", least - last));
            }
            if last > most {
                return Err(format!("records that nobody wrote: {told}"));
            }
            let acknowledged = (least + 1).saturating_sub(first);
            checked.acknowledged += acknowledged;
            checked.more += last + 1 - first - acknowledged;
        }
        if let Some(stranger) = seen.keys().find(|key| key.0 != self.life && !self.left.contains_key(key)) {
            return Err(format!("records of {stranger:?}, which were not there at the last start"));
        }
        Ok(checked)
    }

    /// First and last record of each producer; each must follow the one before it.
    fn seen(&mut self, dump: &Dump) -> Result<BTreeMap<(u32, u8), (u64, u64)>, String> {
        let mut seen: BTreeMap<(u32, u8), (u64, u64)> = BTreeMap::new();
        let (mut at, mut generation) = (dump.tail, Generation(0));
        for record in &dump.records {
            let Stamp { life, producer, counter } = self.recipe.check(&record.payload, record.lsn)?;
            if record.lsn < at || record.generation < generation {
                return Err(format!("the record at {} comes behind {at} of generation {generation}", record.lsn));
            }
            (at, generation) = (record.end, record.generation);
            let of_life = *self.generations.entry(life).or_insert(generation);
            if of_life != generation {
                return Err(format!("life {life} wrote in generations {of_life} and {generation}"));
            }
            let (_, last) = seen.entry((life, producer)).or_insert((counter, counter - 1));
            if counter != *last + 1 {
                return Err(format!("record {counter} of {life}/{producer} at {} comes behind {last}", record.lsn));
            }
            *last = counter;
        }
        let rising = self.generations.values().zip(self.generations.values().skip(1)).all(|(one, next)| one < next);
        if !rising {
            return Err(format!("generations do not rise from life to life: {:?}", self.generations));
        }
        Ok(seen)
    }

    /// The log was opened anew with these records, which [`Ledger::check`] has seen.
    pub(crate) fn reopened(&mut self, dump: &Dump, life: u32, generation: Generation) -> Result<(), String> {
        self.settle();
        let seen = self.seen(dump)?;
        let mut left = BTreeMap::new();
        for ((life, producer), (_, last)) in seen {
            let (least, _, _) = self.bounds(life, producer);
            let least = if self.restored_stays { last } else { least };
            left.insert((life, producer), Left { least, most: last });
        }
        // A life that left nothing may have had the generation of a later one.
        self.generations.retain(|life, _| left.keys().any(|(left, _)| left == life));
        self.left = left;
        self.life = life;
        match self.generations.insert(life, generation) {
            Some(earlier) => Err(format!("life {life} has two generations, {earlier} and {generation}")),
            None => Ok(()),
        }
    }
}

/// Both are of one log: where they overlap they are the same.
pub(crate) fn agree(one: &Dump, other: &Dump) -> Result<(), String> {
    let from = one.tail.max(other.tail);
    let to = one.end.min(other.end);
    let within = |dump: &Dump| {
        let held = dump.records.iter().filter(|record| record.lsn >= from && record.end <= to);
        held.cloned().collect::<Vec<_>>()
    };
    let (here, there) = (within(one), within(other));
    let differing = here.iter().zip(&there).position(|(one, other)| one != other);
    match differing {
        Some(at) => Err(format!("two readings differ at {}", here[at].lsn)),
        None if here.len() != there.len() => Err(format!("{} records here, {} there", here.len(), there.len())),
        None => Ok(()),
    }
}

/// The same records from the same place to the same place.
pub(crate) fn equal(copy: &Dump, restored: &Dump) -> Result<(), String> {
    agree(copy, restored)?;
    let (copy, restored): ((Lsn, Lsn), (Lsn, Lsn)) = ((copy.tail, copy.end), (restored.tail, restored.end));
    if copy == restored { Ok(()) } else { Err(format!("the copy spans {copy:?}, and {restored:?} was restored")) }
}
