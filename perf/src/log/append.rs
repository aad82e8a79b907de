//! What is timed of the log and of bare operations: all on the measuring process, one record at a time or as many as go.

use crate::control::{SetOnDrop, Stalled, spin};
use crate::log::bare::Ring;
use crate::log::node::{Log, Plain, RECORD_BYTES_MAX, RING_BYTES};
use crate::machine::{pin, ticks, ticks_ordered};
use handfast::clients::mirrored_log::{LogPoller, Lsn, MirroredLog, Producer, ReserveError};
use handfast::fabric::shm::Shm;
use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

/// Records between two truncations.
const TRUNCATE_EVERY: u64 = 64;
/// Records between two polls, where nobody waits for them.
const POLL_EVERY: u64 = 32;

static PAYLOAD: [u8; RECORD_BYTES_MAX] = [0xA1; RECORD_BYTES_MAX];

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A record of the payload's first bytes; none where the ring is full.
#[inline(always)]
fn append(producer: &Producer, bytes: usize) -> Outcome<Option<Lsn>> {
    match producer.append(black_box(&PAYLOAD[..bytes])) {
        Ok(lsn) => Ok(Some(lsn)),
        Err(ReserveError::Full) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A record of the payload's first bytes; calls `wait` while the ring is full.
#[inline(always)]
fn append_when_free(producer: &Producer, bytes: usize, mut wait: impl FnMut() -> Outcome<()>) -> Outcome<Lsn> {
    let mut appended = Ok(None);
    spin(|| {
        appended = append(producer, bytes);
        if matches!(appended, Ok(None))
            && let Err(error) = wait()
        {
            appended = Err(error);
        }
        !matches!(appended, Ok(None))
    })?;
    appended?.ok_or_else(|| Stalled.into())
}

fn truncate(log: &MirroredLog) -> Outcome<()> {
    Ok(log.truncate(log.durable())?)
}

/// Ticks from before the reservation until the record is durable, by a producer that polls.
#[inline(never)]
fn append_and_poll(log: &MirroredLog, poller: &mut LogPoller<Shm>, bytes: usize, turns: u64) -> Outcome<Vec<u64>> {
    let (producer, mut taken) = (log.producer("polls"), Vec::with_capacity(turns as usize));
    for turn in 0..turns {
        let from = ticks_ordered();
        let lsn = append_when_free(&producer, bytes, || {
            poller.poll();
            Ok(())
        })?;
        spin(|| {
            poller.poll();
            log.durable() > lsn
        })?;
        taken.push(ticks_ordered().wrapping_sub(from));
        if turn % TRUNCATE_EVERY == 0 {
            truncate(log)?;
        }
    }
    Ok(taken)
}

/// The same by a producer that spins on the watermark while another thread polls.
#[inline(never)]
fn append_and_wait(log: &MirroredLog, bytes: usize, turns: u64) -> Outcome<Vec<u64>> {
    let (producer, mut taken) = (log.producer("waits"), Vec::with_capacity(turns as usize));
    for _ in 0..turns {
        let from = ticks_ordered();
        let lsn = append_when_free(&producer, bytes, || Ok(()))?;
        spin(|| log.durable() > lsn)?;
        taken.push(ticks_ordered().wrapping_sub(from));
    }
    Ok(taken)
}

fn plainly<T>(outcome: Outcome<T>) -> Result<T, Box<dyn Error>> {
    outcome.map_err(|error| error as Box<dyn Error>)
}

/// Latencies with one producer, who polls, or with a second one on another processor, who spins on the watermark: both of theirs.
pub(crate) fn latencies(
    log: &mut Log,
    bytes: usize,
    turns: u64,
    second: Option<usize>,
) -> Result<Vec<u64>, Box<dyn Error>> {
    let Log { log, poller } = log;
    let Some(processor) = second else { return plainly(append_and_poll(log, poller, bytes, turns)) };
    let (go, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (theirs, ours) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let (_go, _done) = (SetOnDrop(&go), SetOnDrop(&done));
            pin(processor).map_err(Into::into).and_then(|()| {
                go.store(true, Ordering::Release);
                append_and_wait(log, bytes, turns)
            })
        });
        let ours = spin_for(&go).and_then(|()| append_and_poll(log, poller, bytes, turns));
        while !done.load(Ordering::Acquire) {
            poller.poll();
            let _ = truncate(log);
        }
        (other.join(), ours)
    });
    let mut all = plainly(ours)?;
    all.extend(plainly(theirs.map_err(|_| "the second producer panicked")?)?);
    Ok(all)
}

fn spin_for(word: &AtomicBool) -> Outcome<()> {
    Ok(spin(|| word.load(Ordering::Acquire))?)
}

/// Appends without waiting, until `turns` are made here; then until all are durable. Ticks, and how many by both.
pub(crate) fn stream(
    log: &mut Log,
    bytes: usize,
    turns: u64,
    second: Option<usize>,
) -> Result<(u64, u64), Box<dyn Error>> {
    let Log { log, poller } = log;
    let Some(processor) = second else {
        let from = ticks();
        let last = plainly(pump(log, poller, bytes, turns))?;
        plainly(drain(log, poller, last))?;
        return Ok((ticks().wrapping_sub(from), turns));
    };
    let (go, stop, done) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    let (theirs, took) = std::thread::scope(|scope| {
        // However this part ends, the other one ends too.
        let stopping = SetOnDrop(&stop);
        let other = scope.spawn(|| {
            let (_go, _done) = (SetOnDrop(&go), SetOnDrop(&done));
            pin(processor).map_err(Into::into).and_then(|()| {
                go.store(true, Ordering::Release);
                push(log, bytes, &stop)
            })
        });
        let took = spin_for(&go).and_then(|()| {
            let from = ticks();
            let mut last = pump(log, poller, bytes, turns)?;
            stop.store(true, Ordering::Release);
            // What the other one has appended till then is counted, and waited for.
            spin_for(&done)?;
            last = last.max(Lsn(log.status().head.0.saturating_sub(1)));
            drain(log, poller, last)?;
            Ok(ticks().wrapping_sub(from))
        });
        drop(stopping);
        (other.join(), took)
    });
    let theirs = plainly(theirs.map_err(|_| "the second producer panicked")?)?;
    Ok((plainly(took)?, turns + theirs))
}

