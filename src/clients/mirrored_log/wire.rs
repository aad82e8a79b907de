//! The log's port, and what was posted on it: requests by what they are for, completions in the same order.

use super::error::LogError;
use super::lsn::Lsn;
use crate::fabric::{Completion, Fabric, Operation, Port, PortState, PostError, Refused, Timestamp, WorkRequest};
use crate::memory::{Buffer, Loan, Region};
use crate::session::Session;
use std::collections::VecDeque;

/// Requests that the log has on its way, at most; what its ports are made with.
pub(super) const REQUESTS_MAX: u32 = 256;

/// Receives kept posted, for the partner's answers.
pub(super) const RECEIVES: u32 = 16;

/// Headers, reports and replies.
const BLOCK_BYTES: usize = 128;
const BLOCKS: usize = 16;
const WORD_BYTES: usize = 8;
const WORDS: usize = 128;
const REPLIES: usize = RECEIVES as usize;

/// Completions taken in by one poll.
const POLLED_MAX: usize = 32;

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A part of a batch of records.
    Part,
    /// The last part of a batch, which ends here.
    Records(Lsn),
    /// The ring's header, with this sequence.
    Header(u64),
    /// A READ of the partner's heartbeat behind what was posted before it; posted no earlier than this.
    Probe(Timestamp),
    /// The same where nothing was posted before it that it would prove.
    Heartbeat(Timestamp),
    /// A piece of the partner's copy.
    Piece,
    /// Zeroes for what the partner's copy held before.
    Scrub,
    /// A report or reply to the partner about its log.
    Reply,
}

impl Purpose {
    fn describe(self) -> &'static str {
        match self {
            Self::Part | Self::Records(_) => "a WRITE of records into the partner's copy",
            Self::Header(_) => "a WRITE of the ring's header into the partner's copy",
            Self::Probe(_) => "the READ that proves records placed",
            Self::Heartbeat(_) => "a READ of the partner's heartbeat",
            Self::Piece => "a READ of the partner's copy",
            Self::Scrub => "a WRITE that empties the partner's copy",
            Self::Reply => "a WRITE of a reply about the partner's log",
        }
    }
}

/// A port with its grant and its small buffers.
pub(super) struct Wire<F: Fabric> {
    port: F::Port,
    grant: F::Remote,
    heartbeat: F::Remote,
    posted: VecDeque<Purpose>,
    blocks: Vec<Buffer>,
    words: Vec<Buffer>,
    completions: [Completion; POLLED_MAX],
    transfer_bytes_max: u64,
    inline_bytes_max: u64,
    /// Probes on their way.
    pub(super) probes: u32,
    /// Batches of records on their way, where nothing proves them placed.
    pub(super) batches: u32,
}

impl<F: Fabric> Wire<F> {
    /// Takes the session's port and registers what it needs.
    pub(super) fn new(session: &mut Session<F>) -> Result<Self, LogError> {
        let wrong = |what: &str| LogError::Session(what.to_owned());
        let port = session.take_ports().pop().ok_or_else(|| wrong("it has no port"))?;
        let grant = session.grant().cloned().ok_or_else(|| wrong("the partner granted no memory"))?;
        let bytes = BLOCKS * BLOCK_BYTES + (WORDS + REPLIES) * WORD_BYTES;
        let refused = |error: &dyn std::fmt::Display| wrong(&error.to_string());
        let region = Region::builder(bytes).pinned(false).build().map_err(|error| refused(&error))?;
        let whole = session.buffer(region).map_err(|error| refused(&error))?;
        let (blocks, rest) = whole.split_at(BLOCKS * BLOCK_BYTES);
        let (words, rest) = rest.split_at(WORDS * WORD_BYTES);
        let (replies, _) = rest.split_at(REPLIES * WORD_BYTES);
        let transfer_bytes_max = u64::from(port.limits().transfer_bytes_max) / 64 * 64;
        let inline_bytes_max = u64::from(port.limits().inline_bytes_max);
        let mut wire = Self {
            port,
            grant,
            heartbeat: session.heartbeat().clone(),
            posted: VecDeque::with_capacity(REQUESTS_MAX as usize + 1),
            blocks: blocks.split_into(BLOCK_BYTES),
            words: words.split_into(WORD_BYTES),
            completions: std::array::from_fn(|_| Completion::default()),
            transfer_bytes_max,
            inline_bytes_max,
            probes: 0,
            batches: 0,
        };
        for reply in replies.split_into(WORD_BYTES) {
            let posted = wire.port.post_receive(WorkRequest::signalled(0), reply);
            posted.map_err(|refused| broken("offering a receive", refused.reason))?;
        }
        Ok(wire)
    }

