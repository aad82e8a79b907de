//! One log that went two ways: begun with an older ring, with another one, or after a takeover. Neither way costs the other.

use crate::pair::{Pair, has, payload, plain};
use crate::process::folder_on_disk;
use handfast::clients::mirrored_log::{
    Acknowledge, Acknowledgement, CopyState, Doubt, LogError, LogEvent, OnLoss, Start, Term, area::RING_OFFSET,
};
use handfast::memory::Backing;
use std::path::Path;

fn alone(folder: &Path) -> OnLoss {
    OnLoss::GoOnAlone { term_file: folder.join("term") }
}

/// Somebody brings back an older ring, and the node begins alone with it: the partner has acknowledged records that are not in it.
pub(crate) fn a_log_begun_with_an_older_ring_does_not_replace_the_partners() {
    let folder = folder_on_disk();
    let path = folder.path().join("ring");
    let log = || plain().backing(Backing::File(path.clone())).on_loss(alone(folder.path()));
    let mut pair = Pair::new("log-older-ring");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    let payloads: Vec<Vec<u8>> = (0..10).map(payload).collect();
    let mut older = Vec::new();
    for (number, bytes) in payloads.iter().enumerate() {
        if number == 5 {
            older = std::fs::read(&path).expect("a ring");
        }
        pair.append(0, bytes);
    }
    pair.end(0);
    pair.until_lost(1);
    let diverged = |event: &LogEvent| matches!(event, LogEvent::Diverged { here, there } if here == there);
    let begin_with_the_older = |pair: &mut Pair| {
        std::fs::write(&path, &older).expect("a ring");
        pair.start(0, log());
        pair.side(0).poller.begin_alone().expect("nothing tells of more");
    };
    let end_beside_the_full_copy = |pair: &mut Pair| {
        pair.expect_copy(1, &payloads);
        pair.end(0);
        pair.until_lost(1);
    };
    // The second time the partner has met such a log before.
    for _ in 0..2 {
        begin_with_the_older(&mut pair);
        assert_eq!(pair.append(0, b"alone").1, Acknowledgement::Alone);
        pair.until("words", |pair| has(pair.side(0), diverged));
        assert_eq!(pair.append(0, b"and on").1, Acknowledgement::Alone);
        assert_eq!(pair.side(1).copy.status().state, CopyState::Whole);
        end_beside_the_full_copy(&mut pair);
        let _ = std::fs::remove_file(folder.path().join("term"));
    }
    // What it wrote since stays another way, through a restart too.
    begin_with_the_older(&mut pair);
    let (last, _) = pair.append(0, b"alone");
    pair.end(0);
    for _ in 0..2 {
        pair.start(0, log());
        pair.until("words", |pair| has(pair.side(0), diverged));
        pair.until("alone", |pair| has(pair.side(0), |event| matches!(event, LogEvent::Alone { .. })));
        assert!(pair.own(0).iter().any(|record| record.lsn == last));
        end_beside_the_full_copy(&mut pair);
    }
    let _ = std::fs::remove_file(folder.path().join("term"));
    // Nobody began alone: the partner's copy is gone on with.
    std::fs::write(&path, &older).expect("a ring");
    pair.start(0, log());
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), 10);
}

/// A ring that is damaged under a later term than the partner's copy is given up for what is longer.
pub(crate) fn what_the_partner_has_whole_is_not_given_up_with_a_damaged_ring() {
    let folder = folder_on_disk();
    let path = folder.path().join("ring");
    let log = || plain().backing(Backing::File(path.clone())).on_loss(alone(folder.path()));
    let mut pair = Pair::new("log-damaged-ring");
    pair.start_both([log(), plain().keep(folder.path().join("kept"))]);
    pair.until_mirrored(0);
    for number in 0..5 {
        pair.append(0, &payload(number));
    }
    pair.end(1);
    pair.until_lost(0);
    assert_eq!(pair.append(0, b"alone").1, Acknowledgement::Alone);
    let term = pair.side(0).log.status().term;
    pair.end(0);
    let mut damaged = std::fs::read(&path).expect("a ring");
    damaged[RING_OFFSET as usize + 100] ^= 1;
    std::fs::write(&path, &damaged).expect("a ring");
    pair.start_both([log().start(Start::GiveUpMissing), plain().keep(folder.path().join("kept"))]);
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), 5);
    assert!(pair.side(0).log.status().term >= term, "no lower term");
    pair.expect_copy(1, &(0..5).map(payload).collect::<Vec<_>>());
}

/// The partner takes the log over, and its owner goes on alone under the same term: each of both has written, and the owner is told.
pub(crate) fn a_takeover_is_told_to_whoever_went_alone_under_its_term() {
    let folder = folder_on_disk();
    let mut pair = Pair::new("log-same-term");
    let keeps = || plain().keep(folder.path().join("kept"));
    pair.start_both([plain().on_loss(alone(folder.path())), keeps()]);
    pair.until_mirrored(0);
    pair.append(0, &payload(1));
    let term = pair.side(0).log.status().term;
    pair.end(1);
    pair.until_lost(0);
    assert_eq!(pair.append(0, b"alone").1, Acknowledgement::Alone);
    assert_eq!(pair.side(0).log.status().term, Term(term.0 + 1));
    // It is not heard of while its partner decides.
    pair.asleep = Some(0);
    pair.start(1, keeps());
    pair.side(1).copy.take_over(term, true).expect("a copy");
    pair.asleep = None;
    let ended = |event: &LogEvent| matches!(event, LogEvent::Ended(LogError::TakenOver { .. }));
    pair.until("the end", |pair| has(pair.side(0), ended));
}

