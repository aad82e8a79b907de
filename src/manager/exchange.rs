//! From an established session to clients that can use it: offer, wiring, ready.
//!
//! Each node sends its offer when it is ready to, answers the partner's offer with its wiring, and the partner's wiring with `ready`.
//! All of it travels as letters, one-sided. A client that one of the two could not wire is served on neither.

use crate::error::Error;
use crate::fabric::{AccessFlags, Domain, Fabric, Timestamp};
use crate::handshake::Established;
use crate::manager::client::{ClientSpec, Unavailable};
use crate::manager::config::NodeConfig;
use crate::manager::event::GrantSummary;
use crate::manager::matching::{Match, matched};
use crate::manager::renewal::{Renewable, Renewals, Renewed};
use crate::manager::tables::{self, OfferEntry, TableError, WiringEntry};
use crate::manager::wiring::{Wiring, make};
use crate::memory::Region;
use crate::page::mailbox::LetterKind;
use crate::page::{NodeId, SessionId};
use crate::session::{Connection, Session, SessionParts, Timing, Wishes};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The partner only READs the heartbeat.
const BEAT: AccessFlags = AccessFlags::REMOTE_READ;

/// What the partner's clients may ask for in all where nothing is said, and our own ask for less.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// The round of the letters that begin a session.
const FIRST: u64 = 0;

/// A port fails when the partner's process ends: its end is the better reason, and is known soon after.
const BETTER_REASON: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begin,
    Offered,
    Wired,
    Readied,
    Ready,
}

/// Whether the exchange came to its end with this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pending,
    Ready,
}

/// The exchange of one session.
pub(crate) struct Exchange<F: Fabric> {
    stage: Stage,
    specs: Vec<ClientSpec>,
    session: SessionId,
    memory_bytes_max: u64,
    deadline: Option<Timestamp>,
    domain: Option<F::Domain>,
    /// The partner's heartbeat, once it named one.
    heartbeat: Option<F::Remote>,
    wirings: Vec<Wiring<F>>,
    timing: Timing,
    wishes: Arc<Wishes>,
    /// Once the clients have their sessions.
    renewals: Option<Renewals<F>>,
    refused: Vec<(usize, Unavailable)>,
    /// Clients for whom something could not be made here.
    lacking: Vec<Match>,
    served: Vec<usize>,
    live: Arc<AtomicBool>,
    given_up_at: Option<Timestamp>,
}

/// A client's session with what it was granted, or why it has none.
pub(crate) type Served<F> = Result<(Session<F>, GrantSummary), Unavailable>;

impl<F: Fabric> Exchange<F> {
    pub(crate) fn new(specs: Vec<ClientSpec>, session: SessionId, config: &NodeConfig) -> Self {
        let asked = specs.iter().fold(0u64, |sum, spec| sum.saturating_add(spec.memory));
        Self {
            stage: Stage::Begin,
            specs,
            session,
            memory_bytes_max: config.memory_bytes_max.unwrap_or(asked.max(MEMORY_BYTES_MAX)),
            deadline: None,
            domain: None,
            heartbeat: None,
            wirings: Vec::new(),
            timing: config.timing,
            wishes: Arc::default(),
            renewals: None,
            refused: Vec::new(),
            lacking: Vec::new(),
            served: Vec::new(),
            live: Arc::new(AtomicBool::new(true)),
            given_up_at: None,
        }
    }

    /// Whether a client has given the session up, and no better reason for its end has shown itself since.
    pub(crate) fn is_given_up(&mut self, now: Timestamp) -> bool {
        if self.live.load(Ordering::Acquire) {
            return false;
        }
        let since = *self.given_up_at.get_or_insert(now);
        now.since(since) > BETTER_REASON
    }

    /// Whether the partner's next letter is a matter of microseconds. An offer is not: it waits until the partner's clients are registered.
    pub(crate) fn awaits_an_answer(&self) -> bool {
        let renewing = self.renewals.as_ref().is_some_and(Renewals::is_under_way);
        renewing || matches!(self.stage, Stage::Wired | Stage::Readied)
    }

    /// Clients that were given a session.
    pub(crate) fn notified(&self) -> Vec<usize> {
        self.served.clone()
    }

    /// The session is gone: ports and memory of its clients end, wherever they are held.
    pub(crate) fn end(&self) {
        self.live.store(false, Ordering::Release);
        if let Some(domain) = &self.domain {
            // Nobody is left to be told: the session is over either way, and what the device holds on to is leaked.
            if let Err(error) = domain.revoke() {
                tracing::error!(session = %self.session, "the partner may still reach memory of a session that ended: {error}");
            }
        }
    }

