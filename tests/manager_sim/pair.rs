//! Two nodes, what befalls them, and what must hold all the while.

use crate::node::{CLIENTS, Node};
use handfast::fabric::sim::{Faults, Sim};
use handfast::fabric::{Completion, Port, WorkRequest};
use handfast::memory::Region;
use std::time::Duration;

pub(crate) const NAMES: [&str; 2] = ["a", "b"];

pub(crate) struct Pair {
    pub(crate) sim: Sim,
    pub(crate) nodes: [Option<Node>; 2],
    pub(crate) extra_client: Option<(usize, &'static str)>,
    /// Whether clients ask for ports anew in a storm.
    pub(crate) renewing: bool,
    key: bool,
    random: u64,
}

impl Pair {
    pub(crate) fn new(seed: u64, faults: Faults, key: bool) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { sim: Sim::new(seed, faults), nodes: [None, None], extra_client: None, renewing: false, key, random }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    pub(crate) fn start(&mut self, index: usize) {
        let extra = self.extra_client.filter(|extra| extra.0 == index).map(|extra| extra.1);
        let node = self.sim.node(NAMES[index]);
        self.nodes[index] = Some(Node::boot(node, (NAMES[index], NAMES[1 - index]), self.key, extra));
    }

    pub(crate) fn start_both(&mut self) {
        self.start(0);
        self.start(1);
    }

    pub(crate) fn crash(&mut self, index: usize) {
        self.sim.crash(NAMES[index]);
        self.nodes[index] = None;
    }

    pub(crate) fn leave(&mut self, index: usize) {
        let node = self.nodes[index].as_mut().expect("a live node");
        node.manager.leave();
        let until = self.sim.now().after(Duration::from_secs(10));
        while !self.nodes[index].as_ref().expect("a live node").manager.is_gone() {
            assert!(self.sim.now() < until, "it does not leave");
            self.run_for(Duration::from_micros(50));
        }
        self.nodes[index] = None;
        self.sim.crash(NAMES[index]);
    }

    /// Polls both nodes, then lets the next thing happen.
    fn round(&mut self) {
        let mut idle = Duration::from_millis(1);
        for (node, name) in self.nodes.iter_mut().zip(NAMES) {
            let Some(node) = node else { continue };
            if !self.sim.is_paused(name) {
                node.poll();
                idle = idle.min(node.manager.idle_for());
            }
        }
        self.check();
        let now = self.sim.now();
        let next = self.sim.next_event().map_or(Duration::from_millis(1), |next| next.since(now));
        let wait = if idle.is_zero() { next.min(Duration::from_micros(20)) } else { next.min(idle) };
        self.sim.advance(wait.max(Duration::from_nanos(100)));
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let until = self.sim.now().after(duration);
        while self.sim.now() < until {
            self.round();
        }
    }

    /// Both nodes hold the same session whenever each holds one with the other's current word.
    fn check(&self) {
        let [Some(a), Some(b)] = &self.nodes else { return };
        let (a, b) = (a.manager.connection().handshake(), b.manager.connection().handshake());
        let (Some(of_a), Some(of_b)) = (a.established(), b.established()) else { return };
        if of_a.partner == b.own() && of_b.partner == a.own() && of_a.own == a.own() && of_b.own == b.own() {
            assert_eq!(of_a.id, of_b.id, "two sessions between the same two words");
        }
    }

    /// `strokes` of fate, with some time after each.
    pub(crate) fn storm(&mut self, strokes: u32) {
        for _ in 0..strokes {
            let index = self.draw(2) as usize;
            let name = NAMES[index];
            match self.draw(14) {
                0 | 1 => self.crash(index),
                2 => {
                    self.sim.power_off(name);
                    self.nodes[index] = None;
                }
                3..=6 if self.nodes[index].is_none() => self.start(index),
                7 => self.sim.cut(NAMES[0], NAMES[1]),
                8 => self.sim.cut_one_way(name, NAMES[1 - index]),
                9 => self.sim.heal_all(),
                10 if self.nodes[index].is_some() => {
                    self.sim.pause(name);
                }
                11 | 12 => {
                    self.sim.resume(name);
                }
                _ => {}
            }
            for _ in 0..if self.renewing { 2 } else { 0 } {
                let (node, client) = (self.draw(2) as usize, self.draw(CLIENTS.len() as u64) as usize);
                let index = self.draw(CLIENTS[client].1.into()) as u16;
                let Some(node) = &self.nodes[node] else { continue };
                if let Some(session) = &node.clients[client].lock().unwrap().session {
                    // Of a session that has just ended nothing is had.
                    let _ = session.renew_port(index);
                }
            }
            let micros = 1 << self.draw(13);
            self.run_for(Duration::from_micros(micros));
        }
    }

