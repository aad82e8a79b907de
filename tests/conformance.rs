//! One suite for every fabric: what the traits in `handfast::fabric` promise, tried on each backend.
//!
//! A fabric takes part by a [`Harness`](harness::Harness): two nodes, their addresses, and how time passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "conformance/suite.rs"]
mod suite;

#[path = "conformance/access.rs"]
mod access;
#[path = "conformance/deferred.rs"]
mod deferred;
#[path = "conformance/ends.rs"]
mod ends;
#[path = "conformance/harness.rs"]
mod harness;
#[path = "conformance/links.rs"]
mod links;
#[path = "conformance/messages.rs"]
mod messages;
#[path = "conformance/queues.rs"]
mod queues;
#[path = "conformance/random.rs"]
mod random;
#[path = "conformance/rig.rs"]
mod rig;
#[path = "conformance/transfer.rs"]
mod transfer;

mod shm {
    use crate::harness::{Harness, Side};
    use handfast::fabric::Address;
    use handfast::fabric::shm::Shm;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Both nodes in this process: its own descriptors are found through /proc like another's.
    pub(crate) struct Local {
        number: u64,
    }

    impl Harness for Local {
        type Fabric = Shm;

        fn new() -> Self {
            static NUMBERS: AtomicU64 = AtomicU64::new(0);
            Self { number: NUMBERS.fetch_add(1, Ordering::Relaxed) }
        }
        fn node(&self, _side: Side) -> Shm {
            Shm::new()
        }
        fn address(&self, side: Side, port: u16) -> Address {
            let text = format!("shm://conformance.{}.{}.{side:?}:{port}", std::process::id(), self.number);
            text.parse().expect("an address")
        }
        fn foreign_address(&self) -> Address {
            "sim://elsewhere:1".parse().expect("an address")
        }
        fn pump(&mut self) {
            std::thread::yield_now();
        }
    }

    conformance!(Local);

    #[test]
    fn loans_of_another_domain_are_refused_behind_what_waits() -> crate::rig::Outcome {
        crate::deferred::loans_of_another_domain_are_refused_behind_what_waits::<Local>()
    }
}

mod sim {
    use crate::harness::{Harness, Side};
    use handfast::fabric::Address;
    use handfast::fabric::sim::{Faults, Sim, SimNode};
    use std::time::Duration;

    /// Two nodes of a simulated world without faults.
    pub(crate) struct World {
        sim: Sim,
    }

    impl Harness for World {
        type Fabric = SimNode;

        fn new() -> Self {
            Self { sim: Sim::new(11, Faults::none()) }
        }
        fn node(&self, side: Side) -> SimNode {
            self.sim.node(&format!("{side:?}"))
        }
        fn address(&self, side: Side, port: u16) -> Address {
            format!("sim://{side:?}:{port}").parse().expect("an address")
        }
        fn foreign_address(&self) -> Address {
            "shm://elsewhere:1".parse().expect("an address")
        }
        fn pump(&mut self) {
            self.sim.advance(Duration::from_micros(3));
        }
    }

    conformance!(World);

    #[test]
    fn loans_of_another_domain_are_refused_behind_what_waits() -> crate::rig::Outcome {
        crate::deferred::loans_of_another_domain_are_refused_behind_what_waits::<World>()
    }
}

#[cfg(feature = "verbs")]
#[path = "conformance/device.rs"]
mod device;

#[cfg(feature = "verbs")]
mod verbs {
    use crate::device::Device;

    conformance!(Device, [ignore = "needs an RDMA device: cargo xtask rig"]);
}
