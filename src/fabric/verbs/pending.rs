//! A port that is not wired yet, and what it tells the partner of itself.

use super::domain::VerbsDomain;
use super::failure::device_error;
use super::port::VerbsPort;
use super::queue::SharedQueue;
use super::route;
use crate::fabric::descriptor::PORT_ADDRESS_BYTES;
use crate::fabric::{FabricError, PendingPort, PortAddress, PortLimits, system};
use crate::sys::verbs::{Access, Attributes, CompletionQueue, Path};
use std::sync::Arc;

/// What begins every port's address on this fabric, with its version.
const MAGIC: [u8; 8] = *b"rdmaport";

/// Packet sequence numbers and queue-pair numbers have 24 bits.
const NUMBER_MASK: u32 = 0xff_ffff;

/// What one end of a port tells the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    queue_pair: u32,
    /// The packet sequence number it starts at: random, so that an earlier connection's packets do not fit.
    sequence: u32,
    gid: [u8; 16],
    lid: u16,
    mtu: u8,
    responder_max: u8,
}

impl End {
    fn encode(&self) -> PortAddress {
        let mut bytes = [0; PORT_ADDRESS_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.queue_pair.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.gid);
        bytes[32..34].copy_from_slice(&self.lid.to_le_bytes());
        bytes[34] = self.mtu;
        bytes[35] = self.responder_max;
        PortAddress(bytes)
    }

    /// None where the bytes are of something else.
    fn decode(address: &PortAddress) -> Option<Self> {
        let bytes = &address.0;
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let end = Self {
            queue_pair: word(8)?,
            sequence: word(12)?,
            gid: bytes.get(16..32)?.try_into().ok()?,
            lid: u16::from_le_bytes([bytes[32], bytes[33]]),
            mtu: bytes[34],
            responder_max: bytes[35],
        };
        let numbers = end.queue_pair <= NUMBER_MASK && end.sequence <= NUMBER_MASK && (1..=5).contains(&end.mtu);
        let rest = bytes[36..].iter().all(|byte| *byte == 0);
        (bytes.starts_with(&MAGIC) && numbers && rest).then_some(end)
    }
}

/// A port that is not wired yet.
#[derive(Debug)]
pub struct VerbsPendingPort {
    domain: VerbsDomain,
    queue: Arc<SharedQueue>,
    completions: Arc<CompletionQueue>,
    limits: PortLimits,
    receiver_not_ready_ms: u32,
    end: End,
}

impl VerbsPendingPort {
    pub(super) fn new(
        domain: VerbsDomain,
        queue: Arc<SharedQueue>,
        completions: Arc<CompletionQueue>,
        limits: PortLimits,
        receiver_not_ready_ms: u32,
    ) -> Result<Self, FabricError> {
        let mut chance = [0; 4];
        system::fill_random(&mut chance)?;
        let route = *domain.route();
        let end = End {
            queue_pair: queue.pair().number(),
            sequence: u32::from_le_bytes(chance) & NUMBER_MASK,
            gid: route.gid,
            lid: route.lid,
            mtu: route.path.mtu,
            responder_max: route.responder_max,
        };
        let access = Access::REMOTE_READ.and(Access::REMOTE_WRITE).and(Access::REMOTE_ATOMIC);
        queue
            .pair()
            .modify(Attributes::init(route.path.port, access))
            .map_err(|errno| device_error("preparing a port (INIT)", queue.pair().device(), errno))?;
        domain.adopt(&queue);
        Ok(Self { domain, queue, completions, limits, receiver_not_ready_ms, end })
    }
}

impl PendingPort for VerbsPendingPort {
    type Port = VerbsPort;

    fn address(&self) -> PortAddress {
        self.end.encode()
    }

    fn connect(self, partner: &PortAddress) -> Result<VerbsPort, FabricError> {
        let Some(there) = End::decode(partner) else {
            let detail = "what it sent names no port of an RDMA device".to_owned();
            return Err(FabricError::LinkLost { address: self.domain.partner().to_owned(), detail });
        };
        let route = self.domain.route();
        let path = Path {
            remote_gid: there.gid,
            remote_lid: there.lid,
            mtu: route.path.mtu.min(there.mtu),
            hop_limit: route.path.hop_limit.max(1),
            ..route.path
        };
        let reads = (route.responder_max, route.initiator_max.min(there.responder_max).max(1));
        let pair = self.queue.pair();
        route::wire(pair, &path, (there.queue_pair, there.sequence), self.end.sequence, reads, self.domain.options())?;
        tracing::debug!(
            device = pair.device(),
            queue_pair = pair.number(),
            partner = there.queue_pair,
            extended = pair.is_extended(),
            "port wired"
        );
        let number = self.domain.number();
        Ok(VerbsPort::new(self.queue, self.completions, self.limits, number, self.receiver_not_ready_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: End = End { queue_pair: 0x11, sequence: 0xff_fffe, gid: [7; 16], lid: 9, mtu: 3, responder_max: 16 };

    #[test]
    fn an_end_survives_the_wire() {
        assert_eq!(End::decode(&END.encode()), Some(END));
    }

    #[test]
    fn what_is_no_end_is_refused() {
        for at in [0, 7, 11, 15, 34, 36, 63] {
            let mut address = END.encode();
            address.0[at] ^= 0xff;
            assert_eq!(End::decode(&address), None, "byte {at}");
        }
    }
}
