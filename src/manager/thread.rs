//! The control thread: a manager that polls itself.

use crate::error::Error;
use crate::fabric::{Fabric, FabricError};
use crate::manager::{ClusterManager, Event};
use crate::page::Incarnation;
use crate::sys::thread::{self, NoThread};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// After something moved the thread goes on polling so long before it sleeps: steps of a handshake follow each other in microseconds,
/// and waking a sleeper costs tens of them.
const SPIN: Duration = Duration::from_micros(200);

/// The longest sleep, so that a command is heard in time.
const SLEEP_MAX: Duration = Duration::from_micros(500);

/// Events kept for a listener that does not listen; those that come after are counted, and the count is told.
const EVENTS_MAX: usize = 1024;

enum Command {
    Stage { name: String, done: u64, total: u64 },
    Leave,
}

/// A cluster manager on a control thread of its own. Dropping it leaves the session in order and joins the thread.
#[derive(Debug)]
pub struct ControlThread {
    commands: Sender<Command>,
    events: Receiver<Event>,
    incarnation: Incarnation,
    thread: Option<JoinHandle<()>>,
}

impl ControlThread {
    pub(crate) fn start<F: Fabric>(mut manager: ClusterManager<F>) -> Result<Self, Error> {
        let (commands, commands_here) = channel();
        let (events_here, events) = sync_channel(EVENTS_MAX);
        let incarnation = manager.incarnation();
        let run = move || run(&mut manager, &commands_here, &mut Teller { events: events_here, skipped: 0 });
        let thread = thread::start("handfast", "the control thread", run)
            .map_err(|NoThread { tried, errno }| FabricError::System { tried, errno })?;
        Ok(Self { commands, events, incarnation, thread: Some(thread) })
    }

    /// Publishes a boot stage: [`ClusterManager::stage`], heard within half a millisecond. Allocates.
    pub fn stage(&self, name: &str, done: u64, total: u64) {
        let _ = self.commands.send(Command::Stage { name: name.to_owned(), done, total });
    }

    /// What happened, in order. Of a listener that falls behind, 1024 events are kept; [`Event::Skipped`] counts those that were not.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// This node's process, as the partner knows it.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Leaves the session in order and joins the thread. Blocks until the partner has noticed, or had its time to.
    pub fn leave(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.commands.send(Command::Leave);
        if let Some(thread) = self.thread.take() {
            // A client's callback may have dropped it, on the thread itself.
            thread::join(thread);
        }
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tells events without ever waiting for the listener.
struct Teller {
    events: SyncSender<Event>,
    skipped: u64,
}

impl Teller {
    fn tell(&mut self, event: Event) {
        if self.skipped != 0 {
            match self.events.try_send(Event::Skipped { count: self.skipped }) {
                Ok(()) => self.skipped = 0,
                Err(_) => return self.skipped += 1,
            }
        }
        // Where nobody listens any more the node goes on all the same.
        if let Err(TrySendError::Full(_)) = self.events.try_send(event) {
            self.skipped += 1;
        }
    }
}

fn run<F: Fabric>(manager: &mut ClusterManager<F>, commands: &Receiver<Command>, events: &mut Teller) {
    let mut moved_at = Instant::now();
    while !manager.is_gone() {
        for _ in 0..EVENTS_MAX {
            let Some(event) = manager.poll() else { break };
            events.tell(event);
            moved_at = Instant::now();
        }
        let idle = manager.idle_for();
        if moved_at.elapsed() < SPIN || idle.is_zero() {
            std::hint::spin_loop();
        } else {
            // Woken by the partner's death, where the fabric can tell.
            manager.sleep(idle.min(SLEEP_MAX));
        }
        match commands.try_recv() {
            Ok(Command::Stage { name, done, total }) => manager.stage(&name, done, total),
            Ok(Command::Leave) | Err(TryRecvError::Disconnected) => manager.leave(),
            Err(TryRecvError::Empty) => {}
        }
    }
}
