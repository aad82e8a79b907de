//! Ports made anew within a session: a round of two letters for those that either side asks for.
//!
//! A round is symmetric. Each side names the ports that it renews, with the addresses of its new
//! ones, and adds those that only the partner named. When both name the same ports each side wires
//! its own, and says so; when both have said so, the ports are handed out. A side says its part
//! again, as it has grown, at the same place: what stood there before is a part of it.
//!
//! Rounds have numbers, 1 and up, and one is over before the next begins: that the partner is ready
//! proves that it took our wiring, and that it begins the next round that it took our `ready`. Until
//! then both are said again from time to time; `ready` no longer than the partner waits for it.

use crate::error::Error;
use crate::fabric::{Domain, Fabric, PendingPort, PortAddress, PortOptions, Timestamp};
use crate::manager::client::Unavailable;
use crate::manager::exchange::ExchangeError;
use crate::manager::said::Said;
use crate::manager::tables::{self, RenewalEntry};
use crate::page::mailbox::LetterKind;
use crate::session::{Connection, PortName, Timing, Wishes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// From the end of a round to the next, in longest delays of a retry. A partner that asks again and
/// again makes us create ports no faster.
const PAUSE_RETRIES: u32 = 50;

/// The pause takes no more than this part of the partner's patience, which counts on ours.
const PAUSE_PART: u32 = 4;

/// A client of the session.
pub(crate) struct Renewable {
    /// Its place in our roster.
    pub(crate) index: usize,
    /// 0 where it is not served.
    pub(crate) ports: u16,
    pub(crate) options: PortOptions,
}

/// A port to be handed out, or why there is none.
pub(crate) struct Renewed<F: Fabric> {
    /// Its client's place in our roster.
    pub(crate) index: usize,
    pub(crate) port: u16,
    pub(crate) outcome: Result<F::Port, Unavailable>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No round is under way.
    Idle,
    /// Our ports are named; the partner's are awaited.
    Named,
    /// Ours are wired; the partner is awaited.
    Readied,
}

/// A new port on its way.
enum Making<F: Fabric> {
    Pending(F::PendingPort),
    Wired(F::Port),
    Failed(Unavailable),
}

/// The rounds of one session.
pub(crate) struct Renewals<F: Fabric> {
    /// By their numbers.
    clients: Vec<Renewable>,
    ports: Vec<u16>,
    wishes: Arc<Wishes>,
    timing: Timing,
    pause: Duration,
    stage: Stage,
    /// The round under way, or the next.
    round: u64,
    /// One new port for each old one, at most.
    making: BTreeMap<PortName, Making<F>>,
    /// Of the round under way, or of the one before.
    said: Said,
    /// Of the round under way; between two rounds, when the partner no longer waits for our `ready`.
    deadline: Timestamp,
    not_before: Timestamp,
}

impl<F: Fabric> Renewals<F> {
    pub(crate) fn new(clients: Vec<Renewable>, wishes: Arc<Wishes>, timing: &Timing) -> Self {
        let pause = timing.retry_max.saturating_mul(PAUSE_RETRIES);
        Self {
            ports: clients.iter().map(|client| client.ports).collect(),
            clients,
            wishes,
            timing: *timing,
            pause: pause.min(timing.exchange / PAUSE_PART),
            stage: Stage::Idle,
            round: 1,
            making: BTreeMap::new(),
            said: Said::default(),
            deadline: Timestamp(0),
            not_before: Timestamp(0),
        }
    }

    /// Whether the partner's next letter is a matter of microseconds.
    pub(crate) fn is_under_way(&self) -> bool {
        self.stage != Stage::Idle
    }

    /// Does what is due; the ports to be handed out. Between two rounds it looks at one word and at
    /// one letter's header. `is_there`: whether a client of our roster is called still.
    pub(crate) fn advance(
        &mut self,
        (connection, domain): (&mut Connection<F>, &F::Domain),
        is_there: impl Fn(usize) -> bool,
        now: Timestamp,
    ) -> Result<Vec<Renewed<F>>, Error> {
        if self.stage == Stage::Idle && now > self.deadline {
            self.said.forget();
        }
        self.said.repeat(connection, now)?;
        if self.stage == Stage::Idle && now < self.not_before {
            return Ok(Vec::new());
        }
        let kind = if self.stage == Stage::Readied { LetterKind::Ready } else { LetterKind::Wiring };
        let letter = connection.receive_letter((kind, self.round)).map_err(|_| ExchangeError::Proof)?;
        match letter {
            Some(body) if self.stage == Stage::Readied => return self.finish(&body, now),
            Some(body) => {
                let theirs = tables::decode_renewal(&body, &self.ports).map_err(ExchangeError::Table)?;
                self.name((connection, domain), &theirs, is_there, now)?;
            }
            None if self.stage == Stage::Idle && self.wishes.any() => {
                self.name((connection, domain), &[], is_there, now)?;
            }
            None => {}
        }
        if self.stage != Stage::Idle && now > self.deadline {
            let waited_ms = u64::try_from(self.timing.exchange.as_millis()).unwrap_or(u64::MAX);
            return Err(ExchangeError::Late { what: "of the ports that are made anew", waited_ms }.into());
        }
        Ok(Vec::new())
    }

    /// Names what is to be renewed, where that is news; wires it once the partner names the same.
    fn name(
        &mut self,
        (connection, domain): (&mut Connection<F>, &F::Domain),
        theirs: &[RenewalEntry],
        is_there: impl Fn(usize) -> bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut wanted: BTreeSet<PortName> = theirs.iter().map(|(name, _)| *name).collect();
        if self.stage == Stage::Idle {
            wanted.extend(self.wishes.take());
        }
        let before = self.making.len();
        for name in wanted {
            if !self.making.contains_key(&name) {
                let made = self.make(domain, name, &is_there);
                self.making.insert(name, made);
            }
        }
        if self.making.len() != before {
            if self.stage == Stage::Idle {
                self.stage = Stage::Named;
                self.deadline = now.after(self.timing.exchange);
            }
            let entries = self.making.iter().map(|(name, making)| (*name, making.address()));
            let body = tables::encode_renewal(entries);
            // The last round's `ready` is said with it: a partner that lacks it waits for it still.
            self.said.say(connection, (LetterKind::Wiring, self.round), body, (now, &self.timing))?;
        }
        // Both have them in order.
        if !theirs.is_empty() && theirs.iter().map(|(name, _)| name).eq(self.making.keys()) {
            self.wire(connection, theirs, now)?;
        }
        Ok(())
    }

    fn make(&self, domain: &F::Domain, name: PortName, is_there: impl Fn(usize) -> bool) -> Making<F> {
        match self.clients.get(usize::from(name.client)) {
            Some(client) if is_there(client.index) => match domain.port(&client.options) {
                Ok(pending) => Making::Pending(pending),
                Err(error) => Making::Failed(Unavailable::FailedHere(error.into())),
            },
            // It panicked, and nobody is left who is told why.
            _ => Making::Failed(Unavailable::FailedThere),
        }
    }

    fn wire(&mut self, connection: &mut Connection<F>, theirs: &[RenewalEntry], now: Timestamp) -> Result<(), Error> {
        let making = std::mem::take(&mut self.making);
        let wired = making.into_iter().zip(theirs).map(|((name, making), (_, address))| (name, making.wire(*address)));
        self.making = wired.collect();
        let wired: Vec<bool> = self.making.values().map(|making| matches!(making, Making::Wired(_))).collect();
        let body = tables::encode_ready(&wired);
        self.said.say(connection, (LetterKind::Ready, self.round), body, (now, &self.timing))?;
        self.stage = Stage::Readied;
        Ok(())
    }

    /// The partner has wired its own: the round is over.
    fn finish(&mut self, body: &[u8], now: Timestamp) -> Result<Vec<Renewed<F>>, Error> {
        let wired_there = tables::decode_ready(body).map_err(ExchangeError::Table)?;
        if wired_there.len() != self.making.len() {
            return Err(ExchangeError::Mismatch.into());
        }
        let mut renewed = Vec::with_capacity(wired_there.len());
        for ((name, making), wired_there) in std::mem::take(&mut self.making).into_iter().zip(wired_there) {
            self.wishes.settle(name);
            let Some(client) = self.clients.get(usize::from(name.client)) else { continue };
            let outcome = match making {
                Making::Wired(port) if wired_there => Ok(port),
                Making::Wired(_) | Making::Pending(_) => Err(Unavailable::FailedThere),
                Making::Failed(reason) => Err(reason),
            };
            renewed.push(Renewed { index: client.index, port: name.port, outcome });
        }
        self.stage = Stage::Idle;
        self.round = self.round.wrapping_add(1);
        self.not_before = now.after(self.pause);
        self.deadline = now.after(self.timing.exchange);
        Ok(renewed)
    }
}

impl<F: Fabric> Making<F> {
    fn address(&self) -> Option<PortAddress> {
        match self {
            Self::Pending(pending) => Some(pending.address()),
            Self::Wired(_) | Self::Failed(_) => None,
        }
    }

    fn wire(self, theirs: Option<PortAddress>) -> Self {
        match (self, theirs) {
            (Self::Pending(pending), Some(address)) => match pending.connect(&address) {
                Ok(port) => Self::Wired(port),
                Err(error) => Self::Failed(Unavailable::FailedHere(error.into())),
            },
            (Self::Pending(_), None) => Self::Failed(Unavailable::FailedThere),
            (other, _) => other,
        }
    }
}
