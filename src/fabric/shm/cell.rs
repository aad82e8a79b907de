//! The protocol of one cell of an endpoint's door: how a dialler asks and the owner answers.
//!
//! Imports `words` alone. Pure. A cell is one state word and two blocks of bytes, the request and the answer:
//!
//! ```text
//! FREE ──claim──► CLAIMED ──ask──► REQUESTED ──answer──► ANSWERED ──free──► FREE (next turn)
//!                    └───────────────┴── free: the dialler gave up, or the owner found it dead
//! ```
//!
//! The state word carries the phase, a turn number that rises whenever the cell becomes free, and the dialler's process. A dialler that was
//! too slow finds another turn in the word and gives up; its late stores into the blocks garble at worst another dial, which then fails
//! its checks. The owner alone writes answers, and copies requests out before it looks at them.

use super::words::Word;

/// How far a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nobody's.
    Free,
    /// A dialler writes its request.
    Claimed,
    /// The request waits for the owner.
    Requested,
    /// The answer waits for the dialler.
    Answered,
    /// The owner cannot take this request: it makes no sense to it.
    Refused,
    /// The owner could not make its side of the link.
    Unmade,
    /// No phase of this protocol: somebody scribbled.
    Garbled,
}

/// A state word, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// How far.
    pub(crate) phase: Phase,
    /// Which use of the cell; 24 bits, wraps.
    pub(crate) turn: u32,
    /// The dialler's process.
    pub(crate) process: u32,
}

const TURN_MASK: u32 = (1 << 24) - 1;

impl State {
    /// From a word.
    pub(crate) fn decode(word: u64) -> Self {
        let phase = match word & 0xff {
            0 => Phase::Free,
            1 => Phase::Claimed,
            2 => Phase::Requested,
            3 => Phase::Answered,
            4 => Phase::Refused,
            5 => Phase::Unmade,
            _ => Phase::Garbled,
        };
        Self { phase, turn: (word >> 8) as u32 & TURN_MASK, process: (word >> 32) as u32 }
    }
    /// As a word.
    pub(crate) fn encode(self) -> u64 {
        let phase = match self.phase {
            Phase::Free => 0,
            Phase::Claimed => 1,
            Phase::Requested => 2,
            Phase::Answered => 3,
            Phase::Refused => 4,
            Phase::Unmade => 5,
            Phase::Garbled => 0xff,
        };
        phase | u64::from(self.turn & TURN_MASK) << 8 | u64::from(self.process) << 32
    }
    fn with(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }
    fn freed(self) -> Self {
        Self { phase: Phase::Free, turn: self.turn.wrapping_add(1) & TURN_MASK, process: 0 }
    }
}

/// A dialler's hold on a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim(State);

/// What a dialler finds in its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No answer yet.
    Waiting,
    /// The answer block is filled.
    Answer,
    /// The owner cannot take the request.
    Refusal,
    /// The owner could not make its side of the link.
    Unmade,
    /// The owner took the cell back, or somebody scribbled over it.
    Lost,
}

impl Claim {
    /// Takes a free cell.
    pub(crate) fn take<W: Word>(state: &W, process: u32) -> Option<Self> {
        let word = state.load_acquire();
        let found = State::decode(word);
        if found.phase != Phase::Free {
            return None;
        }
        let claimed = State { phase: Phase::Claimed, turn: found.turn, process };
        state.replace(word, claimed.encode()).ok().map(|()| Self(claimed))
    }
    /// The request block is written: shows it to the owner. False where the cell is no longer ours.
    pub(crate) fn ask<W: Word>(&mut self, state: &W) -> bool {
        let asked = self.0.with(Phase::Requested);
        let done = state.replace(self.0.encode(), asked.encode()).is_ok();
        if done {
            self.0 = asked;
        }
        done
    }
    /// What has become of it.
    pub(crate) fn look<W: Word>(&self, state: &W) -> Found {
        let word = state.load_acquire();
        if word == self.0.encode() {
            Found::Waiting
        } else if word == self.0.with(Phase::Answered).encode() {
            Found::Answer
        } else if word == self.0.with(Phase::Refused).encode() {
            Found::Refusal
        } else if word == self.0.with(Phase::Unmade).encode() {
            Found::Unmade
        } else {
            Found::Lost
        }
    }
    /// Gives the cell back, whatever phase it is in. True if it was still ours in the phase `expected`.
    pub(crate) fn free<W: Word>(&self, state: &W, expected: Phase) -> bool {
        let held = self.0.with(expected);
        state.replace(held.encode(), held.freed().encode()).is_ok()
    }
}

