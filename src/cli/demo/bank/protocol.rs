//! What the bank's processes tell each other over pipes: lines of JSON.

use serde::{Deserialize, Serialize};

/// From a worker to the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// Its page can be read.
    Listening,
    /// The primary: the log is mirrored, the accounts are open, transfers begin.
    Running { session: String, ring_bytes: u64 },
    /// The partner: the session is gone.
    Lost { reason: String },
    /// The partner: it has built a database, opened it, and read it through.
    TakenOver(TakenOver),
    /// It cannot go on.
    Failed { error: String, lock_limit: bool },
}

/// What the partner found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TakenOver {
    /// The copy's log.
    pub(crate) history: String,
    /// Operations applied while the primary lived, and after.
    pub(crate) applied_before: u64,
    pub(crate) applied_after: u64,
    /// Where the log's valid prefix ends, and why.
    pub(crate) reached: u64,
    pub(crate) stopped: String,
    /// The database file.
    pub(crate) bytes: u64,
    /// From the order on: the file was built, the database open.
    pub(crate) built_ns: u64,
    pub(crate) opened_ns: u64,
    /// What the books say.
    pub(crate) transfers: u64,
    pub(crate) total: u64,
    pub(crate) wrong: u64,
}

/// To a worker. The end of them means: leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The partner: the primary is dead, take over.
    TakeOver,
}
