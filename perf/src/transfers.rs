//! WRITEs and messages through ports, thrown to and fro like the bare lines they are compared with.

use crate::completions::{checked, complete, held};
use crate::control::{Command, spin};
use crate::lines::Stamps;
use crate::nodes::{BLOCK_BYTES, Node, places};
use handfast::fabric::{Completion, Operation, Port, WorkRequest};
use handfast::memory::Buffer;
use std::error::Error;
use std::sync::atomic::Ordering;

/// Which byte the blocks of each direction are made of.
pub(crate) const THROWN: u8 = 0xA1;
/// See [`THROWN`].
pub(crate) const RETURNED: u8 = 0xB2;

/// Waits for the word of a turn in our exposed memory.
#[inline(always)]
fn await_flag(node: &Node, word: u64) -> Result<(), crate::control::Stalled> {
    spin(|| matches!(node.memory.load(places::FLAG, Ordering::Acquire), Ok(found) if found == word))
}

/// One inline WRITE of the word and its completion.
#[inline(always)]
fn write_flag(node: &mut Node, word: u64) -> Result<(), Box<dyn Error>> {
    let request = WorkRequest::signalled(word);
    Ok(node.port.post_write_inline(request, &word.to_ne_bytes(), &node.grant, places::FLAG as u64)?)
}

/// Throws inline WRITEs of 8 bytes.
#[inline(never)]
pub(crate) fn throw_writes(node: &mut Node, command: &Command) -> Result<Stamps, Box<dyn Error>> {
    let (mut stamps, mut completions) = (Stamps::new(command.turns), <[Completion; 2]>::default());
    for word in command.base + 1..=command.base + command.turns {
        write_flag(node, word)?;
        stamps.stamp();
        complete(&mut node.port, &mut completions)?;
        await_flag(node, word)?;
    }
    Ok(stamps)
}

/// Throws them back.
#[inline(never)]
pub(crate) fn return_writes(node: &mut Node, command: &Command) -> Result<(), Box<dyn Error>> {
    let mut completions = <[Completion; 2]>::default();
    for word in command.base + 1..=command.base + command.turns {
        await_flag(node, word)?;
        write_flag(node, word)?;
        complete(&mut node.port, &mut completions)?;
    }
    Ok(())
}

/// A WRITE of the block and an inline one of the word behind it.
#[inline(always)]
fn write_block(node: &mut Node, block: Buffer, word: u64) -> Result<(), Box<dyn Error>> {
    node.port.post_write(WorkRequest::unsignalled(0), block, &node.grant, places::BLOCK as u64)?;
    write_flag(node, word)
}

/// Both completions; the block comes back.
#[inline(always)]
fn complete_block(node: &mut Node, completions: &mut [Completion; 2]) -> Result<Buffer, Box<dyn Error>> {
    let block = held(complete(&mut node.port, completions)?)?;
    complete(&mut node.port, completions)?;
    Ok(block)
}

fn filled(block: Buffer, byte: u8) -> Buffer {
    let mut block = block;
    block.as_mut_slice().fill(byte);
    block
}

/// The last block that came must be whole.
fn verify_block(node: &Node, byte: u8) -> Result<(), Box<dyn Error>> {
    let mut arrived = [0; BLOCK_BYTES];
    node.memory.read(places::BLOCK, &mut arrived)?;
    if arrived == [byte; BLOCK_BYTES] { Ok(()) } else { Err("a WRITE of 4 KiB arrived damaged".into()) }
}

/// Throws WRITEs of 4 KiB. The block is taken from the node while this runs.
#[inline(never)]
pub(crate) fn throw_block_writes(
    node: &mut Node,
    block: Buffer,
    command: &Command,
) -> Result<(Stamps, Buffer), Box<dyn Error>> {
    let (mut stamps, mut completions) = (Stamps::new(command.turns), Default::default());
    let mut block = filled(block, THROWN);
    for word in command.base + 1..=command.base + command.turns {
        write_block(node, block, word)?;
        stamps.stamp();
        block = complete_block(node, &mut completions)?;
        await_flag(node, word)?;
    }
    verify_block(node, RETURNED)?;
    Ok((stamps, block))
}

/// Throws them back.
#[inline(never)]
pub(crate) fn return_block_writes(node: &mut Node, block: Buffer, command: &Command) -> Result<Buffer, Box<dyn Error>> {
    let mut completions = Default::default();
    let mut block = filled(block, RETURNED);
    for word in command.base + 1..=command.base + command.turns {
        await_flag(node, word)?;
        write_block(node, block, word)?;
        block = complete_block(node, &mut completions)?;
    }
    verify_block(node, THROWN)?;
    Ok(block)
}

/// What polling for messages and for the end of our own has brought so far.
struct Progress {
    /// The buffer of our message, once it is sent.
    sent: Option<Buffer>,
    /// The word of the last message that came.
    received: u64,
}

/// Polls until as much is done as `enough` asks for; receives go back into the queue.
#[inline(always)]
fn poll_messages(
    node: &mut Node,
    completions: &mut [Completion; 2],
    progress: &mut Progress,
    enough: impl Fn(&Progress) -> bool,
) -> Result<(), Box<dyn Error>> {
    while !enough(progress) {
        let mut count = 0;
        spin(|| {
            count = node.port.poll(completions);
            count > 0
        })?;
        for completion in completions.iter_mut().take(count) {
            let buffer = held(checked(completion)?)?;
            if completion.operation == Operation::Receive {
                progress.received += 1;
                let word = buffer.as_slice().first_chunk();
                if completion.bytes as usize != buffer.len() || word != Some(&progress.received.to_ne_bytes()) {
                    return Err("a message arrived damaged".into());
                }
                node.port.post_receive(WorkRequest::signalled(0), buffer)?;
            } else {
                progress.sent = Some(buffer);
            }
        }
    }
    Ok(())
}

#[inline(always)]
fn send(node: &mut Node, mut message: Buffer, word: u64) -> Result<(), Box<dyn Error>> {
    if let Some(place) = message.as_mut_slice().first_chunk_mut() {
        *place = word.to_ne_bytes();
    }
    Ok(node.port.post_send(WorkRequest::signalled(word), message)?)
}

/// Throws messages of 64 bytes.
#[inline(never)]
pub(crate) fn throw_messages(
    node: &mut Node,
    message: Buffer,
    command: &Command,
) -> Result<(Stamps, Buffer), Box<dyn Error>> {
    let (mut stamps, mut completions) = (Stamps::new(command.turns), Default::default());
    let mut progress = Progress { sent: Some(message), received: command.base };
    for word in command.base + 1..=command.base + command.turns {
        send(node, held(progress.sent.take())?, word)?;
        stamps.stamp();
        let both = |progress: &Progress| progress.received == word && progress.sent.is_some();
        poll_messages(node, &mut completions, &mut progress, both)?;
    }
    Ok((stamps, held(progress.sent)?))
}

/// Throws them back.
#[inline(never)]
pub(crate) fn return_messages(node: &mut Node, message: Buffer, command: &Command) -> Result<Buffer, Box<dyn Error>> {
    let mut completions = Default::default();
    let mut progress = Progress { sent: Some(message), received: command.base };
    for word in command.base + 1..=command.base + command.turns {
        // The completion of our last answer may come with the next message, or behind it.
        let both = |progress: &Progress| progress.received == word && progress.sent.is_some();
        poll_messages(node, &mut completions, &mut progress, both)?;
        send(node, held(progress.sent.take())?, word)?;
    }
    poll_messages(node, &mut completions, &mut progress, |progress| progress.sent.is_some())?;
    held(progress.sent)
}
