//! The small files that a log's next start needs: others take them away while it runs, or a disk fails in the middle of one.
#![allow(unsafe_code)]

use crate::pair::{Pair, has, payload, plain};
use crate::process::folder_on_disk;
use handfast::clients::mirrored_log::area::HEADER_OFFSETS;
use handfast::clients::mirrored_log::header::HEADER_BYTES;
use handfast::clients::mirrored_log::{
    Acknowledge, Acknowledgement, LogConfig, LogError, LogEvent, OnLoss, Start, TakeoverError, Term,
};
use handfast::memory::Backing;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

thread_local! {
    /// What a folder's sync fails with on this thread; zero: it does not.
    static FAILS: Cell<i32> = const { Cell::new(0) };
}

// SAFETY:
// - live, bounds: it takes the place of `fsync(2)`, does as that, and has its arguments and outcome.
#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: i32) -> i32 {
    if FAILS.get() != 0 {
        // SAFETY:
        // - live: the call takes no pointer.
        let place = unsafe { libc::__errno_location() };
        // SAFETY:
        // - live, thread: this thread's own number of its last error.
        unsafe { *place = FAILS.get() };
        return -1;
    }
    // SAFETY:
    // - live: the kernel checks the descriptor.
    unsafe { libc::syscall(libc::SYS_fsync, descriptor) as i32 }
}

/// Files below this folder cannot be synced, by whichever thread.
static UNSYNCED: Mutex<Option<PathBuf>> = Mutex::new(None);

// SAFETY:
// - live, bounds: it takes the place of `fdatasync(2)`, does as that, and has its arguments and outcome.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(descriptor: i32) -> i32 {
    let unsynced = UNSYNCED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let path = || fs::read_link(format!("/proc/self/fd/{descriptor}")).ok();
    let fails = unsynced.is_some_and(|folder| path().is_some_and(|path| path.starts_with(folder)));
    let descriptor = if fails { -1 } else { descriptor };
    // SAFETY:
    // - live: the kernel checks the descriptor; none is below zero, which it says.
    unsafe { libc::syscall(libc::SYS_fdatasync, descriptor) as i32 }
}

fn fail_to_sync(folder: Option<&Path>) {
    let folder = folder.map(|folder| folder.canonicalize().expect("a folder"));
    *UNSYNCED.lock().unwrap_or_else(PoisonError::into_inner) = folder;
}

fn alone(folder: &Path) -> LogConfig {
    plain().on_loss(OnLoss::GoOnAlone { term_file: folder.join("term") })
}

/// A node that is told that this file of it was written again.
fn until_written_again(pair: &mut Pair, index: usize, path: &Path) {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    pair.until("words", |pair| {
        has(pair.side(index), |event| matches!(event, LogEvent::WrittenAgain { path: told, .. } if *told == path))
    });
    pair.side(index).events.clear();
}

/// The only thing that tells of a log whose ring has no name, where both nodes end.
pub(crate) fn a_state_file_that_others_take_away_is_written_again() {
    let folder = folder_on_disk();
    let path = folder.path().join("state");
    let log = || plain().state_file(&path);
    let mut pair = Pair::new("log-noted-state");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    pair.append(0, &payload(1));
    let line = fs::read(&path).expect("a state file");
    for what in ["removed", "emptied", "replaced", "written over", "unlocked"] {
        match what {
            "removed" => fs::remove_file(&path).expect("removed"),
            "emptied" => fs::write(&path, b"").expect("emptied"),
            "replaced" => {
                fs::write(path.with_extension("old"), format!("{:032x}\n", 7)).expect("an old one");
                fs::rename(path.with_extension("old"), &path).expect("renamed");
            }
            // An older one, which is as long.
            "written over" => {
                let mut older = line.clone();
                older[..32].reverse();
                fs::write(&path, &older).expect("written over");
            }
            _ => fs::remove_file(path.with_extension("lock")).expect("a lock"),
        }
        until_written_again(&mut pair, 0, &path);
        assert_eq!(fs::read(&path).expect("a state file"), line, "{what}");
        let refused = crate::places::refused_at_all("log-noted-second", 0, log());
        assert!(refused.to_string().contains("in use by"), "{what}: {refused}");
    }
    pair.end(0);
    pair.end(1);
    pair.start_both([log(), plain()]);
    let lost = |event: &LogEvent| matches!(event, LogEvent::Ended(LogError::Lost { .. }));
    pair.until("the end", |pair| has(pair.side(0), lost));
}

