//! A node of these tests: a manager, on the fabric under test, whose clients note what they are told.

use crate::under_test::{self, UnderTest};
use handfast::fabric::{Completion, Fabric, Port, WorkRequest};
use handfast::handshake::PreSharedKey;
use handfast::manager::{Client, ClientSpec, ClusterManager, Event, LostReason, NodeConfig, Unavailable};
use handfast::memory::{Buffer, Region};
use handfast::session::Session;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) type TestPort = <UnderTest as Fabric>::Port;
pub(crate) type TestRemote = <UnderTest as Fabric>::Remote;

pub(crate) const NAMES: [&str; 2] = ["a", "b"];

/// Name, ports, memory at the partner.
pub(crate) const CLIENTS: [(&str, u16, u64); 2] = [("log", 2, 8192), ("monitor", 1, 0)];

/// Where the tests' WRITEs of words for each other go.
pub(crate) const TEXT_AT: usize = 4000;

/// What a client holds, and what it was told.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) session: Option<Session<UnderTest>>,
    pub(crate) ports: Vec<TestPort>,
    pub(crate) ready: u32,
    pub(crate) lost: Vec<String>,
    pub(crate) unavailable: Vec<Unavailable>,
    /// Ports that came anew, in order.
    pub(crate) renewed: Vec<(u16, Result<(), Unavailable>)>,
    /// What was told out of order.
    pub(crate) wrong: Vec<&'static str>,
}

#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Notes>>);

impl Shared {
    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client<UnderTest> for Shared {
    fn on_ready(&mut self, mut session: Session<UnderTest>) {
        let mut notes = self.notes();
        if notes.session.is_some() {
            notes.wrong.push("ready twice without a loss in between");
        }
        notes.ready += 1;
        notes.ports = session.take_ports();
        notes.session = Some(session);
    }
    fn on_lost(&mut self, reason: &LostReason) {
        let mut notes = self.notes();
        match notes.session.take() {
            None => notes.wrong.push("lost without having been ready"),
            Some(session) if session.is_live() => notes.wrong.push("lost, and the session says that it lives"),
            Some(_) => {}
        }
        notes.ports.clear();
        notes.lost.push(reason.to_string());
    }
    fn on_unavailable(&mut self, reason: &Unavailable) {
        self.notes().unavailable.push(reason.clone());
    }
    fn on_port(&mut self, index: u16, port: Result<TestPort, Unavailable>) {
        let mut notes = self.notes();
        notes.renewed.push((index, port.as_ref().map(|_| ()).map_err(Clone::clone)));
        let Ok(port) = port else { return };
        match notes.ports.get_mut(usize::from(index)) {
            Some(place) => *place = port,
            None => notes.wrong.push("a port that it has not"),
        }
    }
}

/// Two nodes that know each other by the addresses of this name.
pub(crate) fn config(name: &str, index: usize) -> NodeConfig {
    let address = |index: usize| under_test::address(name, index);
    let node = |index: usize| NAMES[index].parse().expect("a node's name");
    let cluster = "processes".parse().expect("a cluster's name");
    NodeConfig::new(cluster, node(index), address(index), node(1 - index), address(1 - index))
}

pub(crate) fn key(byte: u8) -> PreSharedKey {
    PreSharedKey::new(&[byte; 32]).expect("a key")
}

pub(crate) struct Node {
    pub(crate) manager: ClusterManager<UnderTest>,
    pub(crate) clients: Vec<Shared>,
    pub(crate) events: Vec<Event>,
}

impl Node {
    /// Boots with [`CLIENTS`], open at once.
    pub(crate) fn boot(config: NodeConfig) -> Result<Self, handfast::Error> {
        Self::boot_with(config, &CLIENTS)
    }

