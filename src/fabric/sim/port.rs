//! A simulated port, before and after it is wired.

use super::domain::SimRemote;
use super::flight::Verb;
use super::queue::Post;
use super::rng::Rng;
use super::world::{Shared, lock};
use crate::fabric::descriptor::PORT_ADDRESS_BYTES;
use crate::fabric::{
    Address, Completion, FabricError, PendingPort, Port, PortAddress, PortLimits, PortState, PostError, Refused,
    Remote, WorkRequest,
};
use crate::memory::{Buffer, Loan};
use std::sync::Arc;

/// What begins every simulated port's address.
const MAGIC: [u8; 8] = *b"sim port";

/// Owns a port of the world; dropping it closes and forgets the port.
#[derive(Debug)]
pub(super) struct PortHandle {
    world: Shared,
    id: u64,
}

impl PortHandle {
    pub(super) fn new(world: &Shared, id: u64) -> Self {
        Self { world: Arc::clone(world), id }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for PortHandle {
    fn drop(&mut self) {
        lock(&self.world).remove_port(self.id);
    }
}

/// A simulated port, not wired yet.
#[derive(Debug)]
pub struct SimPendingPort {
    handle: PortHandle,
    partner: Address,
}

impl SimPendingPort {
    pub(super) fn new(handle: PortHandle, partner: Address) -> Self {
        Self { handle, partner }
    }
}

/// A number that a port's address carries so that bytes of other origin are told from it.
fn seal(id: u64) -> [u8; 8] {
    Rng::derived(0, "the address of a port", id).next().to_le_bytes()
}

impl PendingPort for SimPendingPort {
    type Port = SimPort;

    fn address(&self) -> PortAddress {
        let mut bytes = [0; PORT_ADDRESS_BYTES];
        let parts = MAGIC.into_iter().chain(self.handle.id.to_le_bytes()).chain(seal(self.handle.id));
        bytes.iter_mut().zip(parts).for_each(|(into, from)| *into = from);
        PortAddress(bytes)
    }

    fn connect(self, partner: &PortAddress) -> Result<SimPort, FabricError> {
        let mut words = partner.0.chunks_exact(8).map(|word| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            bytes
        });
        let (magic, id, sealed) = (words.next(), words.next(), words.next());
        let peer = id.map_or(0, u64::from_le_bytes);
        if magic != Some(MAGIC) || sealed != Some(seal(peer)) || words.any(|word| word != [0; 8]) {
            let detail = "what it sent names no simulated port".to_owned();
            return Err(FabricError::Protocol { address: self.partner, detail });
        }
        let mut world = lock(&self.handle.world);
        let Some(port) = world.ports.get_mut(&self.handle.id) else {
            return Err(world.lost("?", "the port is gone"));
        };
        let node = port.node;
        port.peer = Some(peer);
        world.check_alive(node)?;
        drop(world);
        Ok(SimPort::new(self.handle))
    }
}

/// A simulated port. Its calls lock the world and allocate; all else is as on real fabrics.
#[derive(Debug)]
pub struct SimPort {
    handle: PortHandle,
    limits: PortLimits,
}

impl SimPort {
    pub(super) fn new(handle: PortHandle) -> Self {
        let nothing = PortLimits::new(0, 0, 0, 0);
        let limits = lock(&handle.world).ports.get(&handle.id).map_or(nothing, |port| port.limits);
        Self { handle, limits }
    }

    /// Posts an operation with a buffer.
    fn post(
        &mut self,
        request: WorkRequest,
        verb: Verb,
        buffer: Buffer,
        place: Option<(&SimRemote, u64)>,
    ) -> Result<(), Refused> {
        let length = buffer.len();
        let refuse = |reason, buffer| Err(Refused { reason, buffer });
        let mut world = lock(&self.handle.world);
        if let Err(reason) = world.may_post(self.handle.id) {
            return refuse(reason, buffer);
        }
        let fits = match verb {
            Verb::FetchAdd(_) | Verb::CompareSwap { .. } => length == 8,
            Verb::Send => length <= self.limits.message_bytes_max as usize,
            _ => u32::try_from(length).is_ok(),
        };
        if !fits {
            return refuse(PostError::Length, buffer);
        }
        let place = place.map_or(Some((0, 0)), |(remote, offset)| place_of(remote, offset, length));
        let Some(place) = place else { return refuse(PostError::OutOfRange, buffer) };
        let carries = matches!(verb, Verb::Write | Verb::WriteWithImmediate(_) | Verb::Send);
        let data = if carries { buffer.as_slice().to_vec() } else { Vec::new() };
        world.post(self.handle.id, Post { request, verb, buffer: Some(buffer), loan: None, data, length, place });
        Ok(())
    }
}

/// Key and address of `length` bytes at `offset` of remote memory, if they lie within it.
fn place_of(remote: &SimRemote, offset: u64, length: usize) -> Option<(u64, u64)> {
    let end = offset.checked_add(length as u64)?;
    let descriptor = remote.descriptor();
    (end <= descriptor.length).then(|| (descriptor.key, descriptor.address.wrapping_add(offset)))
}

// SAFETY:
// - alias, device: a handle stays in the queue while its operation may touch the bytes, and comes back or is dropped after that.
// - alias: loans and what is sent are read alone.
#[allow(unsafe_code, reason = "a promise, and no unsafe block")]
unsafe impl Port for SimPort {
    type Remote = SimRemote;

