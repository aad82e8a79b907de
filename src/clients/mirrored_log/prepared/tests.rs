//! What of a ring that is opened is on the disk, and what a power cut, or somebody else, leaves of it.

#![allow(clippy::panic, reason = "what is missing is named by the assertion that misses it")]

use super::super::evidence::EVIDENCE_BYTES;
use super::super::header::HEADER_BYTES;
use super::super::lsn::{History, Term};
use super::*;
use crate::storage::StorageError;
use std::fs;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const RING: u64 = 64 << 10;

/// A log whose ring is a file in a folder.
struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn new() -> Result<Self, std::io::Error> {
        Ok(Self { folder: tempfile::tempdir_in("/var/tmp")? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> Result<LogConfig, Box<dyn std::error::Error>> {
        let log = LogConfig::new("wal".parse()?).ring_bytes(RING).pinned(false);
        Ok(log.backing(Backing::File(self.path("ring"))))
    }

    fn open(config: &LogConfig) -> Result<Prepared, Error> {
        Self::open_begun(config, None)
    }

    fn open_begun(config: &LogConfig, begun: Option<Option<Begun>>) -> Result<Prepared, Error> {
        Prepared::open(config, RingBytes::new(RING)?, owner("wal", "a", "pair"), begun)
    }
}

fn beginning(kept_sequence: u64) -> Beginning {
    Beginning {
        history: History(7),
        term: Term(1),
        generation: Generation(1),
        sequence: 0,
        kept_sequence,
        writer: 5,
        tail: Lsn::ZERO,
        end: Lsn::ZERO,
        restored_writer: 0,
        restored_term: Term(0),
    }
}

/// The mark in these bytes of a ring's file, as this function makes it.
fn change_mark(bytes: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let mark = &mut bytes[EVIDENCE_OFFSET as usize..][..EVIDENCE_BYTES];
    change(mark);
    let checksum = crc32c::crc32c(&mark[..EVIDENCE_BYTES - 4]);
    mark[EVIDENCE_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn a_ring_has_a_header_and_a_mark_before_it_is_a_logs() -> Outcome {
    for opening in [Opening::New, Opening::Partner] {
        let log = Log::new()?;
        let mut prepared = Log::open(&log.config()?)?;
        let mut with = beginning(0);
        if opening == Opening::Partner {
            (with.tail, with.end, with.generation) = (Lsn(128), Lsn(192), Generation(4));
        }
        prepared.settle(&opening, &with)?;
        drop(prepared);
        let file = File::open(log.path("ring"))?;
        assert_eq!(LogHeader::read(&file), Ok(with.header(RingBytes::new(RING)?)), "{opening:?}");
        assert!(evidence::may_lack(&file)? && !evidence::tells_of_records(&file)?);
    }
    Ok(())
}

/// The power is cut while the first log of a node opens: it starts again, where its state file says that nothing began.
/// What may have acknowledged records is doubted.
#[test]
fn what_a_power_cut_leaves_of_the_first_opening_is_no_log() -> Outcome {
    let log = Log::new()?;
    let with = beginning(0);
    Log::open_begun(&log.config()?, Some(None))?.settle(&Opening::New, &with)?;
    let mut settled = fs::read(log.path("ring"))?;
    change_mark(&mut settled, |mark| mark[32] ^= 1);
    let without = |what: &[(u64, usize)]| {
        let mut bytes = settled.clone();
        what.iter().for_each(|(offset, length)| bytes[*offset as usize..][..*length].fill(0));
        bytes
    };
    let header = (HEADER_OFFSETS[0], HEADER_BYTES);
    let (owner, mark) = ((OWNER_OFFSET, storage::OWNER_BYTES), (EVIDENCE_OFFSET, EVIDENCE_BYTES));
    for (bytes, doubt) in [
        (settled.clone(), Some(Doubt::OtherBoot)),
        (without(&[mark]), Some(Doubt::NoMark)),
        (without(&[mark, owner]), Some(Doubt::NoMark)),
        (without(&[header]), None),
        (without(&[header, owner, mark]), None),
    ] {
        for (is_unbegun, wanted) in [(true, None), (false, doubt)] {
            fs::write(log.path("ring"), &bytes)?;
            let config = log.config()?;
            let mut prepared = Log::open_begun(&config, is_unbegun.then_some(None))?;
            assert_eq!(prepared.held.and_then(|held| held.doubt), wanted, "{is_unbegun}");
            assert_eq!(prepared.held.is_some(), wanted.is_some());
            if wanted.is_none() {
                prepared.settle(&Opening::New, &with)?;
                drop(prepared);
                let again = Log::open(&config)?.held.ok_or("no log")?;
                assert_eq!((again.header, again.doubt), (with.header(RingBytes::new(RING)?), None));
            }
        }
    }
    Ok(())
}

/// A header that tells of more than the very first opening is never passed over, whatever the state file says.
#[test]
fn what_more_than_the_first_opening_leaves_is_doubted() -> Outcome {
    let log = Log::new()?;
    let first = beginning(0);
    for (with, second) in [
        (Beginning { kept_sequence: 1, ..first }, false),
        (Beginning { generation: Generation(2), ..first }, false),
        (Beginning { tail: Lsn(64), end: Lsn(64), ..first }, false),
        (first, true),
    ] {
        let config = log.config()?;
        let _ = fs::remove_file(log.path("ring"));
        Log::open_begun(&config, Some(None))?.settle(&Opening::New, &with)?;
        let mut bytes = fs::read(log.path("ring"))?;
        change_mark(&mut bytes, |mark| mark[32] ^= 1);
        if second {
            // Its writer's own first header, torn.
            bytes[HEADER_OFFSETS[1] as usize] = 1;
        }
        fs::write(log.path("ring"), &bytes)?;
        let held = Log::open_begun(&config, Some(None))?.held.ok_or("no log")?;
        assert_eq!(held.doubt, Some(Doubt::OtherBoot), "{with:?}, {second}");
    }
    Ok(())
}

/// Such a mark is written where a header is on the disk.
#[test]
fn a_mark_of_an_open_log_without_a_header_is_refused_by_name() -> Outcome {
    let log = Log::new()?;
    Log::open(&log.config()?)?.settle(&Opening::New, &beginning(0))?;
    let settled = fs::read(log.path("ring"))?;
    // A clean end, a disk that has what was acknowledged, a partner that had more.
    for (at, value, is_refused) in [(12, 0, false), (12, 1, true), (12, 2, true), (48, 64, true)] {
        let mut bytes = settled.clone();
        change_mark(&mut bytes, |mark| mark[at] = value);
        bytes[..HEADER_BYTES].fill(0);
        fs::write(log.path("ring"), &bytes)?;
        let refused = Log::open(&log.config()?).err().map(|error| error.to_string());
        assert_eq!(refused.is_some(), is_refused, "{at}, {value}: {refused:?}");
        assert!(refused.is_none_or(|told| told.contains("there is no header")));
        assert!(fs::read(log.path("ring"))? == bytes);
        assert!(Log::open(&log.config()?.start(Start::New)).is_ok(), "a person has decided");
    }
    Ok(())
}

/// A ring with records of its own, which a new one would replace.
fn with_a_ring(log: &Log) -> Result<LogConfig, Box<dyn std::error::Error>> {
    Log::open(&log.config()?)?.settle(&Opening::New, &beginning(0))?;
    log.config()
}

/// Between the opening and the session somebody puts another file under the ring's name, or takes it away.
#[test]
fn a_file_that_others_put_under_the_rings_name_stays() -> Outcome {
    for opening in [Opening::New, Opening::Partner, Opening::Local] {
        for what in ["replaced", "removed"] {
            let log = Log::new()?;
            let mut prepared = Log::open(&with_a_ring(&log)?)?;
            if opening == Opening::Partner {
                prepared.beside = Some(prepared.new_ring()?);
            }
            fs::write(log.path("theirs"), b"a letter")?;
            match what {
                "replaced" => fs::rename(log.path("theirs"), log.path("ring"))?,
                _ => fs::remove_file(log.path("ring"))?,
            }
            let refused = prepared.settle(&opening, &beginning(1)).err().ok_or("it was settled")?;
            let is_named =
                matches!(&refused, LogError::Storage(StorageError::Gone { what: told, .. }) if *told == what);
            assert!(is_named, "{opening:?}, {what}: {refused}");
            drop(prepared);
            let now = fs::read(log.path("ring")).ok();
            assert_eq!(now, (what == "replaced").then(|| b"a letter".to_vec()), "{opening:?}");
            assert_eq!(log.path("ring.new").exists(), opening != Opening::Local, "{opening:?}");
        }
    }
    Ok(())
}

/// What lies beside is put in place where it is ours alone, and is no more removed where it is not.
#[test]
fn a_file_that_others_put_beside_is_not_put_in_place() -> Outcome {
    for settles in [true, false] {
        let log = Log::new()?;
        let mut prepared = Log::open(&with_a_ring(&log)?)?;
        let ring = fs::read(log.path("ring"))?;
        prepared.beside = Some(prepared.new_ring()?);
        fs::write(log.path("theirs"), b"a letter")?;
        fs::rename(log.path("theirs"), log.path("ring.new"))?;
        if settles {
            let refused = prepared.settle(&Opening::Partner, &beginning(1)).err();
            assert!(matches!(&refused, Some(LogError::Storage(StorageError::Gone { .. }))), "{refused:?}");
        }
        drop(prepared);
        assert_eq!(fs::read(log.path("ring.new"))?, b"a letter");
        assert!(fs::read(log.path("ring"))? == ring);
    }
    Ok(())
}

/// Another process replaces the ring between the opening of its file and the lock on that.
#[test]
fn a_lock_on_a_file_without_the_rings_name_is_none() -> Outcome {
    let log = Log::new()?;
    let config = with_a_ring(&log)?;
    let ring = Region::builder(RING as usize).pinned(false).backing(config.backing.clone()).build()?;
    let mut other = Log::open(&config)?;
    other.beside = Some(other.new_ring()?);
    other.settle(&Opening::Partner, &beginning(1))?;
    let locked = lock(&ring);
    assert!(matches!(&locked, Err(LogError::Storage(StorageError::Gone { what: "replaced", .. }))), "{locked:?}");
    Ok(())
}
