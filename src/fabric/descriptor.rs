//! What two sides tell each other about memory and ports, as plain bytes.

use std::fmt;

/// What the other side may do with exposed memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AccessFlags(u32);

impl AccessFlags {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// READ (`IBV_ACCESS_REMOTE_READ`).
    pub const REMOTE_READ: Self = Self(1);
    /// WRITE (`IBV_ACCESS_REMOTE_WRITE`).
    pub const REMOTE_WRITE: Self = Self(2);
    /// FETCH-ADD and COMPARE-SWAP (`IBV_ACCESS_REMOTE_ATOMIC`).
    pub const REMOTE_ATOMIC: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(7);

    /// From the bits of a descriptor; unknown bits are dropped.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }
    /// As bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
    /// Both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for AccessFlags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(Self::REMOTE_READ, "read"), (Self::REMOTE_WRITE, "write"), (Self::REMOTE_ATOMIC, "atomic")];
        let mut first = true;
        for (flag, name) in names {
            if self.contains(flag) {
                write!(formatter, "{}{name}", if first { "" } else { "+" })?;
                first = false;
            }
        }
        if first { write!(formatter, "none") } else { Ok(()) }
    }
}

impl fmt::Debug for AccessFlags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// Bytes of a [`RemoteDescriptor`] on the wire.
pub const REMOTE_DESCRIPTOR_BYTES: usize = 40;
/// Bytes of a [`PortAddress`] on the wire.
pub const PORT_ADDRESS_BYTES: usize = 64;

/// Names a stretch of exposed memory to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RemoteDescriptor {
    /// Where it starts, in the owner's terms.
    pub address: u64,
    /// Length, bytes.
    pub length: u64,
    /// The key that opens it (`rkey`; wider on shm, where it carries a generation).
    pub key: u64,
    /// What the owner allows.
    pub access: AccessFlags,
    /// What else the fabric needs to find it (shm: process and file; verbs: nothing).
    pub context: u64,
}

impl RemoteDescriptor {
    /// Little-endian bytes.
    pub fn encode(&self) -> [u8; REMOTE_DESCRIPTOR_BYTES] {
        let mut bytes = [0; REMOTE_DESCRIPTOR_BYTES];
        bytes[0..8].copy_from_slice(&self.address.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.key.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.access.bits().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.context.to_le_bytes());
        bytes
    }
    /// From little-endian bytes. Every pattern is a descriptor; whether it opens anything the owner decides.
    pub fn decode(bytes: &[u8; REMOTE_DESCRIPTOR_BYTES]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Self {
            address: word(0),
            length: word(8),
            key: word(16),
            access: AccessFlags::from_bits(word(24) as u32),
            context: word(32),
        }
    }
}

/// Names a port to the other side, in the fabric's own terms (verbs: queue-pair number, packet sequence number, GID, LID, MTU).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortAddress(pub [u8; PORT_ADDRESS_BYTES]);

impl fmt::Debug for PortAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PortAddress(")?;
        for byte in self.0.iter().take(16) {
            write!(formatter, "{byte:02x}")?;
        }
        write!(formatter, "..)")
    }
}
