//! What is told to be on the disk is there, whatever call fails and wherever the power is cut.

#![allow(clippy::panic, reason = "what is missing is named by the assertion that misses it")]

mod vouching;

use super::super::area::RingBytes;
use super::super::lsn::{History, Term};
use super::super::record::{self, RECORD_HEADER_BYTES, size_of_record};
use super::*;
use crate::memory::{Errno, Region};
use crate::storage::simulated::{Fault, Simulated};
use crate::storage::{Disk, beside};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const RING: u64 = 64 << 10;
const HISTORY: History = History(7);
const PAYLOAD: usize = 3000;

fn path() -> &'static Path {
    Path::new("/kept/copy")
}

fn mine() -> Owner {
    owner("wal", "b", "pair")
}

/// The partner's log as its writer fills our memory with it.
struct Log {
    copy: CopySource,
    header: LogHeader,
    end: Lsn,
    /// Where records begin, and with which byte each is filled.
    records: Vec<(Lsn, u8)>,
}

impl Log {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let ring_bytes = RingBytes::new(RING)?;
        let header = LogHeader {
            state: HeaderState::Refilling,
            sequence: 1,
            history: HISTORY,
            term: Term(1),
            generation: Generation(1),
            tail: Lsn::ZERO,
            ring_bytes,
            acknowledged: Lsn::ZERO,
            writer: 1,
            lineage: 1,
            persistent: false,
        };
        let region = Region::builder(ring_bytes.area_bytes() as usize).pinned(false).build()?;
        let mut log = Self { copy: CopySource::loaded(region), header, end: Lsn::ZERO, records: Vec::new() };
        log.tell(HeaderState::Refilling)?;
        Ok(log)
    }

    fn tell(&mut self, state: HeaderState) -> Outcome {
        (self.header.sequence, self.header.state) = (self.header.sequence + 1, state);
        Ok(self.copy.region().write(self.header.offset() as usize, &self.header.encode())?)
    }

    /// One more record; the oldest go where there is no room.
    fn append(&mut self) -> Outcome {
        let size = size_of_record(PAYLOAD as u32);
        let left = self.header.ring_bytes.bytes_to_end(self.end);
        let padding = if left < size { left } else { 0 };
        let kept = |log: &Self| log.end.0 + padding + size - log.header.tail.0;
        if kept(self) > RING {
            while kept(self) > RING / 2 {
                self.records.remove(0);
                self.header.tail = self.records.first().map_or(self.end, |record| record.0);
            }
            self.tell(self.header.state)?;
        }
        if padding > 0 {
            let mut span = vec![0; padding as usize];
            let length = (padding as usize - RECORD_HEADER_BYTES) as u32;
            assert!(record::seal_padding(&mut span, self.end, self.header.generation, HISTORY, length));
            self.put(&span)?;
        }
        let byte = (self.end.0 / 32 % 251) as u8;
        let mut span = vec![byte; size as usize];
        assert!(record::seal(&mut span, self.end, self.header.generation, HISTORY, PAYLOAD as u32));
        self.records.push((self.end, byte));
        self.put(&span)
    }

    fn put(&mut self, span: &[u8]) -> Outcome {
        let at = RING_OFFSET + self.header.ring_bytes.offset_of(self.end);
        self.copy.region().write(at as usize, span)?;
        self.end = Lsn(self.end.0 + span.len() as u64);
        Ok(())
    }

    /// What a file of this content holds of what was told to be on the disk; panics where something of it is missing.
    fn expect(&self, content: Option<Vec<u8>>, told: u64, what: &str) {
        if told == 0 {
            return;
        }
        let content = content.unwrap_or_else(|| panic!("{what}: no file, and {told} was told"));
        let mut records = Records::open(content).unwrap_or_else(|error| panic!("{what}: {error}, and {told} was told"));
        assert_eq!(records.header().state, HeaderState::Whole, "{what}");
        let tail = records.header().tail;
        let mut found = Vec::new();
        for record in records.by_ref() {
            let record = record.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(record.payload.iter().all(|byte| *byte == record.payload[0]) && record.payload.len() == PAYLOAD);
            found.push((record.lsn, record.payload[0]));
        }
        for (lsn, byte) in self.records.iter().filter(|(lsn, _)| lsn.0 < told && *lsn >= tail) {
            assert!(found.contains(&(*lsn, *byte)), "{what}: the record at {lsn} is gone, and {told} was told");
        }
    }
}

