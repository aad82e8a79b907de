//! How a command fails: one sentence, one exit status.

use crate::cli::output::{self, plain};
use handfast::memory::MemoryError;
use std::fmt::Display;
use std::process::ExitCode;

/// A command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
    lock_limit: bool,
}

impl Failure {
    /// It could not do what it was asked for.
    pub(crate) fn new(message: impl Display) -> Self {
        Self { message: plain(message), status: 1, lock_limit: false }
    }

    /// It was asked in a way that makes no sense.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { message: plain(message), status: 2, lock_limit: false }
    }

    /// It failed, and has said so already.
    pub(crate) fn told() -> Self {
        Self { message: String::new(), status: 1, lock_limit: false }
    }

    /// What it was asked for is done, and shows a node that does not move.
    pub(crate) fn stands_still() -> Self {
        Self { message: String::new(), status: 3, lock_limit: false }
    }

    /// The same status, with nothing left to be said: it was said elsewhere.
    pub(crate) fn said_elsewhere(self) -> Self {
        Self { message: String::new(), ..self }
    }

    /// Says what was being done when it failed.
    pub(crate) fn of(doing: impl Display, error: impl Display) -> Self {
        Self::new(format!("{doing}: {error}"))
    }

    /// Memory was not to be had. Where that is for the limit of locked memory, less of it may do.
    pub(crate) fn memory(error: &MemoryError) -> Self {
        Self { lock_limit: matches!(error, MemoryError::LockLimit { .. }), ..Self::new(error) }
    }

    /// What another process of this program failed of.
    pub(crate) fn of_worker(message: String, lock_limit: bool) -> Self {
        Self { lock_limit, ..Self::new(message) }
    }

    /// Whether less locked memory may do.
    pub(crate) fn is_lock_limit(&self) -> bool {
        self.lock_limit
    }

    /// The sentence.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Says it: to people on standard error, as an object on standard output where JSON was asked for.
    pub(crate) fn tell(&self, json: bool) -> ExitCode {
        if self.message.is_empty() {
            return ExitCode::from(self.status);
        }
        let told = json.then(|| output::line(serde_json::json!({ "error": self.message })));
        // An object for which there is no room is better told as text than not at all.
        if told.is_none_or(|told| output::said(told).is_err()) {
            output::complaint(&self.message);
        }
        ExitCode::from(self.status)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}
