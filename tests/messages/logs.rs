//! Remedies of a log and its producers: options, records, and who may go on with it.

use crate::files::told_at_its_end;
use crate::pair::{Pair, RING, plain};
use crate::process::folder_on_disk;
use crate::process::node::config;
use crate::under_test;
use handfast::clients::mirrored_log::area::RING_OFFSET;
use handfast::clients::mirrored_log::{
    Acknowledge, Acknowledgement, LogConfig, LogError, Lsn, MirroredLog, OnLoss, Records, Start,
};
use handfast::manager::ClusterManager;
use handfast::memory::Backing;
use std::fs::File;
use std::time::{Duration, Instant};

fn mirrored(title: &str) -> Pair {
    let mut pair = Pair::new(title);
    pair.start_both([plain(), plain()]);
    pair.until_mirrored(0);
    pair
}

#[test]
fn options_are_set_as_their_refusals_say() {
    let name = format!("messages-options-{}", std::process::id());
    let open = |log: LogConfig| {
        let mut manager = ClusterManager::boot(under_test::fabric(), config(&name, 0)).expect("boot");
        MirroredLog::open(log, &mut manager).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let shared = Backing::Shared { read_only_elsewhere: false };
    let age = |micros| plain().heartbeat_age_max(Duration::from_micros(micros));
    for (refused, wanted, mended) in [
        (plain().ring_bytes(100_000), "ask for a power of two, from 65536 to", plain().ring_bytes(65_536)),
        (plain().ring_bytes(32_768), "ask for a power of two, from 65536 to", plain().ring_bytes(131_072)),
        (plain().batch_bytes_max(1), "batch_bytes_max is 1: allowed are 4096 to", plain().batch_bytes_max(4096)),
        (plain().batches_max(65), "allowed are 1 to 64", plain().batches_max(64)),
        (age(4999), "allowed are 5000 to 10000000", age(5000)),
        (plain().backing(shared), "take private memory, shared memory of this node's own, or a file", plain()),
    ] {
        let told = open(refused);
        assert!(told.contains(wanted), "{wanted} is missing from: {told}");
        assert_eq!(open(mended), "", "{wanted}: the remedy does not help");
    }
}

#[test]
fn a_record_is_taken_as_its_refusal_says() {
    let mut pair = mirrored("messages-record");
    let long = vec![7; RING as usize / 4];
    let told = pair.side(0).producer.append(&long).expect_err("too long").to_string();
    assert!(told.contains("a larger ring takes a quarter of it"), "{told}");
    drop(pair);
    let mut pair = Pair::new("messages-larger");
    pair.start_both([plain().ring_bytes(2 * RING), plain()]);
    pair.until_mirrored(0);
    let (first, _) = pair.append(0, &long);
    let (second, _) = pair.append(0, b"short");
    let told = pair.side(0).log.truncate(Lsn(second.0 + 32)).expect_err("past the end").to_string();
    assert!(told.contains(&format!("give the lsn of a record from {first} to")), "{told}");
    pair.side(0).log.truncate(second).expect("the lsn of a record");
    // Memory with a name gives nothing in place.
    drop(pair);
    let folder = folder_on_disk();
    let mut pair = Pair::new("messages-in-place");
    pair.start_both([plain().backing(Backing::File(folder.path().join("ring"))), plain()]);
    pair.until_mirrored(0);
    let told = pair.side(0).producer.reserve(8).expect_err("in place").to_string();
    assert!(told.contains("use `append`, or `LogConfig::in_place`"), "{told}");
    pair.append(0, b"appended");
}

#[test]
fn a_log_goes_on_alone_once_it_is_set_up_for_that() {
    let folder = folder_on_disk();
    let mut pair = mirrored("messages-alone");
    pair.end(1);
    pair.until_lost(0);
    let told = pair.side(0).poller.begin_alone().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told.is_empty() || told.contains("see OnLoss::GoOnAlone"), "{told}");
    pair.end(0);
    let alone = || OnLoss::GoOnAlone { term_file: folder.path().join("term") };
    pair.start(0, plain());
    let told = pair.side(0).poller.begin_alone().expect_err("not set up for it").to_string();
    assert!(told.contains("see OnLoss::GoOnAlone"), "{told}");
    pair.end(0);
    pair.start(0, plain().on_loss(alone()));
    pair.side(0).poller.begin_alone().expect("set up for it");
    assert_eq!(pair.append(0, b"alone").1, Acknowledgement::Alone);
}

