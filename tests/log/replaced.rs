//! What a node holds stays until its replacement is whole, and nothing is replaced that nobody gave up.

use crate::pair::{Pair, RING, has, payload, plain};
use crate::places::records;
use crate::process::folder_on_disk;
use crate::survives::other_boot;
use handfast::clients::mirrored_log::{
    Acknowledge, Acknowledgement, CopyState, Doubt, LogConfig, LogError, LogEvent, OnLoss, Records, Start, Term,
    area::EVIDENCE_OFFSET,
};
use handfast::memory::Backing;
use handfast::storage::StorageError;
use std::path::Path;
use std::time::Duration;

/// Large enough for a restore of many rounds.
const LARGE: u64 = 16 << 20;

fn large() -> LogConfig {
    plain().ring_bytes(LARGE)
}

fn alone(folder: &Path) -> OnLoss {
    OnLoss::GoOnAlone { term_file: folder.join("term") }
}

/// The partner of a node with an older ring ends while the node restores from it; the next partner has nothing.
pub(crate) fn a_restore_that_ends_in_the_middle_leaves_the_ring_as_it_was() {
    for in_memory in [false, true] {
        let folder = folder_on_disk();
        let name = format!("handfast-replaced-{}", std::process::id());
        let path = if in_memory { Path::new("/dev/shm").join(&name) } else { folder.path().join("ring") };
        let backing = if in_memory { Backing::SharedMemory(name) } else { Backing::File(path.clone()) };
        let log = || large().backing(backing.clone());
        let mut pair = Pair::new("log-restore-cut");
        pair.start_both([log(), large()]);
        pair.until_mirrored(0);
        for number in 0..10 {
            pair.append(0, &payload(number));
        }
        pair.end(0);
        pair.until_lost(1);
        let older = std::fs::read(&path).expect("a ring");
        pair.start(0, log());
        pair.until_mirrored(0);
        let long = vec![7; 1 << 20];
        for _ in 0..12 {
            pair.append(0, &long);
        }
        pair.end(0);
        // Somebody brings back a ring of days ago.
        std::fs::write(&path, &older).expect("a ring");
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let beside = Path::new(&beside);
        pair.polls = 1;
        pair.start(0, log());
        pair.until("a restore", |_| beside.exists());
        pair.end(1);
        pair.until_lost(0);
        pair.polls = 64;
        assert!(pair.side(0).log.status().history.is_none(), "it is not open yet");
        pair.start(1, large());
        pair.until("the end", |pair| has(pair.side(0), |event| matches!(event, LogEvent::Ended(_))));
        let ended = pair.side(0).events.iter().find_map(|event| match event {
            LogEvent::Ended(error) => Some(error.clone()),
            _ => None,
        });
        let lacks = |error: &LogError| matches!(error, LogError::MayLack { doubt: Doubt::PartnerHadMore, .. });
        assert!(ended.as_ref().is_some_and(lacks), "{ended:?}");
        pair.end(0);
        assert!(!beside.exists(), "what was given up is gone");
        // Another process knows it too, and a person may give it up.
        pair.start(0, log());
        let is_known = |event: &LogEvent| matches!(event, LogEvent::Ended(error) if lacks(error));
        pair.until("the end", |pair| has(pair.side(0), is_known));
        pair.end(0);
        pair.start(0, log().start(Start::GiveUpMissing));
        pair.until_mirrored(0);
        assert_eq!(pair.own(0).len(), 10, "the ring is as it was");
        pair.end(0);
        let _ = std::fs::remove_file(&path);
    }
}

/// The whole way: the ring of days ago is replaced by what the partner has, under its own name.
pub(crate) fn a_restored_ring_takes_the_place_of_the_older_one() {
    let folder = folder_on_disk();
    let path = folder.path().join("ring");
    let log = || plain().backing(Backing::File(path.clone())).on_loss(alone(folder.path()));
    let mut pair = Pair::new("log-restored");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    pair.append(0, &payload(0));
    let older = std::fs::read(&path).expect("a ring");
    for number in 1..20 {
        pair.append(0, &payload(number));
    }
    pair.end(0);
    std::fs::write(&path, &older).expect("a ring");
    pair.start(0, log());
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), 20);
    pair.append(0, &payload(20));
    pair.end(0);
    // By its name alone.
    pair.end(1);
    pair.start(0, log());
    pair.side(0).poller.begin_alone().expect("a whole ring");
    assert_eq!(pair.own(0).len(), 21);
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{left:?}");
}

