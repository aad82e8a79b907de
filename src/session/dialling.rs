//! The dialling half of a connection: one link to the partner, and the handshake's operations on it.

use crate::fabric::{
    Address, Completion, Dial, DialPurpose, Domain, Fabric, FabricError, Link, LinkMonitor, LinkSlot, Port, Timestamp,
    WorkRequest,
};
use crate::handshake::{Action, Handshake, Phase};
use crate::memory::{Buffer, Region};
use crate::page::mailbox::{CONFIRMATION_OFFSET, GREETING_BYTES, GREETING_OFFSET};
use crate::page::status::{HANDSHAKE_BYTES, ROSTER_OFFSET};
use crate::session::pace::{Pace, Shown};
use crate::session::steps::StepClock;
use crate::session::timing::{Backoff, Timing};

/// What each READ fetches: the handshake's sections, heartbeat, stage, progress and stage name.
pub(crate) const READ_BYTES: usize = ROSTER_OFFSET;

const READ_ID: u64 = 1;
const STEP_WRITE_ID: u64 = 2;
/// Ids from here on belong to letters.
pub(crate) const LETTER_ID: u64 = 3;

/// One link, with the buffers of its operations.
pub(crate) struct Dialled<F: Fabric> {
    pub(crate) link: Link<F>,
    slot: LinkSlot,
    read_buffer: Option<Buffer>,
    write_buffer: Option<Buffer>,
    /// When the operation under way has failed.
    deadline: Option<Timestamp>,
    /// Not before: pacing of READs that bring nothing new.
    not_before: Timestamp,
    pace: Pace,
    /// Letters under way.
    pub(crate) letters: u32,
    /// Buffers of letters that are through: dropped where the next is sent, off the way of a beat.
    pub(crate) letter_buffers: Vec<Buffer>,
}

/// The state of the dialling half.
pub(crate) enum Dialling<F: Fabric> {
    /// Wait, then dial.
    Idle { not_before: Timestamp },
    /// A dial is under way.
    Dialled { dial: F::Dial, since: Timestamp },
    /// The link stands.
    Up(Box<Dialled<F>>),
}

/// What a call to the dialling half found.
pub(crate) enum Progress {
    /// Nothing is due.
    None,
    /// Something moved: call again.
    Moved,
    /// The link stands now; the dial took so many nanoseconds.
    Linked { ns: u64 },
    /// A READ of the partner's status block completed; its bytes are in [`Context::read`].
    Read,
    /// The dial or the link failed.
    Failed(FabricError),
}

/// What an advance needs besides the half itself.
pub(crate) struct Context<'a, F: Fabric> {
    pub(crate) fabric: &'a F,
    pub(crate) partner_at: &'a Address,
    pub(crate) handshake: &'a mut Handshake,
    pub(crate) timing: &'a Timing,
    pub(crate) backoff: &'a mut Backoff,
    pub(crate) steps: &'a mut StepClock,
    pub(crate) now: Timestamp,
    /// Where the bytes of a completed READ go.
    pub(crate) read: &'a mut [u8; READ_BYTES],
}

impl<F: Fabric> Dialling<F> {
    pub(crate) fn idle() -> Self {
        Self::Idle { not_before: Timestamp(0) }
    }

    /// When something is due next; none while a completion or an answer may come any moment.
    pub(crate) fn due(&self, now: Timestamp, timing: &Timing) -> Option<Timestamp> {
        match self {
            Self::Idle { not_before } => Some(*not_before),
            // A partner that is up accepts within microseconds; one that is stopped is not worth a core.
            Self::Dialled { since, .. } => {
                (now.since(*since) > timing.retry_max).then(|| now.after(timing.retry_max / 4))
            }
            Self::Up(up) => up.deadline.is_none().then_some(up.not_before),
        }
    }

    /// Drops link or dial, and waits before the next.
    pub(crate) fn drop_link(&mut self, context: &mut Context<'_, F>) {
        context.handshake.link_down();
        *self = Self::Idle { not_before: context.backoff.next(context.now, context.timing) };
    }