/// A process that keeps the log, its thread's loop without the waiting.
struct Process {
    shared: Arc<CopyShared>,
    keeping: Keeping,
    /// The highest position that was told.
    told: u64,
}

impl Process {
    fn start(disk: &Simulated, log: &Log) -> Result<Self, LogError> {
        let place = Place::take(Arc::new(disk.clone()), path(), mine(), OWNER_OFFSET)?;
        let shared = CopyShared::new(None, None, None);
        shared.replace(log.copy.clone(), None);
        let keeping = Keeping::new(place, Arc::clone(&shared), Arc::new(Told::default()));
        keeping.told.epoch.store(shared.epoch(), Ordering::Release);
        Ok(Self { shared, keeping, told: 0 })
    }

    fn step(&mut self) {
        match self.keeping.step() {
            Ok(_) => {}
            Err(error) => {
                self.keeping.failed(error);
                self.keeping.retry = Duration::ZERO;
                self.keeping.wait_to_retry();
            }
        }
        self.told = self.told.max(self.keeping.told.to.load(Ordering::Acquire));
    }

    fn news(&self) -> Option<KeepNews> {
        self.keeping.told.news.lock().ok()?.pop_front()
    }

    /// One whose log is whole, with a record on the disk.
    fn settled(disk: &Simulated) -> Result<(Self, Log), Box<dyn std::error::Error>> {
        let mut log = Log::new()?;
        let mut process = Self::start(disk, &log)?;
        log.tell(HeaderState::Whole)?;
        log.append()?;
        process.step();
        Ok((process, log))
    }

    /// Another session: what is held goes into its memory.
    fn next_session(&mut self, log: &Log) {
        self.shared.replace(log.copy.clone(), None);
        self.keeping.told.to.store(0, Ordering::Release);
        self.keeping.told.epoch.store(self.shared.epoch(), Ordering::Release);
    }
}

/// One life: a log that begins, is whole, goes round its ring, and through two sessions.
fn live(disk: &Simulated, log: &mut Log) -> Result<u64, Box<dyn std::error::Error>> {
    // The name cannot be had where the power is cut first.
    let Ok(mut process) = Process::start(disk, log) else { return Ok(0) };
    for number in 0..40 {
        log.append()?;
        match number {
            2 => log.tell(HeaderState::Whole)?,
            20 => process.next_session(log),
            _ => {}
        }
        process.step();
    }
    // What failed last is tried again.
    (0..3).for_each(|_| process.step());
    Ok(process.told)
}

/// Each call in turn goes wrong in each way; then the power is cut, the machine comes up, and what was told must be there: after the
/// failure, and after a second process went on with what the first one left in the page cache.
#[test]
fn what_was_told_is_there_whatever_call_fails() -> Outcome {
    let calls = {
        let disk = Simulated::default();
        let mut log = Log::new()?;
        let told = live(&disk, &mut log)?;
        assert_eq!(told, log.end.0, "nothing fails, and all of it is on the disk");
        disk.calls()
    };
    assert!(calls > 90, "{calls} calls");
    let faults =
        [Fault::SyncFails, Fault::WriteFails(libc::ENOSPC), Fault::Full, Fault::FolderSyncFails, Fault::PowerCut];
    for fault in faults {
        for call in 0..calls {
            let disk = Simulated::default();
            disk.fail_in(call, fault);
            let mut log = Log::new()?;
            let told = live(&disk, &mut log)?;
            for names in [false, true] {
                let what = format!("{fault:?} at call {call}, names {names}");
                log.expect(disk.boot(names).content(path()), told, &what);
            }
            if fault != Fault::PowerCut {
                assert_eq!(told, log.end.0, "{fault:?} at call {call}: it recovers within the session");
            }
        }
    }
    Ok(())
}

