//! A follower on a thread of its own, fed by the copy of the partner's log.

use crate::clients::mirrored_log::{CopyState, LogCopy, Lsn};
use crate::engines::redb::follower::{FollowError, Followed, Follower, FollowerOptions};
use crate::engines::redb::image::ImageError;
use crate::sys::{self, thread::NoThread};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of the log between two reports.
const TURN_BYTES: u64 = 1 << 20;
/// How long it goes on looking after it had something to do, and how long it sleeps between two looks then.
const SPIN: Duration = Duration::from_micros(100);
const SLEEP: Duration = Duration::from_micros(250);
/// An image that is ahead of a whole copy for so long is of no use for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// From a failure of the images to the next try, at first; twice as long after each.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// And at most.
const RETRY_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Told {
    stop: AtomicBool,
    operations: AtomicU64,
    applied: AtomicU64,
    failed: Mutex<Option<FollowError>>,
}

/// A follower at work. Dropping it ends the thread, after a last claim; the folder may then be used by others.
#[derive(Debug)]
pub struct FollowerThread {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

impl FollowerThread {
    /// Opens the folder of images and applies the copy's records to them from now on. It tells the partner what is applied, and where it needs an image: begin
    /// before the session does, so that the partner knows from the first record on.
    ///
    /// # Errors
    /// [`ImageError`]: the folder cannot be used, or the system has no thread to give.
    pub fn start(copy: LogCopy, folder: impl AsRef<Path>, options: FollowerOptions) -> Result<Self, ImageError> {
        let follower = Follower::open(folder.as_ref(), options)?;
        let told = Arc::new(Told::default());
        let here = Arc::clone(&told);
        let at = folder.as_ref().to_owned();
        let what = format!("the thread that follows into {}", at.display());
        let thread = sys::thread::start("redb-follower", &what, move || run((follower, at, options), &copy, &here))
            .map_err(|NoThread { tried, errno }| ImageError::NoThread { tried, errno })?;
        Ok(Self { told, thread: Some(thread) })
    }

    /// Operations applied so far.
    pub fn operations(&self) -> u64 {
        self.told.operations.load(Ordering::Relaxed)
    }

    /// Everything before this is in an image that a database can be built from. 0 while there is no such image.
    pub fn applied(&self) -> Lsn {
        Lsn(self.told.applied.load(Ordering::Relaxed))
    }

    /// Why nothing is applied at present, if so: the partner's ring fills up meanwhile. Where it is an [`FollowError::Image`] the folder is opened anew,
    /// within 5 s each time, and this is none again once that went well; anything else has ended the thread.
    pub fn failure(&self) -> Option<FollowError> {
        self.told.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FollowerThread {
    fn drop(&mut self) {
        self.told.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            sys::thread::join(thread);
        }
    }
}

/// After a file failed nothing is claimed through it any more: the folder is opened anew, and what was applied since the last claim is applied again.
fn run((follower, folder, options): (Follower, PathBuf, FollowerOptions), copy: &LogCopy, told: &Told) {
    let (mut follower, mut pause) = (Some(follower), RETRY_MIN);
    while !told.stop.load(Ordering::Relaxed) || follower.is_some() {
        let before = told.operations.load(Ordering::Relaxed);
        let ended = match follower.take() {
            Some(mut follower) => follow(&mut follower, copy, told),
            None => match Follower::open(&folder, options) {
                Ok(opened) => {
                    told.fail(None);
                    follower = Some(opened);
                    continue;
                }
                Err(error) => Err(error.into()),
            },
        };
        let Err(error) = ended else { return };
        let is_over = !matches!(error, FollowError::Image(_));
        told.fail(Some(error));
        if is_over {
            return;
        }
        if told.operations.load(Ordering::Relaxed) != before {
            pause = RETRY_MIN;
        }
        let until = Instant::now() + pause;
        while Instant::now() < until && !told.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}

impl Told {
    /// Why nothing is applied at present; said where it is another reason.
    fn fail(&self, why: Option<FollowError>) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = why.as_ref().filter(|why| failed.as_ref() != Some(*why)) {
            let again = matches!(error, FollowError::Image(_));
            tracing::error!(%error, again, "the partner's database file is not followed: where `again` is true, tried again within 5 s");
        }
        *failed = why;
    }
}

fn follow(follower: &mut Follower, copy: &LogCopy, told: &Told) -> Result<(), FollowError> {
    let mut busy_at = Instant::now();
    while !told.stop.load(Ordering::Relaxed) {
        let (followed, room) = turn(follower, copy)?;
        if followed.bytes > 0 {
            busy_at = Instant::now();
        } else {
            follower.claim_if_due()?;
            // A copy that is on its way says so; one that is whole may have been the earlier one, a moment ago.
            if busy_at.elapsed() >= PATIENCE && copy.status().state == CopyState::Whole {
                follower.log_is_whole();
            }
        }
        told.operations.fetch_add(followed.operations, Ordering::Relaxed);
        report(follower, copy, room, told);
        if followed.bytes == 0 && busy_at.elapsed() >= SPIN {
            std::thread::sleep(SLEEP);
        }
    }
    follower.claim()?;
    report(follower, copy, 0, told);
    Ok(())
}

/// Applies what there is; how many bytes may lie unread, and unfreed, in the ring before there may be no room for an image.
fn turn(follower: &mut Follower, copy: &LogCopy) -> Result<(Followed, u64), FollowError> {
    let Some(mut records) = copy.records()? else { return Ok((Followed::default(), 0)) };
    let room = records.header().ring_bytes.get() / 2;
    Ok((follower.follow(&mut records, TURN_BYTES)?, room))
}

/// Tells the partner. It frees nothing for a follower that needs an image: while that leaves too little room, such a one tells what may be freed instead.
fn report(follower: &Follower, copy: &LogCopy, room: u64, told: &Told) {
    let Some(history) = follower.history() else {
        if follower.needs_image() {
            copy.needs_base();
        }
        return;
    };
    let applied = follower.applied();
    let kept = applied.map_or(0, |applied| applied.bytes_since(copy.status().tail).unwrap_or(0));
    match applied {
        Some(applied) if !follower.needs_image() || kept > room => copy.applied(history, applied),
        _ if follower.needs_image() => copy.needs_base(),
        _ => {}
    }
    told.applied.store(follower.built().map_or(0, |lsn| lsn.0), Ordering::Relaxed);
}
