//! What goes wrong with real RDMA: refused operations and how they are told, strangers, dials that nobody answers, cables, and teardown in any order.
//!
//! Needs an RDMA device at HANDFAST_RDMA (10.9.0.1 by default), whose network interface HANDFAST_NETDEV (wire0) these tests take down and up.
#![cfg(feature = "verbs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "verbs_faults/access.rs"]
mod access;
#[path = "verbs_faults/cable.rs"]
mod cable;
#[path = "conformance/device.rs"]
mod device;
#[path = "verbs_faults/dials.rs"]
mod dials;
#[allow(dead_code, reason = "shared with the cases of sessions")]
#[path = "session/duo.rs"]
mod duo;
#[path = "conformance/harness.rs"]
mod harness;
#[path = "process/mod.rs"]
mod process;
#[allow(dead_code, reason = "shared with the conformance suite")]
#[path = "conformance/rig.rs"]
mod rig;
#[path = "verbs_faults/strangers.rs"]
mod strangers;
#[path = "verbs_faults/teardown.rs"]
mod teardown;
#[path = "process/on_verbs.rs"]
mod under_test;
