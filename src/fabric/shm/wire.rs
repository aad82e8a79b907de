//! Carrying operations out: the part of a port that touches the partner's memory, and the operations that have to wait for its receives.
//!
//! Imports `remote`, `ring`, `table`, `pending` (the slots), `sys` (the clock, read only while something waits). Hot path.
//!
//! Order. A release fence before each WRITE's copy makes the WRITEs of a port become visible in posting order. A READ behind a WRITE of the same port is
//! preceded by a full barrier, so the WRITE is in memory when the READ looks; atomics are such barriers themselves.

use super::pending::Slots;
use super::port::INLINE_BYTES_MAX;
use super::remote::ShmRemote;
use super::ring::{Message, Sender};
use super::table::PortWords;
use crate::fabric::{AccessFlags, Kept, Operation, WorkCompletionStatus};
use crate::memory::Loan;
use crate::sys::random::monotonic_ns;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The way to the partner's memory.
#[derive(Debug)]
pub(crate) struct Wire {
    peer: PortWords,
    domain: u64,
    slots: Option<Slots>,
    sender: Sender,
    /// WRITEs were carried out since the last full barrier.
    unfenced: bool,
}

/// An operation that waits, but for its buffer and id, which are in the queue.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// READ.
    Read(ShmRemote, u64),
    /// WRITE.
    Write(ShmRemote, u64),
    /// WRITE of bytes that were kept, this many.
    Inline(ShmRemote, u64, usize),
    /// WRITE with immediate data.
    WriteWithImmediate(ShmRemote, u64, u32),
    /// An atomic.
    Atomic(ShmRemote, u64, Atomic),
    /// SEND.
    Send,
}

/// An operation on one word.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Atomic {
    /// Adds.
    FetchAdd(u64),
    /// Replaces.
    CompareSwap {
        /// What must be there.
        expected: u64,
        /// What is put there.
        desired: u64,
    },
}

impl Atomic {
    /// Which operation its completion is for.
    #[inline]
    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::FetchAdd(_) => Operation::FetchAdd,
            Self::CompareSwap { .. } => Operation::CompareSwap,
        }
    }
    /// Returns what the word held.
    #[inline]
    fn apply(self, word: &AtomicU64) -> u64 {
        match self {
            Self::FetchAdd(add) => word.fetch_add(add, Ordering::SeqCst),
            Self::CompareSwap { expected, desired } => {
                let swapped = word.compare_exchange(expected, desired, Ordering::SeqCst, Ordering::SeqCst);
                swapped.unwrap_or_else(|held| held)
            }
        }
    }
}

impl Waiting {
    /// Which operation its completion is for.
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Self::Read(..) => Operation::Read,
            Self::Write(..) | Self::Inline(..) => Operation::Write,
            Self::WriteWithImmediate(..) => Operation::WriteWithImmediate,
            Self::Atomic(_, _, atomic) => atomic.operation(),
            Self::Send => Operation::Send,
        }
    }
}

impl Wire {
    /// To the port with these words, in the domain with this token.
    pub(crate) fn new(peer: PortWords, domain: u64, slots: Option<Slots>) -> Self {
        Self { peer, domain, slots, sender: Sender::default(), unfenced: false }
    }

    /// READs into `into`.
    #[inline]
    pub(crate) fn read(&mut self, from: &ShmRemote, offset: u64, into: &mut [u8]) -> WorkCompletionStatus {
        if self.unfenced {
            fence(Ordering::SeqCst);
            self.unfenced = false;
        }
        let copied =
            from.open(self.domain, AccessFlags::REMOTE_READ).is_some_and(|span| span.read(offset as usize, into));
        if !copied && !into.is_empty() {
            return WorkCompletionStatus::RemoteAccess;
        }
        fence(Ordering::Acquire);
        WorkCompletionStatus::Success
    }

    /// WRITEs `bytes`.
    #[inline]
    pub(crate) fn write(&mut self, to: &ShmRemote, offset: u64, bytes: &[u8]) -> WorkCompletionStatus {
        fence(Ordering::Release);
        let copied =
            to.open(self.domain, AccessFlags::REMOTE_WRITE).is_some_and(|span| span.write(offset as usize, bytes));
        if !copied && !bytes.is_empty() {
            return WorkCompletionStatus::RemoteAccess;
        }
        self.unfenced = true;
        WorkCompletionStatus::Success
    }

    /// WRITEs what is lent.
    #[inline]
    pub(crate) fn write_loan(&mut self, to: &ShmRemote, offset: u64, loan: &Loan) -> WorkCompletionStatus {
        fence(Ordering::Release);
        let span = to.open(self.domain, AccessFlags::REMOTE_WRITE);
        if !span.is_some_and(|span| span.write_loan(offset as usize, loan)) {
            return WorkCompletionStatus::RemoteAccess;
        }
        self.unfenced = true;
        WorkCompletionStatus::Success
    }

    /// Sends `bytes`; `None` while the other side has no receive for it.
    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Option<WorkCompletionStatus> {
        let Some(slots) = &self.slots else { return Some(WorkCompletionStatus::RemoteInvalidRequest) };
        if bytes.len() > slots.message_bytes_max() {
            return Some(WorkCompletionStatus::RemoteInvalidRequest);
        }
        let number = self.sender.next(&*self.peer.receives_posted, slots.count())?;
        let (sequence, what) = slots.words(number)?;
        if !slots.write(number, bytes) {
            return Some(WorkCompletionStatus::RemoteInvalidRequest);
        }
        self.sender.publish(sequence, what, Message { length: bytes.len() as u32, immediate: None });
        self.unfenced = true;
        Some(WorkCompletionStatus::Success)
    }

