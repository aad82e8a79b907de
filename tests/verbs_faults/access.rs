//! Operations of a partner that its link gives no right to: the device refuses them, and the owner is told which link they came from.

use crate::device::Device;
use crate::harness::Side;
use crate::rig::{Outcome, complete, event, is_lost, link, listen};
use crate::under_test::UnderTest;
use handfast::fabric::{
    Domain, Endpoint, EndpointEvent, Fabric, Link, LinkMonitor, LinkSlot, Port, Remote, RemoteDescriptor,
    WorkCompletionStatus, WorkRequest,
};
use handfast::memory::Region;

type TestLink = Link<UnderTest>;

/// Opens a link, lets it misbehave, and looks at both ends.
fn misbehaves(what: &str, act: impl Fn(&mut TestLink) -> Outcome) -> Outcome {
    let mut harness = <Device as crate::harness::Harness>::new();
    let mut endpoint = listen(&harness, Side::Right, 1)?;
    let mut good = link(&mut harness, Side::Left, &mut endpoint, 0)?;
    let mut bad = link(&mut harness, Side::Left, &mut endpoint, 1)?;
    endpoint.status().write(0, b"untouched")?;
    act(&mut bad)?;
    let done = complete(&mut harness, &mut bad.port, 1)?;
    assert_eq!(done[0].status, WorkCompletionStatus::RemoteAccess, "{what}");
    match event(&mut harness, &mut endpoint)? {
        EndpointEvent::Closed(slot, error) => {
            assert_eq!(Some(slot), LinkSlot::new(1), "{what}");
            assert!(is_lost(&error) && error.to_string().contains("refused an operation of the other side"), "{error}");
        }
        other => return Err(format!("{what}: unexpected {other:?}").into()),
    }
    assert!(bad.monitor.check().is_err(), "{what}: the one who tried knows");
    // The other link of the same endpoint does not suffer.
    let buffer = good.domain.buffer(Region::builder(16).pinned(false).build()?)?.split_at(9).0;
    good.port.post_read(WorkRequest::signalled(5), buffer, &good.status, 0)?;
    let read = complete(&mut harness, &mut good.port, 1)?;
    assert_eq!(read[0].buffer.as_ref().map(|buffer| buffer.as_slice()), Some(&b"untouched"[..]), "{what}");
    assert!(good.monitor.check().is_ok() && endpoint.poll().is_none(), "{what}");
    Ok(())
}

fn forged(link: &TestLink, change: impl Fn(RemoteDescriptor) -> RemoteDescriptor) -> <UnderTest as Fabric>::Remote {
    let (_, mailbox) = link.mailbox.as_ref().expect("a mailbox");
    link.domain.import(&change(*mailbox.descriptor())).expect("imported")
}

#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn a_wrong_key() -> Outcome {
    misbehaves("a wrong key", |link| {
        let remote = forged(link, |descriptor| RemoteDescriptor { key: descriptor.key ^ 0x55, ..descriptor });
        Ok(link.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?)
    })
}

#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn an_address_out_of_range() -> Outcome {
    misbehaves("out of range", |link| {
        let remote = forged(link, |descriptor| RemoteDescriptor { length: 1 << 30, ..descriptor });
        Ok(link.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 1 << 20)?)
    })
}

#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn a_read_of_the_mailbox() -> Outcome {
    misbehaves("a READ of the mailbox", |link| {
        let buffer = link.domain.buffer(Region::builder(64).pinned(false).build()?)?.split_at(64).0;
        let remote = forged(link, |descriptor| descriptor);
        Ok(link.port.post_read(WorkRequest::signalled(1), buffer, &remote, 0)?)
    })
}

#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn a_write_to_the_status_block() -> Outcome {
    misbehaves("a WRITE to the status block", |link| {
        let status = link.status.clone();
        Ok(link.port.post_write_inline(WorkRequest::signalled(1), b"mine now", &status, 0)?)
    })
}
