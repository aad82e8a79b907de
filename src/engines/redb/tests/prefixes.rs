//! Whatever the operations, and wherever the log ends: what is rebuilt is the file as it was then.

use super::{Outcome, backend, folder, follower, memory_log::MemoryLog, options, rebuilt, records};
use crate::clients::mirrored_log::Lsn;
use crate::engines::redb::{Operation, RebuildError};
use ::redb::{Database, ReadableTable, StorageBackend, TableDefinition};
use proptest::prelude::*;
use std::error::Error;

#[derive(Debug, Clone)]
enum Step {
    Write { offset: u16, bytes: u16, value: u8 },
    SetLength(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..20_000u16, 1..3_000u16, any::<u8>()).prop_map(|(offset, bytes, value)| Step::Write { offset, bytes, value }),
        1 => (0..24_000u16).prop_map(Step::SetLength),
    ]
}

impl Step {
    fn make(&self, on: &impl StorageBackend, model: &mut Vec<u8>) -> std::io::Result<()> {
        match *self {
            Step::Write { offset, bytes, value } => {
                let (start, end) = (usize::from(offset), usize::from(offset) + usize::from(bytes));
                model.resize(model.len().max(end), 0);
                model[start..end].fill(value);
                on.write(offset.into(), &vec![value; bytes.into()])
            }
            Step::SetLength(length) => {
                model.resize(length.into(), 0);
                on.set_len(length.into())
            }
        }
    }
}

/// How many of the engine's operations lie before `end`, and whether the image does.
fn made(log: &MemoryLog, end: Lsn) -> Result<(usize, bool), Box<dyn Error>> {
    let (mut operations, mut image) = (0, false);
    for record in records(log.cut(end))? {
        match Operation::decode(&record?.payload)? {
            Operation::Write { .. } | Operation::SetLength { .. } => operations += 1,
            Operation::ImageEnds { .. } => image = true,
            _ => {}
        }
    }
    Ok((operations, image))
}

/// Every place where a record ends.
fn ends(log: &MemoryLog) -> Vec<Lsn> {
    let inside = log.inside();
    inside.records.iter().skip(1).copied().chain([inside.head]).collect()
}

fn every_prefix(content: &[u8], steps: &[Step]) -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 20, 7)?;
    let primary = backend(&folder, content, &log, options())?;
    // The image is on its way meanwhile.
    let mut states = vec![content.to_vec()];
    for step in steps {
        let mut model = states.last().cloned().unwrap_or_default();
        step.make(&primary, &mut model)?;
        states.push(model);
    }
    primary.sync_data(false)?;
    drop(primary);
    assert_eq!(Some(&super::primary(&folder)?), states.last(), "the local file");
    for end in ends(&log) {
        let (operations, image) = made(&log, end)?;
        match rebuilt(&folder, Some(log.cut(end)))? {
            Ok((bytes, report)) => {
                assert!(image, "no image was whole at {end}");
                assert!(bytes == states[operations], "another file at {end}, after {operations} operations");
                assert_eq!((report.reached, report.length), (end, bytes.len() as u64));
            }
            Err(error) => assert!(!image && matches!(error, RebuildError::NoImage { .. }), "{error} at {end}"),
        }
    }
    killed_followers(&folder, &log, &states)
}

/// A follower that is killed again and again, between claims, comes to the same file; and at every moment so does whoever rebuilds.
fn killed_followers(folder: &tempfile::TempDir, log: &MemoryLog, states: &[Vec<u8>]) -> Outcome {
    let last = states.last().cloned().unwrap_or_default();
    for (turn, end) in ends(log).into_iter().enumerate() {
        let mut one = follower(folder)?;
        let mut records = records(log.cut(end))?;
        // Every other one dies after it has applied records, and before it has claimed them.
        if turn % 2 == 0 {
            one.follow(&mut records, u64::MAX)?;
        } else {
            one.apply(&mut records, u64::MAX)?;
        }
        drop(one);
        if turn % 5 == 0 {
            assert!(rebuilt(folder, Some(log.whole()))?.is_ok_and(|(bytes, _)| bytes == last), "rebuilt at {end}");
        }
    }
    let (bytes, _) = rebuilt(folder, None)?.map_err(|error| error.to_string())?;
    let head = log.inside().head;
    let (operations, _) = made(log, head)?;
    assert_eq!(operations + 1, states.len());
    // The last one may have died before it claimed: what it wrote is there all the same.
    assert!(bytes == last, "the image");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn every_prefix_is_the_file_as_it_was(
        content in prop::collection::vec(any::<u8>(), 0..20_000),
        steps in prop::collection::vec(step(), 1..24),
    ) {
        let outcome = every_prefix(&content, &steps);
        prop_assert!(outcome.is_ok(), "{outcome:?}");
    }
}

