//! The partner's side: applies the records of its copy, in order, to a base image of the database file.
//!
//! ```text
//!   log      ... write  write  ImageBegins  chunk  write  chunk  ImageEnds  write ...
//!   image 1      ─────────────► stands still ......................... goes
//!   image 2                    ────────────────────────────────► whole ─────────►
//! ```
//! One image is whole, and a database can be built from it; another may be coming in. While that is so the whole one stands still, for what follows
//! `ImageBegins` is meant for the new one: whatever the primary acknowledges before `ImageEnds` is there, it does not acknowledge.
//!
//! The image's position is proved against the log before anything is applied: the log's records must lead exactly to it, without a newer generation
//! before it. Else the log was written anew from an earlier place on, and the image waits for a new one to begin.

use crate::clients::mirrored_log::{
    Entry, Generation, History, LogError, Lsn, Records, Source, StoppedAt, record::Kind,
};
use crate::engines::redb::image::{Claim, Claims, ImageError, Images};
use crate::engines::redb::operation::{Operation, OperationFault};
use crate::storage::{Disk, Durable, System};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a follower keeps its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct FollowerOptions {
    sync: bool,
    claim_bytes: u64,
    claim_interval: Duration,
}

impl FollowerOptions {
    /// Images as the kernel writes them back; what was applied is claimed every MiB, and every 5 ms while there is less.
    pub fn new() -> Self {
        Self { sync: false, claim_bytes: 1 << 20, claim_interval: Duration::from_millis(5) }
    }

    /// Whether image and claim go to the disk (`fdatasync(2)`) before a record counts as applied. Needed where the images are to survive the power cut of this
    /// machine; the end of this process they survive anyway. Default: false.
    ///
    /// Then let the copy be kept in a file, too: records that were applied and not kept would be ahead of the log after a power cut. And begin with
    /// a new folder: of images that were kept without this, nobody knows what is on the disk.
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// What was applied is claimed when it comes to so many bytes of the log. Far less than the ring holds: the primary frees what is claimed. Default: 1 MiB.
    pub fn claim_bytes(mut self, bytes: u64) -> Self {
        self.claim_bytes = bytes;
        self
    }

    /// What was applied is claimed at least so often, while there is something to claim. Default: 5 ms.
    pub fn claim_interval(mut self, interval: Duration) -> Self {
        self.claim_interval = interval;
        self
    }
}

impl Default for FollowerOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Records could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The folder of images.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The copy of the log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record is no operation on a database file: this log is another client's, or written by another release.
    #[error("the record at lsn {lsn} cannot be applied: {fault}; is this log a database file's?")]
    Operation {
        /// Which.
        lsn: Lsn,
        /// What is wrong with it.
        fault: OperationFault,
    },
    /// A part of an image that has not begun, or whose length is not what it should be.
    #[error("the record at lsn {lsn} belongs to an image that has not begun, or was cut short")]
    Misplaced {
        /// Which.
        lsn: Lsn,
    },
}

/// How the image stands to the log that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Footing {
    /// The records before its position are being read, which must lead exactly there.
    Proving,
    /// What comes next is to be applied.
    Sure,
    /// It is of no use for this log: the next one that begins is awaited.
    None,
}

/// An image while it is open.
#[derive(Debug)]
struct Image {
    claim: Claim,
    file: Durable,
}

/// What one call of [`Follower::follow`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Followed {
    /// Operations that were applied.
    pub operations: u64,
    /// Bytes of the log that were read: 0 where there was nothing new.
    pub bytes: u64,
    /// Where and why there is nothing more; none where the call ended for having done enough.
    pub stopped: Option<StoppedAt>,
}