    /// Does what is due. The partner's offer is waited for without limit (its engine may still be booting), the rest is not.
    pub(crate) fn advance(&mut self, connection: &mut Connection<F>, now: Timestamp) -> Result<Outcome, Error> {
        loop {
            let before = self.stage;
            self.step(connection)?;
            if self.stage == before {
                break;
            }
            if self.stage == Stage::Ready {
                return Ok(Outcome::Ready);
            }
            if self.stage > Stage::Offered {
                self.deadline.get_or_insert(now.after(self.timing.exchange));
            }
        }
        match self.deadline {
            Some(deadline) if now > deadline && self.stage != Stage::Ready => {
                let waited_ms = u64::try_from(self.timing.exchange.as_millis()).unwrap_or(u64::MAX);
                let what = match self.stage {
                    Stage::Readied => "that it wired its clients",
                    _ => "what it made for its clients",
                };
                Err(Error::Exchange(ExchangeError::Late { what, waited_ms }))
            }
            _ => Ok(Outcome::Pending),
        }
    }

    fn step(&mut self, connection: &mut Connection<F>) -> Result<(), Error> {
        let kind = match self.stage {
            Stage::Begin => return self.offer(connection),
            Stage::Offered => LetterKind::Offer,
            Stage::Wired => LetterKind::Wiring,
            Stage::Readied => LetterKind::Ready,
            Stage::Ready => return Ok(()),
        };
        let letter = connection.receive_letter((kind, FIRST)).map_err(|_| ExchangeError::Proof)?;
        let Some(body) = letter else { return Ok(()) };
        match kind {
            LetterKind::Offer => self.wire(connection, &body),
            LetterKind::Wiring => self.connect(connection, &body),
            LetterKind::Ready => self.finish(&body),
        }
    }

    fn offer(&mut self, connection: &mut Connection<F>) -> Result<(), Error> {
        let Some(established) = connection.handshake().established() else { return Ok(()) };
        let entry = |spec: &ClientSpec| OfferEntry { name: spec.name, ports: spec.ports, memory: spec.memory };
        let entries: Vec<OfferEntry> = self.specs.iter().map(entry).collect();
        let body = tables::encode_offer(established.version, &entries);
        connection.send_letter((LetterKind::Offer, FIRST), &body)?;
        self.stage = Stage::Offered;
        Ok(())
    }

    /// The partner's offer is here: make what the common clients need, and say what was made.
    fn wire(&mut self, connection: &mut Connection<F>, body: &[u8]) -> Result<(), Error> {
        let (version, theirs) = tables::decode_offer(body).map_err(ExchangeError::Table)?;
        let chosen = connection.handshake().established().map(|established| established.version);
        if chosen != Some(version) {
            return Err(ExchangeError::Version { ours: chosen.unwrap_or(0), theirs: version }.into());
        }
        let domain = connection.domain()?;
        let (matches, refused) = matched(&self.specs, &theirs);
        self.refused = refused;
        let mut memory_left = self.memory_bytes_max;
        for common in matches {
            let wiring = match memory_left.checked_sub(common.memory_here) {
                Some(left) => {
                    memory_left = left;
                    make(&domain, &self.specs[common.index], common)
                }
                None => {
                    let reason = Unavailable::TooMuchMemory { bytes: common.memory_here, max: self.memory_bytes_max };
                    Wiring::failed(common, reason)
                }
            };
            self.wirings.push(wiring);
        }
        let region = Region::builder(size_of::<u64>()).backing(domain.backing(BEAT)).pinned(false).build()?;
        let heartbeat = domain.expose(region, BEAT)?;
        self.domain = Some(domain);
        let entries: Vec<WiringEntry> = self.wirings.iter().map(Wiring::entry).collect();
        connection
            .send_letter((LetterKind::Wiring, FIRST), &tables::encode_wiring(heartbeat.descriptor(), &entries))?;
        connection.beat_in(Some(Arc::new(heartbeat)));
        self.stage = Stage::Wired;
        Ok(())
    }

    /// The partner's wiring is here: connect to it, and say for whom that went well.
    fn connect(&mut self, connection: &mut Connection<F>, body: &[u8]) -> Result<(), Error> {
        let (heartbeat, theirs) = tables::decode_wiring(body).map_err(ExchangeError::Table)?;
        let names = |entry: &WiringEntry| entry.name;
        if !theirs.iter().map(names).eq(self.wirings.iter().map(|wiring| wiring.common.name)) {
            return Err(ExchangeError::Mismatch.into());
        }
        let Some(domain) = &self.domain else { return Ok(()) };
        self.heartbeat = Some(domain.import(&heartbeat)?);
        for (wiring, entry) in self.wirings.iter_mut().zip(theirs) {
            wiring.connect(domain, entry.made);
        }
        let wired: Vec<bool> = self.wirings.iter().map(|wiring| wiring.failed.is_none()).collect();
        connection.send_letter((LetterKind::Ready, FIRST), &tables::encode_ready(&wired))?;
        self.stage = Stage::Readied;
        Ok(())
    }

