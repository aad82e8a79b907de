//! The listening half: the published status block, the door, and the accepted links.
//!
//! Imports `discovery`, `door`, `cell`, `domain`, `pending`, `port`. Off the hot path: may enter the kernel, never blocks.

use super::cell::{self, Phase, State};
use super::discovery::{Listing, Record};
use super::domain::ShmDomain;
use super::door::{Answer, CELLS, DOOR_BYTES, Door, Request};
use super::mapping::Mapping;
use super::peer::{Peer, first_gone};
use super::pending::{Parsed, ShmPendingPort};
use super::port::ShmPort;
use super::table::{Geometry, file_number, no_place, random_word, shared_region};
use super::{LINK_PORT, reclaim::Reclaim};
use crate::fabric::{
    AccessFlags, Address, Domain, Endpoint, EndpointEvent, Exposed, FabricError, Incoming, LINK_SLOTS, LinkSlot,
    PageSizes, PendingPort,
};
use crate::memory::{Errno, Region};
use crate::sys::process::{namespace, sees_itself};
use crate::sys::random::monotonic_ns;
use std::sync::Arc;

/// How often an endpoint looks after what it is found by.
const MEND_EVERY_NS: u64 = 50_000_000;

/// The listening half of a process. Dropping it ends its links and takes its file away.
#[derive(Debug)]
pub struct ShmEndpoint {
    // Field order is drop order: first nobody finds us any more, then the rest ends.
    listing: Listing,
    record: Record,
    mend_at: u64,
    address: Address,
    sizes: PageSizes,
    status: Arc<Region>,
    door: Door,
    waiting: [Option<Waiting>; CELLS],
    reclaim: Reclaim,
    next_cell: usize,
    next_incoming: u64,
    links: [Option<Accepted>; LINK_SLOTS],
    /// What links that only observe read through.
    _observed: Observed,
}

#[derive(Debug)]
struct Observed {
    _port: ShmPendingPort,
    _status: Exposed,
    domain: ShmDomain,
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.domain.table().revoke();
    }
}

/// A request that was reported and not yet accepted.
#[derive(Debug)]
struct Waiting {
    incoming: Incoming,
    asked: State,
    request: Request,
}

/// An accepted link.
#[derive(Debug)]
struct Accepted {
    port: ShmPort,
    peer: Peer,
    mailbox: Exposed,
    _status: Exposed,
    domain: ShmDomain,
    ended: bool,
}

impl Drop for Accepted {
    fn drop(&mut self) {
        // Keys before memory: what the partner posts from now on is refused.
        self.domain.table().revoke();
    }
}

impl ShmEndpoint {
    pub(crate) fn listen(address: &Address, sizes: PageSizes) -> Result<Self, FabricError> {
        if sizes.mailbox == 0 || sizes.status == 0 {
            return Err(FabricError::Option { option: "the size of a page's half", value: 0, min: 1, max: u64::MAX });
        }
        let listing = Listing::take(address)?;
        let status = Arc::new(shared_region(sizes.status, true)?);
        let domain = ShmDomain::new(Geometry::LINK, address, 0)?;
        let exposed = domain.expose_part(Arc::clone(&status), sizes.status, AccessFlags::REMOTE_READ)?;
        let port = domain.port(&LINK_PORT)?;
        let (door_token, region) = (random_word()?, Arc::new(shared_region(DOOR_BYTES, false)?));
        let door_file = file_number(&region);
        let door = Mapping::own(region).and_then(|mapping| Door::make(&mapping, door_token));
        let door = door.ok_or_else(|| no_place("an endpoint's door"))?;
        check_reach(door_file)?;
        let record = Record {
            process: std::process::id(),
            namespace: namespace(),
            door_file,
            door_token,
            observed: port.address(),
            status: *exposed.descriptor(),
        };
        listing.publish(&record)?;
        Ok(Self {
            listing,
            record,
            mend_at: 0,
            address: address.clone(),
            sizes,
            status,
            door,
            waiting: [const { None }; CELLS],
            reclaim: Reclaim::default(),
            next_cell: 0,
            next_incoming: 1,
            links: [const { None }; LINK_SLOTS],
            _observed: Observed { _port: port, _status: exposed, domain },
        })
    }

