//! The session page: the small memory each node exposes to its partner, as bytes.
//!
//! Plain types only: imports nothing of a backend, does no I/O, allocates nothing. A page is copied out first, then validated
//! ([`PageError`] says what is wrong), then parsed; nothing is ever parsed in place. All numbers are little-endian. Every
//! section ends in a CRC-32C of the bytes before it, so that a torn section is seen as such and read again.
//!
//! ```text
//! status block (partner: READ only)             mailbox (partner: WRITE only, one for each accepted link)
//!     0  identity      128 B  names, versions       0  greeting      128 B  step 2
//!   128  core           64 B  incarnation, attempt 128  confirmation  64 B  step 4
//!   192  ack 0..3    4x 64 B  one per link slot    192  letter headers  3x 64 B: offer, wiring, ready
//!   448  heartbeat     word on its own line       1024  ready body     1 KiB
//!   512  stage         word on its own line       4096  offer body    16 KiB
//!   576  progress      word on its own line      20480  wiring body   80 KiB
//!   640  stage name     64 B
//!   704  roster         64 B header, 256 x 48 B clients
//! ```
//!
//! Heartbeat, stage and progress are single aligned words outside every checksum: a beat never invalidates the page.

mod checksum;
pub mod identity;
pub mod mailbox;
pub mod status;

pub use identity::{Attempt, ClusterName, Incarnation, NameError, NodeId, Nonce, Proof, SessionId, VersionRange, Word};

/// Why a copied-out section cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The checksum does not match: the section was being written, or is damaged. Read it again.
    #[error("torn or half-written: checksum {found:#010x}, computed {computed:#010x}")]
    Torn {
        /// The checksum in the section.
        found: u32,
        /// The checksum of its bytes.
        computed: u32,
    },
    /// Nothing was written there yet.
    #[error("empty")]
    Empty,
    /// It is no handfast page.
    #[error("not a handfast page: it begins with {found:02x?}")]
    Magic {
        /// Its first bytes.
        found: [u8; 4],
    },
    /// It is laid out in a way this version does not know.
    #[error("page layout {found}, and this version reads layout {known}: run the same release on both nodes")]
    Layout {
        /// Its layout.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// A field holds what no node writes.
    #[error("field `{field}` is malformed")]
    Field {
        /// Which.
        field: &'static str,
    },
}

/// The page layout this version writes and reads.
pub const LAYOUT: u16 = 1;
