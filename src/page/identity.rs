//! Who a node is, and which try of which process a word belongs to.

use std::fmt;
use std::str::FromStr;

/// A name that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no {what}: it has 1 to {max} of the letters A-Z a-z, digits, `.`, `_` and `-`")]
pub struct NameError {
    /// The name.
    pub name: String,
    /// What it was to be.
    pub what: &'static str,
    /// The longest allowed, bytes.
    pub max: usize,
}

fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type([u8; $bytes]);

        impl $type {
            /// Longest name, bytes.
            pub const BYTES_MAX: usize = $bytes;

            /// The name, zero-padded, as it stands in pages.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// From zero-padded bytes of a page; `None` where no node could have written them.
            pub fn from_bytes(bytes: [u8; $bytes]) -> Option<Self> {
                let length = bytes.iter().position(|byte| *byte == 0).unwrap_or($bytes);
                let padded = bytes[length..].iter().all(|byte| *byte == 0);
                (padded && is_name(&bytes[..length])).then_some(Self(bytes))
            }

            /// As text.
            pub fn as_str(&self) -> &str {
                let length = self.0.iter().position(|byte| *byte == 0).unwrap_or($bytes);
                std::str::from_utf8(&self.0[..length]).unwrap_or("?")
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                if text.len() > $bytes || !is_name(text.as_bytes()) {
                    return Err(NameError { name: text.to_owned(), what: $what, max: $bytes });
                }
                let mut bytes = [0; $bytes];
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}", self.as_str())
            }
        }
    };
}

name!(
    /// One storage-engine process of a pair, by name.
    NodeId,
    16,
    "node name"
);
name!(
    /// The cluster both partners belong to, by name.
    ClusterName,
    32,
    "cluster name"
);
name!(
    /// A client of the session, by name; the same on both sides.
    ClientName,
    32,
    "client name"
);

/// A random non-zero number, new at each process start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// Counts a node's tries at a session within one incarnation, from 1. Rises only when the node's own earlier word must no longer count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u64);

/// A number used once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub [u8; 16]);

/// A keyed hash over what a step says, cut to 128 bits; all zero where there is no key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proof(pub [u8; 16]);

/// Names a session: the same 128 bits on both nodes. All zero means none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl Nonce {
    /// What stands in the page of a closed slot.
    pub const NONE: Self = Self([0; 16]);
}

impl Proof {
    /// What stands in a page where there is no key.
    pub const NONE: Self = Self([0; 16]);
}

impl SessionId {
    /// No session.
    pub const NONE: Self = Self([0; 16]);
}

macro_rules! hexadecimal {
    ($type:ident, $value:ident => $bytes:expr) => {
        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $value = self;
                for byte in $bytes {
                    write!(formatter, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{self}")
            }
        }
    };
}

hexadecimal!(Incarnation, value => value.0.to_be_bytes());
hexadecimal!(SessionId, value => value.0);
hexadecimal!(Nonce, value => value.0);

// A proof is no secret, but nobody needs it in a log.
impl fmt::Debug for Proof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", if *self == Self::NONE { "none" } else { "proof" })
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// What makes one node's word its own: which process, which try, and a nonce fresh for that try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word {
    /// The process.
    pub incarnation: Incarnation,
    /// Its try.
    pub attempt: Attempt,
    /// Fresh for this try.
    pub nonce: Nonce,
}

/// The protocol versions a node speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionRange {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

impl VersionRange {
    /// What this release speaks. 2: the wiring names a session's heartbeat.
    pub const CURRENT: Self = Self { min: 2, max: 2 };

    /// The highest version both speak.
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(formatter, "{}", self.min)
        } else {
            write!(formatter, "{} to {}", self.min, self.max)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_page_and_nothing_else_does() -> Result<(), NameError> {
        let node: NodeId = "disk-7.a_b".parse()?;
        assert_eq!(NodeId::from_bytes(*node.as_bytes()), Some(node));
        assert_eq!(node.as_str(), "disk-7.a_b");
        assert!("".parse::<NodeId>().is_err());
        assert!("seventeen-letters".parse::<NodeId>().is_err());
        assert!("a b".parse::<NodeId>().is_err());
        assert_eq!(NodeId::from_bytes([0; 16]), None);
        let mut gap = *node.as_bytes();
        gap[15] = b'x';
        assert_eq!(NodeId::from_bytes(gap), None);
        Ok(())
    }

    #[test]
    fn the_highest_common_version_is_taken() {
        let range = |min, max| VersionRange { min, max };
        assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
        assert_eq!(range(1, 3).common(range(4, 5)), None);
        assert_eq!(range(4, 5).common(range(1, 3)), None);
        assert_eq!(range(2, 2).common(range(1, 9)), Some(2));
    }
}
