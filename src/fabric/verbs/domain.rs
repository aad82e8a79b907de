//! Protection domains: memory and ports that may be used together.

use super::Verbs;
use super::failure::{device_error, registration_error};
use super::options::VerbsOptions;
use super::pending::VerbsPendingPort;
use super::queue::SharedQueue;
use super::registration::{ExposedRegistration, Exposure, LocalRegistration};
use super::remote::VerbsRemote;
use super::route::Route;
use crate::fabric::{AccessFlags, Domain, Exposed, FabricError, PortLimits, PortOptions, RemoteDescriptor};
use crate::memory::{Backing, Buffer, LocalKey, Region};
use crate::sys::verbs::{Access, Capacity, CompletionQueue, MemoryRegion, ProtectionDomain, QueuePair};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A protection domain on a link's device.
#[derive(Debug, Clone)]
pub struct VerbsDomain {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    protection: Arc<ProtectionDomain>,
    /// Unlike any other domain's of this process.
    number: u64,
    route: Route,
    options: VerbsOptions,
    partner: String,
    members: Mutex<Members>,
}

/// What is to end when the domain is revoked.
#[derive(Debug, Default)]
struct Members {
    revoked: bool,
    queues: Vec<Weak<SharedQueue>>,
    exposures: Vec<Weak<Exposure>>,
}

