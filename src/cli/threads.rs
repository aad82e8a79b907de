//! Threads of the program, and the words for what could not be started. Where the system has none to give, that is a failure in words: `std::thread::spawn` would panic.

use crate::cli::failure::Failure;
use handfast::memory::Errno;
use std::io::{Error, ErrorKind};
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// Starts a thread.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    Builder::new().name(name.to_owned()).spawn(run).map_err(|error| refused(&format!("the thread `{name}`"), &error))
}

/// Starts a thread that ends within a scope.
pub(crate) fn start_within<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Failure> {
    Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, run)
        .map_err(|error| refused(&format!("the thread `{name}`"), &error))
}

/// A thread or a process that could not be started.
pub(crate) fn refused(what: &str, error: &Error) -> Failure {
    let cause = error.raw_os_error().map_or(error.to_string(), |number| Errno::new(number).to_string());
    let advice = match error.kind() {
        ErrorKind::WouldBlock => {
            ": raise the limit of processes and threads (`ulimit -u`, LimitNPROC=, TasksMax=, a container's --pids-limit), or free memory"
        }
        _ => "",
    };
    Failure::of(format!("starting {what}"), format!("{cause}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_not_to_be_had_is_named_with_what_to_do() {
        let failure = refused("the thread `writer`", &Error::from_raw_os_error(11));
        for wanted in ["`writer`", "EAGAIN", "ulimit -u"] {
            assert!(failure.message().contains(wanted), "{}", failure.message());
        }
        let failure = refused("a process", &Error::from_raw_os_error(2));
        assert!(failure.message().contains("ENOENT") && !failure.message().contains("ulimit"), "{}", failure.message());
    }
}
