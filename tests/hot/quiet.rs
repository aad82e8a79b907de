//! An established session on which nothing happens: both nodes beat and watch.

use crate::hot::unique_name;
use handfast::fabric::shm::Shm;
use handfast::handshake::Parties;
use handfast::page::VersionRange;
use handfast::session::{Connection, ConnectionEvent, Timing};
use std::time::{Duration, Instant};

pub(crate) struct Quiet {
    nodes: [Connection<Shm>; 2],
}

impl Quiet {
    /// Two nodes with a session, whose looks at the kernel ([`Timing::check`]) come every `check`.
    pub(crate) fn new(check: Duration) -> Self {
        let name = unique_name();
        let mut timing = Timing::default();
        timing.check = check;
        // Beats and READs of the partner's page come thick and fast, so that a short loop has many of them.
        timing.beat = Duration::from_micros(20);
        let mut nodes = [0, 1].map(|index: usize| {
            let address = |index: usize| format!("shm://{name}:{}", index + 1).parse().expect("an address");
            let node = |index: usize| ["a", "b"][index].parse().expect("a node's name");
            let cluster = "quiet".parse().expect("a cluster's name");
            let parties = Parties {
                cluster,
                node: node(index),
                partner: node(1 - index),
                versions: VersionRange::CURRENT,
                key: None,
            };
            Connection::open(Shm::new(), parties, &address(index), address(1 - index), timing).expect("an endpoint")
        });
        let began = Instant::now();
        let mut established = 0;
        while established < 2 {
            assert!(began.elapsed() < Duration::from_secs(10), "no session in 10 s");
            for node in &mut nodes {
                while let Some(event) = node.advance() {
                    established += usize::from(matches!(event, ConnectionEvent::Established { .. }));
                }
            }
        }
        let mut quiet = Self { nodes };
        // What is due once after the session's begin is no part of the loop.
        let settled = Instant::now();
        while settled.elapsed() < Duration::from_millis(5) {
            quiet.once();
        }
        quiet
    }

    /// Advances both nodes; nothing may have happened.
    pub(crate) fn once(&mut self) {
        for node in &mut self.nodes {
            assert!(node.advance().is_none(), "something happened");
        }
    }

    /// The heartbeats that the two have seen of each other.
    pub(crate) fn heartbeats(&self) -> [u64; 2] {
        [0, 1].map(|index: usize| self.nodes[index].partner_heartbeat().map_or(0, |(beats, _)| beats))
    }
}
