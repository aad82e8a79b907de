//! A session that was given away is gone.
use handfast::fabric::Fabric;
use handfast::session::Session;

fn lose<F: Fabric>(mut session: Session<F>) -> Vec<F::Port> {
    drop(session);
    session.take_ports()
}

fn main() {}
