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
use crate::memory::{Backing, Buffer, LocalKey, Region, Ring, RingSource};
use crate::sys::Errno;
use crate::sys::verbs::{Access, Capacity, CompletionQueue, MemoryRegion, ProtectionDomain, QueuePair};
use std::ptr::NonNull;
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
    /// What the device did not let go of when it was revoked.
    stuck_queues: Vec<Arc<SharedQueue>>,
    stuck_exposures: Vec<Arc<Exposure>>,
}

impl Members {
    /// Ends all of them; the first refusal.
    fn end(&mut self) -> Result<(), Errno> {
        self.revoked = true;
        // Queue pairs first: a refusal tells the partner at once, and what is under way ends before its memory's registration does.
        let queues = end_each(&mut self.queues, &mut self.stuck_queues, SharedQueue::try_end);
        let exposures = end_each(&mut self.exposures, &mut self.stuck_exposures, Exposure::end);
        queues.and(exposures)
    }
}

/// Ends each member that is still there, and those that did not end before; the first refusal. Who did not end is kept, so that whoever asks
/// again hears of it again.
fn end_each<T>(
    members: &mut Vec<Weak<T>>,
    stuck: &mut Vec<Arc<T>>,
    end: impl Fn(&T) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut outcome = Ok(());
    stuck.extend(members.drain(..).filter_map(|member| member.upgrade()));
    stuck.retain(|member| {
        let ended = end(member);
        outcome = outcome.and(ended);
        ended.is_err()
    });
    outcome
}

/// What was tried when the device refuses.
const REVOKING: &str = "ending the ports and exposed memory of a revoked domain";

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
    fn register(&self, memory: (NonNull<u8>, usize), access: Access) -> Result<MemoryRegion, FabricError> {
        // Memory that the other side writes is never of relaxed ordering: a READ behind a WRITE would then prove nothing of it.
        let granted = access != Access::NONE;
        let mut access = access.and(Access::LOCAL_WRITE);
        if self.inner.options.on_demand_paging {
            access = access.and(Access::ON_DEMAND);
        }
        if self.inner.options.relaxed_ordering && !granted {
            access = access.and(Access::RELAXED_ORDERING);
        }
        register(&self.inner.protection, memory, access)
    }
}

/// Registers the whole of a region's memory.
pub(super) fn register(
    protection: &Arc<ProtectionDomain>,
    (start, length): (NonNull<u8>, usize),
    access: Access,
) -> Result<MemoryRegion, FabricError> {
    // SAFETY:
    // - live: every caller keeps the region until `deregister` is `Ok`, and leaks it where it is not: buffers by their block, rings by the lender
    //   of their loans, exposed memory by `Exposure`, pages by `Accepted`.
    // - alias: a region has no references into it; a buffer's slices exist only while no request holds its handle, and a ring's cover nothing
    //   that is lent.
    // - device: the device writes what remote sides have rights to, which a region allows, and what requests that hold a buffer ask for; of a
    //   ring, whose loans are for WRITEs alone, it writes nothing.
    let registered = unsafe { MemoryRegion::register(protection, start.as_ptr(), length, access) };
    registered.map_err(|errno| registration_error(length, protection.context().name(), errno))
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

// SAFETY:
// - live: memory goes with the last handle cut from it, and behind its registration.
// - alias: buffers, loans and exposed memory are made of what was given, each once.
// - device: rights are the ones asked for: the device checks them.
unsafe impl Domain for VerbsDomain {
    type Fabric = Verbs;

    fn buffer(&self, region: Region) -> Result<Buffer, FabricError> {
        let registered = self.register((region.start(), region.len()), Access::NONE)?;
        let key = LocalKey(registered.local_key());
        Ok(Buffer::new(region, self.inner.number, key, Some(Box::new(LocalRegistration(registered))))?)
    }

    fn ring(&self, ring: &Arc<Ring>) -> Result<RingSource, FabricError> {
        let registered = self.register(ring.memory(), Access::NONE)?;
        let key = LocalKey(registered.local_key());
        let registration = Box::new(LocalRegistration(registered));
        Ok(RingSource::new(Arc::clone(ring), self.inner.number, key, Some(registration)))
    }

    fn expose(&self, region: Region, access: AccessFlags) -> Result<Exposed, FabricError> {
        let registered = self.register((region.start(), region.len()), remote_access(access))?;
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
            let ended = exposure.end();
            ended.map_err(|errno| device_error(REVOKING, self.inner.protection.context().name(), errno))?;
        }
        Ok(Exposed::new(region, descriptor, Box::new(ExposedRegistration(exposure))))
    }

    fn backing(&self, _access: AccessFlags) -> Backing {
        Backing::Private
    }

    fn import(&self, descriptor: &RemoteDescriptor) -> Result<VerbsRemote, FabricError> {
        Ok(VerbsRemote::new(*descriptor))
    }

    fn revoke(&self) -> Result<(), FabricError> {
        // Locked to the end: who revokes at the same time returns when it is done, and not before.
        let ended = self.members().end();
        ended.map_err(|errno| device_error(REVOKING, self.inner.protection.context().name(), errno))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// Refuses to end for as long as it is stuck.
    struct Member(AtomicBool, Errno);

    impl Member {
        fn end(&self) -> Result<(), Errno> {
            if self.0.load(Ordering::Relaxed) { Err(self.1) } else { Ok(()) }
        }
    }

    #[test]
    fn who_does_not_end_is_told_each_time_and_keeps_nobody_else() {
        let member = |stuck, number| Arc::new(Member(AtomicBool::new(stuck), Errno::new(number)));
        let (first, second, third) = (member(true, libc::EIO), member(false, 0), member(true, libc::EBUSY));
        let gone = Arc::downgrade(&member(true, libc::EINVAL));
        let mut members = vec![gone, Arc::downgrade(&first), Arc::downgrade(&second), Arc::downgrade(&third)];
        let mut stuck = Vec::new();
        let mut end = || end_each(&mut members, &mut stuck, Member::end);
        assert_eq!(end(), Err(Errno::new(libc::EIO)), "the first refusal");
        first.0.store(false, Ordering::Relaxed);
        assert_eq!(end(), Err(Errno::new(libc::EBUSY)), "what is stuck still is told again");
        let (ended, waiting) = (Arc::strong_count(&first), Arc::strong_count(&third));
        assert_eq!((ended, waiting), (1, 2), "only what is stuck is kept");
        third.0.store(false, Ordering::Relaxed);
        assert_eq!((end(), end()), (Ok(()), Ok(())));
    }
}
