//! Several clients with several ports on several threads, all streaming at once, every byte checked.

use crate::duo::Duo;
use crate::ending::{StopOnDrop, Wait};
use crate::process::is_long;
use crate::process::node::{TestPort, TestRemote};
use crate::under_test;
use handfast::fabric::{Completion, Exposed, Port, WorkRequest};
use handfast::memory::{Buffer, Region};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Bytes of one port's stretch of its client's memory: records of [`RECORD`] bytes, then its own watermark.
const STRETCH: usize = 16 << 10;
const RECORD: usize = 1000;
const RECORDS: u64 = 12;
const WATERMARK_AT: usize = STRETCH - 64;

const CLIENTS: [(&str, u16, u64); 3] =
    [("log", 3, 3 * STRETCH as u64), ("monitor", 1, STRETCH as u64), ("engine", 2, 2 * STRETCH as u64)];

/// One direction of one port: a producer here, and who checks it there.
struct Lane {
    port: TestPort,
    grant: TestRemote,
    memory: Arc<Exposed>,
    buffers: Vec<Buffer>,
    at: usize,
}

fn byte(record: u64, index: usize) -> u8 {
    (record.wrapping_mul(31).wrapping_add(index as u64 * 7)) as u8
}

/// Writes record after record, each with its watermark behind it on the same port, and checks the records that come the other way.
///
/// A record's place is used again only when the partner has confirmed it, by the word after its own watermark.
fn run(lane: &mut Lane, records: u64, failed: &AtomicBool) -> Result<(), String> {
    let (mut sent, mut confirmed, mut checked) = (0u64, 0u64, 0u64);
    let began = std::time::Instant::now();
    while confirmed < records || checked < records {
        if failed.load(Ordering::Relaxed) {
            return Err("another lane failed".to_owned());
        }
        if began.elapsed().as_secs() > 60 {
            return Err(format!("stands still: sent {sent}, confirmed {confirmed}, checked {checked}"));
        }
        take_back(lane)?;
        confirmed = word(lane, WATERMARK_AT + 8)?;
        if confirmed > sent {
            return Err(format!("{confirmed} confirmed of {sent} sent"));
        }
        while sent < records && sent < confirmed + RECORDS && !lane.buffers.is_empty() {
            send(lane, sent)?;
            sent += 1;
        }
        let arrived = word(lane, WATERMARK_AT)?;
        while checked < arrived {
            check(lane, checked)?;
            checked += 1;
        }
        inline(lane, checked, WATERMARK_AT + 8)?;
        std::thread::yield_now();
    }
    let mut wait = Wait::new("the last completions");
    while lane.buffers.len() < RECORDS as usize {
        wait.turn();
        take_back(lane)?;
    }
    Ok(())
}

fn word(lane: &Lane, at: usize) -> Result<u64, String> {
    lane.memory.load(lane.at + at, Ordering::Acquire).map_err(|error| error.to_string())
}

