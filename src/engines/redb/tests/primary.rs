//! The backend when the log is full, slow, gone or forgetful.

use super::memory_log::MemoryLog;
use super::{Outcome, backend, folder, follower, options, rebuilt, records};
use crate::clients::mirrored_log::Lsn;
use crate::engines::redb::Operation;
use crate::sys::ending::StopOnDrop;
use ::redb::StorageBackend;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn log_end(log: &MemoryLog) -> Lsn {
    log.inside().head
}

/// What the log holds, by name.
fn kinds(log: &MemoryLog) -> Result<Vec<&'static str>, Box<dyn std::error::Error>> {
    let mut kinds = Vec::new();
    for record in records(log.whole())? {
        kinds.push(match Operation::decode(&record?.payload)? {
            Operation::Write { .. } => "write",
            Operation::SetLength { .. } => "length",
            Operation::ImageBegins { .. } => "begins",
            Operation::ImageChunk { .. } => "chunk",
            Operation::ImageEnds { .. } => "ends",
        });
    }
    Ok(kinds)
}

#[test]
fn long_writes_are_split_and_come_back() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 20, 7)?;
    let primary = backend(&folder, b"", &log, options())?;
    primary.sync_data(false)?;
    let data: Vec<u8> = (0..10_000u32).map(|n| (n % 251) as u8).collect();
    primary.write(5, &data)?;
    assert_eq!((primary.len()?, primary.read(5, 10_000)?), (10_005, data.clone()));
    assert!(primary.read(6, 10_000).is_err(), "past the end");
    drop(primary);
    assert_eq!(kinds(&log)?, ["begins", "ends", "write", "write", "write"]);
    let (bytes, _) = rebuilt(&folder, Some(log.whole()))?.map_err(|error| error.to_string())?;
    assert_eq!((&bytes[..5], &bytes[5..]), ([0; 5].as_slice(), data.as_slice()));
    Ok(())
}

#[test]
fn pieces_are_no_longer_than_the_log_takes() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    let content = vec![3; 40_000];
    let primary = backend(&folder, &content, &log, options().piece_bytes(1 << 20))?;
    primary.sync_data(false)?;
    drop(primary);
    assert_eq!(kinds(&log)?, ["begins", "chunk", "chunk", "chunk", "ends"]);
    let (bytes, _) = rebuilt(&folder, Some(log.whole()))?.map_err(|error| error.to_string())?;
    assert!(bytes == content);
    Ok(())
}

#[test]
fn a_full_ring_waits_for_the_partner() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    let primary = backend(&folder, b"", &log, options())?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Outcome {
        // However this part ends, the partner ends too.
        let _stop = StopOnDrop(&stop);
        let partner = scope.spawn(|| -> Result<(), String> {
            let mut one = follower(&folder).map_err(|error| error.to_string())?;
            let done = Lsn(1 << 18);
            while !stop.load(Ordering::Relaxed) && one.applied().is_none_or(|lsn| lsn < done) {
                let mut records = records(log.whole()).map_err(|error| error.to_string())?;
                one.follow(&mut records, u64::MAX).map_err(|error| error.to_string())?;
                log.inside().applied = one.applied();
            }
            Ok(())
        });
        for _ in 0..80 {
            primary.write(0, &[1; 4000])?;
        }
        partner.join().map_err(|_| "the partner panicked")??;
        Ok(())
    })
}

#[test]
fn a_full_ring_waits_no_longer_than_told() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    let primary = backend(&folder, b"", &log, options().wait_max(Duration::from_millis(300)))?;
    // The partner applies nothing more.
    log.inside().applied = Some(Lsn::ZERO);
    let began = Instant::now();
    let failed = (0..100).find_map(|_| primary.write(0, &[2; 4000]).err());
    let failed = failed.ok_or("a ring of 64 KiB is full by then")?;
    assert_eq!(failed.kind(), ErrorKind::TimedOut);
    assert!(failed.to_string().contains("the partner has applied everything before lsn"), "{failed}");
    assert!(began.elapsed() >= Duration::from_millis(300));
    let refused = primary.write(0, &[2; 4000]);
    assert!(refused.is_err_and(|error| error.to_string().contains("full")), "there is no room still");
    // Nothing of what was refused is with the partner, or here: it goes on where that has room again.
    log.inside().applied = Some(Lsn(1 << 40));
    primary.write(0, &[3; 4000])?;
    primary.sync_data(false)?;
    assert_eq!(primary.read(0, 4000)?, [3; 4000]);
    Ok(())
}

