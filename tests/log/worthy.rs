//! When a copy may say that it is whole: only once it holds what was acknowledged to anybody, by an earlier process too. Looked at between
//! any two polls.

use crate::pair::{Pair, has, payload, plain};
use handfast::clients::mirrored_log::{CopyState, LogConfig, LogEvent};
use handfast::memory::Backing;

const RECORDS: usize = 60;

/// Small batches, one at a time: a refill takes many polls.
fn slowly() -> LogConfig {
    plain().batch_bytes_max(4096).batches_max(1)
}

/// Polls one at a time until the log is mirrored; the copy may never say that it is whole while it lacks anything.
fn watch(pair: &mut Pair, payloads: &[Vec<u8>]) {
    pair.side(0).events.clear();
    pair.until("mirrored", |pair| {
        for _ in 0..200 {
            pair.side(1).poller.poll();
            pair.side(0).poller.poll();
            let side = pair.side(0);
            side.events.extend(std::iter::from_fn(|| side.poller.next_event()));
            let mirrored = has(side, |event| matches!(event, LogEvent::Mirrored { .. }));
            if mirrored || pair.side(1).copy.status().state == CopyState::Whole {
                assert_eq!(pair.side(1).copy.status().state, CopyState::Whole);
                pair.expect_copy(1, payloads);
            }
            if mirrored {
                return true;
            }
        }
        false
    });
}

fn filled(pair: &mut Pair, primary: LogConfig) -> Vec<Vec<u8>> {
    pair.start_both([primary, plain()]);
    pair.until_mirrored(0);
    let payloads: Vec<Vec<u8>> = (0..RECORDS).map(payload).collect();
    for bytes in &payloads {
        pair.append(0, bytes);
    }
    payloads
}

#[test]
fn a_ring_that_outlived_both_processes_is_at_the_partner_before_that_is_whole() {
    let mut pair = Pair::new("log-worthy");
    let name = format!("{}.ring", pair.name);
    let primary = || slowly().backing(Backing::SharedMemory(name.clone()));
    let payloads = filled(&mut pair, primary());
    pair.end(0);
    pair.end(1);
    pair.start_both([primary(), plain()]);
    watch(&mut pair, &payloads);
    pair.end(0);
    std::fs::remove_file(std::path::Path::new("/dev/shm").join(&name)).expect("the ring's file");
}

#[test]
fn what_was_restored_is_at_the_next_partner_before_that_is_whole() {
    let mut pair = Pair::new("log-worthy");
    let payloads = filled(&mut pair, slowly());
    pair.end(0);
    pair.until_lost(1);
    pair.start(0, slowly());
    // The partner ends as soon as everything was read from it.
    pair.until("restored", |pair| {
        for _ in 0..200 {
            pair.side(1).poller.poll();
            let side = pair.side(0);
            side.poller.poll();
            side.events.extend(std::iter::from_fn(|| side.poller.next_event()));
            if has(side, |event| matches!(event, LogEvent::Opened { restored: true, .. })) {
                return true;
            }
            while side.manager.poll().is_some() {}
            while pair.side(1).manager.poll().is_some() {}
        }
        false
    });
    pair.end(1);
    pair.until_lost(0);
    pair.start(1, plain());
    watch(&mut pair, &payloads);
}

#[test]
fn a_partner_that_was_restored_from_stays_worthy_in_the_next_session() {
    let mut pair = Pair::new("log-worthy");
    let payloads = filled(&mut pair, slowly());
    pair.end(0);
    pair.until_lost(1);
    for _ in 0..3 {
        pair.start(0, slowly());
        let mut opened = false;
        pair.until("mirrored", |pair| {
            for _ in 0..50 {
                pair.side(1).poller.poll();
                let side = pair.side(0);
                side.poller.poll();
                side.events.extend(std::iter::from_fn(|| side.poller.next_event()));
                assert_eq!(pair.side(1).copy.status().state, CopyState::Whole, "it has everything, all the time");
            }
            opened |= has(pair.side(0), |event| matches!(event, LogEvent::Opened { .. }));
            opened && has(pair.side(0), |event| matches!(event, LogEvent::Mirrored { .. }))
        });
        pair.expect_copy(1, &payloads);
        pair.end(0);
        pair.side(1).events.clear();
        pair.until_lost(1);
    }
}

#[test]
fn a_new_log_whose_owner_ends_at_its_very_beginning_opens_again() {
    let mut pair = Pair::new("log-worthy");
    pair.start_both([plain(), plain()]);
    pair.until("a first header", |pair| {
        for _ in 0..200 {
            pair.side(1).poller.poll();
            pair.side(0).poller.poll();
            if pair.side(1).copy.status().state != CopyState::Nothing {
                return true;
            }
        }
        false
    });
    pair.end(0);
    pair.until_lost(1);
    pair.start(0, plain());
    pair.until_mirrored(0);
    let bytes = payload(1);
    pair.append(0, &bytes);
    pair.expect_copy(1, &[bytes]);
}
