//! Copies that outlive processes in a file, and what headers know.

use crate::cases::both;
use crate::pair::{Pair, RING, has, payload, plain};
use crate::process::folder_on_disk;
use crate::process::node::config;
use crate::under_test;
use handfast::clients::mirrored_log::{
    Acknowledge, Acknowledgement, CopyState, Doubt, LogConfig, LogError, LogEvent, LogHeader, Lsn, MirroredLog, OnLoss,
    Start,
    area::{EVIDENCE_OFFSET, RING_OFFSET},
};
use handfast::manager::ClusterManager;
use handfast::memory::Backing;
use std::time::{Duration, Instant};

/// Nothing is acknowledged then, and the one who asks is told why.
pub(crate) fn a_partner_that_keeps_no_file_is_told_of() {
    let folder = folder_on_disk();
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

/// The ring's header lags behind by milliseconds too: a ring that lost its end is no whole one, and the partner's copy stays as it is.
pub(crate) fn a_ring_that_lost_its_end_does_not_begin_alone() {
    let folder = folder_on_disk();
    let ring = folder.path().join("ring");
    let alone = || OnLoss::GoOnAlone { term_file: folder.path().join("term") };
    let log = || plain().backing(Backing::File(ring.clone())).on_loss(alone());
    let mut pair = Pair::new("log-lost-end");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    let payloads: Vec<Vec<u8>> = (0..20).map(payload).collect();
    let mut ends = Vec::new();
    for bytes in &payloads {
        ends.push(pair.append(0, bytes).0);
    }
    let durable = pair.side(0).log.durable();
    let kept = || LogHeader::read(&std::fs::File::open(&ring).expect("a ring")).expect("a header").acknowledged;
    pair.until("the ring's header", |_| kept() == durable);
    // One more, and its process ends in order before the next header is due.
    pair.append(0, b"last");
    let durable = pair.side(0).log.durable();
    pair.end(0);
    pair.until_lost(1);
    assert_eq!(kept(), durable, "the end is told");
    // The power is cut: what follows the tenth record never reached the disk.
    let mut bytes = std::fs::read(&ring).expect("a ring");
    bytes[RING_OFFSET as usize + ends[10].0 as usize..].fill(0);
    std::fs::write(&ring, &bytes).expect("a ring");
    pair.start(0, log());
    let begun = pair.side(0).poller.begin_alone();
    assert!(
        matches!(begun, Err(LogError::Damaged { end, acknowledged, .. }) if end == ends[10] && acknowledged == durable)
    );
    // With its partner it is whole again.
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), payloads.len() + 1);
    assert_eq!(pair.copied(1).len(), payloads.len() + 1);
}

/// The power is cut while a log runs: what its ring's file lacks nobody knows, so it begins with its partner, or where a person says so.
pub(crate) fn a_ring_from_before_a_power_cut_does_not_begin_alone() {
    let folder = folder_on_disk();
    let ring = folder.path().join("ring");
    let alone = || OnLoss::GoOnAlone { term_file: folder.path().join("term") };
    let log = || plain().backing(Backing::File(ring.clone())).on_loss(alone());
    let mut pair = Pair::new("log-power-cut");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    for number in 0..10 {
        pair.append(0, &payload(number));
    }
    let running = std::fs::read(&ring).expect("a ring");
    let put = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = running.clone();
        change(&mut bytes[EVIDENCE_OFFSET as usize..][..64]);
        std::fs::write(&ring, bytes).expect("a ring");
    };
    let other_boot = |mark: &mut [u8]| {
        mark[32] ^= 1;
        let checksum = crc32c::crc32c(&mark[..60]);
        mark[60..].copy_from_slice(&checksum.to_le_bytes());
    };
    let begin = |pair: &mut Pair, log: LogConfig| {
        // It goes on alone each time, and the next ring is from before.
        let _ = std::fs::remove_file(folder.path().join("term"));
        pair.start(0, log);
        let begun = pair.side(0).poller.begin_alone();
        let records = begun.as_ref().map(|()| pair.own(0).len()).map_err(LogError::clone);
        pair.end(0);
        records
    };
    pair.end(0);
    pair.until_lost(1);
    assert_eq!(begin(&mut pair, log()), Ok(10), "after an end in order");
    put(&|_| {});
    assert_eq!(begin(&mut pair, log()), Ok(10), "after a crash within one boot");
    put(&other_boot);
    let refused = begin(&mut pair, log());
    assert!(matches!(refused, Err(LogError::MayLack { doubt: Doubt::OtherBoot, .. })), "{refused:?}");
    put(&|mark| mark.fill(0));
    let refused = begin(&mut pair, log());
    assert!(matches!(refused, Err(LogError::MayLack { doubt: Doubt::NoMark, .. })), "{refused:?}");
    assert_eq!(begin(&mut pair, log().start(Start::GiveUpMissing)), Ok(10), "a person has decided");
    put(&other_boot);
    // The term under which it went alone since lies beside: what was acknowledged then is nowhere.
    pair.start(0, log());
    pair.until("the end", |pair| has(pair.side(0), |event| matches!(event, LogEvent::Ended(LogError::MayLack { .. }))));
    pair.end(0);
    std::fs::remove_file(folder.path().join("term")).expect("the term file");
    pair.start(0, log());
    pair.until_mirrored(0);
    assert_eq!((pair.own(0).len(), pair.copied(1).len()), (10, 10), "with its partner it goes on");
}