/// The number of a new domain.
pub(super) fn fresh_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl VerbsDomain {
    pub(super) fn new(
        protection: Arc<ProtectionDomain>,
        number: u64,
        route: Route,
        options: VerbsOptions,
        partner: &str,
    ) -> Self {
        let members = Mutex::default();
        Self { inner: Arc::new(Inner { protection, number, route, options, partner: partner.to_owned(), members }) }
    }

    /// Another domain on the same device, towards the same partner.
    pub(super) fn beside(&self) -> Result<Self, FabricError> {
        let context = self.inner.protection.context();
        let protection = ProtectionDomain::new(context)
            .map_err(|errno| device_error("making a protection domain", context.name(), errno))?;
        Ok(Self::new(protection, fresh_number(), self.inner.route, self.inner.options, &self.inner.partner))
    }

    pub(super) fn route(&self) -> &Route {
        &self.inner.route
    }

    pub(super) fn options(&self) -> &VerbsOptions {
        &self.inner.options
    }

    pub(super) fn number(&self) -> u64 {
        self.inner.number
    }

    pub(super) fn partner(&self) -> &str {
        &self.inner.partner
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.inner.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a queue pair that revoking ends.
    pub(super) fn adopt(&self, queue: &Arc<SharedQueue>) {
        let mut members = self.members();
        members.queues.retain(|queue| queue.strong_count() != 0);
        members.queues.push(Arc::downgrade(queue));
        if members.revoked {
            queue.end();
        }
    }

    /// Registers a region, which the caller keeps mapped until the registration is released.
    fn register(&self, region: &Region, access: Access) -> Result<MemoryRegion, FabricError> {
        let mut access = access.and(Access::LOCAL_WRITE);
        if self.inner.options.on_demand_paging {
            access = access.and(Access::ON_DEMAND);
        }
        if self.inner.options.relaxed_ordering {
            access = access.and(Access::RELAXED_ORDERING);
        }
        register(&self.inner.protection, region, access)
    }
}

/// Registers the whole of a region.
pub(super) fn register(
    protection: &Arc<ProtectionDomain>,
    region: &Region,
    access: Access,
) -> Result<MemoryRegion, FabricError> {
    // SAFETY:
    // - live: every caller keeps the region until `deregister` is `Ok`, and leaks it where it is not: buffers by their block, exposed
    //   memory by `Exposure`, pages by `Accepted`.
    // - alias: a region has no references into it; a buffer's slices exist only while no request holds its handle.
    // - device: the device writes what remote sides have rights to, which a region allows, and what requests that hold a buffer ask for.
    let registered = unsafe { MemoryRegion::register(protection, region.as_ptr(), region.len(), access) };
    registered.map_err(|errno| registration_error(region.len(), protection.context().name(), errno))
}

/// The rights of the other side as the device names them.
fn remote_access(access: AccessFlags) -> Access {
    let rights = [
        (AccessFlags::REMOTE_READ, Access::REMOTE_READ),
        (AccessFlags::REMOTE_WRITE, Access::REMOTE_WRITE),
        (AccessFlags::REMOTE_ATOMIC, Access::REMOTE_ATOMIC),
    ];
    let granted = rights.iter().filter(|(flag, _)| access.contains(*flag));
    granted.fold(Access::NONE, |all, (_, right)| all.and(*right))
}

impl Domain for VerbsDomain {
    type Fabric = Verbs;

    fn buffer(&self, region: Region) -> Result<Buffer, FabricError> {
        let registered = self.register(&region, Access::NONE)?;
        let key = LocalKey(registered.local_key());
        Ok(Buffer::new(region, self.inner.number, key, Some(Box::new(LocalRegistration(registered))))?)
    }

    fn expose(&self, region: Region, access: AccessFlags) -> Result<Exposed, FabricError> {
        let registered = self.register(&region, remote_access(access))?;
        let descriptor = RemoteDescriptor {
            address: region.as_ptr() as u64,
            length: region.len() as u64,
            key: u64::from(registered.remote_key()),
            access,
            context: 0,
        };
        let region = Arc::new(region);
        let exposure = Exposure::new(registered, Arc::clone(&region));
        let mut members = self.members();
        members.exposures.retain(|exposure| exposure.strong_count() != 0);
        members.exposures.push(Arc::downgrade(&exposure));
        if members.revoked {
            exposure.end();
        }
        Ok(Exposed::new(region, descriptor, Box::new(ExposedRegistration(exposure))))
    }

    fn backing(&self, _access: AccessFlags) -> Backing {
        Backing::Private
    }

    fn import(&self, descriptor: &RemoteDescriptor) -> Result<VerbsRemote, FabricError> {
        Ok(VerbsRemote::new(*descriptor))
    }

    fn revoke(&self) {
        // Held to the end: who revokes at the same time returns when it is done, and not before.
        let mut members = self.members();
        members.revoked = true;
        // Queue pairs first: a refusal tells the partner at once, and what is under way ends before its memory's registration does.
        members.queues.drain(..).filter_map(|queue| queue.upgrade()).for_each(|queue| queue.end());
        members.exposures.drain(..).filter_map(|exposure| exposure.upgrade()).for_each(|exposure| exposure.end());
    }

    fn port(&self, options: &PortOptions) -> Result<VerbsPendingPort, FabricError> {
        let (queue, completions, limits) = self.queue(options)?;
        VerbsPendingPort::new(self.clone(), queue, completions, limits, options.receiver_not_ready_ms_max)
    }
}

type Queue = (Arc<SharedQueue>, Arc<CompletionQueue>, PortLimits);

impl VerbsDomain {
    /// A queue pair with its completion queue, of these sizes.
    fn queue(&self, options: &PortOptions) -> Result<Queue, FabricError> {
        options.check()?;
        let (send, receive) = (options.send_work_requests_max, options.receive_work_requests_max);
        let inline = self.inner.options.inline_bytes;
        let (queue, completions) = make_queue(&self.inner.protection, send, receive, inline)?;
        let mut limits = PortLimits::new(send, receive, queue.pair().inline_bytes(), options.message_bytes_max);
        limits.transfer_bytes_max = self.inner.route.transfer_bytes_max;
        Ok((queue, completions, limits))
    }
}

/// A queue pair for so many requests, and a completion queue that holds all of them at once.
pub(super) fn make_queue(
    protection: &Arc<ProtectionDomain>,
    send: u32,
    receive: u32,
    inline_bytes: u32,
) -> Result<(Arc<SharedQueue>, Arc<CompletionQueue>), FabricError> {
    let context = protection.context();
    // One more than users post: the request that ends the queue.
    let send = send + 1;
    let completions = CompletionQueue::new(context, send + receive)
        .map_err(|errno| device_error("making a completion queue", context.name(), errno))?;
    let mut capacity = Capacity { send, receive, inline_bytes };
    let pair = loop {
        match QueuePair::new(protection, &completions, capacity) {
            // Longer inline data than the device has: half of it, and so on.
            Err(errno) if errno.number() == libc::EINVAL && capacity.inline_bytes != 0 => capacity.inline_bytes /= 2,
            made => break made,
        }
    };
    let tried = || format!("making a queue pair for {send} sends and {receive} receives");
    let pair = pair.map_err(|errno| device_error(&tried(), context.name(), errno))?;
    Ok((Arc::new(SharedQueue::new(pair)), completions))
}
