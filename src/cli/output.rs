//! What goes to standard output. Whoever stops reading ends nothing: a pipe to `head` is no reason to leave a session in disorder.

use std::io::Write;

/// Writes one line. False where nobody reads any more.
pub(crate) fn line(text: impl std::fmt::Display) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
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
    text.to_string().replace(", or build the region with `.pinned(false)`", "")
}

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
