//! Opening a link, and watching it.
//!
//! Imports `discovery`, `door`, `cell`, `domain`, `pending`. Off the hot path: enters the kernel, never blocks.

use super::LINK_PORT;
use super::Shm;
use super::cell::{Claim, Found, Phase};
use super::discovery::{self, Record};
use super::domain::ShmDomain;
use super::door::{CELLS, DOOR_BYTES, Door, Request};
use super::peer::{Denied, Peer, Wanted};
use super::pending::{Parsed, ShmPendingPort, Watched};
use super::table::{Geometry, PortWords};
use std::time::Duration;

use crate::fabric::{Address, Dial, DialPurpose, Domain, FabricError, Link, LinkMonitor, PendingPort};

/// A link being opened. Each poll does one step; dropping it takes the request back.
#[derive(Debug)]
pub struct ShmDial {
    to: Address,
    purpose: DialPurpose,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Nothing done yet.
    Find,
    /// The endpoint is found; no cell of its door was free.
    Knock(Box<Knock>),
    /// The request lies in a cell.
    Asked(Box<Knock>, usize, Claim),
    /// The link was handed out, or the dial failed.
    Done,
}

/// What a dial for a session has made so far.
#[derive(Debug)]
struct Knock {
    peer: Peer,
    door: Door,
    domain: ShmDomain,
    pending: ShmPendingPort,
}

impl ShmDial {
    pub(crate) fn new(to: &Address, purpose: DialPurpose) -> Result<Self, FabricError> {
        discovery::check(to)?;
        Ok(Self { to: to.clone(), purpose, stage: Stage::Find })
    }

    fn absent(&self, detail: impl std::fmt::Display) -> FabricError {
        FabricError::NotListening { address: self.to.clone(), detail: format!(": {detail}") }
    }

    fn denied(&self, record: &Record, denied: Denied) -> FabricError {
        match denied {
            Denied::Gone if discovery::is_held_at(&self.to) => self.absent(format_args!(
                "process {}, which listened there, is gone; one that it forked, and that outlives it, still holds the address",
                record.process
            )),
            Denied::Gone => self.absent(format_args!("process {}, which listened there, is gone", record.process)),
            Denied::Unfit(what) => self.absent(format_args!("process {} listens there no more: {what}", record.process)),
            Denied::Call(..) | Denied::Kernel(_) => {
                let tried = format!("opening the memory of process {} at {}", record.process, self.to);
                denied.system(tried, record.process).unwrap_or_else(|| self.absent(denied))
            }
        }
    }

    /// Finds the endpoint; makes what the purpose needs.
    fn find(&mut self) -> Result<Option<Link<Shm>>, FabricError> {
        let record = discovery::find(&self.to)?;
        let peer = Peer::open(record.process).map_err(|denied| self.denied(&record, denied))?;
        let domain = ShmDomain::new(Geometry::LINK, &self.to, record.process)?;
        let pending = domain.port(&LINK_PORT)?;
        if self.purpose == DialPurpose::Observe {
            return self.observe(&record, peer, domain, pending).map(Some);
        }
        let wanted = Wanted { writable: true, bytes_min: DOOR_BYTES as u64 };
        let mapping = peer.map(record.door_file, wanted).map_err(|denied| self.denied(&record, denied))?;
        let Some(door) = Door::found(&mapping, record.door_token) else {
            return Err(self.denied(&record, Denied::Unfit("its memory is another's by now")));
        };
        self.knock(Box::new(Knock { peer, door, domain, pending }))
    }

    /// A link that needs nothing of the other process but that it lives.
    fn observe(
        &self,
        record: &Record,
        peer: Peer,
        domain: ShmDomain,
        pending: ShmPendingPort,
    ) -> Result<Link<Shm>, FabricError> {
        let gone = || self.denied(record, Denied::Unfit("its memory is another's by now"));
        let parsed = Parsed::decode(&record.observed).filter(|parsed| parsed.table.process == record.process);
        let parsed = parsed.ok_or_else(gone)?;
        let table = domain.foreign(parsed.table, |table| table.token() == parsed.token);
        let table = table.map_err(|denied| self.denied(record, denied))?.ok_or_else(gone)?;
        let words = table.port(parsed.index, parsed.number).filter(PortWords::is_ready).ok_or_else(gone)?;
        let watched = Watched { words, life: table.life().clone() };
        let status = domain.import(&record.status)?;
        if !status.is_mapped() {
            return Err(gone());
        }
        let own = pending.words().clone();
        let monitor = ShmMonitor { peer, own, watched: watched.clone(), address: self.to.to_string() };
        let port = pending.observe(watched, parsed.token);
        Ok(Link { port, status, mailbox: None, domain, monitor })
    }

