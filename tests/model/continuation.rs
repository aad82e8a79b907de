//! What becomes of a state when nothing more goes wrong: every node does all it can, in a fixed order, round after round.
//!
//! It must come to a session that both hold, within few rounds and with few raised attempts. Rounds lead from state to state, so
//! most of them were computed before: each costs one look into a table.

use crate::action::{Action, is_enabled};
use crate::step::{Start, apply, crash, give_up};
use crate::system::{both_hold, normalise, rehash};
use crate::world::{Folded, Side, World};
use handfast::fabric::LinkSlot;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Mutex, PoisonError};

/// More rounds than this are no progress.
const ROUNDS_MAX: u32 = 60;
/// More raised attempts than this would be two nodes that invalidate each other.
const RAISES_MAX: u64 = 6;

/// An order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Schedule {
    /// Each node in its turn does all it can; both learn of every lost link, and what was late lands first.
    Turns(&'static [Side]),
    /// Both do everything at once; what was late is lost, and an acceptor never learns that a link is gone.
    Lockstep,
}

/// Each in its turn.
pub(crate) const TURNS: Schedule = Schedule::Turns(&[0, 1]);
/// One node is three times as fast as the other.
pub(crate) const UNEVEN: Schedule = Schedule::Turns(&[1, 1, 1, 0]);

/// How a state goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prospect {
    /// To a session that both hold.
    Session { rounds: u32, raises: u64 },
    /// Nowhere.
    Failure,
}

/// The keys are hashes already.
type Quick = BuildHasherDefault<Folded>;
type Key = (Schedule, (u64, u64));

/// The table of states whose prospects are known.
#[derive(Default)]
pub(crate) struct Continuation {
    known: Mutex<HashMap<Key, Prospect, Quick>>,
    worst: Mutex<(u32, u64)>,
}

impl Continuation {
    /// The most rounds and raised attempts that any state took.
    pub(crate) fn worst(&self) -> (u32, u64) {
        *self.worst.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the state comes to a session when nothing more goes wrong.
    pub(crate) fn settles(&self, start: Start<'_>, world: &World, schedule: Schedule) -> bool {
        let mut path: Vec<(Key, u64)> = Vec::new();
        let mut world = world.clone();
        let mut prospect = loop {
            let key = (schedule, world.nodes_key());
            if let Some(prospect) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
                break *prospect;
            }
            if path.len() as u32 > ROUNDS_MAX {
                break Prospect::Failure;
            }
            let next = round(start, &world, schedule);
            if next.nodes_key() != world.nodes_key() {
                path.push((key, raises(&world, &next)));
                world = next;
                continue;
            }
            if both_hold(&world) {
                path.push((key, 0));
                break Prospect::Session { rounds: 0, raises: 0 };
            }
            let Some(next) = time_passes(&world) else { break Prospect::Failure };
            path.push((key, raises(&world, &next)));
            world = next;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, raised) in path.into_iter().rev() {
            prospect = match prospect {
                Prospect::Session { rounds, raises } if rounds < ROUNDS_MAX && raises + raised <= RAISES_MAX => {
                    Prospect::Session { rounds: rounds + 1, raises: raises + raised }
                }
                _ => Prospect::Failure,
            };
            known.insert(key, prospect);
        }
        let Prospect::Session { rounds, raises } = prospect else { return false };
        let mut worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        *worst = (worst.0.max(rounds), worst.1.max(raises));
        true
    }
}

/// Attempts that rose from one state to the next, within one process.
fn raises(before: &World, after: &World) -> u64 {
    let raised = |side| {
        let (before, after) = (before.node(side), after.node(side));
        if before.lives == after.lives { after.attempt().saturating_sub(before.attempt()) } else { 0 }
    };
    raised(0) + raised(1)
}

/// Nothing moves any more: deadlines pass. None where nobody waits for anything.
fn time_passes(world: &World) -> Option<World> {
    let mut next = world.clone();
    let waits = |side: &Side| world.node(*side).established().is_some() && !world.node(*side).is_held();
    let waiting: Vec<Side> = (0..2).filter(waits).collect();
    waiting.iter().for_each(|side| give_up(&mut next, *side));
    finish(&mut next);
    (!waiting.is_empty()).then_some(next)
}

/// Who said that it leaves is gone once the partner has understood.
fn depart(start: Start<'_>, world: &mut World) {
    for side in 0..2 {
        if world.node(side).is_leaving() && world.node(1 - side).established().is_none() {
            crash(start, world, side);
        }
    }
}

fn finish(world: &mut World) {
    for side in 0..2 {
        normalise(world.node_mut(side));
        rehash(world, side);
    }
}

fn round(start: Start<'_>, world: &World, schedule: Schedule) -> World {
    let mut world = world.clone();
    depart(start, &mut world);
    let mut act = |action: Action| {
        if is_enabled(&world, action) {
            apply(start, &mut world, action);
        }
    };
    act(Action::Publish(0));
    act(Action::Publish(1));
    let steps: [fn(Side) -> Action; 5] =
        [Action::LinkLost, Action::Dial, Action::Execute, Action::ExecuteRest, Action::Complete];
    match schedule {
        Schedule::Turns(turns) => {
            for side in turns {
                for slot in LinkSlot::all() {
                    act(Action::Land(*side, slot));
                    act(Action::Look(*side, slot));
                    act(Action::SlotLost(*side, slot));
                }
                steps.iter().for_each(|step| act(step(*side)));
            }
        }
        Schedule::Lockstep => {
            for step in steps {
                act(step(0));
                act(step(1));
            }
            for slot in LinkSlot::all() {
                act(Action::Look(0, slot));
                act(Action::Look(1, slot));
            }
        }
    }
    finish(&mut world);
    world
}
