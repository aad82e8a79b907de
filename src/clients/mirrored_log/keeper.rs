//! Keeps the copy of the partner's log in a file: a thread that writes what has arrived, syncs it, and says how far it is.
//!
//! The file has the layout of the area, header copies and ring at the same places, so that whatever reads a copy reads it. Records go to disk
//! before they are answered for; a header that frees room goes to disk before records that use that room.
//!
//! A copy that begins anew (another log, or a refill from the start) grows in a file beside, and takes the old one's place when it is whole.

use super::area::{HEADER_OFFSETS, RING_OFFSET};
use super::copy::{CopyShared, CopySource, header_of};
use super::error::LogError;
use super::header::{HeaderState, LogHeader};
use super::lsn::{Generation, History, Lsn, Term};
use super::reader::Records;
use super::term::{beside, folder_of, sync_folder};
use crate::memory::{Errno, Region};
use crate::sys;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes moved from memory to the file at once.
const PIECE_BYTES: usize = 1 << 20;

/// After something came the thread looks for more so long before it sleeps.
const SPIN: Duration = Duration::from_micros(500);

/// A sleep between two looks.
const SLEEP: Duration = Duration::from_micros(100);

/// What the thread and its owner have in common.
#[derive(Debug)]
struct Told {
    /// Of which copy, by the epoch, everything before `to` is on disk.
    epoch: AtomicU64,
    to: AtomicU64,
    stop: AtomicBool,
    /// The copy, by the epoch, that could not be kept.
    failed_epoch: AtomicU64,
    /// Whether there is a failure to take: looked at without the lock.
    has_failed: AtomicBool,
    failed: Mutex<Option<LogError>>,
}

impl Told {
    fn new() -> Self {
        Self {
            epoch: AtomicU64::new(0),
            to: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            failed_epoch: AtomicU64::new(u64::MAX),
            has_failed: AtomicBool::new(false),
            failed: Mutex::default(),
        }
    }

    #[cold]
    fn fail(&self, epoch: u64, error: LogError) {
        self.failed_epoch.store(epoch, Ordering::Release);
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.has_failed.store(true, Ordering::Release);
    }
}

/// The thread that keeps a copy in a file. Dropping it stops the thread.
#[derive(Debug)]
pub(super) struct Keeper {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it.
    ///
    /// # Errors
    /// [`LogError::File`]: no thread is to be had.
    pub(super) fn start(path: PathBuf, copy: Arc<CopyShared>) -> Result<Self, LogError> {
        let told = Arc::new(Told::new());
        let here = Arc::clone(&told);
        let run = move || Keeping { path, copy, told: here, file: None, buffer: vec![0; PIECE_BYTES] }.run();
        let thread = std::thread::Builder::new().name("handfast-keeper".to_owned()).spawn(run).map_err(|error| {
            let tried = "starting the thread that keeps the partner's log in a file".to_owned();
            LogError::File { tried, errno: Errno::from(&error) }
        })?;
        Ok(Self { told, thread: Some(thread) })
    }

    /// Up to where the copy of this epoch is on disk; zero where nothing of it is.
    pub(super) fn persisted(&self, epoch: u64) -> u64 {
        // In this order: the thread sets `to` to zero before it sets the epoch, and only who asks raises that.
        if self.told.epoch.load(Ordering::Acquire) == epoch { self.told.to.load(Ordering::Acquire) } else { 0 }
    }

    /// Whether the copy of this epoch is kept, as far as is known. One load.
    #[inline]
    pub(super) fn keeps(&self, epoch: u64) -> bool {
        self.told.failed_epoch.load(Ordering::Acquire) != epoch
    }

    /// What went wrong since it was asked last. One load where nothing did.
    #[inline]
    pub(super) fn take_failure(&self) -> Option<LogError> {
        if self.told.has_failed.load(Ordering::Acquire) { self.take_failure_now() } else { None }
    }

    #[cold]
    fn take_failure_now(&self) -> Option<LogError> {
        self.told.has_failed.store(false, Ordering::Release);
        self.told.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.told.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            sys::thread::join(thread);
        }
    }
}

/// Whether what was kept under the one header is a part of what is there under the other.
fn is_same(kept: &LogHeader, now: &LogHeader) -> bool {
    kept.history == now.history && kept.lineage == now.lineage && kept.ring_bytes == now.ring_bytes
}

