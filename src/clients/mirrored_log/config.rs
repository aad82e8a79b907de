//! What a log is set up with.

use super::area::RingBytes;
use super::error::LogError;
use crate::memory::{Backing, HugePages, InPlace};
use crate::page::identity::ClientName;
use std::path::PathBuf;
use std::time::Duration;

/// What stands behind an acknowledgement of a mirrored record. Stronger ones take longer.
///
/// What survives what:
///
/// | acknowledged | primary's process | replica's process | both processes | primary's power | replica's power | both |
/// | --- | --- | --- | --- | --- | --- | --- |
/// | shm, `Received` and `Placed` | yes | yes | *ring* | - | - | E |
/// | shm, `Persistent` | yes | yes | yes | - | - | yes |
/// | RDMA, `Received` | yes, if the device has moved its bytes into memory; nothing here proves that | yes | *ring* | as its process | yes | E |
/// | RDMA, `Placed` | yes | yes | *ring* | yes | yes | E |
/// | RDMA, `Persistent` | yes | yes | yes | yes | yes | yes |
/// | [`Acknowledgement::Alone`](super::Acknowledgement::Alone) | *ring* | yes | *ring* | E; *synced* | yes | E; *synced* |
///
/// On shm both nodes are on one machine, so its power is that of both. *ring*: yes where the primary's ring has a name (`/dev/shm` or a file),
/// and only its node begins with it again; E for an anonymous one. *synced*: yes where the log is set up for `Persistent` and its ring lies in a
/// file, which is brought to the disk before. E: an error by name, or an event, and never a log that is shorter without a word. That there was a
/// log at all is known by [`LogConfig::state_file`], or by the term file of one that went alone: a log without either is volatile, and where both
/// nodes have lost it begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Acknowledge {
    /// The partner's device has it: the WRITE is complete. Its bytes may still be on their way through that device into memory.
    Received,
    /// It is in the partner's memory: a READ posted behind the WRITE is complete (InfiniBand Architecture Specification, volume 1, 9.5).
    Placed,
    /// The partner has written it to its file and synced that (`fdatasync(2)`). Needs [`LogConfig::keep`] at the partner.
    Persistent,
}

/// What to do while there is no partner.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLoss {
    /// Acknowledge nothing until it is back. Records are taken until the ring is full.
    Stop,
    /// Go on under a higher term, which is persisted in this file before the first acknowledgement; each says
    /// [`Acknowledgement::Alone`](super::Acknowledgement::Alone).
    ///
    /// Where the term cannot be persisted nothing is acknowledged, and it is tried again, within 5 s each time, as long as the partner is away.
    ///
    /// Two nodes alone cannot tell a dead partner from a cut wire: where the partner may take over by itself, both would go on. Use this only
    /// where something else sees to it that it does not.
    GoOnAlone {
        /// Where the term is kept: a small file on storage that outlives the process.
        term_file: PathBuf,
    },
}

/// How a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Start {
    /// Go on with what is there: the newer of the local ring (where it has a file) and the partner's copy; a new log where neither has
    /// anything. Waits for the partner.
    Restore,
    /// Like [`Start::Restore`], and what is missing both here and at the partner is given up. The local ring counts
    /// though it ends before what its header calls acknowledged ([`LogError::Damaged`](super::LogError::Damaged)), or
    /// may do so ([`LogError::MayLack`](super::LogError::MayLack)). So does a copy that may lack records, and the newer
    /// of both is taken; a copy that is being refilled is never. A decision for a person, for one start.
    GiveUpMissing,
    /// A new log. What the partner holds of an earlier one is replaced as soon as the new one is whole there.
    New,
}

/// What a log is set up with. Both nodes make one for each log, of the same name: each has a log of its own, and a copy of the other's.
#[derive(Debug, Clone)]
#[must_use]
pub struct LogConfig {
    pub(crate) name: ClientName,
    pub(crate) ring_bytes: u64,
    pub(crate) backing: Backing,
    pub(crate) in_place: Option<InPlace>,
    pub(crate) huge_pages: HugePages,
    pub(crate) pinned: bool,
    pub(crate) acknowledge: Acknowledge,
    pub(crate) on_loss: OnLoss,
    pub(crate) start: Start,
    pub(crate) keep: Option<PathBuf>,
    pub(crate) state_file: Option<PathBuf>,
    pub(crate) stalled_after: Duration,
    pub(crate) heartbeat_age_max: Duration,
    pub(crate) batch_bytes_max: u32,
    pub(crate) batches_max: u32,
    pub(crate) applied_bounds_truncation: bool,
}

/// Beats come each millisecond at best: less would be no evidence.
const HEARTBEAT_AGE_MIN: Duration = Duration::from_millis(5);

