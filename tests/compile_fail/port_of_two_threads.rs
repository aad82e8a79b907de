//! Two threads cannot post to one port.
use handfast::fabric::{Completion, Port};

fn at_once(here: impl FnOnce() -> usize + Send, there: impl FnOnce() -> usize + Send) {
    std::thread::scope(|scope| {
        scope.spawn(there);
        here();
    });
}

fn poll<P: Port>(mut port: P) {
    at_once(|| port.poll(&mut [Completion::default()]), || port.poll(&mut [Completion::default()]));
}

fn main() {}
