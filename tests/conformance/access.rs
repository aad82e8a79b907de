//! What must not be reached is not reached, and the port that tried is in error.

use crate::harness::{Harness, Side};
use crate::rig::{Outcome, RemoteOf, Rig, buffer, expose, link, wired};
use handfast::fabric::{
    AccessFlags, Domain, Endpoint, Fabric, FabricError, LinkSlot, PendingPort, Port, PortAddress, PortOptions,
    PortState, PostError, RemoteDescriptor, WorkCompletionStatus, WorkRequest,
};

pub(crate) fn past_the_announced_end_is_refused_at_once<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    let end = memory.len() as u64;
    for offset in [end - 7, end, end + 1, u64::MAX - 7, u64::MAX] {
        let refused = port.post_write(WorkRequest::signalled(1), rig.buffer(8)?, &remote, offset).err();
        let refused = refused.ok_or("taken")?;
        assert_eq!((refused.reason, refused.buffer.len()), (PostError::OutOfRange, 8));
        let refused =
            port.post_read(WorkRequest::signalled(1), refused.buffer, &remote, offset).err().ok_or("taken")?;
        assert_eq!(refused.reason, PostError::OutOfRange);
        let refused = port.post_fetch_add(WorkRequest::signalled(1), refused.buffer, &remote, offset, 1).err();
        assert_eq!(refused.map(|refused| refused.reason), Some(PostError::OutOfRange));
        let refused = port.post_write_inline(WorkRequest::signalled(1), &[0; 8], &remote, offset);
        assert_eq!(refused, Err(PostError::OutOfRange));
    }
    crate::rig::quiet(&mut rig.harness, &mut port)?;
    port.post_write(WorkRequest::signalled(2), rig.buffer(8)?, &remote, end - 8)?;
    rig.good(&mut port, 2)?;
    assert_eq!(port.state(), PortState::Ready);
    Ok(())
}

/// Posts to a remote that must not open, of every kind of operation; the port fails, and what came behind is flushed.
fn refused<H: Harness>(rig: &mut Rig<H>, remote: &RemoteOf<H>, expected: WorkCompletionStatus) -> Outcome {
    for kind in 0..5 {
        let (mut port, _partner) = rig.ports(&PortOptions::new())?;
        let request = WorkRequest::unsignalled(1);
        let buffer = rig.buffer(8)?;
        match kind {
            0 => port.post_read(request, buffer, remote, 0)?,
            1 => port.post_write(request, buffer, remote, 0)?,
            2 => port.post_write_inline(request, &[1; 8], remote, 0)?,
            3 => port.post_fetch_add(request, buffer, remote, 0, 1)?,
            _ => port.post_compare_swap(request, buffer, remote, 0, 0, 1)?,
        }
        let behind = port.post_write_inline(WorkRequest::signalled(2), &[2; 8], remote, 0);
        let count = 1 + usize::from(behind.is_ok());
        let done = rig.complete(&mut port, count)?;
        assert_eq!((done[0].id, done[0].status, done[0].bytes), (1, expected, 0), "kind {kind}");
        assert_eq!(done[0].buffer.is_some(), kind != 2, "the buffer comes back");
        assert!(done.iter().skip(1).all(|done| done.status == WorkCompletionStatus::Flushed), "{done:?}");
        assert_eq!(port.state(), PortState::Error);
        let late = port.post_write_inline(WorkRequest::signalled(3), &[3; 8], remote, 0);
        assert_eq!(late, Err(PostError::PortInError));
    }
    Ok(())
}

pub(crate) fn a_wrong_key_opens_nothing<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (memory, _) = rig.exposed(4096, AccessFlags::ALL)?;
    for key in [0, 1, memory.descriptor().key ^ 1 << 40, memory.descriptor().key ^ 1, u64::MAX] {
        let remote = rig.left.import(&RemoteDescriptor { key, ..*memory.descriptor() })?;
        refused(&mut rig, &remote, WorkCompletionStatus::RemoteAccess)?;
    }
    assert_eq!(memory.load(0, std::sync::atomic::Ordering::Relaxed)?, 0);
    Ok(())
}

