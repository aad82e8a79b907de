//! What a mirrored log does, on any fabric.

use crate::pair::{Pair, RING, has, payload, plain};
use crate::process::folder_on_disk;
use handfast::clients::mirrored_log::{
    Acknowledge, Acknowledgement, CopyState, LogError, LogEvent, Lsn, OnLoss, ReserveError, Start, TakeoverError,
    TakeoverRefused, Term,
};
use handfast::memory::Backing;
use std::time::{Duration, Instant};

pub(crate) fn both(title: &str) -> Pair {
    let mut pair = Pair::new(title);
    pair.start_both([plain(), plain()]);
    pair.until_mirrored(0);
    pair
}

pub(crate) fn records_are_with_the_partner_when_they_are_acknowledged() {
    for (level, standing) in
        [(Acknowledge::Received, Acknowledgement::Received), (Acknowledge::Placed, Acknowledgement::Placed)]
    {
        let mut pair = Pair::new("log-levels");
        pair.start_both([plain().acknowledge(level), plain()]);
        let payloads: Vec<Vec<u8>> = (0..40).map(payload).collect();
        for bytes in &payloads {
            assert_eq!(pair.append(0, bytes).1, standing);
        }
        pair.expect_copy(1, &payloads);
        assert_eq!(pair.side(1).copy.status().state, CopyState::Whole);
        assert!(pair.copied(0).is_empty(), "the other direction has nothing");
    }
}

pub(crate) fn both_directions_at_once() {
    let mut pair = both("log-both");
    pair.until_mirrored(1);
    let payloads: Vec<Vec<u8>> = (0..40).map(payload).collect();
    for bytes in &payloads {
        pair.append(0, bytes);
        pair.append(1, bytes);
    }
    pair.expect_copy(0, &payloads);
    pair.expect_copy(1, &payloads);
}

pub(crate) fn many_laps_through_a_small_ring() {
    let mut pair = both("log-laps");
    let mut kept: Vec<(Lsn, Vec<u8>)> = Vec::new();
    for number in 0..1500 {
        let bytes = payload(number);
        let (lsn, _) = pair.append(0, &bytes);
        kept.push((lsn, bytes));
        if kept.len() > 60 {
            kept.drain(..30);
            pair.side(0).log.truncate(kept[0].0).expect("a record's lsn");
        }
    }
    let tail = kept[0].0;
    pair.until("freed", |pair| pair.side(0).log.status().tail == tail && pair.side(1).copy.status().tail == tail);
    let payloads: Vec<Vec<u8>> = kept.into_iter().map(|(_, bytes)| bytes).collect();
    pair.expect_copy(1, &payloads);
    assert!(pair.side(0).log.status().head.0 > 4 * RING, "several laps");
}

pub(crate) fn a_full_ring_is_told_and_waited_for() {
    let mut pair = both("log-full");
    let first = pair.append(0, &[0; 4000]).0;
    let error = (0..RING / 4000 + 1).find_map(|_| pair.side(0).producer.append(&[1; 4000]).err());
    assert_eq!(error, Some(ReserveError::Full));
    let soon = Instant::now() + Duration::from_millis(20);
    assert_eq!(pair.side(0).producer.reserve_until(100, soon).map(|_| ()), Err(ReserveError::Full));
    let too_long = pair.side(0).producer.reserve(RING as usize / 4).map(|_| ());
    assert!(matches!(too_long, Err(ReserveError::TooLong { .. })), "{too_long:?}");
    let durable = pair.side(0).log.durable();
    for wrong in [Lsn(first.0 + 32), Lsn(first.0 + 1), Lsn(durable.0 + (1 << 40))] {
        let refused = pair.side(0).log.truncate(wrong);
        assert!(matches!(refused, Err(LogError::Truncation { .. })), "{wrong} {refused:?}");
    }
    // While one thread waits for room, the poller makes some.
    let producer = pair.side(0).producer.clone();
    let waiter = std::thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(20);
        producer.reserve_until(4000, deadline).map(|space| space.commit())
    });
    pair.until("room", |pair| {
        let durable = pair.side(0).log.durable();
        pair.side(0).log.truncate(durable).expect("what is acknowledged can be freed");
        waiter.is_finished()
    });
    let lsn = waiter.join().expect("no panic").expect("a record");
    pair.until("the last", |pair| pair.side(0).log.durable() > lsn);
}