/// The log and term of a copy that was on its way to a file when its process ended.
pub(super) fn on_its_way(path: &Path) -> Option<(History, Term)> {
    let header = LogHeader::read(&File::open(beside(path)).ok()?).ok()?;
    Some((header.history, header.term))
}

/// Loads what a file holds into memory; none where there is no file yet.
///
/// # Errors
/// [`LogError::File`], [`LogError::Headers`], [`LogError::Short`]: it is there, and is no log.
pub(super) fn load(path: &Path) -> Result<Option<CopySource>, LogError> {
    let file = match File::open(path) {
        Ok(file) => file,
        // Where there is no folder there never will be a file.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && folder_of(path).is_dir() => return Ok(None),
        Err(error) => return Err(failed("opening", path, &error)),
    };
    let header = LogHeader::read(&file)?;
    let bytes = header.ring_bytes.area_bytes();
    if super::Source::length(&file)? < bytes {
        return Err(LogError::Short { bytes: super::Source::length(&file)?, needed: bytes });
    }
    let wrong = |error: crate::memory::MemoryError| LogError::Session(error.to_string());
    let region = Region::builder(bytes as usize).pinned(false).build().map_err(wrong)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < bytes {
        let length = (bytes - at).min(PIECE_BYTES as u64) as usize;
        let Some(piece) = piece.get_mut(..length) else { break };
        file.read_exact_at(piece, at).map_err(|error| failed("reading", path, &error))?;
        // New memory holds zeroes. A file that is long and empty takes none of it.
        if piece.iter().any(|byte| *byte != 0) {
            region.write(at as usize, piece).map_err(wrong)?;
        }
        at += length as u64;
    }
    Ok(Some(CopySource::loaded(region)))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> LogError {
    LogError::File {
        tried: format!("{what} {}, which keeps the partner's log", path.display()),
        errno: Errno::from(error),
    }
}

/// The file of one copy.
struct Kept {
    file: File,
    /// Its name while the copy is not whole, and where it goes then.
    beside: Option<PathBuf>,
    /// As it is on disk, and in which of its two places.
    header: LogHeader,
    place: usize,
    /// Everything before this is on disk.
    to: Lsn,
    generation: Generation,
}

struct Keeping {
    path: PathBuf,
    copy: Arc<CopyShared>,
    told: Arc<Told>,
    file: Option<Kept>,
    buffer: Vec<u8>,
}

impl Keeping {
    fn run(mut self) {
        let mut epoch = 0;
        let mut busy_until = Instant::now();
        while !self.told.stop.load(Ordering::Acquire) {
            if self.copy.epoch() != epoch {
                let (now, _) = self.copy.current();
                epoch = now;
                self.told.to.store(0, Ordering::Release);
                self.told.epoch.store(epoch, Ordering::Release);
                self.file = None;
            }
            match self.step() {
                Ok(true) => busy_until = Instant::now() + SPIN,
                Ok(false) if Instant::now() < busy_until => std::hint::spin_loop(),
                Ok(false) => std::thread::sleep(SLEEP),
                Err(error) => {
                    tracing::error!(%error, "the partner's log is not kept any more until the next session");
                    self.told.fail(epoch, error);
                    self.wait_for_another(epoch);
                }
            }
        }
    }

    /// After a failed write or sync nothing is known of the file's pages (fsync(2), errors): not another try before the next session.
    fn wait_for_another(&mut self, epoch: u64) {
        self.told.to.store(0, Ordering::Release);
        while self.copy.epoch() == epoch && !self.told.stop.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Writes and syncs what is new. Whether there was anything.
    fn step(&mut self) -> Result<bool, LogError> {
        let (_, Some(copy)) = self.copy.current() else { return Ok(false) };
        // None yet: the partner has not begun.
        let Some(header) = header_of(&copy) else { return Ok(false) };
        let mut kept = match self.file.take() {
            Some(kept) if is_same(&kept.header, &header) => kept,
            _ => self.open(&header)?,
        };
        let moved = self.follow(&mut kept, &copy, header);
        self.file = Some(kept);
        moved
    }

    /// The file to go on with: what is there where it is of this log and the copy is whole, else a new one beside it.
    fn open(&self, header: &LogHeader) -> Result<Kept, LogError> {
        if header.state == HeaderState::Whole
            && let Some(kept) = self.open_kept(header)
        {
            return Ok(kept);
        }
        let beside = beside(&self.path);
        let wrong = |error: std::io::Error| failed("creating", &beside, &error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&beside).map_err(wrong)?;
        let bytes = header.ring_bytes.area_bytes();
        sys::file::reserve(&file, bytes).map_err(|errno| LogError::File {
            tried: format!("reserving {bytes} bytes for {}, which keeps the partner's log", beside.display()),
            errno,
        })?;
        // What it holds before it is whole is nothing to go by; but who finds it knows of its term.
        let header = LogHeader { sequence: 0, state: HeaderState::Refilling, ..*header };
        let written = file.write_all_at(&header.encode(), HEADER_OFFSETS[0]).and_then(|()| file.sync_data());
        written.map_err(wrong)?;
        Ok(Kept { file, beside: Some(beside), header, place: 0, to: header.tail, generation: Generation(0) })
    }

    /// The file as it is, if it is of this log, and a prefix of the copy.
    fn open_kept(&self, header: &LogHeader) -> Option<Kept> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path).ok()?;
        let held = super::writer::Held::of(&file).ok()??;
        let same = is_same(&held.header, header)
            && held.is_sound()
            && held.header.tail <= header.tail
            && held.end.lsn >= header.tail;
        let copies = LogHeader::copies(&file).ok()?;
        let place = copies.iter().position(|copy| copy.as_ref() == Ok(&held.header))?;
        same.then(|| Kept {
            file,
            beside: None,
            header: held.header,
            place,
            to: held.end.lsn,
            generation: held.end.generation,
        })
    }

    fn follow(&mut self, kept: &mut Kept, copy: &CopySource, header: LogHeader) -> Result<bool, LogError> {
        let mut moved = false;
        if kept.beside.is_none() && header.sequence != kept.header.sequence {
            self.write_header(kept, header)?;
            moved = true;
        } else {
            kept.header = LogHeader { sequence: kept.header.sequence, ..header };
        }
        // By the header that is on disk: it leads to what is written now.
        let mut records = Records::with_header(copy.clone(), kept.header)?;
        if kept.to < kept.header.tail {
            kept.to = kept.header.tail;
        }
        records.seek(kept.to, kept.generation)?;
        let end = records.skip_to_end()?;
        if end.lsn > kept.to {
            self.write_records(kept, copy, end.lsn)?;
            kept.file.sync_data().map_err(|error| failed("syncing", &self.path, &error))?;
            (kept.to, kept.generation) = (end.lsn, end.generation);
            moved = true;
        }
        if kept.beside.is_some() && header.state == HeaderState::Whole {
            self.put_in_place(kept, header)?;
            moved = true;
        }
        if kept.beside.is_none() && kept.to.0 > self.told.to.load(Ordering::Relaxed) {
            self.told.to.store(kept.to.0, Ordering::Release);
        }
        Ok(moved)
    }

    fn write_header(&self, kept: &mut Kept, header: LogHeader) -> Result<(), LogError> {
        // Where the last one does not lie, whichever were passed over in between: while this is written that must be good.
        let place = 1 - kept.place;
        let offset = HEADER_OFFSETS[place];
        let wrong = |error: std::io::Error| failed("writing the header of", &self.path, &error);
        kept.file.write_all_at(&header.encode(), offset).map_err(wrong)?;
        kept.file.sync_data().map_err(|error| failed("syncing", &self.path, &error))?;
        (kept.header, kept.place) = (header, place);
        Ok(())
    }

    fn write_records(&mut self, kept: &Kept, copy: &CopySource, end: Lsn) -> Result<(), LogError> {
        let ring_bytes = kept.header.ring_bytes;
        let mut at = kept.to;
        while at < end {
            let left = (end.0 - at.0).min(ring_bytes.bytes_to_end(at)).min(PIECE_BYTES as u64);
            let place = RING_OFFSET + ring_bytes.offset_of(at);
            let Some(piece) = self.buffer.get_mut(..left as usize) else { break };
            super::Source::read(copy, place, piece)?;
            kept.file.write_all_at(piece, place).map_err(|error| failed("writing", &self.path, &error))?;
            at = Lsn(at.0 + left);
        }
        Ok(())
    }

    /// The copy beside is whole: it takes the place of the one before.
    fn put_in_place(&self, kept: &mut Kept, header: LogHeader) -> Result<(), LogError> {
        self.write_header(kept, header)?;
        let Some(beside) = kept.beside.take() else { return Ok(()) };
        let renamed = fs::rename(&beside, &self.path).and_then(|()| sync_folder(&self.path));
        renamed.map_err(|error| failed("putting in place", &self.path, &error))
    }
}
