//! Opening a link: address, route, request, answer. Each side dials; what it dialled with grants the other side nothing.

use super::Verbs;
use super::domain::{VerbsDomain, fresh_number, make_queue};
use super::failure::{device_error, no_rdma};
use super::greeting::{self, Answer, Refusal, Unfit};
use super::host;
use super::monitor::VerbsLinkMonitor;
use super::options::VerbsOptions;
use super::port::VerbsPort;
use super::queue::SharedQueue;
use super::remote::VerbsRemote;
use super::route::{self, READS_MAX, Reads, Route};
use super::watch::{self, Watch};
use crate::fabric::{Address, Dial, DialPurpose, FabricError, Link, PortLimits};
use crate::sys::verbs::{
    Access, CmEvent, CmEventKind, CmId, CompletionQueue, ConnectParameters, EventChannel, ProtectionDomain,
};
use std::sync::Arc;

/// How long librdmacm looks for address and route, milliseconds. The caller has a deadline of its own for the whole.
const RESOLVE_MS: i32 = 2000;

/// What the port of a link takes.
const SENDS: u32 = 64;
const RECEIVES: u32 = 1;

/// "There is no service with this number": nobody listens (InfiniBand Architecture Specification, volume 1, table 108).
const REJECTED_NO_SERVICE: i32 = 8;
/// The listener refused by itself.
const REJECTED_BY_CONSUMER: i32 = 28;

/// A link being opened.
#[derive(Debug)]
pub struct VerbsDial {
    to: Address,
    purpose: DialPurpose,
    options: VerbsOptions,
    gid: Option<u8>,
    device: Option<String>,
    /// Made once the route is known; taken by the link.
    ends: Option<Ends>,
    id: Option<CmId>,
    channel: Arc<EventChannel>,
    /// The device, once the address was resolved.
    watch: Option<Arc<Watch>>,
}

/// Our end of the link to be.
#[derive(Debug)]
struct Ends {
    queue: Arc<SharedQueue>,
    completions: Arc<CompletionQueue>,
    protection: Arc<ProtectionDomain>,
}

impl VerbsDial {
    pub(super) fn new(to: &Address, purpose: DialPurpose, options: VerbsOptions) -> Result<Self, FabricError> {
        let Address::Rdma { device, gid, .. } = to else {
            return Err(FabricError::Scheme { address: to.clone(), fabric: "rdma" });
        };
        let there = host::of(to)?;
        let channel = EventChannel::new().map_err(no_rdma)?;
        let id = CmId::new(&channel).map_err(no_rdma)?;
        id.resolve_address(there, RESOLVE_MS).map_err(|errno| match errno.number() {
            libc::ENODEV | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EADDRNOTAVAIL => FabricError::NotListening {
                address: to.clone(),
                detail: format!(": no device of this machine reaches it ({errno})"),
            },
            _ => device_error(&format!("looking for the way to {to}"), "-", errno),
        })?;
        let (device, gid, to) = (device.clone(), *gid, to.clone());
        Ok(Self { to, purpose, options, gid, device, ends: None, id: Some(id), channel, watch: None })
    }

    fn take(&mut self, event: &CmEvent) -> Result<Option<Link<Verbs>>, FabricError> {
        match &event.kind {
            CmEventKind::AddressResolved => self.find_route().map(|()| None),
            CmEventKind::RouteResolved => self.request().map(|()| None),
            CmEventKind::ConnectResponse => self.stand(event).map(Some),
            CmEventKind::Rejected => Err(self.rejected(event)),
            CmEventKind::Unreachable(number) => {
                Err(self.absent(&format!(": it cannot be reached ({})", reason(*number, event.status))))
            }
            CmEventKind::Disconnected => Err(self.absent(": it closed the link while that was made")),
            CmEventKind::DeviceRemoval => {
                if let Some(watch) = &self.watch {
                    watch.removed();
                }
                let detail = "our device was removed while the link was made".to_owned();
                Err(FabricError::LinkLost { address: self.to.to_string(), detail })
            }
            _ => Ok(None),
        }
    }

    fn absent(&self, detail: &str) -> FabricError {
        FabricError::NotListening { address: self.to.clone(), detail: detail.to_owned() }
    }

    fn foreign(&self, detail: String) -> FabricError {
        FabricError::Protocol { address: self.to.clone(), detail }
    }

    fn rejected(&self, event: &CmEvent) -> FabricError {
        match (event.status, greeting::refused(event.private_data())) {
            (REJECTED_NO_SERVICE, _) => self.absent(""),
            (_, Some(Refusal::Busy)) => self.absent(": it has too many links and dials already"),
            (_, Some(Refusal::Version)) => {
                self.foreign("it speaks another version of the fabric's greeting".to_owned())
            }
            (_, Some(Refusal::Unmade)) => FabricError::Unmade { address: self.to.clone() },
            (REJECTED_BY_CONSUMER, None) => self.absent(": it went away before it answered"),
            (code, None) => self.absent(&format!(": it refused the link (reason {code})")),
        }
    }

    fn id(&self) -> Result<&CmId, FabricError> {
        self.id.as_ref().ok_or_else(|| FabricError::LinkLost {
            address: self.to.to_string(),
            detail: "the link was handed out already".to_owned(),
        })
    }

