//! What can go wrong with a log.

use crate::clients::mirrored_log::area::{RING_BYTES_MAX, RING_BYTES_MIN};
use crate::clients::mirrored_log::evidence::Doubt;
use crate::clients::mirrored_log::header::HeaderFault;
use crate::clients::mirrored_log::{History, Lsn, Term};
use crate::error::Recovery;
use crate::fabric::WorkCompletionStatus;
use crate::memory::{Backing, Errno, MemoryError};
use crate::storage::StorageError;
use crate::sys::thread::NoThread;
use std::path::PathBuf;

/// A log could not be made, opened or read. A log that ends early is none of these: see
/// [`StoppedAt`](crate::clients::mirrored_log::StoppedAt).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A length that no ring can have.
    #[error(
        "a ring of {bytes} bytes cannot be: ask for a power of two, from {RING_BYTES_MIN} to {RING_BYTES_MAX} bytes"
    )]
    RingBytes {
        /// The length asked for.
        bytes: u64,
    },
    /// Neither copy of the header is good.
    #[error("no log is there, or its headers are lost: copy 0 {copy0}, copy 1 {copy1}")]
    Headers {
        /// What is wrong with copy 0.
        copy0: HeaderFault,
        /// What is wrong with copy 1.
        copy1: HeaderFault,
    },
    /// The bytes end before the log does.
    #[error("{bytes} bytes are too few: the log takes {needed}; was the file cut short?")]
    Short {
        /// How many there are.
        bytes: u64,
        /// How many it takes.
        needed: u64,
    },
    /// Bytes could not be read.
    #[error("{tried}: {errno}")]
    Read {
        /// What was tried, on what.
        tried: String,
        /// What the system answered.
        errno: Errno,
    },
    /// A position where the ring has no record.
    #[error("no record of this log begins at lsn {lsn}: it takes a multiple of 32 from {tail} to {limit}")]
    Position {
        /// The position asked for.
        lsn: Lsn,
        /// The first that is kept.
        tail: Lsn,
        /// One ring further.
        limit: Lsn,
    },
    /// A file of the log's could not be read or written.
    #[error("{tried}: {errno}")]
    File {
        /// What was tried, on what.
        tried: String,
        /// What the system answered.
        errno: Errno,
    },
    /// A sync failed: what of the file is on the disk is not known any more, and a later sync that succeeds tells nothing of it
    /// (fsync(2), errors).
    #[error(
        "{tried}: {errno}. What of it is on the disk is not known: nothing more is written there. See to the disk (the kernel's \
         log names it; `df` shows whether it is full), then start this process again"
    )]
    Unsynced {
        /// What was tried, on what.
        tried: String,
        /// What the system answered.
        errno: Errno,
    },
    /// A file that is to outlive this process is not to be had, or not durable any more.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An option out of its range.
    #[error("{option} is {value}: allowed are {min} to {max}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What it was set to.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Truncation before something that is not acknowledged, or in the middle of a record.
    #[error(
        "the log cannot be truncated to lsn {lsn}: give the lsn of a record from {tail} to {durable}, up to which it is acknowledged"
    )]
    Truncation {
        /// The position asked for.
        lsn: Lsn,
        /// The first that is kept.
        tail: Lsn,
        /// Up to where it is acknowledged.
        durable: Lsn,
    },
    /// A record was not acknowledged in time.
    #[error("the record at lsn {lsn} was not acknowledged within {waited_ms} ms: {late}")]
    Late {
        /// What it waited for.
        late: Late,
        /// The record.
        lsn: Lsn,
        /// How long was waited, milliseconds.
        waited_ms: u64,
    },
    /// The log has counted as far as it can: the next number would be one that nobody reads.
    /// Nothing was written under it.
    #[error(
        "this log cannot continue: its {what} is {found}, and no higher one can be written. No log counts so far by itself: its files are damaged, or the partner sent nonsense. Move its ring, its term file and its state file (where it has one) away, and start a new log"
    )]
    Exhausted {
        /// Which number.
        what: &'static str,
        /// What it is.
        found: u64,
    },
    /// The partner reports a number so high that it has no safe successor.
    #[error(
        "the partner reports {what} {found} of its copy, and this node has counted to {known}: no log counts so far, so its report is not followed. Move the partner's copy away, and restart it"
    )]
    TooHigh {
        /// Which number.
        what: &'static str,
        /// What it reports.
        found: u64,
        /// What this node knows of itself.
        known: u64,
    },
    /// The partner's report is sealed, and not one.
    #[error("the partner's report of its copy {fault}")]
    Report {
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// The log is not open yet.
    #[error("the log is not open yet: it waits for the partner, to know what to go on with")]
    NotOpen,
    /// It may not go on without a partner.
    #[error("the log is not set up to go on alone: see OnLoss::GoOnAlone")]
    Alone,
    /// Its poller is gone.
    #[error("the log's poller was dropped: nothing is sent any more")]
    Closed,
    /// The cluster manager that opens sessions for this log is gone, and the log could not go on alone.
    #[error(
        "the log's cluster manager is gone (dropped, or it has left): no session with the partner can begin any more. \
         Keep the manager, or its control thread, for as long as the log"
    )]
    ManagerGone,
    /// The cluster manager is gone, and the log was to go on alone, which failed.
    #[error(
        "the log's cluster manager is gone (dropped, or it has left), and the log could not go on alone: {why}. \
         Mend that and open the log anew, and keep the manager, or its control thread, for as long as the log"
    )]
    NotAlone {
        /// Why not.
        why: Box<LogError>,
    },
    /// A callback of the user's panicked on the poller.
    #[error("the callback of {callback} panicked, which ended the log: {message}")]
    Callback {
        /// Where it was handed in.
        callback: &'static str,
        /// The panic's message.
        message: String,
    },
    /// The partner has taken over under a higher term.
    #[error(
        "the partner holds this log under term {theirs}, and this node writes under {ours}: it was taken over, and nothing written here counts from then on"
    )]
    Superseded {
        /// This node's term.
        ours: Term,
        /// The partner's.
        theirs: Term,
    },
    /// The partner has taken this log over.
    #[error(
        "the partner has taken this log over, under term {term}: what it wrote since is not here. Take this node's data from there, then start with Start::New"
    )]
    TakenOver {
        /// The term of the takeover.
        term: Term,
    },
    /// Records that were there are gone.
    #[error(
        "the log ends at lsn {end} ({why}), and records up to lsn {acknowledged} were there: it is damaged. Of a ring with a name `handfast log verify PATH` shows where. The log begins with the partner's copy where that is whole: start the \
         partner. To give up what is missing, start once with Start::GiveUpMissing"
    )]
    Damaged {
        /// Where its valid prefix ends.
        end: Lsn,
        /// Up to where records were.
        acknowledged: Lsn,
        /// What stands at the end.
        why: String,
    },
    /// The local ring reads well, and acknowledged records may be missing from it all the same.
    #[error(
        "the log's ring ends at lsn {end}, and acknowledged records behind that may be missing: {doubt}. The log begins with the partner's copy where that is whole: start the \
         partner. To give up what is missing, start once with Start::GiveUpMissing"
    )]
    MayLack {
        /// Where its valid prefix ends.
        end: Lsn,
        /// Why.
        doubt: Doubt,
    },
    /// A new ring cannot be made beside the one that is there. That one is left as it is, and it is tried again.
    #[error("making a new ring for the log in {}, to take the place of the one that is there: {why}", path.display())]
    Beside {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: MemoryError,
    },
    /// One file was given two roles.
    #[error("{} would be {one} and {other} as well: give each a file of its own", path.display())]
    SameFile {
        /// The file, behind symbolic links.
        path: PathBuf,
        /// What it is for.
        one: &'static str,
        /// And what else.
        other: &'static str,
    },
    /// Another process, or another log of this one, has the ring.
    #[error("the ring ({backing:?}) is in use by another log: end its process, or give this log a ring of its own")]
    RingInUse {
        /// What holds it.
        backing: Backing,
    },
    /// A partner is there.
    #[error("the log cannot begin alone while a session with the partner stands")]
    PartnerThere,
    /// The partner's copy and the local ring are of two different logs.
    #[error(
        "this node has log {here}, by its ring or its state file, and the partner's copy is of log {there}: nothing tells which one counts. Start with Start::New, which gives the partner's up; or, to go on with the partner's, move this node's ring and state file (where it has one) away"
    )]
    Histories {
        /// The local one.
        here: History,
        /// The partner's.
        there: History,
    },
    /// What lies where this node's ring, or its copy of the partner's log, is kept cannot be gone on with.
    #[error(
        "{what} cannot be gone on with: {why}. Nothing in it was changed. To begin without it move it away, and the log's state file where there is one"
    )]
    Unusable {
        /// Which.
        what: String,
        /// Why not.
        why: String,
    },
    /// A small file of the log's does not say what it is to say.
    #[error(
        "reading {}: it holds no {kind}; it is damaged, was emptied, or is somebody else's. Nobody can tell without it whether acknowledged records are \
         missing. To go on all the same, {remedy}", path.display()
    )]
    NoteDamaged {
        /// The file.
        path: PathBuf,
        /// What it is to hold.
        kind: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The ring cannot lie there.
    #[error(
        "the log's ring cannot lie in memory of others ({backing:?}): take private memory, shared memory of this node's own, or a file"
    )]
    Backing {
        /// Where it should.
        backing: Backing,
    },
    /// What was acknowledged alone is not here any more.
    #[error(
        "this node went on alone under term {kept}, its ring is gone or from before, and what is there (the partner's copy, or that ring) is of term {theirs}: what was acknowledged alone may be lost. To go on with what is \
         there all the same, start once with Start::GiveUpMissing"
    )]
    AloneLost {
        /// The term in the term file.
        kept: Term,
        /// The copy's.
        theirs: Term,
    },
    /// There was a log, and neither this node nor, as far as it is known, the partner has anything of it.
    #[error(
        "this node went on alone under term {kept} before, and its ring is gone: to begin with nothing would drop what was acknowledged. The partner may have a copy: start it, \
         and let the log begin with that. Where nobody has one, start once with Start::GiveUpMissing"
    )]
    RingLost {
        /// The term in the term file.
        kept: Term,
    },
    /// A log was begun on this node, by its state file, and nothing of it is left, as far as it is known.
    #[error(
        "log {history} was begun on this node, by its state file; its ring is gone, and no partner has shown a copy: what was acknowledged may be lost. Start the partner where it has a \
         copy. Where nobody has one, start once with Start::GiveUpMissing, which begins a new log"
    )]
    Lost {
        /// The log.
        history: History,
    },
    /// The partner's copy is of a ring of another size.
    #[error(
        "the partner's copy is of a ring of {there} bytes, and this one has {here}: set ring_bytes to {there}, or start with Start::New"
    )]
    RingSize {
        /// Of this log, bytes.
        here: u64,
        /// Of the copy, bytes.
        there: u64,
    },
    /// What the partner holds is not whole, and nothing better is here.
    #[error(
        "the partner's copy is {state}, and no local ring is there to go on with: records may be missing. To give those up, start once with Start::GiveUpMissing where a \
         copy is there to its end, else with Start::New"
    )]
    NotWorthy {
        /// What the partner said of its copy.
        state: &'static str,
    },
    /// The partner has another copy than the one that counts.
    #[error(
        "the partner's copy, which ends at lsn {end}, is not the one by which this node's records were acknowledged last, by the state file: it may lack records. Where the partner keeps its copy in a file, \
         mount the disk that has the newer one. To go on with this copy, start once with Start::GiveUpMissing"
    )]
    OtherCopy {
        /// Where it ends.
        end: Lsn,
    },
    /// What was restored from the partner does not read as it said.
    #[error("the partner's copy ends at lsn {wanted} by its own word, and what came of it ends at {found}: {why}")]
    Restored {
        /// Where it should end.
        wanted: Lsn,
        /// Where it ends.
        found: Lsn,
        /// What stands there.
        why: String,
    },
    /// A request to the partner failed: the session is gone, or the partner refuses.
    #[error("{what} failed: {status}")]
    Request {
        /// What it was for.
        what: &'static str,
        /// How it ended.
        status: WorkCompletionStatus,
    },
    /// The session could not be used.
    #[error("the session cannot be used for the log: {0}")]
    Session(String),
    /// The writer has freed what was to be read next.
    #[error(
        "the log was truncated up to lsn {tail}, past lsn {lsn}, which was to be read next: begin anew, from a base image"
    )]
    Overrun {
        /// What was to be read next.
        lsn: Lsn,
        /// The first that is kept.
        tail: Lsn,
    },
    /// Another log has taken the place of the one that was being read.
    #[error("another log, of history {found}, is in the place of the one of history {known}: begin anew")]
    Replaced {
        /// The log that was read.
        known: History,
        /// The log that is there.
        found: History,
    },
}

