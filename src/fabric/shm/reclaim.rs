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
/// How long a request may wait for this process: a dialler that still wants its link then dials again.
const REQUEST_PATIENCE_NS: u64 = 60_000_000_000;

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
        if (0..CELLS).any(|cell| in_use(door, cell)) {
            self.at(door, monotonic_ns());
        }
    }

    fn at(&mut self, door: &Door, now: u64) {
        if now < self.not_before {
            return;
        }
        let cells = (0..CELLS).map(|turn| (self.next + turn) % CELLS);
        let Some(cell) = cells.into_iter().find(|cell| in_use(door, *cell)) else { return };
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
        let patience = if found.phase == Phase::Requested { REQUEST_PATIENCE_NS } else { PATIENCE_NS };
        let overdue = now.saturating_sub(seen.since) > patience;
        let gone = || match Peer::open(found.process) {
            Ok(peer) => peer.is_gone(),
            Err(denied) => denied == Denied::Gone,
        };
        if found.phase == Phase::Garbled || overdue || gone() {
            reclaim(state, word);
        }
    }
}

fn in_use(door: &Door, cell: usize) -> bool {
    door.state(cell).is_some_and(|state| !is_free(state.load_relaxed()))
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

    /// Looks after every cell, at some moment.
    fn sweep(reclaim: &mut Reclaim, door: &Door, now: u64) {
        for _ in 0..CELLS + 1 {
            reclaim.not_before = 0;
            reclaim.at(door, now);
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
        sweep(&mut Reclaim::default(), &door, 1);
        let free: Vec<bool> =
            (0..CELLS).filter_map(|index| door.state(index)).map(|state| is_free(state.load_relaxed())).collect();
        assert_eq!(free, [true, false, true, true, true, true, true, true]);
        Ok(())
    }

    #[test]
    fn who_sits_on_a_cell_too_long_loses_it_and_who_waits_for_us_has_longer() -> Result<(), Box<dyn std::error::Error>>
    {
        let door = door()?;
        let cell = |index| door.state(index).ok_or("no cell");
        Claim::take(cell(0)?, std::process::id()).ok_or("not free")?;
        let mut claim = Claim::take(cell(1)?, std::process::id()).ok_or("not free")?;
        assert!(claim.ask(cell(1)?));
        let mut reclaim = Reclaim::default();
        sweep(&mut reclaim, &door, 1);
        sweep(&mut reclaim, &door, 1 + PATIENCE_NS);
        assert!(in_use(&door, 0) && in_use(&door, 1));
        sweep(&mut reclaim, &door, 2 + PATIENCE_NS);
        assert!(!in_use(&door, 0) && in_use(&door, 1));
        sweep(&mut reclaim, &door, 2 + REQUEST_PATIENCE_NS);
        assert!(!in_use(&door, 1));
        Ok(())
    }
}
