//! Dials that come to nothing: each ends in a clear error, and no call of ours ever waits.

use crate::device::host;
use crate::rig::Outcome;
use crate::under_test;
use handfast::fabric::{Address, Dial, DialPurpose, Fabric, FabricError, PageSizes};
use std::time::{Duration, Instant};

const SIZES: PageSizes = PageSizes { status: 4096, mailbox: 4096 };

/// Polls a dial for so long; how it ended, and how long the slowest call took.
fn watched(to: &str, limit: Duration) -> (Option<FabricError>, Duration) {
    let address: Address = to.parse().expect("an address");
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut dial = match under_test::fabric().dial(&address, DialPurpose::Session) {
        Ok(dial) => dial,
        Err(error) => return (Some(error), began.elapsed()),
    };
    while began.elapsed() < limit {
        let call = Instant::now();
        let outcome = dial.poll();
        slowest = slowest.max(call.elapsed());
        match outcome {
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Ok(Some(_)) => panic!("a link to nobody at {to}"),
            Err(error) => return (Some(error), slowest),
        }
    }
    let call = Instant::now();
    drop(dial);
    (None, slowest.max(call.elapsed()))
}

#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn nobody_answers() {
    // A neighbour that does not exist, and a network that there is no route to.
    let neighbour = host().rsplit_once('.').map_or("10.9.0.77".to_owned(), |(net, _)| format!("{net}.77"));
    for to in [format!("rdma://{neighbour}:7471"), "rdma://192.0.2.1:7471".to_owned()] {
        let (error, slowest) = watched(&to, Duration::from_secs(8));
        let error = error.unwrap_or_else(|| panic!("no end of a dial to {to}"));
        assert!(matches!(error, FabricError::NotListening { .. }), "{to}: {error}");
        assert!(slowest < Duration::from_secs(1), "a call took {slowest:?}");
        println!("{error}");
    }
}

/// A process that is stopped has a kernel that takes the request, and nobody who accepts it: the dial waits, and giving it up takes no time.
#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn a_listener_that_never_accepts() -> Outcome {
    let address: Address = format!("rdma://{}:7999", host()).parse()?;
    let _deaf = under_test::fabric().listen(&address, SIZES)?;
    let (error, slowest) = watched(&address.to_string(), Duration::from_secs(1));
    assert!(error.is_none(), "{error:?}");
    assert!(slowest < Duration::from_secs(1), "a call took {slowest:?}");
    Ok(())
}

#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn devices_and_addresses_that_are_not_there_are_named() -> Outcome {
    let fabric = under_test::fabric();
    let listen =
        |text: &str| fabric.listen(&text.parse().expect("an address"), SIZES).err().map(|error| error.to_string());
    let error = listen("rdma://192.0.2.1:7471").ok_or("listens at a foreign address")?;
    assert!(error.contains("no RDMA device of this machine has the address 192.0.2.1"), "{error}");
    let error =
        listen(&format!("rdma://{}:7471?device=mlx9", host())).ok_or("listens on a device that is not there")?;
    assert!(error.contains("mlx9") && error.contains("handfast devices"), "{error}");
    let (error, _) = watched(&format!("rdma://{}:7471?device=mlx9", host()), Duration::from_secs(5));
    let error = error.ok_or("dials by a device that is not there")?;
    assert!(error.to_string().contains("mlx9"), "{error}");
    Ok(())
}

/// Every interface has addresses of this kind: the device says which one is meant.
#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn a_node_listens_at_a_link_local_address_by_naming_its_device() -> Outcome {
    let fabric = under_test::fabric();
    let local = handfast::fabric::verbs::devices()?.into_iter().find_map(|device| {
        let gids = device.ports.iter().flat_map(|port| &port.gids);
        let gid = gids.filter(|gid| gid.kind == "RoCE v2").find(|gid| gid.gid.is_unicast_link_local())?.gid;
        Some((device.name, gid))
    });
    let (device, host) = local.ok_or("no device has a link-local address")?;
    let told = fabric.listen(&format!("rdma://[{host}]:7472").parse()?, SIZES).err().ok_or("it listens")?.to_string();
    assert!(told.contains("`?device=NAME`"), "{told}");
    let address: Address = format!("rdma://[{host}]:7472?device={device}").parse()?;
    fabric.listen(&address, SIZES)?;
    Ok(())
}
