//! What a follower takes for the next record of its image, and what it does not.

use super::memory_log::MemoryLog;
use super::{Outcome, folder, follower, rebuilt, records};
use crate::clients::mirrored_log::{LogError, Lsn};
use crate::engines::redb::{FollowError, Operation, OperationFault, RebuildError};

/// Appends these, whoever may send them.
pub(super) fn append(log: &MemoryLog, operations: &[Operation<'_>]) -> Result<(), LogError> {
    for operation in operations {
        let mut fill = |place: &mut [u8]| {
            assert!(operation.encode(place));
            Ok(())
        };
        assert!(log.inside().append(operation.bytes(), &mut fill).is_ok());
    }
    Ok(())
}

const IMAGE: [Operation<'_>; 3] = [
    Operation::ImageBegins { length: 4 },
    Operation::ImageChunk { offset: 0, data: b"base" },
    Operation::ImageEnds { length: 4 },
];

fn write(data: &[u8]) -> Operation<'_> {
    Operation::Write { offset: 0, data }
}

#[test]
fn an_image_that_is_coming_in_counts_once_it_is_whole() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    append(&log, &IMAGE)?;
    append(&log, &[write(b"B")])?;
    let mut one = follower(&folder)?;
    assert!(one.needs_image() && one.applied().is_none());
    let followed = one.follow(&mut records(log.whole())?, u64::MAX)?;
    assert_eq!((followed.operations, one.applied(), one.needs_image()), (4, Some(log.inside().head), false));
    assert_eq!(one.built(), Some(log.inside().head));
    let (path, claim) = one.whole().ok_or("no image")?;
    assert_eq!((std::fs::read(&path)?, claim.applied), (b"Base".to_vec(), log.inside().head));
    // A second image begins: the first stands still, in the folder and for whoever rebuilds.
    let begun = log.inside().head;
    append(&log, &[Operation::ImageBegins { length: 2 }, write(b"x")])?;
    one.follow(&mut records(log.whole())?, u64::MAX)?;
    assert_eq!(one.whole().map(|(path, claim)| (path, claim.applied)), Some((path.clone(), begun)));
    assert_eq!((one.incoming().map(|claim| claim.begun), one.built()), (Some(begun), None));
    drop(one);
    let (bytes, report) = rebuilt(&folder, Some(log.whole()))?.map_err(|error| error.to_string())?;
    assert_eq!((bytes, report.reached), (b"Base".to_vec(), begun));
    // It comes to its end: the first one is gone.
    append(&log, &[Operation::ImageChunk { offset: 1, data: b"y" }, Operation::ImageEnds { length: 2 }])?;
    let mut one = follower(&folder)?;
    one.follow(&mut records(log.whole())?, u64::MAX)?;
    assert!(one.incoming().is_none() && !path.exists());
    drop(one);
    let (bytes, _) = rebuilt(&folder, None)?.map_err(|error| error.to_string())?;
    assert_eq!(bytes, b"xy");
    Ok(())
}

/// A writer that was restored to an earlier end begins its image where the one before it did.
#[test]
fn two_images_that_begin_at_one_record_are_two_files() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    append(&log, &IMAGE)?;
    let mut one = follower(&folder)?;
    one.follow(&mut records(log.whole())?, u64::MAX)?;
    log.restart(Lsn::ZERO);
    append(&log, &[Operation::ImageBegins { length: 4 }, Operation::ImageChunk { offset: 0, data: b"next" }])?;
    one.follow(&mut records(log.whole())?, u64::MAX)?;
    let (path, claim) = one.whole().ok_or("the image is gone")?;
    assert_eq!((std::fs::read(&path)?, claim.begun), (b"base".to_vec(), Lsn::ZERO), "until the next is whole");
    assert_eq!(one.incoming().map(|claim| claim.begun), Some(Lsn::ZERO));
    drop(one);
    // Also by the next process.
    let mut one = follower(&folder)?;
    append(&log, &[Operation::ImageEnds { length: 4 }, write(b"N")])?;
    one.follow(&mut records(log.whole())?, u64::MAX)?;
    assert!(!path.exists() && one.incoming().is_none());
    drop(one);
    let (bytes, _) = rebuilt(&folder, Some(log.whole()))?.map_err(|error| error.to_string())?;
    assert_eq!(bytes, b"Next");
    Ok(())
}

#[test]
fn another_history_is_never_mixed_in() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    append(&log, &IMAGE)?;
    let mut one = follower(&folder)?;
    one.follow(&mut records(log.whole())?, u64::MAX)?;
    let other = MemoryLog::new(1 << 16, 8)?;
    append(&other, &[write(b"1"), write(b"2"), write(b"3"), write(b"4"), write(b"5")])?;
    let followed = one.follow(&mut records(other.whole())?, u64::MAX)?;
    assert_eq!((followed.operations, one.needs_image()), (0, true));
    let (path, claim) = one.whole().ok_or("the image is gone")?;
    assert_eq!((std::fs::read(path)?, claim.history.0), (b"base".to_vec(), 7));
    drop(one);
    assert!(matches!(rebuilt(&folder, Some(other.whole()))?, Err(RebuildError::NotItsLog { image }) if image == claim));
    assert!(rebuilt(&folder, Some(log.whole()))?.is_ok(), "its own log is still good");
    // The other log's own image is.
    append(&other, &IMAGE)?;
    let mut one = follower(&folder)?;
    one.follow(&mut records(other.whole())?, u64::MAX)?;
    assert_eq!((one.whole().map(|(_, claim)| claim.history.0), one.needs_image()), (Some(8), false));
    Ok(())
}

