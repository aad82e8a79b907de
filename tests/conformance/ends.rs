//! How ports end: closed, dropped, failed, revoked. Nothing is lost, and nothing completes twice.

use crate::harness::Harness;
use crate::rig::{Outcome, Rig, buffer, quiet};
use handfast::fabric::{
    AccessFlags, Completion, Domain, Operation, Port, PortOptions, PortState, PostError, RemoteDescriptor,
    WorkCompletionStatus, WorkRequest,
};
use std::sync::atomic::Ordering;

pub(crate) fn closing_flushes_everything_once<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, _right) = rig.ports(&PortOptions::new())?;
    let (_memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    for id in 0..4 {
        left.post_receive(WorkRequest::signalled(100 + id), rig.buffer(8)?)?;
    }
    left.post_write(WorkRequest::unsignalled(0), rig.buffer(8)?, &remote, 0)?;
    left.post_send(WorkRequest::signalled(1), rig.buffer(8)?)?;
    left.post_write(WorkRequest::signalled(2), rig.buffer(8)?, &remote, 0)?;
    left.post_write_inline(WorkRequest::signalled(3), &[1; 8], &remote, 0)?;
    left.close();
    left.close();
    assert_eq!(left.state(), PortState::Error);
    let done = rig.complete(&mut left, 8)?;
    let of = |receive: bool| {
        done.iter().filter(move |done| (done.operation == Operation::Receive) == receive).collect::<Vec<_>>()
    };
    assert_eq!(of(false).iter().map(|done| done.id).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(of(true).iter().map(|done| done.id).collect::<Vec<_>>(), [100, 101, 102, 103]);
    let flushed = |done: &&Completion| done.status == WorkCompletionStatus::Flushed;
    assert!(of(true).iter().all(flushed) && of(false)[1..].iter().all(flushed), "{done:?}");
    assert!(done.iter().all(|done| done.buffer.is_some() == (done.id != 3)), "buffers come back");
    assert_eq!(left.post_write_inline(WorkRequest::signalled(9), &[1; 8], &remote, 0), Err(PostError::PortInError));
    let refused = left.post_receive(WorkRequest::signalled(9), rig.buffer(8)?).err();
    assert_eq!(refused.map(|refused| refused.reason), Some(PostError::PortInError));
    quiet(&mut rig.harness, &mut left)
}

pub(crate) fn a_dropped_partner_fails_what_follows<H: Harness>() -> Outcome {
    for drop_it in [true, false] {
        let mut rig = Rig::<H>::new()?;
        let (mut left, mut right) = rig.ports(&PortOptions::new())?;
        let (_memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
        left.post_write(WorkRequest::signalled(1), rig.buffer(8)?, &remote, 0)?;
        rig.good(&mut left, 1)?;
        if drop_it {
            drop(right);
        } else {
            right.close();
        }
        left.post_write(WorkRequest::unsignalled(2), rig.buffer(8)?, &remote, 0)?;
        left.post_read(WorkRequest::signalled(3), rig.buffer(8)?, &remote, 0)?;
        let done = rig.complete(&mut left, 2)?;
        assert_eq!((done[0].id, done[0].status), (2, WorkCompletionStatus::RetryExceeded));
        assert_eq!((done[1].id, done[1].status), (3, WorkCompletionStatus::Flushed));
        assert!(done.iter().all(|done| done.buffer.is_some() && done.bytes == 0));
        assert_eq!(left.state(), PortState::Error);
    }
    Ok(())
}

pub(crate) fn after_an_error_nothing_is_taken<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, _right) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    let wrong = rig.left.import(&RemoteDescriptor { key: 5, ..*memory.descriptor() })?;
    for id in 0..3 {
        left.post_receive(WorkRequest::signalled(100 + id), rig.buffer(8)?)?;
    }
    left.post_write_inline(WorkRequest::signalled(1), &[1; 8], &wrong, 0)?;
    let done = rig.complete(&mut left, 4)?;
    let failed = done.iter().find(|done| done.id == 1).ok_or("no completion")?;
    assert_eq!(failed.status, WorkCompletionStatus::RemoteAccess);
    let flushed: Vec<u64> = done.iter().filter(|done| done.id != 1).map(|done| done.id).collect();
    assert_eq!(flushed, [100, 101, 102], "receives are flushed");
    for kind in 0..7 {
        let (request, buffer) = (WorkRequest::signalled(9), rig.buffer(8)?);
        let refused = match kind {
            0 => left.post_read(request, buffer, &remote, 0),
            1 => left.post_write(request, buffer, &remote, 0),
            2 => left.post_write_with_immediate(request, buffer, &remote, 0, 1),
            3 => left.post_fetch_add(request, buffer, &remote, 0, 1),
            4 => left.post_compare_swap(request, buffer, &remote, 0, 0, 1),
            5 => left.post_send(request, buffer),
            _ => left.post_receive(request, buffer),
        };
        let refused = refused.err().ok_or("taken")?;
        assert_eq!((refused.reason, refused.buffer.len()), (PostError::PortInError, 8), "kind {kind}");
    }
    assert_eq!(memory.load(0, Ordering::Relaxed)?, 0);
    quiet(&mut rig.harness, &mut left)
}

