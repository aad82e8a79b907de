//! librdmacm: identifiers, the events about them, and connections made without its hand on our queue pairs.
//!
//! Ids have no queue pair of librdmacm's (`rdma_create_qp` is not called): its own changes of state cannot set rights, timers or retries as we
//! need them. It tells the attributes (`rdma_init_qp_attr`), and whoever owns the queue pair sets them.

use crate::sys::verbs::attributes::{Attributes, State};
use crate::sys::verbs::{answered, device, made};
use crate::sys::{Errno, file};
use rdma_sys::{
    ibv_qp_state, rdma_accept, rdma_ack_cm_event, rdma_bind_addr, rdma_cm_event, rdma_cm_event_type, rdma_cm_id,
    rdma_conn_param, rdma_connect, rdma_create_event_channel, rdma_create_id, rdma_destroy_event_channel,
    rdma_destroy_id, rdma_disconnect, rdma_establish, rdma_event_channel, rdma_get_cm_event, rdma_init_qp_attr,
    rdma_listen, rdma_port_space, rdma_reject, rdma_resolve_addr, rdma_resolve_route,
};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ptr::NonNull;
use std::sync::Arc;

/// The longest private data any message of the protocol brings, bytes.
const PRIVATE_DATA_MAX: usize = 196;

/// Where events arrive.
#[derive(Debug)]
pub(crate) struct EventChannel(NonNull<rdma_event_channel>);

// SAFETY:
// - thread: librdmacm lets any thread use a channel.
unsafe impl Send for EventChannel {}
// SAFETY:
// - thread: as for Send.
unsafe impl Sync for EventChannel {}

/// Names an id in events. Not reused while the id lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct IdKey(usize);

/// What happened (`rdma_cm_event_type`).
#[derive(Debug)]
pub(crate) enum CmEventKind {
    AddressResolved,
    RouteResolved,
    /// Somebody dials; the new id is the receiver's.
    ConnectRequest(CmId),
    ConnectResponse,
    Established,
    Disconnected,
    Rejected,
    /// Address or route not found, or nobody answered: the number says which.
    Unreachable(u32),
    DeviceRemoval,
    /// The time in which the connection's old packets might still arrive is over.
    TimeWaitExit,
    /// Anything else, by number.
    Other(#[expect(dead_code, reason = "for the log")] u32),
}

/// An event, copied out and acknowledged.
#[derive(Debug)]
pub(crate) struct CmEvent {
    pub(crate) id: IdKey,
    pub(crate) kind: CmEventKind,
    /// A negative error number, or the reason of a rejection.
    pub(crate) status: i32,
    /// READs at once that the other side wants us to serve.
    pub(crate) responder_resources: u8,
    private: ([u8; PRIVATE_DATA_MAX], usize),
}

impl CmEvent {
    /// What the other side sent along; may be padded with zeroes.
    pub(crate) fn private_data(&self) -> &[u8] {
        self.private.0.get(..self.private.1).unwrap_or(&[])
    }
}

impl EventChannel {
    /// A channel whose polls never block.
    ///
    /// # Errors
    /// EOPNOTSUPP where librdmacm is missing; ENODEV or ENOENT where the kernel's module rdma_ucm is.
    pub(crate) fn new() -> Result<Arc<Self>, Errno> {
        // SAFETY:
        // - live: the call takes nothing.
        let channel = Self(made(unsafe { rdma_create_event_channel() })?);
        // SAFETY:
        // - live: just made.
        let descriptor = unsafe { (*channel.0.as_ptr()).fd };
        file::set_nonblocking(descriptor)?;
        Ok(Arc::new(channel))
    }

