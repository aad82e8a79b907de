//! What is timed, the way perftest does it: `ib_write_lat`, `ib_read_lat`, `ib_write_bw`.

use crate::completions::{checked, complete};
use crate::control::spin;
use crate::lines::Stamps;
use crate::machine::ticks;
use crate::rdma::node::{DEPTH, Node, POLL, SIGNALLED, TRANSFER_BYTES};
use handfast::fabric::{Completion, Port, PostError};
use handfast::memory::Buffer;
use std::error::Error;
use std::sync::atomic::Ordering;

/// Waits until the last word of a transfer of so many bytes has come.
#[inline(always)]
fn await_word(node: &Node, bytes: usize, word: u64) -> Result<(), crate::control::Stalled> {
    spin(|| matches!(node.memory.load(bytes - 8, Ordering::Acquire), Ok(found) if found == word))
}

/// WRITEs so many bytes that end in the word; the buffer comes back by its completion, or at once.
#[inline(always)]
fn write(node: &mut Node, mut buffer: Buffer, word: u64) -> Result<Option<Buffer>, Box<dyn Error>> {
    if buffer.len() == 8 {
        node.port.post_write_inline(SIGNALLED, &word.to_ne_bytes(), &node.remote, 0)?;
        return Ok(Some(buffer));
    }
    if let Some(place) = buffer.as_mut_slice().last_chunk_mut() {
        *place = word.to_ne_bytes();
    }
    node.port.post_write(SIGNALLED, buffer, &node.remote, 0)?;
    Ok(None)
}

/// A buffer of so many bytes.
fn taken(node: &mut Node, bytes: usize) -> Result<Buffer, Box<dyn Error>> {
    let mut buffer = node.buffers.pop().ok_or("no buffer")?;
    buffer.truncate(bytes);
    Ok(buffer)
}

fn put_back(node: &mut Node, mut buffer: Buffer) {
    buffer.restore();
    node.buffers.push(buffer);
}

/// Throws WRITEs of so many bytes: post, take the completion, wait for the answer in memory. Ticks of each round trip but the first.
#[inline(never)]
pub(crate) fn throw(node: &mut Node, bytes: usize, turns: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let (mut stamps, mut completions) = (Stamps::new(turns), [Completion::default()]);
    let mut buffer = taken(node, bytes)?;
    for word in 1..=turns {
        stamps.stamp();
        let kept = write(node, buffer, word)?;
        buffer = complete(&mut node.port, &mut completions)?.or(kept).ok_or("no buffer")?;
        await_word(node, bytes, word)?;
    }
    put_back(node, buffer);
    Ok(stamps.ticks)
}

/// Throws them back.
#[inline(never)]
pub(crate) fn throw_back(node: &mut Node, bytes: usize, turns: u64) -> Result<(), Box<dyn Error>> {
    let mut completions = [Completion::default()];
    let mut buffer = taken(node, bytes)?;
    for word in 1..=turns {
        await_word(node, bytes, word)?;
        let kept = write(node, buffer, word)?;
        buffer = complete(&mut node.port, &mut completions)?.or(kept).ok_or("no buffer")?;
    }
    put_back(node, buffer);
    Ok(())
}

/// Clears what an earlier run left where the words come.
pub(crate) fn clear(node: &Node, bytes: usize) -> Result<(), Box<dyn Error>> {
    Ok(node.memory.store(bytes - 8, 0, Ordering::Release)?)
}

/// READs so many bytes, one at a time. Ticks of each but the last.
#[inline(never)]
pub(crate) fn read(node: &mut Node, bytes: usize, turns: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let (mut stamps, mut completions) = (Stamps::new(turns), [Completion::default()]);
    let mut buffer = taken(node, bytes)?;
    for _ in 0..turns {
        stamps.stamp();
        node.port.post_read(SIGNALLED, buffer, &node.remote, 0)?;
        buffer = complete(&mut node.port, &mut completions)?.ok_or("a READ came back without its buffer")?;
    }
    put_back(node, buffer);
    Ok(stamps.ticks)
}

/// WRITEs 64 KiB as fast as the queue takes them, all to one place. Ticks from the first post to the last completion.
#[inline(never)]
pub(crate) fn stream(node: &mut Node, turns: u64) -> Result<u64, Box<dyn Error>> {
    let mut completions: [Completion; POLL] = Default::default();
    let mut free = std::mem::take(&mut node.buffers);
    if free.len() != DEPTH || free.iter().any(|buffer| buffer.len() != TRANSFER_BYTES) {
        return Err("buffers are missing".into());
    }
    let (mut posted, mut completed, from) = (0, 0, ticks());
    while completed < turns {
        while posted < turns {
            let Some(buffer) = free.pop() else { break };
            match node.port.post_write(SIGNALLED, buffer, &node.remote, 0) {
                Ok(()) => posted += 1,
                Err(refused) if refused.reason == PostError::QueueFull => {
                    free.push(refused.buffer);
                    break;
                }
                Err(refused) => return Err(refused.into()),
            }
        }
        let mut count = 0;
        spin(|| {
            count = node.port.poll(&mut completions);
            count > 0
        })?;
        for completion in completions.iter_mut().take(count) {
            free.extend(checked(completion)?);
            completed += 1;
        }
    }
    let took = ticks().wrapping_sub(from);
    node.buffers = free;
    Ok(took)
}