/// A sync fails and its pages are clean; or a process is killed between a write and its sync. Who opens the file next finds the bytes
/// in the page cache, and a sync of them succeeds.
#[test]
fn what_an_earlier_process_left_in_the_page_cache_is_not_on_the_disk() -> Outcome {
    let mut killed = 0;
    for fault in [Fault::SyncFails, Fault::PowerCut] {
        for call in 0..60 {
            let disk = Simulated::default();
            disk.fail_in(call, fault);
            let mut log = Log::new()?;
            let Ok(mut process) = Process::start(&disk, &log) else { continue };
            log.tell(HeaderState::Whole)?;
            for _ in 0..12 {
                log.append()?;
                if process.keeping.failure.is_none() {
                    process.step();
                }
            }
            if process.keeping.failure.is_none() {
                // No sync, or none that late.
                continue;
            }
            killed += 1;
            // Killed there and then; the cache outlives it.
            drop(process);
            let disk = disk.kill();
            let mut process = Process::start(&disk, &log)?;
            process.step();
            process.step();
            let what = format!("{fault:?} at call {call}, then another process");
            assert_eq!(process.told, log.end.0, "{what}");
            for names in [false, true] {
                log.expect(disk.boot(names).content(path()), process.told, &what);
            }
            // And wherever the second one is cut off.
            for cut in 0..12 {
                let disk = disk.kill();
                disk.fail_in(cut, Fault::PowerCut);
                if let Ok(mut process) = Process::start(&disk, &log) {
                    process.step();
                    let what = format!("{what}, cut at call {cut} of its");
                    log.expect(disk.boot(false).content(path()), process.told, &what);
                }
            }
        }
    }
    assert!(killed > 30, "{killed} processes were cut off");
    Ok(())
}

#[test]
fn a_file_that_is_taken_away_is_written_anew_and_told_of() -> Outcome {
    for what in ["removed", "cut short", "replaced"] {
        let disk = Simulated::default();
        let (mut process, mut log) = Process::settled(&disk)?;
        assert_eq!(process.told, log.end.0);
        match what {
            "removed" => disk.remove(path()),
            "cut short" => disk.cut_short(path(), 0),
            _ => disk.put(path(), b""),
        }
        let before = process.told;
        log.append()?;
        process.step();
        assert_eq!(process.told, before, "{what}: nothing more is told");
        assert_eq!(process.keeping.told.to.load(Ordering::Acquire), 0);
        let news = process.news();
        assert!(matches!(news, Some(KeepNews::Failed(error)) if error.to_string().contains(what)), "{what}");
        process.step();
        assert_eq!(process.told, log.end.0, "{what}: and then all of it is there");
        log.expect(disk.boot(false).content(path()), process.told, what);
        assert_eq!(process.news(), Some(KeepNews::Again), "{what}");
    }
    Ok(())
}

/// The file is as good as before: it needs no room for a second one.
#[test]
fn a_file_that_could_not_be_opened_for_a_while_is_gone_on_with() -> Outcome {
    for (number, is_same) in [(libc::EMFILE, true), (libc::ENOMEM, true), (libc::EIO, false)] {
        let disk = Simulated::default();
        let (process, mut log) = Process::settled(&disk)?;
        drop(process);
        let before = disk.stat(path())?.inode;
        let mut process = Process::start(&disk, &log)?;
        disk.refuse_opens(Some(number));
        log.append()?;
        process.step();
        let told = |error: &LogError| error.to_string().contains(crate::memory::Errno::new(number).name());
        assert!(matches!(process.news(), Some(KeepNews::Failed(error)) if told(&error)));
        assert_eq!(process.told, 0);
        disk.refuse_opens(None);
        // What the file says of itself is found out again.
        process.keeping.begin(process.shared.epoch())?;
        process.step();
        assert_eq!((process.told, process.news()), (log.end.0, Some(KeepNews::Again)));
        log.expect(disk.boot(false).content(path()), process.told, "opened later");
        assert_eq!(disk.stat(path())?.inode == before, is_same, "{number}");
        assert_eq!(process.keeping.standing, Some(Standing::InUse));
    }
    Ok(())
}