/// Keeps base images up to date by a copy of the log. One thread, one folder.
///
/// After a file could not be written, synced, put in place or removed it does nothing more: each later
/// call fails with [`ImageError::Failed`], and what was claimed before still holds. The way on is to
/// open the folder anew.
#[derive(Debug)]
pub struct Follower {
    images: Images,
    options: FollowerOptions,
    whole: Option<Image>,
    incoming: Option<Image>,
    /// An image began or came to its end: to be claimed at once.
    turned: bool,
    /// Images that the next claim does not name: they go after it.
    given_up: Vec<Claim>,
    /// Of the next image: two writers can begin one at the same place of the same log.
    next_number: u32,
    footing: Footing,
    /// The log, and the generation of its writer, that the footing is about.
    log: Option<(History, Generation)>,
    /// Where the next record is read.
    position: Lsn,
    /// The generation of the last one.
    generation: Generation,
    /// Bytes of the log read since the last claim.
    unclaimed: u64,
    claimed_at: Instant,
    /// What the primary may forget lies before this.
    applied: Option<Lsn>,
    /// What failed, if something did. A second sync would succeed, with nothing on the disk.
    failed: Option<ImageError>,
}

impl Follower {
    /// Opens a folder of images, or makes one. Reads and writes files.
    ///
    /// # Errors
    /// [`ImageError`]: the folder cannot be used, is damaged, or is another follower's.
    pub fn open(folder: impl AsRef<Path>, options: FollowerOptions) -> Result<Self, ImageError> {
        Self::open_on(Arc::new(System), folder.as_ref(), options)
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, folder: &Path, options: FollowerOptions) -> Result<Self, ImageError> {
        let (images, claims) = Images::open(disk, folder, options.sync, "the follower")?;
        let open = |claim: Option<Claim>| -> Result<Option<Image>, ImageError> {
            let Some(claim) = claim else { return Ok(None) };
            Ok(Some(Image { claim, file: images.file(&claim)? }))
        };
        let (whole, incoming) = (open(claims.whole)?, open(claims.incoming)?);
        images.remove_unnamed(&claims)?;
        let numbers = [&claims.whole, &claims.incoming].into_iter().flatten().map(|claim| claim.number);
        let next_number = numbers.max().map_or(0, |number| number.wrapping_add(1));
        Ok(Self {
            images,
            options,
            whole,
            incoming,
            turned: false,
            given_up: Vec::new(),
            next_number,
            footing: Footing::None,
            log: None,
            position: Lsn::ZERO,
            generation: Generation(0),
            unclaimed: 0,
            claimed_at: Instant::now(),
            applied: None,
            failed: None,
        })
    }

    /// The log that is read; none before it was looked at.
    pub fn history(&self) -> Option<History> {
        self.log.map(|(history, _)| history)
    }

    /// What the primary may forget lies before this: it is applied, and the claim is made. None while no log was read.
    pub fn applied(&self) -> Option<Lsn> {
        self.applied
    }

    /// A database can be built from the whole image that holds everything before this, as claimed. None where there is no such image, or none of the log that is
    /// read, or another one is coming in.
    pub fn built(&self) -> Option<Lsn> {
        let is_built = self.whole.is_some() && self.incoming.is_none() && self.footing == Footing::Sure;
        self.applied.filter(|_| is_built && !self.turned)
    }

    /// Whether the primary has to send its whole file: there is no image, or none that the log goes on from, and none is coming in.
    pub fn needs_image(&self) -> bool {
        self.current().is_none() || (self.log.is_some() && self.footing == Footing::None)
    }

    /// The image that a database can be built from, with what it holds.
    pub fn whole(&self) -> Option<(PathBuf, Claim)> {
        self.whole.as_ref().map(|image| (self.images.image_path(&image.claim), image.claim))
    }

    /// The same, to be used without its follower.
    pub(crate) fn into_whole(self) -> Option<(Claim, Durable)> {
        self.whole.map(|image| (image.claim, image.file))
    }

    /// The image that is coming in.
    pub fn incoming(&self) -> Option<Claim> {
        self.incoming.as_ref().map(|image| image.claim)
    }

    /// Applies records from where `records` stands, of about `bytes_max` bytes in all; fewer where there are no more. Never waits. Writes files;
    /// claims what was applied when that is due ([`Follower::claim`] does so at once).
    ///
    /// `records` may be new, or the one of the last call, resumed: it is moved to where this follower stands; to the log's tail where the log, or its writer,
    /// is another one than before.
    ///
    /// # Errors
    /// [`FollowError`]. The image stays at the record before the one that failed; for good where it is a
    /// [`FollowError::Image`].
    pub fn follow<S: Source>(&mut self, records: &mut Records<S>, bytes_max: u64) -> Result<Followed, FollowError> {
        let followed = self.apply(records, bytes_max)?;
        self.unclaimed += followed.bytes;
        self.claim_if_due()?;
        Ok(followed)
    }

