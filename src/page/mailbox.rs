//! The mailbox: what the partner WRITEs to us, one for each link we accepted.

use crate::page::checksum;
use crate::page::status::{part, sealed};
use crate::page::{Attempt, Incarnation, LAYOUT, Nonce, PageError, Proof, SessionId, VersionRange, Word};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the greeting of step 2 stands.
pub const GREETING_OFFSET: usize = 0;
/// Bytes of a greeting.
pub const GREETING_BYTES: usize = 128;
/// Where the confirmation of step 4 stands.
pub const CONFIRMATION_OFFSET: usize = 128;
/// Bytes of a confirmation.
pub const CONFIRMATION_BYTES: usize = 64;
/// What the handshake reads of a mailbox, from offset 0.
pub const HANDSHAKE_BYTES: usize = CONFIRMATION_OFFSET + CONFIRMATION_BYTES;
/// Bytes of a letter's header.
pub const LETTER_BYTES: usize = 64;
/// Bytes of the whole mailbox.
pub const MAILBOX_BYTES: usize = 102_400;

const GREETING_MAGIC: [u8; 4] = *b"HFGR";
const CONFIRMATION_MAGIC: [u8; 4] = *b"HFCF";
const LETTER_MAGIC: [u8; 4] = *b"HFLT";
const FLAG_PROOF: u16 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct GreetingBytes {
    magic: [u8; 4],
    layout: U16,
    flags: U16,
    direction: U64,
    incarnation: U64,
    attempt: U64,
    nonce: [u8; 16],
    link_nonce: [u8; 16],
    saw_incarnation: U64,
    saw_attempt: U64,
    proof: [u8; 16],
    protocol_min: U16,
    protocol_max: U16,
    padding: [u8; 24],
    checksum: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct ConfirmationBytes {
    magic: [u8; 4],
    layout: U16,
    flags: U16,
    incarnation: U64,
    attempt: U64,
    session: [u8; 16],
    proof: [u8; 16],
    padding: [u8; 4],
    checksum: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct LetterBytes {
    magic: [u8; 4],
    layout: U16,
    kind: U16,
    length: U32,
    body_checksum: U32,
    session: [u8; 16],
    proof: [u8; 16],
    round: U64,
    padding: [u8; 4],
    checksum: U32,
}

const _: () = assert!(size_of::<GreetingBytes>() == GREETING_BYTES);
const _: () = assert!(size_of::<ConfirmationBytes>() == CONFIRMATION_BYTES);
const _: () = assert!(size_of::<LetterBytes>() == LETTER_BYTES);

fn magic(found: [u8; 4], wanted: [u8; 4], layout: U16) -> Result<(), PageError> {
    if found != wanted {
        Err(PageError::Magic { found })
    } else if layout.get() != LAYOUT {
        Err(PageError::Layout { found: layout.get(), known: LAYOUT })
    } else {
        Ok(())
    }
}

/// Step 2: who I am, and whom of you I saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Greeting {
    /// A hash of cluster, sender and receiver: a greeting that went astray is seen as such without a key too.
    pub direction: u64,
    /// The sender's word.
    pub word: Word,
    /// Fresh for this link.
    pub link_nonce: Nonce,
    /// The receiver's incarnation as the sender saw it in step 1.
    pub saw_incarnation: Incarnation,
    /// The receiver's attempt as the sender saw it.
    pub saw_attempt: Attempt,
    /// That the sender has the key; none where it has none.
    pub proof: Option<Proof>,
    /// What the sender speaks.
    pub versions: VersionRange,
}

impl Greeting {
    /// Its 128 bytes.
    pub fn encode(&self) -> [u8; GREETING_BYTES] {
        sealed(&GreetingBytes {
            magic: GREETING_MAGIC,
            layout: LAYOUT.into(),
            flags: (if self.proof.is_some() { FLAG_PROOF } else { 0 }).into(),
            direction: self.direction.into(),
            incarnation: self.word.incarnation.0.into(),
            attempt: self.word.attempt.0.into(),
            nonce: self.word.nonce.0,
            link_nonce: self.link_nonce.0,
            saw_incarnation: self.saw_incarnation.0.into(),
            saw_attempt: self.saw_attempt.0.into(),
            proof: self.proof.unwrap_or(Proof::NONE).0,
            protocol_min: self.versions.min.into(),
            protocol_max: self.versions.max.into(),
            padding: [0; 24],
            checksum: 0.into(),
        })
    }

    /// From copied-out bytes.
    pub fn decode(bytes: &[u8; GREETING_BYTES]) -> Result<Self, PageError> {
        checksum::check(bytes)?;
        let fields: GreetingBytes = zerocopy::transmute!(*bytes);
        magic(fields.magic, GREETING_MAGIC, fields.layout)?;
        if fields.incarnation.get() == 0 {
            return Err(PageError::Field { field: "incarnation" });
        }
        Ok(Self {
            direction: fields.direction.get(),
            word: Word {
                incarnation: Incarnation(fields.incarnation.get()),
                attempt: Attempt(fields.attempt.get()),
                nonce: Nonce(fields.nonce),
            },
            link_nonce: Nonce(fields.link_nonce),
            saw_incarnation: Incarnation(fields.saw_incarnation.get()),
            saw_attempt: Attempt(fields.saw_attempt.get()),
            proof: (fields.flags.get() & FLAG_PROOF != 0).then_some(Proof(fields.proof)),
            versions: VersionRange { min: fields.protocol_min.get(), max: fields.protocol_max.get() },
        })
    }
}

/// Step 4: I know that you have seen me.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Confirmation {
    /// The sender.
    pub incarnation: Incarnation,
    /// Its attempt.
    pub attempt: Attempt,
    /// The session both compute.
    pub session: SessionId,
    /// That the sender has the key.
    pub proof: Proof,
}

