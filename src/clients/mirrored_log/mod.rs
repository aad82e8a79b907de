//! The mirrored log: a ring of records in pinned memory, and the same ring in the partner's memory.
//!
//! [`MirroredLog::open`] sets it up; [`Producer`]s append in place; one [`LogPoller`] sends and acknowledges; [`LogCopy`] is the partner's log as it
//! is held here. What its bytes are: [`area`], [`record`], [`header`], [`report`]. Reading them, here or on the survivor: [`Records`].
//!
//! Positions are bytes of an endless stream ([`Lsn`]); a record is acknowledged once [`MirroredLog::durable`] is greater than its lsn. What that
//! means is a setting, [`Acknowledge`].

pub mod area;
mod config;
mod copy;
mod decide;
mod error;
mod event;
mod events;
mod evidence;
mod follow;
pub mod header;
mod inbox;
mod keeper;
mod lease;
mod log;
mod lsn;
mod mirror;
mod named;
mod note;
mod notes;
mod numbers;
mod own;
mod poller;
mod prepared;
mod producer;
mod reader;
pub mod record;
mod replica;
pub mod report;
mod restore;
mod roles;
mod scrub;
mod shared;
mod sleepers;
mod source;
mod stall;
mod stop;
mod syncer;
mod thread;
mod window;
mod wire;
mod writer;

pub use area::RingBytes;
pub use config::{Acknowledge, LogConfig, OnLoss, Start};
pub use copy::{CopySource, CopyState, CopyStatus, LogCopy, TakeoverError, TakeoverRefused};
pub use error::{Late, LogError};
pub use event::LogEvent;
pub use evidence::Doubt;
pub use follow::CopyReader;
pub use header::LogHeader;
pub use log::{Acknowledgement, LogStatus, MirroredLog};
pub use lsn::{Generation, History, Lsn, Term};
pub use own::OwnSource;
pub use poller::{LogPoller, OnDurable};
pub use producer::{Producer, Reservation, ReserveError};
pub use reader::{Entry, OwnedRecord, Record, Records, valid_end};
pub use report::CopyReport;
pub use source::Source;
pub use stop::{StopReason, StoppedAt};
pub use thread::{LogThread, Pace};