impl LogConfig {
    /// A log of this name: a ring of 64 MiB in anonymous pinned memory, acknowledged when [`Acknowledge::Placed`], stopped without a partner,
    /// restored at its start.
    pub fn new(name: ClientName) -> Self {
        Self {
            name,
            ring_bytes: 64 << 20,
            backing: Backing::Private,
            in_place: None,
            huge_pages: HugePages::None,
            pinned: true,
            acknowledge: Acknowledge::Placed,
            on_loss: OnLoss::Stop,
            start: Start::Restore,
            keep: None,
            state_file: None,
            stalled_after: Duration::from_millis(100),
            heartbeat_age_max: Duration::from_millis(100),
            batch_bytes_max: 1 << 20,
            batches_max: 16,
            applied_bounds_truncation: false,
        }
    }

    /// Bytes of the ring, here and at the partner: a power of two, 64 KiB to 64 GiB. A record takes a quarter of it at most.
    pub fn ring_bytes(mut self, bytes: u64) -> Self {
        self.ring_bytes = bytes;
        self
    }

    /// What holds the ring: [`Backing::Private`], [`Backing::SharedMemory`] (outlives the process) or [`Backing::File`] (outlives an end in
    /// order, which dropping the poller is, and syncs it; after a power cut it may lack anything, and the log begins with the partner's copy:
    /// [`LogError::MayLack`](super::LogError::MayLack). RDMA devices may refuse to register it). A file must be this process's alone.
    ///
    /// A named ring that holds a log is replaced and not written over: where the log begins with the partner's copy, or anew, a ring of the
    /// same name with `.new` behind it is filled first. So there must be room for two, and for pinning two, meanwhile.
    ///
    /// Memory with a name can be mapped and written by whoever may open it, so records are copied into it by
    /// [`Producer::append`](super::Producer::append) and not reserved in place, unless [`LogConfig::in_place`] says that nobody else does.
    pub fn backing(mut self, backing: Backing) -> Self {
        self.backing = backing;
        self
    }

    /// Lets producers reserve records in place in a ring that lies in a file or a named segment. The promise is made by an `unsafe` call: see
    /// [`InPlace::promise`].
    pub fn in_place(mut self, promise: InPlace) -> Self {
        self.in_place = Some(promise);
        self
    }

    /// Page size of the ring. Default: ordinary pages.
    pub fn huge_pages(mut self, pages: HugePages) -> Self {
        self.huge_pages = pages;
        self
    }

