//! Exhaustive exploration of the handshake: two real state machines, real bytes, and every fault at every point.
//!
//! Each test explores one configuration completely: all orders of all events, with as many faults as its budget allows, in any
//! combination. Run it optimised: `cargo test --release --test model`.
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
    explore(Configuration { name: "no fault", schedules: ALL, late_publish: true, ..Configuration::default() })
}

#[test]
fn a_process_dies() -> Outcome {
    let budget = Budget { crash: 1, ..Budget::default() };
    explore(Configuration { name: "one crash", schedules: ALL, budget, ..Configuration::default() })
}

#[test]
fn a_link_fails() -> Outcome {
    let budget = Budget { cut: 1, ..Budget::default() };
    explore(Configuration { name: "one failed link", schedules: ALL, budget, ..Configuration::default() })
}
