//! The mirrored log's promise under SIGKILL: whatever is acknowledged is there, once, right and in order, whoever dies at whatever moment.
//!
//! Two processes over shared memory append, truncate and give reservations up under load. The one that owns the log, its partner, both in turn
//! or both at once are killed at moments that the seed chooses, among them the first milliseconds of a restart, and are started again. After each
//! death the survivor reads its copy; after each restart the log is read as it was restored. What was promised is known from a file that the
//! dying process wrote after each acknowledgement and before each truncation.
//!
//! `HANDFAST_SEED=N` repeats the choices, `HANDFAST_LONG=1` makes 1,000 kills of the 25, `HANDFAST_KILLS=N` so many.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "log_kill/mod.rs"]
mod log_kill;
#[path = "process/mod.rs"]
mod process;
#[path = "process/on_shm.rs"]
mod under_test;

use log_kill::board::FileBoard;
use log_kill::pair::{Figures, Kind};
use log_kill::{node, rounds};
use process::is_long;
use process::random::Random;
use process::role::{arm_death, asked, config_asked, variable};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

#[test]
fn role() {
    if asked().as_deref() == Some("log") {
        arm_death();
        let board = variable("HANDFAST_TEST_BOARD").expect("HANDFAST_TEST_BOARD");
        node::run(config_asked(), Arc::new(FileBoard::open(board.as_ref())));
    }
}

#[test]
fn whatever_is_acknowledged_survives_whoever_is_killed() {
    let asked_for = variable("HANDFAST_KILLS").and_then(|text| text.parse().ok());
    let (kills, seed) = (asked_for.unwrap_or(if is_long() { 1000 } else { 25 }), Random::seed());
    eprintln!("seed {seed}: HANDFAST_SEED={seed} repeats the choices");
    let began = Instant::now();
    let mut told: BTreeMap<Kind, Figures> = BTreeMap::new();
    let mut done = 0;
    let mut number = variable("HANDFAST_PAIR").and_then(|text| text.parse().ok()).unwrap_or(0);
    while done < kills {
        match rounds::run(number, seed, kills - done) {
            Ok((kind, figures)) => {
                done += figures.kills;
                told.entry(kind).or_default().add(&figures);
            }
            Err(why) => panic!("seed {seed}: {why}"),
        }
        number += 1;
    }
    let mut all = Figures::default();
    for (kind, figures) in &told {
        eprintln!("{kind:?}: {figures:?}");
        all.add(figures);
    }
    eprintln!("{number} pairs in {:.1} s, nothing lost, nothing wrong: {all:?}", began.elapsed().as_secs_f64());
    // How much is appended between two kills is the machine's affair; that something was, and was read, is not.
    assert!(all.promised > 0 && all.acknowledged > 0, "nothing was appended, or nothing read: {all:?}");
}