pub(crate) fn an_error_on_one_side_reaches_the_other<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new())?;
    let (memory, _) = rig.exposed(4096, AccessFlags::ALL)?;
    let wrong = rig.left.import(&RemoteDescriptor { key: 5, ..*memory.descriptor() })?;
    // The tripwire: a receive that an access violation of the other side flushes.
    right.post_receive(WorkRequest::signalled(1), buffer::<H>(&rig.right, 8)?)?;
    left.post_write_inline(WorkRequest::signalled(2), &[1; 8], &wrong, 0)?;
    assert_eq!(rig.complete(&mut left, 1)?[0].status, WorkCompletionStatus::RemoteAccess);
    let tripped = rig.complete(&mut right, 1)?;
    assert_eq!((tripped[0].id, tripped[0].status), (1, WorkCompletionStatus::Flushed));
    assert_eq!(right.state(), PortState::Error);
    Ok(())
}

pub(crate) fn revoking_ends_ports_and_memory_wherever_they_are_held<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    right.post_receive(WorkRequest::signalled(1), buffer::<H>(&rig.right, 8)?)?;
    left.post_write_inline(WorkRequest::signalled(2), &[1; 8], &remote, 0)?;
    rig.good(&mut left, 2)?;
    memory.store(0, 7, Ordering::SeqCst)?;
    rig.right.revoke()?;
    assert_eq!(right.state(), PortState::Error);
    let flushed = rig.complete(&mut right, 1)?;
    assert_eq!((flushed[0].id, flushed[0].status), (1, WorkCompletionStatus::Flushed));
    if left.post_write_inline(WorkRequest::signalled(3), &[2; 8], &remote, 0).is_ok() {
        assert!(!rig.complete(&mut left, 1)?[0].is_success());
    }
    assert_eq!(memory.load(0, Ordering::SeqCst)?, 7, "what the partner writes from now on does not arrive");
    let late = rig.left.import(memory.descriptor())?;
    let (mut again, _partner) = {
        let other = rig.harness.node(crate::harness::Side::Right);
        let fresh = handfast::fabric::Fabric::domain(&other, &rig.links[1])?;
        crate::rig::wired::<H>(&rig.left, &PortOptions::new(), &fresh, &PortOptions::new())?
    };
    again.post_write_inline(WorkRequest::signalled(4), &[3; 8], &late, 0)?;
    assert!(!rig.complete(&mut again, 1)?[0].is_success());
    assert_eq!(memory.load(0, Ordering::SeqCst)?, 7);
    Ok(())
}

pub(crate) fn revoking_says_that_everything_was_let_go_of<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, right) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    left.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
    rig.good(&mut left, 1)?;
    // One port ended already and is held, the other is gone. That is no refusal.
    left.close();
    drop(right);
    rig.right.revoke()?;
    rig.left.revoke()?;
    drop((left, memory));
    rig.right.revoke()?;
    rig.left.revoke()?;
    let empty = handfast::fabric::Fabric::domain(&rig.harness.node(crate::harness::Side::Left), &rig.links[0])?;
    empty.revoke()?;
    Ok(())
}

pub(crate) fn buffers_outlive_their_port_and_domain<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, right) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    let (kept, moved) = rig.buffer(4096)?.split_at(2048);
    left.post_write(WorkRequest::signalled(1), moved, &remote, 0)?;
    left.post_receive(WorkRequest::signalled(2), rig.buffer(8)?)?;
    let back = rig.good(&mut left, 1)?.buffer.ok_or("no buffer")?;
    left.post_write(WorkRequest::signalled(3), rig.buffer(64)?, &remote, 0)?;
    drop((left, right, memory, remote));
    let Rig { left, right, links, endpoints, mut harness } = rig;
    drop((left, right, links, endpoints));
    for _ in 0..20 {
        harness.pump();
    }
    let expected: Vec<u8> = (0..4096).map(|index| (index * 7 + 1) as u8).collect();
    assert_eq!((kept.as_slice(), back.as_slice()), (&expected[..2048], &expected[2048..]));
    Ok(())
}
