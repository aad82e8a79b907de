//! Starting a thread, or saying why there is none; ending it, also from that thread itself.

use crate::sys::Errno;
use std::thread::JoinHandle;

/// There is no thread to be had.
#[derive(Debug)]
pub(crate) struct NoThread {
    /// What was tried, and what to do about it where that is known.
    pub(crate) tried: String,
    /// What the system answered.
    pub(crate) errno: Errno,
}

/// Starts a thread of this name. `what`: for people.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    what: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, NoThread> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(run).map_err(|error| refused(what, Errno::from(&error)))
}

/// What is said of a thread that could not be started.
pub(crate) fn refused(what: &str, errno: Errno) -> NoThread {
    let hint = match errno.number() {
        // By any of these limits, or for want of memory (pthread_create(3), errors).
        libc::EAGAIN => {
            " (raise the limit of processes and threads, `ulimit -u`, LimitNPROC=, TasksMax= or a container's --pids-limit, or free memory)"
        }
        _ => "",
    };
    NoThread { tried: format!("starting {what}{hint}"), errno }
}

/// Waits until the thread has ended. Returns at once where the caller is that thread: its handle may
/// be dropped by a callback that it runs, and a thread that joins itself never ends. It then ends
/// after the callback, by the word that its owner gave it before.
///
/// A thread that sleeps by `park_timeout` is woken first.
pub(crate) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() == std::thread::current().id() {
        return;
    }
    thread.thread().unpark();
    // What it panicked with was told by the panic's hook.
    let _ = thread.join();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn a_thread_that_is_not_to_be_had_is_named_with_what_to_do() {
        let NoThread { tried, errno } = refused("the log's thread", Errno::new(libc::EAGAIN));
        assert!(tried.starts_with("starting the log's thread (raise") && tried.contains("`ulimit -u`"), "{tried}");
        assert_eq!(errno, Errno::new(libc::EAGAIN));
        assert_eq!(refused("it", Errno::new(libc::EPERM)).tried, "starting it");
    }

    #[test]
    fn a_thread_that_ends_itself_does_not_wait_for_itself() -> Result<(), Box<dyn std::error::Error>> {
        let (hand, handle) = channel();
        let (tell, told) = channel();
        hand.send(std::thread::spawn(move || {
            if let Ok(own) = handle.recv_timeout(Duration::from_secs(20)) {
                join(own);
                let _ = tell.send(());
            }
        }))?;
        told.recv_timeout(Duration::from_secs(20))?;
        Ok(())
    }

    #[test]
    fn a_thread_that_sleeps_is_woken_and_waited_for() -> Result<(), Box<dyn std::error::Error>> {
        let (tell, told) = channel();
        join(std::thread::spawn(move || {
            std::thread::park_timeout(Duration::from_secs(20));
            let _ = tell.send(());
        }));
        told.try_recv()?;
        Ok(())
    }
}
