//! Full queues, unsignalled work, polling into little room, many ports.

use crate::harness::Harness;
use crate::rig::{Outcome, Rig, buffer, quiet};
use handfast::fabric::{
    AccessFlags, Completion, Domain, Port, PortOptions, PostError, RemoteDescriptor, WorkCompletionStatus, WorkRequest,
};
use std::sync::atomic::Ordering;

pub(crate) fn a_full_queue_gives_the_buffer_back<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new().send_work_requests(5))?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    let max = u64::from(port.limits().send_work_requests_max);
    for round in 0..10 {
        for id in 0..max {
            port.post_write(WorkRequest::signalled(id), rig.buffer(8)?, &remote, 8 * id)?;
        }
        let mut precious = rig.buffer(16)?;
        precious.as_mut_slice().fill(round);
        let refused = port.post_write(WorkRequest::signalled(99), precious, &remote, 2048).err().ok_or("taken")?;
        assert_eq!((refused.reason, refused.buffer.as_slice()), (PostError::QueueFull, &[round; 16][..]));
        let refused = port.post_send(WorkRequest::signalled(99), refused.buffer).err().ok_or("taken")?;
        assert_eq!(refused.reason, PostError::QueueFull);
        let inline = port.post_write_inline(WorkRequest::signalled(99), &[1; 8], &remote, 2048);
        assert_eq!(inline, Err(PostError::QueueFull));
        let done = rig.complete(&mut port, max as usize)?;
        assert!(done.iter().enumerate().all(|(index, done)| done.id == index as u64 && done.is_success()));
    }
    assert_eq!(memory.load(2048, Ordering::Relaxed)?, 0, "nothing of a refused request is done");
    quiet(&mut rig.harness, &mut port)
}

pub(crate) fn a_full_receive_queue_gives_the_buffer_back<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new().receive_work_requests(3))?;
    let max = u64::from(right.limits().receive_work_requests_max);
    for id in 0..max {
        right.post_receive(WorkRequest::signalled(id), buffer::<H>(&rig.right, 8)?)?;
    }
    let refused = right.post_receive(WorkRequest::signalled(9), buffer::<H>(&rig.right, 8)?).err().ok_or("taken")?;
    assert_eq!((refused.reason, refused.buffer.len()), (PostError::QueueFull, 8));
    left.post_send(WorkRequest::signalled(1), rig.buffer(8)?)?;
    rig.good(&mut right, 0)?;
    right.post_receive(WorkRequest::signalled(9), refused.buffer)?;
    Ok(())
}

pub(crate) fn unsignalled_work_completes_with_the_next_signalled<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    let (_memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    for _ in 0..20 {
        port.post_write(WorkRequest::unsignalled(1), rig.buffer(8)?, &remote, 0)?;
        port.post_write_inline(WorkRequest::unsignalled(2), &[1; 8], &remote, 0)?;
        port.post_read(WorkRequest::unsignalled(3), rig.buffer(8)?, &remote, 0)?;
        port.post_write(WorkRequest::signalled(4), rig.buffer(8)?, &remote, 0)?;
        port.post_write_inline(WorkRequest::signalled(5), &[1; 8], &remote, 0)?;
        let done = rig.complete(&mut port, 5)?;
        assert_eq!(done.iter().map(|done| done.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(done.iter().all(Completion::is_success));
        assert_eq!(done.iter().map(|done| done.buffer.is_some()).collect::<Vec<_>>(), [true, false, true, true, false]);
    }
    quiet(&mut rig.harness, &mut port)
}

/// The request that fills the queue counts as signalled.
pub(crate) fn a_queue_full_of_unsignalled_work_is_not_stuck<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new().send_work_requests(4))?;
    let (_memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    let max = u64::from(port.limits().send_work_requests_max);
    for _ in 0..10 {
        for id in 0..max {
            port.post_write_inline(WorkRequest::unsignalled(id), &[1; 8], &remote, 0)?;
        }
        let done = rig.complete(&mut port, max as usize)?;
        assert!(done.iter().enumerate().all(|(index, done)| done.id == index as u64 && done.is_success()));
    }
    Ok(())
}

pub(crate) fn a_failure_completes_what_was_unsignalled_before_it<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    let wrong = rig.left.import(&RemoteDescriptor { key: 5, ..*memory.descriptor() })?;
    port.post_write(WorkRequest::unsignalled(1), rig.buffer(8)?, &remote, 0)?;
    port.post_write(WorkRequest::unsignalled(2), rig.buffer(8)?, &remote, 8)?;
    port.post_write(WorkRequest::unsignalled(3), rig.buffer(8)?, &wrong, 0)?;
    let done = rig.complete(&mut port, 3)?;
    let ends: Vec<_> = done.iter().map(|done| (done.id, done.status)).collect();
    use WorkCompletionStatus::{RemoteAccess, Success};
    assert_eq!(ends, [(1, Success), (2, Success), (3, RemoteAccess)]);
    assert!(done.iter().all(|done| done.buffer.is_some()));
    quiet(&mut rig.harness, &mut port)
}