pub(crate) fn a_descriptor_cannot_announce_more_than_there_is<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (memory, _) = rig.exposed(4096, AccessFlags::ALL)?;
    let _neighbour = rig.exposed(4096, AccessFlags::ALL)?;
    for length in [memory.len() as u64 + 1, u64::MAX] {
        let remote = rig.left.import(&RemoteDescriptor { length, ..*memory.descriptor() })?;
        let (mut port, _partner) = rig.ports(&PortOptions::new())?;
        port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
        rig.good(&mut port, 1)?;
        port.post_write_inline(WorkRequest::signalled(2), &[1; 8], &remote, memory.len() as u64 - 7)?;
        assert_eq!(rig.complete(&mut port, 1)?[0].status, WorkCompletionStatus::RemoteAccess);
    }
    Ok(())
}

pub(crate) fn a_missing_right_is_missed<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let rights = [AccessFlags::REMOTE_READ, AccessFlags::REMOTE_WRITE, AccessFlags::REMOTE_ATOMIC];
    for granted in [AccessFlags::NONE, rights[0], rights[1], rights[2], rights[0].union(rights[1])] {
        let (memory, _) = rig.exposed(4096, granted)?;
        // Whatever the descriptor says, the owner decides.
        let remote = rig.left.import(&RemoteDescriptor { access: AccessFlags::ALL, ..*memory.descriptor() })?;
        for right in rights {
            let (mut port, _partner) = rig.ports(&PortOptions::new())?;
            let (request, buffer) = (WorkRequest::signalled(1), rig.buffer(8)?);
            if right == AccessFlags::REMOTE_READ {
                port.post_read(request, buffer, &remote, 0)?;
            } else if right == AccessFlags::REMOTE_WRITE {
                port.post_write(request, buffer, &remote, 0)?;
            } else {
                port.post_fetch_add(request, buffer, &remote, 0, 1)?;
            }
            let status = rig.complete(&mut port, 1)?[0].status;
            let expected = match granted.contains(right) {
                true => WorkCompletionStatus::Success,
                false => WorkCompletionStatus::RemoteAccess,
            };
            assert_eq!(status, expected, "{right} with {granted}");
        }
    }
    Ok(())
}

/// A key works from ports wired to its own domain, not from those of another link.
pub(crate) fn another_links_key_opens_nothing<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let other = rig.harness.node(Side::Right).domain(&rig.links[1])?;
    let memory = expose::<H>(&other, 4096, AccessFlags::ALL)?;
    let remote = rig.left.import(memory.descriptor())?;
    refused(&mut rig, &remote, WorkCompletionStatus::RemoteAccess)?;
    assert_eq!(memory.load(0, std::sync::atomic::Ordering::Relaxed)?, 0);
    let (mut port, _partner) = wired::<H>(&rig.left, &PortOptions::new(), &other, &PortOptions::new())?;
    port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
    rig.good(&mut port, 1)?;

    let [_, there] = &mut rig.endpoints;
    let mut first = link(&mut rig.harness, Side::Left, there, 1)?;
    let second = link(&mut rig.harness, Side::Left, there, 2)?;
    let (_, strangers) = second.mailbox.as_ref().ok_or("no mailbox")?;
    first.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], strangers, 0)?;
    let done = crate::rig::complete(&mut rig.harness, &mut first.port, 1)?;
    assert_eq!(done[0].status, WorkCompletionStatus::RemoteAccess);
    let mailbox = rig.endpoints[1].mailbox(LinkSlot::new(2).ok_or("no slot")?).ok_or("no mailbox")?;
    assert_eq!(mailbox.load(0, std::sync::atomic::Ordering::Relaxed)?, 0);
    Ok(())
}

pub(crate) fn nonsense_descriptors_open_nothing<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (memory, _) = rig.exposed(4096, AccessFlags::ALL)?;
    let good = *memory.descriptor();
    let access = AccessFlags::ALL;
    let nonsense = [
        RemoteDescriptor { address: 0, length: 4096, key: 0, access, context: 0 },
        RemoteDescriptor { address: u64::MAX, length: 1 << 40, key: u64::MAX, access, context: u64::MAX },
        RemoteDescriptor { address: 1, length: 4096, key: 77, access, context: 1 << 32 },
        RemoteDescriptor { key: !good.key, ..good },
    ];
    for descriptor in nonsense {
        let remote = rig.left.import(&descriptor)?;
        refused(&mut rig, &remote, WorkCompletionStatus::RemoteAccess)?;
    }
    Ok(())
}

