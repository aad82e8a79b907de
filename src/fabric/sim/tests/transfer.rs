//! What moves, on a fabric without faults.

use super::*;
use WorkCompletionStatus as Status;

fn setup() -> Fallible<(Pair, Client, Client)> {
    setup_with(&PortOptions::new())
}

fn setup_with(options: &PortOptions) -> Fallible<(Pair, Client, Client)> {
    let pair = pair(1, Faults::none())?;
    let (a, b) = clients(&pair, options)?;
    Ok((pair, a, b))
}

#[test]
fn write_then_read_back() -> Outcome {
    let (pair, mut a, b) = setup()?;
    let (exposed, remote) = expose(&b, &a, AccessFlags::ALL)?;
    for (offset, length) in [(0, 1), (3, 13), (8, 8), (4088, 8), (0, 4096), (17, 4079)] {
        let bytes: Vec<u8> = (0..length).map(|index| (index * 7 + offset) as u8 | 1).collect();
        a.port.post_write(WorkRequest::signalled(1), buffer(&a.domain, &bytes)?, &remote, offset as u64)?;
        a.port.post_read(WorkRequest::signalled(2), buffer(&a.domain, &vec![0; length])?, &remote, offset as u64)?;
        let written = complete(&pair.sim, &mut a.port)?;
        assert_eq!((written.id, written.status, written.bytes), (1, Status::Success, length as u32));
        let read = complete(&pair.sim, &mut a.port)?;
        assert_eq!((read.id, read.status, read.bytes), (2, Status::Success, length as u32));
        assert_eq!(read.buffer.ok_or("no buffer")?.as_slice(), bytes);
        assert_eq!(bytes_at(&exposed, offset, length)?, bytes);
    }
    Ok(())
}

#[test]
fn nothing_moves_before_its_time() -> Outcome {
    let (pair, mut a, b) = setup()?;
    let (exposed, remote) = expose(&b, &a, AccessFlags::ALL)?;
    a.port.post_write_inline(WorkRequest::signalled(1), &[9; 8], &remote, 0)?;
    pair.sim.advance(Duration::from_nanos(999));
    assert_eq!(bytes_at(&exposed, 0, 8)?, [0; 8]);
    pair.sim.advance(Duration::from_nanos(4_001));
    assert_eq!(bytes_at(&exposed, 0, 8)?, [9; 8]);
    assert_eq!(complete(&pair.sim, &mut a.port)?.buffer.map(|buffer| buffer.len()), None);
    Ok(())
}

#[test]
fn operations_on_no_bytes_touch_nothing_and_succeed() -> Outcome {
    let (pair, mut a, b) = setup()?;
    let (exposed, _) = expose(&b, &a, AccessFlags::NONE)?;
    let nothing = a.domain.import(&RemoteDescriptor { key: 1, ..*exposed.descriptor() })?;
    a.port.post_write_inline(WorkRequest::signalled(1), &[], &nothing, 4096)?;
    a.port.post_read(WorkRequest::signalled(2), buffer(&a.domain, &[])?, &nothing, 0)?;
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
    Ok(())
}

#[test]
fn atomics() -> Outcome {
    let (pair, mut a, b) = setup()?;
    let (exposed, remote) = expose(&b, &a, AccessFlags::REMOTE_ATOMIC)?;
    exposed.store(16, 40, Ordering::SeqCst)?;
    a.port.post_fetch_add(WorkRequest::signalled(1), buffer(&a.domain, &[0; 8])?, &remote, 16, 2)?;
    a.port.post_compare_swap(WorkRequest::signalled(2), buffer(&a.domain, &[0; 8])?, &remote, 16, 42, 7)?;
    a.port.post_compare_swap(WorkRequest::signalled(3), buffer(&a.domain, &[0; 8])?, &remote, 16, 42, 8)?;
    for before in [40_u64, 42, 7] {
        let completion = complete(&pair.sim, &mut a.port)?;
        assert_eq!(completion.status, Status::Success);
        assert_eq!(completion.buffer.ok_or("no buffer")?.as_slice(), before.to_ne_bytes());
    }
    assert_eq!(exposed.load(16, Ordering::SeqCst)?, 7);
    let refused = a.port.post_fetch_add(WorkRequest::signalled(4), buffer(&a.domain, &[0; 4])?, &remote, 16, 2);
    assert_eq!(refused.map_err(|refused| (refused.reason, refused.buffer.len())), Err((PostError::Length, 4)));
    a.port.post_fetch_add(WorkRequest::signalled(5), buffer(&a.domain, &[0; 8])?, &remote, 12, 2)?;
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::RemoteInvalidRequest);
    Ok(())
}

