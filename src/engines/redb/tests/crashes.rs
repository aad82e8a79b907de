//! A follower whose disk fails at one call, or whose power is cut there: what it had told is on the disk, and the next one goes on.
//!
//! The log holds everything from what was told on, as the primary keeps it, up to what the follower was given. What a follower had
//! read beyond the end of a log that is shorter is not played here.

use super::follow::append;
use super::memory_log::MemoryLog;
use super::{Outcome, folder, rebuilt, records};
use crate::clients::mirrored_log::{LogHeader, Lsn, Records};
use crate::engines::redb::{FollowError, Follower, FollowerOptions, ImageError, Operation, RebuildError};
use crate::storage::simulated::{Fault, Simulated};
use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Two folders that are not there.
fn images() -> &'static Path {
    Path::new("/kept/images")
}

/// Images that begin, come in, are given up and come to their end, with writes and lengths before, between and after.
fn story() -> Result<MemoryLog, Box<dyn Error>> {
    let log = MemoryLog::new(1 << 16, 7)?;
    let write = |offset, data| Operation::Write { offset, data };
    let chunk = |offset, data| Operation::ImageChunk { offset, data };
    let length = |length| Operation::SetLength { length };
    append(&log, &[write(0, b"nowhere"), Operation::ImageBegins { length: 8 }, chunk(0, b"firs"), write(2, b"R")])?;
    append(&log, &[chunk(4, b"t im"), Operation::ImageEnds { length: 8 }, write(5, b"IM"), write(0, b"F")])?;
    append(&log, &[length(3), length(9), write(7, b"long"), write(1, b"one"), length(5), write(20, b"hole")])?;
    append(&log, &[Operation::ImageBegins { length: 6 }, write(1, b"x"), chunk(2, b"seco"), length(7)])?;
    append(&log, &[Operation::ImageEnds { length: 7 }, write(0, b"S"), length(30), write(29, b"!"), write(3, b"E")])?;
    append(&log, &[Operation::ImageBegins { length: 5 }, chunk(0, b"never"), Operation::ImageBegins { length: 5 }])?;
    append(&log, &[chunk(0, b"third"), write(1, b"H"), Operation::ImageEnds { length: 5 }, length(4), write(0, b"T")])?;
    append(&log, &[write(8, b"end"), write(2, b"i"), length(10), write(3, b"R")])?;
    Ok(log)
}

/// The log up to `end`, without what the primary may have forgotten.
fn from(log: &MemoryLog, tail: Lsn, end: Lsn) -> (LogHeader, Vec<u8>) {
    let (mut header, area) = log.cut(end);
    header.tail = tail;
    (header, area)
}

fn ends(log: &MemoryLog) -> Vec<Lsn> {
    let inside = log.inside();
    inside.records.iter().skip(1).copied().chain([inside.head]).collect()
}

/// A database file, and up to where it holds the log.
type Built = (Vec<u8>, Lsn);
/// Names with their content.
type Files = Vec<(PathBuf, Vec<u8>)>;

/// What a database file is by the records before `end`, and up to where it holds them.
fn model(log: &MemoryLog, end: Lsn) -> Result<Option<Built>, Box<dyn Error>> {
    let (mut whole, mut incoming): (Option<Vec<u8>>, Option<Vec<u8>>) = (None, None);
    let mut reached = end;
    for record in records(log.cut(end))? {
        let record = record?;
        let operation = Operation::decode(&record.payload)?;
        if let (Operation::ImageBegins { .. }, None) = (operation, &incoming) {
            reached = record.lsn;
        }
        let image = incoming.as_mut().or(whole.as_mut());
        match (operation, image) {
            (Operation::ImageBegins { length }, _) => incoming = Some(vec![0; length as usize]),
            (Operation::ImageEnds { .. }, _) => (whole, reached) = (incoming.take(), end),
            (Operation::SetLength { length }, Some(image)) => image.resize(length as usize, 0),
            (Operation::Write { offset, data } | Operation::ImageChunk { offset, data }, Some(image)) => {
                let (start, end) = (offset as usize, offset as usize + data.len());
                image.resize(image.len().max(end), 0);
                image[start..end].copy_from_slice(data);
            }
            (_, None) => {}
        }
    }
    Ok(whole.map(|bytes| (bytes, reached)))
}

