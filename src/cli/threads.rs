//! Threads of the program. Where the system has none to give, that is a failure in words: `std::thread::spawn` would panic.

use crate::cli::failure::Failure;
use handfast::memory::Errno;
use std::io::Error;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// Starts a thread.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    Builder::new().name(name.to_owned()).spawn(run).map_err(|error| none(name, &error))
}

/// Starts a thread that ends within a scope.
pub(crate) fn start_within<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Failure> {
    Builder::new().name(name.to_owned()).spawn_scoped(scope, run).map_err(|error| none(name, &error))
}

fn none(name: &str, error: &Error) -> Failure {
    let cause = error.raw_os_error().map_or(error.to_string(), |number| Errno::new(number).to_string());
    Failure::of(
        format!("starting the thread `{name}`"),
        format!(
            "{cause}: raise the limit of processes and threads (`ulimit -u`, LimitNPROC=, TasksMax=, a container's --pids-limit), or free memory"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_not_to_be_had_is_named_with_what_to_do() {
        let failure = none("writer", &Error::from_raw_os_error(11));
        for wanted in ["`writer`", "EAGAIN", "ulimit -u"] {
            assert!(failure.message().contains(wanted), "{}", failure.message());
        }
    }
}
