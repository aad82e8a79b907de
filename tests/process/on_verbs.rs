//! The fabric under test: an RDMA device of this machine, whose address HANDFAST_RDMA says.
#![allow(dead_code, reason = "each test uses its part")]

use handfast::fabric::Address;
use handfast::fabric::verbs::Verbs;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub(crate) type UnderTest = Verbs;

/// Accepting a dial needs the node's control thread.
pub(crate) const ANSWERS_ALONE: bool = false;

/// Records of each lane of a stream: the device is emulated.
pub(crate) const RECORDS: u64 = 100;

pub(crate) fn fabric() -> Verbs {
    Verbs::new().expect("RDMA")
}

/// Where the first or second node of this name listens: two ports for each name.
pub(crate) fn address(name: &str, index: usize) -> Address {
    static PORTS: Mutex<Option<HashMap<String, u16>>> = Mutex::new(None);
    let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let ports = ports.get_or_insert_default();
    let next = 25_000 + 2 * ports.len() as u16;
    let port = *ports.entry(name.to_owned()).or_insert(next) + index as u16;
    let host = std::env::var("HANDFAST_RDMA").unwrap_or("10.9.0.1".to_owned());
    format!("rdma://{host}:{port}").parse().expect("an address")
}

/// What is left in the machine under a name: nothing has names there.
pub(crate) fn leftovers(_name: &str) -> Vec<PathBuf> {
    Vec::new()
}
