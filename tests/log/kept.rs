//! Copies that outlive processes in a file, and what headers know.

use crate::cases::both;
use crate::pair::{Pair, has, payload, plain};
use crate::process::node::config;
use crate::under_test;
use handfast::clients::mirrored_log::{Acknowledge, Acknowledgement, LogEvent, Lsn, MirroredLog};
use handfast::manager::ClusterManager;

/// Nothing is acknowledged then, and the one who asks is told why.
pub(crate) fn a_partner_that_keeps_no_file_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut pair = Pair::new("log-not-kept");
    pair.start_both([plain().acknowledge(Acknowledge::Persistent), plain()]);
    pair.until("an event", |pair| has(pair.side(0), |event| matches!(event, LogEvent::NotKept)));
    let lsn = pair.side(0).producer.append(b"x").expect("room");
    for _ in 0..1000 {
        pair.round();
    }
    assert!(pair.side(0).log.durable() <= lsn);
    assert_eq!(pair.side(0).events.iter().filter(|event| matches!(event, LogEvent::NotKept)).count(), 1, "told once");
    pair.end(1);
    pair.until_lost(0);
    pair.start(1, plain().keep(folder.path().join("kept")));
    pair.until("persisted", |pair| pair.side(0).log.durable() > lsn);
    // A folder that is not there is no place for a file, and said at once.
    let mut manager =
        ClusterManager::boot(under_test::fabric(), config(&format!("{}-nowhere", pair.name), 0)).expect("boot");
    let nowhere = plain().keep(folder.path().join("nowhere/kept"));
    let refused = MirroredLog::open(nowhere, &mut manager).expect_err("no folder").to_string();
    assert!(refused.contains("nowhere/kept") && refused.contains("ENOENT"), "{refused}");
}

/// What the header of the copy calls acknowledged lags behind by milliseconds, so that damage behind it is found.
pub(crate) fn a_copys_header_knows_what_was_acknowledged() {
    let mut pair = both("log-header");
    let (mut lsn, mut records) = (Lsn::ZERO, 0);
    for number in 0..20 {
        (lsn, records) = (pair.append(0, &payload(number)).0, records + 1);
    }
    let acknowledged = |pair: &mut Pair| {
        let records = pair.side(1).copy.records().expect("a readable copy").expect("a copy");
        records.header().acknowledged
    };
    pair.until("the header", |pair| acknowledged(pair) > lsn);
    assert_eq!(acknowledged(&mut pair), pair.side(0).log.durable());
    assert_eq!(pair.copied(1).len(), records);
}

pub(crate) fn persistent_records_outlive_both_processes() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("copy");
    let mut pair = Pair::new("log-persistent");
    let primary = || plain().acknowledge(Acknowledge::Persistent);
    let partner = || plain().keep(&kept);
    let mut payloads = Vec::new();
    for round in 0..4 {
        pair.start_both([primary(), partner()]);
        pair.until_mirrored(0);
        // What was freed last may be there still: the file follows the memory.
        let restored: Vec<Vec<u8>> = pair.own(0).into_iter().map(|record| record.payload).collect();
        assert!(restored.ends_with(&payloads), "round {round}: {} of {}", restored.len(), payloads.len());
        payloads = restored;
        for number in 0..40 {
            let bytes = payload(round * 100 + number);
            assert_eq!(pair.append(0, &bytes).1, Acknowledgement::Persistent);
            payloads.push(bytes);
        }
        let keep_from = pair.own(0)[payloads.len() - 50.min(payloads.len())].lsn;
        pair.side(0).log.truncate(keep_from).expect("a record's lsn");
        pair.until("freed", |pair| pair.side(0).log.status().tail == keep_from);
        payloads.drain(..payloads.len().saturating_sub(50));
        pair.end(0);
        pair.end(1);
    }
}