    fn find_route(&mut self) -> Result<(), FabricError> {
        let id = self.id()?;
        let watch = watch::of(id)?;
        let device = watch.context().name();
        if let Some(wanted) = self.device.as_ref().filter(|wanted| *wanted != device) {
            let missing = format!("{} is reached through the device {device}, not through {wanted}", self.to);
            let remedy = "Leave `?device=` out, or set the route (`ip route`)".to_owned();
            return Err(FabricError::NoRdma { missing, remedy });
        }
        if let Some(trouble) = watch.trouble(id.port()) {
            return Err(FabricError::LinkLost { address: self.to.to_string(), detail: trouble });
        }
        id.resolve_route(RESOLVE_MS)
            .map_err(|errno| device_error(&format!("looking for the route to {}", self.to), device, errno))?;
        self.watch = Some(watch);
        Ok(())
    }

    /// Asks for the link.
    fn request(&mut self) -> Result<(), FabricError> {
        let id = self.id()?;
        let Some(watch) = &self.watch else { return Err(self.absent(": no device of this machine reaches it")) };
        let context = watch.context();
        let failed = |tried: &str, errno| device_error(tried, context.name(), errno);
        let protection =
            ProtectionDomain::new(context).map_err(|errno| failed("making a protection domain for a link", errno))?;
        let (queue, completions) = make_queue(&protection, SENDS, RECEIVES, self.options.inline_bytes)?;
        let private_data = greeting::request(self.purpose);
        let parameters = ConnectParameters {
            private_data: &private_data,
            responder_resources: 1,
            initiator_depth: context.attributes().read_atomic_initiator_max.clamp(1, READS_MAX),
            queue_pair: queue.pair().number(),
        };
        route::initialise(id, queue.pair(), Access::NONE)?;
        id.connect(&parameters).map_err(|errno| failed(&format!("dialling {}", self.to), errno))?;
        self.ends = Some(Ends { queue, completions, protection });
        Ok(())
    }

    /// The other side has answered.
    fn stand(&mut self, event: &CmEvent) -> Result<Link<Verbs>, FabricError> {
        let answer = Answer::decode(event.private_data()).map_err(|unfit| match unfit {
            Unfit::Foreign => self.foreign("its answer is not handfast's".to_owned()),
            Unfit::Version(version) => self.foreign(format!("its greeting has version {version}")),
        })?;
        if answer.mailbox.is_some() != (self.purpose == DialPurpose::Session) {
            return Err(self.foreign("it answered for another purpose than was asked".to_owned()));
        }
        let (Some(ends), Some(watch)) = (self.ends.take(), self.watch.clone()) else {
            return Err(self.absent(": it answered before it was asked"));
        };
        let reads = Reads { serves: 1, makes: READS_MAX };
        let id = self.id()?;
        let path = route::connect(id, ends.queue.pair(), reads, &self.options, self.gid)?;
        id.establish().map_err(|errno| device_error("confirming a link", ends.queue.pair().device(), errno))?;
        let route = Route::new(ends.protection.context(), path, self.gid, &self.to.to_string())?;
        let Some(id) = self.id.take() else { return Err(self.absent(": it went away")) };
        Ok(self.link(id, ends, route, watch, &answer))
    }

    fn link(&self, id: CmId, ends: Ends, route: Route, watch: Arc<Watch>, answer: &Answer) -> Link<Verbs> {
        let Ends { queue, completions, protection } = ends;
        let to = self.to.to_string();
        let (port, transfer_bytes_max) = (route.path.port, route.transfer_bytes_max);
        let domain = VerbsDomain::new(protection, fresh_number(), route, self.options, &to);
        domain.adopt(&queue);
        let monitor = VerbsLinkMonitor::new(id, Arc::clone(&queue), watch, port, to);
        // No messages, and nothing that waits for a receive.
        let mut limits = PortLimits::new(SENDS, RECEIVES, queue.pair().inline_bytes(), 0);
        limits.transfer_bytes_max = transfer_bytes_max;
        Link {
            port: VerbsPort::new(queue, completions, limits, domain.number(), 1000),
            status: VerbsRemote::new(answer.status),
            mailbox: answer.mailbox.map(|(slot, descriptor)| (slot, VerbsRemote::new(descriptor))),
            domain,
            monitor,
        }
    }
}

/// Why nothing came of a dial.
fn reason(number: u32, status: i32) -> String {
    let what = match number {
        1 => "RDMA_CM_EVENT_ADDR_ERROR: its address was not found",
        3 => "RDMA_CM_EVENT_ROUTE_ERROR: no route",
        7 => "RDMA_CM_EVENT_UNREACHABLE: no answer",
        _ => "RDMA_CM_EVENT_CONNECT_ERROR",
    };
    format!("{what}, {}", crate::sys::Errno::new(status.saturating_abs()))
}

impl Drop for VerbsDial {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        // Before its address was found it has said nothing that could want a goodbye.
        if let Some(watch) = &self.watch {
            watch.part(id.port(), id);
        }
    }
}

impl Dial for VerbsDial {
    type Fabric = Verbs;

    fn poll(&mut self) -> Result<Option<Link<Verbs>>, FabricError> {
        loop {
            let event = self
                .channel
                .poll()
                .map_err(|errno| device_error("asking librdmacm for events of a dial", "-", errno))?;
            let Some(event) = event else { return Ok(None) };
            if let Some(link) = self.take(&event)? {
                return Ok(Some(link));
            }
        }
    }
}
