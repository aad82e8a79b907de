//! Hashes: who may speak, which session is meant, and nonces.
//!
//! All are BLAKE3 (<https://github.com/BLAKE3-team/BLAKE3-specs>), cut to 128 bits where they go into the page.

use crate::fabric::LinkSlot;
use crate::page::mailbox::LetterKind;
use crate::page::{ClusterName, NodeId, Nonce, Proof, SessionId, VersionRange, Word};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret that both partners were given beforehand: at least 32 random bytes.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub struct PreSharedKey([u8; 32]);

/// A pre-shared key that is too short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pre-shared key of {bytes} bytes: at least 32 random bytes are needed (for example: head -c 32 /dev/urandom > key)"
)]
pub struct KeyError {
    /// Bytes given.
    pub bytes: usize,
}

impl PreSharedKey {
    /// From at least 32 random bytes, all of which count.
    ///
    /// # Errors
    /// [`KeyError`] for fewer bytes.
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < 32 {
            return Err(KeyError { bytes: secret.len() });
        }
        Ok(Self(blake3::derive_key("handfast 1 pre-shared key", secret)))
    }
}

/// Never shows the key.
impl fmt::Debug for PreSharedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PreSharedKey(..)")
    }
}

/// The key under which everything exchanged within one session is hashed.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub struct SessionKey(Option<[u8; 32]>);

impl SessionKey {
    /// The proof of a letter from `sender`; [`Proof::NONE`] where there is no pre-shared key.
    pub fn letter(&self, sender: &NodeId, kind: LetterKind, round: u64, body: &[u8]) -> Proof {
        let Some(key) = &self.0 else { return Proof::NONE };
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(b"letter").update(sender.as_bytes()).update(&[kind as u8]);
        hasher.update(&round.to_le_bytes()).update(body);
        Proof(cut(hasher.finalize()))
    }

    /// Whether `proof` is that of this letter; compares in constant time.
    pub fn verify_letter(&self, sender: &NodeId, letter: (LetterKind, u64), body: &[u8], proof: Proof) -> bool {
        let (kind, round) = letter;
        same(self.letter(sender, kind, round, body), proof)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "SessionKey(..)" } else { "SessionKey(none)" })
    }
}

/// What a proof says, so that one made for a greeting is none for an acknowledgement.
#[derive(Clone, Copy)]
pub(crate) enum Saying {
    Greeting = 2,
    Acknowledgement = 3,
    Confirmation = 4,
}

/// Everything that the proofs of one link cover.
#[derive(Clone, Copy)]
pub(crate) struct Transcript {
    pub(crate) cluster: ClusterName,
    pub(crate) dialler: NodeId,
    pub(crate) acceptor: NodeId,
    pub(crate) dialler_word: Word,
    pub(crate) acceptor_word: Word,
    pub(crate) dialler_link_nonce: Nonce,
    pub(crate) acceptor_link_nonce: Nonce,
    pub(crate) slot: LinkSlot,
    pub(crate) dialler_versions: VersionRange,
    pub(crate) acceptor_versions: VersionRange,
}

impl Transcript {
    /// The proof of one step; [`Proof::NONE`] without a key.
    pub(crate) fn proof(&self, key: Option<&PreSharedKey>, saying: Saying) -> Proof {
        let Some(key) = key else { return Proof::NONE };
        let mut hasher = blake3::Hasher::new_keyed(&key.0);
        hasher.update(&[saying as u8, self.slot.number() as u8]);
        hasher.update(self.cluster.as_bytes()).update(self.dialler.as_bytes()).update(self.acceptor.as_bytes());
        update_word(&mut hasher, &self.dialler_word);
        update_word(&mut hasher, &self.acceptor_word);
        hasher.update(&self.dialler_link_nonce.0).update(&self.acceptor_link_nonce.0);
        for versions in [self.dialler_versions, self.acceptor_versions] {
            hasher.update(&versions.min.to_le_bytes()).update(&versions.max.to_le_bytes());
        }
        Proof(cut(hasher.finalize()))
    }

    /// Whether `proof` is that of this step; compares in constant time.
    pub(crate) fn verify(&self, key: Option<&PreSharedKey>, saying: Saying, proof: Proof) -> bool {
        same(self.proof(key, saying), proof)
    }
}

/// The session of two words: the same on both nodes, whoever computes it.
pub(crate) fn session_id(cluster: &ClusterName, one: (&NodeId, &Word), other: (&NodeId, &Word)) -> SessionId {
    let (first, second) = if one.0 <= other.0 { (one, other) } else { (other, one) };
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"handfast 1 session").update(cluster.as_bytes());
    for (node, word) in [first, second] {
        hasher.update(node.as_bytes());
        update_word(&mut hasher, word);
    }
    let mut id = cut(hasher.finalize());
    // All zero stands for "no session".
    if id == SessionId::NONE.0 {
        id[0] = 1;
    }
    SessionId(id)
}

/// The key of a session; none where there is no pre-shared key.
pub(crate) fn session_key(key: Option<&PreSharedKey>, session: &SessionId) -> SessionKey {
    SessionKey(key.map(|key| {
        let mut hasher = blake3::Hasher::new_keyed(&key.0);
        hasher.update(b"session key").update(&session.0);
        *hasher.finalize().as_bytes()
    }))
}