/// A node whose ring is gone begins alone, and its partner comes with the full log: each of both holds what the other lacks.
pub(crate) fn a_log_that_began_alone_does_not_replace_the_partners() {
    let folder = folder_on_disk();
    let log = || plain().on_loss(alone(folder.path()));
    let mut pair = Pair::new("log-diverged");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    let payloads: Vec<Vec<u8>> = (0..10).map(payload).collect();
    for bytes in &payloads {
        pair.append(0, bytes);
    }
    pair.end(0);
    pair.until_lost(1);
    pair.side(1).events.clear();
    pair.start(0, log());
    pair.side(0).poller.begin_alone().expect("it never went alone before");
    assert_eq!(pair.append(0, b"alone").1, Acknowledgement::Alone);
    pair.until("words", |pair| has(pair.side(0), |event| matches!(event, LogEvent::Diverged { .. })));
    for number in 0..50 {
        assert_eq!(pair.append(0, &payload(number)).1, Acknowledgement::Alone, "it goes on");
    }
    assert_eq!(pair.side(1).copy.status().state, CopyState::Whole);
    pair.expect_copy(1, &payloads);
    assert_eq!(pair.side(0).events.iter().filter(|event| matches!(event, LogEvent::Diverged { .. })).count(), 1);
    pair.end(0);
    pair.until_lost(1);
    // Now its term file says that it went alone: it does not begin with nothing once more.
    pair.start(0, log());
    assert_eq!(pair.side(0).poller.begin_alone(), Err(LogError::RingLost { kept: Term(2) }));
    pair.until("the end", |pair| {
        has(pair.side(0), |event| matches!(event, LogEvent::Ended(LogError::AloneLost { .. })))
    });
    pair.expect_copy(1, &payloads);
    pair.end(0);
    pair.until_lost(1);
    // A person gives up what was acknowledged alone, and the partner's copy is gone on with.
    pair.start(0, log().start(Start::GiveUpMissing));
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), 10);
    pair.append(0, b"on");
    assert!(pair.side(0).log.status().term >= Term(2), "no term is used twice");
    pair.end(0);
    pair.until_lost(1);
    // Or the partner's copy.
    pair.start(0, log().start(Start::New));
    pair.until_mirrored(0);
    assert_eq!(pair.copied(1).len(), 0);
}

/// Under `Persistent` what is acknowledged alone is on this disk: after a power cut the ring is gone on with. What the partner acknowledged need
/// not be, so that a ring from before a power cut is no whole one as long as there is a partner.
pub(crate) fn alone_under_persistent_waits_for_its_own_disk() {
    let folder = folder_on_disk();
    let path = folder.path().join("ring");
    let log = || {
        let log = plain().acknowledge(Acknowledge::Persistent).on_loss(alone(folder.path()));
        log.backing(Backing::File(path.clone()))
    };
    let mut pair = Pair::new("log-alone-disk");
    pair.start_both([log(), plain().keep(folder.path().join("kept"))]);
    pair.until_mirrored(0);
    let count = 3 * usize::try_from(RING).expect("a ring") / 1500;
    let mut payloads = Vec::new();
    for round in 0..2 {
        for number in 0..10 {
            payloads.push(payload(number));
            assert_eq!(pair.append(0, &payload(number)).1, Acknowledgement::Persistent);
        }
        let mirrored = std::fs::read(&path).expect("a ring");
        pair.end(1);
        pair.until_lost(0);
        // Several laps: what is freed is freed on the disk first.
        for number in 0..count {
            payloads.push(payload(number));
            assert_eq!(pair.append(0, &payload(number)).1, Acknowledgement::Alone);
            let durable = pair.side(0).log.durable();
            if number % 40 == 39 {
                pair.side(0).log.truncate(durable).expect("acknowledged");
                payloads.clear();
            }
        }
        let by_itself = std::fs::read(&path).expect("a ring");
        pair.side(0).events.clear();
        pair.start(1, plain().keep(folder.path().join("kept")));
        pair.until_mirrored(0);
        if round == 0 {
            continue;
        }
        pair.end(0);
        pair.end(1);
        for (ring, vouches) in [(mirrored, false), (by_itself, true)] {
            std::fs::write(&path, other_boot(&ring)).expect("a ring");
            pair.start(0, log());
            let begun = pair.side(0).poller.begin_alone();
            if vouches {
                begun.expect("all of it is on the disk");
                let found: Vec<Vec<u8>> = pair.own(0).into_iter().map(|record| record.payload).collect();
                assert!(found == payloads, "{} of {}", found.len(), payloads.len());
            } else {
                assert!(matches!(begun, Err(LogError::MayLack { doubt: Doubt::OtherBoot, .. })), "{begun:?}");
            }
            pair.end(0);
        }
    }
}