#[test]
fn messages_and_immediates_fill_receives_in_order() -> Outcome {
    let (pair, mut a, mut b) = setup()?;
    let (exposed, remote) = expose(&b, &a, AccessFlags::REMOTE_WRITE)?;
    for id in 10..12 {
        b.port.post_receive(WorkRequest::signalled(id), buffer(&b.domain, &[0; 16])?)?;
    }
    a.port.post_send(WorkRequest::signalled(1), buffer(&a.domain, b"hello")?)?;
    a.port.post_write_with_immediate(WorkRequest::signalled(2), buffer(&a.domain, b"world")?, &remote, 8, 77)?;
    let received = complete(&pair.sim, &mut b.port)?;
    assert_eq!((received.id, received.bytes, received.immediate), (10, 5, None));
    assert_eq!(&received.buffer.ok_or("no buffer")?.as_slice()[..5], b"hello");
    let notified = complete(&pair.sim, &mut b.port)?;
    assert_eq!((notified.id, notified.bytes, notified.immediate), (11, 5, Some(77)));
    assert_eq!(bytes_at(&exposed, 8, 5)?, b"world");
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
    Ok(())
}

#[test]
fn an_immediate_without_bytes_still_takes_a_receive() -> Outcome {
    let (pair, mut a, mut b) = setup()?;
    let (_exposed, remote) = expose(&b, &a, AccessFlags::REMOTE_WRITE)?;
    b.port.post_receive(WorkRequest::signalled(10), buffer(&b.domain, &[])?)?;
    a.port.post_write_with_immediate(WorkRequest::signalled(1), buffer(&a.domain, &[])?, &remote, 0, 5)?;
    let notified = complete(&pair.sim, &mut b.port)?;
    assert_eq!((notified.id, notified.status, notified.immediate), (10, Status::Success, Some(5)));
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
    Ok(())
}

#[test]
fn a_message_longer_than_its_receive_fails_on_both_sides() -> Outcome {
    let (pair, mut a, mut b) = setup()?;
    b.port.post_receive(WorkRequest::signalled(10), buffer(&b.domain, &[0; 4])?)?;
    a.port.post_send(WorkRequest::signalled(1), buffer(&a.domain, b"hello")?)?;
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::RemoteInvalidRequest);
    assert_eq!(status(&pair.sim, &mut b.port)?, Status::LocalLength);
    assert_eq!((a.port.state(), b.port.state()), (PortState::Error, PortState::Error));
    Ok(())
}

#[test]
fn a_message_longer_than_the_limit_is_refused() -> Outcome {
    let (_pair, mut a, _b) = setup_with(&PortOptions::new().message_bytes(8))?;
    let refused = a.port.post_send(WorkRequest::signalled(1), buffer(&a.domain, &[1; 9])?);
    assert_eq!(refused.map_err(|refused| refused.reason), Err(PostError::Length));
    a.port.post_send(WorkRequest::signalled(1), buffer(&a.domain, &[1; 8])?)?;
    Ok(())
}

#[test]
fn a_sender_waits_for_a_receive_and_all_behind_it_wait_too() -> Outcome {
    let (pair, mut a, mut b) = setup()?;
    let (exposed, remote) = expose(&b, &a, AccessFlags::REMOTE_WRITE)?;
    a.port.post_send(WorkRequest::signalled(1), buffer(&a.domain, b"hello")?)?;
    a.port.post_write_inline(WorkRequest::signalled(2), &[9; 8], &remote, 0)?;
    pair.sim.advance(Duration::from_millis(900));
    assert!(poll_one(&mut a.port).is_none());
    assert_eq!(bytes_at(&exposed, 0, 8)?, [0; 8]);
    b.port.post_receive(WorkRequest::signalled(10), buffer(&b.domain, &[0; 16])?)?;
    pair.sim.advance(Duration::from_micros(20));
    assert_eq!(poll_one(&mut b.port).ok_or("not received")?.bytes, 5);
    assert_eq!(poll_one(&mut a.port).ok_or("not sent")?.id, 1);
    assert_eq!(poll_one(&mut a.port).ok_or("not written")?.id, 2);
    assert_eq!(bytes_at(&exposed, 0, 8)?, [9; 8]);
    Ok(())
}

