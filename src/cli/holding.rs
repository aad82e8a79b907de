//! A client that holds what it was granted, and does nothing with it.

use handfast::fabric::Fabric;
use handfast::manager::{Client, LostReason, Unavailable};
use handfast::session::Session;

/// It. The manager's events tell how it fares.
pub(crate) struct Holding<F: Fabric> {
    session: Option<Session<F>>,
    ports: Vec<F::Port>,
}

impl<F: Fabric> Holding<F> {
    pub(crate) fn new() -> Self {
        Self { session: None, ports: Vec::new() }
    }
}

impl<F: Fabric> Client<F> for Holding<F> {
    fn on_ready(&mut self, mut session: Session<F>) {
        self.ports = session.take_ports();
        self.session = Some(session);
    }
    fn on_lost(&mut self, _reason: &LostReason) {
        self.ports.clear();
        self.session = None;
    }
    fn on_unavailable(&mut self, _reason: &Unavailable) {}
}