    /// No fault from now on, and both nodes up.
    pub(crate) fn calm(&mut self) {
        self.sim.replace_faults(Faults::none());
        self.sim.heal_all();
        for (index, name) in NAMES.into_iter().enumerate() {
            if self.nodes[index].is_none() {
                self.start(index);
            }
            self.sim.resume(name);
        }
        // What the storm left on its way arrives: a session that it has already doomed may still look whole.
        self.run_for(Duration::from_millis(50));
    }

    fn is_ready(&self) -> bool {
        let session =
            |node: &Option<Node>| node.as_ref().filter(|node| node.is_ready()).and_then(|node| node.manager.session());
        let [a, b] = [session(&self.nodes[0]), session(&self.nodes[1])];
        a.is_some() && a == b
    }

    pub(crate) fn run_until_ready(&mut self, limit: Duration) {
        let until = self.sim.now().after(limit);
        while !self.is_ready() {
            if self.sim.now() >= until {
                self.describe();
                panic!("not ready after {limit:?}");
            }
            self.round();
        }
        self.run_for(Duration::from_millis(3));
        if !self.is_ready() {
            self.describe();
            panic!("ready, and then not any more");
        }
    }

    fn describe(&self) {
        for node in self.nodes.iter().flatten() {
            eprintln!("{:?}", node.manager.connection().handshake());
            for event in node.events.iter().rev().take(12).rev() {
                eprintln!("    {event}");
            }
        }
    }

    /// Both nodes ask for a port of each client: some alike, some not. Each comes, and once.
    pub(crate) fn renew_all(&mut self) {
        // A round that the storm began ends first, and so does the pause after it.
        self.run_for(Duration::from_millis(200));
        let counts = |pair: &Self| {
            let live = pair.nodes.iter().flatten().flat_map(|node| &node.clients);
            live.map(|client| client.lock().unwrap().renewed).collect::<Vec<u32>>()
        };
        let before = counts(self);
        for (index, node) in self.nodes.iter().enumerate() {
            let node = node.as_ref().expect("a live node");
            for (client, port) in [(0, 1), (1, 0), (2, index as u16)] {
                let notes = node.clients[client].lock().unwrap();
                notes.session.as_ref().expect("a session").renew_port(port).expect("asked");
            }
        }
        self.run_for(Duration::from_millis(200));
        let more: Vec<u32> = counts(self).iter().zip(before).map(|(after, before)| after - before).collect();
        if more != [1, 1, 2, 1, 1, 2] {
            self.describe();
        }
        assert_eq!(more, [1, 1, 2, 1, 1, 2]);
    }

    /// Ports that came anew, of all clients.
    pub(crate) fn renewed(&self) -> u32 {
        let of = |node: &Node| node.clients.iter().map(|client| client.lock().unwrap().renewed).sum::<u32>();
        self.nodes.iter().flatten().map(of).sum()
    }

    /// WRITEs through the log's port 1 of each node, and finds the bytes in the other's memory.
    pub(crate) fn check_data_path(&mut self) {
        for (index, name) in NAMES.into_iter().enumerate() {
            let text = format!("from {name}").into_bytes();
            let [here, there] = [index, 1 - index]
                .map(|index| std::sync::Arc::clone(&self.nodes[index].as_ref().expect("a live node").clients[0]));
            let mut here = here.lock().unwrap();
            here.take_ports();
            let mut ports = std::mem::take(&mut here.ports);
            assert_eq!(ports.len(), usize::from(CLIENTS[0].1));
            let session = here.session.as_ref().expect("a session");
            let port = &mut ports[1];
            let mut buffer = session.buffer(Region::builder(64).pinned(false).build().unwrap()).unwrap();
            buffer.truncate(text.len());
            buffer.as_mut_slice().copy_from_slice(&text);
            let grant = session.grant().expect("a grant");
            port.post_write(WorkRequest::signalled(9), buffer, grant, 4000).expect("posted");
            let mut completions = [Completion::default()];
            while port.poll(&mut completions) == 0 {
                assert!(self.sim.step());
            }
            assert!(completions[0].is_success(), "{}", completions[0].status);
            let there = there.lock().unwrap();
            let mut bytes = vec![0; text.len()];
            there.session.as_ref().expect("a session").memory().expect("memory").read(4000, &mut bytes).unwrap();
            assert_eq!(bytes, text);
            drop(there);
            // A dropped port closes its counterpart: keep it for the other direction.
            here.ports = ports;
        }
    }

    /// Losses that clients were told, of the node that was told most.
    pub(crate) fn lost(&self) -> usize {
        let losses = |node: &Node| node.clients[0].lock().unwrap().lost.len();
        self.nodes.iter().flatten().map(losses).max().unwrap_or(0)
    }

    pub(crate) fn last_loss(&self, index: usize) -> Option<String> {
        self.nodes[index].as_ref()?.clients[0].lock().unwrap().lost.last().cloned()
    }

    pub(crate) fn unavailable(&self, index: usize) -> Option<String> {
        self.nodes[index].as_ref()?.clients.last()?.lock().unwrap().unavailable.last().cloned()
    }
}