pub(crate) fn holes_are_skipped_and_forgotten_reservations_named() {
    let mut pair = Pair::new("log-holes");
    pair.start_both([plain().stalled_after(Duration::from_millis(5)), plain()]);
    pair.until_mirrored(0);
    let mut payloads = Vec::new();
    for number in 0..30 {
        let side = pair.side(0);
        drop(side.producer.reserve(100 + number).expect("room"));
        side.producer.reserve(64).expect("room").abort();
        pair.append(0, &payload(number));
        payloads.push(payload(number));
    }
    pair.expect_copy(1, &payloads);
    let forgetful = pair.side(0).log.producer("forgetful");
    let forgotten = forgetful.reserve(10).expect("room");
    let lsn = forgotten.lsn();
    std::mem::forget(forgotten);
    let behind = pair.side(0).producer.append(b"behind it").expect("room");
    pair.until("a word about the reservation", |pair| {
        let named = |event: &LogEvent| matches!(event, LogEvent::Stalled { producer, lsn: at, .. } if producer == "forgetful" && *at == lsn);
        has(pair.side(0), named)
    });
    assert!(pair.side(0).log.durable() <= behind, "nothing passes it");
}

pub(crate) fn a_partner_that_comes_back_is_refilled_and_nothing_is_acknowledged_meanwhile() {
    let mut pair = both("log-refill");
    let mut payloads: Vec<Vec<u8>> = (0..50).map(payload).collect();
    for bytes in &payloads {
        pair.append(0, bytes);
    }
    pair.end(1);
    pair.until_lost(0);
    let durable = pair.side(0).log.durable();
    for number in 50..60 {
        pair.side(0).producer.append(&payload(number)).expect("room");
        payloads.push(payload(number));
    }
    for _ in 0..50 {
        pair.round();
    }
    assert_eq!(pair.side(0).log.durable(), durable, "nobody has them");
    pair.side(0).events.clear();
    pair.start(1, plain());
    pair.until_mirrored(0);
    let head = pair.side(0).log.status().head;
    pair.until("all acknowledged", |pair| pair.side(0).log.durable() == head);
    pair.expect_copy(1, &payloads);
    let refilled = |event: &LogEvent| matches!(event, LogEvent::Mirrored { refilled, .. } if *refilled > 0);
    assert!(has(pair.side(0), refilled), "{:?}", pair.side(0).events);
}

pub(crate) fn a_restarted_node_goes_on_with_what_the_partner_has() {
    let mut pair = both("log-restore");
    let mut payloads: Vec<Vec<u8>> = (0..60).map(payload).collect();
    for bytes in &payloads {
        pair.append(0, bytes);
    }
    for round in 0..3 {
        pair.end(0);
        pair.until_lost(1);
        pair.side(1).events.clear();
        assert_eq!(pair.side(1).copy.status().state, CopyState::Whole);
        pair.expect_copy(1, &payloads);
        pair.start(0, plain());
        pair.until_mirrored(0);
        let restored: Vec<Vec<u8>> = pair.own(0).into_iter().map(|record| record.payload).collect();
        assert!(restored == payloads, "what the partner had, in round {round}");
        assert_eq!(pair.side(0).log.status().generation.0, round + 2);
        for number in 0..10 {
            let bytes = payload(number + 1000);
            pair.append(0, &bytes);
            payloads.push(bytes);
        }
        pair.expect_copy(1, &payloads);
        // Room made by one writer is used by the next.
        let second = pair.own(0)[5].lsn;
        pair.side(0).log.truncate(second).expect("a record's lsn");
        pair.until("freed", |pair| pair.side(1).copy.status().tail == second);
        payloads.drain(..5);
    }
}

