//! Sessions between two managers over an RDMA device, whose address HANDFAST_RDMA says.
#![cfg(feature = "verbs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "session/suite.rs"]
mod suite;

#[path = "session/cases.rs"]
mod cases;
#[path = "session/duo.rs"]
mod duo;
#[path = "../src/sys/ending.rs"]
mod ending;
#[path = "process/mod.rs"]
mod process;
#[path = "session/renewal.rs"]
mod renewal;
#[path = "session/stream.rs"]
mod stream;
#[path = "process/on_verbs.rs"]
mod under_test;

sessions!([ignore = "needs an RDMA device: cargo xtask rig"]);
