//! Whether a process lives, as one load: the word of its own that the kernel marks when it ends.
//!
//! Imports `sys`, `mapping`, `peer`, `table` (making memory). One word for each process, in a page that only it may write; its tables say where
//! that page is. A word that stands is no proof that the process moves (it may be stopped, or dumping core): for that there is the heartbeat.

use super::mapping::{SharedWord, Span};
use super::peer::{Denied, Peer, Wanted};
use super::table::{file_number, shared_region};
use super::words::Word;
use crate::error::Recovery;
use crate::memory::MemoryError;
use crate::sys::life::{self, MARKED_WORD_BYTES, NoMark};
use crate::sys::thread::NoThread;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where a life word is found: a descriptor of its process, and what the word holds while that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LifeName {
    file: i32,
    value: u32,
}

impl LifeName {
    /// As a word of a table; zero stands for none.
    pub(crate) fn encode(name: Option<Self>) -> u64 {
        name.map_or(0, |name| u64::from(name.value) << 32 | u64::from(name.file as u32 + 1))
    }
    /// The opposite.
    pub(crate) fn decode(word: u64) -> Option<Self> {
        let file = i32::try_from((word as u32).checked_sub(1)?).ok()?;
        Some(Self { file, value: (word >> 32) as u32 })
    }
}

/// This process's word, made at the first call; none where this kernel, or a filter of system calls, marks none. A child made by `fork` gets its own.
pub(crate) fn own() -> Option<LifeName> {
    static OWN: Mutex<Option<Own>> = Mutex::new(None);
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    let before = own.filter(|own| own.process == process);
    if let Some(found) = before.filter(|own| own.name.is_some() || own.tries >= TRIES_MAX) {
        return found.name;
    }
    let tries = before.map_or(0, |own| own.tries) + 1;
    match make() {
        Ok(name) => {
            *own = Some(Own { process, name: Some(name), tries });
            Some(name)
        }
        Err(error) => {
            // What does not pass is not tried again: each try may take half a second.
            let passes = error.recovery() == Recovery::RetryAfter;
            *own = Some(Own { process, name: None, tries: if passes { tries } else { TRIES_MAX } });
            tracing::warn!(
                "no life word: {error}: partners learn of this process's end by its descriptor (pidfd) and its heartbeat, later than else"
            );
            None
        }
    }
}

/// A shortage that lasts over so many tries is taken to last.
const TRIES_MAX: u32 = 3;

/// The word of a process, or that it has none.
#[derive(Debug, Clone, Copy)]
struct Own {
    process: u32,
    name: Option<LifeName>,
    tries: u32,
}

fn make() -> Result<LifeName, MemoryError> {
    let region = shared_region(2 * MARKED_WORD_BYTES, true)?;
    let region = Arc::new(region);
    // Never unmapped: the thread lives as long as the process.
    std::mem::forget(Arc::clone(&region));
    let place = region.start();
    // SAFETY:
    // - bounds: the region holds both, one behind the other.
    let proof = unsafe { place.add(MARKED_WORD_BYTES) };
    // SAFETY:
    // - live: the region was leaked above.
    // - bounds: fresh memory of the kernel, zeroed; a page begins at a multiple of any alignment, and the second place follows the first.
    // - alias: nobody else knows the region yet, and nobody writes it later: it is sealed for this process.
    let value = unsafe { life::begin(place.cast(), proof.cast()) };
    let value = value.map_err(|why| match why {
        NoMark::Thread(NoThread { tried, errno }) => MemoryError::System { tried, errno },
        NoMark::Unmarked(errno) => {
            let tried = "having the kernel mark a word when this process ends (set_robust_list(2))".to_owned();
            MemoryError::System { tried, errno }
        }
    })?;
    Ok(LifeName { file: file_number(&region), value: value as u32 })
}

/// The life word of a partner's process, and what it held when it was found.
#[derive(Debug, Clone)]
pub(crate) struct LifeWord {
    word: SharedWord,
    alive: u64,
}

impl LifeWord {
    /// That of a process that has none: alive as far as it says.
    pub(crate) fn unknown() -> Self {
        Self { word: SharedWord::nothing(), alive: 0 }
    }

    /// Maps it.
    pub(crate) fn open(peer: &Peer, name: Option<LifeName>) -> Result<Self, Denied> {
        let Some(name) = name else { return Ok(Self::unknown()) };
        let mapping = peer.map(name.file, Wanted { writable: false, bytes_min: MARKED_WORD_BYTES as u64 })?;
        let word = Span::new(&mapping, 0, 8).and_then(|span| span.shared_word(0));
        let word = word.ok_or(Denied::Unfit("its life word has no place"))?;
        Ok(Self { word, alive: name.value.into() })
    }

    /// Whether the kernel marks it at all.
    pub(crate) fn is_known(&self) -> bool {
        self.alive != 0
    }

    /// Whether its process has not ended, by its own word. One load.
    #[inline]
    pub(crate) fn is_alive(&self) -> bool {
        self.word.load_relaxed() == self.alive
    }

    /// Sleeps until its process ends, or for so long. One system call.
    pub(crate) fn sleep(&self, patience: Duration) {
        if self.is_known() {
            life::sleep_on(&self.word, self.alive, patience);
        } else {
            std::thread::sleep(patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_through_a_word() {
        for file in [0, 7, i32::MAX] {
            let name = Some(LifeName { file, value: 0x8000_1234 });
            assert_eq!(LifeName::decode(LifeName::encode(name)), name);
        }
        assert_eq!((LifeName::encode(None), LifeName::decode(0)), (0, None));
        assert_eq!(LifeName::decode(u64::from(u32::MAX)), None);
    }

    #[test]
    fn this_process_lives_and_has_one_word() -> Result<(), Box<dyn std::error::Error>> {
        let name = own().ok_or("no life word here")?;
        assert_eq!(own(), Some(name));
        let peer = Peer::open(std::process::id()).map_err(|denied| denied.to_string())?;
        let word = LifeWord::open(&peer, Some(name)).map_err(|denied| denied.to_string())?;
        assert!(word.is_known() && word.is_alive());
        let other = LifeWord::open(&peer, Some(LifeName { value: name.value ^ 1, ..name }));
        assert!(!other.map_err(|denied| denied.to_string())?.is_alive(), "another process's value");
        assert!(LifeWord::unknown().is_alive() && !LifeWord::unknown().is_known());
        Ok(())
    }
}
