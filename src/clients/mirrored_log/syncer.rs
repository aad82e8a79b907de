//! Brings a ring in a file to the disk while its log goes on alone under `Persistent`: a thread, and how far it is.
//!
//! What is acknowledged then rests on this disk, so the ring can be gone on with after a power cut. A mark in the file says so. It is written
//! after everything before it was synced, and synced before anything is acknowledged by it. It is taken back when the partner's disk has all that
//! is acknowledged, and that is synced before the partner acknowledges more: what the partner has on its disk need not be on this one. So at any
//! time one of both disks vouches for what is acknowledged.

use super::area::EVIDENCE_OFFSET;
use super::error::LogError;
use super::evidence::{Boot, Seen, Standing};
use super::lsn::Lsn;
use crate::memory::Errno;
use crate::storage::{DiskFile, Name};
use crate::sys;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// A sleep between two looks, where nobody wakes the thread.
const SLEEP: Duration = Duration::from_millis(100);

/// What the poller asks for, and what is done.
#[derive(Debug, Default)]
struct Told {
    /// Committed up to here; and how often something was asked for.
    wanted: AtomicU64,
    asked: AtomicU64,
    /// On the disk up to here; and which asking that answers.
    done: AtomicU64,
    answered: AtomicU64,
    /// Whether the file is to vouch for what is acknowledged, and whether it does.
    vouch: AtomicBool,
    vouches: AtomicBool,
    /// The asking with which the first of these was set.
    vouch_asked: AtomicU64,
    stop: AtomicBool,
    failed: OnceLock<LogError>,
}

/// The thread. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Syncer {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts it on the ring's file.
    ///
    /// # Errors
    /// [`LogError::File`]: no thread is to be had.
    pub(super) fn start(file: Box<dyn DiskFile>, name: Name, boot: Boot) -> Result<Self, LogError> {
        let told = Arc::new(Told::default());
        let mut syncing = Syncing { file, name, boot, told: Arc::clone(&told) };
        let what = "the thread that brings the log's ring to the disk";
        let thread = sys::thread::start("handfast-syncer", what, move || syncing.run())?;
        Ok(Self { told, thread: Some(thread) })
    }

    /// Asks for everything before `to`, and for every header that was written before this; the number of this asking.
    pub(super) fn ask(&self, to: Lsn) -> u64 {
        self.told.wanted.fetch_max(to.0, Ordering::Release);
        let number = self.told.asked.fetch_add(1, Ordering::Release) + 1;
        self.wake();
        number
    }

    /// Up to where was asked for.
    pub(super) fn asked(&self) -> Lsn {
        Lsn(self.told.wanted.load(Ordering::Relaxed))
    }

    /// Everything before this is on the disk.
    pub(super) fn done(&self) -> Lsn {
        Lsn(self.told.done.load(Ordering::Acquire))
    }

    /// Whether an asking was answered.
    pub(super) fn has_answered(&self, number: u64) -> bool {
        self.told.answered.load(Ordering::Acquire) >= number
    }

    /// From here on the file is to vouch for what is acknowledged, or not to.
    pub(super) fn set_vouch(&self, vouch: bool) {
        if self.told.vouch.load(Ordering::Relaxed) != vouch {
            self.told.vouch.store(vouch, Ordering::Release);
            let number = self.told.asked.fetch_add(1, Ordering::Release) + 1;
            self.told.vouch_asked.store(number, Ordering::Relaxed);
            self.wake();
        }
    }

    /// Whether the file was asked to vouch, and does on the disk.
    pub(super) fn is_vouching(&self) -> bool {
        self.told.vouch.load(Ordering::Relaxed) && self.has_answered(self.told.vouch_asked.load(Ordering::Relaxed))
    }

    /// Whether the file on the disk may vouch.
    pub(super) fn vouches(&self) -> bool {
        self.told.vouch.load(Ordering::Relaxed) || self.told.vouches.load(Ordering::Acquire)
    }

    /// Why nothing more comes to the disk.
    pub(super) fn failure(&self) -> Option<&LogError> {
        self.told.failed.get()
    }

    /// One without a thread: a test answers in its place.
    #[cfg(test)]
    pub(super) fn by_hand() -> Self {
        Self { told: Arc::new(Told::default()), thread: None }
    }

    /// As if all that was asked for were on the disk.
    #[cfg(test)]
    pub(super) fn answer(&self) {
        self.told.vouches.store(self.told.vouch.load(Ordering::Relaxed), Ordering::Relaxed);
        self.told.done.store(self.asked().0, Ordering::Relaxed);
        self.told.answered.store(self.told.asked.load(Ordering::Relaxed), Ordering::Release);
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.told.stop.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            sys::thread::join(thread);
        }
    }
}

#[derive(Debug)]
struct Syncing {
    file: Box<dyn DiskFile>,
    /// Who starts this log anew finds it by that.
    name: Name,
    /// Known before: a mark that cannot be made would end the log.
    boot: Boot,
    told: Arc<Told>,
}

impl Syncing {
    fn run(&mut self) {
        while !self.told.stop.load(Ordering::Acquire) {
            match self.step() {
                Ok(true) => {}
                Ok(false) => std::thread::park_timeout(SLEEP),
                Err(error) => {
                    let _ = self.told.failed.set(error);
                    return;
                }
            }
        }
    }