/// What is acknowledged alone is known of afterwards, or it is not acknowledged.
pub(crate) fn a_term_file_that_others_take_away_is_written_again_before_more_is_acknowledged() {
    let folder = folder_on_disk();
    let (inner, aside) = (folder.path().join("inner"), folder.path().join("aside"));
    fs::create_dir(&inner).expect("a folder");
    let log = || alone(&inner);
    let mut pair = Pair::new("log-noted-term");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    pair.end(1);
    pair.until_lost(0);
    assert_eq!(pair.append(0, &payload(1)).1, Acknowledgement::Alone);
    fs::remove_file(inner.join("term")).expect("a term file");
    until_written_again(&mut pair, 0, &inner.join("term"));
    assert_eq!(pair.append(0, &payload(2)).1, Acknowledgement::Alone);
    // Its folder is gone: it is told, and nothing is acknowledged until the folder is back.
    fs::rename(&inner, &aside).expect("renamed");
    let told = |event: &LogEvent| matches!(event, LogEvent::Broken(LogError::Storage(_)));
    pair.until("words", |pair| has(pair.side(0), told));
    let side = pair.side(0);
    let lsn = side.producer.append(&payload(3)).expect("room");
    pair.rounds_for(Duration::from_millis(500));
    let side = pair.side(0);
    assert!(side.log.durable() <= lsn, "it is acknowledged, and nothing tells of it");
    assert_eq!(side.events.iter().filter(|event| told(event)).count(), 1, "told once: {:?}", side.events);
    fs::rename(&aside, &inner).expect("renamed");
    pair.until("an acknowledgement", |pair| pair.side(0).log.durable() > lsn);
    // A file lies where its folder was: nobody can tell what the next process finds.
    fs::rename(&inner, &aside).expect("renamed");
    fs::write(&inner, b"").expect("a file");
    pair.side(0).events.clear();
    pair.until("words", |pair| has(pair.side(0), told));
    let lsn = pair.side(0).producer.append(&payload(4)).expect("room");
    pair.rounds_for(Duration::from_millis(500));
    assert!(pair.side(0).log.durable() <= lsn, "it is acknowledged, and nothing tells of it");
    fs::remove_file(&inner).expect("removed");
    fs::rename(&aside, &inner).expect("renamed");
    pair.until("an acknowledgement", |pair| pair.side(0).log.durable() > lsn);
    pair.end(0);
    pair.start_both([log(), plain()]);
    let lost = |event: &LogEvent| matches!(event, LogEvent::Ended(LogError::RingLost { kept: Term(2) }));
    pair.until("the end", |pair| has(pair.side(0), lost));
}

/// Who took a log over is known of after the next start too: its owner does not go on with it.
pub(crate) fn a_takeover_that_others_take_away_is_noted_again() {
    let folder = folder_on_disk();
    let (kept, taken) = (folder.path().join("kept"), folder.path().join("kept.taken"));
    let mut pair = Pair::new("log-noted-taken");
    pair.start_both([plain(), plain().keep(&kept)]);
    pair.until_mirrored(0);
    pair.append(0, &payload(1));
    pair.end(0);
    pair.until_lost(1);
    assert_eq!(pair.side(1).copy.take_over(Term(1), false).expect("taken over").count(), 1);
    fs::remove_file(&taken).expect("a note");
    until_written_again(&mut pair, 1, &taken);
    pair.end(1);
    pair.start_both([plain(), plain().keep(&kept)]);
    let ended = |event: &LogEvent| matches!(event, LogEvent::Ended(LogError::TakenOver { .. }));
    pair.until("the end", |pair| has(pair.side(0), ended));
}

/// The term is in the file, the sync of its folder fails, and the partner is back before the next try: the node never went alone, and does not say
/// at its next start that it did.
pub(crate) fn a_term_whose_sync_failed_is_no_term_that_was_gone_alone_under() {
    let folder = folder_on_disk();
    let mut pair = Pair::new("log-noted-sync");
    pair.start_both([alone(folder.path()), plain()]);
    pair.until_mirrored(0);
    pair.append(0, &payload(1));
    FAILS.set(libc::EIO);
    pair.end(1);
    let told =
        |event: &LogEvent| matches!(event, LogEvent::Broken(LogError::Storage(why)) if why.to_string().contains("EIO"));
    pair.until("words", |pair| has(pair.side(0), told));
    pair.side(0).events.clear();
    pair.start(1, plain());
    pair.until_mirrored(0);
    assert_eq!(pair.append(0, &payload(2)).1, Acknowledgement::Placed);
    assert!(!pair.side(0).poller.is_alone());
    pair.end(0);
    FAILS.set(0);
    pair.until_lost(1);
    pair.start(0, alone(folder.path()));
    pair.until_mirrored(0);
    assert_eq!(pair.own(0).len(), 2);
}