/// A lane's thread, until it returns or panics.
struct Ending<'a> {
    failed: &'a AtomicBool,
    running: &'a AtomicU32,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.failed.fetch_or(std::thread::panicking(), Ordering::Relaxed);
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One word there; tries again while the queue is full.
fn inline(lane: &mut Lane, value: u64, at: usize) -> Result<(), String> {
    use handfast::fabric::PostError;
    let (bytes, at) = (value.to_ne_bytes(), (lane.at + at) as u64);
    let mut wait = Wait::new("room for a word");
    loop {
        wait.turn();
        match lane.port.post_write_inline(WorkRequest::signalled(value), &bytes, &lane.grant, at) {
            Ok(()) => return Ok(()),
            Err(PostError::QueueFull) => take_back(lane)?,
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn send(lane: &mut Lane, record: u64) -> Result<(), String> {
    let Some(mut buffer) = lane.buffers.pop() else { return Err("no buffer".to_owned()) };
    for (index, place) in buffer.as_mut_slice().iter_mut().enumerate() {
        *place = byte(record, index);
    }
    let at = lane.at + (record % RECORDS) as usize * RECORD;
    let mut wait = Wait::new("room for a record");
    loop {
        wait.turn();
        match lane.port.post_write(WorkRequest::unsignalled(record), buffer, &lane.grant, at as u64) {
            Ok(()) => break,
            Err(refused) if refused.reason == handfast::fabric::PostError::QueueFull => {
                buffer = refused.buffer;
                take_back(lane)?;
            }
            Err(refused) => return Err(refused.reason.to_string()),
        }
    }
    inline(lane, record + 1, WATERMARK_AT)
}

fn take_back(lane: &mut Lane) -> Result<(), String> {
    let mut completions: [Completion; 16] = Default::default();
    let count = lane.port.poll(&mut completions);
    for completion in completions.iter_mut().take(count) {
        if !completion.is_success() {
            return Err(completion.status.to_string());
        }
        lane.buffers.extend(completion.buffer.take());
    }
    Ok(())
}

fn check(lane: &Lane, record: u64) -> Result<(), String> {
    let mut bytes = [0; RECORD];
    let at = lane.at + (record % RECORDS) as usize * RECORD;
    lane.memory.read(at, &mut bytes).map_err(|error| error.to_string())?;
    match bytes.iter().enumerate().find(|(index, found)| **found != byte(record, *index)) {
        None => Ok(()),
        Some((index, found)) => Err(format!("byte {index} of record {record} is {found}, not {}", byte(record, index))),
    }
}

/// Takes all ports of all clients of one node.
fn lanes(duo: &Duo, index: usize) -> Vec<Lane> {
    let mut lanes = Vec::new();
    for client in &duo.node(index).clients {
        let mut notes = client.notes();
        let ports = std::mem::take(&mut notes.ports);
        let session = notes.session.as_ref().expect("a session");
        for (number, port) in ports.into_iter().enumerate() {
            let region = Region::builder(RECORD * RECORDS as usize).pinned(false).build().expect("memory");
            let (whole, _) = session.buffer(region).expect("a buffer").split_at(RECORD * RECORDS as usize);
            lanes.push(Lane {
                port,
                grant: session.grant().expect("a grant").clone(),
                memory: Arc::clone(session.memory().expect("memory")),
                buffers: whole.split_into(RECORD),
                at: number * STRETCH,
            });
        }
    }
    lanes
}

pub(crate) fn several_clients_stream_through_several_ports_at_once() {
    let records = if is_long() { 200_000 } else { under_test::RECORDS };
    let mut duo = Duo::new("stream");
    duo.clients = CLIENTS.to_vec();
    duo.start_both();
    duo.until_ready();
    let (failed, running) = (AtomicBool::new(false), AtomicU32::new(0));
    let all: Vec<Lane> = [0, 1].into_iter().flat_map(|index| lanes(&duo, index)).collect();
    assert_eq!(all.len(), 12);
    let problems: Vec<String> = std::thread::scope(|scope| {
        // Whoever panics ends all others.
        let _failed = StopOnDrop(&failed);
        let work = |mut lane: Lane| {
            let ending = Ending { failed: &failed, running: &running };
            let outcome = run(&mut lane, records, &failed);
            failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            drop(ending);
            // The port goes back with it: dropped now it would end its counterpart's work.
            (outcome, lane)
        };
        running.store(all.len() as u32, Ordering::Relaxed);
        let threads: Vec<_> = all.into_iter().map(|lane| scope.spawn(move || work(lane))).collect();
        while running.load(Ordering::Relaxed) > 0 {
            duo.run_for(std::time::Duration::from_millis(5));
        }
        let ended: Vec<(Result<(), String>, Lane)> =
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        ended.into_iter().filter_map(|(outcome, _)| outcome.err()).collect()
    });
    assert_eq!(problems, Vec::<String>::new());
    assert!((0..2).all(|index| duo.node(index).clients[0].notes().lost.is_empty()), "the session did not last");
}
