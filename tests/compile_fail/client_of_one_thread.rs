//! A client is called from whatever thread polls the manager, so it must be able to go there.
use handfast::fabric::Fabric;
use handfast::manager::{Client, LostReason, Unavailable};
use handfast::session::Session;
use std::rc::Rc;

struct Log(Rc<u8>);

impl<F: Fabric> Client<F> for Log {
    fn on_ready(&mut self, _: Session<F>) {}
    fn on_lost(&mut self, _: &LostReason) {}
    fn on_unavailable(&mut self, _: &Unavailable) {}
}

fn main() {}