/// The same of a takeover: one that could not be noted is refused, and its owner goes on.
pub(crate) fn a_takeover_whose_sync_failed_is_none() {
    let folder = folder_on_disk();
    let log = || plain().keep(folder.path().join("kept"));
    let mut pair = Pair::new("log-noted-untaken");
    pair.start_both([plain(), log()]);
    pair.until_mirrored(0);
    pair.append(0, &payload(1));
    pair.end(0);
    pair.until_lost(1);
    FAILS.set(libc::EIO);
    let refused = pair.side(1).copy.take_over(Term(1), false).map(|records| *records.header());
    assert!(matches!(&refused, Err(TakeoverError::Log(LogError::Storage(_)))), "{refused:?}");
    FAILS.set(0);
    assert!(folder.path().join("kept.taken").exists(), "it came to that");
    pair.start(0, plain());
    pair.until_mirrored(0);
    pair.append(0, &payload(2));
    pair.until("the note is gone", |_| !folder.path().join("kept.taken").exists());
    pair.end(0);
    pair.end(1);
    pair.start_both([plain(), log()]);
    pair.until_mirrored(0);
}

/// What nobody can read is told with a way out, and the way leads out.
pub(crate) fn a_small_file_that_is_damaged_is_given_up_by_a_person() {
    for name in ["term", "state"] {
        let folder = folder_on_disk();
        let log = || alone(folder.path()).state_file(folder.path().join("state"));
        let mut pair = Pair::new("log-noted-damage");
        pair.start_both([log(), plain()]);
        pair.until_mirrored(0);
        pair.append(0, &payload(1));
        pair.end(0);
        pair.until_lost(1);
        fs::write(folder.path().join(name), b"").expect("emptied");
        let refused = crate::places::refused_at_all(&pair.name, 0, log());
        assert!(matches!(&refused, LogError::NoteDamaged { .. }), "{refused}");
        assert!(refused.to_string().contains("start once with Start::GiveUpMissing"), "{refused}");
        pair.start(0, log().start(Start::GiveUpMissing));
        pair.until_mirrored(0);
        assert_eq!(pair.own(0).len(), 1);
        pair.end(0);
        pair.until_lost(1);
        pair.start(0, log());
        pair.until_mirrored(0);
        pair.end(1);
        pair.until_lost(0);
        assert_eq!(pair.append(0, &payload(2)).1, Acknowledgement::Alone);
        pair.end(0);
        pair.start(0, log());
        let kept = pair.side(0).poller.begin_alone();
        assert!(matches!(kept, Err(LogError::Lost { .. })), "both are written anew: {kept:?}");
    }
}

pub(crate) fn a_damaged_note_of_a_takeover_is_moved_away() {
    let folder = folder_on_disk();
    let log = || plain().keep(folder.path().join("kept"));
    fs::write(folder.path().join("kept.taken"), b"7").expect("a note");
    let refused = crate::places::refused_at_all("log-noted-mv", 0, log());
    assert!(matches!(&refused, LogError::NoteDamaged { .. }), "{refused}");
    assert!(refused.to_string().contains("kept.taken") && refused.to_string().contains("move it away"), "{refused}");
    fs::rename(folder.path().join("kept.taken"), folder.path().join("away")).expect("moved");
    Pair::new("log-noted-mv").start(0, log());
}

/// Nothing can be written beside the term file when a node is to begin alone, and then its partner comes: the log begins, and under no lower term.
pub(crate) fn a_node_that_could_not_begin_alone_begins_with_its_partner() {
    let folder = folder_on_disk();
    let log = || alone(folder.path());
    let mut pair = Pair::new("log-noted-begin");
    pair.start_both([log(), plain()]);
    pair.until_mirrored(0);
    let term = pair.side(0).log.status().term;
    pair.append(0, &payload(1));
    pair.end(0);
    pair.until_lost(1);
    fs::write(folder.path().join("term.new"), b"a letter").expect("a letter");
    pair.end(1);
    pair.start(0, log());
    let refused = pair.side(0).poller.begin_alone();
    assert!(matches!(&refused, Err(LogError::Storage(_))), "{refused:?}");
    pair.start(1, plain());
    pair.until_mirrored(0);
    assert!(pair.side(0).log.status().term >= term);
    pair.append(0, &payload(2));
}

