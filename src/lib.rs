//! handfast opens a session between two cluster partners with one-sided RDMA alone, and grants their storage engines' clients queue pairs
//! and pinned memory: from then on data moves zero-copy, with no allocation, no lock and no system call on the hot path.
//!
//! ```text
//!      node a                                             node b
//!        │  1  READ   status block of b: alive? who?        │
//!        │─────────────────────────────────────────────────►│
//!        │  2  WRITE  greeting: me, and whom of you I saw   │
//!        │─────────────────────────────────────────────────►│
//!        │  3  READ   status block: have you seen me?       │
//!        │─────────────────────────────────────────────────►│
//!        │  4  WRITE  confirmation: the session's id        │
//!        │─────────────────────────────────────────────────►│
//!        │       (b drives its own four the same way)       │
//! ```
//!
//! # Where to begin
//!
//! - [`manager::ClusterManager`]: one node. Register clients, poll it (or give it a thread), and each client gets its [`session::Session`].
//! - [`fabric::Port`]: the hot path. Post READs and WRITEs from a [`memory::Buffer`], poll for completions.
//! - [`clients::mirrored_log::MirroredLog`]: records that are in the partner's memory before they are acknowledged; [`clients::mirrored_log::LogCopy`] is the
//!   partner's log as the survivor has it.
//! - [`session::observe()`]: read a node's boot stage, progress and heartbeat one-sided, while that node does nothing at all.
//!
//! A whole program is in the documentation of [`manager::ClusterManager`].
//!
//! # Layers
//!
//! Each uses only those to its right; `tests/tidy.rs` sees to it.
//!
//! `cli` → `engines` → `clients` → `manager` → `session` → `handshake` → `page` → `fabric` → `memory` → `storage` → `sys`
//!
//! # Fabrics
//!
//! [`fabric::shm`] (one machine, between processes; no RDMA hardware), `fabric::verbs` (RDMA devices; feature `verbs`) and [`fabric::sim`] (tests: virtual time, seeded faults) are one trait,
//! [`fabric::Fabric`]. RDMA proper, by libibverbs, is the next to come.
//!
//! # Threads
//!
//! A manager belongs to whoever polls it. A port belongs to one thread at a time: it is `Send`, and every call takes `&mut`. The two share
//! nothing on the hot path.
//!
//! # Safety
//!
//! No safe call reaches undefined behaviour, whatever the partner writes and whatever the caller forgets. Memory that the partner may write
//! is read by copies and words only ([`memory::Region`]); a buffer in flight belongs to its port ([`memory::Buffer`]); `unsafe` is confined to
//! `sys`, `memory` and the backends of `fabric`, one obligation-by-obligation comment for each block.

pub mod clients;
pub mod engines;
pub mod error;
pub mod fabric;
pub mod handshake;
pub mod manager;
pub mod memory;
pub mod page;
pub mod session;
pub mod storage;
mod sys;

pub use error::{Error, Recovery};

/// The README's program is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
