//! From which port and GID of which device a link goes out, and where to: found by librdmacm for the link, used by hand for the ports beside it.

use super::failure::device_error;
use super::options::VerbsOptions;
use crate::fabric::FabricError;
use crate::sys::Errno;
use crate::sys::verbs::{Access, Attributes, CmId, Context, GidKind, Path, QueuePair, State};
use std::net::Ipv6Addr;

/// READs and atomics under way at once on one queue pair, at most.
pub(super) const READS_MAX: u8 = 16;

/// Code of the time a sender waits before it tries again to find a receive: 0.32 ms (InfiniBand Architecture Specification, volume 1, table 45).
/// librdmacm would leave zero, which means 655 ms.
pub(super) const RECEIVER_NOT_READY_TIMER: u8 = 10;

/// What the ports of a link need to know of its own end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) path: Path,
    pub(super) gid: [u8; 16],
    pub(super) lid: u16,
    /// READs and atomics it serves at once.
    pub(super) responder_max: u8,
    /// READs and atomics of its own it has under way at once.
    pub(super) initiator_max: u8,
    /// Longest READ or WRITE, bytes.
    pub(super) transfer_bytes_max: u32,
}

/// How many READs at once the queue pair of a link serves and makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reads {
    /// Of the other side.
    pub(super) serves: u8,
    /// Of our own.
    pub(super) makes: u8,
}

/// What librdmacm says of a connection. EINVAL: it knows none any more, since the other side has given up.
pub(super) fn of_connection(tried: &str, device: &str, errno: Errno) -> FabricError {
    match errno.number() {
        libc::EINVAL => FabricError::LinkLost {
            address: "the other side".to_owned(),
            detail: "it had given up by the time the link was made".to_owned(),
        },
        _ => device_error(tried, device, errno),
    }
}

/// Moves the queue pair of a link up to INIT.
pub(super) fn initialise(id: &CmId, pair: &QueuePair, access: Access) -> Result<(), FabricError> {
    let failed = |errno| device_error("preparing the queue pair of a link (INIT)", pair.device(), errno);
    let gone = |errno| of_connection("preparing the queue pair of a link", pair.device(), errno);
    let mut change = id.attributes(State::Init).map_err(gone)?;
    change.access(access);
    pair.modify(change).map_err(failed)
}

/// Moves the queue pair of a link from INIT to RTS, with librdmacm's path and our timers; that path.
pub(super) fn connect(
    id: &CmId,
    pair: &QueuePair,
    reads: Reads,
    options: &VerbsOptions,
    gid: Option<u8>,
) -> Result<Path, FabricError> {
    let failed = |errno| device_error("connecting the queue pair of a link (RTR, RTS)", pair.device(), errno);
    let gone = |errno| of_connection("connecting the queue pair of a link", pair.device(), errno);
    let mut change = id.attributes(State::ReadyToReceive).map_err(gone)?;
    change.responder(reads.serves, RECEIVER_NOT_READY_TIMER);
    change.set_traffic_class(options.traffic_class);
    if let Some(gid) = gid {
        change.set_gid_index(gid);
    }
    let path = change.path();
    pair.modify(change).map_err(failed)?;
    let mut change = id.attributes(State::ReadyToSend).map_err(gone)?;
    let depth = reads.makes.min(change.initiator_depth()).max(1);
    change.requester(depth, options.ack_timeout_exponent, options.retry_count, 7);
    pair.modify(change).map_err(failed)?;
    Ok(path)
}

/// Moves a port's queue pair from INIT to RTS, to the partner's port at `path`.
pub(super) fn wire(
    pair: &QueuePair,
    path: &Path,
    partner: (u32, u32),
    own_sequence: u32,
    reads: (u8, u8),
    options: &VerbsOptions,
) -> Result<(), FabricError> {
    let failed = |errno| device_error("wiring a port to the partner's", pair.device(), errno);
    let mut change = Attributes::ready_to_receive(path, partner.0, partner.1);
    change.responder(reads.0, RECEIVER_NOT_READY_TIMER);
    pair.modify(change).map_err(failed)?;
    let mut change = Attributes::ready_to_send(own_sequence);
    change.requester(reads.1, options.ack_timeout_exponent, options.retry_count, 7);
    pair.modify(change).map_err(failed)
}

impl Route {
    /// Looks up what goes with a path of librdmacm's, and tells the choice in the log.
    pub(super) fn new(context: &Context, path: Path, chosen: Option<u8>, to: &str) -> Result<Self, FabricError> {
        let device = context.name();
        let failed = |tried: &str, errno| device_error(tried, device, errno);
        let attributes = context.attributes();
        let port = context.port(path.port).map_err(|errno| failed("asking how the port is", errno))?;
        let entry = context
            .gid(path.port, u32::from(path.gid_index))
            .map_err(|errno| failed("reading the table of GIDs", errno))?;
        let (gid, kind) = entry.map_or(([0; 16], GidKind::InfiniBand), |entry| (entry.bytes, entry.kind));
        let why = match chosen {
            Some(_) => "as the address says (gid=)",
            None => "librdmacm's choice for the address; `?gid=INDEX` overrides it",
        };
        tracing::info!(
            device,
            port = path.port,
            gid_index = path.gid_index,
            gid = %Ipv6Addr::from(gid),
            kind = ?kind,
            mtu = 128u32 << path.mtu,
            "link to {to}: {why}"
        );
        Ok(Self {
            path,
            gid,
            lid: port.lid,
            responder_max: attributes.read_atomic_responder_max.min(READS_MAX),
            initiator_max: attributes.read_atomic_initiator_max.min(READS_MAX),
            transfer_bytes_max: port.message_bytes_max,
        })
    }
}
