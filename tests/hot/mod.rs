//! The loops whose cost is proven: the four steps on an open link, posting and polling, a session that only beats and watches, and the mirrored log.
//!
//! Everything is made beforehand; [`Steps::once`], [`Posts::once`], [`Quiet::once`] and [`Log::once`] are the hot paths themselves.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod log;
pub(crate) mod posts;
pub(crate) mod quiet;
pub(crate) mod steps;

use handfast::fabric::shm::Shm;
use handfast::fabric::{Dial, DialPurpose, Endpoint, EndpointEvent, Fabric, Link, LinkSlot, PageSizes};
use handfast::page::mailbox::MAILBOX_BYTES;
use handfast::page::status::STATUS_BYTES;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Two nodes of this process, linked both ways.
pub(crate) struct Linked {
    pub(crate) fabric: Shm,
    pub(crate) endpoints: [<Shm as Fabric>::Endpoint; 2],
    /// Of each node: the link it dialled, and the slot it has at the other.
    pub(crate) links: [(Link<Shm>, LinkSlot); 2],
}

/// A name that no other test has.
pub(crate) fn unique_name() -> String {
    static NUMBERS: AtomicU32 = AtomicU32::new(0);
    format!("hot-{}-{}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed))
}

/// Takes away the files by which this process's nodes are found: for one that ends without dropping them.
pub(crate) fn remove_listings() {
    let own = format!("handfast.hot-{}-", std::process::id());
    for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&own) {
            // Whoever misses it has taken it away already.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Linked {
    pub(crate) fn new() -> Self {
        let (fabric, name) = (Shm::new(), unique_name());
        let address = |port: u16| format!("shm://{name}:{port}").parse().expect("an address");
        let sizes = PageSizes { status: STATUS_BYTES, mailbox: MAILBOX_BYTES };
        let mut endpoints = [1, 2].map(|port| fabric.listen(&address(port), sizes).expect("listening"));
        let links = [0, 1].map(|index| {
            let to = endpoints[1 - index].address().clone();
            dial(&fabric, &to, &mut endpoints[1 - index])
        });
        Self { fabric, endpoints, links }
    }
}

fn dial(fabric: &Shm, to: &handfast::fabric::Address, there: &mut <Shm as Fabric>::Endpoint) -> (Link<Shm>, LinkSlot) {
    let began = Instant::now();
    let mut dial = fabric.dial(to, DialPurpose::Session).expect("dialling");
    loop {
        assert!(began.elapsed() < Duration::from_secs(5), "no link to {to} in 5 s");
        if let Some(EndpointEvent::Incoming(incoming)) = there.poll() {
            there.accept(incoming, LinkSlot::new(0).expect("slot 0")).expect("accepting");
        }
        if let Some(link) = dial.poll().expect("a link") {
            let slot = link.mailbox.as_ref().expect("a mailbox").0;
            return (link, slot);
        }
    }
}
