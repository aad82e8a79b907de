//! What one operation costs its initiator: READs, and posts.

use crate::bare::{Arena, load_line};
use crate::completions::{checked, complete, held};
use crate::control::{Command, lines};
use crate::lines::have_dirtied;
use crate::machine::ticks_ordered;
use crate::nodes::{Node, places};
use handfast::fabric::{Completion, Port, WorkRequest};
use handfast::memory::Buffer;
use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::Ordering;

/// Operations between two readings of the counter, where one alone is too short for it.
pub(crate) const BATCH: u64 = 64;

/// Bare copies of a line that nobody writes, in batches.
#[inline(never)]
pub(crate) fn bare_reads(arena: &Arena, batches: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let line = arena.line(lines::DATA)?;
    let mut ticks = Vec::with_capacity(batches as usize);
    for _ in 0..batches {
        let from = ticks_ordered();
        for _ in 0..BATCH {
            black_box(load_line(line));
        }
        ticks.push(ticks_ordered().wrapping_sub(from));
    }
    Ok(ticks)
}

/// READs of a line that nobody writes, each completed before the next, in batches.
#[inline(never)]
pub(crate) fn reads(node: &mut Node, mut line: Buffer, batches: u64) -> Result<(Vec<u64>, Buffer), Box<dyn Error>> {
    let (mut ticks, mut completions) = (Vec::with_capacity(batches as usize), <[Completion; 2]>::default());
    for _ in 0..batches {
        let from = ticks_ordered();
        for id in 0..BATCH {
            node.port.post_read(WorkRequest::signalled(id), line, &node.grant, places::LINE as u64)?;
            line = held(complete(&mut node.port, &mut completions)?)?;
        }
        ticks.push(ticks_ordered().wrapping_sub(from));
    }
    Ok((ticks, line))
}

/// Bare copies of a line that the peer has just written.
#[inline(never)]
pub(crate) fn bare_dirty_reads(arena: &Arena, command: &Command) -> Result<Vec<u64>, Box<dyn Error>> {
    let ([ask, ..], [told, ..]) = (arena.line(lines::PING)?, arena.line(lines::PONG)?);
    let line = arena.line(lines::DATA)?;
    let mut ticks = Vec::with_capacity(command.turns as usize);
    for word in command.base + 1..=command.base + command.turns {
        have_dirtied(ask, told, word)?;
        let from = ticks_ordered();
        let words = load_line(line);
        ticks.push(ticks_ordered().wrapping_sub(from));
        if words != [word; 8] {
            return Err("a line was not as it was written".into());
        }
    }
    Ok(ticks)
}

/// READs of a line that the peer has just written.
#[inline(never)]
pub(crate) fn dirty_reads(
    node: &mut Node,
    arena: &Arena,
    mut line: Buffer,
    command: &Command,
) -> Result<(Vec<u64>, Buffer), Box<dyn Error>> {
    let ([ask, ..], [told, ..]) = (arena.line(lines::PING)?, arena.line(lines::PONG)?);
    let (mut ticks, mut completions) = (Vec::with_capacity(command.turns as usize), <[Completion; 2]>::default());
    for word in command.base + 1..=command.base + command.turns {
        have_dirtied(ask, told, word)?;
        let from = ticks_ordered();
        node.port.post_read(WorkRequest::signalled(word), line, &node.grant, places::LINE as u64)?;
        line = held(complete(&mut node.port, &mut completions)?)?;
        ticks.push(ticks_ordered().wrapping_sub(from));
        if line.as_slice().chunks_exact(8).any(|bytes| bytes != word.to_ne_bytes()) {
            return Err("a READ brought other bytes than were written".into());
        }
    }
    Ok((ticks, line))
}

/// Bare stores of a word, in batches.
#[inline(never)]
pub(crate) fn bare_stores(arena: &Arena, batches: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let [word, ..] = arena.line(lines::DATA)?;
    let mut ticks = Vec::with_capacity(batches as usize);
    for batch in 0..batches {
        let from = ticks_ordered();
        for number in 0..BATCH {
            word.store(black_box(batch + number), Ordering::Release);
        }
        ticks.push(ticks_ordered().wrapping_sub(from));
    }
    Ok(ticks)
}

/// Inline WRITEs of 8 bytes and their completions, in batches whose last one is signalled.
#[inline(never)]
pub(crate) fn posts(node: &mut Node, batches: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut completions: [Completion; 16] = Default::default();
    let mut ticks = Vec::with_capacity(batches as usize);
    for _ in 0..batches {
        let from = ticks_ordered();
        for id in 0..BATCH {
            let request = WorkRequest { id, signalled: id == BATCH - 1 };
            node.port.post_write_inline(request, &black_box(id).to_ne_bytes(), &node.grant, places::POSTS as u64)?;
        }
        let mut count = 0;
        while count < BATCH {
            let polled = node.port.poll(&mut completions);
            for completion in completions.iter_mut().take(polled) {
                checked(completion)?;
            }
            if polled == 0 {
                return Err("a signalled WRITE did not complete".into());
            }
            count += polled as u64;
        }
        ticks.push(ticks_ordered().wrapping_sub(from));
    }
    Ok(ticks)
}