    fn finish(&mut self, body: &[u8]) -> Result<(), Error> {
        let wired = tables::decode_ready(body).map_err(ExchangeError::Table)?;
        if wired.len() != self.wirings.len() {
            return Err(ExchangeError::Mismatch.into());
        }
        for (wiring, wired) in self.wirings.iter_mut().zip(wired) {
            if !wired {
                wiring.failed.get_or_insert(Unavailable::FailedThere);
            }
        }
        self.stage = Stage::Ready;
        Ok(())
    }

    /// What each client gets, by its place in the roster. Once.
    pub(crate) fn take_sessions(&mut self, partner: NodeId, established: &Established) -> Vec<(usize, Served<F>)> {
        let mut served: Vec<(usize, Served<F>)> = Vec::new();
        let (Some(domain), Some(heartbeat)) = (self.domain.clone(), self.heartbeat.clone()) else { return served };
        served.extend(self.refused.drain(..).map(|(index, reason)| (index, Err(reason))));
        let mut renewable = Vec::with_capacity(self.wirings.len());
        for (number, wiring) in (0u16..).zip(self.wirings.drain(..)) {
            let index = wiring.common.index;
            let port_count = wiring.ports.len() as u16;
            let options = self.specs.get(index).map(|spec| spec.options).unwrap_or_default();
            let ports = if wiring.failed.is_none() { port_count } else { 0 };
            renewable.push(Renewable { index, ports, options });
            if let Some(reason) = wiring.failed {
                if matches!(&reason, Unavailable::FailedHere(error) if !matches!(error, Error::Exchange(_))) {
                    self.lacking.push(wiring.common);
                }
                served.push((index, Err(reason)));
                continue;
            }
            let summary = GrantSummary {
                client: wiring.common.name,
                ports: wiring.common.ports,
                memory_here_bytes: wiring.common.memory_here,
                memory_there_bytes: wiring.common.memory_there,
            };
            let session = Session::new(SessionParts {
                id: self.session,
                client: wiring.common.name,
                partner,
                partner_incarnation: established.partner.incarnation,
                ports: wiring.ports.into(),
                memory: wiring.memory,
                grant: wiring.grant,
                heartbeat: heartbeat.clone(),
                domain: domain.clone(),
                live: Arc::clone(&self.live),
                number,
                port_count,
                wishes: Arc::clone(&self.wishes),
            });
            self.served.push(index);
            served.push((index, Ok((session, summary))));
        }
        self.renewals = Some(Renewals::new(renewable, Arc::clone(&self.wishes), &self.timing));
        served
    }

    /// Whether there is a client for whom something could not be made here.
    pub(crate) fn is_lacking(&self) -> bool {
        !self.lacking.is_empty()
    }

    /// Whether what one of them needs can be made now. It is, and is dropped again.
    pub(crate) fn can_be_made(&self, is_there: impl Fn(usize) -> bool) -> bool {
        let Some(domain) = &self.domain else { return false };
        let mut lacking = self.lacking.iter().filter(|common| is_there(common.index));
        lacking.any(|common| {
            let spec = self.specs.get(common.index);
            spec.is_some_and(|spec| make::<F>(domain, spec, common.clone()).failed.is_none())
        })
    }

    /// Makes ports anew that a client here or there asks for; those to be handed out.
    pub(crate) fn renew(
        &mut self,
        connection: &mut Connection<F>,
        is_there: impl Fn(usize) -> bool,
        now: Timestamp,
    ) -> Result<Vec<Renewed<F>>, Error> {
        match (&mut self.renewals, &self.domain) {
            (Some(renewals), Some(domain)) => renewals.advance((connection, domain), is_there, now),
            _ => Ok(Vec::new()),
        }
    }
}

impl PartialOrd for Stage {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (*self as u8).partial_cmp(&(*other as u8))
    }
}

/// The exchange after the handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The partner did not answer in time.
    #[error("the partner did not tell {what} within {waited_ms} ms: its control thread does not run, or is held up")]
    Late {
        /// What it was to tell: what it made for its clients, that it wired them, or the ports that are made anew.
        what: &'static str,
        /// How long was waited, milliseconds.
        waited_ms: u64,
    },
    /// What it sent carries a wrong proof.
    #[error("a table of the partner carries a wrong proof: somebody else wrote it, or memory was damaged")]
    Proof,
    /// What it sent does not parse.
    #[error(transparent)]
    Table(TableError),
    /// It chose another protocol version.
    #[error("the partner chose protocol version {theirs}, and this node {ours}")]
    Version {
        /// Ours.
        ours: u16,
        /// The partner's.
        theirs: u16,
    },
    /// Its tables do not belong together, or not to ours.
    #[error("the partner's tables do not match what both sides offered")]
    Mismatch,
}

impl From<ExchangeError> for Error {
    fn from(error: ExchangeError) -> Self {
        Error::Exchange(error)
    }
}
