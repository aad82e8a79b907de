//! What the backend needs of a log: the mirrored log, or in unit tests one in plain memory that can be full, mute or closed at will.

use crate::clients::mirrored_log::{Acknowledgement, LogError, Lsn, MirroredLog, Producer, ReserveError};
use std::io;
use std::time::Instant;

/// A record was not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// There was no room by the deadline.
    Full,
    /// It was not open by the deadline.
    NotOpen,
    /// It takes records of so many bytes at most.
    TooLong { max: usize },
    /// It never takes a record again.
    Ended(LogError),
    /// What was to go into the record could not be had.
    Source(io::Error),
}

/// What writes a record's payload in place.
pub(crate) type Fill<'a> = &'a mut dyn FnMut(&mut [u8]) -> io::Result<()>;

/// The log under a mirrored file.
pub(crate) trait Log: std::fmt::Debug + Send + Sync + 'static {
    /// Appends a record of `bytes` bytes that `fill` writes in place; none: without waiting.
    fn append(&self, bytes: usize, deadline: Option<Instant>, fill: Fill<'_>) -> Result<Lsn, AppendError>;
    /// Waits until the record is acknowledged; [`LogError::Late`] where it is not by the deadline. Without one it waits for the log's end.
    /// Whether the partner has it: false where this node is alone.
    fn wait(&self, lsn: Lsn, deadline: Option<Instant>) -> Result<bool, LogError>;
    /// Frees what is acknowledged and applied.
    fn free(&self);
    /// Whether the partner can apply nothing before it has the whole file.
    fn needs_image(&self) -> bool;
    /// The first record that is kept.
    fn tail(&self) -> Lsn;
    /// What the partner has applied lies before this.
    fn applied(&self) -> Option<Lsn>;
}

/// The mirrored log.
#[derive(Debug)]
pub(crate) struct Mirror {
    log: MirroredLog,
    producer: Producer,
}

impl Mirror {
    pub(crate) fn new(log: MirroredLog) -> Self {
        let producer = log.producer("redb");
        Self { log, producer }
    }
}

impl Mirror {
    /// Appends where nothing can be reserved in place: by way of memory of our own.
    #[cold]
    fn append_copy(&self, bytes: usize, deadline: Option<Instant>, fill: Fill<'_>) -> Result<Lsn, AppendError> {
        let mut copy = vec![0; bytes];
        fill(&mut copy).map_err(AppendError::Source)?;
        let appended = match deadline {
            Some(deadline) => self.producer.append_until(&copy, deadline),
            None => self.producer.append(&copy),
        };
        appended.map_err(refused)
    }
}

/// Why no record was taken, in this adapter's words.
fn refused(error: ReserveError) -> AppendError {
    match error {
        // The second cannot be: what is appended is copied.
        ReserveError::Full | ReserveError::NamedMemory => AppendError::Full,
        ReserveError::TooLong { max, .. } => AppendError::TooLong { max },
        ReserveError::NotOpen => AppendError::NotOpen,
        ReserveError::Ended(why) => AppendError::Ended(why),
    }
}

impl Log for Mirror {
    fn append(&self, bytes: usize, deadline: Option<Instant>, fill: Fill<'_>) -> Result<Lsn, AppendError> {
        let reserved = match deadline {
            Some(deadline) => self.producer.reserve_until(bytes, deadline),
            None => self.producer.reserve(bytes),
        };
        let mut reservation = match reserved {
            Ok(reservation) => reservation,
            Err(ReserveError::NamedMemory) => return self.append_copy(bytes, deadline, fill),
            Err(error) => return Err(refused(error)),
        };
        match fill(&mut reservation) {
            Ok(()) => Ok(reservation.commit()),
            Err(error) => {
                reservation.abort();
                Err(AppendError::Source(error))
            }
        }
    }

    fn wait(&self, lsn: Lsn, deadline: Option<Instant>) -> Result<bool, LogError> {
        let waited = match deadline {
            Some(deadline) => self.log.wait_until(lsn, deadline),
            None => self.log.wait(lsn),
        };
        waited.map(|how| how != Acknowledgement::Alone)
    }

    fn free(&self) {
        // The log itself frees no more than what the partner's follower has applied. Refused is what was not acknowledged just now: there is a next time.
        let _ = self.log.truncate(self.log.durable());
    }

    fn needs_image(&self) -> bool {
        self.log.partner_needs_base()
    }

    fn tail(&self) -> Lsn {
        self.log.status().tail
    }

    fn applied(&self) -> Option<Lsn> {
        self.log.applied()
    }
}
