//! Exhaustive exploration of the handshake: two real state machines, real bytes, and every fault at every point.
//!
//! Each test explores one configuration completely: all orders of all events, with as many faults as its budget allows, at every point
//! and in any combination. What holds in every state is listed in `model/system.rs`; what a fault is, in `model/action.rs`.
//!
//! Run it optimised: `cargo test --release --test model` takes a minute or two; without optimisation only the small configurations run.
//! The pairs of faults that take minutes each: `cargo test --release --test model -- --ignored`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "model/action.rs"]
mod action;
#[path = "model/continuation.rs"]
mod continuation;
#[path = "model/step.rs"]
mod step;
#[path = "model/stranger.rs"]
mod stranger;
#[path = "model/system.rs"]
mod system;
#[path = "model/world.rs"]
mod world;

use continuation::{Schedule, TURNS, UNEVEN};
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use system::{Configuration, System};
use world::Budget;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const ALL: &[Schedule] = &[TURNS, UNEVEN, Schedule::Lockstep];
/// The two that differ most, for what is large.
const TWO: &[Schedule] = &[TURNS, Schedule::Lockstep];

fn configuration(name: &'static str, states_min: usize, budget: Budget) -> Configuration {
    Configuration { name, states_min, budget, checks_max: 1, schedules: ALL, ..Configuration::default() }
}

/// One exploration at a time: each uses all it can get.
static TURN: Mutex<()> = Mutex::new(());

/// Explores a configuration to its end; prints what was covered, and the path to whatever does not hold.
fn explore(configuration: Configuration) -> Outcome {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, states_min) = (configuration.name, configuration.states_min);
    let began = Instant::now();
    let checker =
        System::new(configuration)?.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let (rounds, raises) = checker.model().continuation.worst();
    // Written past the harness, which would keep it to itself.
    let mut out = std::io::stderr().lock();
    writeln!(
        out,
        "{name}: {states} states ({} steps), depth {depth}, {:.1} s; to a session within {rounds} rounds and {raises} raises",
        checker.state_count(),
        began.elapsed().as_secs_f64(),
    )?;
    let discoveries = checker.discoveries();
    let mut wrong = Vec::new();
    for property in checker.model().properties() {
        let found = discoveries.get(property.name);
        match (&property.expectation, found) {
            (Expectation::Sometimes, Some(_)) => writeln!(out, "    found: {}", property.name)?,
            (Expectation::Sometimes, None) => wrong.push(format!("never found: {}", property.name)),
            (_, Some(path)) => {
                writeln!(out, "  DOES NOT HOLD: {}", property.name)?;
                for (number, (state, action)) in path.clone().into_vec().into_iter().enumerate() {
                    writeln!(out, "  {number:3} {state:?}")?;
                    if let Some(action) = action {
                        writeln!(out, "      -> {action:?}")?;
                    }
                }
                wrong.push(format!("does not hold: {}", property.name));
            }
            (_, None) => {}
        }
    }
    assert!(wrong.is_empty(), "{name}: {wrong:?}");
    assert!(
        states >= states_min,
        "{name}: only {states} states of at least {states_min}: the model has lost something"
    );
    Ok(())
}