/// Both lost everything: that there was a log is known by the term file.
pub(crate) fn a_log_that_went_alone_and_is_lost_is_not_begun_anew_unasked() {
    let folder = folder_on_disk();
    let log = || plain().on_loss(alone(folder.path()));
    let mut pair = Pair::new("log-lost");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    pair.end(1);
    pair.until_lost(0);
    assert_eq!(pair.append(0, b"alone").1, Acknowledgement::Alone);
    pair.end(0);
    pair.start_both([log(), plain()]);
    let lost = |event: &LogEvent| matches!(event, LogEvent::Ended(LogError::RingLost { kept: Term(2) }));
    pair.until("the end", |pair| has(pair.side(0), lost));
    pair.end(0);
    pair.start(0, log().start(Start::GiveUpMissing));
    pair.until_mirrored(0);
}

/// A ring of another log, or another node, is no ring of this one; nor is any other file.
pub(crate) fn a_ring_of_others_is_refused_by_name() {
    let folder = folder_on_disk();
    let path = folder.path().join("ring");
    let log = || plain().backing(Backing::File(path.clone()));
    let mut pair = Pair::new("log-ring-owner");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    pair.append(0, b"mine");
    pair.end(0);
    let mine = std::fs::read(&path).expect("a ring");
    let refused = crate::places::refused(&format!("{}-b", pair.name), 1, log()).to_string();
    assert!(refused.contains("ring of log wal of node") && refused.contains("is left as it is"), "{refused}");
    assert!(std::fs::read(&path).expect("a ring") == mine);
    // Where a new ring would grow lies something else.
    let beside = folder.path().join("ring.new");
    std::fs::write(&beside, b"a thesis").expect("a file");
    pair.start(0, log().start(Start::New));
    let ended = |event: &LogEvent| matches!(event, LogEvent::Ended(LogError::Unusable { .. }));
    pair.until("the end", |pair| has(pair.side(0), ended));
    assert_eq!(std::fs::read(&beside).expect("a file"), b"a thesis");
    pair.end(0);
    assert!(std::fs::read(&path).expect("a ring") == mine);
}

