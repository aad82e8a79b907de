//! The mirrored log: a ring of records in pinned memory, and the same ring in the partner's memory.
//!
//! What its bytes are: [`area`], [`record`], [`header`], [`report`]. Reading them, here or on the survivor: [`Records`].

pub mod area;
mod error;
pub mod header;
mod lsn;
mod reader;
pub mod record;
pub mod report;
mod source;
mod stop;
mod window;

pub use area::RingBytes;
pub use error::LogError;
pub use header::LogHeader;
pub use lsn::{Generation, History, Lsn, Term};
pub use reader::{Entry, OwnedRecord, Record, Records, valid_end};
pub use report::CopyReport;
pub use source::Source;
pub use stop::{StopReason, StoppedAt};