/// A hash of who speaks to whom.
pub(crate) fn direction(cluster: &ClusterName, from: &NodeId, to: &NodeId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"direction").update(cluster.as_bytes()).update(from.as_bytes()).update(to.as_bytes());
    let mut word = [0; 8];
    word.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(word)
}

/// What a nonce is made for. Each use counts for itself, so that a nonce does not depend on the order in which links came and went.
#[derive(Clone, Copy)]
pub(crate) enum NonceUse {
    Attempt = 1,
    Accepted = 2,
    Dialled = 3,
}

/// Nonces from one secret seed: no input or output is needed to make the next.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Nonces {
    seed: [u8; 32],
}

impl Nonces {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed }
    }

    /// The nonce number `number` for `purpose`: never [`Nonce::NONE`], and never the same for two numbers or purposes.
    pub(crate) fn nonce(&self, purpose: NonceUse, number: u64) -> Nonce {
        let mut input = [purpose as u8; 9];
        input[1..].copy_from_slice(&number.to_le_bytes());
        let mut nonce = cut(blake3::keyed_hash(&self.seed, &input));
        if nonce == Nonce::NONE.0 {
            nonce[0] = 1;
        }
        Nonce(nonce)
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Nonces(..)")
    }
}

fn update_word(hasher: &mut blake3::Hasher, word: &Word) {
    hasher.update(&word.incarnation.0.to_le_bytes());
    hasher.update(&word.attempt.0.to_le_bytes());
    hasher.update(&word.nonce.0);
}

fn cut(hash: blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

/// Equality whose time does not tell where the first difference lies.
fn same(one: Proof, other: Proof) -> bool {
    one.0.iter().zip(other.0).fold(0u8, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{Attempt, Incarnation, NameError};

    fn word(number: u8) -> Word {
        Word { incarnation: Incarnation(number.into()), attempt: Attempt(number.into()), nonce: Nonce([number; 16]) }
    }

    fn transcript() -> Result<Transcript, NameError> {
        let versions = VersionRange { min: 1, max: 1 };
        Ok(Transcript {
            cluster: "c".parse()?,
            dialler: "a".parse()?,
            acceptor: "b".parse()?,
            dialler_word: word(1),
            acceptor_word: word(2),
            dialler_link_nonce: Nonce([3; 16]),
            acceptor_link_nonce: Nonce([4; 16]),
            slot: LinkSlot::all().next().unwrap_or_else(|| unreachable!()),
            dialler_versions: versions,
            acceptor_versions: versions,
        })
    }

    #[test]
    fn every_part_of_a_transcript_counts() -> Result<(), Box<dyn std::error::Error>> {
        let key = PreSharedKey::new(&[9; 32])?;
        let base = transcript()?;
        let proof = base.proof(Some(&key), Saying::Greeting);
        assert!(base.verify(Some(&key), Saying::Greeting, proof));
        let slot = LinkSlot::new(1).ok_or("slot")?;
        let versions = VersionRange { min: 1, max: 2 };
        let changed = [
            Transcript { cluster: "d".parse()?, ..base },
            Transcript { dialler: "x".parse()?, ..base },
            Transcript { acceptor: "x".parse()?, ..base },
            Transcript { dialler: base.acceptor, acceptor: base.dialler, ..base },
            Transcript { dialler_word: word(7), ..base },
            Transcript { acceptor_word: word(7), ..base },
            Transcript { dialler_link_nonce: Nonce([7; 16]), ..base },
            Transcript { acceptor_link_nonce: Nonce([7; 16]), ..base },
            Transcript { slot, ..base },
            Transcript { dialler_versions: versions, ..base },
            Transcript { acceptor_versions: versions, ..base },
        ];
        for other in changed {
            assert!(!other.verify(Some(&key), Saying::Greeting, proof));
        }
        assert!(!base.verify(Some(&key), Saying::Acknowledgement, proof));
        assert!(!base.verify(Some(&key), Saying::Confirmation, proof));
        let other_key = PreSharedKey::new(&[8; 32])?;
        assert!(!base.verify(Some(&other_key), Saying::Greeting, proof));
        assert!(PreSharedKey::new(&[9; 31]).is_err());
        Ok(())
    }

    #[test]
    fn both_nodes_compute_the_same_session() -> Result<(), NameError> {
        let (cluster, a, b) = ("c".parse()?, "a".parse()?, "b".parse()?);
        let one = session_id(&cluster, (&a, &word(1)), (&b, &word(2)));
        assert_eq!(one, session_id(&cluster, (&b, &word(2)), (&a, &word(1))));
        assert_ne!(one, session_id(&cluster, (&a, &word(2)), (&b, &word(1))));
        Ok(())
    }

    #[test]
    fn nonces_differ() {
        let nonces = Nonces::new([1; 32]);
        let mut taken = std::collections::HashSet::new();
        for purpose in [NonceUse::Attempt, NonceUse::Accepted, NonceUse::Dialled] {
            taken.extend((0..1000).map(|number| nonces.nonce(purpose, number)));
        }
        assert_eq!(taken.len(), 3000);
    }
}