/// The partner keeps a file, and acknowledgements do not wait for it. Both processes are killed: what is in the file may be short, and is called so.
pub(crate) fn a_kept_file_vouches_only_for_what_waited_for_it() {
    for level in [Acknowledge::Placed, Acknowledge::Persistent] {
        let folder = folder_on_disk();
        let path = folder.path().join("kept");
        let (log, partner) = (|| plain().acknowledge(level), || plain().keep(path.clone()));
        let mut pair = Pair::new("log-vouch");
        pair.start_both([log(), partner()]);
        pair.until_mirrored(0);
        let payloads: Vec<Vec<u8>> = (0..10).map(payload).collect();
        for bytes in &payloads {
            pair.append(0, bytes);
        }
        pair.until("the file", |_| path.exists() && records(&path) == 10);
        let running = std::fs::read(&path).expect("a file");
        pair.end(0);
        pair.end(1);
        // After an end in order.
        pair.start(1, partner());
        assert_eq!(pair.side(1).copy.status().state, CopyState::Whole);
        pair.start(0, log());
        pair.polls = 1;
        pair.until("an open log", |pair| {
            let is_open = pair.side(0).log.status().history.is_some();
            let flags = std::fs::read(&path).expect("a file")[EVIDENCE_OFFSET as usize + 12];
            // Before anything can be acknowledged in this session the file says no more that it has everything.
            assert!(!is_open || flags == 0 || level == Acknowledge::Persistent, "{flags}");
            is_open
        });
        pair.polls = 64;
        pair.until_mirrored(0);
        assert_eq!(pair.own(0).len(), 10);
        pair.end(0);
        pair.end(1);
        // After the kill of both.
        std::fs::write(&path, &running).expect("a file");
        pair.start(1, partner());
        if level == Acknowledge::Persistent {
            assert_eq!(pair.side(1).copy.status().state, CopyState::Whole);
            pair.side(1).copy.take_over(Term(1), false).expect("all that was acknowledged is there");
            continue;
        }
        assert_eq!(pair.side(1).copy.status().state, CopyState::MayLack);
        let refused = pair.side(1).copy.take_over(Term(1), false).map(|records| *records.header());
        assert!(refused.as_ref().is_err_and(|error| error.to_string().contains("may lack")), "{refused:?}");
        pair.start(0, log());
        let ended = |event: &LogEvent| matches!(event, LogEvent::Ended(LogError::NotWorthy { .. }));
        pair.until("the end", |pair| has(pair.side(0), ended));
        pair.end(0);
        pair.until_lost(1);
        // A session changed nothing of it.
        assert_eq!(pair.side(1).copy.status().state, CopyState::MayLack);
        pair.start(0, log().start(Start::GiveUpMissing));
        pair.until_mirrored(0);
        assert_eq!(pair.own(0).len(), 10);
        assert_eq!(pair.side(1).copy.status().state, CopyState::Whole);
    }
}

/// The partner has a longer log on its disk, and a new one takes its place: what the disk has of the old one counts for nothing of the new one.
pub(crate) fn what_the_disk_has_of_another_log_acknowledges_nothing() {
    let folder = folder_on_disk();
    let kept = folder.path().join("kept");
    let log = || plain().acknowledge(Acknowledge::Persistent);
    let mut pair = Pair::new("log-other-persisted");
    pair.start_both([log(), plain().keep(kept.clone())]);
    pair.until_mirrored(0);
    for _ in 0..60 {
        pair.append(0, &[1; 2000]);
    }
    pair.end(0);
    pair.until_lost(1);
    pair.start(0, log().start(Start::New));
    pair.until_mirrored(0);
    for number in 1..=40 {
        assert_eq!(pair.append(0, &[2; 2000]).1, Acknowledgement::Persistent);
        let file = std::fs::File::open(&kept).expect("a file");
        let found = Records::open(file).expect("a log").flatten().filter(|record| record.payload[0] == 2).count();
        assert!(found >= number, "{number} are acknowledged, and {found} are in the file");
    }
}

/// Beside a ring lies a file of this log, or another log's ring in use, under the name that a new ring would have.
pub(crate) fn a_new_ring_is_made_over_no_file_of_others() {
    let folder = folder_on_disk();
    let (path, beside) = (folder.path().join("ring"), folder.path().join("ring.new"));
    let log = || plain().backing(Backing::File(path.clone()));
    let other = || plain().backing(Backing::File(beside.clone()));
    let mut pair = Pair::new("log-ring-beside");
    let refused = crate::places::refused_at_all(&format!("{}-x", pair.name), 0, log().keep(beside.clone()));
    assert!(matches!(refused, LogError::SameFile { .. }), "{refused}");
    let mut theirs = Pair::new("log-ring-theirs");
    theirs.start_both([other(), plain()]);
    theirs.until_mirrored(0);
    theirs.append(0, b"theirs");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    pair.append(0, b"mine");
    pair.end(0);
    pair.until_lost(1);
    pair.start(0, log().start(Start::New));
    let ended = |event: &LogEvent| matches!(event, LogEvent::Ended(LogError::Unusable { .. }));
    pair.until("the end", |pair| has(pair.side(0), ended));
    theirs.append(0, b"theirs still");
    theirs.end(0);
    theirs.end(1);
    assert!(
        beside.exists() && Records::open(std::fs::File::open(&beside).expect("a ring")).expect("a log").count() == 2
    );
}