/// A primary that was killed had written more to its file than to the log. It starts again: until its new image is whole, what is rebuilt is the old one, untouched by
/// what is meant for the new one.
#[test]
fn the_old_image_stays_as_it_was_until_the_next_is_whole() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(1 << 20, 7)?;
    let first = backend(&folder, &[1; 9000], &log, options())?;
    first.write(100, &[2; 50])?;
    first.sync_data(false)?;
    drop(first);
    let old = super::primary(&folder)?;
    follower(&folder)?.follow(&mut records(log.whole())?, u64::MAX)?;
    let restarted = log.inside().head;
    log.restart(restarted);
    let second = backend(&folder, &[3; 12_000], &log, options())?;
    second.write(0, &[4; 100])?;
    second.set_len(13_000)?;
    second.sync_data(false)?;
    drop(second);
    let (mut seen_old, new) = (0, super::primary(&folder)?);
    for end in ends(&log).into_iter().filter(|end| *end > restarted) {
        let whole = records(log.cut(end))?
            .map_while(Result::ok)
            .filter(|record| matches!(Operation::decode(&record.payload), Ok(Operation::ImageEnds { .. })));
        let images = whole.count();
        let (bytes, report) = rebuilt(&folder, Some(log.cut(end)))?.map_err(|error| error.to_string())?;
        if images == 1 {
            assert!(bytes == old && report.reached == restarted, "the old image at {end}");
            seen_old += 1;
        } else if end == log.inside().head {
            assert!(bytes == new, "the new image");
        }
    }
    assert!(seen_old > 3);
    Ok(())
}

const TABLE: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");

/// The numbers in a database, which follow each other from 0.
fn numbers(bytes: Vec<u8>) -> Result<u64, Box<dyn Error>> {
    let folder = folder()?;
    let path = folder.path().join("database");
    std::fs::write(&path, bytes)?;
    let mut database = Database::builder().create(path)?;
    assert!(database.check_integrity()?);
    let transaction = database.begin_read()?;
    let Ok(table) = transaction.open_table(TABLE) else { return Ok(0) };
    let mut count = 0;
    for row in table.iter()? {
        let (number, squared) = row?;
        assert_eq!((number.value(), squared.value()), (count, count * count));
        count += 1;
    }
    Ok(count)
}

/// Transactions of growing size, and what was committed when each sync was answered.
fn transactions(
    log: &MemoryLog,
    folder: &tempfile::TempDir,
    content: &[u8],
) -> Result<Vec<(Lsn, u64)>, Box<dyn Error>> {
    let primary = backend(folder, content, log, options())?;
    let database = Database::builder().set_cache_size(1 << 20).create_with_backend(primary)?;
    let mut committed = Vec::new();
    let mut next = if content.is_empty() { 0 } else { numbers(content.to_vec())? };
    for turn in 0..20 {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for number in next..next + 1 + turn * 3 {
                table.insert(number, number * number)?;
            }
        }
        transaction.commit()?;
        next += 1 + turn * 3;
        committed.push((log.inside().head, next));
    }
    Ok(committed)
}

/// From every prefix that ends at a sync, and at every record after it, a database is rebuilt that holds what was committed by then.
#[test]
fn every_rebuilt_database_holds_what_was_committed() -> Outcome {
    let folder = folder()?;
    let log = MemoryLog::new(32 << 20, 7)?;
    let committed = transactions(&log, &folder, &[])?;
    let mut checked = 0;
    for (turn, end) in ends(&log).into_iter().enumerate() {
        let at_least = committed.iter().filter(|(lsn, _)| *lsn <= end).map(|(_, count)| *count).max().unwrap_or(0);
        let at_sync = log.inside().synced.iter().any(|(_, records)| *records == turn + 1);
        if !at_sync && turn % 7 != 0 {
            continue;
        }
        let Ok((bytes, report)) = rebuilt(&folder, Some(log.cut(end)))? else {
            assert_eq!(at_least, 0, "nothing to rebuild from at {end}");
            continue;
        };
        assert_eq!(report.reached, end);
        let there = match numbers(bytes) {
            Ok(there) => there,
            // redb opens no file that it was just making.
            Err(_) if at_least == 0 => continue,
            Err(error) => return Err(error),
        };
        let whole_transactions = committed.iter().any(|(_, count)| *count == there) || there == 0;
        assert!(there >= at_least && whole_transactions, "{there} numbers of {at_least} at {end}");
        checked += 1;
    }
    assert!(checked > 40, "only {checked} databases were opened");
    Ok(())
}

/// A database that has content when it is mirrored for the first time.
#[test]
fn an_older_database_is_sent_as_an_image() -> Outcome {
    let folder = folder()?;
    let first = MemoryLog::new(32 << 20, 7)?;
    transactions(&first, &folder, &[])?;
    let content = super::primary(&folder)?;
    let second = MemoryLog::new(32 << 20, 8)?;
    let committed = transactions(&second, &folder, &content)?;
    let wanted = committed.last().map(|(_, count)| *count);
    let (bytes, report) = rebuilt(&folder, Some(second.whole()))?.map_err(|error| error.to_string())?;
    assert_eq!((Some(numbers(bytes)?), report.image.history.0), (wanted, 8));
    let read: Result<Vec<_>, _> = records(second.whole())?.collect();
    let count = second.inside().records.len();
    assert!(read.is_ok_and(|read| read.len() == count), "the log is read to its end");
    Ok(())
}
