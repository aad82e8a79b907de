//! The mirrored log under kills: the node that appends and dies, and the one that holds it to what it promised.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod board;
pub(crate) mod content;
pub(crate) mod dump;
pub(crate) mod engine;
pub(crate) mod ledger;
pub(crate) mod node;
pub(crate) mod pair;
pub(crate) mod promises;
pub(crate) mod rounds;
