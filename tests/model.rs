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
    let budget = Budget { ..Budget::default() };
    explore(Configuration {
        name: "no fault",
        key: false,
        schedules: ALL,
        late_publish: true,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn dies() -> Outcome {
    let budget = Budget { crash: 1, ..Budget::default() };
    explore(Configuration {
        name: "crash",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn dies_late() -> Outcome {
    let budget = Budget { crash: 1, ..Budget::default() };
    explore(Configuration {
        name: "crash, published late",
        key: false,
        schedules: ALL,
        late_publish: true,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn fails() -> Outcome {
    let budget = Budget { cut: 1, ..Budget::default() };
    explore(Configuration {
        name: "cut",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn fails_late() -> Outcome {
    let budget = Budget { cut: 1, ..Budget::default() };
    explore(Configuration {
        name: "cut, published late",
        key: false,
        schedules: ALL,
        late_publish: true,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn drops() -> Outcome {
    let budget = Budget { drop: 1, ..Budget::default() };
    explore(Configuration {
        name: "drop",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn absents() -> Outcome {
    let budget = Budget { absent: 2, ..Budget::default() };
    explore(Configuration {
        name: "absent",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn repeats2() -> Outcome {
    let budget = Budget { repeat: 2, ..Budget::default() };
    explore(Configuration {
        name: "repeat",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn torns2() -> Outcome {
    let budget = Budget { torn: 2, ..Budget::default() };
    explore(Configuration {
        name: "torn",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn torn_late() -> Outcome {
    let budget = Budget { torn: 1, ..Budget::default() };
    explore(Configuration {
        name: "torn late",
        key: false,
        schedules: ALL,
        late_publish: true,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn leaves() -> Outcome {
    let budget = Budget { leave: 1, ..Budget::default() };
    explore(Configuration {
        name: "leave",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn leave_cut() -> Outcome {
    let budget = Budget { leave: 1, cut: 1, ..Budget::default() };
    explore(Configuration {
        name: "leave cut",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn repeat_cut() -> Outcome {
    let budget = Budget { repeat: 1, cut: 1, ..Budget::default() };
    explore(Configuration {
        name: "repeat cut",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn repeat_absent() -> Outcome {
    let budget = Budget { repeat: 1, absent: 1, ..Budget::default() };
    explore(Configuration {
        name: "repeat absent",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn torn_cut() -> Outcome {
    let budget = Budget { torn: 1, cut: 1, ..Budget::default() };
    explore(Configuration {
        name: "torn cut",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn torn_crash() -> Outcome {
    let budget = Budget { torn: 1, crash: 1, ..Budget::default() };
    explore(Configuration {
        name: "torn crash",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn absent_cut() -> Outcome {
    let budget = Budget { absent: 1, cut: 1, ..Budget::default() };
    explore(Configuration {
        name: "absent cut",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn drop_cut() -> Outcome {
    let budget = Budget { drop: 1, cut: 1, ..Budget::default() };
    explore(Configuration {
        name: "drop cut",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn k_stranger() -> Outcome {
    let budget = Budget { dial: 1, letter: 2, ..Budget::default() };
    explore(Configuration {
        name: "keyed stranger",
        key: true,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn k_evict() -> Outcome {
    let budget = Budget { dial: 2, ..Budget::default() };
    explore(Configuration {
        name: "keyed evictions",
        key: true,
        schedules: ALL,
        late_publish: false,
        strangers: 3,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn k_replay_crash() -> Outcome {
    let budget = Budget { dial: 1, letter: 1, crash: 1, ..Budget::default() };
    explore(Configuration {
        name: "keyed replay crash",
        key: true,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn k_old_page() -> Outcome {
    let budget = Budget { old_page: 2, ..Budget::default() };
    explore(Configuration {
        name: "keyed old page",
        key: true,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn k_old_crash() -> Outcome {
    let budget = Budget { old_page: 1, crash: 1, ..Budget::default() };
    explore(Configuration {
        name: "keyed old page crash",
        key: true,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn open_stranger() -> Outcome {
    let budget = Budget { dial: 1, letter: 2, ..Budget::default() };
    explore(Configuration {
        name: "keyless stranger",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn open_replay_crash() -> Outcome {
    let budget = Budget { dial: 1, letter: 1, crash: 1, ..Budget::default() };
    explore(Configuration {
        name: "keyless replay crash",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn z_cut2() -> Outcome {
    let budget = Budget { cut: 2, ..Budget::default() };
    explore(Configuration {
        name: "two cuts",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn z_crash_cut() -> Outcome {
    let budget = Budget { crash: 1, cut: 1, ..Budget::default() };
    explore(Configuration {
        name: "crash cut",
        key: false,
        schedules: ALL,
        late_publish: false,
        strangers: 0,
        budget,
        ..Configuration::default()
    })
}

#[test]
fn repeat2_absent() -> Outcome {
    let budget = Budget { repeat: 2, absent: 1, ..Budget::default() };
    explore(Configuration { name: "two repeats, absent", schedules: ALL, budget, ..Configuration::default() })
}
