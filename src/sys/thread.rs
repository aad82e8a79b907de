//! Ending a thread, also from that thread itself.

use std::thread::JoinHandle;

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
