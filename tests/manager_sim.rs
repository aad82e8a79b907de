//! The real manager on the simulated fabric, over thousands of seeds.
//!
//! Each seed is one history: two nodes with three clients, a storm of faults, crashes, power cuts, cut wires and pauses, and then calm. At
//! every step the two nodes must agree, and clients must be told things in order; after the storm both must end ready, and a WRITE
//! through a granted port must arrive. A failure names its seed: `HANDFAST_SEED=N cargo test --test manager_sim` replays it with its history.
//! `HANDFAST_SEEDS=N` sets how many are tried: 300 by default, 5000 with `HANDFAST_LONG=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "manager_sim/node.rs"]
mod node;
#[path = "manager_sim/pair.rs"]
mod pair;

use handfast::fabric::sim::{Faults, Stats};
use handfast::manager::Event;
use pair::Pair;
use std::sync::Arc;
use std::time::Duration;

/// Whether `HANDFAST_LONG=1` asks for the full length.
fn is_long() -> bool {
    std::env::var_os("HANDFAST_LONG").is_some()
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("HANDFAST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HANDFAST_SEEDS").unwrap_or(if is_long() { 5000 } else { 300 }),
    }
}

/// Runs one history, and prints its seed and its last lines where it fails.
fn history(
    name: &str,
    seed: u64,
    run: impl FnOnce(&mut Pair) + std::panic::UnwindSafe,
    faults: Faults,
    key: bool,
) -> Stats {
    let outcome = std::panic::catch_unwind(move || {
        let mut pair = Pair::new(seed, faults, key);
        if std::env::var_os("HANDFAST_SEED").is_some() {
            pair.sim.keep_trace(200);
        }
        let trace = pair.sim.clone();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(&mut pair);
            pair.sim.stats()
        }));
        if outcome.is_err() {
            for line in trace.trace() {
                eprintln!("  {line}");
            }
        }
        outcome
    });
    match outcome {
        Ok(Ok(stats)) => stats,
        Ok(Err(panic)) | Err(panic) => {
            eprintln!("seed {seed} failed: HANDFAST_SEED={seed} cargo test --test manager_sim {name}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn add(total: &mut Stats, stats: &Stats) {
    total.events += stats.events;
    total.operations_lost += stats.operations_lost;
    total.acknowledgements_lost += stats.acknowledgements_lost;
    total.landed_but_failed += stats.landed_but_failed;
    total.writes_repeated += stats.writes_repeated;
    total.reads_torn += stats.reads_torn;
    total.writes_torn += stats.writes_torn;
    total.crashes += stats.crashes;
    total.packets_cut += stats.packets_cut;
}

#[test]
fn two_nodes_are_ready_within_milliseconds_where_nothing_fails() {
    for key in [false, true] {
        let mut pair = Pair::new(1, Faults::none(), key);
        pair.start_both();
        pair.run_until_ready(Duration::from_millis(20));
        pair.check_data_path();
        assert_eq!(pair.lost(), 0);
    }
}

#[test]
fn storms_of_every_fault_end_in_a_session() {
    let mut total = Stats::default();
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let run = |pair: &mut Pair| {
            pair.start_both();
            pair.storm(60);
            pair.calm();
            pair.run_until_ready(Duration::from_secs(20));
            pair.check_data_path();
        };
        let stats = history("storms", seed, run, Faults::storm(), seed % 2 == 0);
        add(&mut total, &stats);
    }
    eprintln!("{count} seeds, {} events: {total:?}", total.events);
    if count >= 100 {
        let happened = [
            total.operations_lost,
            total.acknowledgements_lost,
            total.landed_but_failed,
            total.writes_repeated,
            total.reads_torn,
            total.writes_torn,
            total.crashes,
            total.packets_cut,
        ];
        assert!(happened.iter().all(|count| *count > 0), "a fault never happened: {total:?}");
    }
}

/// Ports are asked for anew all the while; after the storm each that is asked for comes once.
#[test]
fn ports_are_had_anew_after_every_storm() {
    let renewed = std::cell::Cell::new(0);
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let renewed = std::panic::AssertUnwindSafe(&renewed);
        let run = move |pair: &mut Pair| {
            pair.renewing = true;
            pair.start_both();
            pair.storm(60);
            renewed.set(renewed.get() + pair.renewed());
            pair.calm();
            pair.run_until_ready(Duration::from_secs(20));
            pair.renew_all();
            pair.check_data_path();
        };
        history("ports_are_had", seed, run, Faults::storm(), seed % 2 == 0);
    }
    eprintln!("{count} seeds, {} ports that the storms left", renewed.get());
    assert!(count < 100 || renewed.get() > 0, "no port came anew in any storm");
}

