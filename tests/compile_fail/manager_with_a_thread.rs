//! A manager that has a thread of its own is not polled from another.
use handfast::fabric::Fabric;
use handfast::manager::ClusterManager;

fn both<F: Fabric>(mut manager: ClusterManager<F>) -> Result<(), handfast::Error> {
    let _thread = manager.spawn()?;
    manager.poll();
    Ok(())
}

fn main() {}
