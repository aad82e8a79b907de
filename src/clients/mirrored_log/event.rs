//! What a log's poller reports.

use super::error::LogError;
use super::lsn::{Generation, History, Lsn, Term};
use crate::manager::{LostReason, Unavailable};
use std::path::PathBuf;
use std::time::Duration;

/// What happened to a log, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogEvent {
    /// Records can be appended from now on.
    Opened {
        /// The log's identity.
        history: History,
        /// This writer's generation.
        generation: Generation,
        /// The first record that is kept.
        tail: Lsn,
        /// Where the next one goes.
        end: Lsn,
        /// Whether records were restored, which [`LogPoller::records`](super::LogPoller::records) reads.
        restored: bool,
    },
    /// The log is being restored from the partner's copy.
    Restoring {
        /// Bytes that are asked for.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The partner's copy is being filled.
    Refilling {
        /// Bytes that are there.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The partner's copy is whole, and worthy of a takeover: acknowledgements are those of a mirrored log from here on.
    Mirrored {
        /// The first record it holds.
        tail: Lsn,
        /// Bytes that it lacked when the session began.
        refilled: u64,
    },
    /// Records are to be [`Acknowledge::Persistent`](super::Acknowledge::Persistent), and the partner keeps no file, or cannot write it any more: none is acknowledged
    /// until it does. Its own log's events say why.
    NotKept,
    /// Records are with the partner, and for a second its file has said, or may have said, that it has all that is acknowledged: this log was
    /// [`Acknowledge::Persistent`](super::Acknowledge::Persistent) until now, and the partner cannot mark the file otherwise. None is acknowledged
    /// until it does. Its own log's events say why ([`LogEvent::KeepFailed`]).
    NotMarked,
    /// Records are with the partner, and its heartbeat stands still: its process is stopped, dumps core, or does not poll its manager. Nothing is
    /// acknowledged in its name before it moves again: see [`LogConfig::heartbeat_age_max`](super::LogConfig::heartbeat_age_max).
    PartnerSilent,
    /// The partner's heartbeat moves again, and what waited for it is acknowledged.
    PartnerHeard {
        /// For how long acknowledgements waited.
        silent: Duration,
    },
    /// The session is gone; the log stops, or goes on alone.
    Lost {
        /// Why.
        reason: LostReason,
    },
    /// Something of the session failed under the log, which waits for the next one; or a shortage keeps the log from beginning with its partner,
    /// or from going on alone. What can pass is tried again within 5 s each time, and told once for each reason; [`LogEvent::Mirrored`] or
    /// [`LogEvent::Alone`] tells that it has passed.
    Broken(LogError),
    /// It goes on without a partner, under this term.
    Alone {
        /// The term.
        term: Term,
    },
    /// The partner holds a copy of another log than the one that is open here, or one of this log with records that it was begun without:
    /// an older ring was brought back, or another one was given, and the log began alone with that. Nobody said which of both counts. Nothing
    /// is erased on either side: this log goes on without a partner, where it may, and nothing of it is sent in this session. A person decides:
    /// start once with [`Start::New`](super::Start::New) to replace the partner's copy, or move this node's ring, term file and state file
    /// away to go on with it.
    Diverged {
        /// The log that is open here.
        here: History,
        /// The one that the partner holds: the same, where this log has gone two ways.
        there: History,
    },
    /// There is a session, and this log has no part in it.
    Unavailable(Unavailable),
    /// A reservation that is neither committed nor dropped holds up every record behind it.
    Stalled {
        /// Who made it.
        producer: String,
        /// Where.
        lsn: Lsn,
        /// How long it has held up the log at least.
        age: Duration,
    },
    /// The file of this log's ring (or what it has in /dev/shm) was removed, replaced or cut short by others while in use. The log goes on in the
    /// memory that it has, and the partner gets all of it; but a new process finds nothing under this name, or something else. So keep the
    /// partner running, and restart this process while it does: the log begins with the partner's copy then. A log that is alone under
    /// [`Acknowledge::Persistent`](super::Acknowledge::Persistent) ends instead, since nobody has what it would acknowledge.
    ///
    /// Below that, what is acknowledged alone is lost with this process.
    ///
    /// In /dev/shm it is systemd, most likely, which removes what a user has there when they log out: `loginctl enable-linger USER` keeps
    /// it, or `RemoveIPC=no` in logind.conf. Told once.
    RingGone {
        /// The name.
        path: PathBuf,
        /// What happened to it.
        what: &'static str,
    },
    /// A small file that the log's next start needs ([`LogConfig::state_file`](super::LogConfig::state_file), the term file, or what lies
    /// beside the kept file after a takeover) was removed, replaced or written over by others, or its lock was removed; it is written again and on the
    /// disk. They are looked at every 100 ms while the log is polled. Where that cannot be done [`LogEvent::Broken`] tells it, it is tried
    /// again every 100 ms, and for want of a term file nothing is acknowledged alone meanwhile. Leave the files alone while the log runs.
    WrittenAgain {
        /// The name.
        path: PathBuf,
        /// What happened to it.
        what: &'static str,
    },
    /// The log cannot go on; nothing more is acknowledged.
    Ended(LogError),
    /// The copy of the partner's log held here is whole.
    CopyWhole {
        /// The log's identity.
        history: History,
        /// The first record it holds.
        tail: Lsn,
    },
    /// The copy of the partner's log could not be kept in its file; the partner gets no more [`Acknowledge::Persistent`](super::Acknowledge::Persistent).
    KeepFailed(LogError),
    /// What [`LogEvent::KeepFailed`] told of has passed: a new file is whole and on the disk.
    KeptAgain,
    /// So many events were not kept, because nobody took them.
    Skipped(u64),
}
