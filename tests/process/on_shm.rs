//! The fabric under test: shared memory.
#![allow(dead_code, reason = "each test uses its part")]

use handfast::fabric::Address;
use handfast::fabric::shm::Shm;
use std::path::PathBuf;

pub(crate) type UnderTest = Shm;

/// A node that does nothing at all can be read.
pub(crate) const ANSWERS_ALONE: bool = true;

/// Records of each lane of a stream.
pub(crate) const RECORDS: u64 = 5_000;

pub(crate) fn fabric() -> Shm {
    Shm::new()
}

/// Where the first or second node of this name listens.
pub(crate) fn address(name: &str, index: usize) -> Address {
    format!("shm://{name}:{}", index + 1).parse().expect("an address")
}

/// What is left in the machine under a name.
pub(crate) fn leftovers(name: &str) -> Vec<PathBuf> {
    crate::process::files_of(name)
}