/// Nobody calls an old file the newest for a shortage of descriptors.
#[test]
fn only_a_file_that_is_not_there_was_not_on_its_way() -> Outcome {
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let path = folder.path().join("copy");
    let header = Log::new()?.header;
    assert_eq!(on_its_way(&path), Ok(None));
    std::fs::write(beside(&path), b"")?;
    assert_eq!(on_its_way(&path), Ok(None), "it had not begun");
    let mut bytes = vec![0; RING_OFFSET as usize];
    bytes[HEADER_OFFSETS[0] as usize..][..header.encode().len()].copy_from_slice(&header.encode());
    std::fs::write(beside(&path), &bytes)?;
    assert_eq!(on_its_way(&path), Ok(Some((header.history, header.term))));
    // The same way as EMFILE, which would be the whole process's.
    std::fs::remove_file(beside(&path))?;
    std::os::unix::fs::symlink(beside(&path), beside(&path))?;
    let told = on_its_way(&path).map_err(|error| error.to_string());
    assert!(told.as_ref().is_err_and(|told| told.contains("copy.new") && told.contains("ELOOP")), "{told:?}");
    std::fs::remove_file(beside(&path))?;
    std::fs::create_dir(beside(&path))?;
    assert!(on_its_way(&path).is_err(), "it cannot be read");
    Ok(())
}

/// Room is asked for again until there is some: for a new file, and on file systems that write
/// nothing in place for one that is there. Both are said once.
#[test]
fn a_full_disk_is_tried_again_until_there_is_room() -> Outcome {
    const CALLS: u64 = 60;
    for (fault, is_there) in [(Fault::Full, false), (Fault::WriteFails(libc::ENOSPC), true)] {
        let disk = Simulated::default();
        let (mut process, mut log) = if is_there {
            Process::settled(&disk)?
        } else {
            let mut log = Log::new()?;
            let process = Process::start(&disk, &log)?;
            log.tell(HeaderState::Whole)?;
            (process, log)
        };
        let (before, calls) = (process.told, disk.calls());
        (0..CALLS).for_each(|call| disk.fail_in(call, fault));
        let mut news = Vec::new();
        log.append()?;
        while disk.calls() < calls + CALLS {
            process.step();
            assert_eq!(process.told, before, "{fault:?}: nothing more is told");
            news.extend(process.news());
        }
        let full = |news: &KeepNews, what| {
            let KeepNews::Failed(LogError::Storage(StorageError::System { tried, errno, .. })) = news else {
                return false;
            };
            *tried == what && *errno == Errno::new(libc::ENOSPC)
        };
        let tried: &[&str] = if is_there { &["writing", "creating"] } else { &["reserving room for"] };
        let as_wanted = news.iter().zip(tried).all(|(news, tried)| full(news, *tried));
        assert!(news.len() == tried.len() && as_wanted, "{fault:?}: {news:?}");
        (0..2).for_each(|_| process.step());
        assert_eq!((process.told, process.news()), (log.end.0, Some(KeepNews::Again)), "{fault:?}");
        log.expect(disk.boot(false).content(path()), process.told, "room");
    }
    Ok(())
}