pub(crate) fn after_deregistration_nothing_is_reached<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
    rig.good(&mut port, 1)?;
    let descriptor = *memory.descriptor();
    drop(memory);
    let late = rig.left.import(&descriptor)?;
    let (others, good) = rig.exposed(4096, AccessFlags::ALL)?;
    refused(&mut rig, &remote, WorkCompletionStatus::RemoteAccess)?;
    refused(&mut rig, &late, WorkCompletionStatus::RemoteAccess)?;
    port.post_write_inline(WorkRequest::signalled(2), &[2; 8], &good, 8)?;
    rig.good(&mut port, 2)?;
    assert_eq!(others.load(0, std::sync::atomic::Ordering::Relaxed)?, 0, "a later region is not reached by an old key");
    Ok(())
}

pub(crate) fn misaligned_atomics_are_refused_by_the_other_side<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (_memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    for offset in [1, 4, 4095 - 8] {
        let (mut port, _partner) = rig.ports(&PortOptions::new())?;
        port.post_fetch_add(WorkRequest::signalled(1), rig.buffer(8)?, &remote, offset, 1)?;
        let done = rig.complete(&mut port, 1)?;
        assert_eq!(done[0].status, WorkCompletionStatus::RemoteInvalidRequest);
        assert_eq!(port.state(), PortState::Error);
    }
    Ok(())
}

pub(crate) fn atomics_take_eight_bytes<H: Harness>() -> Outcome {
    let rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    let (_memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    for length in [0, 7, 9, 16] {
        let add = port.post_fetch_add(WorkRequest::signalled(1), rig.buffer(length)?, &remote, 0, 1).err();
        assert_eq!(add.map(|refused| (refused.reason, refused.buffer.len())), Some((PostError::Length, length)));
        let swap = port.post_compare_swap(WorkRequest::signalled(1), rig.buffer(length)?, &remote, 0, 0, 1).err();
        assert_eq!(swap.map(|refused| refused.reason), Some(PostError::Length));
    }
    Ok(())
}

pub(crate) fn a_buffer_of_another_domain_is_refused<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    let other = rig.harness.node(Side::Left).domain(&rig.links[0])?;
    for kind in 0..4 {
        let (mut port, mut partner) = rig.ports(&PortOptions::new())?;
        partner.post_receive(WorkRequest::signalled(1), buffer::<H>(&rig.right, 64)?)?;
        let (request, stranger) = (WorkRequest::signalled(1), buffer::<H>(&other, 8)?);
        match kind {
            0 => port.post_read(request, stranger, &remote, 0)?,
            1 => port.post_write(request, stranger, &remote, 0)?,
            2 => port.post_fetch_add(request, stranger, &remote, 0, 1)?,
            _ => port.post_send(request, stranger)?,
        }
        let done = rig.complete(&mut port, 1)?;
        assert_eq!(done[0].status, WorkCompletionStatus::LocalProtection, "kind {kind}");
        assert!(done[0].buffer.is_some() && port.state() == PortState::Error);
    }
    assert_eq!(memory.load(0, std::sync::atomic::Ordering::Relaxed)?, 0);
    Ok(())
}

pub(crate) fn a_port_address_of_nonsense_is_an_error<H: Harness>() -> Outcome {
    let rig = Rig::<H>::new()?;
    let options = PortOptions::new();
    let good = rig.right.port(&options)?.address().0;
    let mut wrong = vec![[0; 64], [0xff; 64], std::array::from_fn(|index| index as u8)];
    for at in 0..8 {
        let mut broken = good;
        broken[at] ^= 0x40;
        wrong.push(broken);
    }
    for bytes in wrong {
        let error = rig.left.port(&options)?.connect(&PortAddress(bytes)).err().ok_or("wired to nothing")?;
        let fits = matches!(error, FabricError::Protocol { .. } | FabricError::LinkLost { .. });
        assert!(fits, "{error}");
    }
    Ok(())
}

pub(crate) fn options_have_ranges<H: Harness>() -> Outcome {
    let rig = Rig::<H>::new()?;
    let good = PortOptions::new();
    let wrong = [
        good.send_work_requests(0),
        good.send_work_requests(32_769),
        good.receive_work_requests(0),
        good.receive_work_requests(32_769),
        good.message_bytes(7),
        good.message_bytes(65_537),
        good.receiver_not_ready_ms(0),
        good.receiver_not_ready_ms(600_001),
    ];
    for options in wrong {
        assert!(matches!(rig.left.port(&options), Err(FabricError::Option { .. })), "{options:?}");
    }
    let asked = good.send_work_requests(3).receive_work_requests(5).message_bytes(77);
    let limits = rig.ports(&asked)?.0.limits();
    assert!(limits.send_work_requests_max >= 3 && limits.receive_work_requests_max >= 5);
    assert!(limits.message_bytes_max >= 77);
    Ok(())
}