#[test]
fn a_crashed_partner_is_met_again_within_milliseconds() {
    for seed in 0..50 {
        let run = |pair: &mut Pair| {
            pair.start_both();
            pair.run_until_ready(Duration::from_millis(20));
            pair.crash(1);
            pair.run_for(Duration::from_millis(10));
            assert_eq!(pair.lost(), 1, "the survivor's clients are told");
            pair.start(1);
            pair.run_until_ready(Duration::from_millis(20));
            pair.check_data_path();
        };
        history("crashed", seed, run, Faults::none(), true);
    }
}

#[test]
fn a_node_that_leaves_is_told_apart_from_one_that_dies() {
    let run = |pair: &mut Pair| {
        pair.start_both();
        pair.run_until_ready(Duration::from_millis(20));
        pair.leave(1);
        pair.run_for(Duration::from_millis(20));
        assert!(pair.last_loss(0).expect("a loss").contains("the partner left"));
        pair.start(1);
        pair.run_until_ready(Duration::from_millis(50));
    };
    history("leaves", 3, run, Faults::none(), false);
}

#[test]
fn clients_that_do_not_match_are_told_and_the_others_go_on() {
    let run = |pair: &mut Pair| {
        pair.extra_client = Some((0, "only-here"));
        pair.start_both();
        pair.run_until_ready(Duration::from_millis(20));
        pair.check_data_path();
        assert!(pair.unavailable(0).expect("told").contains("no client of this name"));
    };
    history("clients", 4, run, Faults::none(), false);
}

/// Whatever it was told, the others are told all the same, in this session and in the next.
#[test]
fn a_client_that_panics_is_taken_out_and_the_others_go_on() {
    for (index, what) in [(0, "ready"), (0, "lost"), (3, "unavailable")] {
        let run = |pair: &mut Pair| {
            pair.extra_client = Some((0, "only-here"));
            pair.start_both();
            let clients = pair.nodes[0].as_ref().expect("a live node").clients.clone();
            let faulty = &clients[index];
            faulty.lock().unwrap().panics_at = Some(what);
            let told = |client: usize| {
                let notes = clients[client].lock().unwrap();
                (notes.ready, notes.lost.len())
            };
            pair.run_for(Duration::from_millis(20));
            assert_eq!([told(1), told(2)], [(1, 0), (1, 0)], "ready, and {what} panics");
            pair.crash(1);
            pair.run_for(Duration::from_millis(10));
            assert_eq!([told(1), told(2)], [(1, 1), (1, 1)], "lost, and {what} panics");
            let node = pair.nodes[0].as_ref().expect("a live node");
            let panics = node.events.iter().filter(|event| matches!(event, Event::ClientPanicked { .. }));
            let panics: Vec<String> = panics.map(Event::to_string).collect();
            let name = ["log", "monitor", "engine", "only-here"][index];
            let text = format!("client {name} panicked and was taken out: a client's fault at {what}");
            assert_eq!(panics, [text], "told once");
            // The test and its node hold the notes, and so does a client that is there.
            assert_eq!((Arc::strong_count(faulty), Arc::strong_count(&clients[1])), (2, 3), "the client was dropped");
            faulty.lock().unwrap().panics_at = None;
            let before = told(index);
            pair.start(1);
            pair.run_for(Duration::from_millis(20));
            assert_eq!([told(1), told(2)], [(2, 1), (2, 1)], "ready again after {what} panicked");
            assert_eq!(told(index), before, "it is not called again");
            let theirs = pair.nodes[1].as_ref().expect("a live node").clients[0].lock().unwrap();
            assert_eq!(theirs.unavailable.len(), usize::from(index == 0), "its counterpart has none");
        };
        history("panics", 5, run, Faults::none(), false);
    }
}

