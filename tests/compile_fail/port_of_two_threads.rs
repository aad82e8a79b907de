//! Two threads cannot post to one port.
use handfast::fabric::{Completion, Port};

fn poll<P: Port>(mut port: P) {
    std::thread::scope(|scope| {
        scope.spawn(|| port.poll(&mut [Completion::default()]));
        scope.spawn(|| port.poll(&mut [Completion::default()]));
    });
}

fn main() {}