pub(crate) fn polling_into_little_room_loses_nothing<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new())?;
    let (_memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    assert_eq!(left.poll(&mut []), 0);
    for id in 0..10 {
        left.post_receive(WorkRequest::signalled(100 + id), rig.buffer(8)?)?;
        left.post_write_inline(WorkRequest::signalled(id), &[1; 8], &remote, 0)?;
        right.post_send(WorkRequest::signalled(id), buffer::<H>(&rig.right, 8)?)?;
    }
    rig.complete(&mut right, 10)?;
    let (mut sends, mut receives) = (Vec::new(), Vec::new());
    let mut one = [Completion::default()];
    crate::rig::until(&mut rig.harness, "20 completions, one by one", || {
        assert_eq!(left.poll(&mut []), 0);
        if left.poll(&mut one) == 1 {
            assert!(one[0].is_success());
            let queue = if one[0].id < 100 { &mut sends } else { &mut receives };
            queue.push(one[0].id % 100);
        }
        Ok((sends.len() + receives.len() == 20).then_some(()))
    })?;
    assert_eq!((sends, receives), ((0..10).collect::<Vec<_>>(), (0..10).collect()), "in order in each queue");
    quiet(&mut rig.harness, &mut left)
}

pub(crate) fn many_ports_keep_apart<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    let mut ports = Vec::new();
    for _ in 0..40 {
        ports.push(rig.ports(&PortOptions::new().send_work_requests(4).receive_work_requests(2).message_bytes(16))?);
    }
    for (number, (left, right)) in ports.iter_mut().enumerate() {
        let id = number as u64;
        right.post_receive(WorkRequest::signalled(id), buffer::<H>(&rig.right, 16)?)?;
        left.post_write_inline(WorkRequest::signalled(id), &id.to_ne_bytes(), &remote, 8 * id)?;
        let mut from = rig.buffer(8)?;
        from.as_mut_slice().copy_from_slice(&id.to_ne_bytes());
        left.post_send(WorkRequest::signalled(1000 + id), from)?;
    }
    // One of them fails, and one closes; the others do not notice.
    ports[7].0.close();
    for (number, (left, right)) in ports.iter_mut().enumerate().filter(|(number, _)| *number != 7) {
        let id = number as u64;
        let done = rig.complete(left, 2)?;
        assert!(done[0].id == id && done[1].id == 1000 + id && done.iter().all(Completion::is_success), "{done:?}");
        let received = rig.good(right, id)?;
        assert_eq!(received.buffer.ok_or("no buffer")?.as_slice()[..8], id.to_ne_bytes());
        assert_eq!(memory.load(8 * number, Ordering::Acquire)?, id);
    }
    Ok(())
}

/// One doorbell for several requests: all complete, in order, whatever else is done meanwhile.
pub(crate) fn held_requests_go_out_together<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new().send_work_requests(8))?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    for round in 0..20u64 {
        port.hold();
        for place in 0..7u64 {
            let request = WorkRequest { id: round * 10 + place, signalled: place == 6 };
            port.post_write_inline(request, &(round + place).to_ne_bytes(), &remote, place * 8)?;
        }
        port.hold();
        port.post_read(WorkRequest::signalled(round * 10 + 7), rig.buffer(8)?, &remote, 48)?;
        let full = port.post_write_inline(WorkRequest::signalled(99), &[0; 8], &remote, 0);
        assert_eq!(full, Err(PostError::QueueFull));
        port.ring()?;
        port.ring()?;
        let done = rig.complete(&mut port, 8)?;
        assert!(done.iter().all(|done| done.is_success()), "{done:?}");
        let ids: Vec<u64> = done.iter().map(|done| done.id).collect();
        assert_eq!(ids, (round * 10..round * 10 + 8).collect::<Vec<_>>());
        assert_eq!(
            done[7].buffer.as_ref().map(|read| read.as_slice().to_vec()),
            Some((round + 6).to_ne_bytes().to_vec())
        );
        for place in 0..7 {
            assert_eq!(memory.load(place * 8, std::sync::atomic::Ordering::Acquire)?, round + place as u64);
        }
    }
    Ok(())
}

pub(crate) fn polling_and_dropping_send_off_what_is_held<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    port.hold();
    port.post_write(WorkRequest::signalled(1), rig.buffer(16)?, &remote, 0)?;
    rig.good(&mut port, 1)?;
    port.post_write_inline(WorkRequest::signalled(2), &7u64.to_ne_bytes(), &remote, 0)?;
    rig.good(&mut port, 2)?;
    assert_eq!(memory.load(0, std::sync::atomic::Ordering::Acquire)?, 7, "a poll ends holding");
    port.hold();
    port.post_write(WorkRequest::unsignalled(3), rig.buffer(16)?, &remote, 0)?;
    port.close();
    let done = rig.complete(&mut port, 1)?;
    assert_eq!(done[0].id, 3);
    assert!(done[0].buffer.is_some());
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    port.hold();
    port.post_write(WorkRequest::unsignalled(4), rig.buffer(16)?, &remote, 0)?;
    drop(port);
    Ok(())
}
