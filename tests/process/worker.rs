//! A node whose log uses a port without pause on a thread of its own: WRITE, READ, SEND, receive, atomics.
//!
//! As the plain role, and: `count` (answer: operations that went well, and that did not).

use crate::process::node::{Node, Notes, Shared, TestPort, TestRemote, buffer_of};
use crate::process::random::Random;
use crate::process::role::{commands, config_asked, obey, place, say, say_event};
use handfast::fabric::{Completion, Port, WorkRequest};
use handfast::manager::Event;
use handfast::memory::Buffer;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

/// Bytes that a worker writes and reads at the partner's, at [`WORK_AT`]; away from the words of the plain role.
const WORK_BYTES: usize = 2048;
const WORK_AT: u64 = 4096;

/// Events told that are neither sessions nor losses.
const NOTES_MAX: u32 = 300;

/// What the worker's thread has seen.
#[derive(Default)]
pub(crate) struct Tally {
    good: AtomicU64,
    bad: AtomicU64,
    stop: AtomicBool,
}

/// One port with what it needs.
struct Work {
    port: TestPort,
    grant: TestRemote,
    buffers: Vec<Buffer>,
    receives: Vec<Buffer>,
    random: Random,
}

impl Work {
    /// Takes the first of the log's ports; the last stays for the plain role.
    fn take(log: &Shared) -> Option<Self> {
        let mut notes = log.notes();
        let Notes { session, ports, .. } = &mut *notes;
        let session = session.as_ref()?;
        let grant = session.grant()?.clone();
        let whole = || buffer_of(session, &vec![5; WORK_BYTES]).ok();
        let buffers = (0..4).map(|_| whole()).collect::<Option<Vec<_>>>()?;
        let receives = (0..8).map(|_| whole()).collect::<Option<Vec<_>>>()?;
        if ports.len() < 2 {
            return None;
        }
        Some(Self { port: ports.swap_remove(0), grant, buffers, receives, random: Random::new(7) })
    }

    /// Posts something, and takes in what completed. None once the port is of no use any more.
    fn round(&mut self, tally: &Tally) -> Option<()> {
        while let Some(mut buffer) = self.receives.pop() {
            buffer.restore();
            if let Err(refused) = self.port.post_receive(WorkRequest::signalled(2), buffer) {
                self.receives.push(refused.buffer);
                break;
            }
        }
        if let Some(mut buffer) = self.buffers.pop() {
            buffer.restore();
            if let Err(refused) = self.post(buffer) {
                self.buffers.push(refused.buffer);
            }
        }
        let mut completions: [Completion; 8] = Default::default();
        let count = self.port.poll(&mut completions);
        for completion in completions.iter_mut().take(count) {
            let place = if completion.is_success() { &tally.good } else { &tally.bad };
            place.fetch_add(1, Ordering::Relaxed);
            let buffer = completion.buffer.take();
            match completion.id {
                1 => self.buffers.extend(buffer),
                _ => self.receives.extend(buffer),
            }
        }
        if count == 0 && self.port.state() == handfast::fabric::PortState::Error { None } else { Some(()) }
    }

    fn post(&mut self, mut buffer: Buffer) -> Result<(), handfast::fabric::Refused> {
        let request = WorkRequest::signalled(1);
        match self.random.below(6) {
            0 => self.port.post_read(request, buffer, &self.grant, WORK_AT),
            1 => {
                buffer.truncate(512);
                self.port.post_send(request, buffer)
            }
            2 => self.port.post_write_with_immediate(request, buffer, &self.grant, WORK_AT, 9),
            3 => {
                buffer.truncate(8);
                self.port.post_fetch_add(request, buffer, &self.grant, WORK_AT, 1)
            }
            _ => self.port.post_write(request, buffer, &self.grant, WORK_AT),
        }
    }
}

fn work(log: &Shared, tally: &Tally) {
    while !tally.stop.load(Ordering::Relaxed) {
        let Some(mut work) = Work::take(log) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let mut rounds = 0u32;
        while !tally.stop.load(Ordering::Relaxed) && work.round(tally).is_some() {
            rounds += 1;
            // Others want the processor too.
            if rounds.is_multiple_of(256) {
                std::thread::yield_now();
            }
        }
    }
}

/// Runs until `leave`, or until nobody commands any more.
pub(crate) fn run_worker() {
    let mut node = match Node::boot(config_asked()) {
        Ok(node) => node,
        Err(error) => return say(&format!("refused {error}")),
    };
    let (tally, log) = (Arc::new(Tally::default()), node.clients[0].clone());
    let thread = {
        let tally = Arc::clone(&tally);
        std::thread::spawn(move || work(&log, &tally))
    };
    let heard = commands();
    let (mut said, mut notes) = ("", 0);
    loop {
        for event in node.poll() {
            // A hostile partner makes any number of the others.
            let counts = matches!(event, Event::Listening { .. } | Event::Ready { .. } | Event::Lost { .. });
            notes += u32::from(!counts);
            if counts || notes < NOTES_MAX {
                say_event(&node, &event);
            }
        }
        node.events.clear();
        if place(&node) != said && place(&node) == "ready" {
            say("state ready");
        }
        said = place(&node);
        match heard.try_recv() {
            Ok(command) if command == "count" => {
                say(&format!("= {} {}", tally.good.load(Ordering::Relaxed), tally.bad.load(Ordering::Relaxed)));
            }
            Ok(command) if obey(&node, &command) => break,
            Ok(_) => {}
            Err(TryRecvError::Empty) => std::thread::sleep(node.manager.idle_for().min(Duration::from_micros(100))),
            Err(TryRecvError::Disconnected) => break,
        }
    }
    tally.stop.store(true, Ordering::Relaxed);
    let ended = thread.join().is_ok();
    let wrong = node.wrong();
    node.manager.shut_down();
    if ended && wrong.is_empty() {
        say("left")
    } else {
        say(&format!("wrong {}, thread ended well: {ended}", wrong.join(", ")))
    }
}
