//! How a command fails: one sentence, one exit status.

use std::process::ExitCode;

/// A command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// It could not do what it was asked for.
    pub(crate) fn new(message: impl ToString) -> Self {
        Self { message: message.to_string(), status: 1 }
    }

    /// It was asked in a way that makes no sense.
    pub(crate) fn usage(message: impl ToString) -> Self {
        Self { message: message.to_string(), status: 2 }
    }

    /// Says what was being done when it failed.
    pub(crate) fn of(doing: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self::new(format!("{doing}: {error}"))
    }

    /// The sentence.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Says it: to people on standard error, as an object on standard output where JSON was asked for.
    pub(crate) fn tell(&self, json: bool) -> ExitCode {
        if json {
            crate::cli::output::line(serde_json::json!({ "error": self.message }));
        } else {
            eprintln!("handfast: {}", self.message);
        }
        ExitCode::from(self.status)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}