/// The kept file says that it has all that was acknowledged, by a clean end or since acknowledgements waited for it. Until it says so no more, on the
/// disk, nothing is acknowledged that does not wait for it.
pub(crate) fn nothing_is_acknowledged_beside_a_file_that_vouches_for_it() {
    for level in [Acknowledge::Persistent, Acknowledge::Placed] {
        let folder = folder_on_disk();
        let keeps = || plain().keep(folder.path().join("kept"));
        let mut pair = Pair::new("log-noted-vouches");
        pair.start_both([plain().acknowledge(level), keeps()]);
        pair.until_mirrored(0);
        pair.append(0, &payload(1));
        pair.end(0);
        pair.until_lost(1);
        pair.end(1);
        fail_to_sync(Some(folder.path()));
        pair.start_both([plain(), keeps()]);
        pair.until("words", |pair| has(pair.side(0), |event| matches!(event, LogEvent::NotMarked)));
        assert!(has(pair.side(1), |event| matches!(event, LogEvent::KeepFailed(_))), "{:?}", pair.side(1).events);
        let lsn = pair.side(0).producer.append(&payload(2)).expect("room");
        pair.rounds_for(Duration::from_millis(500));
        assert!(pair.side(0).log.durable() <= lsn, "{level:?}: a power cut would lose it without a word");
        fail_to_sync(None);
        pair.until("an acknowledgement", |pair| pair.side(0).log.durable() > lsn);
        assert_eq!(pair.side(0).log.wait(lsn), Ok(Acknowledgement::Placed));
    }
}

/// A new ring takes the place of the old one, and the disk is full for its folder: the log opens with it a little later, and the name is on the disk then.
pub(crate) fn a_ring_whose_folder_could_not_be_synced_is_opened_a_little_later() {
    for start in [Start::Restore, Start::New] {
        let folder = folder_on_disk();
        let path = folder.path().join("ring");
        let log = || plain().backing(Backing::File(path.clone())).state_file(folder.path().join("state"));
        let mut pair = Pair::new("log-noted-ring");
        pair.start_both([log(), plain()]);
        pair.until_mirrored(0);
        pair.append(0, &payload(1));
        let older = fs::read(&path).expect("a ring");
        pair.append(0, &payload(2));
        pair.end(0);
        pair.until_lost(1);
        // So that there is something to restore into another ring.
        fs::write(&path, &older).expect("a ring");
        FAILS.set(libc::ENOSPC);
        pair.start(0, log().start(start));
        let told = |event: &LogEvent| matches!(event, LogEvent::Broken(error) if error.to_string().contains("ENOSPC"));
        pair.until("words", |pair| has(pair.side(0), told));
        FAILS.set(0);
        pair.until_mirrored(0);
        let records = if start == Start::New { 0 } else { 2 };
        assert_eq!(pair.own(0).len(), records);
        pair.append(0, &payload(3));
        pair.end(0);
        pair.end(1);
        pair.start_both([log(), plain()]);
        pair.until_mirrored(0);
        assert_eq!(pair.own(0).len(), records + 1, "{start:?}: the ring that has the name");
    }
}

/// A log gets a state file that had none until now: what a power cut left of its ring is doubted all the same.
pub(crate) fn a_state_file_that_is_new_does_not_vouch_for_an_old_ring() {
    let folder = folder_on_disk();
    let path = folder.path().join("ring");
    let log = || plain().backing(Backing::File(path.clone()));
    let with_state = || log().state_file(folder.path().join("state"));
    for (first, is_doubted) in [(log(), true), (with_state(), false)] {
        let mut pair = Pair::new("log-noted-later");
        pair.start_both([first, plain()]);
        pair.until_mirrored(0);
        let mut bytes = fs::read(&path).expect("a ring");
        pair.append(0, &payload(1));
        pair.end(0);
        pair.end(1);
        // Its first header, its mark of another boot, and nothing else.
        bytes[HEADER_OFFSETS[1] as usize..][..HEADER_BYTES].fill(0);
        fs::write(&path, crate::survives::other_boot(&bytes)).expect("a ring");
        let _ = fs::remove_file(folder.path().join("state"));
        pair.start_both([with_state(), plain()]);
        let ended = |event: &LogEvent| matches!(event, LogEvent::Ended(LogError::MayLack { .. }));
        match is_doubted {
            true => pair.until("the end", |pair| has(pair.side(0), ended)),
            // As the power cut in the first opening leaves it.
            false => pair.until_mirrored(0),
        }
        drop(pair);
        let _ = fs::remove_file(&path);
        let _ = fs::remove_file(folder.path().join("state"));
    }
}