/// Its counterpart is told that there is no new port, and the others of the same round come.
#[test]
fn a_client_that_panics_at_its_new_port_gets_no_other() {
    let run = |pair: &mut Pair| {
        pair.start_both();
        pair.run_until_ready(Duration::from_millis(20));
        let clients = [0, 1].map(|node| pair.nodes[node].as_ref().expect("a live node").clients.clone());
        let ask = |node: usize, client: usize| {
            let notes = clients[node][client].lock().unwrap();
            notes.session.as_ref().expect("a session").renew_port(0).expect("asked");
        };
        let told = |node: usize, client: usize| {
            let notes = clients[node][client].lock().unwrap();
            (notes.renewed, notes.unavailable.clone(), notes.lost.len())
        };
        clients[0][0].lock().unwrap().panics_at = Some("port");
        ask(1, 0);
        pair.run_for(Duration::from_millis(100));
        assert_eq!([told(0, 0), told(1, 0)], [(0, vec![], 0), (1, vec![], 0)]);
        ask(1, 0);
        ask(0, 1);
        pair.run_for(Duration::from_millis(100));
        let reason = handfast::manager::Unavailable::FailedThere.to_string();
        assert_eq!([told(0, 0), told(1, 0)], [(0, vec![], 0), (1, vec![reason], 0)]);
        assert_eq!([told(0, 1), told(1, 1)], [(1, vec![], 0), (1, vec![], 0)]);
    };
    history("panics_at_its_new_port", 6, run, Faults::none(), true);
}

/// However fast a client asks, its partner makes new ports no faster than a round each pause.
#[test]
fn rounds_of_renewals_are_paced() {
    let run = |pair: &mut Pair| {
        pair.start_both();
        pair.run_until_ready(Duration::from_millis(20));
        let client = Arc::clone(&pair.nodes[0].as_ref().expect("a live node").clients[1]);
        for _ in 0..1000 {
            client.lock().unwrap().session.as_ref().expect("a session").renew_port(0).expect("asked");
            pair.run_for(Duration::from_millis(1));
        }
        // 50 ms is the pause of the default timing.
        let renewed = client.lock().unwrap().renewed;
        assert!((15..=21).contains(&renewed), "{renewed} rounds in a second");
        assert_eq!(pair.lost(), 0);
    };
    history("rounds_of_renewals", 7, run, Faults::none(), false);
}

/// Half of all WRITEs land again, up to two pauses later: a partner that is not polled just then finds
/// the letter of an earlier round over that of this one.
#[test]
fn rounds_end_though_old_letters_land_over_new_ones() {
    let mut faults = Faults::none();
    (faults.repeat_write_ppm, faults.repeat_after_ns_max) = (500_000, 100_000_000);
    let mut repeated = 0;
    for seed in 0..20 {
        let run = |pair: &mut Pair| {
            pair.start_both();
            pair.run_until_ready(Duration::from_millis(200));
            let clients = [0, 1].map(|node| Arc::clone(&pair.nodes[node].as_ref().expect("a live node").clients[1]));
            for round in 1..=20 {
                pair.sim.pause("b");
                clients[0].lock().unwrap().session.as_ref().expect("a session").renew_port(0).expect("asked");
                pair.run_for(Duration::from_millis(30));
                pair.sim.resume("b");
                pair.run_for(Duration::from_millis(60));
                let renewed = [0, 1].map(|node| clients[node].lock().unwrap().renewed);
                assert_eq!(renewed, [round; 2], "a round is stuck");
            }
            assert_eq!(pair.lost(), 0);
        };
        repeated += history("rounds_end", seed, run, faults, seed % 2 == 0).writes_repeated;
    }
    assert!(repeated > 100, "{repeated} WRITEs landed again");
}

/// A partner that stands still takes no part in a round: that ends the session, not before its time.
#[test]
fn a_round_that_the_partner_does_not_answer_ends_the_session() {
    let run = |pair: &mut Pair| {
        pair.start_both();
        pair.run_until_ready(Duration::from_millis(20));
        pair.sim.pause("b");
        let notes = Arc::clone(&pair.nodes[0].as_ref().expect("a live node").clients[0]);
        notes.lock().unwrap().session.as_ref().expect("a session").renew_port(1).expect("asked");
        pair.run_for(Duration::from_millis(4900));
        assert_eq!(pair.lost(), 0, "lost before the exchange's time is over");
        pair.run_for(Duration::from_millis(200));
        assert_eq!(pair.lost(), 1);
        let told =
            |event: &Event| event.to_string().contains("did not tell of the ports that are made anew within 5000 ms");
        assert!(pair.nodes[0].as_ref().expect("a live node").events.iter().any(told));
        pair.sim.resume("b");
        pair.run_until_ready(Duration::from_secs(1));
        pair.check_data_path();
    };
    history("does_not_answer", 8, run, Faults::none(), false);
}