    /// Requests that can still be posted.
    #[inline]
    pub(super) fn room(&self) -> usize {
        REQUESTS_MAX as usize - self.posted.len()
    }

    /// The longest WRITE.
    #[inline]
    pub(super) fn transfer_bytes_max(&self) -> u64 {
        self.transfer_bytes_max
    }

    /// Whether nothing is on its way.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.posted.is_empty()
    }

    /// WRITEs a stretch of the ring.
    #[inline]
    pub(super) fn write(&mut self, from: Loan, offset: u64, signalled: bool, purpose: Purpose) -> Result<(), LogError> {
        let request = WorkRequest { id: 0, signalled };
        let posted = self.port.post_write_loan(request, from, &self.grant, offset);
        posted.map_err(|reason| broken(purpose.describe(), reason))?;
        self.posted.push_back(purpose);
        Ok(())
    }

    /// The longest WRITE whose bytes are copied when it is posted.
    #[inline]
    pub(super) fn inline_bytes_max(&self) -> u64 {
        self.inline_bytes_max
    }

    /// WRITEs a short stretch of the ring: no handle goes to the port and comes back.
    #[inline]
    pub(super) fn write_inline(
        &mut self,
        bytes: &[u8],
        offset: u64,
        signalled: bool,
        purpose: Purpose,
    ) -> Result<(), LogError> {
        let request = WorkRequest { id: 0, signalled };
        let posted = self.port.post_write_inline(request, bytes, &self.grant, offset);
        posted.map_err(|reason| broken(purpose.describe(), reason))?;
        self.posted.push_back(purpose);
        Ok(())
    }

    /// READs the partner's heartbeat: what was posted before is placed when it is done. `now`: a moment that has passed.
    #[inline]
    pub(super) fn probe(&mut self, now: Timestamp) -> Result<(), LogError> {
        self.read_heartbeat(Purpose::Probe(now))?;
        self.probes += 1;
        Ok(())
    }

    /// READs the partner's heartbeat for its own sake.
    pub(super) fn listen(&mut self, now: Timestamp) -> Result<(), LogError> {
        self.read_heartbeat(Purpose::Heartbeat(now))
    }

    #[inline]
    fn read_heartbeat(&mut self, purpose: Purpose) -> Result<(), LogError> {
        // As many words as there can be probes: see `send`.
        let Some(word) = self.words.pop() else { return Err(broken("a READ", PostError::QueueFull)) };
        let request = WorkRequest::signalled(0);
        let posted = self.port.post_read(request, word, &self.heartbeat, 0);
        posted.map_err(|refused| taken_back(purpose, &refused))?;
        self.posted.push_back(purpose);
        Ok(())
    }

    /// Whether a probe can be posted.
    #[inline]
    pub(super) fn can_probe(&self) -> bool {
        !self.words.is_empty() && self.room() > 0
    }

    /// READs a piece of the partner's copy.
    pub(super) fn read(&mut self, into: Buffer, offset: u64) -> Result<(), LogError> {
        let posted = self.port.post_read(WorkRequest::signalled(0), into, &self.grant, offset);
        posted.map_err(|refused| taken_back(Purpose::Piece, &refused))?;
        self.posted.push_back(Purpose::Piece);
        Ok(())
    }

    /// WRITEs zeroes.
    pub(super) fn scrub(&mut self, zeroes: Buffer, offset: u64) -> Result<(), LogError> {
        let posted = self.port.post_write(WorkRequest::signalled(0), zeroes, &self.grant, offset);
        posted.map_err(|refused| taken_back(Purpose::Scrub, &refused))?;
        self.posted.push_back(Purpose::Scrub);
        Ok(())
    }

    /// The partner's memory.
    pub(super) fn grant(&self) -> &F::Remote {
        &self.grant
    }

    /// Whether a header, report or reply can be posted.
    pub(super) fn can_write_block(&self) -> bool {
        !self.blocks.is_empty() && self.room() > 2
    }

    /// WRITEs up to 128 bytes; with `immediate` the partner is told so.
    pub(super) fn write_block(
        &mut self,
        bytes: &[u8],
        offset: u64,
        immediate: Option<u32>,
        purpose: Purpose,
    ) -> Result<(), LogError> {
        let Some(mut block) = self.blocks.pop() else { return Err(broken(purpose.describe(), PostError::QueueFull)) };
        block.truncate(bytes.len());
        for (into, byte) in block.as_mut_slice().iter_mut().zip(bytes) {
            *into = *byte;
        }
        let request = WorkRequest::signalled(0);
        let posted = match immediate {
            None => self.port.post_write(request, block, &self.grant, offset),
            Some(immediate) => self.port.post_write_with_immediate(request, block, &self.grant, offset, immediate),
        };
        posted.map_err(|refused| taken_back(purpose, &refused))?;
        self.posted.push_back(purpose);
        Ok(())
    }

    /// Keeps back what is posted until [`Wire::ring`].
    #[inline]
    pub(super) fn hold(&mut self) {
        self.port.hold();
    }

    /// Sends off what was kept back.
    #[inline]
    pub(super) fn ring(&mut self) -> Result<(), LogError> {
        self.port.ring().map_err(|reason| broken("ringing the doorbell", reason))
    }

    /// Takes in what is done: each request of this log that succeeded, with its buffer where that is the caller's to take. How much there was.
    #[inline]
    pub(super) fn poll(&mut self, mut each: impl FnMut(Purpose, &mut Option<Buffer>)) -> Result<usize, LogError> {
        let count = self.port.poll(&mut self.completions);
        if count == 0 {
            return match self.port.state() {
                PortState::Error if self.posted.is_empty() => Err(broken("the log's port", PostError::PortInError)),
                _ => Ok(0),
            };
        }
        for completion in self.completions.iter_mut().take(count) {
            // All in place: moving it would read as a whole what the port has just written in parts.
            let (status, good) = (completion.status, completion.is_success());
            let buffer = &mut completion.buffer;
            if matches!(completion.operation, Operation::Receive | Operation::ReceiveWithImmediate) {
                if !good {
                    return Err(LogError::Request { what: "a receive of the log's port", status });
                }
                // The partner says that there is something to look at: whoever polls looks anyway.
                if let Some(buffer) = buffer.take() {
                    let posted = self.port.post_receive(WorkRequest::signalled(0), buffer);
                    posted.map_err(|refused| broken("offering a receive", refused.reason))?;
                }
                continue;
            }
            let Some(purpose) = self.posted.pop_front() else { continue };
            if !good {
                return Err(LogError::Request { what: purpose.describe(), status });
            }
            each(purpose, buffer);
            // A small buffer goes back to its kind.
            match (purpose, buffer.take()) {
                (Purpose::Probe(_), Some(word)) => {
                    self.probes -= 1;
                    self.words.push(word);
                }
                (Purpose::Heartbeat(_), Some(word)) => self.words.push(word),
                (Purpose::Header(_) | Purpose::Reply, Some(mut block)) => {
                    block.restore();
                    self.blocks.push(block);
                }
                (Purpose::Records(_), _) => self.batches = self.batches.saturating_sub(1),
                _ => {}
            }
        }
        Ok(count)
    }

    /// Ends the port. Its outstanding requests are given up.
    pub(super) fn close(&mut self) {
        self.port.close();
    }
}

#[cold]
fn taken_back(purpose: Purpose, refused: &Refused) -> LogError {
    broken(purpose.describe(), refused.reason)
}

#[cold]
fn broken(what: &str, reason: PostError) -> LogError {
    LogError::Session(format!("{what}: {reason}"))
}
