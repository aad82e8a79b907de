//! What a node's threads panicked with: told like its other lines, and kept for whoever has to say why the node ended.

use crate::cli::writer::Writer;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, PoisonError};

/// The last panic of the control thread.
#[derive(Clone, Default)]
pub(crate) struct Panics {
    last: Arc<Mutex<Option<String>>>,
}

/// The name that the library gives to the control thread.
const CONTROL_THREAD: &str = "handfast";

impl Panics {
    /// Takes the place of the standard library's hook, which waits for the reader of standard error.
    pub(crate) fn watch(log: &Writer) -> Self {
        let (panics, log) = (Self::default(), log.clone());
        let there = panics.clone();
        std::panic::set_hook(Box::new(move |info| there.keep(info, &log)));
        panics
    }

    fn keep(&self, info: &PanicHookInfo<'_>, log: &Writer) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        let text = format!("thread `{name}` {}", info.to_string().replace('\n', " "));
        log.line(format!("handfast: {text}"));
        // Where RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            log.line(backtrace);
        }
        if name == CONTROL_THREAD {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        }
    }

    /// Why the control thread ended by itself, as far as that is known.
    pub(crate) fn cause(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.unwrap_or_else(|| "it left no word of why".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::Failure;
    use crate::cli::threads;
    use std::time::{Duration, Instant};

    #[test]
    fn what_the_control_thread_panicked_with_is_kept() -> Result<(), Failure> {
        let log = Writer::start(std::io::sink(), |_| String::new())?;
        let panics = Panics::watch(&log);
        for (name, message) in [(CONTROL_THREAD, "a fault\nof the test"), ("other", "another fault of the test")] {
            let thread = threads::start(name, move || assert!(message.is_empty(), "{message}"))?;
            assert!(thread.join().is_err());
        }
        drop(std::panic::take_hook());
        let cause = panics.cause();
        assert!(cause.contains("`handfast` panicked at src/") && cause.ends_with("a fault of the test"), "{cause}");
        log.finish(Instant::now() + Duration::from_secs(20));
        Ok(())
    }
}