    /// Looks for a free cell and leaves the request there.
    fn knock(&mut self, knock: Box<Knock>) -> Result<Option<Link<Shm>>, FabricError> {
        self.check_listening(&knock)?;
        let process = std::process::id();
        for turn in 0..CELLS {
            // Processes begin at different cells, so that they seldom meet.
            let cell = (process as usize + turn) % CELLS;
            let Some(state) = knock.door.state(cell) else { continue };
            let Some(mut claim) = Claim::take(state, process) else { continue };
            let request = Request { port: knock.pending.address() };
            if knock.door.write_request(cell, &request) && claim.ask(state) {
                self.stage = Stage::Asked(knock, cell, claim);
                return Ok(None);
            }
        }
        self.stage = Stage::Knock(knock);
        Ok(None)
    }

    fn check_listening(&self, knock: &Knock) -> Result<(), FabricError> {
        if knock.peer.is_gone() {
            Err(self.absent(format_args!("process {}, which listened there, is gone", knock.peer.number())))
        } else if !knock.door.is_open() {
            Err(self.absent(format_args!("process {} listens no more", knock.peer.number())))
        } else {
            Ok(())
        }
    }

    /// Looks for the answer.
    fn look(&mut self, knock: Box<Knock>, cell: usize, claim: Claim) -> Result<Option<Link<Shm>>, FabricError> {
        let lost = || FabricError::LinkLost {
            address: self.to.to_string(),
            detail: "its owner did not answer the dial in time, or its door was written over: dial again".to_owned(),
        };
        let state = knock.door.state(cell).ok_or_else(lost)?;
        match claim.look(state) {
            Found::Waiting => {
                let listening = self.check_listening(&knock);
                self.stage = Stage::Asked(knock, cell, claim);
                listening.map(|()| None)
            }
            Found::Answer => {
                let answer = knock.door.read_answer(cell);
                // Only if the cell was ours to the end are these the bytes that were meant for us.
                let ours = claim.free(state, Phase::Answered);
                let answer = answer.filter(|_| ours).ok_or_else(lost)?;
                let Knock { peer, domain, pending, .. } = *knock;
                let named = Parsed::decode(&answer.port).map(|parsed| parsed.table.process);
                if named != Some(peer.number()) {
                    return Err(lost());
                }
                let (status, mailbox) = (domain.import(&answer.status)?, domain.import(&answer.mailbox)?);
                let own = pending.words().clone();
                let port = pending.connect(&answer.port)?;
                let watched = port.partner().clone();
                let monitor = ShmMonitor { peer, own, watched, address: self.to.to_string() };
                Ok(Some(Link { port, status, mailbox: Some((answer.slot, mailbox)), domain, monitor }))
            }
            Found::Refusal => {
                claim.free(state, Phase::Refused);
                let detail = "it refused the dial: its version of the request differs";
                Err(FabricError::Protocol { address: self.to.clone(), detail: detail.to_owned() })
            }
            Found::Unmade => {
                claim.free(state, Phase::Unmade);
                Err(FabricError::Unmade { address: self.to.clone() })
            }
            Found::Lost => Err(lost()),
        }
    }
}

impl Dial for ShmDial {
    type Fabric = Shm;

    /// One step. At most a few dozen system calls, while the link is made; one while it waits.
    fn poll(&mut self) -> Result<Option<Link<Shm>>, FabricError> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Find => self.find(),
            Stage::Knock(knock) => self.knock(knock),
            Stage::Asked(knock, cell, claim) => self.look(knock, cell, claim),
            Stage::Done => {
                let detail = "this dial has ended: its link was taken, or it failed before".to_owned();
                Err(FabricError::LinkLost { address: self.to.to_string(), detail })
            }
        }
    }
}

impl Drop for ShmDial {
    fn drop(&mut self) {
        if let Stage::Asked(knock, cell, claim) = &self.stage
            && let Some(state) = knock.door.state(*cell)
        {
            // An answer may have come meanwhile; whoever accepted finds the port closed.
            let _ = [Phase::Requested, Phase::Answered, Phase::Refused, Phase::Unmade]
                .iter()
                .any(|phase| claim.free(state, *phase));
        }
    }
}

/// Watches a dialled link: the process at its other end, that process's port, and our own.
#[derive(Debug)]
pub struct ShmMonitor {
    peer: Peer,
    own: PortWords,
    watched: Watched,
    address: String,
}

impl LinkMonitor for ShmMonitor {
    /// A few loads; one system call where the other process has no life word.
    fn check(&mut self) -> Result<(), FabricError> {
        let lost = |detail: String| Err(FabricError::LinkLost { address: self.address.clone(), detail });
        let life = &self.watched.life;
        if !life.is_alive() || (!life.is_known() && self.peer.is_gone()) {
            return lost(format!("process {} has ended", self.peer.number()));
        }
        if !self.watched.words.is_ready() {
            return lost("the other side closed it".to_owned());
        }
        if !self.own.is_ready() {
            return lost("our port is in error, closed or dropped".to_owned());
        }
        Ok(())
    }

    #[inline]
    fn has_ended(&self) -> bool {
        !self.watched.life.is_alive()
    }

    fn sleep(&self, patience: Duration) {
        self.watched.life.sleep(patience);
    }
}