pub(crate) fn going_alone_is_said_and_makes_older_copies_unworthy() {
    let folder = folder_on_disk();
    let term_file = folder.path().join("term");
    let alone = || plain().on_loss(OnLoss::GoOnAlone { term_file: term_file.clone() });
    let mut pair = Pair::new("log-alone");
    pair.start_both([alone(), plain()]);
    pair.until_mirrored(0);
    let mut payloads = vec![payload(1)];
    assert_eq!(pair.append(0, &payloads[0]).1, Acknowledgement::Placed);
    let term = pair.side(0).log.status().term;
    pair.side(1).manager.leave();
    pair.until_lost(0);
    payloads.push(payload(2));
    assert_eq!(pair.append(0, &payloads[1]).1, Acknowledgement::Alone);
    assert_eq!(pair.side(0).log.status().term, Term(term.0 + 1));
    let noted = std::fs::read_to_string(&term_file).expect("a term file");
    assert_eq!(noted.split(' ').next(), Some((term.0 + 1).to_string().as_str()));
    // The other node's copy lacks the second record: who knows of the new term does not take it over, unless forced.
    let copy = pair.side(1).copy.clone();
    let refused = copy.take_over(Term(term.0 + 1), false);
    assert!(
        matches!(refused, Err(TakeoverError::Refused(TakeoverRefused::Outdated { .. }))),
        "{:?}",
        refused.map(|records| *records.header())
    );
    assert_eq!(copy.take_over(Term(term.0 + 1), true).expect("by force").count(), 1);
    // It comes back as a new process, without that copy, and is refilled.
    pair.end(1);
    pair.side(0).events.clear();
    pair.start(1, plain());
    pair.until_mirrored(0);
    payloads.push(payload(3));
    assert_eq!(pair.append(0, &payloads[2]).1, Acknowledgement::Placed);
    pair.expect_copy(1, &payloads);
    pair.end(0);
    pair.until_lost(1);
    let taken = pair.side(1).copy.take_over(Term(term.0 + 1), false).expect("it is worthy again");
    assert_eq!(taken.count(), 3);
}

pub(crate) fn a_log_that_was_taken_over_is_told_so_and_ends() {
    let mut pair = both("log-superseded");
    let lsn = pair.append(0, &payload(1)).0;
    let term = pair.side(0).log.status().term;
    let there = pair.side(1).copy.take_over(term, false).map(|records| *records.header());
    assert_eq!(there, Err(TakeoverError::Refused(TakeoverRefused::PartnerThere)));
    assert_eq!(pair.side(1).copy.take_over(term, true).expect("a whole copy").count(), 1);
    pair.until("the end", |pair| {
        has(pair.side(0), |event| matches!(event, LogEvent::Ended(LogError::Superseded { .. })))
    });
    let side = pair.side(0);
    assert!(matches!(side.producer.append(b"late"), Err(ReserveError::Ended(LogError::Superseded { .. }))));
    assert_eq!(side.log.wait(lsn), Ok(Acknowledgement::Placed), "what was acknowledged stays so");
    assert!(matches!(side.log.wait(side.log.durable()), Err(LogError::Superseded { .. })));
}

pub(crate) fn a_new_log_replaces_the_old_one_and_never_mixes_with_it() {
    let mut pair = both("log-new");
    for number in 0..60 {
        pair.append(0, &payload(number));
    }
    let old = pair.side(1).copy.status().history;
    pair.end(0);
    pair.until_lost(1);
    pair.start(0, plain().start(Start::New));
    pair.until_mirrored(0);
    assert_ne!(pair.side(1).copy.status().history, old);
    assert_eq!(pair.copied(1), []);
    pair.append(0, b"first");
    pair.expect_copy(1, &[b"first".to_vec()]);
}

pub(crate) fn a_ring_of_another_size_is_refused_by_name() {
    let mut pair = both("log-size");
    pair.append(0, b"something");
    pair.end(0);
    pair.until_lost(1);
    pair.start(0, plain().ring_bytes(RING / 2));
    pair.until("a word about the sizes", |pair| {
        let sizes =
            |event: &LogEvent| matches!(event, LogEvent::Ended(LogError::RingSize { there, .. }) if *there == RING);
        has(pair.side(0), sizes)
    });
    pair.expect_copy(1, &[b"something".to_vec()]);
}