    fn post_read(&mut self, request: WorkRequest, into: Buffer, from: &SimRemote, offset: u64) -> Result<(), Refused> {
        self.post(request, Verb::Read, into, Some((from, offset)))
    }

    fn post_write(&mut self, request: WorkRequest, from: Buffer, to: &SimRemote, offset: u64) -> Result<(), Refused> {
        self.post(request, Verb::Write, from, Some((to, offset)))
    }

    fn post_write_loan(
        &mut self,
        request: WorkRequest,
        from: Loan,
        to: &SimRemote,
        offset: u64,
    ) -> Result<(), PostError> {
        let mut world = lock(&self.handle.world);
        world.may_post(self.handle.id)?;
        let length = from.len();
        if u32::try_from(length).is_err() {
            return Err(PostError::Length);
        }
        let place = place_of(to, offset, length).ok_or(PostError::OutOfRange)?;
        let (verb, data) = (Verb::Write, Vec::new());
        world.post(self.handle.id, Post { request, verb, buffer: None, loan: Some(from), data, length, place });
        Ok(())
    }

    fn post_write_inline(
        &mut self,
        request: WorkRequest,
        bytes: &[u8],
        to: &SimRemote,
        offset: u64,
    ) -> Result<(), PostError> {
        let mut world = lock(&self.handle.world);
        world.may_post(self.handle.id)?;
        if bytes.len() > self.limits.inline_bytes_max as usize {
            return Err(PostError::Length);
        }
        let place = place_of(to, offset, bytes.len()).ok_or(PostError::OutOfRange)?;
        let (data, length) = (bytes.to_vec(), bytes.len());
        world.post(self.handle.id, Post { request, verb: Verb::Write, buffer: None, loan: None, data, length, place });
        Ok(())
    }

    fn post_write_with_immediate(
        &mut self,
        request: WorkRequest,
        from: Buffer,
        to: &SimRemote,
        offset: u64,
        immediate: u32,
    ) -> Result<(), Refused> {
        self.post(request, Verb::WriteWithImmediate(immediate), from, Some((to, offset)))
    }

    fn post_fetch_add(
        &mut self,
        request: WorkRequest,
        into: Buffer,
        to: &SimRemote,
        offset: u64,
        add: u64,
    ) -> Result<(), Refused> {
        self.post(request, Verb::FetchAdd(add), into, Some((to, offset)))
    }

    fn post_compare_swap(
        &mut self,
        request: WorkRequest,
        into: Buffer,
        to: &SimRemote,
        offset: u64,
        expected: u64,
        desired: u64,
    ) -> Result<(), Refused> {
        self.post(request, Verb::CompareSwap { expected, desired }, into, Some((to, offset)))
    }

    fn post_send(&mut self, request: WorkRequest, from: Buffer) -> Result<(), Refused> {
        self.post(request, Verb::Send, from, None)
    }

    fn post_receive(&mut self, request: WorkRequest, into: Buffer) -> Result<(), Refused> {
        let mut world = lock(&self.handle.world);
        match world.may_post_receive(self.handle.id) {
            Ok(()) => world.post_receive(self.handle.id, request.id, into),
            Err(reason) => return Err(Refused { reason, buffer: into }),
        }
        Ok(())
    }

    fn poll(&mut self, completions: &mut [Completion]) -> usize {
        lock(&self.handle.world).poll(self.handle.id, completions)
    }

    fn state(&self) -> PortState {
        lock(&self.handle.world).ports.get(&self.handle.id).map_or(PortState::Error, |port| port.state)
    }

    fn limits(&self) -> PortLimits {
        self.limits
    }

    fn close(&mut self) {
        lock(&self.handle.world).close_port(self.handle.id);
    }
}
