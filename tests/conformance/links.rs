//! Listening, dialling, accepting, observing, and learning that the other side is gone.

use crate::harness::{Harness, Side};
use crate::rig::{Outcome, SIZES, answered, complete, event, is_lost, knock, link, listen, until, wait};
use handfast::fabric::{
    Dial, DialPurpose, Domain, Endpoint, EndpointEvent, Fabric, FabricError, LINK_SLOTS, LinkMonitor, LinkSlot, Port,
    PortState, Remote, WorkCompletionStatus, WorkRequest,
};
use handfast::memory::Region;
use std::time::Duration;

pub(crate) fn an_address_has_one_listener<H: Harness>() -> Outcome {
    let harness = H::new();
    let first = listen(&harness, Side::Left, 1)?;
    assert_eq!(first.address(), &harness.address(Side::Left, 1));
    let second = harness.node(Side::Left).listen(first.address(), SIZES);
    assert!(matches!(second, Err(FabricError::AddressInUse { .. })));
    let _other_port = listen(&harness, Side::Left, 2)?;
    drop(first);
    listen(&harness, Side::Left, 1)?;
    Ok(())
}

pub(crate) fn foreign_addresses_are_refused<H: Harness>() -> Outcome {
    let harness = H::new();
    let (node, address) = (harness.node(Side::Left), harness.foreign_address());
    assert!(matches!(node.listen(&address, SIZES), Err(FabricError::Scheme { .. })));
    assert!(matches!(node.dial(&address, DialPurpose::Session), Err(FabricError::Scheme { .. })));
    assert!(harness.address(Side::Left, 1).to_string().starts_with(&format!("{}://", node.name())));
    Ok(())
}

pub(crate) fn nobody_listens<H: Harness>() -> Outcome {
    let mut harness = H::new();
    let _others = listen(&harness, Side::Right, 1)?;
    for purpose in [DialPurpose::Session, DialPurpose::Observe] {
        let mut dial = harness.node(Side::Left).dial(&harness.address(Side::Right, 2), purpose)?;
        let error = until(&mut harness, "a dial to fail", || match dial.poll() {
            Ok(None) => Ok(None),
            Ok(Some(_)) => Err("a link to nobody".into()),
            Err(error) => Ok(Some(error)),
        })?;
        assert!(matches!(error, FabricError::NotListening { .. }), "{error}");
    }
    Ok(())
}

pub(crate) fn a_link_reads_the_status_block_and_writes_its_mailbox<H: Harness>() -> Outcome {
    let mut harness = H::new();
    let mut endpoint = listen(&harness, Side::Right, 1)?;
    assert!(endpoint.status().len() >= SIZES.status);
    endpoint.status().write(8, b"status of the right node")?;
    let mut link = link(&mut harness, Side::Left, &mut endpoint, 2)?;
    assert_eq!(link.status.len(), SIZES.status as u64);

    let mut buffer = link.domain.buffer(Region::builder(4096).pinned(false).build()?)?;
    buffer.truncate(24);
    link.port.post_read(WorkRequest::signalled(1), buffer, &link.status, 8)?;
    let read = complete(&mut harness, &mut link.port, 1)?.pop().ok_or("no completion")?;
    assert!(read.is_success());
    assert_eq!(read.buffer.as_ref().map(|buffer| buffer.as_slice()), Some(&b"status of the right node"[..]));

    let (slot, mailbox) = link.mailbox.as_ref().ok_or("no mailbox")?;
    assert_eq!((slot.number(), mailbox.len()), (2, SIZES.mailbox as u64));
    link.port.post_write_inline(WorkRequest::signalled(2), b"greetings", mailbox, 591)?;
    assert!(complete(&mut harness, &mut link.port, 1)?[0].is_success());
    let mut bytes = [0; 9];
    endpoint.mailbox(*slot).ok_or("no mailbox")?.read(591, &mut bytes)?;
    assert_eq!(&bytes, b"greetings");
    assert!(link.monitor.check().is_ok() && endpoint.poll().is_none());
    Ok(())
}

