//! What the demo's processes tell each other over pipes: lines of JSON.

use crate::cli::demo::tally::Tally;
use serde::{Deserialize, Serialize};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// From a worker to the supervisor, one line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// Its page can be read.
    Listening { address: String, incarnation: String },
    /// A session stands.
    Established {
        session: String,
        partner: String,
        partner_incarnation: String,
        authentication: String,
        steps: Vec<StepReport>,
        since_boot_ns: u64,
    },
    /// Its clients are served.
    Ready { grants: Vec<GrantReport> },
    /// The session is gone.
    Lost { reason: String },
    /// So much of a pass has gone out, or come in.
    Progress { pass: u32, bytes: u64 },
    /// A pass is complete: what this side counted, and what the other side did.
    Passed { here: Tally, there: Tally, seconds: f64 },
    /// The receiver stands still in the middle of the pass, as it was told to.
    Holding { bytes: u64 },
    /// Anything else worth a line.
    Note { text: String },
    /// The log has stopped, the partner being gone: so many bytes of it are not acknowledged.
    Stopped { unacknowledged: u64 },
    /// The partner's copy of the log is whole; it lacked so many bytes when the session began.
    Whole { refilled: u64 },
    /// It cannot go on.
    Failed { error: String, cause: Cause },
}

/// What a worker's failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// The limit of locked memory: less of it may do.
    LockLimit,
    /// Something at the partner, which knows better what.
    Partner,
    /// Anything else.
    Other,
}

/// One of the four steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StepReport {
    pub(crate) name: String,
    pub(crate) ns: u64,
}

/// What one client was granted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GrantReport {
    pub(crate) client: String,
    pub(crate) ports: u16,
    pub(crate) here_bytes: u64,
    pub(crate) there_bytes: u64,
}

/// To a worker; from the supervisor one line each. The end of them means: leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Stream the file, as pass of this number; `last` where none follows.
    Pass { number: u32, last: bool },
}

/// Whom a worker tells what happens.
#[derive(Clone)]
pub(crate) enum Voice {
    /// The supervisor, another process: a line of JSON on standard output. Where it is gone, the end of standard input says so too, and ends
    /// this process.
    Pipe,
    /// A thread of this process.
    Thread(Sender<Report>),
}

impl Voice {
    pub(crate) fn tell(&self, report: Report) {
        match self {
            Self::Pipe => {
                if let Ok(line) = serde_json::to_string(&report) {
                    let _ = crate::cli::output::line(line);
                }
            }
            Self::Thread(listener) => {
                let _ = listener.send(report);
            }
        }
    }
}

/// Tells of progress: at the first bytes, and then at intervals.
pub(crate) struct Pace<'a> {
    voice: &'a Voice,
    interval: Duration,
    told_at: Option<Instant>,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(voice: &'a Voice, interval: Duration) -> Self {
        Self { voice, interval, told_at: None }
    }
    pub(crate) fn tell(&mut self, pass: u32, bytes: u64) {
        if self.told_at.is_none_or(|told_at| told_at.elapsed() >= self.interval) {
            self.told_at = Some(Instant::now());
            self.voice.tell(Report::Progress { pass, bytes });
        }
    }
}