/// Appends so many, polling now and then. Where the last one is.
#[inline(never)]
fn pump(log: &MirroredLog, poller: &mut LogPoller<Shm>, bytes: usize, turns: u64) -> Outcome<Lsn> {
    let (producer, mut last) = (log.producer("polls"), Lsn(0));
    for turn in 1..=turns {
        last = append_when_free(&producer, bytes, || {
            poller.poll();
            truncate(log)
        })?;
        if turn % POLL_EVERY == 0 {
            poller.poll();
            if turn % (16 * POLL_EVERY) == 0 {
                truncate(log)?;
            }
        }
    }
    Ok(last)
}

/// Appends until stopped. How many.
#[inline(never)]
fn push(log: &MirroredLog, bytes: usize, stop: &AtomicBool) -> Outcome<u64> {
    let (producer, mut made) = (log.producer("pushes"), 0);
    while !stop.load(Ordering::Relaxed) {
        match append(&producer, bytes)? {
            Some(_) => made += 1,
            None => std::hint::spin_loop(),
        }
    }
    Ok(made)
}

fn drain(log: &MirroredLog, poller: &mut LogPoller<Shm>, last: Lsn) -> Outcome<()> {
    Ok(spin(|| {
        poller.poll();
        log.durable() > last
    })?)
}

/// Frees everything, so that a measurement begins with an empty ring.
pub(crate) fn empty(log: &mut Log) -> Result<(), Box<dyn Error>> {
    let Log { log, poller } = log;
    let mut late: Result<(), Stalled> = Ok(());
    if log.status().tail < log.status().head {
        late = spin(|| {
            poller.poll();
            log.truncate(log.durable()).is_ok() && log.status().tail == log.status().head
        });
    }
    Ok(late?)
}

/// The places that operations of so many bytes go to, one after the other, round and round as records do in a ring.
fn places(bytes: usize) -> impl Iterator<Item = u64> {
    let step = (bytes as u64).next_multiple_of(64);
    (0..RING_BYTES / step).map(move |number| number * step).cycle()
}

/// Ticks of WRITEs, each completed before the next, all to one place or each to the next.
#[inline(never)]
pub(crate) fn writes(plain: &mut Plain, bytes: usize, turns: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let (mut buffer, mut taken) = (plain.take(bytes)?, Vec::with_capacity(turns as usize));
    for at in places(bytes).take(turns as usize) {
        let from = ticks_ordered();
        buffer = plain.write(buffer, at)?;
        taken.push(ticks_ordered().wrapping_sub(from));
    }
    plain.put(buffer);
    Ok(taken)
}

/// Ticks of READs of the word that an acknowledgement waits for, or of as many bytes as the WRITEs.
#[inline(never)]
pub(crate) fn reads(plain: &mut Plain, bytes: usize, turns: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let (mut buffer, mut taken) = (plain.take(bytes)?, Vec::with_capacity(turns as usize));
    for at in places(bytes).take(turns as usize) {
        let from = ticks_ordered();
        buffer = plain.read(buffer, at)?;
        taken.push(ticks_ordered().wrapping_sub(from));
    }
    plain.put(buffer);
    Ok(taken)
}

/// Ticks of what no log of two copies can do without: each record copied into one ring and from there into another.
#[inline(never)]
pub(crate) fn copies(bytes: usize, turns: u64) -> u64 {
    let (mut here, mut there) = (vec![1_u8; RING_BYTES as usize], vec![1_u8; RING_BYTES as usize]);
    let from = ticks();
    for at in places(bytes + 32).take(turns as usize) {
        let range = at as usize..at as usize + bytes;
        here[range.clone()].copy_from_slice(black_box(&PAYLOAD[..bytes]));
        there[range.clone()].copy_from_slice(black_box(&here[range.clone()]));
        black_box(&there[range]);
    }
    ticks().wrapping_sub(from)
}

/// Appends through a bare ring, by one producer or two. Ticks, and how many by both.
pub(crate) fn bare_stream(turns: u64, second: Option<usize>) -> Result<(u64, u64), Box<dyn Error>> {
    let (ring, go, stop, done) =
        (Ring::new(RING_BYTES), AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    let Some(processor) = second else {
        let from = ticks();
        ring.pump(turns, &stop, || true)?;
        return Ok((ticks().wrapping_sub(from), turns));
    };
    let (theirs, took) = std::thread::scope(|scope| {
        // However this part ends, the other one ends too.
        let stopping = SetOnDrop(&stop);
        let other = scope.spawn(|| -> Outcome<u64> {
            let (_go, _done) = (SetOnDrop(&go), SetOnDrop(&done));
            pin(processor)?;
            go.store(true, Ordering::Release);
            Ok(ring.push(&stop)?)
        });
        let took = spin_for(&go).and_then(|()| {
            let from = ticks();
            ring.pump(turns, &stop, || done.load(Ordering::Acquire))?;
            Ok(ticks().wrapping_sub(from))
        });
        drop(stopping);
        (other.join(), took)
    });
    let theirs = plainly(theirs.map_err(|_| "the second producer panicked")?)?;
    Ok((plainly(took)?, turns + theirs))
}