#[test]
fn a_wait_that_came_too_late_finds_its_cause_in_the_events() {
    let mut pair = mirrored("messages-late");
    pair.end(1);
    pair.until_lost(0);
    let lsn = pair.side(0).producer.append(b"waits").expect("room");
    let late = pair.side(0).log.wait_until(lsn, Instant::now() + Duration::from_millis(20));
    let told = late.expect_err("no partner").to_string();
    assert!(told.contains("LogPoller::next_event tells why: no partner"), "{told}");
    pair.start(1, plain());
    pair.until("acknowledged", |pair| pair.side(0).log.durable() > lsn);
}

#[test]
fn a_copy_is_taken_over_once_the_session_is_lost() {
    let mut pair = mirrored("messages-takeover");
    pair.append(0, b"a record");
    let term = pair.side(0).log.status().term;
    let told = pair.side(1).copy.take_over(term, false).expect_err("refused").to_string();
    assert!(told.contains("Take over once the session is lost (the partner ended, or this node left)"), "{told}");
    pair.end(0);
    pair.until_lost(1);
    let higher = handfast::clients::mirrored_log::Term(term.0 + 5);
    let told = pair.side(1).copy.take_over(higher, false).expect_err("refused").to_string();
    assert!(told.contains("call LogCopy::take_over with `force`"), "{told}");
    assert_eq!(pair.side(1).copy.take_over(higher, true).expect("by force").count(), 1);
    // The owner comes back, and is told what to do.
    pair.start(0, plain());
    let told = told_at_its_end(&mut pair, 0);
    assert!(told.contains("Take this node's data from there, then start with Start::New"), "{told}");
    assert_eq!(pair.copied(1).len(), 1, "the data is there to be taken");
    pair.end(0);
    pair.until_lost(1);
    pair.start(0, plain().start(Start::New));
    pair.until_mirrored(0);
    pair.append(0, b"a new log");
}

#[test]
fn of_two_logs_one_is_begun_anew_or_the_wrong_one_moved_away() {
    let folder = folder_on_disk();
    let (path, kept) = (folder.path().join("ring"), folder.path().join("kept"));
    let ring = || plain().backing(Backing::File(path.clone()));
    let other = |title: &str| {
        // The partner holds another log: of this node's name, from before.
        let mut pair = Pair::new(title);
        pair.start_both([ring(), plain()]);
        pair.until_mirrored(0);
        pair.append(0, b"this one");
        pair.end(0);
        pair.end(1);
        let mine = std::fs::read(&path).expect("a ring");
        std::fs::remove_file(&path).expect("a ring");
        pair.start_both([ring(), plain().keep(&kept)]);
        pair.until_mirrored(0);
        pair.append(0, b"another one");
        pair.end(0);
        pair.until_lost(1);
        std::fs::write(&path, mine).expect("brought back");
        pair.start(0, ring());
        let told = told_at_its_end(&mut pair, 0);
        let advice = "nothing tells which one counts. Start with Start::New, which gives the partner's up; or";
        assert!(told.contains(advice), "{told}");
        pair.end(0);
        pair
    };
    let mut pair = other("messages-histories");
    pair.start(0, ring().start(Start::New));
    pair.until_mirrored(0);
    drop(pair);
    std::fs::remove_file(&path).expect("a ring");
    std::fs::remove_file(&kept).expect("a copy");
    let mut pair = other("messages-histories-ring");
    std::fs::rename(&path, folder.path().join("wrong")).expect("moved away");
    pair.start(0, ring());
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).first().map(|record| record.payload.clone()), Some(b"another one".to_vec()));
    drop(pair);
    std::fs::remove_file(&path).expect("a ring");
    std::fs::remove_file(&kept).expect("a copy");
    let mut pair = other("messages-histories-copy");
    pair.end(1);
    std::fs::rename(&kept, folder.path().join("wrong-copy")).expect("moved away");
    pair.start_both([ring(), plain().keep(&kept)]);
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).first().map(|record| record.payload.clone()), Some(b"this one".to_vec()));
}

