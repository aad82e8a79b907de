//! SEND and receive, WRITE with immediate, and what happens where no receive is posted.

use crate::harness::Harness;
use crate::rig::{Outcome, Rig, buffer};
use handfast::fabric::{
    AccessFlags, Operation, Port, PortOptions, PortState, PostError, WorkCompletionStatus, WorkRequest,
};
use std::sync::atomic::Ordering;

pub(crate) fn messages_of_every_length_arrive_in_order<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let options = PortOptions::new().message_bytes(2000).receive_work_requests(4);
    let (mut left, mut right) = rig.ports(&options)?;
    let lengths = [0usize, 1, 8, 47, 48, 49, 64, 112, 113, 1000, 1999, 2000];
    for (round, chunk) in lengths.chunks(4).enumerate() {
        for (index, _) in chunk.iter().enumerate() {
            let mut into = buffer::<H>(&rig.right, 2000)?;
            into.as_mut_slice().fill(0xee);
            right.post_receive(WorkRequest::signalled(10 + index as u64), into)?;
        }
        for (index, length) in chunk.iter().enumerate() {
            left.post_send(WorkRequest::signalled(index as u64), rig.buffer(*length)?)?;
        }
        let sent = rig.complete(&mut left, chunk.len())?;
        let received = rig.complete(&mut right, chunk.len())?;
        for (index, length) in chunk.iter().enumerate() {
            let (sent, received) = (&sent[index], &received[index]);
            assert!(sent.is_success() && received.is_success(), "round {round}: {sent:?} {received:?}");
            assert_eq!((sent.id, sent.operation), (index as u64, Operation::Send));
            assert_eq!((received.id, received.operation), (10 + index as u64, Operation::Receive));
            assert_eq!((received.bytes as usize, received.immediate), (*length, None));
            let bytes = received.buffer.as_ref().ok_or("no buffer")?;
            assert_eq!(bytes.len(), 2000, "the receive's buffer comes back as it was posted");
            assert_eq!(&bytes.as_slice()[..*length], rig.buffer(*length)?.as_slice());
            assert!(bytes.as_slice()[*length..].iter().all(|byte| *byte == 0xee));
        }
    }
    Ok(())
}

pub(crate) fn immediate_data_comes_after_its_bytes<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(8192, AccessFlags::REMOTE_WRITE)?;
    for (round, length) in [8usize, 0, 300, 5000].into_iter().enumerate() {
        let immediate = 0xdead_0000 | round as u32;
        right.post_receive(WorkRequest::signalled(5), buffer::<H>(&rig.right, 8)?)?;
        let from = rig.buffer(length)?;
        let expected = from.as_slice().to_vec();
        left.post_write_with_immediate(WorkRequest::signalled(6), from, &remote, 16, immediate)?;
        let received = rig.good(&mut right, 5)?;
        let mut got = vec![0; length];
        memory.read(16, &mut got)?;
        assert_eq!(got, expected, "the bytes are there when the receive completes");
        assert_eq!((received.operation, received.immediate), (Operation::ReceiveWithImmediate, Some(immediate)));
        assert_eq!(received.bytes as usize, length);
        assert!(received.buffer.is_some());
        let sent = rig.good(&mut left, 6)?;
        assert_eq!((sent.operation, sent.immediate), (Operation::WriteWithImmediate, None));
    }
    Ok(())
}