    /// Does what is due. On an established link in between two beats that is a look at the completion queue.
    pub(crate) fn advance(&mut self, context: &mut Context<'_, F>) -> Progress {
        let outcome = match self {
            Self::Idle { not_before } if context.now < *not_before => return Progress::None,
            Self::Idle { .. } => match context.fabric.dial(context.partner_at, DialPurpose::Session) {
                Ok(dial) => {
                    *self = Self::Dialled { dial, since: context.now };
                    Ok(Progress::Moved)
                }
                Err(error) => Err(error),
            },
            Self::Dialled { dial, since } => {
                let since = *since;
                match dial.poll() {
                    Ok(Some(link)) => self.stand(link, since, context),
                    Ok(None) if context.now.since(since) > context.timing.operation => Err(context.timeout()),
                    Ok(None) => return Progress::None,
                    Err(error) => Err(error),
                }
            }
            Self::Up(up) => up.advance(context),
        };
        outcome.unwrap_or_else(|error| {
            context.handshake.link_down();
            let not_before = match &error {
                FabricError::NotListening { .. } | FabricError::LinkLost { .. } | FabricError::Timeout { .. } => {
                    context.backoff.next(context.now, context.timing)
                }
                _ => context.backoff.next_costly(context.now, context.timing),
            };
            *self = Self::Idle { not_before };
            Progress::Failed(error)
        })
    }

    fn stand(
        &mut self,
        link: Link<F>,
        since: Timestamp,
        context: &mut Context<'_, F>,
    ) -> Result<Progress, FabricError> {
        let up = Dialled::new(link, context.partner_at)?;
        context.handshake.link_up(up.slot);
        *self = Self::Up(Box::new(up));
        Ok(Progress::Linked { ns: u64::try_from(context.now.since(since).as_nanos()).unwrap_or(u64::MAX) })
    }
}

impl<F: Fabric> Context<'_, F> {
    fn timeout(&self) -> FabricError {
        let waited_ms = u64::try_from(self.timing.operation.as_millis()).unwrap_or(u64::MAX);
        FabricError::Timeout { address: self.partner_at.to_string(), waited_ms }
    }
}

impl<F: Fabric> Dialled<F> {
    fn new(link: Link<F>, partner_at: &Address) -> Result<Self, FabricError> {
        let Some((slot, _)) = &link.mailbox else {
            let detail = "the link came without a mailbox".to_owned();
            return Err(FabricError::Protocol { address: partner_at.clone(), detail });
        };
        let slot = *slot;
        let (read_buffer, write_buffer) = step_buffers(&link.domain)?;
        Ok(Self {
            link,
            slot,
            read_buffer: Some(read_buffer),
            write_buffer: Some(write_buffer),
            deadline: None,
            not_before: Timestamp(0),
            pace: Pace::default(),
            letters: 0,
            letter_buffers: Vec::new(),
        })
    }

    /// Whether the link is known to be gone. Enters the kernel.
    pub(crate) fn check(&mut self) -> Result<(), FabricError> {
        self.link.monitor.check()
    }

    /// Whether the partner's process is known to have ended. A load.
    pub(crate) fn has_ended(&self) -> bool {
        self.link.monitor.has_ended()
    }

    /// Sleeps, no longer than the partner's process lives where the fabric can tell.
    pub(crate) fn sleep(&self, patience: std::time::Duration) {
        self.link.monitor.sleep(patience);
    }

    fn advance(&mut self, context: &mut Context<'_, F>) -> Result<Progress, FabricError> {
        let completed = self.complete(context)?;
        // The clock is read again: between two rounds lies the whole of a step.
        if matches!(completed, Progress::Moved | Progress::Read) {
            context.now = context.fabric.now();
            context.steps.reached(context.handshake.phase(), context.now);
        }
        if self.deadline.is_some_and(|deadline| context.now > deadline) {
            return Err(context.timeout());
        }
        let posted = self.post(context)?;
        Ok(match completed {
            Progress::None if posted => Progress::Moved,
            completed => completed,
        })
    }