/// The owner's side: what a cell asks for, if it does.
pub(crate) fn asked<W: Word>(state: &W) -> Option<State> {
    let found = State::decode(state.load_acquire());
    (found.phase == Phase::Requested).then_some(found)
}

/// The owner's side: still the same request? Loads that came before this call have been made by then.
pub(crate) fn unchanged<W: Word>(state: &W, asked: State) -> bool {
    // A replacement by itself is a read that earlier loads cannot move past.
    let word = asked.encode();
    state.replace(word, word).is_ok()
}

/// The owner's side: the answer block is written (or the request refused); shows it. False where the dialler has given up.
pub(crate) fn answer<W: Word>(state: &W, asked: State, phase: Phase) -> bool {
    state.replace(asked.encode(), asked.with(phase).encode()).is_ok()
}

/// The owner's side: takes a cell back from a dialler that is gone. False where the word changed meanwhile.
pub(crate) fn reclaim<W: Word>(state: &W, word: u64) -> bool {
    state.replace(word, State::decode(word).freed().encode()).is_ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn one_dial_goes_round_and_the_turn_rises() {
        let cell = AtomicU64::new(0);
        let Some(mut claim) = Claim::take(&cell, 77) else { unreachable!("a fresh cell is free") };
        assert_eq!(Claim::take(&cell, 78), None);
        assert_eq!(asked(&cell), None);
        assert!(claim.ask(&cell));
        assert_eq!(claim.look(&cell), Found::Waiting);
        let Some(request) = asked(&cell) else { unreachable!("it was asked") };
        assert_eq!((request.process, request.turn), (77, 0));
        assert!(unchanged(&cell, request));
        assert!(answer(&cell, request, Phase::Answered));
        assert_eq!(claim.look(&cell), Found::Answer);
        assert!(!claim.free(&cell, Phase::Requested));
        assert!(claim.free(&cell, Phase::Answered));
        assert_eq!(State::decode(cell.load_relaxed()), State { phase: Phase::Free, turn: 1, process: 0 });
    }

    #[test]
    fn who_comes_too_late_notices() {
        let cell = AtomicU64::new(0);
        let Some(mut slow) = Claim::take(&cell, 1) else { unreachable!("a fresh cell is free") };
        assert!(reclaim(&cell, cell.load_relaxed()));
        assert!(!slow.ask(&cell));
        let Some(mut next) = Claim::take(&cell, 1) else { unreachable!("it was reclaimed") };
        assert!(next.ask(&cell));
        assert_eq!(slow.look(&cell), Found::Lost);
        let Some(request) = asked(&cell) else { unreachable!("it was asked") };
        assert!(next.free(&cell, Phase::Requested));
        assert!(!answer(&cell, request, Phase::Answered));
    }

    #[test]
    fn every_word_decodes_and_scribbles_are_garbled_or_lost() {
        for word in [6, 0xff, u64::MAX, 1 << 63 | 9] {
            assert_eq!(State::decode(word).phase, Phase::Garbled, "{word:#x}");
            let cell = AtomicU64::new(word);
            assert_eq!(Claim::take(&cell, 1), None);
            assert_eq!(asked(&cell), None);
            assert!(reclaim(&cell, word));
            assert_eq!(State::decode(cell.load_relaxed()).phase, Phase::Free);
        }
    }
}
