//! The mirrored log's promise at every point where a node can end: nothing acknowledged is lost, nothing is wrong, and nothing is lost without a
//! word.
//!
//! Two processes over shared memory open a log, restore it, refill its copy, go on alone, come back, take over. One of them ends before a chosen
//! call that reaches its disk, or after a chosen turn in which something was done: by SIGKILL, or with the power of its machine, which keeps what
//! was synced and of the rest what chance says; and the other one with it, or not. Then both come back, and what they make of it is held
//! against what was acknowledged.
//!
//! `HANDFAST_SEED=N` repeats the choices, `HANDFAST_LONG=1` makes more of them, `HANDFAST_ALL=1` takes every call and every step with every death.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "log_crash/calls.rs"]
mod calls;
#[path = "log_crash/judge.rs"]
mod judge;
#[path = "log_crash/ledger.rs"]
mod ledger;
#[path = "log_crash/machine.rs"]
mod machine;
#[path = "log_crash/node.rs"]
mod node;
#[path = "log_crash/play.rs"]
mod play;
#[path = "process/mod.rs"]
mod process;
#[path = "process/on_shm.rs"]
mod under_test;

use calls::Moment;
use node::Ring;
use play::{Backings, DEATHS, Death, Outcome, Play, SCENES, play};
use process::is_long;
use process::random::Random;
use process::role::{asked, variable};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

#[test]
fn role() {
    if asked().as_deref() == Some("crash") {
        node::run();
    }
}

/// Turns of one scene that are tried, at most.
const STEPS_MAX: u64 = 200;

/// What holds the log here and there, each pair of them.
fn backings() -> Vec<Backings> {
    let rings = [Ring::Anonymous, Ring::SharedMemory, Ring::File];
    let copies = [(false, false), (true, false), (true, true)];
    let pair = |ring| copies.map(|(keeps, persistent)| Backings { ring, keeps, persistent });
    rings.into_iter().flat_map(pair).collect()
}

/// Plays of one scene, victim and pair of backings: how many calls and steps there are is found out by one that does not end.
fn plays_of(at: usize, plays: usize, seed: u64) -> Result<Vec<Play>, String> {
    let (all, mut random) = (backings(), Random::new(seed.wrapping_add(at as u64)));
    let ((scene, victim), backings) = (SCENES[at / all.len()], all[at % all.len()]);
    let mut next = || random.next();
    let dress = Play { scene, victim, backings, death: Death::Kill, moment: Moment::Never, seed: next() };
    let (_, (calls, steps)) = play(dress)?;
    // On a busy machine there are many turns in which little is done.
    let apart = usize::try_from(steps / STEPS_MAX).unwrap_or(0) + 1;
    let moments = (0..calls).map(Moment::Call).chain((0..steps).step_by(apart).map(Moment::Step));
    let mut found: Vec<Play> = moments
        .flat_map(|moment| DEATHS.map(|death| (moment, death)))
        .map(|(moment, death)| Play { death, moment, seed: next(), ..dress })
        .collect();
    if plays < found.len() {
        // The first ones of an order by chance.
        for index in 0..plays {
            let other = index + (next() % (found.len() - index) as u64) as usize;
            found.swap(index, other);
        }
        found.truncate(plays);
    }
    Ok(found)
}

#[test]
fn whatever_is_acknowledged_survives_wherever_a_node_ends() {
    if asked().is_some() {
        return;
    }
    let seed = Random::seed();
    eprintln!("seed {seed}: HANDFAST_SEED={seed} repeats the choices");
    let is_all = variable("HANDFAST_ALL").is_some_and(|text| text == "1");
    let each = if is_all {
        usize::MAX
    } else if is_long() {
        20
    } else {
        2
    };
    let only: Option<usize> = variable("HANDFAST_AT").and_then(|text| text.parse().ok());
    let (began, all) = (Instant::now(), SCENES.len() * backings().len());
    let (next, told) = (AtomicUsize::new(0), Mutex::new((BTreeMap::new(), Vec::new())));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= all || !told.lock().expect("no panic").1.is_empty() {
                return;
            }
            if only.is_some_and(|only| only != at) {
                continue;
            }
            let played = plays_of(at, each, seed).and_then(|plays| {
                plays.into_iter().map(|one| play(one).map(|(outcome, _)| (one, outcome))).collect::<Result<Vec<_>, _>>()
            });
            let mut told = told.lock().expect("no panic");
            match played {
                Ok(played) => {
                    for (one, outcome) in played {
                        *told.0.entry((one.scene, one.death, outcome)).or_insert(0u32) += 1;
                    }
                }
                Err(why) => told.1.push(format!("HANDFAST_AT={at}: {why}")),
            }
        }
    };
    // Mostly they wait for each other.
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let (counts, wrong) = told.into_inner().expect("no panic");
    for ((scene, death, outcome), count) in &counts {
        eprintln!("{scene:?} {death:?} {outcome:?}: {count}");
    }
    let plays: u32 = counts.values().sum();
    let whole: u32 =
        counts.iter().filter(|((.., outcome), _)| *outcome == Outcome::Whole).map(|(_, count)| count).sum();
    eprintln!("{plays} plays of {all} scenes in {:.1} s, {whole} whole", began.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "seed {seed}: {}", wrong.join("\n\n"));
    assert!(only.is_some() || whole > 0, "nothing was there in any of {plays} plays");
}
