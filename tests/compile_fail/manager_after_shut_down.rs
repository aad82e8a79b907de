//! A manager that was shut down is not polled.
use handfast::fabric::Fabric;
use handfast::manager::ClusterManager;

fn end<F: Fabric>(mut manager: ClusterManager<F>) {
    manager.shut_down();
    manager.poll();
}

fn main() {}