    /// The next request in the door that was not reported yet. No system call.
    fn knocked(&mut self) -> Option<Incoming> {
        for turn in 0..CELLS {
            let cell = (self.next_cell + turn) % CELLS;
            let state = self.door.state(cell)?;
            let asked = cell::asked(state);
            let place = self.waiting.get_mut(cell)?;
            if asked.is_none() || place.as_ref().is_some_and(|waiting| Some(waiting.asked) != asked) {
                // Whoever asked here before gave up.
                *place = None;
            }
            let (Some(asked), None) = (asked, &place) else { continue };
            let Some(request) = self.door.read_request(cell, asked) else { continue };
            let parsed = request.and_then(|request| Some((request, Parsed::decode(&request.port)?)));
            let Some((request, _)) = parsed.filter(|(_, parsed)| parsed.table.process == asked.process) else {
                cell::answer(state, asked, Phase::Refused);
                continue;
            };
            let incoming = Incoming(self.next_incoming);
            self.next_incoming += 1;
            *place = Some(Waiting { incoming, asked, request });
            self.next_cell = (cell + 1) % CELLS;
            return Some(incoming);
        }
        None
    }

    /// Puts back, at intervals, what a partner did to the file and the words that others find us by: one that could ruin them would keep every
    /// later partner out.
    fn mend(&mut self) -> Option<EndpointEvent> {
        let now = monotonic_ns();
        if now < self.mend_at {
            return None;
        }
        self.mend_at = now.saturating_add(MEND_EVERY_NS);
        let door = self.door.mend(self.record.door_token) == Some(true);
        match self.listing.mend(&self.address, &self.record) {
            Ok(file) if door || file => {
                tracing::warn!(address = %self.address, door, file, "somebody wrote over what others find this endpoint by: mended");
                None
            }
            Ok(_) => None,
            Err(error) => Some(EndpointEvent::Trouble(error)),
        }
    }

    /// The next accepted link that has ended and was not reported. One system call at most, for links of processes without a life word.
    fn ended(&mut self) -> Option<EndpointEvent> {
        let open = |link: &'_ &Accepted| !link.ended;
        let position = |ended: &dyn Fn(&Accepted) -> bool| {
            self.links.iter().position(|link| link.as_ref().filter(open).is_some_and(ended))
        };
        let dead = position(&|link| !link.port.partner().life.is_alive());
        let closed = position(&|link| !link.port.partner().words.is_ready());
        // Processes without a life word are asked after.
        let mut peers = [None; 8];
        for (peer, link) in peers.iter_mut().zip(&self.links) {
            let asked = link.as_ref().filter(open).filter(|link| !link.port.partner().life.is_known());
            *peer = asked.map(|link| &link.peer);
        }
        let number = match dead.or_else(|| first_gone(peers)) {
            Some(gone) => gone,
            None => closed?,
        };
        let slot = LinkSlot::new(u8::try_from(number).ok()?)?;
        let link = self.links.get_mut(number)?.as_mut()?;
        link.ended = true;
        let process = link.peer.number();
        let detail = if Some(number) == closed {
            format!("process {process} closed it")
        } else {
            format!("process {process} has ended")
        };
        Some(EndpointEvent::Closed(slot, link.domain.lost(detail)))
    }

    /// Makes this side of a link and answers the dialler.
    fn link(&self, cell: usize, waiting: &Waiting, slot: LinkSlot) -> Result<Accepted, FabricError> {
        let process = waiting.asked.process;
        let lost = |detail: String| FabricError::LinkLost { address: format!("process {process}"), detail };
        let peer = Peer::open(process).map_err(|denied| {
            let tried = format!("taking hold of process {process}, which dials here");
            denied.system(tried, process).unwrap_or_else(|| lost(denied.to_string()))
        })?;
        let domain = ShmDomain::new(Geometry::LINK, &self.address, process)?;
        let readable = AccessFlags::REMOTE_READ;
        let status = domain.expose_part(Arc::clone(&self.status), self.sizes.status, readable)?;
        let region = Arc::new(shared_region(self.sizes.mailbox, false)?);
        let mailbox = domain.expose_part(region, self.sizes.mailbox, AccessFlags::REMOTE_WRITE)?;
        let pending = domain.port(&LINK_PORT)?;
        let answer =
            Answer { status: *status.descriptor(), mailbox: *mailbox.descriptor(), port: pending.address(), slot };
        let port = pending.connect(&waiting.request.port)?;
        let link = Accepted { port, peer, mailbox, _status: status, domain, ended: false };
        let state = self.door.state(cell).filter(|_| self.door.write_answer(cell, &answer));
        if state.is_some_and(|state| cell::answer(state, waiting.asked, Phase::Answered)) {
            Ok(link)
        } else {
            Err(lost("its cell of the door changed while the link was made".to_owned()))
        }
    }
}

