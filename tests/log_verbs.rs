//! The mirrored log over an RDMA device, whose address HANDFAST_RDMA says.
#![cfg(feature = "verbs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "log/suite.rs"]
mod suite;

#[path = "log/cases.rs"]
mod cases;
#[path = "log/ends.rs"]
mod ends;
#[path = "log/kept.rs"]
mod kept;
#[path = "log/pair.rs"]
mod pair;
#[path = "process/mod.rs"]
mod process;
#[path = "log/survives.rs"]
mod survives;
#[path = "process/on_verbs.rs"]
mod under_test;

logs!([ignore = "needs an RDMA device: cargo xtask rig"]);
logs!([ignore = "needs an RDMA device: cargo xtask rig"] in survives:
    what_survives_what_between_two_machines_is_as_the_table_says,
);