    /// The next event, if there is one. A system call.
    pub(crate) fn poll(self: &Arc<Self>) -> Result<Option<CmEvent>, Errno> {
        let mut event: *mut rdma_cm_event = std::ptr::null_mut();
        // SAFETY:
        // - live: the channel is ours; the pointer outlives the call.
        let answer = answered(unsafe { rdma_get_cm_event(self.0.as_ptr(), &raw mut event) });
        match answer {
            Ok(()) => {}
            Err(errno) if [libc::EAGAIN, libc::EINTR].contains(&errno.number()) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        // SAFETY:
        // - live: an event stays until it is acknowledged, below.
        let copied = unsafe { self.copy(event) };
        // SAFETY:
        // - live: acknowledged once; nothing of it is used from here on.
        unsafe { rdma_ack_cm_event(event) };
        Ok(Some(copied))
    }

    /// # Safety
    /// The event was received and is not acknowledged.
    unsafe fn copy(self: &Arc<Self>, event: *const rdma_cm_event) -> CmEvent {
        // SAFETY:
        // - live: by the caller's word.
        // - alias: nobody writes an event once it was handed out.
        let event = unsafe { &*event };
        // SAFETY:
        // - bounds: our ids are of the connected kind, whose events carry this variant; librdmacm zeroes it where it has nothing to say.
        let parameters = unsafe { event.param.conn };
        let mut private = ([0; PRIVATE_DATA_MAX], 0);
        let length = usize::from(parameters.private_data_len).min(PRIVATE_DATA_MAX);
        let carries = matches!(
            event.event,
            rdma_cm_event_type::RDMA_CM_EVENT_CONNECT_REQUEST
                | rdma_cm_event_type::RDMA_CM_EVENT_CONNECT_RESPONSE
                | rdma_cm_event_type::RDMA_CM_EVENT_REJECTED
        );
        if carries && !parameters.private_data.is_null() {
            // SAFETY:
            // - live: the data belongs to the event.
            // - bounds: `length` is no more than either side holds.
            unsafe {
                std::ptr::copy_nonoverlapping(parameters.private_data.cast::<u8>(), private.0.as_mut_ptr(), length);
            }
            private.1 = length;
        }
        CmEvent {
            id: IdKey(event.id as usize),
            kind: self.kind(event),
            status: event.status,
            responder_resources: parameters.responder_resources,
            private,
        }
    }

    fn kind(self: &Arc<Self>, event: &rdma_cm_event) -> CmEventKind {
        use rdma_cm_event_type as kinds;
        match event.event {
            kinds::RDMA_CM_EVENT_ADDR_RESOLVED => CmEventKind::AddressResolved,
            kinds::RDMA_CM_EVENT_ROUTE_RESOLVED => CmEventKind::RouteResolved,
            kinds::RDMA_CM_EVENT_CONNECT_REQUEST => match NonNull::new(event.id) {
                Some(raw) => CmEventKind::ConnectRequest(CmId { raw, channel: Arc::clone(self) }),
                None => CmEventKind::Other(kinds::RDMA_CM_EVENT_CONNECT_REQUEST),
            },
            kinds::RDMA_CM_EVENT_CONNECT_RESPONSE => CmEventKind::ConnectResponse,
            kinds::RDMA_CM_EVENT_ESTABLISHED => CmEventKind::Established,
            kinds::RDMA_CM_EVENT_DISCONNECTED => CmEventKind::Disconnected,
            kinds::RDMA_CM_EVENT_REJECTED => CmEventKind::Rejected,
            number @ (kinds::RDMA_CM_EVENT_ADDR_ERROR
            | kinds::RDMA_CM_EVENT_ROUTE_ERROR
            | kinds::RDMA_CM_EVENT_CONNECT_ERROR
            | kinds::RDMA_CM_EVENT_UNREACHABLE) => CmEventKind::Unreachable(number),
            kinds::RDMA_CM_EVENT_DEVICE_REMOVAL => CmEventKind::DeviceRemoval,
            kinds::RDMA_CM_EVENT_TIMEWAIT_EXIT => CmEventKind::TimeWaitExit,
            number => CmEventKind::Other(number),
        }
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        // SAFETY:
        // - live: made by us, destroyed once, after its ids: they hold a count.
        unsafe { rdma_destroy_event_channel(self.0.as_ptr()) };
    }
}

/// What goes with a connect or an accept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectParameters<'a> {
    /// At most 56 bytes on connect, 196 on accept.
    pub(crate) private_data: &'a [u8],
    /// READs at once that we serve.
    pub(crate) responder_resources: u8,
    /// READs at once that we have under way.
    pub(crate) initiator_depth: u8,
    pub(crate) queue_pair: u32,
}

impl ConnectParameters<'_> {
    fn raw(&self) -> rdma_conn_param {
        rdma_conn_param {
            private_data: self.private_data.as_ptr().cast(),
            private_data_len: u8::try_from(self.private_data.len()).unwrap_or(0),
            responder_resources: self.responder_resources,
            initiator_depth: self.initiator_depth,
            flow_control: 1,
            retry_count: 6,
            rnr_retry_count: 7,
            srq: 0,
            qp_num: self.queue_pair,
        }
    }
}

