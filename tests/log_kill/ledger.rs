//! Holds what is read of a log to what its owner has told on its board.

use super::board::{FileBoard, PRODUCERS_MAX, What};
use super::content::{Recipe, Stamp};
use super::dump::Dump;
use super::promises::{Checked, Promises, Seen, Stretch, Told, Who};
use handfast::clients::mirrored_log::{Generation, Lsn};

pub(crate) struct Ledger {
    recipe: Recipe,
    producers: u8,
    board: FileBoard,
    promises: Promises,
}

/// What a board says of a producer.
fn told(board: &FileBoard, (life, producer): Who) -> Told {
    let read = |what| board.read(life, producer, what);
    Told { acknowledged: read(What::Acknowledged), begun: read(What::Started), dropped: read(What::Dropped) }
}

impl Ledger {
    pub(crate) fn new(recipe: Recipe, producers: u8, board: FileBoard) -> Self {
        Self { recipe, producers, board, promises: Promises::new(producers) }
    }

    /// Records acknowledged in all lives so far.
    pub(crate) fn promised(&self) -> u64 {
        let producers = |life| (0..self.producers).map(move |producer| (life, producer));
        let each = (1..=self.promises.life()).flat_map(producers);
        each.map(|(life, producer)| self.board.read(life, producer, What::Acknowledged)).sum()
    }

    fn settle(&mut self) {
        if self.board.read(self.promises.life(), PRODUCERS_MAX as u8, What::Settled) == 1 {
            self.promises.settled();
        }
    }

    /// A dump must hold everything acknowledged and not truncated, each record once, right, and in order; `restored`: and what was
    /// restored at the last start.
    pub(crate) fn check(&mut self, dump: &Dump, restored: bool) -> Result<Checked, String> {
        self.settle();
        let seen = seen(self.recipe, dump)?;
        let Self { board, promises, .. } = self;
        let checked = promises.check(&seen, |who| told(board, who), restored);
        checked.map_err(|why| format!("{why}; read from {} to {}: {}", dump.tail, dump.end, dump.stopped))
    }

    /// The log was opened anew with these records, which [`Ledger::check`] has seen.
    pub(crate) fn reopened(&mut self, dump: &Dump, life: u32, generation: Generation) -> Result<(), String> {
        self.settle();
        let seen = seen(self.recipe, dump)?;
        let Self { board, promises, .. } = self;
        promises.reopened(&seen, |who| told(board, who), life, generation.0)
    }
}

/// What was read of each producer; each record must be right, and follow the one before it.
pub(crate) fn seen(recipe: Recipe, dump: &Dump) -> Result<Seen, String> {
    let mut seen = Seen::new();
    let (mut at, mut newest) = (dump.tail, Generation(0));
    for record in &dump.records {
        let Stamp { life, producer, counter } = recipe.check(&record.payload, record.lsn)?;
        if record.lsn < at || record.generation < newest {
            return Err(format!("the record at {} comes behind {at} of generation {newest}", record.lsn));
        }
        (at, newest) = (record.end, record.generation);
        let generation = newest.0;
        let stretch = seen.entry((life, producer)).or_insert(Stretch { first: counter, last: counter - 1, generation });
        if counter != stretch.last + 1 || generation != stretch.generation {
            return Err(format!("record {counter} of {life}/{producer} at {} comes behind {stretch:?}", record.lsn));
        }
        stretch.last = counter;
    }
    Ok(seen)
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