/// How one run ended.
#[derive(Debug, Clone)]
struct Ran {
    /// The highest position that was told as applied.
    told: Lsn,
    /// The end of the log as it was given.
    given: Lsn,
    failed: Option<ImageError>,
}

fn open(disk: &Simulated, claim_bytes: u64) -> Result<Follower, ImageError> {
    let options = FollowerOptions::new().sync(true).claim_bytes(claim_bytes).claim_interval(Duration::MAX);
    Follower::open_on(Arc::new(disk.clone()), images(), options)
}

/// A follower that is given the log record by record, is killed in the middle, and once more.
fn live(disk: &Simulated, log: &MemoryLog, claim_bytes: u64, before: &Ran) -> Result<Ran, Box<dyn Error>> {
    let mut ran = Ran { failed: None, ..before.clone() };
    let ends: Vec<_> = ends(log).into_iter().filter(|end| *end >= before.given).collect();
    for part in ends.chunks(ends.len().div_ceil(3)) {
        let mut one = match open(disk, claim_bytes) {
            Ok(one) => one,
            Err(error) => return Ok(Ran { failed: Some(error), ..ran }),
        };
        for end in part {
            ran.given = ran.given.max(*end);
            let mut outcome = one.follow(&mut records(from(log, before.told, *end))?, u64::MAX).map(drop);
            if outcome.is_ok() && Some(end) == ends.last() {
                outcome = one.claim().map_err(FollowError::from);
            }
            ran.told = ran.told.max(one.applied().unwrap_or(ran.told));
            match outcome {
                Ok(()) => {}
                Err(FollowError::Image(error)) => {
                    nothing_more(&mut one, &error, || records(from(log, before.told, *end)))?;
                    return Ok(Ran { failed: Some(error), ..ran });
                }
                Err(other) => return Err(other.into()),
            }
        }
    }
    Ok(ran)
}

/// Whatever it is asked, it fails by name and tells nothing more.
fn nothing_more(
    one: &mut Follower,
    error: &ImageError,
    log: impl Fn() -> Result<Records<Vec<u8>>, Box<dyn Error>>,
) -> Outcome {
    let failed = ImageError::Failed { path: images().to_owned(), cause: Box::new(error.clone()) };
    let told = one.applied();
    for _ in 0..2 {
        assert_eq!(one.claim().err(), Some(failed.clone()));
        assert_eq!(one.claim_if_due().err(), Some(failed.clone()));
        assert_eq!(one.follow(&mut log()?, u64::MAX), Err(FollowError::Image(failed.clone())));
        assert_eq!(one.applied(), told, "nothing more is claimed");
    }
    Ok(())
}

/// Every way in which the machine may come up again: each change of a name that was not synced is there or is not, and so are all
/// the pages that were not.
fn boots(disk: &Simulated) -> Vec<(String, Simulated)> {
    let unsynced = disk.unsynced_names();
    assert!(unsynced < 8, "{unsynced} changes of names: too many to try them all");
    let each = (0..1 << unsynced).flat_map(|names: u32| [(names, false), (names, true)]);
    let boot = |(names, bytes)| {
        let what = format!("names {names:b} of {unsynced}, bytes {bytes}");
        (what, disk.boot_with(|index| names >> index & 1 == 1, bytes))
    };
    each.map(boot).collect()
}

/// What was tried.
#[derive(Debug, Default)]
struct Tried {
    points: u64,
    boots: u64,
    rebuilds: u64,
    /// Files, and what was asked of them: the same is not built twice.
    seen: HashSet<(Files, Lsn, Lsn)>,
}

impl Tried {
    /// From the folder as it is on this disk, and the log, the file is rebuilt that the log says.
    fn rebuilds(&mut self, disk: &Simulated, log: &MemoryLog, (told, end): (Lsn, Lsn), what: &str) -> Outcome {
        let files = disk.files();
        if !self.seen.insert((files.clone(), told, end)) {
            return Ok(());
        }
        self.rebuilds += 1;
        let folder = folder()?;
        std::fs::create_dir(folder.path().join("images"))?;
        for (path, content) in files {
            std::fs::write(folder.path().join("images").join(path.file_name().ok_or("a name")?), content)?;
        }
        let found = match rebuilt(&folder, Some(from(log, told, end)))? {
            Ok((bytes, report)) => Some((bytes, report.reached)),
            Err(RebuildError::NoImage { .. }) => None,
            Err(error) => return Err(format!("{what}: {error}, and {told} was told").into()),
        };
        assert_eq!(found, model(log, end)?, "{what}: up to {end}, and {told} was told");
        Ok(())
    }