pub(crate) fn a_ring_in_a_file_outlives_its_process() {
    let mut pair = Pair::new("log-file");
    let name = format!("{}.ring", pair.name);
    let path = std::path::Path::new("/dev/shm").join(&name);
    let primary = || plain().backing(Backing::SharedMemory(name.clone()));
    let mut payloads = Vec::new();
    for round in 0..3 {
        pair.start_both([primary(), plain()]);
        pair.until_mirrored(0);
        let restored: Vec<Vec<u8>> = pair.own(0).into_iter().map(|record| record.payload).collect();
        assert!(restored == payloads, "round {round}: {} of {}", restored.len(), payloads.len());
        for number in 0..40 {
            let bytes = payload(round * 100 + number);
            pair.append(0, &bytes);
            payloads.push(bytes);
        }
        let head = pair.side(0).log.status().head;
        pair.until("all there", |pair| pair.side(0).log.durable() == head);
        pair.expect_copy(1, &payloads);
        pair.end(0);
        pair.end(1);
    }
    std::fs::remove_file(path).expect("the ring's file");
}

pub(crate) fn producers_in_threads_are_sent_by_a_poller_in_one() {
    const PRODUCERS: usize = 3;
    let records = crate::under_test::RECORDS / 10;
    let mut pair = both("log-threads");
    let log = pair.side(0).log.clone();
    let threads: Vec<_> = (0..PRODUCERS)
        .map(|number| {
            let (log, producer) = (log.clone(), log.producer(&format!("producer {number}")));
            std::thread::spawn(move || {
                for count in 0..records {
                    let deadline = Instant::now() + Duration::from_secs(60);
                    let mut space = producer.reserve_until(16 + (count % 200) as usize, deadline).expect("room");
                    space.fill(number as u8);
                    space[..8].copy_from_slice(&count.to_le_bytes());
                    let lsn = space.commit();
                    if count % 64 == 0 {
                        log.wait(lsn).expect("acknowledged");
                    }
                }
            })
        })
        .collect();
    let mut seen = [0_u64; PRODUCERS];
    let mut next = Lsn::ZERO;
    let mut check = |pair: &mut Pair| {
        for record in pair.copied(1) {
            if record.lsn < next {
                continue;
            }
            let number = record.payload[15] as usize;
            let count = u64::from_le_bytes(record.payload[..8].try_into().expect("eight bytes"));
            assert_eq!(count, seen[number], "records of one producer come in its order, each once");
            seen[number] += 1;
            next = record.end;
        }
        next
    };
    pair.until("all of them", |pair| {
        let read = check(pair);
        if pair.side(0).log.durable() >= read {
            let _ = pair.side(0).log.truncate(read);
        }
        threads.iter().all(|thread| thread.is_finished())
    });
    for thread in threads {
        thread.join().expect("no panic");
    }
    let head = pair.side(0).log.status().head;
    pair.until("the rest", |pair| pair.side(0).log.durable() == head);
    check(&mut pair);
    assert_eq!(seen, [records; PRODUCERS]);
}

pub(crate) fn what_a_consumer_has_applied_bounds_what_is_freed() {
    let mut pair = Pair::new("log-applied");
    pair.start_both([plain().applied_bounds_truncation(true), plain()]);
    pair.until_mirrored(0);
    let lsns: Vec<Lsn> = (0..20).map(|number| pair.append(0, &payload(number)).0).collect();
    pair.side(0).log.truncate(lsns[15]).expect("a record's lsn");
    pair.side(1).copy.needs_base();
    pair.until("a word from the consumer", |pair| pair.side(0).log.partner_needs_base());
    assert_eq!(pair.side(0).log.status().tail, lsns[0]);
    let history = pair.side(1).copy.status().history;
    pair.side(1).copy.applied(history, lsns[7]);
    pair.until("as far as it was applied", |pair| pair.side(0).log.status().tail == lsns[7]);
    let history = pair.side(1).copy.status().history;
    pair.side(1).copy.applied(history, Lsn(lsns[9].0 + 32));
    for _ in 0..100 {
        pair.round();
    }
    assert_eq!(pair.side(0).log.status().tail, lsns[7], "no record begins there");
    let history = pair.side(1).copy.status().history;
    pair.side(1).copy.applied(history, lsns[19]);
    pair.until("as far as it was asked", |pair| pair.side(0).log.status().tail == lsns[15]);
}

