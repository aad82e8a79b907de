//! Keeps the copy of the partner's log in a file: a thread that writes what has arrived, syncs it, and says how far it is.
//!
//! The file has the layout of the area, header copies and ring at the same places, so that whatever reads a copy reads it. Records go to disk
//! before they are answered for; a header that frees room goes to disk before records that use that room.
//!
//! A copy that begins anew (another log, or a refill from the start) grows in a file beside, and takes the old one's place when it is whole.
//! So does every copy after a write or a sync that failed, after the file was removed or replaced by others, and in time after a full disk.
//! What an earlier process left is written once more, in place: it may be in the page cache alone.
//!
//! A mark in the file says what it can be relied on for. When a session begins it is marked as in use: what is acknowledged below `Persistent` may
//! reach the memory and not the file. The partner's report tells whether the file vouches still, and its owner acknowledges nothing below `Persistent`
//! while it does. Where nothing is acknowledged but what is on this disk the file says so, from when it has caught up; and when all of the copy was
//! brought to the disk at the end.

mod load;
mod standing;
#[cfg(test)]
mod tests;
mod told;

use super::area::{HEADER_OFFSETS, OWNER_OFFSET, RING_OFFSET};
use super::copy::{CopyShared, CopySource, CopyState, header_of};
use super::error::LogError;
use super::evidence::Standing;
use super::header::{HeaderState, LogHeader};
use super::lsn::{Generation, Lsn};
use super::reader::Records;
use crate::storage::{Durable, Owner, Place, StorageError, System};
use crate::sys;
use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) use load::{load, on_its_way};
use standing::mark;
pub(super) use told::KeepNews;
use told::Told;

/// Bytes moved from memory to the file at once.
const PIECE_BYTES: usize = 1 << 20;

/// After something came the thread looks for more so long before it sleeps.
const SPIN: Duration = Duration::from_micros(500);

/// A sleep between two looks.
const SLEEP: Duration = Duration::from_micros(100);

/// Between two looks at whether the name still means the file, where no sync looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Steps in which the rest of a copy that nobody changes is on the disk.
const ENDING_STEPS: u32 = 8;

/// From a failure to the next try, at first; twice as long after each.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// And at most.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Who keeps the file: the copy of this log, held by this node.
pub(super) fn owner(log: &str, node: &str, cluster: &str) -> Owner {
    Owner::new(format!("the copy of log {log} held by node {node} of cluster {cluster}"))
}