fn take_away(path: &Path, what: &str) {
    match what {
        // No record of these cases lies behind: whoever touches memory behind the end of its file is killed.
        "cut short" => std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(RING / 2)),
        "removed" => std::fs::remove_file(path),
        _ => std::fs::remove_file(path).and_then(|()| std::fs::write(path, b"a letter")),
    }
    .expect("a ring");
}

/// As systemd does with what a user has in /dev/shm, at the logout.
pub(crate) fn a_ring_that_others_take_away_is_told_of() {
    for (in_memory, gone) in
        [(false, "removed"), (false, "replaced by another file"), (true, "removed"), (true, "cut short")]
    {
        let folder = folder_on_disk();
        let name = format!("handfast-gone-{}-{}", std::process::id(), gone.len());
        let path = if in_memory { Path::new("/dev/shm").join(&name) } else { folder.path().join("ring") };
        let backing = if in_memory { Backing::SharedMemory(name) } else { Backing::File(path.clone()) };
        let mut pair = Pair::new("log-ring-gone");
        pair.start_both([plain().backing(backing), plain()]);
        pair.until_mirrored(0);
        pair.append(0, &payload(1));
        take_away(&path, gone);
        let is_told =
            |event: &LogEvent| matches!(event, LogEvent::RingGone { path: at, what } if *at == path && *what == gone);
        pair.until("words", |pair| has(pair.side(0), is_told));
        // The partner gets all of it.
        assert_eq!(pair.append(0, &payload(2)).1, Acknowledgement::Placed);
        pair.rounds_for(Duration::from_millis(1200));
        assert_eq!(pair.side(0).events.iter().filter(|event| is_told(event)).count(), 1, "told once");
        assert_eq!(pair.copied(1).len(), 2);
        drop(pair);
        let _ = std::fs::remove_file(&path);
    }
}

/// A sync of a file without a name succeeds, and nobody finds that file again.
pub(crate) fn nothing_is_acknowledged_alone_by_a_ring_that_others_took_away() {
    for gone in ["removed", "replaced by another file"] {
        let folder = folder_on_disk();
        let path = folder.path().join("ring");
        let log = plain().acknowledge(Acknowledge::Persistent).on_loss(alone(folder.path()));
        let partner = || plain().keep(folder.path().join("kept"));
        let mut pair = Pair::new("log-alone-gone");
        pair.start_both([log.backing(Backing::File(path.clone())), partner()]);
        pair.until_mirrored(0);
        let is_gone =
            |error: &LogError| matches!(error, LogError::Storage(StorageError::Gone { what, .. }) if *what == gone);
        let mut count = 1;
        pair.append(0, &payload(count));
        // While the partner is there: the log goes on with it, and not without.
        let aside = folder.path().join("aside");
        std::fs::rename(&path, &aside).expect("a ring");
        if gone != "removed" {
            std::fs::write(&path, b"a letter").expect("a file");
        }
        pair.until("words", |pair| has(pair.side(0), |event| matches!(event, LogEvent::RingGone { .. })));
        pair.end(1);
        pair.until("why", |pair| has(pair.side(0), |event| matches!(event, LogEvent::Broken(why) if is_gone(why))));
        let lsn = pair.side(0).producer.append(&payload(count + 1)).expect("room");
        pair.rounds_for(Duration::from_millis(700));
        assert!(pair.side(0).log.durable() <= lsn, "acknowledged, and on no disk");
        pair.side(0).events.clear();
        pair.start(1, partner());
        pair.until_mirrored(0);
        pair.until("acknowledged", |pair| pair.side(0).log.durable() > lsn);
        count += 1;
        // Put back, it may rest on it again.
        std::fs::rename(&aside, &path).expect("a ring");
        pair.end(1);
        pair.until("alone", |pair| has(pair.side(0), |event| matches!(event, LogEvent::Alone { .. })));
        count += 1;
        assert_eq!(pair.append(0, &payload(count)).1, Acknowledgement::Alone);
        take_away(&path, gone);
        let lsn = pair.side(0).producer.append(&payload(count + 1)).expect("room");
        pair.until("the end", |pair| has(pair.side(0), |event| matches!(event, LogEvent::Ended(why) if is_gone(why))));
        assert!(pair.side(0).log.durable() <= lsn, "acknowledged, and on no disk");
    }
}