/// What somebody else has locked is not marked, and no session rests on it, though it is this log's.
#[test]
fn a_file_that_is_put_there_and_locked_is_waited_for() -> Outcome {
    let disk = Simulated::default();
    let (mut process, mut log) = Process::settled(&disk)?;
    // Another file of this log, by its other name in use by another process.
    let copy = disk.content(path()).ok_or("a file")?;
    disk.remove(path());
    let other = Path::new("/kept/other");
    disk.put(other, &copy);
    let theirs = Place::take(Arc::new(disk.clone()), other, mine(), OWNER_OFFSET)?;
    disk.link(other, path());
    let before = process.told;
    log.append()?;
    process.step();
    process.next_session(&log);
    let epoch = process.shared.epoch();
    let refused = process.keeping.begin(epoch);
    assert!(matches!(refused, Err(LogError::Storage(StorageError::InUse { .. }))), "{refused:?}");
    assert!(!process.keeping.told.is_marked.load(Ordering::Acquire));
    assert_eq!((process.told, disk.content(path())), (before, Some(copy)), "it is left alone");
    drop(theirs);
    process.keeping.begin(epoch)?;
    process.step();
    assert_eq!((process.told, process.keeping.told.is_marked.load(Ordering::Acquire)), (log.end.0, true));
    Ok(())
}

/// What is written next brings the file to its whole length again, with a hole in it.
#[test]
fn a_file_that_is_cut_short_just_before_its_end_is_written_is_found() -> Outcome {
    let disk = Simulated::default();
    let (mut process, mut log) = Process::settled(&disk)?;
    while log.header.ring_bytes.bytes_to_end(log.end) >= size_of_record(PAYLOAD as u32) {
        log.append()?;
    }
    // Room is free: no header is written before the record.
    log.records.drain(..10);
    log.header.tail = log.records[0].0;
    log.tell(HeaderState::Whole)?;
    process.step();
    let before = log.end.0;
    assert_eq!(process.told, before);
    disk.cut_short(path(), 0);
    log.append()?;
    process.step();
    assert_eq!(process.told, before, "nothing more is told");
    process.step();
    assert_eq!(process.told, log.end.0);
    log.expect(disk.boot(false).content(path()), process.told, "cut short");
    Ok(())
}

#[test]
fn a_file_of_others_is_never_replaced() -> Outcome {
    let disk = Simulated::default();
    let (mut process, mut log) = Process::settled(&disk)?;
    let in_use = Process::start(&disk, &log).err();
    assert!(in_use.is_some_and(|error| error.to_string().contains("held by node b of cluster pair")));
    let mut theirs = disk.content(path()).ok_or("a file")?;
    theirs[OWNER_OFFSET as usize..][..256].copy_from_slice(&owner("wal", "d", "pair").encode());
    for content in [theirs.clone(), b"a letter to somebody".to_vec()] {
        disk.put(path(), &content);
        log.append()?;
        process.step();
        let calls = disk.calls();
        for _ in 0..4 {
            log.append()?;
            process.step();
        }
        assert_eq!((disk.calls(), disk.content(&beside(path()))), (calls, None), "no try writes a file");
        assert_eq!(disk.content(path()), Some(content), "it is left alone");
        assert!(process.told < log.end.0);
    }
    disk.remove(path());
    process.step();
    assert_eq!(process.told, log.end.0, "the name is free again");
    drop(process);
    disk.put(path(), &theirs);
    let foreign = Process::start(&disk, &log).err().ok_or("another node's file was taken")?;
    assert!(foreign.to_string().contains("node d"), "{foreign}");
    Ok(())
}

/// One that an earlier release wrote says nothing of its owner: it is taken over.
#[test]
fn a_file_without_an_owner_gets_one() -> Outcome {
    let disk = Simulated::default();
    let mut log = Log::new()?;
    log.tell(HeaderState::Whole)?;
    log.append()?;
    let mut area = vec![0; log.header.ring_bytes.area_bytes() as usize];
    log.copy.region().read(0, &mut area)?;
    disk.put(path(), &area);
    let mut process = Process::start(&disk, &log)?;
    log.append()?;
    process.step();
    assert_eq!(process.told, log.end.0);
    let content = disk.boot(false).content(path()).ok_or("a file")?;
    assert_eq!(content[OWNER_OFFSET as usize..][..256], mine().encode());
    log.expect(Some(content), process.told, "taken over");
    Ok(())
}
