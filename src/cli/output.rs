//! What goes to standard output and standard error. A reader who leaves has seen enough, and ends nothing; an answer for which there is no room is a
//! failure.

use crate::cli::failure::Failure;
use handfast::memory::Errno;
use std::cell::Cell;
use std::io::{Error, ErrorKind, Result as Outcome, Write};

/// Writes one line to standard output.
pub(crate) fn line(text: impl std::fmt::Display) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush())
}

/// What became of an answer. It failed where it could not be written; not where its reader left.
pub(crate) fn said(outcome: Outcome<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(unwritten(&error)),
        _ => Ok(()),
    }
}

fn unwritten(error: &Error) -> Failure {
    let advice = "what it holds is not complete: make room there, or write elsewhere";
    match error.raw_os_error() {
        Some(number) => Failure::of("writing to standard output", format!("{}; {advice}", Errno::new(number))),
        None => Failure::of("writing to standard output", format!("{error}; {advice}")),
    }
}

/// Lines to standard output over a longer time. Those that cannot be written hold nothing up; the end tells of the first.
#[derive(Default)]
pub(crate) struct Lines {
    failed: Cell<Option<Error>>,
}

impl Lines {
    pub(crate) fn line(&self, text: impl std::fmt::Display) {
        if let Err(error) = line(text) {
            // A reader who left counts for less than a full disk.
            let first = self.failed.take().filter(|first| first.kind() != ErrorKind::BrokenPipe);
            self.failed.set(Some(first.unwrap_or(error)));
        }
    }

    /// What became of them all.
    pub(crate) fn said(&self) -> Result<(), Failure> {
        said(self.failed.take().map_or(Ok(()), Err))
    }
}

/// Tells people of something on standard error. Where that has no reader or no room, nobody is there to be told.
pub(crate) fn complaint(text: impl std::fmt::Display) {
    let _ = std::io::stderr().lock().write_all(format!("handfast: {text}\n").as_bytes());
}

/// `1 port`, `2 ports`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// An error or event in words for users of the program: without advice that only a program which links the library can follow.
pub(crate) fn plain(text: impl std::fmt::Display) -> String {
    let mut text = text.to_string();
    for (library, program) in NAMES {
        if text.contains(library) {
            text = text.replace(library, program);
        }
    }
    text
}

/// What a user of the library writes, and what a user of the program.
const NAMES: [(&str, &str); 3] = [
    (", or, for shared memory, build the region with `.pinned(false)`", ""),
    ("NodeConfig::memory_bytes_max", "--memory-max"),
    ("have it call `fabric::shm::make_dumpable` first", "start it without them"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use handfast::memory::MemoryError;

    #[test]
    fn no_advice_is_given_that_needs_the_source() {
        let error = MemoryError::LockLimit { bytes: 5, limit: 4, locked: 3 };
        assert!(error.to_string().contains("pinned"), "the library's own advice: {error}");
        let text = plain(error);
        assert!(text.contains("ulimit -l") && !text.contains("pinned") && text.ends_with(')'), "{text}");
    }
}