/// While the log's own node keeps the records, its partner comes back empty: at no moment is that copy whole before it has all of them.
pub(crate) fn a_copy_is_never_called_whole_before_it_has_everything() {
    let mut pair = Pair::new("log-whole");
    let name = format!("{}.ring", pair.name);
    let path = std::path::Path::new("/dev/shm").join(&name);
    let primary = || plain().backing(Backing::SharedMemory(name.clone())).batch_bytes_max(4096).batches_max(1);
    pair.start_both([primary(), plain()]);
    let payloads: Vec<Vec<u8>> = (0..100).map(payload).collect();
    for bytes in &payloads {
        pair.append(0, bytes);
    }
    pair.end(0);
    pair.end(1);
    pair.start_both([primary(), plain()]);
    let mut seen_on_its_way = false;
    pair.until("a whole copy", |pair| {
        let status = pair.side(1).copy.status();
        seen_on_its_way |= status.state == CopyState::Refilling;
        if status.state == CopyState::Whole {
            pair.expect_copy(1, &payloads);
        }
        status.state == CopyState::Whole
    });
    assert!(seen_on_its_way, "a hundred batches take more than one round");
    std::fs::remove_file(path).expect("the ring's file");
}

/// Records go on being acknowledged alone while the partner is refilled: a copy that is called whole has every one of them.
pub(crate) fn nothing_is_acknowledged_alone_beside_a_whole_copy() {
    let folder = folder_on_disk();
    let alone = plain().on_loss(OnLoss::GoOnAlone { term_file: folder.path().join("term") });
    let mut pair = Pair::new("log-joining");
    pair.start_both([alone.batch_bytes_max(4096).batches_max(1), plain()]);
    pair.until_mirrored(0);
    pair.end(1);
    pair.until_lost(0);
    for number in 0..60 {
        assert_eq!(pair.append(0, &payload(number)).1, Acknowledgement::Alone);
    }
    pair.side(0).events.clear();
    pair.start(1, plain());
    let (mut alone_meanwhile, mut last) = (0, Lsn::ZERO);
    pair.until("mirrored", |pair| {
        let side = pair.side(0);
        if side.log.status().head.0 < RING - 8192 {
            last = side.producer.append(&[7; 500]).unwrap_or(last);
        }
        let durable = side.log.durable();
        alone_meanwhile += u64::from(durable > side.log.mirrored());
        if pair.side(1).copy.status().state == CopyState::Whole {
            let end = pair.copied(1).last().map(|record| record.end);
            assert!(end >= Some(durable), "whole up to {end:?}, acknowledged up to {durable}");
        }
        has(pair.side(0), |event| matches!(event, LogEvent::Mirrored { .. }))
    });
    assert!(alone_meanwhile > 0, "it was acknowledged alone while the partner was refilled");
    pair.until("the last", |pair| pair.side(0).log.durable() > last);
    assert_eq!(pair.side(0).log.wait(last), Ok(Acknowledgement::Placed));
    assert_eq!(pair.side(0).poller.begin_alone(), Err(LogError::PartnerThere));
}

/// Records of an earlier writer that lie where a new one's end are no part of the new one's log.
pub(crate) fn a_copy_of_another_writer_is_emptied_before_it_is_filled() {
    let mut pair = Pair::new("log-scrub");
    let folder = folder_on_disk();
    let name = format!("{}.ring", pair.name);
    let primary = || {
        let log = plain().backing(Backing::SharedMemory(name.clone()));
        log.on_loss(OnLoss::GoOnAlone { term_file: folder.path().join("term") })
    };
    let keeps = || plain().keep(folder.path().join("kept")).acknowledge(Acknowledge::Persistent);
    pair.start_both([primary(), keeps()]);
    for number in 0..30 {
        pair.append(0, &payload(number));
    }
    pair.end(0);
    pair.end(1);
    // Two lives later the partner still holds what the first writer wrote.
    pair.start(0, primary());
    pair.side(0).poller.begin_alone().expect("a whole ring");
    pair.append(0, &payload(30));
    let tail = pair.own(0)[25].lsn;
    pair.side(0).log.truncate(tail).expect("a record's lsn");
    pair.until("freed", |pair| pair.side(0).log.status().tail == tail);
    pair.end(0);
    pair.start_both([primary(), keeps()]);
    pair.until_mirrored(0);
    let kept: Vec<Vec<u8>> = (25..31).map(payload).collect();
    pair.expect_copy(1, &kept);
    pair.append(0, &payload(99));
    pair.expect_copy(1, &[kept, vec![payload(99)]].concat());
    std::fs::remove_file(std::path::Path::new("/dev/shm").join(&name)).expect("the ring's file");
}