    /// WRITEs `bytes` and tells the other side of it; `None`, and nothing written, while the other side has no receive for it.
    #[inline]
    pub(crate) fn write_with_immediate(
        &mut self,
        to: &ShmRemote,
        offset: u64,
        bytes: &[u8],
        immediate: u32,
    ) -> Option<WorkCompletionStatus> {
        let count = match &self.slots {
            Some(slots) => slots.count(),
            None => return Some(WorkCompletionStatus::RemoteInvalidRequest),
        };
        let number = self.sender.next(&*self.peer.receives_posted, count)?;
        let status = self.write(to, offset, bytes);
        if status != WorkCompletionStatus::Success {
            return Some(status);
        }
        let (sequence, what) = self.slots.as_ref()?.words(number)?;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.sender.publish(sequence, what, Message { length, immediate: Some(immediate) });
        Some(WorkCompletionStatus::Success)
    }

    /// Carries out an atomic operation.
    #[inline]
    pub(crate) fn atomic(
        &mut self,
        to: &ShmRemote,
        offset: u64,
        into: &mut [u8],
        operation: Atomic,
    ) -> WorkCompletionStatus {
        if !offset.is_multiple_of(8) {
            return WorkCompletionStatus::RemoteInvalidRequest;
        }
        let span = to.open(self.domain, AccessFlags::REMOTE_ATOMIC).filter(|span| span.is_writable());
        let Some(word) = span.and_then(|span| span.word(offset as usize)) else {
            return WorkCompletionStatus::RemoteAccess;
        };
        let held = operation.apply(word);
        self.unfenced = false;
        if let Some(into) = into.first_chunk_mut::<8>() {
            *into = held.to_ne_bytes();
        }
        WorkCompletionStatus::Success
    }

    /// Carries out any operation with what was kept for it; `None` while it has to wait. `inline` are the bytes of an inline WRITE.
    ///
    /// Each operation takes the one thing that it was posted with. Another one there would be a fault of this backend: the operation then ends
    /// badly, and never as done.
    pub(crate) fn carry_out(
        &mut self,
        waiting: &Waiting,
        kept: &mut Kept,
        inline: &[u8],
    ) -> Option<WorkCompletionStatus> {
        match (waiting, kept) {
            (Waiting::Read(from, offset), Kept::Buffer(into)) => Some(self.read(from, *offset, into.as_mut_slice())),
            (Waiting::Write(to, offset), Kept::Buffer(from)) => Some(self.write(to, *offset, from.as_slice())),
            (Waiting::Write(to, offset), Kept::Loan(from)) => Some(self.write_loan(to, *offset, from)),
            (Waiting::Inline(to, offset, length), Kept::Nothing) => Some(
                inline.get(..*length).map_or(WorkCompletionStatus::LocalLength, |bytes| self.write(to, *offset, bytes)),
            ),
            (Waiting::WriteWithImmediate(to, offset, immediate), Kept::Buffer(from)) => {
                self.write_with_immediate(to, *offset, from.as_slice(), *immediate)
            }
            (Waiting::Atomic(to, offset, atomic), Kept::Buffer(into)) => {
                Some(self.atomic(to, *offset, into.as_mut_slice(), *atomic))
            }
            (Waiting::Send, Kept::Buffer(from)) => self.send(from.as_slice()),
            _ => Some(WorkCompletionStatus::LocalProtection),
        }
    }
}

/// Operations that wait, oldest first: a SEND or WRITE with immediate without a receive on the other side, and all posted behind it.
#[derive(Debug)]
pub(crate) struct WaitingQueue {
    queue: VecDeque<Waiting>,
    /// Bytes of inline WRITEs, in the places their operations have in the send queue.
    inline: Box<[u8]>,
    /// Since when the oldest waits, nanoseconds.
    since: Option<u64>,
    wait_ns_max: u64,
}

impl WaitingQueue {
    /// Room for as many operations as the send queue holds.
    pub(crate) fn new(max: u32, wait_ns_max: u64) -> Self {
        let places = max.next_power_of_two() as usize;
        let inline = vec![0; places * INLINE_BYTES_MAX].into_boxed_slice();
        Self { queue: VecDeque::with_capacity(places), inline, since: None, wait_ns_max }
    }
    /// Adds the newest.
    pub(crate) fn push(&mut self, waiting: Waiting) {
        if self.queue.is_empty() {
            self.since = Some(monotonic_ns());
        }
        self.queue.push_back(waiting);
    }
    /// Takes the oldest.
    pub(crate) fn pop(&mut self) -> Option<Waiting> {
        self.queue.pop_front()
    }
    /// Puts the oldest back.
    pub(crate) fn push_front(&mut self, waiting: Waiting) {
        self.queue.push_front(waiting);
    }
    /// The oldest was carried out: the next one's time begins.
    pub(crate) fn moved(&mut self) {
        self.since = None;
    }
    /// Whether the oldest waited too long. Reads the clock.
    pub(crate) fn is_overdue(&mut self) -> bool {
        let now = monotonic_ns();
        now.saturating_sub(*self.since.get_or_insert(now)) > self.wait_ns_max
    }
    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.since = None;
    }
    /// Keeps the bytes of an inline WRITE at a place of the send queue.
    pub(crate) fn keep_inline(&mut self, place: usize, bytes: &[u8]) {
        let room = self.inline.get_mut(place * INLINE_BYTES_MAX..).and_then(|room| room.get_mut(..bytes.len()));
        if let Some(room) = room {
            room.copy_from_slice(bytes);
        }
    }
    /// The bytes kept at a place.
    pub(crate) fn inline(&self, place: usize) -> &[u8] {
        self.inline.get(place * INLINE_BYTES_MAX..(place + 1) * INLINE_BYTES_MAX).unwrap_or_default()
    }
}
