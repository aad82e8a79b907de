//! The receive queue of a port: buffers offered for the other side's messages.
//!
//! Imports `ring` and `pending` (the slots). Hot path. What lies in a slot was written by the partner: it is copied out once, then checked.

use super::pending::Slots;
use super::ring::Receiver;
use super::words::Word;
use crate::fabric::{Completion, Operation, PostError, Refused, WorkCompletionStatus};
use crate::memory::Buffer;

/// Posted receives, oldest first.
#[derive(Debug)]
pub(crate) struct Receives {
    posted: Box<[(u64, Option<Buffer>)]>,
    max: u64,
    receiver: Receiver,
    slots: Slots,
    domain: u64,
}

/// What became of the oldest receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// No message is there.
    Nothing,
    /// It was filled.
    Good,
    /// It was ended by a message it cannot take: the port is in error.
    Bad,
}

impl Receives {
    /// For `max` receives in a domain of this process.
    pub(crate) fn new(max: u32, slots: Slots, domain: u64) -> Self {
        let posted = (0..max.next_power_of_two()).map(|_| (0, None)).collect();
        Self { posted, max: max.into(), receiver: Receiver::default(), slots, domain }
    }

    /// Whether no receive is posted.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.receiver.waiting() == 0
    }

    #[inline]
    fn place(&mut self, number: u64) -> Option<&mut (u64, Option<Buffer>)> {
        let mask = self.posted.len().wrapping_sub(1);
        self.posted.get_mut(number as usize & mask)
    }

    /// Offers a buffer.
    #[inline]
    pub(crate) fn post<W: Word>(&mut self, id: u64, into: Buffer, receives_posted: &W) -> Result<(), Refused> {
        let full = self.receiver.waiting() >= self.max;
        let number = self.receiver.next_post();
        match self.place(number) {
            Some(place) if !full => *place = (id, Some(into)),
            _ => return Err(Refused { reason: PostError::QueueFull, buffer: into }),
        }
        self.receiver.post(receives_posted);
        Ok(())
    }

    /// Fills the oldest receive with the next message, if there is one. A receive must be posted.
    #[inline]
    pub(crate) fn take(&mut self, completion: &mut Completion) -> Taken {
        let number = self.receiver.next();
        let Some((sequence, what)) = self.slots.words(number) else { return Taken::Nothing };
        let Some(message) = self.receiver.peek(sequence, what) else { return Taken::Nothing };
        let Some(place) = self.place(number) else { return Taken::Nothing };
        let (id, mut buffer) = (place.0, place.1.take());
        let length = message.length as usize;
        let mut status = WorkCompletionStatus::Success;
        if message.immediate.is_none() {
            let fits = buffer.as_ref().is_some_and(|buffer| buffer.domain() == self.domain);
            let space = buffer.as_mut().and_then(|buffer| buffer.as_mut_slice().get_mut(..length));
            let copied = space.is_some_and(|space| fits && self.slots.read(number, space));
            if !copied {
                status = if fits { WorkCompletionStatus::LocalLength } else { WorkCompletionStatus::LocalProtection };
            }
        }
        self.receiver.take();
        completion.id = id;
        completion.operation =
            if message.immediate.is_some() { Operation::ReceiveWithImmediate } else { Operation::Receive };
        completion.status = status;
        completion.bytes = message.length;
        completion.immediate = message.immediate;
        completion.buffer = buffer;
        if status == WorkCompletionStatus::Success { Taken::Good } else { Taken::Bad }
    }

    /// Ends the oldest receive as flushed. A receive must be posted.
    #[cold]
    pub(crate) fn flush_one(&mut self, completion: &mut Completion) {
        let number = self.receiver.next();
        let (id, buffer) = self.place(number).map(|place| (place.0, place.1.take())).unwrap_or_default();
        self.receiver.take();
        *completion = Completion::new(id, Operation::Receive, WorkCompletionStatus::Flushed, 0, buffer);
    }
}
