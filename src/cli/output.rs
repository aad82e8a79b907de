//! What goes to standard output. Whoever stops reading ends nothing: a pipe to `head` is no reason to leave a session in disorder.

use std::io::Write;

/// Writes one line. False where nobody reads any more.
pub(crate) fn line(text: impl std::fmt::Display) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

/// `1 port`, `2 ports`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