#[test]
fn nothing_goes_wrong() -> Outcome {
    let budget = Budget { ..Budget::default() };
    explore(Configuration { late_publish: true, ..configuration("no fault, published late", 1_500, budget) })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn a_process_dies() -> Outcome {
    let budget = Budget { crash: 1, ..Budget::default() };
    explore(Configuration { ..configuration("a crash", 90_000, budget) })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn a_process_dies_while_its_status_lags() -> Outcome {
    let budget = Budget { crash: 1, ..Budget::default() };
    explore(Configuration {
        late_publish: true,
        schedules: TWO,
        ..configuration("a crash, published late", 300_000, budget)
    })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn a_link_fails() -> Outcome {
    let budget = Budget { cut: 1, ..Budget::default() };
    explore(Configuration { ..configuration("a failed link", 90_000, budget) })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn a_link_fails_while_the_status_lags() -> Outcome {
    let budget = Budget { cut: 1, ..Budget::default() };
    explore(Configuration {
        late_publish: true,
        schedules: TWO,
        ..configuration("a failed link, published late", 450_000, budget)
    })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn an_accepted_link_is_lost() -> Outcome {
    let budget = Budget { drop: 2, ..Budget::default() };
    explore(Configuration { ..configuration("two lost accepted links", 150_000, budget) })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn a_session_is_ended() -> Outcome {
    let budget = Budget { end: 2, ..Budget::default() };
    explore(Configuration { ..configuration("two sessions ended", 45_000, budget) })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn an_old_write_is_repeated() -> Outcome {
    let budget = Budget { repeat: 2, end: 1, ..Budget::default() };
    explore(Configuration { ..configuration("an ended session, two repeated WRITEs", 110_000, budget) })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn an_old_write_is_repeated_after_a_link_failed() -> Outcome {
    let budget = Budget { repeat: 1, cut: 1, ..Budget::default() };
    explore(Configuration { schedules: TWO, ..configuration("a failed link, a repeated WRITE", 300_000, budget) })
}

#[test]
fn pages_are_torn() -> Outcome {
    let budget = Budget { torn: 3, ..Budget::default() };
    explore(Configuration { late_publish: true, ..configuration("three torn pages, published late", 40_000, budget) })
}

#[test]
#[ignore = "minutes each: run it with --release -- --ignored"]
fn a_page_is_torn_and_a_process_dies() -> Outcome {
    let budget = Budget { torn: 1, crash: 1, ..Budget::default() };
    explore(Configuration { schedules: TWO, ..configuration("a torn page, a crash", 700_000, budget) })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn a_partner_leaves() -> Outcome {
    let budget = Budget { leave: 1, drop: 1, ..Budget::default() };
    explore(Configuration { ..configuration("a leave, a lost accepted link", 70_000, budget) })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn a_stranger_lacks_the_key() -> Outcome {
    let budget = Budget { dial: 1, letter: 1, ..Budget::default() };
    explore(Configuration { key: true, ..configuration("key, a stranger that writes", 10_000, budget) })
}

#[test]
#[ignore = "minutes each: run it with --release -- --ignored"]
fn a_stranger_writes_twice() -> Outcome {
    let budget = Budget { dial: 1, letter: 2, ..Budget::default() };
    explore(Configuration { key: true, ..configuration("key, a stranger that writes twice", 900_000, budget) })
}

#[test]
fn strangers_take_the_slots() -> Outcome {
    let budget = Budget { dial: 2, ..Budget::default() };
    explore(Configuration {
        key: true,
        strangers: 3,
        ..configuration("key, two strangers where three were before", 9_000, budget)
    })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn a_stranger_repeats_greetings_where_there_is_no_key() -> Outcome {
    let budget = Budget { dial: 1, letter: 2, ..Budget::default() };
    explore(Configuration { schedules: TWO, ..configuration("no key, a stranger that repeats twice", 180_000, budget) })
}

#[test]
#[cfg_attr(not(optimised), ignore = "large: run it optimised")]
fn an_impostor_answers_with_old_pages() -> Outcome {
    let budget = Budget { old_page: 2, end: 1, ..Budget::default() };
    explore(Configuration { key: true, ..configuration("key, two old pages, an ended session", 300_000, budget) })
}

#[test]
#[ignore = "minutes each: run it with --release -- --ignored"]
fn an_impostor_answers_after_a_crash() -> Outcome {
    let budget = Budget { old_page: 1, crash: 1, ..Budget::default() };
    explore(Configuration {
        key: true,
        schedules: TWO,
        ..configuration("key, an old page, a crash", 1_000_000, budget)
    })
}

#[test]
#[ignore = "minutes each: run it with --release -- --ignored"]
fn a_stranger_repeats_what_a_dead_process_wrote() -> Outcome {
    let budget = Budget { dial: 1, letter: 1, crash: 1, ..Budget::default() };
    explore(Configuration {
        key: true,
        schedules: TWO,
        ..configuration("key, a stranger that writes, a crash", 1_000_000, budget)
    })
}

#[test]
#[ignore = "minutes each: run it with --release -- --ignored"]
fn a_page_is_torn_and_a_link_fails() -> Outcome {
    let budget = Budget { torn: 1, cut: 1, ..Budget::default() };
    explore(Configuration { schedules: TWO, ..configuration("a torn page, a failed link", 1_000_000, budget) })
}

#[test]
#[ignore = "minutes each: run it with --release -- --ignored"]
fn a_partner_leaves_and_a_link_fails() -> Outcome {
    let budget = Budget { leave: 1, cut: 1, ..Budget::default() };
    explore(Configuration { schedules: TWO, ..configuration("a leave, a failed link", 1_000_000, budget) })
}

#[test]
#[ignore = "minutes each: run it with --release -- --ignored"]
fn both_ends_of_links_fail() -> Outcome {
    let budget = Budget { drop: 1, cut: 1, ..Budget::default() };
    explore(Configuration { schedules: TWO, ..configuration("a lost accepted link, a failed link", 1_000_000, budget) })
}

#[test]
#[ignore = "minutes each: run it with --release -- --ignored"]
fn a_session_is_ended_and_a_link_fails() -> Outcome {
    let budget = Budget { end: 1, cut: 1, ..Budget::default() };
    explore(Configuration { schedules: TWO, ..configuration("an ended session, a failed link", 1_000_000, budget) })
}

#[test]
#[ignore = "minutes each: run it with --release -- --ignored"]
fn two_links_fail() -> Outcome {
    let budget = Budget { cut: 2, ..Budget::default() };
    explore(Configuration { schedules: TWO, ..configuration("two failed links", 1_000_000, budget) })
}

#[test]
#[ignore = "minutes each: run it with --release -- --ignored"]
fn a_process_dies_and_a_link_fails() -> Outcome {
    let budget = Budget { crash: 1, cut: 1, ..Budget::default() };
    explore(Configuration { schedules: TWO, ..configuration("a crash, a failed link", 1_000_000, budget) })
}

#[test]
#[ignore = "minutes each: run it with --release -- --ignored"]
fn two_processes_die() -> Outcome {
    let budget = Budget { crash: 2, ..Budget::default() };
    explore(Configuration { schedules: TWO, ..configuration("two crashes", 1_000_000, budget) })
}
