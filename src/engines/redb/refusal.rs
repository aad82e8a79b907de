//! Why the log took nothing, as the engine is told.

use super::log::AppendError;
use crate::clients::mirrored_log::Lsn;
use crate::memory::Errno;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// `applied`: what the partner has applied lies before this. `waited`: how long it was waited for.
pub(super) fn refusal(error: AppendError, applied: Option<Lsn>, waited: Duration) -> io::Error {
    let waited = waited.as_secs_f64();
    match error {
        AppendError::Full => {
            let applied = applied.map_or("nothing".to_owned(), |lsn| format!("everything before lsn {lsn}"));
            let text = format!(
                "the log's ring was full for {waited:.1} s: the partner has applied {applied}; see whether its follower runs, or take a larger ring"
            );
            io::Error::new(ErrorKind::TimedOut, text)
        }
        AppendError::NotOpen => {
            let text = format!("the log was not open within {waited:.1} s: it waits for the partner");
            io::Error::new(ErrorKind::TimedOut, text)
        }
        AppendError::TooLong { max } => {
            io::Error::new(ErrorKind::InvalidInput, format!("the log takes records of {max} bytes at most: too few"))
        }
        AppendError::Ended(why) => io::Error::new(ErrorKind::BrokenPipe, why),
        AppendError::Source(error) => error,
    }
}

/// A call of the system's that failed.
pub(super) fn system(tried: &str, errno: Errno) -> io::Error {
    io::Error::new(io::Error::from_raw_os_error(errno.number()).kind(), format!("{tried}: {errno}"))
}
