//! The ring's memory before the log is open: what it holds, and a new ring beside it where that is not gone on with.
//!
//! A ring with a name is never written over with something else. A log that begins with the partner's records, or anew, fills a ring of
//! the same name with `.new` behind it. That takes the place of the old one when it is whole and on the disk. Until then a crash, or a
//! partner that ends, leaves the old ring as it was; a mark in it says that the partner had more.

use super::area::{EVIDENCE_OFFSET, HEADER_OFFSETS, OWNER_OFFSET, RING_OFFSET, RingBytes};
use super::config::{LogConfig, Start};
use super::decide::Opening;
use super::error::LogError;
use super::evidence::{self, Boot, Doubt, Seen, Standing};
use super::header::{HeaderFault, LogHeader};
use super::lsn::{Generation, Lsn};
use super::named::{self, lock, path_of, remove_ours};
use super::note::Begun;
use super::report::CopyReport;
use super::syncer::Syncer;
use super::writer::{Beginning, Held};
use crate::error::Error;
use crate::memory::{Backing, Errno, MemoryError, Region, RegionBuilder};
use crate::storage::{self, Lock, Name, Owner};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Whose a ring is: of this log, and of this node.
pub(super) fn owner(log: &str, node: &str, cluster: &str) -> Owner {
    Owner::new(format!("the ring of log {log} of node {node} of cluster {cluster}"))
}

/// The ring's memory before the log is open.
#[derive(Debug)]
pub(super) struct Prepared {
    builder: RegionBuilder,
    backing: Backing,
    ring_bytes: RingBytes,
    owner: Owner,
    ring: Region,
    /// What that holds; none where it holds no log, or one that is given up.
    pub(super) held: Option<Held>,
    /// Nothing but zeroes is in it, or nobody can find it by a name: it may be filled in place.
    is_free: bool,
    beside: Option<Beside>,
    /// A state file names the log.
    is_noted: bool,
    /// Another ring has the name by now, and its folder is not synced yet.
    is_name_unsynced: bool,
}

/// A ring that is to take the place of another.
#[derive(Debug)]
struct Beside {
    region: Option<Region>,
    path: PathBuf,
}

