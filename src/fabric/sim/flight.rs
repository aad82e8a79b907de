//! One operation at its target: what an adapter checks, and what it does to memory.

use super::world::{Event, World};
use crate::fabric::{AccessFlags, Completion, Operation, PortState, WorkCompletionStatus};
use crate::memory::Region;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Read,
    Write,
    WriteWithImmediate(u32),
    FetchAdd(u64),
    CompareSwap { expected: u64, desired: u64 },
    Send,
}

impl Verb {
    /// Its name in completions.
    pub(super) fn operation(self) -> Operation {
        match self {
            Self::Read => Operation::Read,
            Self::Write => Operation::Write,
            Self::WriteWithImmediate(_) => Operation::WriteWithImmediate,
            Self::FetchAdd(_) => Operation::FetchAdd,
            Self::CompareSwap { .. } => Operation::CompareSwap,
            Self::Send => Operation::Send,
        }
    }
    /// Whether it consumes a receive of the other side.
    fn takes_receive(self) -> bool {
        matches!(self, Self::Send | Self::WriteWithImmediate(_))
    }
    /// The right it needs.
    fn right(self) -> AccessFlags {
        match self {
            Self::Read => AccessFlags::REMOTE_READ,
            Self::Write | Self::WriteWithImmediate(_) => AccessFlags::REMOTE_WRITE,
            Self::FetchAdd(_) | Self::CompareSwap { .. } => AccessFlags::REMOTE_ATOMIC,
            Self::Send => AccessFlags::NONE,
        }
    }
}

/// What was decided for an operation when it was posted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fate {
    pub(super) lost: bool,
    pub(super) acknowledgement_lost: bool,
    pub(super) delay: Option<u64>,
    pub(super) repeat_after: Option<u64>,
    pub(super) tear_gap: Option<u64>,
}

/// How far a torn operation has come.
#[derive(Debug, Clone)]
enum Tear {
    /// A READ looked once and saw this.
    Looked(Vec<u8>),
    /// A WRITE applied one part; this one is left.
    Applied(Range<usize>),
}

/// An operation as it travels: all that its target needs, and nothing of its poster's that may vanish.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) source: u64,
    pub(super) source_node: usize,
    pub(super) target: u64,
    pub(super) verb: Verb,
    pub(super) key: u64,
    pub(super) address: u64,
    /// What a WRITE or SEND carries. Taken when posted, since nobody can change the buffer from then on; of a loan, when it is carried out.
    pub(super) data: Vec<u8>,
    /// Bytes to be moved.
    pub(super) length: usize,
    pub(super) fate: Fate,
    torn: Option<Tear>,
}

/// Memory that a domain of a node gave access to.
#[derive(Debug)]
pub(super) struct Exposure {
    pub(super) domain: u64,
    pub(super) address: u64,
    pub(super) length: u64,
    pub(super) access: AccessFlags,
    pub(super) region: Arc<Region>,
}

/// What came of delivering an operation.
#[derive(Debug)]
pub(super) enum Delivery {
    /// Nobody answers: try again later.
    Unreachable,
    /// No receive is posted: try again later.
    ReceiverNotReady,
    /// Begun; to be continued after this many nanoseconds.
    Paused(u64),
    /// Ended, with these bytes for the poster.
    Done(WorkCompletionStatus, Vec<u8>),
}

impl Flight {
    pub(super) fn new(source: (u64, usize), target: u64, verb: Verb, place: (u64, u64), data: Vec<u8>) -> Self {
        let length = data.len();
        let (key, address) = place;
        let fate = Fate::default();
        Self { source: source.0, source_node: source.1, target, verb, key, address, data, length, fate, torn: None }
    }

    /// Where a WRITE to this address may be cut so that no aligned 8-byte word is: some offset inside the data.
    fn cuts(&self) -> Vec<usize> {
        (1..self.length).filter(|at| self.address.wrapping_add(*at as u64).is_multiple_of(8)).collect()
    }
}