/// Takes the name of the file.
///
/// # Errors
/// [`LogError::Storage`]: another log has it, it is not such a file, or its folder is not there.
pub(super) fn take(path: &Path, owner: Owner) -> Result<Place, LogError> {
    Ok(Place::take(Arc::new(System), path, owner, OWNER_OFFSET)?)
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
    pub(super) fn start(place: Place, copy: Arc<CopyShared>) -> Result<Self, LogError> {
        let told = Arc::new(Told::default());
        let here = Arc::clone(&told);
        let run = move || Keeping::new(place, copy, here).run();
        let thread = sys::thread::start("handfast-keeper", "the thread that keeps the partner's log in a file", run)?;
        Ok(Self { told, thread: Some(thread) })
    }

    /// Up to where the copy of this epoch is on disk; zero where nothing of it is.
    pub(super) fn persisted(&self, epoch: u64) -> u64 {
        // In this order: the thread sets `to` to zero before it sets the epoch, and only who asks raises that.
        if self.told.epoch.load(Ordering::Acquire) == epoch { self.told.to.load(Ordering::Acquire) } else { 0 }
    }

    /// Whether the copy is kept, as far as is known. One load.
    #[inline]
    pub(super) fn keeps(&self) -> bool {
        !self.told.is_failing.load(Ordering::Acquire)
    }

    /// Whether the file says, or may say, that it has all that is acknowledged. One load.
    pub(super) fn vouches(&self) -> bool {
        !self.told.is_marked.load(Ordering::Acquire)
    }

    /// What happened since it was asked last, in order. One load where nothing did.
    #[inline]
    pub(super) fn take_news(&self) -> Option<KeepNews> {
        if self.told.has_news.load(Ordering::Acquire) { self.take_news_now() } else { None }
    }

    #[cold]
    fn take_news_now(&self) -> Option<KeepNews> {
        let mut all = self.told.news.lock().unwrap_or_else(PoisonError::into_inner);
        let news = all.pop_front();
        self.told.has_news.store(!all.is_empty(), Ordering::Release);
        news
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

/// The file of one copy.
#[derive(Debug)]
struct Kept {
    file: Durable,
    /// Whether it still grows beside, and is not whole.
    is_beside: bool,
    /// As it is in the file, and in which of its two places.
    header: LogHeader,
    place: usize,
    /// Everything before this was written by this process, and synced.
    to: Lsn,
    generation: Generation,
}

#[derive(Debug)]
struct Keeping {
    place: Place,
    copy: Arc<CopyShared>,
    told: Arc<Told>,
    file: Option<Kept>,
    /// Of the session that [`Keeping::begin`] saw last.
    begun: u64,
    /// What the file under the name says of itself; none where that is not known.
    standing: Option<Standing>,
    /// The file under the name is not to be gone on with: something of it failed.
    is_spoilt: bool,
    /// Why nothing is kept at present.
    failure: Option<LogError>,
    retry: Duration,
    looked: Instant,
    buffer: Vec<u8>,
}

impl Keeping {
    fn new(place: Place, copy: Arc<CopyShared>, told: Arc<Told>) -> Self {
        let buffer = vec![0; PIECE_BYTES];
        let (file, standing, failure) = (None, None, None);
        Self {
            place,
            copy,
            told,
            file,
            begun: 0,
            standing,
            is_spoilt: false,
            failure,
            retry: RETRY_MIN,
            looked: Instant::now(),
            buffer,
        }
    }

    fn run(mut self) {
        let mut epoch = 0;
        let mut busy_until = Instant::now();
        while !self.told.stop.load(Ordering::Acquire) {
            if self.copy.epoch() != epoch {
                let (now, _) = self.copy.current();
                epoch = now;
                self.told.to.store(0, Ordering::Release);
                self.told.epoch.store(epoch, Ordering::Release);
                // Of a memory that was given up, maybe: another writer may go on from before its end.
                self.file.take_if(|kept| kept.is_beside);
            }
            match self.begin(epoch).and_then(|()| self.step()).and_then(|moved| self.look_if_due().map(|()| moved)) {
                Ok(moved) => {
                    if moved {
                        busy_until = Instant::now() + SPIN;
                    } else if Instant::now() < busy_until {
                        std::hint::spin_loop();
                    } else {
                        std::thread::sleep(SLEEP);
                    }
                }
                Err(error) => {
                    self.failed(error);
                    self.wait_to_retry();
                }
            }
        }
        if epoch > 0 && self.failure.is_none() {
            // What the partner was told to be in this memory is seen from here on: its session has ended before.
            fence(Ordering::SeqCst);
            if let Err(error) = self.end() {
                tracing::warn!(%error, "the file that keeps the partner's log did not end in order: it may lack the last records");
            }
        }
    }

    /// While nothing is synced, whether the name still means the file is looked at now and then.
    fn look_if_due(&mut self) -> Result<(), LogError> {
        if self.looked.elapsed() >= LOOK_INTERVAL {
            self.looked = Instant::now();
            if let Some(kept) = self.file.as_ref().filter(|kept| !kept.is_beside) {
                kept.file.look()?;
            }
        }
        Ok(())
    }

    /// No session will change the copy any more: all of it is brought to the disk, and the file says so.
    fn end(&mut self) -> Result<(), LogError> {
        let mut left = ENDING_STEPS;
        while self.step()? {
            // Somebody writes on: whatever that is, it is no partner's.
            left = left.saturating_sub(1);
            if left == 0 {
                return Ok(());
            }
        }
        let is_whole = self.copy.best().is_some_and(|(_, _, state)| state == CopyState::Whole);
        match &mut self.file {
            Some(kept) if is_whole && !kept.is_beside && self.standing == Some(Standing::InUse) => {
                mark(&mut kept.file, Standing::Ended)
            }
            _ => Ok(()),
        }
    }

    /// Said once, and again where it is another reason.
    #[cold]
    fn failed(&mut self, error: LogError) {
        self.forget(&error);
        if self.failure.as_ref() != Some(&error) {
            tracing::error!(%error, "the partner's log is not kept on disk at present: tried again within 5 s");
            self.told.fail(error.clone());
            self.failure = Some(error);
        }
    }

    /// After a failed write or sync nothing is known of the file's pages (fsync(2), errors): the next try is a new file. What could not be
    /// opened for a shortage is as good as before.
    fn forget(&mut self, error: &LogError) {
        let is_spoilt = match error {
            LogError::Storage(error) => error.spoils(),
            error => !error.is_passing(),
        };
        if is_spoilt {
            (self.file, self.is_spoilt) = (None, true);
        }
        if matches!(error, LogError::Storage(StorageError::Gone { .. })) {
            // What has the name by now may say anything.
            self.raise();
        }
        self.standing = None;
    }

    fn wait_to_retry(&mut self) {
        let until = Instant::now() + self.retry;
        while Instant::now() < until && !self.told.stop.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.retry = (self.retry * 2).min(RETRY_MAX);
    }

    /// Writes and syncs what is new. Whether there was anything.
    fn step(&mut self) -> Result<bool, LogError> {
        let (now, Some(copy)) = self.copy.current() else { return Ok(false) };
        if now != self.told.epoch.load(Ordering::Acquire) {
            // Another session has begun just now: it is marked first.
            return Ok(true);
        }
        // None yet: the partner has not begun.
        let Some(header) = header_of(&copy) else { return Ok(false) };
        self.heed(&header)?;
        // One that is not gone on with is closed before, and its lock with it.
        let mut kept = match self.file.take().filter(|kept| goes_on(kept, &header)) {
            Some(kept) => kept,
            None => self.open(&header)?,
        };
        let moved = self.follow(&mut kept, &copy, header)?;
        self.file = Some(kept);
        Ok(moved)
    }

    /// The file to go on with: what is there where it is of this log and the copy is whole, else a new one beside it.
    fn open(&mut self, header: &LogHeader) -> Result<Kept, LogError> {
        if header.state == HeaderState::Whole
            && !self.is_spoilt
            && let Some(kept) = self.open_kept(header)?
        {
            return Ok(kept);
        }
        let mut file = self.place.create_beside(header.ring_bytes.area_bytes())?;
        // What it holds before it is whole is nothing to go by; but who finds it knows of its term.
        let header = LogHeader { sequence: 0, state: HeaderState::Refilling, ..*header };
        file.write_at(&header.encode(), HEADER_OFFSETS[0])?;
        mark(&mut file, Standing::InUse)?;
        Ok(Kept { file, is_beside: true, header, place: 0, to: header.tail, generation: Generation(0) })
    }

    /// The file as it is, if it is of this log, and a prefix of the copy. Nothing of it counts as being on the disk: the process that
    /// wrote it may have ended before a sync, or been told that one failed.
    fn open_kept(&mut self, header: &LogHeader) -> Result<Option<Kept>, LogError> {
        let Some(mut file) = self.place.open(header.ring_bytes.area_bytes())? else { return Ok(None) };
        let Ok(Some(held)) = super::writer::Held::of(&file) else { return Ok(None) };
        let same = is_same(&held.header, header)
            && held.is_sound()
            && held.header.tail <= header.tail
            && held.end.lsn >= header.tail;
        let copies = LogHeader::copies(&file)?;
        let place = copies.iter().position(|copy| copy.as_ref() == Ok(&held.header));
        let (true, Some(place)) = (same, place) else { return Ok(None) };
        // The same bytes at the same place: whatever of them is on the disk already, a crash meanwhile leaves it readable.
        file.write_at(&held.header.encode(), HEADER_OFFSETS[place])?;
        let _ = file.sync(0)?;
        let to = held.header.tail;
        Ok(Some(Kept { file, is_beside: false, header: held.header, place, to, generation: Generation(0) }))
    }

    fn follow(&mut self, kept: &mut Kept, copy: &CopySource, header: LogHeader) -> Result<bool, LogError> {
        let mut moved = false;
        if !kept.is_beside && header.sequence != kept.header.sequence {
            write_header(kept, header)?;
            moved = true;
        } else {
            kept.header = LogHeader { sequence: kept.header.sequence, ..header };
        }
        if kept.is_beside && header.state != HeaderState::Whole {
            // What lies there may be an earlier writer's still, and is written over by and by.
            return Ok(moved);
        }
        // By the header that is on disk: it leads to what is written now.
        let mut records = Records::with_header(copy.clone(), kept.header)?;
        if kept.to < kept.header.tail {
            kept.to = kept.header.tail;
        }
        records.seek(kept.to, kept.generation)?;
        let end = records.skip_to_end()?;
        let mut done = None;
        if end.lsn > kept.to {
            if !self.write_records(kept, copy, end.lsn)? {
                return Ok(true);
            }
            done = Some(kept.file.sync(end.lsn.0)?);
            (kept.to, kept.generation) = (end.lsn, end.generation);
            moved = true;
        }
        // Whatever was acknowledged in earlier sessions is in the file by now, and from here on what is acknowledged waits for it.
        let vouches = header.persistent && header.state == HeaderState::Whole && self.copy.is_told(&header);
        if kept.is_beside && header.state == HeaderState::Whole {
            if vouches {
                self.raise();
                mark(&mut kept.file, Standing::Persistent)?;
            }
            write_header(kept, header)?;
            self.place.put_in_place(&mut kept.file)?;
            kept.is_beside = false;
            match vouches {
                true => self.standing = Some(Standing::Persistent),
                false => self.lowered(),
            }
            moved = true;
        } else if vouches && self.standing == Some(Standing::InUse) {
            self.raise();
            mark(&mut kept.file, Standing::Persistent)?;
            self.standing = Some(Standing::Persistent);
            moved = true;
        }
        let is_news = self.told.to.load(Ordering::Relaxed) < kept.to.0;
        // What was carried over may be of another log than the session's.
        if !kept.is_beside && is_news && self.copy.is_told(&header) {
            // Under another name until now, or told of in a session before: the name is looked at once more.
            let done = match done {
                Some(done) => done,
                None => kept.file.sync(kept.to.0)?,
            };
            self.told.persisted(&done);
        }
        if !kept.is_beside && self.failure.is_some() {
            (self.failure, self.is_spoilt, self.retry) = (None, false, RETRY_MIN);
            tracing::info!(file = %self.place.path().display(), "the partner's log is kept on disk again");
            self.told.recovered();
        }
        Ok(moved)
    }

    /// Writes what was found to be whole records; false where its room was freed meanwhile, so that the next header comes first.
    fn write_records(&mut self, kept: &mut Kept, copy: &CopySource, end: Lsn) -> Result<bool, LogError> {
        let ring_bytes = kept.header.ring_bytes;
        let mut at = kept.to;
        while at < end {
            let left = (end.0 - at.0).min(ring_bytes.bytes_to_end(at)).min(PIECE_BYTES as u64);
            let place = RING_OFFSET + ring_bytes.offset_of(at);
            let Some(piece) = self.buffer.get_mut(..left as usize) else { break };
            super::Source::read(copy, place, piece)?;
            // The header that frees room is there before that is used anew: what was read is this lap's where it is not there yet.
            fence(Ordering::Acquire);
            if header_of(copy).is_none_or(|now| now.tail > at || !is_same(&kept.header, &now)) {
                return Ok(false);
            }
            kept.file.write_at(piece, place)?;
            at = Lsn(at.0 + left);
        }
        Ok(true)
    }
}

/// Whether what was written through this handle is a part of what is there under this header: also after another session began.
fn goes_on(kept: &Kept, header: &LogHeader) -> bool {
    let in_session = kept.is_beside || header.state == HeaderState::Whole;
    is_same(&kept.header, header) && in_session && kept.header.tail <= header.tail
}

fn write_header(kept: &mut Kept, header: LogHeader) -> Result<(), LogError> {
    // Where the last one does not lie, whichever were passed over in between: while this is written that must be good.
    let place = 1 - kept.place;
    kept.file.write_at(&header.encode(), HEADER_OFFSETS[place])?;
    let _ = kept.file.sync(0)?;
    (kept.header, kept.place) = (header, place);
    Ok(())
}