#[test]
fn a_log_ends_with_its_manager_and_not_beside_it() {
    let mut pair = mirrored("messages-manager");
    let side = pair.take(0);
    let (manager, log, mut poller) = (side.manager, side.log, side.poller);
    drop(manager);
    let began = Instant::now();
    let lsn = side.producer.append(b"unheard");
    let told = loop {
        poller.poll();
        match log.wait_until(log.durable(), Instant::now() + Duration::from_millis(5)) {
            Err(LogError::Late { .. }) => {}
            Err(error) => break error.to_string(),
            Ok(standing) => panic!("acknowledged: {standing:?}, {lsn:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it goes on without its manager");
    };
    assert!(told.contains("Keep the manager, or its control thread, for as long as the log"), "{told}");
    drop((log, poller));
    pair.until_lost(1);
    pair.start(0, plain());
    pair.until_mirrored(0);
    pair.append(0, b"heard");
}

#[test]
fn a_log_that_a_state_file_alone_knows_of_is_found_or_given_up() {
    let folder = folder_on_disk();
    let log = || plain().acknowledge(Acknowledge::Persistent).state_file(folder.path().join("state"));
    let keeps = || plain().keep(folder.path().join("kept"));
    let mut pair = Pair::new("messages-state");
    pair.start_both([log(), keeps()]);
    pair.until_mirrored(0);
    pair.append(0, b"a record");
    pair.end(0);
    pair.end(1);
    let lost = |pair: &mut Pair| {
        pair.start_both([log(), plain()]);
        let told = told_at_its_end(pair, 0);
        assert!(told.contains("Start the partner where it has a copy"), "{told}");
        assert!(told.contains("start once with Start::GiveUpMissing, which begins a new log"), "{told}");
        pair.end(0);
        pair.end(1);
    };
    lost(&mut pair);
    pair.start_both([log(), keeps()]);
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), 1, "the partner has it");
    pair.end(0);
    pair.end(1);
    lost(&mut pair);
    pair.start_both([log().start(Start::GiveUpMissing), plain()]);
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), 0, "given up");
}

#[test]
fn a_copy_that_lacks_records_is_taken_over_by_force() {
    let folder = folder_on_disk();
    let path = folder.path().join("kept");
    let keeps = || plain().keep(&path);
    for (level, wanted) in [
        (Acknowledge::Placed, "it may lack acknowledged records. Take the other node's log, or give them up"),
        (Acknowledge::Persistent, "it is damaged. To give them up, call LogCopy::take_over with `force`"),
    ] {
        let mut pair = Pair::new("messages-force");
        pair.start_both([plain().acknowledge(level), keeps()]);
        pair.until_mirrored(0);
        let lsns = [0; 10].map(|byte| pair.append(0, &[byte; 100]).0);
        let count = |file| Records::open(file).map(Iterator::count).unwrap_or(0);
        let is_whole = || File::open(&path).is_ok_and(|file| count(file) == 10);
        pair.until("the file", |_| is_whole());
        let known = |pair: &mut Pair| {
            let records = pair.side(1).copy.records().expect("a readable copy").expect("a copy");
            records.header().acknowledged
        };
        pair.until("the header", |pair| known(pair) > lsns[9]);
        // As a kill leaves it, and for the second one with a record that the disk lost.
        let mut left = std::fs::read(&path).expect("a file");
        pair.end(0);
        pair.until_lost(1);
        pair.end(1);
        if level == Acknowledge::Persistent {
            left = std::fs::read(&path).expect("a file");
            left[RING_OFFSET as usize + lsns[5].0 as usize..][..64].fill(0);
        }
        std::fs::write(&path, left).expect("brought back");
        pair.start(1, keeps());
        let term = pair.side(1).copy.status().term;
        let told = pair.side(1).copy.take_over(term, false).expect_err("refused").to_string();
        assert!(told.contains(wanted), "{wanted} is missing from: {told}");
        let forced = pair.side(1).copy.take_over(term, true).expect("by force").count();
        assert_eq!(forced, if level == Acknowledge::Persistent { 5 } else { 10 });
        drop(pair);
        for entry in std::fs::read_dir(folder.path()).expect("a folder").flatten() {
            std::fs::remove_file(entry.path()).expect("a file");
        }
    }
}

#[test]
fn a_reader_that_was_overrun_begins_anew() {
    let mut pair = mirrored("messages-overrun");
    pair.append(0, b"one");
    pair.append(0, b"two");
    let mut records = pair.side(1).copy.records().expect("readable").expect("a copy");
    assert!(records.next_entry().expect("a record").is_some());
    let (last, _) = pair.append(0, b"three");
    pair.side(0).log.truncate(last).expect("a record's lsn");
    pair.until("freed", |pair| pair.side(1).copy.status().tail == last);
    let told = records.resume().expect_err("overrun").to_string();
    assert!(told.contains("begin anew, from a base image"), "{told}");
    assert_eq!(pair.copied(1).into_iter().map(|record| record.payload).collect::<Vec<_>>(), [b"three".to_vec()]);
}