impl Confirmation {
    /// Its 64 bytes.
    pub fn encode(&self) -> [u8; CONFIRMATION_BYTES] {
        sealed(&ConfirmationBytes {
            magic: CONFIRMATION_MAGIC,
            layout: LAYOUT.into(),
            flags: 0.into(),
            incarnation: self.incarnation.0.into(),
            attempt: self.attempt.0.into(),
            session: self.session.0,
            proof: self.proof.0,
            padding: [0; 4],
            checksum: 0.into(),
        })
    }

    /// From copied-out bytes.
    pub fn decode(bytes: &[u8; CONFIRMATION_BYTES]) -> Result<Self, PageError> {
        checksum::check(bytes)?;
        let fields: ConfirmationBytes = zerocopy::transmute!(*bytes);
        magic(fields.magic, CONFIRMATION_MAGIC, fields.layout)?;
        Ok(Self {
            incarnation: Incarnation(fields.incarnation.get()),
            attempt: Attempt(fields.attempt.get()),
            session: SessionId(fields.session),
            proof: Proof(fields.proof),
        })
    }
}

/// The greeting and the confirmation of a copied-out mailbox.
pub(crate) fn handshake_parts(bytes: &[u8; HANDSHAKE_BYTES]) -> (&[u8; GREETING_BYTES], &[u8; CONFIRMATION_BYTES]) {
    (part(bytes, GREETING_OFFSET), part(bytes, CONFIRMATION_OFFSET))
}

/// What is exchanged once a session is established: each kind has a place of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LetterKind {
    /// The version chosen and the table of clients.
    Offer,
    /// Numbers, addresses and keys of ports and memory.
    Wiring,
    /// Everything is wired here.
    Ready,
}

impl LetterKind {
    /// All kinds, in the order they are sent.
    pub const ALL: [LetterKind; 3] = [Self::Offer, Self::Wiring, Self::Ready];

    /// Where its header stands in the mailbox.
    pub const fn header_offset(self) -> usize {
        HANDSHAKE_BYTES + self as usize * LETTER_BYTES
    }

    /// Where its body stands in the mailbox.
    pub const fn body_offset(self) -> usize {
        match self {
            Self::Ready => 1024,
            Self::Offer => 4096,
            Self::Wiring => 4096 + 16384,
        }
    }

    /// The longest body, bytes.
    pub const fn body_bytes_max(self) -> usize {
        match self {
            Self::Offer => 16384,
            Self::Wiring => 81920,
            Self::Ready => 1024,
        }
    }
}