    /// Applies records, and claims only where one image takes the place of another.
    pub(crate) fn apply<S: Source>(
        &mut self,
        records: &mut Records<S>,
        bytes_max: u64,
    ) -> Result<Followed, FollowError> {
        self.check()?;
        let applied = self.apply_records(records, bytes_max);
        if let Err(FollowError::Image(error)) = &applied {
            self.failed.get_or_insert_with(|| error.clone());
        }
        applied
    }

    /// Fails where something failed before.
    fn check(&self) -> Result<(), ImageError> {
        let Some(cause) = &self.failed else { return Ok(()) };
        Err(ImageError::Failed { path: self.images.path().to_owned(), cause: Box::new(cause.clone()) })
    }

    fn apply_records<S: Source>(&mut self, records: &mut Records<S>, bytes_max: u64) -> Result<Followed, FollowError> {
        let (log, tail) = ((records.header().history, records.header().generation), records.header().tail);
        let goes_on = self.log == Some(log)
            && (Records::position(records) == self.position || records.seek(self.position, self.generation).is_ok());
        if !goes_on {
            records.seek(tail, Generation(0))?;
            self.begin(log, tail);
        }
        let mut followed = Followed::default();
        while followed.bytes < bytes_max {
            let Some(entry) = records.next_entry()? else { break };
            followed.operations += u64::from(self.entry(&entry)?);
            followed.bytes += entry.end.bytes_since(entry.lsn).unwrap_or(0);
            self.reached(entry.end, entry.generation);
            if self.turned {
                self.claim()?;
            }
        }
        followed.stopped = records.stopped();
        Ok(followed)
    }

    /// The copy is whole and was read to its end: an image that is ahead of it is of no use for it.
    pub fn log_is_whole(&mut self) {
        if self.footing == Footing::Proving {
            self.footing = Footing::None;
        }
    }

    /// Claims what was applied if there is something to claim and it is time: to be called when there are no records, too.
    ///
    /// # Errors
    /// As [`Follower::claim`].
    pub fn claim_if_due(&mut self) -> Result<(), ImageError> {
        self.check()?;
        let (bytes, interval) = (self.options.claim_bytes, self.options.claim_interval);
        if self.unclaimed >= bytes || (self.unclaimed > 0 && self.claimed_at.elapsed() >= interval) {
            self.claim()?;
        }
        Ok(())
    }

    /// Brings what was applied to the disk, where that is asked for, and claims it. [`Follower::applied`] moves.
    ///
    /// # Errors
    /// [`ImageError`]: what was claimed before still holds, and nothing more is ever claimed.
    pub fn claim(&mut self) -> Result<(), ImageError> {
        self.check()?;
        let claimed = self.claim_applied();
        if let Err(error) = &claimed {
            self.failed = Some(error.clone());
        }
        claimed
    }

    fn claim_applied(&mut self) -> Result<(), ImageError> {
        for image in self.whole.iter_mut().chain(&mut self.incoming) {
            self.images.sync(&image.claim, &mut image.file)?;
        }
        let claim = |image: &Option<Image>| image.as_ref().map(|image| image.claim);
        self.images.claim(&Claims { whole: claim(&self.whole), incoming: claim(&self.incoming) })?;
        (self.unclaimed, self.turned) = (0, false);
        self.claimed_at = Instant::now();
        self.applied = Some(self.position);
        for claim in self.given_up.drain(..) {
            self.images.remove(&claim)?;
        }
        Ok(())
    }

