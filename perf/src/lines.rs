//! The limits of moving bytes one way: lines and blocks of bare shared memory, thrown to and fro.
//!
//! A turn is a round trip; what is recorded is half of it. The stamp is taken while the line travels, so that reading the counter is
//! not part of what it measures.

use crate::bare::{Arena, BLOCK_BYTES};
use crate::control::{Command, Stalled, await_word, blocks, lines};
use crate::machine::ticks;
use std::error::Error;
use std::sync::atomic::Ordering;

/// Ticks between the stamps of turns that follow each other, as they are taken.
pub(crate) struct Stamps {
    last: u64,
    /// Ticks of each turn but the first.
    pub(crate) ticks: Vec<u64>,
}

impl Stamps {
    /// For so many turns.
    pub(crate) fn new(turns: u64) -> Self {
        Self { last: 0, ticks: Vec::with_capacity(turns as usize) }
    }

    /// The bytes of a turn are on their way.
    #[inline(always)]
    pub(crate) fn stamp(&mut self) {
        let now = ticks();
        if self.last != 0 {
            self.ticks.push(now.wrapping_sub(self.last));
        }
        self.last = now;
    }
}

/// Throws lines.
#[inline(never)]
pub(crate) fn throw_lines(arena: &Arena, command: &Command) -> Result<Stamps, Box<dyn Error>> {
    let ([ping, ..], [pong, ..]) = (arena.line(lines::PING)?, arena.line(lines::PONG)?);
    let mut stamps = Stamps::new(command.turns);
    for word in command.base + 1..=command.base + command.turns {
        ping.store(word, Ordering::Release);
        stamps.stamp();
        await_word(pong, word)?;
    }
    Ok(stamps)
}

/// Throws them back.
#[inline(never)]
pub(crate) fn return_lines(arena: &Arena, command: &Command) -> Result<(), Box<dyn Error>> {
    let ([ping, ..], [pong, ..]) = (arena.line(lines::PING)?, arena.line(lines::PONG)?);
    for word in command.base + 1..=command.base + command.turns {
        await_word(ping, word)?;
        pong.store(word, Ordering::Release);
    }
    Ok(())
}

/// Throws 4 KiB, then a line that says so.
#[inline(never)]
pub(crate) fn throw_blocks(arena: &Arena, command: &Command) -> Result<Stamps, Box<dyn Error>> {
    let ([ping, ..], [pong, ..]) = (arena.line(lines::PING)?, arena.line(lines::PONG)?);
    let (block, bytes) = (arena.block(blocks::PING)?, private_block(1));
    let mut stamps = Stamps::new(command.turns);
    for word in command.base + 1..=command.base + command.turns {
        block.fill(&bytes);
        ping.store(word, Ordering::Release);
        stamps.stamp();
        await_word(pong, word)?;
    }
    Ok(stamps)
}

/// Throws them back.
#[inline(never)]
pub(crate) fn return_blocks(arena: &Arena, command: &Command) -> Result<(), Box<dyn Error>> {
    let ([ping, ..], [pong, ..]) = (arena.line(lines::PING)?, arena.line(lines::PONG)?);
    let (block, bytes) = (arena.block(blocks::PONG)?, private_block(2));
    for word in command.base + 1..=command.base + command.turns {
        await_word(ping, word)?;
        block.fill(&bytes);
        pong.store(word, Ordering::Release);
    }
    Ok(())
}

/// A block at the start of a page, as the buffers of ports are.
fn private_block(byte: u8) -> Box<AlignedBlock> {
    Box::new(AlignedBlock([byte; BLOCK_BYTES]))
}

#[repr(align(4096))]
struct AlignedBlock([u8; BLOCK_BYTES]);

impl std::ops::Deref for AlignedBlock {
    type Target = [u8; BLOCK_BYTES];
    fn deref(&self) -> &[u8; BLOCK_BYTES] {
        &self.0
    }
}

/// Dirties the data line when told to.
#[inline(never)]
pub(crate) fn dirty_on_request(
    arena: &Arena,
    command: &Command,
    mut write: impl FnMut(u64) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let ([ask, ..], [told, ..]) = (arena.line(lines::PING)?, arena.line(lines::PONG)?);
    for word in command.base + 1..=command.base + command.turns {
        await_word(ask, word)?;
        write(word)?;
        told.store(word, Ordering::Release);
    }
    Ok(())
}

/// Asks for the data line to be dirtied and waits until it is.
#[inline(always)]
pub(crate) fn have_dirtied(
    ask: &std::sync::atomic::AtomicU64,
    told: &std::sync::atomic::AtomicU64,
    word: u64,
) -> Result<(), Stalled> {
    ask.store(word, Ordering::Release);
    await_word(told, word)
}
