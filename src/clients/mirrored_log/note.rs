//! Small files of numbers that a node's next start needs: the term under which it writes alone, which log was begun, what was taken over.
//!
//! A file holds one line: the numbers, and a checksum of them and of what they are for. One of an earlier release has no checksum, and is
//! written anew when it is taken. A line without its end was cut off, and is none.
//!
//! What a note says is known here from its start on, and the file is there for the next process alone. So a file that others remove, replace
//! or empty is written again, and its lock taken again: see [`Note::look`].

use super::error::LogError;
use super::lsn::{Generation, History, TAKEN_MAX, Term};
use crate::fabric::Timestamp;
use crate::storage::{Disk, FileStat, Lock, Owner, Small, StorageError, System, is_numbers};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// More than the longest of these files: a history, a term and a checksum.
const TEXT_BYTES_MAX: usize = 128;

/// Between two looks at whether the file is still there: what is acknowledged alone rests on it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a small file holds.
pub(super) trait Number: Copy + PartialEq + std::fmt::Debug {
    /// For messages, and in the checksum: a file of another kind is none of this one.
    const KIND: &'static str;
    /// What is to be done where it cannot be read, as the end of a message.
    const REMEDY: &'static str;

    /// # Errors
    /// [`LogError::Exhausted`]: [`Number::decode`] would refuse it.
    fn encode(&self) -> Result<String, LogError>;

    fn decode(words: &[&str]) -> Option<Self>;
}

const GIVE_UP: &str = "start once with Start::GiveUpMissing, which goes on with what the ring and the partner have and writes this file anew (one that holds something else than numbers is moved away first)";

impl Number for Term {
    const KIND: &'static str = "term";
    const REMEDY: &'static str = GIVE_UP;

    fn encode(&self) -> Result<String, LogError> {
        match self.is_valid() {
            true => Ok(self.0.to_string()),
            false => Err(LogError::Exhausted { what: "term", found: self.0 }),
        }
    }

    fn decode(words: &[&str]) -> Option<Self> {
        let [term] = words else { return None };
        term.parse().ok().map(Term).filter(|term| term.is_valid())
    }
}

/// The log that was begun on a node, the highest generation under which it was opened there, and which copy has what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) history: History,
    /// Zero where an earlier release noted it, which knew of none.
    pub(super) generation: Generation,
    /// Of the partner's copy (see [`LogHeader::lineage`](super::LogHeader::lineage)): of the one that is being filled or is whole by now, and
    /// of the one before, until the next record is acknowledged. Zero: none was ever filled.
    pub(super) lineages: [u64; 2],
}

impl Begun {
    /// What is noted before a copy of this lineage is filled: both count.
    pub(super) fn filling(self, lineage: u64) -> Self {
        let [now, before] = self.lineages;
        Self { lineages: [lineage, if now == lineage { before } else { now }], ..self }
    }

    /// What is noted before anything is acknowledged by the copy of this lineage: no other counts.
    pub(super) fn filled(self, lineage: u64) -> Self {
        Self { lineages: [lineage; 2], ..self }
    }

    /// Whether a copy of this lineage has, as far as it is known, what was acknowledged.
    pub(super) fn counts(&self, lineage: u64) -> bool {
        self.lineages[0] == 0 || self.lineages.contains(&lineage)
    }
}

impl Number for Begun {
    const KIND: &'static str = "history of a log";
    const REMEDY: &'static str = GIVE_UP;

    fn encode(&self) -> Result<String, LogError> {
        let [now, before] = self.lineages;
        Ok(format!("{:032x} {} {now:016x} {before:016x}", self.history.0, self.generation.0))
    }

    fn decode(words: &[&str]) -> Option<Self> {
        let lineage = |word: &str| u64::from_str_radix(word, 16).ok();
        let (history, generation, lineages) = match words {
            [history] => (history, 0, [0; 2]),
            [history, generation, now, before] => {
                (history, generation.parse().ok()?, [lineage(now)?, lineage(before)?])
            }
            _ => return None,
        };
        let history = u128::from_str_radix(history, 16).ok().filter(|_| history.len() == 32)?;
        Some(Self { history: History(history), generation: Generation(generation), lineages })
    }
}

/// A log that was taken over, and under which term.
impl Number for (History, Term) {
    const KIND: &'static str = "history and term";
    const REMEDY: &'static str = "move it away, and nothing of the partner's log counts as taken over: do so only where what was written since the takeover is given up";

    fn encode(&self) -> Result<String, LogError> {
        let (history, Term(term)) = self;
        match *term <= TAKEN_MAX {
            true => Ok(format!("{:032x} {term}", history.0)),
            false => Err(LogError::Exhausted { what: "term", found: *term }),
        }
    }

    fn decode(words: &[&str]) -> Option<Self> {
        let [history, term] = words else { return None };
        let taken = (History(u128::from_str_radix(history, 16).ok()?), Term(term.parse().ok()?));
        (taken.1.0 <= TAKEN_MAX).then_some(taken)
    }
}

