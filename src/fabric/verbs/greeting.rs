//! What the two ends of a link tell each other in librdmacm's private data: 56 bytes with a request, 196 with an answer, 148 with a refusal.

use crate::fabric::descriptor::REMOTE_DESCRIPTOR_BYTES;
use crate::fabric::{DialPurpose, LinkSlot, RemoteDescriptor};

const MAGIC: [u8; 8] = *b"handfast";
const VERSION: u8 = 1;
const NO_SLOT: u8 = 0xff;

/// Why the other side's bytes cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// They are of some other protocol.
    Foreign,
    /// They are of this version of ours.
    Version(u8),
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Too many wait already.
    Busy,
    /// The request was of another version or protocol.
    Version,
    /// The link could not be made here.
    Unmade,
}

pub(super) const REQUEST_BYTES: usize = 16;
pub(super) const ANSWER_BYTES: usize = 16 + 2 * REMOTE_DESCRIPTOR_BYTES;
pub(super) const REFUSAL_BYTES: usize = 16;

/// The request of a dial.
pub(super) fn request(purpose: DialPurpose) -> [u8; REQUEST_BYTES] {
    let mut bytes = head();
    bytes[9] = match purpose {
        DialPurpose::Session => 1,
        DialPurpose::Observe => 2,
    };
    bytes
}

/// Reads a request.
pub(super) fn purpose(bytes: &[u8]) -> Result<DialPurpose, Unfit> {
    match check(bytes)?.get(9) {
        Some(1) => Ok(DialPurpose::Session),
        Some(2) => Ok(DialPurpose::Observe),
        _ => Err(Unfit::Foreign),
    }
}

/// What an accepted link may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: RemoteDescriptor,
    pub(super) mailbox: Option<(LinkSlot, RemoteDescriptor)>,
}

impl Answer {
    pub(super) fn encode(&self) -> [u8; ANSWER_BYTES] {
        let mut bytes = [0; ANSWER_BYTES];
        let parts = head().into_iter().chain(self.status.encode());
        bytes.iter_mut().zip(parts).for_each(|(into, from)| *into = from);
        bytes[10] = NO_SLOT;
        if let Some((slot, mailbox)) = &self.mailbox {
            bytes[10] = slot.number() as u8;
            bytes[16 + REMOTE_DESCRIPTOR_BYTES..].copy_from_slice(&mailbox.encode());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unfit> {
        let bytes = check(bytes)?;
        let descriptor = |at: usize| {
            let bytes = bytes.get(at..at + REMOTE_DESCRIPTOR_BYTES)?.try_into().ok()?;
            Some(RemoteDescriptor::decode(bytes))
        };
        let status = descriptor(16).ok_or(Unfit::Foreign)?;
        let mailbox = match bytes.get(10) {
            Some(&NO_SLOT) => None,
            Some(number) => LinkSlot::new(*number).zip(descriptor(16 + REMOTE_DESCRIPTOR_BYTES)),
            None => None,
        };
        if mailbox.is_none() && bytes.get(10) != Some(&NO_SLOT) {
            return Err(Unfit::Foreign);
        }
        Ok(Self { status, mailbox })
    }
}

/// The bytes of a refusal.
pub(super) fn refusal(why: Refusal) -> [u8; REFUSAL_BYTES] {
    let mut bytes = head();
    bytes[9] = match why {
        Refusal::Busy => 1,
        Refusal::Version => 2,
        Refusal::Unmade => 3,
    };
    bytes
}

/// Why the other side refused, if it was handfast that did.
pub(super) fn refused(bytes: &[u8]) -> Option<Refusal> {
    match check(bytes) {
        Ok(bytes) if bytes.get(9) == Some(&2) => Some(Refusal::Version),
        Ok(bytes) if bytes.get(9) == Some(&3) => Some(Refusal::Unmade),
        Ok(_) => Some(Refusal::Busy),
        Err(Unfit::Version(_)) => Some(Refusal::Version),
        Err(Unfit::Foreign) => None,
    }
}

fn head() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8] = VERSION;
    bytes
}

fn check(bytes: &[u8]) -> Result<&[u8], Unfit> {
    if !bytes.starts_with(&MAGIC) {
        return Err(Unfit::Foreign);
    }
    match bytes.get(8) {
        Some(&VERSION) => Ok(bytes),
        Some(other) => Err(Unfit::Version(*other)),
        None => Err(Unfit::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::AccessFlags;

    fn descriptor(key: u64) -> RemoteDescriptor {
        RemoteDescriptor { address: 0x7000, length: 4096, key, access: AccessFlags::REMOTE_READ, context: 0 }
    }

    #[test]
    fn requests_and_answers_survive_padding() {
        for asked in [DialPurpose::Session, DialPurpose::Observe] {
            let mut padded = request(asked).to_vec();
            padded.resize(56, 0);
            assert_eq!(purpose(&padded), Ok(asked));
        }
        for mailbox in [None, LinkSlot::new(3).map(|slot| (slot, descriptor(9)))] {
            let answer = Answer { status: descriptor(5), mailbox };
            let mut padded = answer.encode().to_vec();
            padded.resize(196, 0);
            assert_eq!(Answer::decode(&padded), Ok(answer));
        }
    }

    #[test]
    fn other_protocols_and_versions_are_told_apart() {
        let mut bytes = request(DialPurpose::Session);
        bytes[8] = 9;
        assert_eq!(purpose(&bytes), Err(Unfit::Version(9)));
        for wrong in [&b""[..], b"handfast", &[0; 56], b"handfast\x01"] {
            assert_eq!(purpose(wrong), Err(Unfit::Foreign));
            assert_eq!(Answer::decode(wrong), Err(Unfit::Foreign));
        }
        let mut bad_slot = Answer { status: descriptor(5), mailbox: None }.encode();
        bad_slot[10] = 77;
        assert_eq!(Answer::decode(&bad_slot), Err(Unfit::Foreign));
        for why in [Refusal::Busy, Refusal::Version, Refusal::Unmade] {
            assert_eq!(refused(&refusal(why)), Some(why));
        }
        assert_eq!(refused(&[0; 148]), None);
    }
}