/// Whether this process can reach memory as a partner does, which takes two calls that a container's profile may refuse: found out at
/// boot, and not by the partner.
fn check_reach(file: i32) -> Result<(), FabricError> {
    let process = std::process::id();
    if !sees_itself() {
        return Err(FabricError::System {
            tried: format!(
                "looking for this process ({process}) in /proc, which is not mounted or shows another PID namespace: mount it anew \
                 (`mount -t proc proc /proc`, `unshare --mount-proc`)"
            ),
            errno: Errno::new(libc::ESRCH),
        });
    }
    let reached = Peer::open(process).and_then(|own| own.look_at(file));
    reached.map_err(|denied| {
        let tried = "reaching this process's own memory as a partner does".to_owned();
        let refused = denied.system(tried.clone(), process);
        refused.unwrap_or_else(|| FabricError::System {
            tried: format!("{tried} ({denied})"),
            errno: Errno::new(libc::ENOENT),
        })
    })
}

impl Endpoint for ShmEndpoint {
    fn address(&self) -> &Address {
        &self.address
    }

    fn status(&self) -> &Region {
        &self.status
    }

    /// The next thing that happened: a few loads; every 50 ms two more, for the file it is found by.
    fn poll(&mut self) -> Option<EndpointEvent> {
        if let Some(event) = self.ended() {
            return Some(event);
        }
        if let Some(event) = self.mend() {
            return Some(event);
        }
        self.reclaim.one(&self.door);
        self.knocked().map(EndpointEvent::Incoming)
    }

    /// Makes the link: three memory files here, two of the dialler's mapped.
    ///
    /// # Errors
    /// [`FabricError::LinkLost`] where the dialler is gone or gave up, [`FabricError::Exhausted`] where the slot is taken,
    /// [`FabricError::Protocol`] where what it sent makes no sense, [`FabricError::Memory`] and [`FabricError::System`] at limits of this
    /// process. The dialler is told of all but the second.
    fn accept(&mut self, incoming: Incoming, slot: LinkSlot) -> Result<(), FabricError> {
        if self.links.get(slot.number()).is_some_and(Option::is_some) {
            return Err(FabricError::Exhausted { what: "links", max: 1, whole: "slot: close its link first" });
        }
        let waits = |waiting: &Option<Waiting>| waiting.as_ref().is_some_and(|waiting| waiting.incoming == incoming);
        let cell = self.waiting.iter().position(waits);
        let Some((cell, waiting)) = cell.and_then(|cell| Some((cell, self.waiting.get_mut(cell)?.take()?))) else {
            let (address, detail) =
                (self.address.to_string(), "the dialler gave up, or was accepted before".to_owned());
            return Err(FabricError::LinkLost { address, detail });
        };
        let gave_up = || FabricError::LinkLost {
            address: format!("process {}", waiting.asked.process),
            detail: "it gave the dial up before it was accepted".to_owned(),
        };
        match self.link(cell, &waiting, slot) {
            Ok(link) => {
                if let Some(place) = self.links.get_mut(slot.number()) {
                    *place = Some(link);
                }
                Ok(())
            }
            Err(error) => {
                let state = self.door.state(cell);
                let answer = match &error {
                    FabricError::Protocol { .. } => Phase::Refused,
                    _ => Phase::Unmade,
                };
                let told = state.is_some_and(|state| cell::answer(state, waiting.asked, answer));
                // One that gave up took its memory with it, which is what went wrong then.
                Err(if told { error } else { gave_up() })
            }
        }
    }

    fn mailbox(&self, slot: LinkSlot) -> Option<&Region> {
        Some(self.links.get(slot.number())?.as_ref()?.mailbox.region())
    }

    fn close(&mut self, slot: LinkSlot) {
        if let Some(place) = self.links.get_mut(slot.number()) {
            *place = None;
        }
    }
}

impl Drop for ShmEndpoint {
    fn drop(&mut self) {
        self.door.close();
    }
}