pub(crate) fn persistent_records_outlive_both_processes() {
    let folder = folder_on_disk();
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

/// Until the new log is whole there, the partner keeps the old one.
pub(crate) fn a_new_log_that_is_not_whole_yet_does_not_cost_the_old_one() {
    let mut pair = both("log-begun");
    let payloads: Vec<Vec<u8>> = (0..40).map(payload).collect();
    for bytes in &payloads {
        pair.append(0, bytes);
    }
    let old = pair.side(1).copy.status().history;
    pair.end(0);
    pair.until_lost(1);
    pair.start(0, plain().start(Start::New).batch_bytes_max(4096).batches_max(1));
    // A step of its owner at a time, and the partner's housekeeping between any two.
    let (mut refilling, deadline) = (false, Instant::now() + Duration::from_secs(20));
    loop {
        assert!(Instant::now() < deadline, "not whole in time");
        for index in [0, 1] {
            let side = pair.side(index);
            while side.manager.poll().is_some() {}
            for _ in 0..[1, 64][index] {
                side.poller.poll();
            }
        }
        let status = pair.side(1).copy.status();
        assert_eq!(status.state, CopyState::Whole, "{status:?}");
        if status.history != old {
            break;
        }
        pair.expect_copy(1, &payloads);
        refilling |= pair.side(0).log.status().history.is_some();
    }
    assert!(refilling, "the new log was open before it was whole there");
}

pub(crate) fn what_cannot_be_gone_on_with_is_told_and_kept() {
    let name = format!("{}.ring", Pair::new("log-unusable").name);
    let path = std::path::Path::new("/dev/shm").join(&name);
    let ring = || plain().backing(Backing::SharedMemory(name.clone()));
    let open = |title: &str, log: LogConfig| -> Result<String, String> {
        let name = format!("{title}-{}", std::process::id());
        let mut manager =
            ClusterManager::boot(under_test::fabric(), config(&name, 0)).map_err(|error| error.to_string())?;
        let opened = MirroredLog::open(log, &mut manager).map_err(|error| error.to_string())?;
        let (log, mut poller, _) = opened;
        let alone = poller.begin_alone();
        assert_eq!(alone, Err(LogError::Alone), "it is not set up to go on alone");
        assert_eq!(log.status().history, None, "and nothing is opened");
        Ok(String::new())
    };
    let mut pair = Pair::new("log-unusable-pair");
    pair.start_both([ring(), plain()]);
    pair.until_mirrored(0);
    pair.append(0, &payload(1));
    drop(pair);
    let before = std::fs::read(&path).expect("a ring");
    let refused = open("unusable-size", ring().ring_bytes(2 * RING)).expect_err("another size");
    assert!(refused.contains(&name) && refused.contains("ring_bytes says"), "{refused}");
    assert_eq!(open("unusable-not", ring()), Ok(String::new()), "as it was");
    let mut damaged = before.clone();
    (damaged[0], damaged[4096]) = (b'x', b'x');
    std::fs::write(&path, &damaged).expect("a ring");
    let refused = open("unusable-damaged", ring()).expect_err("no header");
    assert!(refused.contains(&name) && refused.contains("copy 0"), "{refused}");
    assert_eq!(std::fs::read(&path).expect("a ring")[..damaged.len()], damaged[..], "it was left as it is");
    assert_eq!(open("unusable-new", ring().start(Start::New)), Ok(String::new()));
    std::fs::remove_file(path).expect("the ring's file");
    let elsewhere = folder_on_disk();
    let nonsense = elsewhere.path().join("kept");
    std::fs::write(&nonsense, b"").expect("a file");
    let refused = open("unusable-kept", plain().keep(&nonsense)).expect_err("no log");
    assert!(refused.contains("kept, which keeps the partner's log, cannot be gone on with"), "{refused}");
}