/// Between the numbers and their checksum: two blanks, so that no single bit makes one number of both.
const SEAL: &str = "  ";

fn checksum<N: Number>(numbers: &str) -> String {
    format!("{:08x}", crc32c::crc32c_append(crc32c::crc32c(N::KIND.as_bytes()), numbers.as_bytes()))
}

/// The line that says this.
fn line_of<N: Number>(number: &N) -> Result<String, LogError> {
    let numbers = number.encode()?;
    Ok(format!("{numbers}{SEAL}{}\n", checksum::<N>(&numbers)))
}

/// What a line says; none where it is damaged.
fn parse<N: Number>(line: &[u8]) -> Option<N> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let sealed = line.rsplit_once(SEAL).filter(|(numbers, sum)| *sum == checksum::<N>(numbers));
    // An earlier release wrote no checksum.
    let numbers = sealed.map_or(line, |(numbers, _)| numbers);
    N::decode(&numbers.split(' ').collect::<Vec<_>>())
}

/// What became of a file that others took away.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mended {
    pub(super) path: PathBuf,
    pub(super) what: &'static str,
}

/// A small file, and what it is to hold.
#[derive(Debug)]
pub(super) struct Note<N> {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Small,
    lock: Option<Lock>,
    value: Option<N>,
    /// What could not be stored, and may be in the file all the same.
    tried: Option<N>,
    /// A damaged line is there, which a person has given up.
    is_damaged: bool,
    /// The file may say something else than what is noted: the next look stores that.
    is_unsure: bool,
    /// The file as it was read or written; none where there is to be none.
    found: Option<FileStat>,
    next_look: Timestamp,
    /// Others took the file away, and it could not be written again yet.
    is_missing: bool,
    /// What a look failed with, and was told.
    told: Option<LogError>,
}

impl<N: Number> Note<N> {
    /// Takes the file for one log, as long as this is there. It can be read then, and its folder be written: a node that goes alone needs
    /// both, and that is no time to find out. `gives_up`: a person has decided to go on without what a damaged file said.
    ///
    /// # Errors
    /// [`LogError::Storage`]: another log has it, it is in memory, it cannot be read, or the folder cannot be written.
    /// [`LogError::NoteDamaged`].
    pub(super) fn take(path: &Path, owner: String, gives_up: bool) -> Result<Self, LogError> {
        let path = System.resolve(path).map_err(StorageError::system("looking for", path))?;
        Self::take_on(Arc::new(System), &path, Some(owner), gives_up)
    }

    /// The same for a file that is covered by the lock of another, and need not be there.
    ///
    /// # Errors
    /// Those of [`Note::take`].
    pub(super) fn beside(path: &Path) -> Result<Self, LogError> {
        Self::take_on(Arc::new(System), path, None, false)
    }

    fn take_on(disk: Arc<dyn Disk>, path: &Path, owner: Option<String>, gives_up: bool) -> Result<Self, LogError> {
        let file = Small::new(Arc::clone(&disk), path.to_owned(), is_numbers);
        // Nothing is left behind by one that is refused.
        let _ = read::<N>(&file, path, gives_up)?;
        let lock = match owner {
            Some(owner) => {
                file.check()?;
                Some(Lock::take(&*disk, path, &Owner::new(owner))?)
            }
            None => None,
        };
        let mut note = Self {
            disk,
            path: path.to_owned(),
            file,
            lock,
            value: None,
            tried: None,
            is_damaged: false,
            is_unsure: false,
            found: None,
            next_look: Timestamp(0),
            is_missing: false,
            told: None,
        };
        let (value, is_old) = read(&note.file, path, gives_up)?;
        (note.value, note.found) = (value, note.disk.stat(path).ok());
        note.is_damaged = value.is_none() && note.found.is_some();
        if let (Some(value), true) = (value, is_old) {
            note.store(value)?;
        }
        Ok(note)
    }

    /// What the file says; none where there is none.
    pub(super) fn value(&self) -> Option<N> {
        self.value
    }

    /// Whether the file says this, and nothing else.
    pub(super) fn says(&self, value: N) -> bool {
        self.value == Some(value) && self.tried.is_none() && !self.is_unsure
    }

    /// Whether a damaged line is there still, which a person has given up.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// What the last look failed with, which was told.
    pub(super) fn told(&self) -> Option<&LogError> {
        self.told.as_ref()
    }

    /// Whether the next process finds what was noted, as far as it is known.
    pub(super) fn stands(&self) -> bool {
        !self.is_missing
    }