#[test]
fn a_sender_gives_up_waiting_for_a_receive() -> Outcome {
    let (pair, mut a, _b) = setup_with(&PortOptions::new().receiver_not_ready_ms(5))?;
    let begun = pair.sim.now();
    a.port.post_send(WorkRequest::signalled(1), buffer(&a.domain, b"hello")?)?;
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::ReceiverNotReady);
    let waited = pair.sim.now().since(begun);
    assert!(waited >= Duration::from_millis(5) && waited < Duration::from_millis(6), "{waited:?}");
    assert_eq!(pair.sim.stats().receivers_not_ready, 1);
    Ok(())
}

#[test]
fn a_full_queue_gives_the_buffer_back_until_a_completion_is_polled() -> Outcome {
    let (pair, mut a, b) = setup_with(&PortOptions::new().send_work_requests(2).receive_work_requests(1))?;
    let (_exposed, remote) = expose(&b, &a, AccessFlags::REMOTE_WRITE)?;
    for id in 0..2 {
        a.port.post_write(WorkRequest::signalled(id), buffer(&a.domain, &[1; 8])?, &remote, 0)?;
    }
    let write = |port: &mut SimPort, bytes: Buffer| port.post_write(WorkRequest::signalled(9), bytes, &remote, 0);
    let refused = write(&mut a.port, buffer(&a.domain, &[5; 8])?);
    let refused = refused.err().ok_or("a third was taken")?;
    assert_eq!((refused.reason, refused.buffer.as_slice()), (PostError::QueueFull, &[5; 8][..]));
    pair.sim.advance(SECOND);
    let refused = write(&mut a.port, refused.buffer).err().ok_or("taken before a poll")?;
    assert_eq!(refused.reason, PostError::QueueFull);
    assert!(poll_one(&mut a.port).is_some());
    write(&mut a.port, refused.buffer)?;
    a.port.post_receive(WorkRequest::signalled(1), buffer(&a.domain, &[0; 8])?)?;
    let refused = a.port.post_receive(WorkRequest::signalled(2), buffer(&a.domain, &[0; 8])?);
    assert_eq!(refused.map_err(|refused| refused.reason), Err(PostError::QueueFull));
    Ok(())
}

#[test]
fn unsignalled_operations_complete_with_the_next_signalled_one() -> Outcome {
    let (pair, mut a, b) = setup()?;
    let (_exposed, remote) = expose(&b, &a, AccessFlags::REMOTE_WRITE)?;
    for id in 1..4 {
        a.port.post_write(WorkRequest::unsignalled(id), buffer(&a.domain, &[1; 8])?, &remote, 0)?;
    }
    pair.sim.advance(SECOND);
    assert!(poll_one(&mut a.port).is_none());
    a.port.post_write(WorkRequest::signalled(4), buffer(&a.domain, &[1; 8])?, &remote, 0)?;
    pair.sim.advance(SECOND);
    for id in 1..5 {
        let completion = poll_one(&mut a.port).ok_or("held back")?;
        assert_eq!((completion.id, completion.status), (id, Status::Success));
        assert!(completion.buffer.is_some());
    }
    a.port.post_write(WorkRequest::unsignalled(5), buffer(&a.domain, &[1; 8])?, &remote, 0)?;
    pair.sim.advance(SECOND);
    a.port.close();
    let completion = poll_one(&mut a.port).ok_or("lost by the close")?;
    assert_eq!((completion.id, completion.status), (5, Status::Success));
    Ok(())
}

/// Posts a WRITE and a READ behind it through a remote; the first must be refused by the target, the other flushed.
fn refused(pair: &Pair, a: &mut Client, b: &Client, remote: &SimRemote, offset: u64) -> Outcome {
    let before = pair.sim.stats().operations_refused;
    a.port.post_write(WorkRequest::unsignalled(1), buffer(&a.domain, &[1; 8])?, remote, offset)?;
    a.port.post_read(WorkRequest::signalled(2), buffer(&a.domain, &[0; 8])?, remote, offset)?;
    let first = complete(&pair.sim, &mut a.port)?;
    assert_eq!((first.id, first.status, first.buffer.is_some()), (1, Status::RemoteAccess, true));
    let second = complete(&pair.sim, &mut a.port)?;
    assert_eq!((second.id, second.status, second.buffer.is_some()), (2, Status::Flushed, true));
    assert_eq!((a.port.state(), b.port.state()), (PortState::Error, PortState::Error));
    let late = a.port.post_read(WorkRequest::signalled(3), buffer(&a.domain, &[0; 8])?, remote, 0);
    assert_eq!(late.map_err(|refused| refused.reason), Err(PostError::PortInError));
    assert_eq!(pair.sim.stats().operations_refused, before + 1);
    Ok(())
}