#[test]
fn a_sync_is_answered_only_when_the_record_is() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    let primary = backend(&folder, b"", &log, options().wait_max(Duration::from_millis(200)))?;
    primary.write(0, b"x")?;
    primary.sync_data(true)?;
    log.inside().acknowledges = false;
    let failed = primary.sync_data(false);
    assert!(
        failed.is_err_and(|error| error.kind() == ErrorKind::TimedOut && error.to_string().contains("acknowledged"))
    );
    log.inside().acknowledges = true;
    primary.write(0, b"y")?;
    primary.sync_data(false)?;
    Ok(())
}

/// Beyond what the clock counts to: no deadline, and no panic.
#[test]
fn patience_without_end_is_no_deadline() -> Outcome {
    for endless in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        let folder = folder()?;
        let log = MemoryLog::new(1 << 16, 7)?;
        log.inside().records_max = 1;
        let primary = backend(&folder, &[7; 20_000], &log, options().wait_max(endless))?;
        // It waits for room, and for the image, and goes on when it is given what it waits for.
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let written = primary.write(0, b"x").and_then(|()| primary.set_len(30_000));
            let _ = tell.send(written.and_then(|()| primary.sync_data(false)));
        });
        std::thread::sleep(Duration::from_millis(20));
        log.inside().records_max = usize::MAX;
        told.recv_timeout(Duration::from_secs(20)).map_err(|_| "it panicked, or waits still")??;
        assert!(!log.inside().synced.is_empty(), "the sync was answered by the log");
    }
    Ok(())
}

#[test]
fn a_sync_waits_until_the_image_was_sent() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    log.inside().records_max = 2;
    let primary = backend(&folder, &[7; 20_000], &log, options().wait_max(Duration::from_millis(200)))?;
    let failed = primary.sync_data(false);
    assert!(failed.is_err_and(|error| error.kind() == ErrorKind::TimedOut && error.to_string().contains("image")));
    assert!(log.inside().synced.is_empty());
    Ok(())
}

#[test]
fn a_partner_that_lost_its_image_gets_another() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    let primary = backend(&folder, b"", &log, options())?;
    primary.write(0, b"first")?;
    primary.sync_data(false)?;
    let images = || -> Result<usize, Box<dyn std::error::Error>> {
        Ok(kinds(&log)?.iter().filter(|kind| **kind == "ends").count())
    };
    // It has taken the first one, and asks for another until it has that.
    log.inside().needs_image = true;
    let until = Instant::now() + Duration::from_secs(20);
    while images()? < 2 {
        assert!(Instant::now() < until, "no second image");
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(images()?, 2, "one image for one need");
    primary.write(0, b"F")?;
    primary.sync_data(false)?;
    // It was killed before it was seen to have taken that, and what it would need of it is freed.
    log.inside().applied = Some(log_end(&log));
    let until = Instant::now() + Duration::from_secs(20);
    while images()? < 1 || log.inside().header.tail == Lsn::ZERO {
        assert!(Instant::now() < until, "no third image");
        std::thread::yield_now();
    }
    primary.write(1, b"I")?;
    primary.sync_data(false)?;
    drop(primary);
    let (bytes, _) = rebuilt(&folder, Some(log.whole()))?.map_err(|error| error.to_string())?;
    assert_eq!(bytes, b"FIrst");
    Ok(())
}

#[test]
fn a_file_belongs_to_one_backend() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 16, 7)?;
    let primary = backend(&folder, b"", &log, options())?;
    let again = backend(&folder, b"", &log, options());
    assert!(again.is_err_and(|error| error.to_string().contains("in use")));
    drop(primary);
    assert!(backend(&folder, b"", &log, options().local_sync(true))?.sync_data(true).is_ok());
    Ok(())
}
