//! A port may move to another thread, but two threads cannot look at it at once.
use handfast::fabric::{Fabric, Port, PortState};

fn elsewhere(work: impl FnOnce() -> PortState + Send) {
    std::thread::scope(|scope| {
        scope.spawn(work);
    });
}

fn look<F: Fabric>(port: F::Port) {
    elsewhere(|| port.state());
}

fn main() {}