impl Drop for Beside {
    fn drop(&mut self) {
        if self.region.as_ref().is_some_and(|region| named::check_still(region).is_ok()) {
            // It was given up. What stays of it is removed by the next one.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Prepared {
    /// Maps the ring, takes its lock, and reads what it holds. `begun`: the log that was begun on this node, by its state
    /// file; none where there is no such file.
    ///
    /// # Errors
    /// [`Error::Memory`]; [`LogError::RingInUse`], [`LogError::Storage`]: it is somebody else's; [`LogError::Unusable`]: it cannot be read.
    pub(super) fn open(
        config: &LogConfig,
        ring_bytes: RingBytes,
        owner: Owner,
        begun: Option<Option<Begun>>,
    ) -> Result<Self, Error> {
        let bytes =
            usize::try_from(ring_bytes.area_bytes()).map_err(|_| LogError::RingBytes { bytes: config.ring_bytes })?;
        if let Backing::File(path) = &config.backing {
            // Before it is touched: a file that another log keeps would be made as long as a ring.
            Lock::check_free(&storage::System, path).map_err(LogError::from)?;
        }
        named::look(&config.backing, ring_bytes, &owner)?;
        let builder = Region::builder(bytes).backing(config.backing.clone());
        let builder = builder.huge_pages(config.huge_pages).pinned(config.pinned);
        let ring = builder.clone().build()?;
        if !lock(&ring)? {
            return Err(LogError::RingInUse { backing: config.backing.clone() }.into());
        }
        let backing = config.backing.clone();
        let (held, beside, is_noted) = (None, None, begun.is_some());
        let mut prepared = Self {
            builder,
            backing,
            ring_bytes,
            owner,
            ring,
            held,
            is_free: true,
            beside,
            is_noted,
            is_name_unsynced: false,
        };
        let Some(path) = path_of(&config.backing) else { return Ok(prepared) };
        // Once more: now nobody else writes it.
        let mut start = [0; RING_OFFSET as usize];
        super::Source::read(&prepared.ring, 0, &mut start)?;
        if named::start_of(&start, &prepared.owner, &path)? == named::Content::Strange {
            return Err(LogError::from(named::strange(&path, &prepared.owner)).into());
        }
        match found(&prepared.ring, ring_bytes) {
            Ok(None) => {}
            Ok(Some(mut held)) => {
                let doubt = doubt(&prepared.ring, &held)?.or(older(&held, begun.flatten()));
                let is_noted = begun == Some(None) && evidence::is_noted(&prepared.ring)?;
                if is_noted && doubt.is_some() && is_first_opening(&prepared.ring, &held)? {
                    return Ok(prepared);
                }
                held.is_given_up = doubt.is_some() && config.start == Start::GiveUpMissing;
                held.doubt = doubt.filter(|_| !held.is_given_up);
                (prepared.held, prepared.is_free) = (Some(held), false);
            }
            Err(_) if config.start == Start::New => prepared.is_free = false,
            Err(why) => {
                let what = format!("the log's ring in {}", path.display());
                return Err(LogError::Unusable { what, why }.into());
            }
        }
        Ok(prepared)
    }

    /// Makes room for what the partner reports; what is held stays, and says that there is more. Waits for the disk.
    ///
    /// # Errors
    /// [`LogError::Beside`]: there is no room. [`LogError::File`]: the ring that is there cannot be marked.
    pub(super) fn make_room(&mut self, report: &CopyReport) -> Result<(), LogError> {
        if let Some(held) = &mut self.held {
            let seen = Seen { generation: report.generation, end: report.end };
            // Before: a mark that failed to reach the disk would be forgotten by the next try.
            if held.reach() < seen {
                held.doubt = Some(Doubt::PartnerHadMore);
            }
            mark(&self.ring, seen.max(evidence::seen(&self.ring)?), self.is_noted)?;
            if let Some(file) = RingFile::of(&self.ring)? {
                file.sync()?;
            }
        }
        if !self.is_free {
            self.beside = None;
            self.beside = Some(self.new_ring()?);
        }
        self.is_free &= path_of(&self.backing).is_none();
        Ok(())
    }

    /// The ring that was found.
    pub(super) fn ring(&self) -> &Region {
        &self.ring
    }

    /// Where a restore goes.
    pub(super) fn target(&self) -> &Region {
        self.beside.as_ref().and_then(|beside| beside.region.as_ref()).unwrap_or(&self.ring)
    }

    /// Makes the ring ready that a log opens with; it is in its place then, on the disk, and bears a mark of this boot. Waits for the disk.
    ///
    /// # Errors
    /// [`LogError::Beside`], [`LogError::File`], [`LogError::Storage`]: also where the ring's name means another file
    /// by now, which stays.
    pub(super) fn settle(&mut self, opening: &Opening, with: &Beginning) -> Result<Option<RingFile>, LogError> {
        match opening {
            Opening::Local => {
                self.beside = None;
                if let Some(held) = &self.held {
                    dirty_again(&self.ring, held)?;
                    // The state file says later that the log was opened under this generation: then the ring does.
                    let (term, generation, acknowledged) = (with.term, with.generation, with.end);
                    let sequence = with.kept_sequence + 1;
                    let writer = with.writer;
                    let header = LogHeader { sequence, term, generation, acknowledged, writer, ..held.header };
                    write(&self.ring, header.offset(), &header.encode())?;
                }
            }
            Opening::New if !self.is_free => {
                self.beside = None;
                self.beside = Some(self.new_ring()?);
            }
            Opening::New | Opening::Partner => {}
        }
        let Some(path) = path_of(&self.backing) else { return Ok(None) };
        let target = self.target();
        write(target, OWNER_OFFSET, &self.owner.encode())?;
        mark(target, Seen::default(), self.is_noted)?;
        if *opening != Opening::Local {
            // Whoever finds it under its name finds it whole, after a power cut too: a ring that may have acknowledged
            // records has a header on the disk.
            let header = with.header(self.ring_bytes);
            write(target, header.offset(), &header.encode())?;
        }
        let mut file = RingFile::of(target)?;
        if let Some(file) = &file {
            file.sync()?;
        }
        let is_ours = named::check_still(&self.ring).and_then(|()| named::check_still(self.target()));
        if let (Err(_), Some(beside)) = (&is_ours, &mut self.beside) {
            // Both files stay for a person to look at.
            beside.region = None;
        }
        is_ours?;
        self.take_the_place(&path)?;
        if let (Some(_), Some(file)) = (&self.beside, &mut file) {
            file.path = path;
        }
        Ok(file)
    }

    /// The ring beside, where there is one, takes the name; that is on the disk when this returns.
    fn take_the_place(&mut self, path: &Path) -> Result<(), LogError> {
        if self.is_name_unsynced {
            storage::sync_name(&storage::System, path)?;
            self.is_name_unsynced = false;
        }
        let Some(beside) = &mut self.beside else { return Ok(()) };
        let put = storage::put_in_place(&storage::System, &beside.path, path);
        // A sync that failed after the rename has not undone that.
        let has_name = |region: &Region| region.file().is_some_and(|file| storage::check_still(path, file).is_ok());
        if (put.is_ok() || beside.region.as_ref().is_some_and(has_name))
            && let Some(mut region) = beside.region.take()
        {
            region.set_backing(self.backing.clone());
            (self.ring, self.held) = (region, None);
            self.is_name_unsynced = put.is_err();
        }
        Ok(put?)
    }

    /// The name by which another process finds the ring; none where none does.
    pub(super) fn name(&self) -> Result<Option<Name>, LogError> {
        match (path_of(self.ring.backing()), self.ring.file()) {
            (Some(path), Some(file)) => Ok(Some(Name::of(&path, file)?)),
            _ => Ok(None),
        }
    }

    /// A ring was made ready, and its log did not open. One that another ring has taken the place of meanwhile, or that was filled in its place, holds
    /// what the next try goes on with.
    ///
    /// # Errors
    /// [`LogError::Unusable`].
    pub(super) fn look_again(&mut self) -> Result<(), LogError> {
        if self.held.is_none() {
            self.held = found(&self.ring, self.ring_bytes)
                .map_err(|why| LogError::Unusable { what: format!("the log's ring ({:?})", self.backing), why })?;
            self.is_free &= self.held.is_none();
        }
        Ok(())
    }

    /// The ring of the log that opens, once it is settled.
    pub(super) fn into_ring(self) -> Region {
        self.ring
    }

    /// A ring beside the one that is there, all zero.
    fn new_ring(&self) -> Result<Beside, LogError> {
        let backing = match &self.backing {
            Backing::File(path) => Backing::File(storage::beside(path)),
            Backing::SharedMemory(name) => Backing::SharedMemory(format!("{name}.new")),
            other => other.clone(),
        };
        let path = path_of(&backing).unwrap_or_default();
        remove_ours(&path, &self.owner)?;
        let wrong = |why: MemoryError| LogError::Beside { path: path.clone(), why };
        let region = self.builder.clone().backing(backing).build().map_err(wrong)?;
        let beside = Beside { region: Some(region), path: path.clone() };
        match beside.region.as_ref().map(lock) {
            Some(Ok(true)) | None => Ok(beside),
            Some(Ok(false)) => Err(wrong(MemoryError::System {
                tried: format!("locking {}", path.display()),
                errno: Errno::new(libc::EAGAIN),
            })),
            Some(Err(error)) => Err(error),
        }
    }
}

fn write(ring: &Region, offset: u64, bytes: &[u8]) -> Result<(), LogError> {
    ring.write(offset as usize, bytes).map_err(|error| LogError::Session(error.to_string()))
}

/// Makes every page of what a ring holds one that the next sync writes: an earlier process may have been told that this failed, after which the kernel
/// calls them clean (fsync(2), errors).
fn dirty_again(ring: &Region, held: &Held) -> Result<(), LogError> {
    if RingFile::of(ring)?.is_none() {
        return Ok(());
    }
    let page_bytes = ring.page_bytes().max(1) as u64;
    let mut touch = |offset: u64| -> Result<(), LogError> {
        let mut word = [0; 8];
        super::Source::read(ring, offset, &mut word)?;
        write(ring, offset, &word)
    };
    HEADER_OFFSETS.into_iter().try_for_each(&mut touch)?;
    let (mut at, end) = (held.header.tail, held.end.lsn);
    while at < end {
        let offset = RING_OFFSET + held.header.ring_bytes.offset_of(at);
        touch(offset)?;
        // Records begin at multiples of 32, and so do pages, and the ring's end.
        let left = (page_bytes - offset % page_bytes).min(held.header.ring_bytes.bytes_to_end(at));
        at = Lsn(at.0 + left);
    }
    Ok(())
}

/// Marks a ring as in use since now: it may lack what is acknowledged from here on.
fn mark(ring: &Region, seen: Seen, is_noted: bool) -> Result<(), LogError> {
    let mark = Boot::here()?.encode(Standing::InUse, seen);
    write(ring, EVIDENCE_OFFSET, &if is_noted { evidence::noted(mark) } else { mark })
}

/// What a ring holds; none where there never was a log.
///
/// A mark without any header is of a log that never opened: [`Prepared::settle`] writes both and syncs them at once,
/// and until that has succeeded nothing is acknowledged. A power cut in that sync may leave either alone, and a process
/// that is killed before it the mark. Only marks that are written later, into a ring with a header, tell of records.
fn found(ring: &Region, ring_bytes: RingBytes) -> Result<Option<Held>, String> {
    match Held::of(ring).map_err(|error| error.to_string())? {
        Some(held) if held.header.ring_bytes != ring_bytes => {
            Err(format!("it is of {} bytes, and ring_bytes says {}", held.header.ring_bytes.get(), ring_bytes.get()))
        }
        None if evidence::tells_of_records(ring).map_err(|error| error.to_string())? => {
            Err("its mark tells of a log that was open, and there is no header of one".to_owned())
        }
        held => Ok(held),
    }
}

/// Whether a ring is all that a power cut left of the first opening of a log: the header that [`Prepared::settle`]
/// writes, and nothing after it. The state file names a log before that can acknowledge anything; without one nobody
/// can tell whether later headers and records were lost.
fn is_first_opening(ring: &Region, held: &Held) -> Result<bool, LogError> {
    let LogHeader { sequence, generation, tail, acknowledged, .. } = held.header;
    let is_first = (sequence, generation) == (0, Generation(1));
    let is_empty = [tail, acknowledged, held.end.lsn] == [Lsn::ZERO; 3];
    Ok(is_first && is_empty && LogHeader::copies(ring)?.contains(&Err(HeaderFault::Empty)))
}

/// Whether the log was opened here since this ring was written, with another one in its place.
fn older(held: &Held, begun: Option<Begun>) -> Option<Doubt> {
    let LogHeader { history, generation, .. } = held.header;
    let begun = begun.filter(|begun| begun.history == history && begun.generation > generation)?;
    Some(Doubt::OpenedSince { here: generation, since: begun.generation })
}

/// What is to be said against a ring that reads well. Shared memory is gone with its boot.
fn doubt(ring: &Region, held: &Held) -> Result<Option<Doubt>, LogError> {
    let file = RingFile::of(ring)?;
    let doubt = evidence::doubt(ring, held.reach(), file.is_some())?;
    if let (None, Some(file)) = (doubt, file) {
        // It vouches for what is in the page cache, which is to be on the disk as well.
        file.sync()?;
    }
    Ok(doubt)
}

/// The file of a ring.
#[derive(Debug)]
pub(super) struct RingFile {
    file: File,
    path: PathBuf,
}

impl RingFile {
    /// The file that holds this region; none where none does.
    fn of(region: &Region) -> Result<Option<Self>, LogError> {
        let (Backing::File(path), Some(file)) = (region.backing(), region.file()) else { return Ok(None) };
        let file = file.try_clone_to_owned().map(File::from).map_err(|error| LogError::File {
            tried: format!("keeping {} open, which holds the log's ring", path.display()),
            errno: Errno::from(&error),
        })?;
        Ok(Some(Self { file, path: path.clone() }))
    }

    /// The thread that syncs it.
    pub(super) fn syncer(&self, name: Name) -> Result<Syncer, LogError> {
        let file = self.file.try_clone().map_err(|error| LogError::File {
            tried: format!("keeping {} open, which holds the log's ring", self.path.display()),
            errno: Errno::from(&error),
        })?;
        Syncer::start(Box::new(file), name, Boot::here()?)
    }

    pub(super) fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(|error| LogError::Unsynced {
            tried: format!("syncing {}, which holds the log's ring", self.path.display()),
            errno: Errno::from(&error),
        })
    }
}

#[cfg(test)]
mod tests;