#[test]
fn a_target_refuses_a_wrong_key() -> Outcome {
    let (pair, mut a, b) = setup()?;
    let (exposed, _) = expose(&b, &a, AccessFlags::ALL)?;
    let wrong = RemoteDescriptor { key: exposed.descriptor().key ^ 1, ..*exposed.descriptor() };
    let wrong = a.domain.import(&wrong)?;
    refused(&pair, &mut a, &b, &wrong, 0)
}

#[test]
fn a_target_refuses_a_range_that_a_forged_length_allows() -> Outcome {
    for (address, offset) in [(0, 4089), (u64::MAX - 7, 0), (0, u64::MAX - 8)] {
        let (pair, mut a, b) = setup()?;
        let (exposed, _) = expose(&b, &a, AccessFlags::ALL)?;
        let real = *exposed.descriptor();
        let forged = RemoteDescriptor { length: u64::MAX, address: real.address.wrapping_add(address), ..real };
        let forged = a.domain.import(&forged)?;
        refused(&pair, &mut a, &b, &forged, offset)?;
        assert_eq!(bytes_at(&exposed, 0, 4096)?, vec![0; 4096]);
    }
    Ok(())
}

#[test]
fn a_target_refuses_a_missing_right_whatever_the_descriptor_says() -> Outcome {
    let (pair, mut a, b) = setup()?;
    let (exposed, _) = expose(&b, &a, AccessFlags::REMOTE_READ.union(AccessFlags::REMOTE_ATOMIC))?;
    let forged = a.domain.import(&RemoteDescriptor { access: AccessFlags::ALL, ..*exposed.descriptor() })?;
    refused(&pair, &mut a, &b, &forged, 0)
}

#[test]
fn a_target_refuses_memory_of_another_domain() -> Outcome {
    let (pair, mut a, b) = setup()?;
    let other = pair.b.node.domain(&pair.b.link)?;
    let exposed = other.expose(region()?, AccessFlags::ALL)?;
    let remote = a.domain.import(exposed.descriptor())?;
    refused(&pair, &mut a, &b, &remote, 0)
}

#[test]
fn a_target_refuses_what_is_no_longer_exposed() -> Outcome {
    let (pair, mut a, b) = setup()?;
    let (exposed, remote) = expose(&b, &a, AccessFlags::ALL)?;
    drop(exposed);
    refused(&pair, &mut a, &b, &remote, 0)
}

#[test]
fn a_status_block_cannot_be_written_nor_a_mailbox_read() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    let status_block = pair.a.link.status.clone();
    pair.a.link.port.post_write_inline(WorkRequest::signalled(1), &[1], &status_block, 0)?;
    assert_eq!(status(&pair.sim, &mut pair.a.link.port)?, Status::RemoteAccess);
    let mailbox = pair.b.mailbox()?;
    let into = buffer(&pair.b.link.domain, &[0])?;
    pair.b.link.port.post_read(WorkRequest::signalled(1), into, &mailbox, 0)?;
    assert_eq!(status(&pair.sim, &mut pair.b.link.port)?, Status::RemoteAccess);
    Ok(())
}

#[test]
fn a_buffer_of_another_domain_is_a_local_error_and_moves_nothing() -> Outcome {
    let (pair, mut a, b) = setup()?;
    let (exposed, remote) = expose(&b, &a, AccessFlags::ALL)?;
    let strange = buffer(&pair.a.node.domain(&pair.a.link)?, &[1; 8])?;
    a.port.post_write(WorkRequest::signalled(1), strange, &remote, 0)?;
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::LocalProtection);
    assert_eq!(bytes_at(&exposed, 0, 8)?, [0; 8]);
    Ok(())
}