    /// Replaces what is noted; it is on the disk when this returns.
    ///
    /// # Errors
    /// [`LogError::Storage`]: either may be in the file, see [`Note::adopt`]. [`LogError::Exhausted`], and nothing written: it could not be
    /// read again.
    pub(super) fn store(&mut self, value: N) -> Result<(), LogError> {
        let line = line_of(&value)?;
        self.retake_lock()?;
        if let Err(error) = self.file.replace(line.as_bytes()) {
            // What is there already costs nobody anything.
            self.tried = Some(value).filter(|value| self.value != Some(*value)).or(self.tried);
            return Err(error.into());
        }
        (self.value, self.tried, self.told) = (Some(value), None, None);
        (self.is_missing, self.is_unsure, self.is_damaged) = (false, false, false);
        self.found = self.disk.stat(&self.path).ok();
        Ok(())
    }

    /// Takes the lock again where others removed its file; whether they had.
    ///
    /// # Errors
    /// Whoever has it now may write the file as well.
    fn retake_lock(&mut self) -> Result<bool, LogError> {
        let Some(lock) = &mut self.lock else { return Ok(false) };
        if lock.stands(&*self.disk)? {
            return Ok(false);
        }
        self.is_missing = true;
        lock.take_again(&*self.disk)?;
        Ok(true)
    }

    /// What could not be stored, and may be in the file all the same, counts from here on; none where there is nothing of the kind. The next
    /// look brings it to the disk.
    pub(super) fn adopt(&mut self) -> Option<N> {
        let tried = self.tried.take()?;
        (self.value, self.is_unsure, self.next_look) = (Some(tried), true, Timestamp(0));
        Some(tried)
    }

    /// What could not be stored does not count: the next look brings what was noted before to the disk.
    pub(super) fn revert(&mut self) {
        if self.tried.take().is_some() {
            (self.is_unsure, self.next_look) = (true, Timestamp(0));
        }
    }

    /// Every 100 ms: whether the file still says what it is to say, and its lock is there. What others took away is written again. A handful of
    /// system calls where all is well; waits for the disk where not.
    ///
    /// # Errors
    /// It could not be looked at, or not be written again; the same error is told once.
    pub(super) fn look(&mut self, now: Timestamp) -> Result<Option<Mended>, LogError> {
        // A value that could not be stored is stored by who tries that again.
        if now < self.next_look || self.tried.is_some() {
            return Ok(None);
        }
        self.next_look = now.after(LOOK_INTERVAL);
        match self.mend() {
            Ok(mended) => {
                self.told = None;
                Ok(mended)
            }
            Err(error) if self.told.as_ref() == Some(&error) => Ok(None),
            Err(error) => {
                self.told = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Nothing is noted, and the file may say something.
    fn remove(&mut self) -> Result<(), LogError> {
        if self.is_unsure {
            self.file.remove()?;
            (self.is_unsure, self.found) = (false, None);
        }
        Ok(())
    }

    fn mend(&mut self) -> Result<Option<Mended>, LogError> {
        let mended = self.try_to_mend();
        // What cannot be looked at is not known to be there.
        self.is_missing |= mended.is_err();
        mended
    }

    fn try_to_mend(&mut self) -> Result<Option<Mended>, LogError> {
        let was_unlocked = self.retake_lock()?;
        let Some(value) = self.value else { return self.remove().map(|()| None) };
        if self.is_unsure {
            return self.store(value).map(|()| None);
        }
        let line = line_of(&value)?;
        let what = match self.disk.stat(&self.path) {
            _ if was_unlocked => "deprived of its lock",
            // An older line is as long, and a new file may have the number of the one before.
            Ok(found) if self.found == Some(found) && self.says_now(&line)? && !self.is_missing => return Ok(None),
            Ok(_) => "replaced or written over",
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "removed",
            Err(error) => return Err(StorageError::system("looking at", &self.path)(error).into()),
        };
        self.file.replace(line.as_bytes())?;
        (self.found, self.is_missing) = (self.disk.stat(&self.path).ok(), false);
        Ok(Some(Mended { path: self.path.clone(), what }))
    }

    fn says_now(&self, line: &str) -> Result<bool, LogError> {
        Ok(self.file.read(TEXT_BYTES_MAX)?.is_some_and(|there| there == line.as_bytes()))
    }
}

/// What a file says, and whether an earlier release wrote it; none where there is no file, or a damaged one that is given up. Of a longer one
/// the beginning is read, so that nobody makes us allocate much.
fn read<N: Number>(file: &Small, path: &Path, gives_up: bool) -> Result<(Option<N>, bool), LogError> {
    let Some(line) = file.read(TEXT_BYTES_MAX)? else { return Ok((None, false)) };
    match parse::<N>(&line) {
        Some(value) => Ok((Some(value), line_of(&value)?.as_bytes() != line)),
        None if gives_up => Ok((None, false)),
        None => Err(LogError::NoteDamaged { path: path.to_owned(), kind: N::KIND, remedy: N::REMEDY }),
    }
}

/// Where it is kept that the log whose copy is in `keep` was taken over.
pub(super) fn taken_file(keep: &Path) -> PathBuf {
    crate::storage::with_suffix(keep, ".taken")
}

#[cfg(test)]
mod tests;