pub(crate) fn a_link_gives_no_more_rights_than_that<H: Harness>() -> Outcome {
    for write_status in [true, false] {
        let mut harness = H::new();
        let mut endpoint = listen(&harness, Side::Right, 1)?;
        let mut link = link(&mut harness, Side::Left, &mut endpoint, 0)?;
        let (_, mailbox) = link.mailbox.as_ref().ok_or("no mailbox")?;
        if write_status {
            link.port.post_write_inline(WorkRequest::signalled(1), b"mine now", &link.status, 0)?;
        } else {
            let buffer = link.domain.buffer(Region::builder(16).pinned(false).build()?)?.split_at(16).0;
            link.port.post_read(WorkRequest::signalled(1), buffer, mailbox, 0)?;
        }
        let done = complete(&mut harness, &mut link.port, 1)?;
        assert_eq!(done[0].status, WorkCompletionStatus::RemoteAccess);
        assert_eq!(link.port.state(), PortState::Error);
        assert_eq!(endpoint.status().load(0, std::sync::atomic::Ordering::Relaxed)?, 0);
    }
    Ok(())
}

/// Of its control thread at most, which accepts on fabrics that need an accept. (That shm needs nothing at all, tests/observe.rs shows.)
pub(crate) fn observing_needs_nothing_of_the_owners_engine<H: Harness>() -> Outcome {
    let mut harness = H::new();
    let mut endpoint = listen(&harness, Side::Right, 1)?;
    endpoint.status().write(0, b"up")?;
    let mut dial = harness.node(Side::Left).dial(endpoint.address(), DialPurpose::Observe)?;
    let mut link = until(&mut harness, "an observer's link", || {
        assert_eq!(endpoint.poll(), None, "observers make no event");
        Ok(dial.poll()?)
    })?;
    assert!(link.mailbox.is_none());
    for round in 0..3u8 {
        endpoint.status().write(2, &[round])?;
        let buffer = link.domain.buffer(Region::builder(4096).pinned(false).build()?)?.split_at(3).0;
        link.port.post_read(WorkRequest::signalled(7), buffer, &link.status, 0)?;
        let done = complete(&mut harness, &mut link.port, 1)?;
        assert!(done[0].is_success(), "{done:?}");
        assert_eq!(done[0].buffer.as_ref().map(|buffer| buffer.as_slice()), Some(&[b'u', b'p', round][..]));
    }
    assert!(link.monitor.check().is_ok());
    assert_eq!(endpoint.poll(), None, "observers take no slot and make no event");
    link.port.post_write_inline(WorkRequest::signalled(8), b"x", &link.status, 0)?;
    assert_eq!(complete(&mut harness, &mut link.port, 1)?[0].status, WorkCompletionStatus::RemoteAccess);
    Ok(())
}

pub(crate) fn every_slot_takes_one_link<H: Harness>() -> Outcome {
    let mut harness = H::new();
    let mut endpoint = listen(&harness, Side::Right, 1)?;
    let mut links = Vec::new();
    for slot in LinkSlot::all() {
        links.push(link(&mut harness, Side::Left, &mut endpoint, slot.number() as u8)?);
    }
    assert_eq!(links.len(), LINK_SLOTS);
    for (number, link) in links.iter_mut().enumerate() {
        let (slot, mailbox) = link.mailbox.as_ref().ok_or("no mailbox")?;
        assert_eq!(slot.number(), number);
        link.port.post_write_inline(WorkRequest::signalled(1), &[number as u8 + 1], mailbox, 0)?;
        assert!(complete(&mut harness, &mut link.port, 1)?[0].is_success());
    }
    for slot in LinkSlot::all() {
        let mut byte = [0];
        endpoint.mailbox(slot).ok_or("no mailbox")?.read(0, &mut byte)?;
        assert_eq!(usize::from(byte[0]), slot.number() + 1, "mailboxes are apart");
    }
    let (dial, incoming) = knock(&mut harness, Side::Left, &mut endpoint)?;
    let slot = LinkSlot::new(1).ok_or("no slot")?;
    assert!(matches!(endpoint.accept(incoming, slot), Err(FabricError::Exhausted { .. })), "the slot is taken");
    assert!(links.iter_mut().all(|link| link.monitor.check().is_ok()));
    drop(dial);
    Ok(())
}