    /// Takes in completions.
    fn complete(&mut self, context: &mut Context<'_, F>) -> Result<Progress, FabricError> {
        let mut progress = Progress::None;
        let mut completions: [Completion; 4] = Default::default();
        let count = self.link.port.poll(&mut completions);
        for completion in completions.iter_mut().take(count) {
            if !completion.is_success() {
                let detail = format!("{:?} of the handshake failed: {}", completion.operation, completion.status);
                return Err(FabricError::LinkLost { address: context.partner_at.to_string(), detail });
            }
            let buffer = completion.buffer.take();
            match completion.id {
                READ_ID => {
                    if let Some(buffer) = &buffer {
                        context.read.copy_from_slice(buffer.as_slice());
                        context.handshake.read_done(crate::page::status::part(context.read, 0));
                    }
                    self.read_buffer = buffer;
                    self.deadline = None;
                    let shown = Shown::by(context.handshake);
                    self.not_before = self.pace.next(shown, context.backoff, context.now, context.timing);
                    progress = Progress::Read;
                }
                STEP_WRITE_ID => {
                    self.write_buffer = buffer;
                    context.handshake.write_done();
                    self.deadline = None;
                    self.not_before = context.now;
                    progress = Progress::Moved;
                }
                _ => {
                    self.letters = self.letters.saturating_sub(1);
                    self.letter_buffers.extend(buffer);
                    progress = Progress::Moved;
                }
            }
        }
        Ok(progress)
    }

    /// Posts what the handshake wants; whether anything was.
    fn post(&mut self, context: &mut Context<'_, F>) -> Result<bool, FabricError> {
        let (Some((_, mailbox)), port) = (&self.link.mailbox, &mut self.link.port) else { return Ok(false) };
        let phase = context.handshake.phase().unwrap_or(Phase::Look);
        let posted = match context.handshake.action() {
            Action::Read { .. } if context.now >= self.not_before => {
                let Some(buffer) = self.read_buffer.take() else { return Ok(false) };
                port.post_read(WorkRequest::signalled(READ_ID), buffer, &self.link.status, 0)
            }
            Action::WriteGreeting => {
                let Some(buffer) = fill(&mut self.write_buffer, &context.handshake.greeting()) else {
                    return Ok(false);
                };
                port.post_write(WorkRequest::signalled(STEP_WRITE_ID), buffer, mailbox, GREETING_OFFSET as u64)
            }
            Action::WriteConfirmation => {
                let Some(buffer) = fill(&mut self.write_buffer, &context.handshake.confirmation()) else {
                    return Ok(false);
                };
                port.post_write(WorkRequest::signalled(STEP_WRITE_ID), buffer, mailbox, CONFIRMATION_OFFSET as u64)
            }
            Action::Read { .. } | Action::Dial | Action::Wait => return Ok(false),
        };
        posted.map_err(|refused| FabricError::LinkLost {
            address: context.partner_at.to_string(),
            detail: refused.reason.to_string(),
        })?;
        context.handshake.posted();
        context.steps.posted(phase, context.now);
        self.deadline = Some(context.now.after(context.timing.operation));
        Ok(true)
    }
}

/// Buffers for the READs and for the WRITEs of the handshake.
fn step_buffers<D: Domain>(domain: &D) -> Result<(Buffer, Buffer), FabricError> {
    let region = Region::builder(READ_BYTES + GREETING_BYTES).pinned(false).build()?;
    let (read, rest) = domain.buffer(region)?.split_at(READ_BYTES);
    let (write, _) = rest.split_at(GREETING_BYTES);
    Ok((read, write))
}

/// The buffer of the steps' WRITEs, filled and cut to the bytes.
fn fill(place: &mut Option<Buffer>, bytes: &[u8]) -> Option<Buffer> {
    let mut buffer = place.take()?;
    buffer.restore();
    buffer.truncate(bytes.len());
    buffer.as_mut_slice().copy_from_slice(bytes);
    Some(buffer)
}

const _: () = assert!(HANDSHAKE_BYTES <= READ_BYTES);
