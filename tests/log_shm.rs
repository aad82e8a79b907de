//! The mirrored log over shared memory.
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
#[path = "process/on_shm.rs"]
mod under_test;
#[path = "log/worthy.rs"]
mod worthy;

logs!([allow(unused)]);