    /// However the machine comes up: what was told is there, and the next follower goes on to the log's end.
    fn power_is_cut(&mut self, disk: &Simulated, log: &MemoryLog, ran: &Ran, what: &str) -> Outcome {
        let head = log.inside().head;
        for (how, booted) in boots(disk) {
            self.boots += 1;
            let what = format!("{what}, {how}");
            self.rebuilds(&booted, log, (ran.told, ran.given), &what)?;
            let mut next = open(&booted, 0).map_err(|error| format!("{what}: opened anew: {error}"))?;
            next.follow(&mut records(from(log, ran.told, head))?, u64::MAX)?;
            assert_eq!((next.applied(), next.built(), next.needs_image()), (Some(head), Some(head), false), "{what}");
            drop(next);
            self.rebuilds(&booted.boot(false), log, (head, head), &format!("{what}, and followed to the end"))?;
        }
        Ok(())
    }
}

/// Every call in turn goes wrong in every way. The power is cut then and there; or another follower goes on with what is in the page
/// cache, comes to the end or is cut off on its way, and the power is cut after it.
#[test]
fn what_was_told_is_there_whatever_call_fails() -> Outcome {
    let log = story()?;
    let begin = Ran { told: Lsn::ZERO, given: Lsn::ZERO, failed: None };
    let head = log.inside().head;
    let mut tried = Tried::default();
    for claim_bytes in [0, 200] {
        let calls = {
            let disk = Simulated::default();
            let ran = live(&disk, &log, claim_bytes, &begin)?;
            assert_eq!((ran.told, &ran.failed), (head, &None), "nothing fails");
            tried.power_is_cut(&disk, &log, &ran, "nothing fails")?;
            disk.calls()
        };
        assert!(calls > 100, "only {calls} calls");
        let full = Fault::WriteFails(libc::ENOSPC);
        for fault in [Fault::PowerCut, Fault::SyncFails, full, Fault::FolderSyncFails] {
            let mut failed = 0;
            for call in 0..calls {
                let disk = Simulated::default();
                disk.fail_in(call, fault);
                let ran = live(&disk, &log, claim_bytes, &begin)?;
                if ran.failed.is_none() {
                    // It is no call of that kind.
                    continue;
                }
                (failed, tried.points) = (failed + 1, tried.points + 1);
                let what = format!("{fault:?} at call {call} of {claim_bytes}");
                tried.power_is_cut(&disk, &log, &ran, &what)?;
                let killed = disk.kill();
                let then = live(&killed, &log, claim_bytes, &ran)?;
                assert_eq!((then.told, &then.failed), (head, &None), "{what}, then another process");
                tried.power_is_cut(&killed, &log, &then, &format!("{what}, then another process"))?;
                for cut in (call % 5..60).step_by(5) {
                    let killed = disk.kill();
                    killed.fail_in(cut, Fault::PowerCut);
                    let then = live(&killed, &log, claim_bytes, &ran)?;
                    tried.power_is_cut(&killed, &log, &then, &format!("{what}, then one cut off at {cut}"))?;
                }
            }
            assert!(failed > 10, "{fault:?} met only {failed} calls");
        }
    }
    println!("{} points, {} boots, {} different rebuilds", tried.points, tried.boots, tried.rebuilds);
    assert!(tried.points > 500 && tried.boots > 10_000 && tried.rebuilds > 500, "{tried:?}");
    Ok(())
}

/// Where it is not asked for, nothing is synced: no name, and no byte.
#[test]
fn without_sync_nothing_goes_to_the_disk() -> Outcome {
    let (log, disk) = (story()?, Simulated::default());
    for options in [FollowerOptions::new().claim_bytes(0), FollowerOptions::new()] {
        let mut one = Follower::open_on(Arc::new(disk.clone()), images(), options)?;
        for end in ends(&log) {
            one.follow(&mut records(log.cut(end))?, u64::MAX)?;
        }
        one.claim()?;
        assert_eq!(one.applied(), Some(log.inside().head));
    }
    assert_eq!(disk.boot(false).files(), []);
    assert!(disk.boot(true).files().iter().all(|(_, content)| content.is_empty()));
    assert_eq!(disk.files().len(), 3, "the lock, the side file and the last image");
    Ok(())
}
