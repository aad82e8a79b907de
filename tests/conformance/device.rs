//! Both nodes on one RDMA device of this machine, whose address HANDFAST_RDMA says.

use crate::harness::{Harness, Side};
use handfast::fabric::Address;
use handfast::fabric::verbs::Verbs;
use std::sync::atomic::{AtomicU16, Ordering};

/// The device's address.
pub(crate) fn host() -> String {
    std::env::var("HANDFAST_RDMA").unwrap_or("10.9.0.1".to_owned())
}

pub(crate) struct Device {
    ports: u16,
    fabric: Verbs,
}

impl Harness for Device {
    type Fabric = Verbs;

    fn new() -> Self {
        static PORTS: AtomicU16 = AtomicU16::new(20_000);
        Self { ports: PORTS.fetch_add(8, Ordering::Relaxed), fabric: Verbs::new().expect("RDMA") }
    }
    fn node(&self, _side: Side) -> Verbs {
        self.fabric
    }
    fn address(&self, side: Side, port: u16) -> Address {
        let port = self.ports + port + if side == Side::Right { 4 } else { 0 };
        format!("rdma://{}:{port}", host()).parse().expect("an address")
    }
    fn foreign_address(&self) -> Address {
        "shm://elsewhere:1".parse().expect("an address")
    }
    fn pump(&mut self) {
        std::thread::yield_now();
    }
}