impl World {
    /// Carries an operation out at its target, or finds out why not.
    pub(super) fn deliver(&mut self, flight: &mut Flight) -> Delivery {
        let Some((node, domain)) = self.responder(flight) else { return Delivery::Unreachable };
        if flight.verb.takes_receive() && !self.has_receive(flight.target) {
            return Delivery::ReceiverNotReady;
        }
        let outcome = match flight.verb {
            Verb::Send => self.deliver_send(flight),
            _ => match self.opened(flight, node, domain) {
                Ok(place) => self.access(flight, place),
                Err(status) => Delivery::Done(status, Vec::new()),
            },
        };
        if let Delivery::Done(status, _) = &outcome {
            self.delivered(flight, *status);
        }
        outcome
    }

    /// The node and domain of the port that answers: wired to the poster's port, ready, of a live node, with an open wire towards it.
    fn responder(&mut self, flight: &Flight) -> Option<(usize, u64)> {
        let port = self.ports.get(&flight.target)?;
        let ready = port.state == PortState::Ready && port.peer == Some(flight.source);
        let (node, domain) = (port.node, port.domain);
        (self.passes(flight.source_node, node) && ready).then_some((node, domain))
    }

    /// Checks key, domain, right and range as an adapter does.
    fn opened(
        &self,
        flight: &Flight,
        node: usize,
        domain: u64,
    ) -> Result<Option<(Arc<Region>, usize)>, WorkCompletionStatus> {
        if flight.length == 0 {
            // An adapter looks at no key for an operation that touches no byte.
            return Ok(None);
        }
        let refused = WorkCompletionStatus::RemoteAccess;
        let exposure = self.exposures.get(&(node, flight.key)).ok_or(refused)?;
        let offset = flight.address.checked_sub(exposure.address).ok_or(refused)?;
        let end = offset.checked_add(flight.length as u64).ok_or(refused)?;
        if exposure.domain != domain || !exposure.access.contains(flight.verb.right()) || end > exposure.length {
            return Err(refused);
        }
        if matches!(flight.verb, Verb::FetchAdd(_) | Verb::CompareSwap { .. }) && !offset.is_multiple_of(8) {
            return Err(WorkCompletionStatus::RemoteInvalidRequest);
        }
        Ok(Some((Arc::clone(&exposure.region), usize::try_from(offset).map_err(|_| refused)?)))
    }

    /// Does to memory what the operation says.
    fn access(&mut self, flight: &mut Flight, place: Option<(Arc<Region>, usize)>) -> Delivery {
        let done = |bytes| Delivery::Done(WorkCompletionStatus::Success, bytes);
        let word = |old: Result<u64, _>| match old {
            Ok(old) => done(old.to_ne_bytes().to_vec()),
            Err(_) => Delivery::Done(WorkCompletionStatus::RemoteAccess, Vec::new()),
        };
        match (flight.verb, place) {
            (Verb::FetchAdd(add), Some((region, offset))) => word(region.fetch_add(offset, add, Ordering::SeqCst)),
            (Verb::CompareSwap { expected, desired }, Some((region, offset))) => {
                word(region.compare_exchange(offset, expected, desired))
            }
            (Verb::Read, Some((region, offset))) => self.read(flight, &region, offset),
            (_, Some((region, offset))) => self.write(flight, &region, offset),
            (_, None) => self.written(flight),
        }
    }

    fn read(&mut self, flight: &mut Flight, region: &Region, offset: usize) -> Delivery {
        let mut seen = vec![0; flight.length];
        if region.read(offset, &mut seen).is_err() {
            return Delivery::Done(WorkCompletionStatus::RemoteAccess, Vec::new());
        }
        match (flight.torn.take(), flight.fate.tear_gap) {
            (None, Some(gap)) => {
                flight.torn = Some(Tear::Looked(seen));
                Delivery::Paused(gap)
            }
            (Some(Tear::Looked(before)), _) => {
                let mixed = self.mix(flight.address, &before, &seen);
                if mixed != before && mixed != seen {
                    self.stats.reads_torn += 1;
                }
                Delivery::Done(WorkCompletionStatus::Success, mixed)
            }
            _ => Delivery::Done(WorkCompletionStatus::Success, seen),
        }
    }

    /// Each aligned 8-byte word from one of two looks, at random.
    fn mix(&mut self, address: u64, before: &[u8], after: &[u8]) -> Vec<u8> {
        let mut mixed = after.to_vec();
        let mut old = self.rng.chance(500_000);
        for (index, (into, from)) in mixed.iter_mut().zip(before).enumerate() {
            if address.wrapping_add(index as u64).is_multiple_of(8) {
                old = self.rng.chance(500_000);
            }
            if old {
                *into = *from;
            }
        }
        mixed
    }

