//! A node of the rig's jobs `logpower` and `logboth`: the mirrored log over an RDMA device, in a machine that may lose its power at any moment.
//!
//! What it promises goes to the console; the rig, which outlives it, holds it and the other to that.
#![cfg(feature = "verbs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "log_kill/mod.rs"]
mod log_kill;
#[path = "process/mod.rs"]
mod process;
#[path = "process/on_verbs.rs"]
mod under_test;

use handfast::fabric::Address;
use handfast::manager::NodeConfig;
use log_kill::board::ConsoleBoard;
use process::node::NAMES;
use process::role::{asked, variable};
use std::sync::Arc;

/// The machines of the rig.
fn address(index: usize) -> Address {
    format!("rdma://10.9.0.{}:7471", index + 1).parse().expect("an address")
}

#[test]
#[ignore = "a part of the rig's jobs logpower and logboth: cargo xtask rig"]
fn role() {
    if asked().as_deref() != Some("log") {
        return;
    }
    let index: usize = variable("HANDFAST_TEST_INDEX").and_then(|text| text.parse().ok()).expect("HANDFAST_TEST_INDEX");
    let name = |index: usize| NAMES[index].parse().expect("a node's name");
    let cluster = "power".parse().expect("a cluster's name");
    let config = NodeConfig::new(cluster, name(index), address(index), name(1 - index), address(1 - index));
    log_kill::node::run(config, Arc::new(ConsoleBoard::new()));
}
