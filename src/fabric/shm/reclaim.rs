//! Takes cells of the door back from diallers that died, stopped or never were.
//!
//! Imports `door`, `cell`, `peer`, `sys` (the clock).

use super::cell::{Phase, State, reclaim};
use super::door::{CELLS, Door};
use super::peer::{Denied, Peer};
use super::words::Word;
use crate::sys::random::monotonic_ns;

/// How often the dialler of a cell is looked for, at most.
const INTERVAL_NS: u64 = 50_000_000;
/// How long a living dialler may sit on a cell that waits for it.
const PATIENCE_NS: u64 = 5_000_000_000;

/// What is known of cells in use.
#[derive(Debug, Default)]
pub(crate) struct Reclaim {
    seen: [Seen; CELLS],
    next: usize,
    not_before: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    word: u64,
    since: u64,
}

impl Reclaim {
    /// Looks after one cell. Eight loads where none is in use; else the clock, and at intervals two system calls.
    pub(crate) fn one(&mut self, door: &Door) {
        let in_use = |cell: &usize| door.state(*cell).is_some_and(|state| !is_free(state.load_relaxed()));
        if !(0..CELLS).any(|cell| in_use(&cell)) {
            return;
        }
        let now = monotonic_ns();
        if now < self.not_before {
            return;
        }
        let Some(cell) = (0..CELLS).map(|turn| (self.next + turn) % CELLS).find(in_use) else { return };
        self.next = (cell + 1) % CELLS;
        if self.next <= cell {
            self.not_before = now.saturating_add(INTERVAL_NS);
        }
        let (Some(state), Some(seen)) = (door.state(cell), self.seen.get_mut(cell)) else { return };
        let word = state.load_acquire();
        if word != seen.word {
            *seen = Seen { word, since: now };
        }
        let found = State::decode(word);
        // A request waits for this process, however long that takes; in every other phase the dialler is to move.
        let overdue = found.phase != Phase::Requested && now.saturating_sub(seen.since) > PATIENCE_NS;
        let gone = || match Peer::open(found.process) {
            Ok(peer) => peer.is_gone(),
            Err(denied) => denied == Denied::Gone,
        };
        if found.phase == Phase::Garbled || overdue || gone() {
            reclaim(state, word);
        }
    }
}

fn is_free(word: u64) -> bool {
    State::decode(word).phase == Phase::Free
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::shm::cell::Claim;
    use crate::fabric::shm::mapping::Mapping;
    use crate::fabric::shm::table::shared_region;
    use std::sync::Arc;

    fn door() -> Result<Door, Box<dyn std::error::Error>> {
        let region = Arc::new(shared_region(super::super::door::DOOR_BYTES, false)?);
        let mapping = Mapping::own(region).ok_or("no mapping")?;
        Ok(Door::make(&mapping, 7).ok_or("no door")?)
    }

    fn sweep(reclaim: &mut Reclaim, door: &Door) {
        for _ in 0..CELLS + 1 {
            reclaim.not_before = 0;
            reclaim.one(door);
        }
    }

    #[test]
    fn the_dead_and_the_scribblers_lose_their_cells_and_the_living_keep_them() -> Result<(), Box<dyn std::error::Error>>
    {
        let door = door()?;
        let mut child = std::process::Command::new("true").spawn()?;
        let dead = child.id();
        child.wait()?;
        let cell = |index| door.state(index).ok_or("no cell");
        Claim::take(cell(0)?, dead).ok_or("not free")?;
        Claim::take(cell(1)?, std::process::id()).ok_or("not free")?;
        cell(2)?.store_relaxed(u64::MAX);
        let mut claim = Claim::take(cell(3)?, dead).ok_or("not free")?;
        assert!(claim.ask(cell(3)?));
        let mut reclaim = Reclaim::default();
        sweep(&mut reclaim, &door);
        let free: Vec<bool> =
            (0..CELLS).filter_map(|index| door.state(index)).map(|state| is_free(state.load_relaxed())).collect();
        assert_eq!(free, [true, false, true, true, true, true, true, true]);
        Ok(())
    }

    #[test]
    fn who_sits_on_a_cell_too_long_loses_it_but_not_who_waits_for_us() -> Result<(), Box<dyn std::error::Error>> {
        let door = door()?;
        let cell = |index| door.state(index).ok_or("no cell");
        Claim::take(cell(0)?, std::process::id()).ok_or("not free")?;
        let mut claim = Claim::take(cell(1)?, std::process::id()).ok_or("not free")?;
        assert!(claim.ask(cell(1)?));
        let mut reclaim = Reclaim::default();
        sweep(&mut reclaim, &door);
        for seen in &mut reclaim.seen {
            seen.since = seen.since.saturating_sub(PATIENCE_NS + 1);
        }
        sweep(&mut reclaim, &door);
        assert!(is_free(cell(0)?.load_relaxed()) && !is_free(cell(1)?.load_relaxed()));
        Ok(())
    }
}