    /// Does what was asked for; whether anything was.
    fn step(&mut self) -> Result<bool, LogError> {
        // In this order: whoever asks says what the file is to say of itself, then up to where, and counts the asking last.
        let number = self.told.asked.load(Ordering::Acquire);
        if number == self.told.answered.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let to = self.told.wanted.load(Ordering::Acquire);
        let vouch = self.told.vouch.load(Ordering::Acquire);
        let vouches = self.told.vouches.load(Ordering::Relaxed);
        // After a failure the kernel may call the pages clean (fsync(2), errors): nothing is believed of this file any more.
        let path = self.name.path().to_owned();
        let failed = |error: io::Error| LogError::Unsynced {
            tried: format!("bringing the log's ring in {} to the disk", path.display()),
            errno: Errno::from(&error),
        };
        self.file.sync().map_err(failed)?;
        if vouch != vouches {
            // What it vouches for is on the disk before it does.
            self.told.vouches.store(true, Ordering::Release);
            let standing = if vouch { Standing::Persistent } else { Standing::InUse };
            self.file
                .write_at(&self.boot.encode(standing, Seen::default()), EVIDENCE_OFFSET)
                .and_then(|()| self.file.sync())
                .map_err(failed)?;
        }
        // What is in a file without a name is on no disk for who starts this log anew.
        match self.name.look() {
            Ok(()) => {}
            Err(error) if error.is_passing() => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.told.vouches.store(vouch, Ordering::Release);
        self.told.done.store(to, Ordering::Release);
        self.told.answered.store(number, Ordering::Release);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::evidence;
    use super::*;
    use crate::storage::Disk;
    use crate::storage::simulated::{Fault, Simulated};
    use std::path::Path;

    const LENGTH: usize = 4096;

    /// Bytes after the mark, each of which says that it was committed.
    fn committed(disk: &Simulated) -> Option<(bool, u64)> {
        let content = disk.content(Path::new("/ring"))?;
        let may_lack = evidence::may_lack(&content).ok()?;
        let there = content.get(LENGTH..)?.iter().take_while(|byte| **byte == 1).count();
        Some((may_lack, there as u64))
    }

    fn here() -> io::Result<Boot> {
        Boot::here().map_err(io::Error::other)
    }

    /// A log that is mirrored and alone in turns; how far it was acknowledged, by whomsoever.
    fn acknowledged(disk: &Simulated) -> io::Result<u64> {
        let path = Path::new("/ring");
        let mut ring = disk.create(path)?;
        ring.write_at(&[0; LENGTH], 0)?;
        ring.sync()?;
        disk.sync_folder(Path::new("/"))?;
        let told = Arc::new(Told::default());
        let syncer = Syncer { told: Arc::clone(&told), thread: None };
        let mut syncing =
            Syncing { file: disk.open(path)?, name: Name::on(Arc::new(disk.clone()), path)?, boot: here()?, told };
        let (mut end, mut acknowledged) = (0, 0);
        for round in 0..6 {
            let alone = round % 2 == 1;
            if !alone {
                // The partner acknowledges once the file says so no more.
                syncer.set_vouch(false);
                while syncer.vouches() {
                    if syncing.step().is_err() {
                        return Ok(acknowledged);
                    }
                }
            } else {
                syncer.set_vouch(true);
            }
            for number in 0..5 {
                end += 1;
                if ring.write_at(&[1], LENGTH as u64 + end - 1).is_err() {
                    return Ok(acknowledged);
                }
                if !alone {
                    acknowledged = end;
                    continue;
                }
                syncer.ask(Lsn(end));
                if number % 2 == 0 && syncing.step().is_err() {
                    return Ok(acknowledged);
                }
                acknowledged = acknowledged.max(syncer.done().0);
            }
        }
        Ok(acknowledged)
    }

    /// The sync of a file without a name succeeds.
    #[test]
    fn nothing_is_on_the_disk_by_a_ring_that_others_took_away() -> Result<(), Box<dyn std::error::Error>> {
        let path = Path::new("/ring");
        for what in ["removed", "replaced by another file", "cut short"] {
            let disk = Simulated::default();
            disk.create(path)?.write_at(&[0; LENGTH], 0)?;
            let told = Arc::new(Told::default());
            let syncer = Syncer { told: Arc::clone(&told), thread: None };
            let name = Name::on(Arc::new(disk.clone()), path)?;
            let mut syncing = Syncing { file: disk.open(path)?, name, boot: here()?, told };
            syncer.set_vouch(true);
            syncer.ask(Lsn(32));
            assert_eq!((syncing.step(), syncer.done()), (Ok(true), Lsn(32)));
            match what {
                "cut short" => disk.cut_short(path, LENGTH / 2),
                _ => disk.remove(path),
            }
            if what.starts_with("replaced") {
                disk.create(path)?.write_at(&[0; LENGTH], 0)?;
            }
            syncer.ask(Lsn(64));
            let gone = crate::storage::StorageError::Gone { path: path.to_owned(), what };
            assert_eq!((syncing.step(), syncer.done()), (Err(gone.into()), Lsn(32)));
        }
        Ok(())
    }

    #[test]
    fn a_ring_that_vouches_has_all_that_was_acknowledged() -> Result<(), Box<dyn std::error::Error>> {
        let disk = Simulated::default();
        assert_eq!(acknowledged(&disk)?, 30);
        let calls = disk.calls();
        let (mut runs, mut vouching) = (0, 0);
        for fault in [Fault::PowerCut, Fault::SyncFails] {
            for call in 0..calls {
                let disk = Simulated::default();
                disk.fail_in(call, fault);
                let acknowledged = acknowledged(&disk).unwrap_or(0);
                for names in [false, true] {
                    let Some((may_lack, there)) = committed(&disk.boot(names)) else { continue };
                    runs += 1;
                    if !may_lack {
                        vouching += 1;
                        assert!(there >= acknowledged, "{fault:?} at call {call}: {there} of {acknowledged}");
                    }
                }
            }
        }
        assert!(runs > 100 && vouching > 20 && vouching < runs - 20, "{vouching} of {runs}");
        Ok(())
    }
}
