//! Lines on standard output. Whoever stops reading ends nothing: a pipe to `head` is no reason to leave a session in disorder.

use std::io::Write;

/// Writes one line.
pub(crate) fn line(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