/// A connection, a connection to be, or a place to listen.
#[derive(Debug)]
pub(crate) struct CmId {
    raw: NonNull<rdma_cm_id>,
    channel: Arc<EventChannel>,
}

// SAFETY:
// - thread: librdmacm lets any thread use an id.
unsafe impl Send for CmId {}

impl CmId {
    pub(crate) fn new(channel: &Arc<EventChannel>) -> Result<Self, Errno> {
        let mut raw = std::ptr::null_mut();
        // SAFETY:
        // - live: the channel by the count we keep; the pointer outlives the call.
        answered(unsafe {
            rdma_create_id(channel.0.as_ptr(), &raw mut raw, std::ptr::null_mut(), rdma_port_space::RDMA_PS_TCP)
        })?;
        Ok(Self { raw: made(raw)?, channel: Arc::clone(channel) })
    }

    /// What events about it name.
    pub(crate) fn key(&self) -> IdKey {
        IdKey(self.raw.as_ptr() as usize)
    }

    /// Where its events arrive.
    pub(crate) fn channel(&self) -> &Arc<EventChannel> {
        &self.channel
    }

    /// The name of the device it is bound to; None before an address was bound or resolved.
    pub(crate) fn device(&self) -> Option<String> {
        // SAFETY:
        // - live: ours until dropped.
        let context = unsafe { (*self.raw.as_ptr()).verbs };
        // SAFETY:
        // - live: the `verbs` field of an id that lives.
        unsafe { device::name_of(context) }
    }

    /// The device's port it is bound to.
    pub(crate) fn port(&self) -> u8 {
        // SAFETY:
        // - live: ours until dropped.
        unsafe { (*self.raw.as_ptr()).port_num }
    }

    /// Binds it to a local address, and by that to the device with it.
    pub(crate) fn bind(&self, address: SocketAddr) -> Result<(), Errno> {
        let mut address = Socket::new(address);
        // SAFETY:
        // - live: ours until dropped; the address outlives the call.
        answered(unsafe { rdma_bind_addr(self.raw.as_ptr(), address.as_ptr()) })
    }

    pub(crate) fn listen(&self, backlog: i32) -> Result<(), Errno> {
        // SAFETY:
        // - live: ours until dropped.
        answered(unsafe { rdma_listen(self.raw.as_ptr(), backlog) })
    }

    /// Begins to find device and route for an address; ends in an event.
    pub(crate) fn resolve_address(&self, to: SocketAddr, wait_ms: i32) -> Result<(), Errno> {
        let mut to = Socket::new(to);
        let any = std::ptr::null_mut();
        // SAFETY:
        // - live: ours until dropped; the address outlives the call.
        answered(unsafe { rdma_resolve_addr(self.raw.as_ptr(), any, to.as_ptr(), wait_ms) })
    }

    /// Begins to find the route; ends in an event.
    pub(crate) fn resolve_route(&self, wait_ms: i32) -> Result<(), Errno> {
        // SAFETY:
        // - live: ours until dropped.
        answered(unsafe { rdma_resolve_route(self.raw.as_ptr(), wait_ms) })
    }

