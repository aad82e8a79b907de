//! One accepted link: a protection domain of its own, in which the other side may READ the status block and WRITE one mailbox.

use super::domain::{make_queue, register};
use super::failure::device_error;
use super::greeting::{self, Answer, Refusal};
use super::options::VerbsOptions;
use super::queue::SharedQueue;
use super::route::{self, READS_MAX, Reads};
use super::watch::{self, Watch};
use crate::fabric::{AccessFlags, FabricError, LinkSlot, RemoteDescriptor};
use crate::memory::Region;
use crate::sys::verbs::{
    Access, CmId, CompletionQueue, ConnectParameters, IdKey, MemoryRegion, ProtectionDomain, WorkCompletion, status,
};
use std::sync::Arc;

/// The number of the receive that tells when the queue pair fails: an access violation of the other side makes no event.
const TRIPWIRE: u64 = 7;

/// What a link is given.
pub(super) struct Page<'a> {
    pub(super) status: &'a Arc<Region>,
    pub(super) status_bytes: usize,
    /// Slot, fresh region and length of the mailbox; an observer has none.
    pub(super) mailbox: Option<(LinkSlot, Arc<Region>, usize)>,
}

/// An accepted link. Dropping it ends it: rights first, then ERR, then the registrations, then the queue pair.
#[derive(Debug)]
pub(super) struct Accepted {
    /// None once it was parted from.
    id: Option<CmId>,
    key: IdKey,
    port: u8,
    queue: Arc<SharedQueue>,
    completions: Arc<CompletionQueue>,
    /// Registered memory with what keeps it mapped.
    registered: Vec<(MemoryRegion, Arc<Region>)>,
    pub(super) mailbox: Option<Arc<Region>>,
    watch: Arc<Watch>,
    /// Whether its end was told.
    pub(super) told: bool,
}

impl Accepted {
    /// Accepts a request: from its return on the other side can read and write. Where it cannot be made, the other side is told so.
    pub(super) fn new(
        id: CmId,
        initiator_depth: u8,
        page: Page<'_>,
        options: &VerbsOptions,
        gid: Option<u8>,
    ) -> Result<Self, FabricError> {
        let made = Self::make(&id, page);
        let accepted = made.and_then(|(link, answer)| {
            link.connect(&id, initiator_depth, &answer, options, gid)?;
            Ok(link)
        });
        match accepted {
            Ok(mut link) => {
                link.id = Some(id);
                Ok(link)
            }
            Err(error) => {
                if let Err(errno) = id.reject(&greeting::refusal(Refusal::Unmade)) {
                    tracing::debug!("refusing a request: {errno}");
                }
                Err(error)
            }
        }
    }

    /// Everything of it but the connection, and what the other side is told.
    fn make(id: &CmId, page: Page<'_>) -> Result<(Self, Answer), FabricError> {
        let watch = watch::of(id)?;
        let protection = ProtectionDomain::new(watch.context())
            .map_err(|errno| device_error("making a protection domain for a link", watch.context().name(), errno))?;
        let (queue, completions) = make_queue(&protection, 1, 1, 0)?;
        let status = register(&protection, (page.status.start(), page.status.len()), Access::REMOTE_READ)?;
        let status_key = status.remote_key();
        let mut link = Self {
            key: id.key(),
            port: id.port(),
            id: None,
            queue,
            completions,
            registered: vec![(status, Arc::clone(page.status))],
            mailbox: None,
            watch,
            told: false,
        };
        let mut answer = Answer {
            status: descriptor(page.status, page.status_bytes, status_key, AccessFlags::REMOTE_READ),
            mailbox: None,
        };
        if let Some((slot, mailbox, bytes)) = page.mailbox {
            let registered =
                register(&protection, (mailbox.start(), mailbox.len()), Access::LOCAL_WRITE.and(Access::REMOTE_WRITE))?;
            let key = registered.remote_key();
            answer.mailbox = Some((slot, descriptor(&mailbox, bytes, key, AccessFlags::REMOTE_WRITE)));
            link.registered.push((registered, Arc::clone(&mailbox)));
            link.mailbox = Some(mailbox);
        }
        Ok((link, answer))
    }

    fn connect(
        &self,
        id: &CmId,
        initiator_depth: u8,
        answer: &Answer,
        options: &VerbsOptions,
        gid: Option<u8>,
    ) -> Result<(), FabricError> {
        let pair = self.queue.pair();
        let device = pair.device();
        let access = Access::REMOTE_READ.and(Access::REMOTE_WRITE);
        let most = self.watch.context().attributes().read_atomic_responder_max.min(READS_MAX);
        let serves = initiator_depth.clamp(1, most.max(1));
        route::initialise(id, pair, access)?;
        // SAFETY:
        // - live: the queue pair is ours, and destroyed by our drop alone.
        // - device: the receive has no memory.
        // - thread: `&mut self`; nobody else posts to it.
        unsafe { pair.post_receive(TRIPWIRE, std::ptr::null_mut(), 0, 0) }
            .map_err(|errno| device_error("posting the tripwire of a link", device, errno))?;
        route::connect(id, pair, Reads { serves, makes: 1 }, options, gid)?;
        let private_data = answer.encode();
        let parameters = ConnectParameters {
            private_data: &private_data,
            responder_resources: serves,
            initiator_depth: 1,
            queue_pair: pair.number(),
        };
        id.accept(&parameters).map_err(|errno| route::of_connection("accepting a link", device, errno))
    }

    pub(super) fn key(&self) -> IdKey {
        self.key
    }

    /// What ended the link, if anything did that makes no event: its tripwire, or its device. Enters the kernel once a millisecond.
    pub(super) fn ended(&self) -> Option<String> {
        let mut space = [WorkCompletion::EMPTY];
        let tripped = match self.completions.poll(&mut space) {
            Ok(1..) => Some(match space[0].status() {
                status::IBV_WC_WR_FLUSH_ERR => {
                    "its queue pair went to ERR: the device refused an operation of the other side (wrong key, range or right), or the path failed"
                        .to_owned()
                }
                status::IBV_WC_SUCCESS => "the other side sent a message on a link that carries none".to_owned(),
                code => format!("the device refused an operation of the other side (work completion status {code})"),
            }),
            Ok(0) => None,
            Err(errno) => Some(format!("its completion queue failed: {errno}")),
        };
        tripped.or_else(|| self.watch.trouble(self.port))
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.queue.end();
        for (registered, region) in &mut self.registered {
            if registered.deregister().is_err() {
                std::mem::forget(Arc::clone(region));
            }
        }
        // If this fails it stays in ERR, with nothing of ours to work on, and the log says so.
        let _ = self.queue.destroy();
        if let Some(id) = self.id.take() {
            self.watch.part(self.port, id);
        }
    }
}

fn descriptor(region: &Region, bytes: usize, key: u32, access: AccessFlags) -> RemoteDescriptor {
    RemoteDescriptor { address: region.as_ptr() as u64, length: bytes as u64, key: u64::from(key), access, context: 0 }
}