pub(crate) fn a_message_waits_for_its_receive_and_the_rest_behind_it<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new().receiver_not_ready_ms(60_000))?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    left.post_write_inline(WorkRequest::signalled(1), &1u64.to_ne_bytes(), &remote, 0)?;
    left.post_send(WorkRequest::signalled(2), rig.buffer(20)?)?;
    left.post_write_inline(WorkRequest::signalled(3), &2u64.to_ne_bytes(), &remote, 0)?;
    left.post_fetch_add(WorkRequest::signalled(4), rig.buffer(8)?, &remote, 0, 40)?;
    left.post_write(WorkRequest::signalled(5), rig.buffer(30)?, &remote, 64)?;
    left.post_read(WorkRequest::signalled(6), rig.buffer(8)?, &remote, 0)?;
    left.post_write_with_immediate(WorkRequest::signalled(7), rig.buffer(8)?, &remote, 128, 99)?;
    rig.good(&mut left, 1)?;
    crate::rig::quiet(&mut rig.harness, &mut left)?;
    assert_eq!(memory.load(0, Ordering::Acquire)?, 1, "nothing overtakes what waits");
    right.post_receive(WorkRequest::signalled(1), buffer::<H>(&rig.right, 64)?)?;
    let done = rig.complete(&mut left, 5)?;
    assert_eq!(done.iter().map(|done| done.id).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert!(done.iter().all(|done| done.is_success()), "{done:?}");
    let word = |index: usize| done[index].buffer.as_ref().map(|buffer| buffer.as_slice().to_vec());
    assert_eq!(word(2), Some(2u64.to_ne_bytes().to_vec()));
    assert_eq!(word(4), Some(42u64.to_ne_bytes().to_vec()));
    crate::rig::quiet(&mut rig.harness, &mut left)?;
    assert_eq!(memory.load(128, Ordering::Acquire)?, 0, "the next one waits for a receive of its own");
    let received = rig.good(&mut right, 1)?;
    assert_eq!(received.bytes, 20);
    right.post_receive(WorkRequest::signalled(2), buffer::<H>(&rig.right, 64)?)?;
    rig.good(&mut left, 7)?;
    assert_eq!(rig.good(&mut right, 2)?.immediate, Some(99));
    Ok(())
}

pub(crate) fn without_a_receive_in_time_the_port_fails<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, _right) = rig.ports(&PortOptions::new().receiver_not_ready_ms(20))?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    use handfast::fabric::Fabric;
    let node = rig.harness.node(crate::harness::Side::Left);
    let before = node.now();
    left.post_send(WorkRequest::unsignalled(1), rig.buffer(8)?)?;
    left.post_write(WorkRequest::unsignalled(2), rig.buffer(8)?, &remote, 0)?;
    let done = rig.complete(&mut left, 2)?;
    let waited = node.now().since(before).as_millis();
    assert!(waited >= 20, "waited {waited} ms");
    assert_eq!((done[0].id, done[0].status), (1, WorkCompletionStatus::ReceiverNotReady));
    assert_eq!((done[1].id, done[1].status), (2, WorkCompletionStatus::Flushed));
    assert!(done.iter().all(|done| done.buffer.is_some()));
    assert_eq!(left.state(), PortState::Error);
    assert_eq!(memory.load(0, Ordering::Relaxed)?, 0);
    Ok(())
}

pub(crate) fn messages_longer_than_allowed_are_refused<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new().message_bytes(100))?;
    let max = left.limits().message_bytes_max as usize;
    right.post_receive(WorkRequest::signalled(1), buffer::<H>(&rig.right, max)?)?;
    let refused = left.post_send(WorkRequest::signalled(1), rig.buffer(max + 1)?).err().ok_or("taken")?;
    assert_eq!((refused.reason, refused.buffer.len()), (PostError::Length, max + 1));
    left.post_send(WorkRequest::signalled(2), rig.buffer(max)?)?;
    rig.good(&mut left, 2)?;
    assert_eq!(rig.good(&mut right, 1)?.bytes as usize, max);
    Ok(())
}