    /// Starts reading a log, or a new writer's part of it, at its tail.
    fn begin(&mut self, log: (History, Generation), tail: Lsn) {
        if self.log.is_none_or(|(history, _)| history != log.0) {
            self.applied = Some(tail);
        }
        self.log = Some(log);
        (self.position, self.generation) = (tail, Generation(0));
        // The log of one that was coming in is gone. The whole image may be the one that goes on.
        self.given_up.extend(self.incoming.take_if(|image| image.claim.history != log.0).map(|image| image.claim));
        let claim = self.current().map(|image| image.claim).filter(|claim| claim.history == log.0);
        self.footing = match claim {
            Some(claim) if claim.applied == tail => Footing::Sure,
            Some(claim) if claim.applied > tail => Footing::Proving,
            _ => Footing::None,
        };
    }

    /// The image that records are applied to.
    fn current(&self) -> Option<&Image> {
        self.incoming.as_ref().or(self.whole.as_ref())
    }

    /// Everything before `end` was read.
    fn reached(&mut self, end: Lsn, generation: Generation) {
        (self.position, self.generation) = (end, generation);
        let Some(image) = self.incoming.as_mut().or(self.whole.as_mut()) else { return };
        match self.footing {
            Footing::Sure => (image.claim.applied, image.claim.generation) = (end, generation),
            Footing::Proving if image.claim.applied == end => self.footing = Footing::Sure,
            Footing::Proving | Footing::None => {}
        }
    }

    /// Takes one record. Whether it was applied.
    fn entry(&mut self, entry: &Entry<'_>) -> Result<bool, FollowError> {
        if self.footing == Footing::Proving && self.current().is_none_or(|image| !leads_to(entry, &image.claim)) {
            self.footing = Footing::None;
        }
        if entry.kind != Kind::Data || self.footing == Footing::Proving {
            return Ok(false);
        }
        let lsn = entry.lsn;
        let operation = Operation::decode(entry.payload).map_err(|fault| FollowError::Operation { lsn, fault })?;
        if let Operation::ImageBegins { length } = operation {
            self.image_begins(entry, length)?;
            return Ok(true);
        }
        if self.footing == Footing::None {
            return Ok(false);
        }
        let misplaced = FollowError::Misplaced { lsn };
        match operation {
            Operation::Write { offset, data } => {
                let image = self.incoming.as_mut().or(self.whole.as_mut()).ok_or(misplaced)?;
                image.file.write_at(data, offset).map_err(ImageError::from)?;
            }
            Operation::SetLength { length } => {
                let image = self.incoming.as_mut().or(self.whole.as_mut()).ok_or(misplaced)?;
                image.file.set_length(length).map_err(ImageError::from)?;
            }
            Operation::ImageChunk { offset, data } => {
                let image = self.incoming.as_mut().ok_or(misplaced)?;
                image.file.write_at(data, offset).map_err(ImageError::from)?;
            }
            Operation::ImageEnds { length } => self.image_ends(lsn, length)?,
            Operation::ImageBegins { .. } => {}
        }
        Ok(true)
    }

    fn image_begins(&mut self, entry: &Entry<'_>, length: u64) -> Result<(), FollowError> {
        let history = self.log.map_or(History::default(), |(history, _)| history);
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        let claim = Claim { history, begun: entry.lsn, applied: entry.end, generation: entry.generation, number };
        let file = self.images.create(&claim, length)?;
        self.given_up.extend(self.incoming.replace(Image { claim, file }).map(|image| image.claim));
        (self.footing, self.turned) = (Footing::Sure, true);
        Ok(())
    }

    fn image_ends(&mut self, lsn: Lsn, length: u64) -> Result<(), FollowError> {
        let image = self.incoming.take().ok_or(FollowError::Misplaced { lsn })?;
        match image.file.length().map_err(ImageError::from) {
            Ok(found) if found == length => {
                self.given_up.extend(self.whole.replace(image).map(|image| image.claim));
                self.turned = true;
                Ok(())
            }
            other => {
                self.incoming = Some(image);
                other?;
                Err(FollowError::Misplaced { lsn })
            }
        }
    }
}

/// Whether a record that is not past the image's position can be one of those that led there.
fn leads_to(entry: &Entry<'_>, image: &Claim) -> bool {
    entry.end <= image.applied && entry.generation <= image.generation
}