const _: () = assert!(LetterKind::Wiring.body_offset() + LetterKind::Wiring.body_bytes_max() == MAILBOX_BYTES);
const _: () = assert!(LetterKind::Ready.header_offset() + LETTER_BYTES <= LetterKind::Ready.body_offset());

/// The header of a letter: written after its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Letter {
    /// What it is.
    pub kind: LetterKind,
    /// The session it belongs to.
    pub session: SessionId,
    /// 0 for the letters that begin a session. Each round of later ones has the next number.
    pub round: u64,
    /// Bytes of its body.
    pub length: u32,
    /// CRC-32C of its body.
    pub body_checksum: u32,
    /// A hash of it all under the session's key; none where there is no key.
    pub proof: Proof,
}

impl Letter {
    /// Its 64 bytes.
    pub fn encode(&self) -> [u8; LETTER_BYTES] {
        sealed(&LetterBytes {
            magic: LETTER_MAGIC,
            layout: LAYOUT.into(),
            kind: (self.kind as u16).into(),
            length: self.length.into(),
            body_checksum: self.body_checksum.into(),
            session: self.session.0,
            proof: self.proof.0,
            round: self.round.into(),
            padding: [0; 4],
            checksum: 0.into(),
        })
    }

    /// From copied-out bytes of the place of `kind`.
    pub fn decode(kind: LetterKind, bytes: &[u8; LETTER_BYTES]) -> Result<Self, PageError> {
        checksum::check(bytes)?;
        let fields: LetterBytes = zerocopy::transmute!(*bytes);
        magic(fields.magic, LETTER_MAGIC, fields.layout)?;
        if fields.kind.get() != kind as u16 {
            return Err(PageError::Field { field: "letter kind" });
        }
        if fields.length.get() as usize > kind.body_bytes_max() {
            return Err(PageError::Field { field: "letter length" });
        }
        Ok(Self {
            kind,
            session: SessionId(fields.session),
            round: fields.round.get(),
            length: fields.length.get(),
            body_checksum: fields.body_checksum.get(),
            proof: Proof(fields.proof),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Greeting {
        Greeting {
            direction: 1,
            word: Word { incarnation: Incarnation(2), attempt: Attempt(3), nonce: Nonce([4; 16]) },
            link_nonce: Nonce([5; 16]),
            saw_incarnation: Incarnation(6),
            saw_attempt: Attempt(7),
            proof: Some(Proof([8; 16])),
            versions: VersionRange { min: 1, max: 9 },
        }
    }

    #[test]
    fn a_greeting_has_golden_bytes() -> Result<(), PageError> {
        let bytes = greeting().encode();
        assert_eq!(&bytes[..24], b"HFGR\x01\0\x01\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
        assert_eq!(&bytes[80..96], &[8; 16]);
        assert_eq!(&bytes[96..100], &[1, 0, 9, 0]);
        assert_eq!(Greeting::decode(&bytes)?, greeting());
        Ok(())
    }

    #[test]
    fn a_confirmation_round_trips_and_a_torn_one_does_not() -> Result<(), PageError> {
        let confirmation = Confirmation {
            incarnation: Incarnation(1),
            attempt: Attempt(2),
            session: SessionId([3; 16]),
            proof: Proof([4; 16]),
        };
        let mut bytes = confirmation.encode();
        assert_eq!(Confirmation::decode(&bytes)?, confirmation);
        bytes[30] ^= 1;
        assert!(matches!(Confirmation::decode(&bytes), Err(PageError::Torn { .. })));
        Ok(())
    }

    #[test]
    fn a_letter_longer_than_its_place_does_not_parse() {
        for kind in LetterKind::ALL {
            let letter = Letter {
                kind,
                session: SessionId([1; 16]),
                round: 3,
                length: kind.body_bytes_max() as u32,
                body_checksum: 2,
                proof: Proof::NONE,
            };
            assert_eq!(Letter::decode(kind, &letter.encode()), Ok(letter));
            let longer = Letter { length: letter.length + 1, ..letter };
            assert_eq!(Letter::decode(kind, &longer.encode()), Err(PageError::Field { field: "letter length" }));
        }
    }
}