/// The log had another ring in between: the one of before is an older one, which the state file tells.
pub(crate) fn a_ring_of_an_earlier_opening_is_told_by_the_state_file() {
    let folder = folder_on_disk();
    let path = folder.path().join("ring");
    let private = || plain().on_loss(alone(folder.path())).state_file(folder.path().join("state"));
    let log = || private().backing(Backing::File(path.clone()));
    let mut pair = Pair::new("log-other-ring");
    let opened = [log(), log(), private()];
    for (number, log) in opened.into_iter().enumerate() {
        pair.start_both([log, plain().keep(folder.path().join("kept"))]);
        pair.until_mirrored(0);
        pair.append(0, &payload(number));
        pair.end(0);
        pair.end(1);
    }
    // A node without a partner does not begin with it, nor beside one that has nothing.
    pair.start(0, log());
    let begun = pair.side(0).poller.begin_alone();
    let is_older = |error: &LogError| matches!(error, LogError::MayLack { doubt: Doubt::OpenedSince { .. }, .. });
    assert!(begun.as_ref().is_err_and(is_older), "{begun:?}");
    pair.start(1, plain());
    let ended = |event: &LogEvent| matches!(event, LogEvent::Ended(error) if is_older(error));
    pair.until("the end", |pair| has(pair.side(0), ended));
    pair.end(0);
    pair.end(1);
    // The partner has all of it.
    pair.start_both([log(), plain().keep(folder.path().join("kept"))]);
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), 3);
}

/// The partner's disk with the newer file is not mounted: what is there is an older copy, which lacks records.
pub(crate) fn an_older_copy_of_the_partners_is_told_by_the_state_file() {
    let folder = folder_on_disk();
    let log = || plain().acknowledge(Acknowledge::Persistent).state_file(folder.path().join("state"));
    let keeps = |name: &str| plain().keep(folder.path().join(name));
    let mut pair = Pair::new("log-older-copy");
    pair.start_both([log(), keeps("first")]);
    pair.until_mirrored(0);
    pair.append(0, &payload(1));
    pair.end(1);
    pair.until_lost(0);
    pair.side(0).events.clear();
    pair.start(1, keeps("second"));
    pair.until_mirrored(0);
    assert_eq!(pair.append(0, &payload(2)).1, Acknowledgement::Persistent);
    pair.end(0);
    pair.end(1);
    pair.start_both([log(), keeps("first")]);
    let ended = |event: &LogEvent| matches!(event, LogEvent::Ended(LogError::OtherCopy { .. }));
    pair.until("the end", |pair| has(pair.side(0), ended));
    pair.end(0);
    pair.end(1);
    pair.start_both([log(), keeps("second")]);
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), 2, "mounted");
    pair.end(0);
    pair.end(1);
    pair.start_both([log().start(Start::GiveUpMissing), keeps("first")]);
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), 1, "given up");
}

/// Whatever a person gives up, no later opening is under a lower generation than the one before: it would count less than an older ring.
pub(crate) fn a_ring_that_was_given_up_for_another_counts_less() {
    let folder = folder_on_disk();
    let log = |ring: &str| {
        let log = plain().backing(Backing::File(folder.path().join(ring)));
        log.state_file(folder.path().join("state"))
    };
    let mut pair = Pair::new("log-given-up");
    for (number, ring) in ["first", "second", "second"].into_iter().enumerate() {
        pair.start(0, log(ring));
        if number == 0 {
            pair.start(1, plain());
        }
        pair.until_mirrored(0);
        pair.append(0, &payload(number));
        pair.end(0);
        pair.until_lost(1);
        pair.side(1).events.clear();
    }
    pair.end(1);
    // The partner has lost everything, and a person goes on with the first ring.
    pair.start_both([log("first").start(Start::GiveUpMissing), plain()]);
    pair.until_mirrored(0);
    pair.append(0, &payload(9));
    pair.end(0);
    pair.until_lost(1);
    pair.start(0, log("second"));
    pair.until_mirrored(0);
    let last = pair.own(0).pop().map(|record| record.payload);
    assert_eq!(last, Some(payload(9)), "it was acknowledged last");
}

/// A power cut took the end of a ring, a person gives that up, and the log begins alone: what its partner still has stays there.
pub(crate) fn what_was_given_up_alone_stays_with_the_partner() {
    let folder = folder_on_disk();
    let path = folder.path().join("ring");
    let log = || plain().backing(Backing::File(path.clone())).on_loss(alone(folder.path()));
    let mut pair = Pair::new("log-given-up-alone");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    pair.append(0, &payload(1));
    pair.end(0);
    pair.until_lost(1);
    pair.start(0, log());
    pair.until_mirrored(0);
    let on_disk = std::fs::read(&path).expect("a ring");
    pair.append(0, &payload(2));
    pair.end(0);
    pair.until_lost(1);
    std::fs::write(&path, crate::survives::other_boot(&on_disk)).expect("a ring");
    pair.start(0, log().start(Start::GiveUpMissing));
    pair.side(0).poller.begin_alone().expect("given up");
    assert_eq!(pair.append(0, &payload(3)).1, Acknowledgement::Alone);
    pair.until("words", |pair| has(pair.side(0), |event| matches!(event, LogEvent::Diverged { .. })));
    pair.expect_copy(1, &[payload(1), payload(2)]);
}