pub(crate) fn a_closed_link_is_told_and_its_slot_serves_again<H: Harness>() -> Outcome {
    let mut harness = H::new();
    let mut endpoint = listen(&harness, Side::Right, 1)?;
    let slot = LinkSlot::new(3).ok_or("no slot")?;
    for round in 0..5u64 {
        let mut link = link(&mut harness, Side::Left, &mut endpoint, 3)?;
        let fresh = endpoint.mailbox(slot).ok_or("no mailbox")?;
        assert_eq!(fresh.load(0, std::sync::atomic::Ordering::Relaxed)?, 0, "a fresh mailbox is empty");
        let (_, mailbox) = link.mailbox.as_ref().ok_or("no mailbox")?;
        link.port.post_write_inline(WorkRequest::signalled(round), &[9; 8], mailbox, 0)?;
        assert!(complete(&mut harness, &mut link.port, 1)?[0].is_success());
        endpoint.close(slot);
        assert!(endpoint.mailbox(slot).is_none());
        let error = until(&mut harness, "the monitor to notice", || Ok(link.monitor.check().err()))?;
        assert!(is_lost(&error), "{error}");
        if link.port.post_write_inline(WorkRequest::signalled(7), b"late", mailbox, 0).is_ok() {
            assert!(!complete(&mut harness, &mut link.port, 1)?[0].is_success());
        }
        assert_eq!(link.port.state(), PortState::Error);
        endpoint.close(slot);
    }
    assert_eq!(endpoint.poll(), None, "one's own closing is no event");
    Ok(())
}

pub(crate) fn a_dropped_link_is_told<H: Harness>() -> Outcome {
    let mut harness = H::new();
    let mut endpoint = listen(&harness, Side::Right, 1)?;
    let slot = LinkSlot::new(1).ok_or("no slot")?;
    let link = link(&mut harness, Side::Left, &mut endpoint, 1)?;
    assert_eq!(endpoint.poll(), None);
    drop(link);
    match event(&mut harness, &mut endpoint)? {
        EndpointEvent::Closed(closed, error) => assert!(closed == slot && is_lost(&error), "{error}"),
        other => return Err(format!("unexpected: {other:?}").into()),
    }
    assert!(endpoint.mailbox(slot).is_some(), "readable until closed");
    for _ in 0..20 {
        harness.pump();
        assert_eq!(endpoint.poll(), None, "told once");
    }
    endpoint.close(slot);
    assert!(endpoint.mailbox(slot).is_none());
    Ok(())
}

pub(crate) fn a_dialler_that_gives_up_cannot_be_accepted<H: Harness>() -> Outcome {
    let mut harness = H::new();
    let mut endpoint = listen(&harness, Side::Right, 1)?;
    let slot = LinkSlot::new(0).ok_or("no slot")?;
    let (dial, incoming) = knock(&mut harness, Side::Left, &mut endpoint)?;
    drop(dial);
    wait(&mut harness, Duration::from_micros(100));
    // Where the news travels, it may come after the accept: then the link is told as closed.
    let error = match endpoint.accept(incoming, slot) {
        Err(error) => error,
        Ok(()) => match event(&mut harness, &mut endpoint)? {
            EndpointEvent::Closed(closed, error) if closed == slot => error,
            other => return Err(format!("unexpected: {other:?}").into()),
        },
    };
    assert!(is_lost(&error), "{error}");
    endpoint.close(slot);
    assert!(endpoint.mailbox(slot).is_none());
    let (dial, incoming) = knock(&mut harness, Side::Left, &mut endpoint)?;
    endpoint.accept(incoming, slot)?;
    assert!(endpoint.accept(incoming, LinkSlot::new(1).ok_or("no slot")?).is_err(), "accepted once");
    answered(&mut harness, dial)?;
    Ok(())
}

pub(crate) fn an_endpoint_that_goes_ends_its_links<H: Harness>() -> Outcome {
    let mut harness = H::new();
    let mut endpoint = listen(&harness, Side::Right, 1)?;
    let mut link = link(&mut harness, Side::Left, &mut endpoint, 0)?;
    let (mut dial, _incoming) = knock(&mut harness, Side::Left, &mut endpoint)?;
    drop(endpoint);
    until(&mut harness, "the monitor to notice", || Ok(link.monitor.check().err()))?;
    let error = until(&mut harness, "the waiting dial to fail", || match dial.poll() {
        Ok(None) => Ok(None),
        Ok(Some(_)) => Err("a link to nobody".into()),
        Err(error) => Ok(Some(error)),
    })?;
    assert!(matches!(error, FabricError::NotListening { .. }), "{error}");
    let mut again = listen(&harness, Side::Right, 1)?;
    crate::rig::link(&mut harness, Side::Left, &mut again, 0)?;
    Ok(())
}

pub(crate) fn random_bytes_and_a_clock<H: Harness>() -> Outcome {
    let mut harness = H::new();
    let node = harness.node(Side::Left);
    let (mut one, mut other) = ([0; 32], [0; 32]);
    node.random(&mut one)?;
    node.random(&mut other)?;
    assert!(one != other && one != [0; 32]);
    let before = node.now();
    wait(&mut harness, Duration::from_micros(50));
    assert!(node.now().since(before) >= Duration::from_micros(50));
    Ok(())
}