    /// Whether the ring is locked in memory (`mlock(2)`). Default: true. On RDMA registering pins it anyway.
    pub fn pinned(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// What stands behind an acknowledgement. Default: [`Acknowledge::Placed`].
    pub fn acknowledge(mut self, acknowledge: Acknowledge) -> Self {
        self.acknowledge = acknowledge;
        self
    }

    /// What to do while there is no partner. Default: [`OnLoss::Stop`].
    pub fn on_loss(mut self, on_loss: OnLoss) -> Self {
        self.on_loss = on_loss;
        self
    }

    /// How it begins. Default: [`Start::Restore`].
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Keeps this node's copy of the partner's log in a file as well, for a partner that asks for [`Acknowledge::Persistent`]; what the file
    /// holds at the start is the copy to begin with. A thread of its own writes and syncs it.
    ///
    /// Below `Persistent` acknowledgements do not wait for it: after the end of both processes by force it may lack the last ones, and says so
    /// ([`CopyState::MayLack`](super::CopyState::MayLack)). (A log that is set up for less than `Persistent` after it was for that: the file says so
    /// with the first header, some milliseconds into the first session.) A session begins when the file is marked as in use, which waits for the disk: while
    /// that cannot be written there is no session for this log, and [`LogEvent::KeepFailed`](super::LogEvent::KeepFailed) says why.
    ///
    /// # What becomes of the file
    ///
    /// At open: [`MirroredLog::open`](super::MirroredLog::open) fails with
    /// [`LogError::Storage`](super::LogError::Storage) of the error in the table, and the file is
    /// left as it was.
    ///
    /// While in use: it is found out by the next write, before anything is acknowledged by that, and
    /// within 0.5 s where nothing is written. This node hears [`LogEvent::KeepFailed`](super::LogEvent::KeepFailed)
    /// with the error, again where the reason changes. A new file is tried after 100 ms, then after
    /// twice as long each time, at most 5 s: what has passed is noticed within that, and then
    /// [`LogEvent::KeptAgain`](super::LogEvent::KeptAgain) is told.
    ///
    /// Acknowledgements meanwhile, in every row: at `Persistent` none, and a partner that asks for
    /// it hears [`LogEvent::NotKept`](super::LogEvent::NotKept). What waits is acknowledged when the
    /// new file has all of the copy. What was acknowledged before is in the memory of both, and on
    /// this disk only once the new file is. Below `Persistent` they go on as before; in a session
    /// that begins meanwhile only once the file of this name is marked, or there is none that is
    /// this log's.
    ///
    /// | The file is | Found out | Told as | What to do |
    /// | --- | --- | --- | --- |
    /// | locked by another log or process | at open, by the lock beside it (`.lock`) and by one on the file (`fcntl(2)`) | [`InUse`], which names the holder | end that one, or give another path |
    /// | put there by others while in use, and locked | within 0.5 s, or by the next write, as any that was replaced | [`Gone`]; a session that begins before a new file is there waits, with [`InUse`] | end that one |
    /// | another's | at open | [`Foreign`]; one that names no owner and is no log, an empty one too: [`LogError::Unusable`](super::LogError::Unusable) | give another path, or move it away |
    /// | removed while in use | within 0.5 s, or by the next write | [`Gone`] | nothing, the next try makes a new one. Where the process ends before nothing is told, and the next start finds no file: [`CopyState::Nothing`](super::CopyState::Nothing) |
    /// | replaced while in use | within 0.5 s, or by the next write | [`Gone`]; then [`Foreign`], where the other is neither empty nor this log's | move the other away: it is left as it is. An empty one, or an older one of this log, is replaced |
    /// | emptied or cut short while in use | within 0.5 s, or by the next write | [`Gone`] | nothing, as for one that was removed. Where the process ends before the next open says [`LogError::Unusable`](super::LogError::Unusable): move it away |
    /// | on a full disk | at open, where the lock of 256 bytes has no room; else when a new file is needed: the first, one of another log, a refill from the start, one after a failure. Its whole length is reserved first | [`System`] with ENOSPC, "writing" the lock, "reserving room for" the file | make room for a second file of this size: it is found by itself. A file that is there has its room, where the file system writes in place; where it does not (btrfs), "writing" may fail too, and a session that begins then waits |
    /// | behind a symbolic link | at open: followed once. What lies beside (`.lock`, `.new`, `.taken`) lies where it leads, and there it stays | more than 39 of them, or a circle: [`System`] with ELOOP | nothing. A link that is changed later is not looked at; one that is put in the file's own place is [`Gone`], then ELOOP, and no session begins until it is moved away |
    /// | of two names (hard links) | at open, where a log has it by the other name | [`InUse`]; two roles in one log: [`LogError::SameFile`](super::LogError::SameFile) | remove the other name: a new file takes the place of this one alone, and the other goes on to say what it said |
    /// | mounted by itself (bind mount) | at open (Linux 5.8 and later) | [`MountPoint`] | mount the folder |
    /// | mounted over while in use | another file: as one that was replaced. The very file: when it is to be replaced | [`Gone`], then [`Foreign`], or [`System`] with EBUSY, "putting in place" | unmount it |
    /// | on tmpfs, ramfs or hugetlbfs | at open, before anything is made there | [`NoDisk`] | give a path on a disk. What hides memory is not seen: overlayfs, a loop device, a server |
    /// | in a folder over which one of these is mounted while in use | within 0.5 s, or by the next write | [`Gone`], then [`NoDisk`] | unmount it |
    /// | in a folder that is not there | at open | [`System`] with ENOENT, "looking for" | make the folder |
    /// | in a folder that is removed while in use | within 0.5 s, or by the next write | [`Gone`], then [`System`] with ENOENT, "creating" | make it again, of the same path |
    ///
    /// [`InUse`]: crate::storage::StorageError::InUse
    /// [`Foreign`]: crate::storage::StorageError::Foreign
    /// [`Gone`]: crate::storage::StorageError::Gone
    /// [`System`]: crate::storage::StorageError::System
    /// [`MountPoint`]: crate::storage::StorageError::MountPoint
    /// [`NoDisk`]: crate::storage::StorageError::NoDisk
    // Tests of the rows, in tests/log/places.rs where nothing else is said:
    // - locked: a_file_in_use_or_of_others_is_refused_by_name; while in use:
    //   a_file_that_is_put_there_and_locked_is_waited_for (keeper/tests.rs).
    // - another's: the same; no log: what_cannot_be_gone_on_with_is_told_and_kept (kept.rs).
    // - removed, replaced, emptied: a_file_that_others_take_away_is_written_anew; with another's
    //   in its place a_name_that_others_take_is_waited_for; just before the end of the file is
    //   written: a_file_that_is_cut_short_just_before_its_end_is_written_is_found (keeper/tests.rs).
    // - a full disk: a_full_disk_that_gets_room_is_kept_on_again (mounts.rs), and on a simulated
    //   disk a_full_disk_is_tried_again_until_there_is_room (keeper/tests.rs).
    // - links: a_symbolic_link_is_followed_and_stays, a_file_of_two_names_is_one_logs,
    //   a_file_of_two_roles_is_refused_by_name.
    // - mounted: a_file_that_is_mounted_by_itself_is_refused_by_name (mounts.rs).
    // - memory: a_file_in_memory_is_refused_by_name, and mounted later with the one before.
    // - no folder: a_partner_that_keeps_no_file_is_told_of (kept.rs); removed while in use:
    //   a_name_that_others_take_is_waited_for.
    pub fn keep(mut self, path: impl Into<PathBuf>) -> Self {
        self.keep = Some(path.into());
        self
    }

    /// Notes in this small file which log was begun, before anything of it is acknowledged; the file is on a disk, and this log's alone.
    ///
    /// By it a node whose ring is gone, beside a partner that has nothing, knows that there was a log: it ends with
    /// [`LogError::Lost`](super::LogError::Lost), and a person decides. Without it such a node begins a new log, and says nothing of what was
    /// acknowledged before: the log is volatile. (One that ever went on alone is known by its term file.) The price: a node with a ring without a
    /// name that ends at its very beginning, before its partner has anything, is in the same case.
    ///
    /// It says under which generation the log was opened last, too: an older ring that was brought back, or another one than the log had last, is
    /// told of ([`Doubt::OpenedSince`](super::Doubt::OpenedSince)). One that is older within the same opening reads as the last one does; what
    /// the partner has beyond its end stays there ([`LogEvent::Diverged`](super::LogEvent::Diverged)). And it says which filling of the partner's
    /// copy has what was acknowledged: one of before, of a disk that was not mounted for a while, is told of
    /// ([`LogError::OtherCopy`](super::LogError::OtherCopy)). It is written three times at most at the beginning of a session.
    ///
    /// Leave it alone while the log runs: what others do to it is mended within 100 ms, see [`LogEvent::WrittenAgain`](super::LogEvent::WrittenAgain).
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// A reservation that holds up the log for longer is reported by name and age. Default: 100 ms.
    pub fn stalled_after(mut self, age: Duration) -> Self {
        self.stalled_after = age;
        self
    }

    /// How long ago the partner's heartbeat may have moved where something is acknowledged in its name: 5 ms to 10 s, default 100 ms. Memory of a
    /// process that is stopped or dumps core takes WRITEs like any other, so nothing else tells such a partner from a live one. Where the
    /// heartbeat is older, acknowledgements wait: they come when it moves, or with the next session.
    ///
    /// The poller looks just before it acknowledges. Where it loses its processor right then, the acknowledgement comes as much later: no clock
    /// keeps a partner from being promoted meanwhile, so this bounds a delay and is no fence. Take several times the partner's
    /// [`Timing::beat`](crate::session::Timing::beat), and several times what its control thread, or this log's thread, waits for a processor:
    /// where both wait for 25 ms, a heartbeat is seen to move every 50 ms at best.
    pub fn heartbeat_age_max(mut self, age: Duration) -> Self {
        self.heartbeat_age_max = age;
        self
    }

    /// Records travel in WRITEs of so many bytes at most, one record at least. 4 KiB to 1 GiB, default 1 MiB.
    pub fn batch_bytes_max(mut self, bytes: u32) -> Self {
        self.batch_bytes_max = bytes;
        self
    }

    /// Batches on their way at once: 1 to 64, default 16. Fewer make larger ones.
    pub fn batches_max(mut self, batches: u32) -> Self {
        self.batches_max = batches;
        self
    }

    /// Frees only what a consumer at the partner has applied, see [`LogCopy::applied`](super::LogCopy::applied). Default: false.
    pub fn applied_bounds_truncation(mut self, bounds: bool) -> Self {
        self.applied_bounds_truncation = bounds;
        self
    }

    pub(crate) fn check(&self) -> Result<RingBytes, LogError> {
        let ring = RingBytes::new(self.ring_bytes)?;
        if matches!(self.backing, Backing::Shared { .. }) {
            return Err(LogError::Backing { backing: self.backing.clone() });
        }
        let in_range = |option, value: u64, min, max| match value {
            _ if (min..=max).contains(&value) => Ok(()),
            _ => Err(LogError::Option { option, value, min, max }),
        };
        in_range("batch_bytes_max", u64::from(self.batch_bytes_max), 4096, 1 << 30)?;
        in_range("batches_max", u64::from(self.batches_max), 1, 64)?;
        // Rounded up, so that no more than the most passes; the least is a whole number of microseconds.
        let age_us = u64::try_from(self.heartbeat_age_max.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let age_us = if self.heartbeat_age_max < HEARTBEAT_AGE_MIN { age_us.min(4999) } else { age_us };
        in_range("heartbeat_age_max, microseconds,", age_us, 5000, 10_000_000)?;
        Ok(ring)
    }
}
