//! One simulated node: a manager with three clients that note what they are told.

use handfast::fabric::sim::{SimNode, SimPort};
use handfast::handshake::PreSharedKey;
use handfast::manager::{Client, ClientSpec, ClusterManager, Event, LostReason, NodeConfig, Unavailable};
use handfast::session::Session;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a client holds, and what it was told.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) session: Option<Session<SimNode>>,
    pub(crate) ports: Vec<SimPort>,
    pub(crate) ready: u32,
    pub(crate) lost: Vec<String>,
    pub(crate) unavailable: Vec<String>,
    /// How many ports came anew.
    pub(crate) renewed: u32,
    /// It panics when it is told this: `ready`, `lost` or `unavailable`.
    pub(crate) panics_at: Option<&'static str>,
}

impl Notes {
    /// Takes the session's ports, if they are still there.
    pub(crate) fn take_ports(&mut self) {
        let ports = self.session.as_mut().expect("a session").take_ports();
        if self.ports.is_empty() {
            self.ports = ports;
        }
    }
}

pub(crate) type Shared = Arc<Mutex<Notes>>;

struct Noting(Shared);

impl Noting {
    /// Its notes; or a panic, as of a client with a fault.
    fn notes(&self, what: &str) -> MutexGuard<'_, Notes> {
        let notes = self.0.lock().unwrap();
        if notes.panics_at == Some(what) {
            drop(notes);
            // Without the hook, which would print it.
            std::panic::resume_unwind(Box::new(format!("a client's fault at {what}")));
        }
        notes
    }
}

impl Client<SimNode> for Noting {
    fn on_ready(&mut self, session: Session<SimNode>) {
        let mut notes = self.notes("ready");
        assert!(notes.session.is_none(), "ready twice without a loss in between");
        assert!(session.is_live());
        notes.ready += 1;
        notes.ports.clear();
        notes.session = Some(session);
    }
    fn on_lost(&mut self, reason: &LostReason) {
        let mut notes = self.notes("lost");
        let session = notes.session.take().expect("lost without having been ready");
        assert!(!session.is_live());
        notes.lost.push(reason.to_string());
    }
    fn on_unavailable(&mut self, reason: &Unavailable) {
        self.notes("unavailable").unavailable.push(reason.to_string());
    }
    fn on_port(&mut self, index: u16, port: Result<SimPort, Unavailable>) {
        let mut notes = self.notes("port");
        notes.take_ports();
        match port {
            Ok(port) => {
                notes.ports[usize::from(index)] = port;
                notes.renewed += 1;
            }
            Err(reason) => notes.unavailable.push(reason.to_string()),
        }
    }
}

/// One live node.
pub(crate) struct Node {
    pub(crate) manager: ClusterManager<SimNode>,
    pub(crate) clients: Vec<Shared>,
    pub(crate) events: Vec<Event>,
}

pub(crate) const CLIENTS: [(&str, u16, u64); 3] = [("log", 2, 8192), ("monitor", 1, 0), ("engine", 3, 100)];

impl Node {
    pub(crate) fn boot(fabric: SimNode, names: (&str, &str), key: bool, extra: Option<&str>) -> Self {
        let (name, partner) = names;
        let address = |name: &str| format!("sim://{name}:1").parse().unwrap();
        let mut config = NodeConfig::new(
            "cluster".parse().unwrap(),
            name.parse().unwrap(),
            address(name),
            partner.parse().unwrap(),
            address(partner),
        );
        if key {
            config = config.key(PreSharedKey::new(&[7; 32]).unwrap());
        }
        let mut manager = ClusterManager::boot(fabric, config).expect("boot");
        manager.stage("replaying log", 40, 100);
        let mut clients = Vec::new();
        for (name, ports, memory) in CLIENTS.into_iter().chain(extra.map(|name| (name, 1, 0))) {
            let notes = Shared::default();
            clients.push(Arc::clone(&notes));
            let spec = ClientSpec::new(name.parse().unwrap()).ports(ports).memory(memory);
            manager.client(spec, Box::new(Noting(notes))).expect("client");
        }
        manager.open();
        Self { manager, clients, events: Vec::new() }
    }

    pub(crate) fn poll(&mut self) {
        while let Some(event) = self.manager.poll() {
            self.events.push(event);
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.clients[..CLIENTS.len()].iter().all(|client| client.lock().unwrap().session.is_some())
    }
}