#[test]
fn a_log_that_begins_too_late_needs_an_image() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    append(&log, &IMAGE)?;
    follower(&folder)?.follow(&mut records(log.whole())?, u64::MAX)?;
    append(&log, &[write(b"1"), write(b"2")])?;
    let second = log.inside().records[4];
    log.inside().header.tail = second;
    let mut one = follower(&folder)?;
    one.follow(&mut records(log.whole())?, u64::MAX)?;
    assert!(one.needs_image());
    assert_eq!(one.applied(), Some(log.inside().head), "what it cannot use may be freed");
    assert_eq!(one.built(), None, "no database can be built for this log");
    drop(one);
    assert!(matches!(rebuilt(&folder, Some(log.whole()))?, Err(RebuildError::NotItsLog { .. })));
    Ok(())
}

#[test]
fn a_log_that_was_written_anew_from_an_earlier_place_on_is_not_the_images() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    append(&log, &IMAGE)?;
    let early = log.inside().head;
    append(&log, &[write(b"1"), write(b"2")])?;
    follower(&folder)?.follow(&mut records(log.whole())?, u64::MAX)?;
    // The writer lost two records and wrote three others in their place: one more, so that the positions meet again.
    log.restart(early);
    append(&log, &[write(b"3")])?;
    let mut one = follower(&folder)?;
    one.follow(&mut records(log.whole())?, u64::MAX)?;
    assert!(one.needs_image(), "a newer generation before its position");
    drop(one);
    append(&log, &[write(b"4"), write(b"5")])?;
    let mut one = follower(&folder)?;
    one.follow(&mut records(log.whole())?, u64::MAX)?;
    assert!(one.needs_image());
    drop(one);
    assert!(matches!(rebuilt(&folder, Some(log.whole()))?, Err(RebuildError::NotItsLog { .. })));
    // An image that begins before the old one's position is taken all the same.
    log.restart(early);
    append(&log, &IMAGE)?;
    let mut one = follower(&folder)?;
    one.follow(&mut records(log.whole())?, u64::MAX)?;
    assert_eq!((one.needs_image(), one.whole().map(|(_, claim)| claim.begun)), (false, Some(early)));
    Ok(())
}

#[test]
fn an_image_that_is_ahead_of_a_copy_waits_until_that_is_whole() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    append(&log, &IMAGE)?;
    let early = log.inside().head;
    append(&log, &[write(b"1"), write(b"2")])?;
    follower(&folder)?.follow(&mut records(log.whole())?, u64::MAX)?;
    let mut one = follower(&folder)?;
    one.follow(&mut records(log.cut(early))?, u64::MAX)?;
    assert!(!one.needs_image(), "the rest may be on its way");
    one.follow(&mut records(log.whole())?, u64::MAX)?;
    assert!(!one.needs_image());
    let mut one = {
        drop(one);
        follower(&folder)?
    };
    one.follow(&mut records(log.cut(early))?, u64::MAX)?;
    one.log_is_whole();
    assert!(one.needs_image());
    Ok(())
}

#[test]
fn records_that_are_no_operations_stop_it_where_it_is() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    append(&log, &IMAGE)?;
    let lsn = log.inside().head;
    let mut nonsense = |place: &mut [u8]| {
        place.fill(9);
        Ok(())
    };
    assert!(log.inside().append(3, &mut nonsense).is_ok());
    let mut one = follower(&folder)?;
    let failed = one.follow(&mut records(log.whole())?, u64::MAX);
    assert_eq!(failed, Err(FollowError::Operation { lsn, fault: OperationFault::Short { bytes: 3 } }));
    one.claim()?;
    assert_eq!(one.applied(), Some(lsn));
    for (operation, length) in [(IMAGE[1], 8), (IMAGE[2], 8)] {
        let folder = super::folder()?;
        let log = MemoryLog::new(1 << 16, length)?;
        append(&log, &IMAGE)?;
        let lsn = log.inside().head;
        append(&log, &[operation])?;
        let failed = follower(&folder)?.follow(&mut records(log.whole())?, u64::MAX);
        assert_eq!(failed, Err(FollowError::Misplaced { lsn }), "a part of an image that has not begun");
    }
    let log = MemoryLog::new(1 << 16, 9)?;
    append(&log, &[IMAGE[0], Operation::ImageEnds { length: 5 }])?;
    let failed = follower(&super::folder()?)?.follow(&mut records(log.whole())?, u64::MAX);
    assert!(matches!(failed, Err(FollowError::Misplaced { lsn: Lsn(64) })), "{failed:?}");
    Ok(())
}

#[test]
fn a_little_at_a_time_comes_to_the_same() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    append(&log, &IMAGE)?;
    append(&log, &[write(b"1"), Operation::SetLength { length: 2 }, Operation::SetLength { length: 3 }])?;
    let mut one = follower(&folder)?;
    let mut calls = 0;
    while one.follow(&mut records(log.whole())?, 1)?.bytes > 0 {
        calls += 1;
    }
    assert_eq!((calls, one.applied()), (6, Some(log.inside().head)));
    let (path, _) = one.whole().ok_or("no image")?;
    assert_eq!(std::fs::read(path)?, b"1a\0");
    Ok(())
}