/// A message that fits our port and not the other side's: the sender, the receiver or both are told, and nobody takes it for good on both.
pub(crate) fn messages_longer_than_the_other_side_takes_are_refused_there<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (long, short) = (PortOptions::new().message_bytes(4096), PortOptions::new().message_bytes(64));
    let (mut left, mut right) = rig.ports_with(&long, &short)?;
    right.post_receive(WorkRequest::signalled(1), buffer::<H>(&rig.right, 64)?)?;
    left.post_send(WorkRequest::signalled(2), rig.buffer(4096)?)?;
    let done = rig.complete(&mut left, 1)?;
    let refused = [WorkCompletionStatus::RemoteInvalidRequest, WorkCompletionStatus::RemoteOperation];
    assert!(refused.contains(&done[0].status), "{done:?}");
    let received = rig.complete(&mut right, 1)?;
    assert!(!received[0].is_success(), "{received:?}");
    Ok(())
}

pub(crate) fn a_message_longer_than_its_receive_fails_both<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new())?;
    let (_memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    right.post_receive(WorkRequest::signalled(1), buffer::<H>(&rig.right, 16)?)?;
    right.post_receive(WorkRequest::signalled(2), buffer::<H>(&rig.right, 64)?)?;
    left.post_send(WorkRequest::signalled(3), rig.buffer(17)?)?;
    let received = rig.complete(&mut right, 2)?;
    assert_eq!((received[0].id, received[0].status), (1, WorkCompletionStatus::LocalLength));
    assert_eq!((received[1].id, received[1].status), (2, WorkCompletionStatus::Flushed));
    assert!(received.iter().all(|done| done.buffer.is_some()));
    assert_eq!(right.state(), PortState::Error);
    // The sender learns it with this completion or with the next.
    let first = rig.complete(&mut left, 1)?;
    if first[0].is_success() && left.post_write_inline(WorkRequest::signalled(4), &[1; 8], &remote, 0).is_ok() {
        assert!(!rig.complete(&mut left, 1)?[0].is_success());
    }
    assert_eq!(left.state(), PortState::Error);
    Ok(())
}

pub(crate) fn more_messages_than_slots_go_round<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new().receive_work_requests(3).message_bytes(64))?;
    for id in 0..3 {
        right.post_receive(WorkRequest::signalled(id), buffer::<H>(&rig.right, 64)?)?;
    }
    for number in 0..200u64 {
        let mut from = rig.buffer(8)?;
        from.as_mut_slice().copy_from_slice(&number.to_ne_bytes());
        left.post_send(WorkRequest::signalled(number), from)?;
        rig.good(&mut left, number)?;
        let received = rig.good(&mut right, number)?;
        let bytes = received.buffer.ok_or("no buffer")?;
        assert_eq!(bytes.as_slice()[..8], number.to_ne_bytes());
        right.post_receive(WorkRequest::signalled(number + 3), bytes)?;
    }
    Ok(())
}

/// A message that has arrived waits for nothing any more, also where its completion was not asked for.
pub(crate) fn an_unsignalled_message_that_arrived_ends_nothing<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new().receiver_not_ready_ms(20))?;
    let (_memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    right.post_receive(WorkRequest::signalled(1), buffer::<H>(&rig.right, 64)?)?;
    left.post_send(WorkRequest::unsignalled(2), rig.buffer(8)?)?;
    left.post_write(WorkRequest::unsignalled(3), rig.buffer(8)?, &remote, 0)?;
    rig.good(&mut right, 1)?;
    let mut told = Vec::new();
    for _ in 0..30 {
        crate::rig::wait(&mut rig.harness, std::time::Duration::from_millis(2));
        for _ in 0..100 {
            let mut some = [handfast::fabric::Completion::default()];
            if left.poll(&mut some) != 0 {
                told.extend(some);
            }
        }
    }
    assert_eq!(left.state(), PortState::Ready, "told so far: {told:?}");
    left.post_write_inline(WorkRequest::signalled(4), &[1; 8], &remote, 8)?;
    let count = 3 - told.len();
    told.extend(rig.complete(&mut left, count)?);
    assert!(told.iter().all(|done| done.is_success()), "{told:?}");
    assert_eq!(told.iter().map(|done| done.id).collect::<Vec<_>>(), [2, 3, 4]);
    Ok(())
}
