//! The message ring's protocol: one process writes messages into slots, the other takes them out.
//!
//! Imports `words` alone. Pure: where the words lie, and how payloads are copied, is the caller's affair.
//!
//! A slot begins with a sequence word and a word that says what the message is. Message `k` lies in slot `k mod slots`, and may be
//! written once the receiver has posted more than `k` receives. That is all the flow control there is: the receiver never has more
//! receives posted than the ring has slots, so a posted receive implies that its slot has been read.
//!
//! Neither side trusts the other: counts that make no sense read as "no room" and "nothing there", and lengths are checked by the receiver
//! against its own limits after one load.

use super::words::Word;

/// Bytes of a slot before its payload.
pub(crate) const SLOT_HEADER_BYTES: usize = 16;
/// Slots begin on cache lines.
pub(crate) const LINE_BYTES: usize = 64;

/// What a slot says about its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    /// Bytes of the payload; for a WRITE with immediate, bytes written (nothing lies in the slot).
    pub(crate) length: u32,
    /// The immediate data, where it tells of a WRITE with immediate.
    pub(crate) immediate: Option<u32>,
}

/// The length field has 31 bits; the top one says that there is immediate data.
const HAS_IMMEDIATE: u64 = 1 << 31;
/// Longest length a slot can tell of. A longer WRITE with immediate is told of as this long.
pub(crate) const LENGTH_MAX: u32 = (HAS_IMMEDIATE - 1) as u32;

impl Message {
    fn encode(self) -> u64 {
        let length = u64::from(self.length.min(LENGTH_MAX));
        match self.immediate {
            None => length,
            Some(immediate) => length | HAS_IMMEDIATE | u64::from(immediate) << 32,
        }
    }
    fn decode(word: u64) -> Self {
        let length = (word & u64::from(LENGTH_MAX)) as u32;
        let immediate = (word & HAS_IMMEDIATE != 0).then_some((word >> 32) as u32);
        Self { length, immediate }
    }
}

/// How many bytes each slot takes for payloads of at most `message_bytes_max`.
pub(crate) const fn stride(message_bytes_max: usize) -> usize {
    (SLOT_HEADER_BYTES + message_bytes_max).div_ceil(LINE_BYTES) * LINE_BYTES
}

/// The sender's count.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    /// Messages written so far.
    sent: u64,
    /// The receiver's count of posted receives, as last seen.
    credit: u64,
}

impl Sender {
    /// The number of the message that may be written now, if the other side has posted a receive for it.
    #[inline]
    pub(crate) fn next<W: Word>(&mut self, receives_posted: &W, slots: u64) -> Option<u64> {
        if self.credit == self.sent {
            let posted = receives_posted.load_acquire();
            let room = posted.wrapping_sub(self.sent);
            if room == 0 || room > slots {
                return None;
            }
            self.credit = posted;
        }
        Some(self.sent)
    }
    /// Publishes the message that `next` allowed; its payload is already in the slot.
    #[inline]
    pub(crate) fn publish<W: Word>(&mut self, sequence: &W, what: &W, message: Message) {
        what.store_relaxed(message.encode());
        self.sent = self.sent.wrapping_add(1);
        // What lies in the slot, and everything this port wrote before, is seen by whoever sees this number.
        sequence.store_release(self.sent);
    }
}

/// The receiver's count.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    taken: u64,
    posted: u64,
}

impl Receiver {
    /// Receives posted and not yet filled.
    #[inline]
    pub(crate) fn waiting(&self) -> u64 {
        self.posted.wrapping_sub(self.taken)
    }
    /// Number of the next message.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.taken
    }
    /// Number of the next receive to be posted.
    #[inline]
    pub(crate) fn next_post(&self) -> u64 {
        self.posted
    }
    /// Tells the sender of one more receive.
    #[inline]
    pub(crate) fn post<W: Word>(&mut self, receives_posted: &W) {
        self.posted = self.posted.wrapping_add(1);
        // The slot this makes free has been read out by now, and the sender overwrites it only after it saw this.
        receives_posted.store_release(self.posted);
    }
    /// The next message, if it is there.
    #[inline]
    pub(crate) fn peek<W: Word>(&self, sequence: &W, what: &W) -> Option<Message> {
        if sequence.load_acquire() != self.taken.wrapping_add(1) {
            return None;
        }
        Some(Message::decode(what.load_relaxed()))
    }
    /// On to the next one: the message is copied out, or its receive will not be filled any more.
    #[inline]
    pub(crate) fn take(&mut self) {
        self.taken = self.taken.wrapping_add(1);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn what_a_slot_says_round_trips() {
        for length in [0, 1, 65536, LENGTH_MAX] {
            for immediate in [None, Some(0), Some(u32::MAX)] {
                let message = Message { length, immediate };
                assert_eq!(Message::decode(message.encode()), message);
            }
        }
        assert_eq!(Message::decode(Message { length: u32::MAX, immediate: None }.encode()).length, LENGTH_MAX);
    }

    #[test]
    fn a_stride_is_whole_lines_and_holds_header_and_payload() {
        assert_eq!((stride(8), stride(48), stride(49), stride(1024)), (64, 64, 128, 1088));
    }

    #[test]
    fn no_message_without_a_receive_and_none_on_a_count_that_makes_no_sense() {
        let posted = AtomicU64::new(0);
        let mut sender = Sender::default();
        assert_eq!(sender.next(&posted, 4), None);
        for nonsense in [5, 1 << 40, u64::MAX] {
            posted.store_relaxed(nonsense);
            assert_eq!(sender.next(&posted, 4), None, "{nonsense}");
        }
        posted.store_relaxed(1);
        assert_eq!(sender.next(&posted, 4), Some(0));
    }

    #[test]
    fn a_sequence_that_is_not_the_next_one_is_no_message() {
        let (sequence, what) = (AtomicU64::new(0), AtomicU64::new(7));
        let receiver = Receiver::default();
        for other in [0, 2, u64::MAX] {
            sequence.store_relaxed(other);
            assert_eq!(receiver.peek(&sequence, &what), None, "{other}");
        }
        sequence.store_relaxed(1);
        assert_eq!(receiver.peek(&sequence, &what), Some(Message { length: 7, immediate: None }));
    }
}
