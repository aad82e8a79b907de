//! Every interleaving (up to a few preemptions) of the mirrored log's ring: producers that reserve and commit or abort, and the poller that takes
//! what is committed, sends it and frees it.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --no-default-features --test loom_log`
//!
//! The file under test, src/memory/ring/index.rs, is compiled into this one: it uses nothing but words, here the model checker's. The ring's bytes
//! are cells of the model checker, one for each 32 bytes: it fails when a producer holds one that another holds, that the poller reads, or that
//! the poller has read and nothing says so. What is in them tells whether each record was sent once, whole, in order.
//!
//! Controls: the same source on weaker words, and a poller that does its work in the wrong order, must fail.
#![cfg(loom)]
#![allow(dead_code, unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../src/memory/ring/index.rs"]
mod index;
#[path = "loom_log/model.rs"]
mod model;
#[path = "loom_log/weakened.rs"]
mod weakened;

use loom::sync::atomic as checked;
use model::{Append, Order, Setting, check};
use weakened::{Fault, with};

/// The shortest record, and one that leaves gaps of 32 bytes.
const SHORT: u64 = 64;
const ODD: u64 = 96;

/// Two producers with room for everything, one of whom aborts.
const ROOMY: Setting = Setting {
    polls: 2,
    bytes: 512,
    begin: 512,
    held: 0,
    producers: &[&[Append::Commit(SHORT), Append::Commit(SHORT)], &[Append::Abort(ODD)]],
};

/// Across the ring's end, with a gap of 32 or 64 bytes before it.
const WRAPPING: Setting = Setting {
    polls: 2,
    bytes: 512,
    begin: 1024 - 160,
    held: 0,
    producers: &[&[Append::Commit(ODD)], &[Append::Commit(ODD), Append::Commit(SHORT)]],
};

/// One record fits; all others need room that the poller has on its way, and frees.
const FULL: Setting = Setting {
    polls: 2,
    bytes: 256,
    begin: 512 + 64,
    held: 192,
    producers: &[&[Append::Commit(SHORT)], &[Append::Commit(SHORT)]],
};

/// Nothing fits, and then what fits lies behind a gap.
const FULL_AND_WRAPPING: Setting = Setting {
    polls: 2,
    bytes: 256,
    begin: 512 + 224,
    held: 256,
    producers: &[&[Append::Commit(SHORT)], &[Append::Abort(SHORT)]],
};

/// More than a lap: what one wrote and the poller has sent, another writes anew.
const LAP: Setting = Setting {
    polls: 3,
    bytes: 256,
    begin: 512 + 192,
    held: 0,
    producers: &[
        &[Append::Commit(SHORT), Append::Commit(SHORT)],
        &[Append::Commit(SHORT), Append::Commit(SHORT), Append::Commit(SHORT)],
    ],
};

/// Three producers, one of whom aborts, across the end of a ring with room.
const THREE: Setting = Setting {
    polls: 1,
    bytes: 256,
    begin: 512 + 160,
    held: 0,
    producers: &[&[Append::Commit(SHORT)], &[Append::Commit(SHORT)], &[Append::Abort(SHORT)]],
};

/// Three producers where two records fit.
const THREE_FULL: Setting = Setting {
    polls: 1,
    bytes: 256,
    begin: 512,
    held: 128,
    producers: &[&[Append::Commit(SHORT)], &[Append::Commit(SHORT)], &[Append::Commit(SHORT)]],
};

#[test]
fn two_producers_with_room() {
    check::<index::Index>(3, ROOMY, Order::Right);
}

#[test]
fn two_producers_across_the_end() {
    check::<index::Index>(3, WRAPPING, Order::Right);
}

#[test]
fn two_producers_in_a_full_ring() {
    check::<index::Index>(3, FULL, Order::Right);
}

#[test]
fn two_producers_in_a_full_ring_across_the_end() {
    check::<index::Index>(3, FULL_AND_WRAPPING, Order::Right);
}

#[test]
fn two_producers_in_more_than_a_lap() {
    check::<index::Index>(1, LAP, Order::Right);
}

#[test]
fn three_producers_across_the_end() {
    check::<index::Index>(2, THREE, Order::Right);
}

#[test]
fn three_producers_in_a_full_ring() {
    check::<index::Index>(2, THREE_FULL, Order::Right);
}

/// Whether the model fails, with what it said.
fn fails(fault: Fault, setting: Setting, order: Order) -> bool {
    let run = || check::<weakened::index::Index>(2, setting, order);
    let failed = with(fault, || std::panic::catch_unwind(run).is_err());
    eprintln!("{fault:?}, {order:?}: {}", if failed { "rejected" } else { "accepted" });
    failed
}

#[test]
fn each_ordering_is_needed() {
    assert!(!fails(Fault::None, FULL, Order::Right), "the control itself is broken");
    // Nothing is written twice here: what fails is the way from the producer to the poller.
    assert!(fails(Fault::Publish, ROOMY, Order::Right));
    assert!(fails(Fault::Published, ROOMY, Order::Right));
    // And here the way back.
    assert!(fails(Fault::Free, FULL, Order::Right));
    assert!(fails(Fault::Tail, FULL, Order::Right));
    assert!(fails(Fault::Claim, ROOMY, Order::Right));
}

#[test]
fn a_poller_that_frees_before_it_has_sent_is_caught() {
    assert!(fails(Fault::None, FULL, Order::FreeFirst));
}

#[test]
fn a_poller_that_trusts_the_head_is_caught() {
    assert!(fails(Fault::None, ROOMY, Order::TrustHead));
}
