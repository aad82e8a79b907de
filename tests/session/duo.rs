//! Two nodes in one process, polled in turn.

use crate::process::node::{CLIENTS, NAMES, Node, config, text_here, write_through};
use crate::under_test;
use handfast::manager::{Event, NodeConfig};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Duo {
    pub(crate) name: String,
    pub(crate) clients: Vec<(&'static str, u16, u64)>,
    configs: [NodeConfig; 2],
    nodes: [Option<Node>; 2],
}

/// A name that no other test has.
pub(crate) fn unique(title: &str) -> String {
    static NUMBERS: AtomicU32 = AtomicU32::new(0);
    format!("{title}-{}-{}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed))
}

/// A node of another cluster or name at the address of node `index`.
pub(crate) fn config_in(cluster: &str, name: &str, node: &str, index: usize, partner: &str) -> NodeConfig {
    let address = |index: usize| under_test::address(name, index);
    let [node, partner] = [node, partner].map(|name| name.parse().expect("a node's name"));
    NodeConfig::new(cluster.parse().expect("a cluster's name"), node, address(index), partner, address(1 - index))
}

impl Duo {
    pub(crate) fn new(title: &str) -> Self {
        let name = unique(title);
        let configs = [0, 1].map(|index| config(&name, index));
        Self { name, clients: CLIENTS.to_vec(), configs, nodes: [None, None] }
    }

    pub(crate) fn configure(&mut self, change: impl Fn(usize, NodeConfig) -> NodeConfig) {
        for (index, place) in self.configs.iter_mut().enumerate() {
            *place = change(index, place.clone());
        }
    }

    pub(crate) fn start(&mut self, index: usize) {
        self.nodes[index] = Some(Node::boot_with(self.configs[index].clone(), &self.clients).expect("boot"));
    }

    pub(crate) fn start_both(&mut self) {
        self.start(0);
        self.start(1);
    }

    pub(crate) fn node(&self, index: usize) -> &Node {
        self.nodes[index].as_ref().expect("a started node")
    }

    pub(crate) fn node_mut(&mut self, index: usize) -> &mut Node {
        self.nodes[index].as_mut().expect("a started node")
    }

    fn round(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            node.poll();
        }
        let idle = self.nodes.iter().flatten().map(|node| node.manager.idle_for()).min().unwrap_or(Duration::ZERO);
        std::thread::sleep(idle.min(Duration::from_micros(100)));
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let began = Instant::now();
        while began.elapsed() < duration {
            self.round();
        }
    }

    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            if began.elapsed() > PATIENCE {
                for (node, name) in self.nodes.iter().zip(NAMES) {
                    let events = node.as_ref().map(|node| &node.events[..]).unwrap_or_default();
                    let last = &events[events.len().saturating_sub(15)..];
                    eprintln!("{name}: {}", last.iter().map(Event::to_string).collect::<Vec<_>>().join("\n    "));
                }
                panic!("not within {PATIENCE:?}: {what}");
            }
            self.round();
        }
    }

    /// Until both hold one session and all clients of both have it.
    pub(crate) fn until_ready(&mut self) {
        self.until("both ready", |duo| {
            let ready = (0..2).all(|index| duo.node(index).is_ready());
            ready && duo.node(0).manager.session() == duo.node(1).manager.session()
        });
    }

    /// Words through granted ports, both ways.
    pub(crate) fn check_words(&self) {
        for (index, name) in NAMES.into_iter().enumerate() {
            let words = format!("from {name}");
            write_through(&self.node(index).clients[0], &words).expect("written");
            assert_eq!(text_here(&self.node(1 - index).clients[0]).as_ref(), Ok(&words));
        }
    }

    pub(crate) fn obstacles(&self, index: usize) -> Vec<String> {
        let obstacle = |event: &Event| match event {
            Event::Obstacle(obstacle) => Some(obstacle.to_string()),
            _ => None,
        };
        self.node(index).events.iter().filter_map(obstacle).collect()
    }

    pub(crate) fn ready_events(&self, index: usize) -> usize {
        self.node(index).events.iter().filter(|event| matches!(event, Event::Ready { .. })).count()
    }

    pub(crate) fn leave(&mut self, index: usize) {
        self.node_mut(index).manager.leave();
        self.until("it is gone", |duo| duo.node(index).manager.is_gone());
        self.nodes[index] = None;
    }

    /// Drops a node; what its partner sees first may be the last words of its page, or the end of its link.
    pub(crate) fn stop_without_leaving(&mut self, index: usize) {
        self.nodes[index] = None;
    }
}