    pub(crate) fn boot_with(config: NodeConfig, clients: &[(&str, u16, u64)]) -> Result<Self, handfast::Error> {
        let mut manager = ClusterManager::boot(under_test::fabric(), config)?;
        manager.stage("replaying log", 40, 100);
        let mut shared = Vec::new();
        for (name, ports, memory) in clients {
            let notes = Shared::default();
            let spec = ClientSpec::new(name.parse().expect("a client's name")).ports(*ports).memory(*memory);
            manager.client(spec, Box::new(notes.clone()))?;
            shared.push(notes);
        }
        manager.open();
        Ok(Self { manager, clients: shared, events: Vec::new() })
    }

    /// Polls until nothing is due; the events it brought are also kept.
    pub(crate) fn poll(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.manager.poll() {
            events.push(event);
        }
        self.events.extend(events.iter().cloned());
        events
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.manager.session().is_some() && self.clients.iter().all(|client| client.notes().session.is_some())
    }

    /// What was told out of order, by any client.
    pub(crate) fn wrong(&self) -> Vec<&'static str> {
        self.clients.iter().flat_map(|client| client.notes().wrong.clone()).collect()
    }
}

/// A buffer of exactly these bytes.
pub(crate) fn buffer_of(session: &Session<UnderTest>, bytes: &[u8]) -> Result<Buffer, String> {
    let region = Region::builder(bytes.len()).pinned(false).build().map_err(|error| error.to_string())?;
    let mut buffer = session.buffer(region).map_err(|error| error.to_string())?;
    buffer.truncate(bytes.len());
    buffer.as_mut_slice().copy_from_slice(bytes);
    Ok(buffer)
}

/// The next completion of a port, within a second.
pub(crate) fn next_completion(port: &mut TestPort) -> Result<Completion, String> {
    let mut completions = [Completion::default()];
    let began = Instant::now();
    while port.poll(&mut completions) == 0 {
        if began.elapsed() > Duration::from_secs(1) {
            return Err("no completion within a second".to_owned());
        }
        std::hint::spin_loop();
    }
    let [completion] = completions;
    Ok(completion)
}

/// [`write_by`] the last port.
pub(crate) fn write_through(client: &Shared, text: &str) -> Result<(), String> {
    let ports = client.notes().ports.len();
    write_by(client, ports.saturating_sub(1), text)
}

/// WRITEs `text` to [`TEXT_AT`] of the partner's memory, READs it back and compares.
pub(crate) fn write_by(client: &Shared, index: usize, text: &str) -> Result<(), String> {
    let mut notes = client.notes();
    let Notes { session, ports, .. } = &mut *notes;
    let (Some(session), Some(port)) = (session.as_ref(), ports.get_mut(index)) else {
        return Err("no session".to_owned());
    };
    let grant = session.grant().ok_or("no grant")?;
    let refused = |refused: handfast::fabric::Refused| refused.reason.to_string();
    let buffer = buffer_of(session, text.as_bytes())?;
    port.post_write(WorkRequest::signalled(1), buffer, grant, TEXT_AT as u64).map_err(refused)?;
    let into = buffer_of(session, &vec![0; text.len()])?;
    port.post_read(WorkRequest::signalled(2), into, grant, TEXT_AT as u64).map_err(refused)?;
    for id in [1, 2] {
        let completion = next_completion(port)?;
        if !completion.is_success() || completion.id != id {
            return Err(format!("request {} ended: {}", completion.id, completion.status));
        }
        if id == 2 && completion.buffer.as_ref().is_none_or(|buffer| buffer.as_slice() != text.as_bytes()) {
            return Err("the READ behind the WRITE brought other bytes".to_owned());
        }
    }
    Ok(())
}

/// What the partner wrote to [`TEXT_AT`] here, up to the first zero.
pub(crate) fn text_here(client: &Shared) -> Result<String, String> {
    let notes = client.notes();
    let memory = notes.session.as_ref().and_then(|session| session.memory()).ok_or("no memory")?;
    let mut bytes = [0; 64];
    memory.read(TEXT_AT, &mut bytes).map_err(|error| error.to_string())?;
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}