    pub(crate) fn connect(&self, parameters: &ConnectParameters<'_>) -> Result<(), Errno> {
        let mut raw = parameters.raw();
        // SAFETY:
        // - live: ours until dropped; parameters and private data outlive the call, which copies them.
        answered(unsafe { rdma_connect(self.raw.as_ptr(), &raw mut raw) })
    }

    pub(crate) fn accept(&self, parameters: &ConnectParameters<'_>) -> Result<(), Errno> {
        let mut raw = parameters.raw();
        // SAFETY:
        // - live: ours until dropped; parameters and private data outlive the call, which copies them.
        answered(unsafe { rdma_accept(self.raw.as_ptr(), &raw mut raw) })
    }

    /// Answers the response to a connect: the connection stands.
    pub(crate) fn establish(&self) -> Result<(), Errno> {
        // SAFETY:
        // - live: ours until dropped.
        answered(unsafe { rdma_establish(self.raw.as_ptr()) })
    }

    /// Refuses a request, with at most 148 bytes that say why.
    pub(crate) fn reject(&self, why: &[u8]) -> Result<(), Errno> {
        let length = u8::try_from(why.len()).unwrap_or(0);
        // SAFETY:
        // - live: ours until dropped; the bytes outlive the call.
        // - bounds: `length` is that of the bytes, or zero.
        answered(unsafe { rdma_reject(self.raw.as_ptr(), why.as_ptr().cast(), length) })
    }

    /// Tells the other side that the connection is over.
    pub(crate) fn disconnect(&self) -> Result<(), Errno> {
        // SAFETY:
        // - live: ours until dropped.
        answered(unsafe { rdma_disconnect(self.raw.as_ptr()) })
    }

    /// The attributes with which the queue pair of this connection goes to `state`.
    pub(crate) fn attributes(&self, state: State) -> Result<Attributes, Errno> {
        let mut attributes = Attributes::to(match state {
            State::Init => ibv_qp_state::IBV_QPS_INIT,
            State::ReadyToReceive => ibv_qp_state::IBV_QPS_RTR,
            State::ReadyToSend => ibv_qp_state::IBV_QPS_RTS,
        });
        let mut mask = 0;
        // SAFETY:
        // - live: ours until dropped; attributes and mask outlive the call.
        answered(unsafe { rdma_init_qp_attr(self.raw.as_ptr(), &raw mut attributes.raw, &raw mut mask) })?;
        attributes.mask = mask as u32;
        Ok(attributes)
    }
}

impl Drop for CmId {
    fn drop(&mut self) {
        // It waits for events that were received and not acknowledged; there are none, since `poll` acknowledges at once.
        // SAFETY:
        // - live: made by us or handed over with its request; destroyed once.
        let destroyed = answered(unsafe { rdma_destroy_id(self.raw.as_ptr()) });
        if let Err(errno) = destroyed {
            tracing::warn!("an id of librdmacm could not be destroyed: {errno}");
        }
    }
}

/// A socket address as C wants it.
struct Socket(libc::sockaddr_storage);

impl Socket {
    fn new(address: SocketAddr) -> Self {
        // SAFETY:
        // - bounds: a structure of numbers, for all of which zero is a value.
        let mut storage = unsafe { MaybeUninit::<libc::sockaddr_storage>::zeroed().assume_init() };
        let into = &raw mut storage;
        match address {
            SocketAddr::V4(address) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                // SAFETY:
                // - bounds: a storage is as large and as aligned as any socket address.
                unsafe { into.cast::<libc::sockaddr_in>().write(v4) };
            }
            SocketAddr::V6(address) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                // SAFETY:
                // - bounds: a storage is as large and as aligned as any socket address.
                unsafe { into.cast::<libc::sockaddr_in6>().write(v6) };
            }
        }
        Self(storage)
    }

    fn as_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.0).cast()
    }
}
