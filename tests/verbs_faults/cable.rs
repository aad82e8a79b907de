//! The link goes down, and comes back: told as our own trouble, and met again.

use crate::device::{Device, host};
use crate::duo::Duo;
use crate::harness::{Harness, Side};
use crate::rig::{Outcome, link, listen, until};
use handfast::fabric::LinkMonitor;
use std::process::Command;

/// The network interface under the device.
fn netdev() -> String {
    std::env::var("HANDFAST_NETDEV").unwrap_or("wire0".to_owned())
}

/// Takes the interface down; up again when dropped, whatever happens.
struct Down;

impl Down {
    fn now() -> Self {
        ip(&["link", "set", &netdev(), "down"]);
        Self
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        ip(&["link", "set", &netdev(), "up"]);
        // The kernel forgets nothing of an IPv4 address; the link needs a moment.
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

fn ip(words: &[&str]) {
    let done = Command::new("ip").args(words).status().expect("ip can be run");
    assert!(done.success(), "ip {words:?}: {done} (of {})", host());
}

#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn a_port_that_is_down_is_our_own_trouble() -> Outcome {
    let mut harness = Device::new();
    let mut endpoint = listen(&harness, Side::Right, 1)?;
    let mut held = link(&mut harness, Side::Left, &mut endpoint, 0)?;
    assert!(held.monitor.check().is_ok());
    let down = Down::now();
    let error = until(&mut harness, "the monitor to notice", || Ok(held.monitor.check().err()))?;
    assert!(error.to_string().contains("of our device") && error.to_string().contains("is down"), "{error}");
    let closed = until(&mut harness, "the endpoint to notice", || {
        use handfast::fabric::Endpoint;
        Ok(endpoint.poll())
    })?;
    assert!(format!("{closed:?}").contains("is down"), "{closed:?}");
    drop(down);
    drop(held);
    let again = until(&mut harness, "a link after it came up", || {
        use handfast::fabric::{Endpoint, LinkSlot};
        for slot in LinkSlot::all() {
            endpoint.close(slot);
        }
        Ok(link(&mut harness_of(), Side::Left, &mut endpoint, 1).ok())
    })?;
    drop(again);
    Ok(())
}

/// Dialling needs no state of a harness but the fabric.
fn harness_of() -> Device {
    Device::new()
}

#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn a_session_comes_back_after_the_cable_did() {
    let mut duo = Duo::new("cable");
    duo.start_both();
    duo.until_ready();
    let session = duo.node(0).manager.session();
    let down = Down::now();
    duo.until("both tell the loss", |duo| (0..2).all(|index| !duo.node(index).clients[0].notes().lost.is_empty()));
    drop(down);
    duo.until_ready();
    assert_ne!(duo.node(0).manager.session(), session);
    duo.check_words();
}