    fn write(&mut self, flight: &mut Flight, region: &Region, offset: usize) -> Delivery {
        let whole = 0..flight.length;
        let (part, gap) = match (flight.torn.take(), flight.fate.tear_gap) {
            (Some(Tear::Applied(rest)), _) => (rest, None),
            (None, Some(gap)) => {
                let cuts = flight.cuts();
                match cuts.get(self.rng.below(cuts.len() as u64) as usize) {
                    Some(at) => {
                        let (front, back) = (0..*at, *at..flight.length);
                        let (first, rest) = if self.rng.chance(500_000) { (front, back) } else { (back, front) };
                        flight.torn = Some(Tear::Applied(rest));
                        (first, Some(gap))
                    }
                    None => (whole, None),
                }
            }
            _ => (whole, None),
        };
        let Some(bytes) = flight.data.get(part.clone()) else { return Delivery::Unreachable };
        if region.write(offset + part.start, bytes).is_err() {
            return Delivery::Done(WorkCompletionStatus::RemoteAccess, Vec::new());
        }
        if let Some(gap) = gap {
            self.stats.writes_torn += 1;
            return Delivery::Paused(gap);
        }
        self.written(flight)
    }

    /// All bytes of a WRITE are in memory: its immediate data may follow.
    fn written(&mut self, flight: &Flight) -> Delivery {
        if let Verb::WriteWithImmediate(immediate) = flight.verb {
            self.fill_receive(flight.target, flight.length, |receive| {
                let (id, buffer) = (receive.id, Some(receive.buffer));
                let operation = Operation::ReceiveWithImmediate;
                let mut completion = Completion::new(id, operation, WorkCompletionStatus::Success, 0, buffer);
                completion.immediate = Some(immediate);
                completion
            });
        }
        Delivery::Done(WorkCompletionStatus::Success, Vec::new())
    }

    fn deliver_send(&mut self, flight: &Flight) -> Delivery {
        let data = &flight.data;
        let status = self.fill_receive(flight.target, data.len(), |mut receive| {
            let status = if !receive.local_fits {
                WorkCompletionStatus::LocalProtection
            } else if let Some(space) = receive.buffer.as_mut_slice().get_mut(..data.len()) {
                space.copy_from_slice(data);
                WorkCompletionStatus::Success
            } else {
                WorkCompletionStatus::LocalLength
            };
            Completion::new(receive.id, Operation::Receive, status, 0, Some(receive.buffer))
        });
        match status {
            WorkCompletionStatus::Success => Delivery::Done(status, Vec::new()),
            _ => Delivery::Done(WorkCompletionStatus::RemoteInvalidRequest, Vec::new()),
        }
    }

    /// What follows from an operation that ended: figures, a repeat, and the other side's port in error if it refused.
    fn delivered(&mut self, flight: &Flight, status: WorkCompletionStatus) {
        let (source, target, verb, length) = (flight.source, flight.target, flight.verb, flight.length);
        self.note(format_args!("port {source} -> port {target}: {verb:?} of {length} bytes: {status:?}"));
        if status != WorkCompletionStatus::Success {
            self.stats.operations_refused += 1;
            self.fail_port(target, "an operation of the other side was refused");
            return;
        }
        self.stats.operations_executed += 1;
        if let (Verb::Write, Some(delay)) = (flight.verb, flight.fate.repeat_after) {
            let mut again = flight.clone();
            again.fate = Fate::default();
            self.after(delay, Event::Repeat(Box::new(again)));
        }
    }

    /// A WRITE lands a second time, if its target's port still takes packets and its memory is still exposed. The poster may be long gone.
    pub(super) fn repeat(&mut self, flight: &Flight) {
        let Some(port) = self.ports.get(&flight.target).filter(|port| port.state == PortState::Ready) else { return };
        let Ok(Some((region, offset))) = self.opened(flight, port.node, port.domain) else { return };
        if region.write(offset, &flight.data).is_ok() {
            self.stats.writes_repeated += 1;
            let (source, target, length) = (flight.source, flight.target, flight.length);
            self.note(format_args!("port {source} -> port {target}: WRITE of {length} bytes lands again"));
        }
    }
}
