//! A port may move to another thread, but two threads cannot look at it at once.
use handfast::fabric::Fabric;

fn look<F: Fabric>(port: F::Port) {
    use handfast::fabric::Port;
    std::thread::scope(|scope| {
        scope.spawn(|| port.state());
    });
}

fn main() {}
