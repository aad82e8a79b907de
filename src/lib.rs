//! handfast opens a session between two cluster partners with one-sided RDMA alone.
//!
//! The layers, each using only those to its right:
//!
//! `cli` → `clients` → `manager` → `session` → `handshake` → `page` → `fabric` → `memory` → `sys`

pub mod error;
pub mod fabric;
pub mod handshake;
pub mod manager;
pub mod memory;
pub mod page;
pub mod session;
mod sys;

pub use error::{Error, Recovery};