#[test]
fn a_request_past_the_end_or_too_long_inline_is_not_taken() -> Outcome {
    let (_pair, mut a, b) = setup()?;
    let (_exposed, remote) = expose(&b, &a, AccessFlags::ALL)?;
    assert_eq!(remote.len(), 4096);
    for offset in [4089, u64::MAX] {
        let refused = a.port.post_read(WorkRequest::signalled(1), buffer(&a.domain, &[0; 8])?, &remote, offset);
        assert_eq!(refused.map_err(|refused| refused.reason), Err(PostError::OutOfRange));
        let refused = a.port.post_write_inline(WorkRequest::signalled(1), &[0; 8], &remote, offset);
        assert_eq!(refused, Err(PostError::OutOfRange));
    }
    let most = a.port.limits().inline_bytes_max as usize;
    a.port.post_write_inline(WorkRequest::signalled(1), &vec![0; most], &remote, 0)?;
    let refused = a.port.post_write_inline(WorkRequest::signalled(1), &vec![0; most + 1], &remote, 0);
    assert_eq!(refused, Err(PostError::Length));
    Ok(())
}

#[test]
fn close_flushes_everything_in_order_and_the_other_side_gets_no_answer() -> Outcome {
    let (pair, mut a, mut b) = setup()?;
    let (_exposed, remote) = expose(&b, &a, AccessFlags::ALL)?;
    a.port.post_receive(WorkRequest::signalled(10), buffer(&a.domain, &[0; 8])?)?;
    for id in 0..3 {
        a.port.post_write(WorkRequest::unsignalled(id), buffer(&a.domain, &[1; 8])?, &remote, 0)?;
    }
    a.port.close();
    for id in [0, 1, 2, 10] {
        let completion = poll_one(&mut a.port).ok_or("not flushed")?;
        assert_eq!((completion.id, completion.status, completion.buffer.is_some()), (id, Status::Flushed, true));
    }
    assert!(poll_one(&mut a.port).is_none());
    b.port.post_send(WorkRequest::signalled(1), buffer(&b.domain, &[1; 8])?)?;
    assert_eq!(status(&pair.sim, &mut b.port)?, Status::RetryExceeded);
    assert_eq!(pair.sim.stats().retries_exceeded, 1);
    Ok(())
}

#[test]
fn options_out_of_range_and_addresses_of_no_port_are_errors() -> Outcome {
    let pair = pair(1, Faults::none())?;
    let domain = &pair.a.link.domain;
    for wrong in [
        PortOptions::new().send_work_requests(0),
        PortOptions::new().receive_work_requests(32_769),
        PortOptions::new().message_bytes(7),
        PortOptions::new().receiver_not_ready_ms(600_001),
    ] {
        assert!(matches!(domain.port(&wrong).err(), Some(crate::fabric::FabricError::Option { .. })), "{wrong:?}");
    }
    let pending = domain.port(&PortOptions::new())?;
    let good = pending.address();
    for at in 0..good.0.len() {
        let mut bad = good;
        bad.0[at] ^= 1;
        let error = domain.port(&PortOptions::new())?.connect(&bad).err();
        assert!(matches!(error, Some(crate::fabric::FabricError::Protocol { .. })), "byte {at}: {error:?}");
    }
    Ok(())
}

#[test]
fn a_port_that_only_one_side_wired_gets_no_answer() -> Outcome {
    let (pair, a, _b) = setup()?;
    let (one, other) = (a.domain.port(&PortOptions::new())?, a.domain.port(&PortOptions::new())?);
    let mut one = one.connect(&other.address())?;
    one.post_send(WorkRequest::signalled(1), buffer(&a.domain, &[1; 8])?)?;
    assert_eq!(status(&pair.sim, &mut one)?, Status::RetryExceeded);
    Ok(())
}

#[test]
fn a_revoked_domain_ends_its_ports_and_exposures_and_no_others() -> Outcome {
    let (mut pair, mut a, mut b) = setup()?;
    let (exposed, remote) = expose(&b, &a, AccessFlags::ALL)?;
    a.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
    b.port.post_receive(WorkRequest::signalled(2), buffer(&b.domain, &[0; 8])?)?;
    b.domain.revoke()?;
    let flushed = poll_one(&mut b.port).ok_or("not flushed")?;
    assert_eq!((flushed.id, flushed.status, b.port.state()), (2, Status::Flushed, PortState::Error));
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::RetryExceeded);
    assert_eq!(bytes_at(&exposed, 0, 8)?, [0; 8]);
    let mailbox = pair.a.mailbox()?;
    pair.a.link.port.post_write_inline(WorkRequest::signalled(3), &[1; 8], &mailbox, 0)?;
    assert_eq!(status(&pair.sim, &mut pair.a.link.port)?, Status::Success);
    Ok(())
}