/// What a record that is not acknowledged waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Late {
    /// The log is not open.
    NotOpen,
    /// Nothing was ever reserved there.
    NotReserved,
    /// A reservation up to there that is neither committed nor dropped, the partner, or somebody who polls the log.
    NotAcknowledged,
}

impl std::fmt::Display for Late {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::NotOpen => {
                "the log is not open yet. It waits for its partner, or nobody polls it: see LogPoller::next_event"
            }
            Self::NotReserved => "no record begins there yet: wait for the lsn that a commit or an append gave",
            Self::NotAcknowledged => {
                "LogPoller::next_event tells why: no partner, one whose heartbeat stands still, one that keeps no file where Persistent is asked for, \
                 or a reservation before it that is neither committed nor dropped (Stalled). Where it tells nothing, nobody polls the log"
            }
        })
    }
}

impl From<NoThread> for LogError {
    fn from(NoThread { tried, errno }: NoThread) -> Self {
        Self::File { tried, errno }
    }
}

impl LogError {
    /// Whether it tells of a shortage on this node that can pass while nobody does anything about it.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            LogError::File { errno, .. } | LogError::Read { errno, .. } => errno.is_passing(),
            LogError::Storage(error) => error.is_passing(),
            LogError::Beside { why: MemoryError::NoRoom { errno, .. } | MemoryError::System { errno, .. }, .. } => {
                errno.is_passing()
            }
            _ => false,
        }
    }

    /// What the caller can do about it.
    pub fn recovery(&self) -> Recovery {
        match self {
            LogError::File { .. } | LogError::Read { .. } | LogError::Storage(_) if self.is_passing() => {
                Recovery::RetryAfter
            }
            LogError::Late { .. } | LogError::NotOpen => Recovery::RetryAfter,
            LogError::Request { .. }
            | LogError::Session(_)
            | LogError::Restored { .. }
            | LogError::TooHigh { .. }
            | LogError::Beside { .. }
            | LogError::Report { .. } => Recovery::Reconnect,
            LogError::RingBytes { .. }
            | LogError::File { .. }
            | LogError::Storage(_)
            | LogError::Option { .. }
            | LogError::Exhausted { .. }
            | LogError::Truncation { .. }
            | LogError::Closed
            | LogError::ManagerGone
            | LogError::NotAlone { .. }
            | LogError::Unsynced { .. }
            | LogError::Callback { .. }
            | LogError::Alone
            | LogError::TakenOver { .. }
            | LogError::Damaged { .. }
            | LogError::MayLack { .. }
            | LogError::PartnerThere
            | LogError::RingInUse { .. }
            | LogError::SameFile { .. }
            | LogError::Superseded { .. }
            | LogError::Histories { .. }
            | LogError::RingSize { .. }
            | LogError::Unusable { .. }
            | LogError::NoteDamaged { .. }
            | LogError::Backing { .. }
            | LogError::AloneLost { .. }
            | LogError::RingLost { .. }
            | LogError::Lost { .. }
            | LogError::NotWorthy { .. }
            | LogError::OtherCopy { .. }
            | LogError::Headers { .. }
            | LogError::Short { .. }
            | LogError::Read { .. }
            | LogError::Position { .. }
            | LogError::Overrun { .. }
            | LogError::Replaced { .. } => Recovery::Fatal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shortage is waited for; a disk that failed is not, whatever number it fails with.
    #[test]
    fn only_a_shortage_passes() {
        let tried = String::new;
        for (number, recovery) in [
            (libc::ENOSPC, Recovery::RetryAfter),
            (libc::EMFILE, Recovery::RetryAfter),
            (libc::EIO, Recovery::Fatal),
            (libc::EROFS, Recovery::Fatal),
        ] {
            let errno = Errno::new(number);
            let system = StorageError::System { tried: "writing", path: PathBuf::new(), errno };
            for error in
                [LogError::File { tried: tried(), errno }, LogError::Read { tried: tried(), errno }, system.into()]
            {
                assert_eq!(error.recovery(), recovery, "{error}");
            }
            assert_eq!(LogError::Unsynced { tried: tried(), errno }.recovery(), Recovery::Fatal);
        }
        assert_eq!(
            LogError::from(StorageError::Gone { path: PathBuf::new(), what: "removed" }).recovery(),
            Recovery::Fatal
        );
    }
}
