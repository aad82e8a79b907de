//! Each fault happens, is counted, and looks as described.

use super::*;
use WorkCompletionStatus as Status;

/// Two wired ports and a page of `b`'s, on a fabric without faults of its own.
fn setup(seed: u64) -> Fallible<(Pair, Client, Client, Exposed, SimRemote)> {
    let pair = pair(seed, Faults::none())?;
    let (a, b) = clients(&pair, &PortOptions::new())?;
    let (exposed, remote) = expose(&b, &a, AccessFlags::ALL)?;
    Ok((pair, a, b, exposed, remote))
}

#[test]
fn a_lost_operation_never_lands_nor_does_what_is_behind_it() -> Outcome {
    let (mut pair, mut a, _b, exposed, remote) = setup(1)?;
    assert!(pair.sim.strike("a", 1, Fault::LoseOperation));
    for id in 0..3 {
        a.port.post_write_inline(WorkRequest::signalled(id), &[1; 8], &remote, id * 8)?;
    }
    let begun = pair.sim.now();
    for wanted in [Status::Success, Status::RetryExceeded, Status::Flushed] {
        assert_eq!(status(&pair.sim, &mut a.port)?, wanted);
    }
    assert!(pair.sim.now().since(begun) >= Duration::from_nanos(pair.sim.faults().retry_timeout_ns));
    pair.sim.advance(SECOND);
    assert_eq!(bytes_at(&exposed, 0, 24)?, [[1; 8], [0; 8], [0; 8]].concat());
    let stats = pair.sim.stats();
    assert_eq!((stats.operations_lost, stats.retries_exceeded, stats.landed_but_failed), (1, 1, 0));
    // Another port of the same nodes goes on.
    let mailbox = pair.a.mailbox()?;
    pair.a.link.port.post_write_inline(WorkRequest::signalled(9), &[1; 8], &mailbox, 0)?;
    assert_eq!(status(&pair.sim, &mut pair.a.link.port)?, Status::Success);
    Ok(())
}

#[test]
fn a_loss_on_a_links_port_is_the_end_of_the_link() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    let mailbox = pair.a.mailbox()?;
    pair.sim.strike("a", 0, Fault::LoseOperation);
    pair.a.link.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &mailbox, 0)?;
    pair.a.link.monitor.check()?;
    assert_eq!(status(&pair.sim, &mut pair.a.link.port)?, Status::RetryExceeded);
    assert!(pair.a.link.monitor.check().is_err());
    // The other side learns of it when the link is given up.
    drop(pair.a.link);
    pair.sim.advance(SECOND);
    assert!(matches!(pair.b.endpoint.poll(), Some(EndpointEvent::Closed(..))));
    Ok(())
}

#[test]
fn a_lost_acknowledgement_is_a_failure_that_landed() -> Outcome {
    let (pair, mut a, _b, exposed, remote) = setup(1)?;
    pair.sim.strike("a", 0, Fault::LoseAcknowledgement);
    a.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
    a.port.post_write_inline(WorkRequest::signalled(2), &[2; 8], &remote, 8)?;
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::RetryExceeded);
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::Flushed);
    assert_eq!(bytes_at(&exposed, 0, 16)?, [[1; 8], [2; 8]].concat());
    let stats = pair.sim.stats();
    assert_eq!((stats.acknowledgements_lost, stats.operations_executed, stats.landed_but_failed), (1, 2, 2));
    Ok(())
}

#[test]
fn an_atomic_whose_acknowledgement_is_lost_is_done_once() -> Outcome {
    let (pair, mut a, _b, exposed, remote) = setup(1)?;
    pair.sim.strike("a", 0, Fault::LoseAcknowledgement);
    a.port.post_fetch_add(WorkRequest::signalled(1), buffer(&a.domain, &[0; 8])?, &remote, 0, 5)?;
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::RetryExceeded);
    pair.sim.advance(SECOND);
    assert_eq!(exposed.load(0, Ordering::SeqCst)?, 5);
    Ok(())
}

#[test]
fn a_delayed_operation_holds_up_its_port_and_no_other() -> Outcome {
    let (mut pair, mut a, _b, exposed, remote) = setup(1)?;
    pair.sim.strike("a", 0, Fault::Delay(Duration::from_millis(3)));
    a.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
    a.port.post_write_inline(WorkRequest::signalled(2), &[2; 8], &remote, 8)?;
    let mailbox = pair.a.mailbox()?;
    pair.a.link.port.post_write_inline(WorkRequest::signalled(3), &[1; 8], &mailbox, 0)?;
    pair.sim.advance(Duration::from_millis(2));
    assert_eq!(bytes_at(&exposed, 0, 16)?, [0; 16]);
    assert!(poll_one(&mut pair.a.link.port).is_some());
    pair.sim.advance(Duration::from_millis(2));
    assert!(poll_one(&mut a.port).ok_or("first")?.is_success() && poll_one(&mut a.port).ok_or("second")?.is_success());
    assert_eq!(pair.sim.stats().operations_delayed, 1);
    Ok(())
}

#[test]
fn delays_have_a_heavy_tail() -> Outcome {
    let faults = Faults { delay_ppm: 1_000_000, ..Faults::none() };
    let (mut short, mut long) = (0, 0);
    for seed in 0..200 {
        let (pair, mut a, _b, _exposed, remote) = setup(seed)?;
        pair.sim.replace_faults(faults);
        let begun = pair.sim.now();
        a.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
        assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
        let took = pair.sim.now().since(begun);
        assert!(took <= Duration::from_nanos(faults.delay_ns_max + 10_000), "{took:?}");
        short += u32::from(took < MICROS(50));
        long += u32::from(took > MICROS(400));
    }
    assert!(short > 100 && (3..50).contains(&long), "{short} short, {long} long");
    Ok(())
}

#[test]
fn a_repeated_write_undoes_what_came_after_it() -> Outcome {
    let (pair, mut a, _b, exposed, remote) = setup(1)?;
    pair.sim.strike("a", 0, Fault::RepeatWrite(Duration::from_millis(1)));
    a.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
    exposed.write(0, &[2; 8])?;
    pair.sim.advance(Duration::from_millis(2));
    assert_eq!(bytes_at(&exposed, 0, 8)?, [1; 8]);
    assert!(poll_one(&mut a.port).is_none(), "one completion, however often it lands");
    assert_eq!(pair.sim.stats().writes_repeated, 1);
    Ok(())
}

#[test]
fn a_write_is_repeated_for_a_poster_long_dead_but_not_into_memory_taken_back() -> Outcome {
    for taken_back in [false, true] {
        let (pair, mut a, _b, exposed, remote) = setup(1)?;
        pair.sim.strike("a", 0, Fault::RepeatWrite(Duration::from_millis(1)));
        a.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
        assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
        pair.sim.power_off("a");
        if taken_back {
            drop(exposed);
        } else {
            exposed.write(0, &[2; 8])?;
        }
        pair.sim.advance(SECOND);
        assert_eq!(pair.sim.stats().writes_repeated, u64::from(!taken_back));
    }
    Ok(())
}

#[test]
fn a_greeting_is_repeated_into_a_mailbox_unless_its_link_was_closed() -> Outcome {
    for closed in [false, true] {
        let mut pair = pair(1, Faults::none())?;
        let mailbox = pair.a.mailbox()?;
        pair.sim.strike("a", 0, Fault::RepeatWrite(Duration::from_millis(1)));
        pair.a.link.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &mailbox, 0)?;
        assert_eq!(status(&pair.sim, &mut pair.a.link.port)?, Status::Success);
        if closed {
            pair.b.endpoint.close(slot(0)?);
        }
        pair.sim.advance(SECOND);
        assert_eq!(pair.sim.stats().writes_repeated, u64::from(!closed));
    }
    Ok(())
}

#[test]
fn a_torn_read_mixes_whole_words_of_two_looks() -> Outcome {
    let mut torn = 0;
    for seed in 0..20 {
        let (pair, mut a, _b, exposed, remote) = setup(seed)?;
        exposed.write(0, &[1; 67])?;
        pair.sim.strike("a", 0, Fault::TearRead(Duration::from_millis(1)));
        a.port.post_read(WorkRequest::signalled(1), buffer(&a.domain, &[0; 62])?, &remote, 5)?;
        pair.sim.advance(MICROS(10));
        exposed.write(0, &[2; 67])?;
        let completion = complete(&pair.sim, &mut a.port)?;
        assert!(completion.is_success());
        let bytes = completion.buffer.ok_or("no buffer")?.as_slice().to_vec();
        let words = std::iter::once(&bytes[..3]).chain(bytes[3..].chunks(8));
        for word in words {
            assert!(word.iter().all(|byte| *byte == word[0]) && [1, 2].contains(&word[0]), "{bytes:?}");
        }
        let mixed = bytes.contains(&1) && bytes.contains(&2);
        assert_eq!(pair.sim.stats().reads_torn, u64::from(mixed));
        torn += u32::from(mixed);
    }
    assert!(torn >= 15, "{torn}");
    Ok(())
}

#[test]
fn a_read_of_unchanged_memory_or_of_one_word_is_never_torn() -> Outcome {
    let (pair, mut a, _b, exposed, remote) = setup(1)?;
    let look = |a: &mut Client, length: usize, change: bool| -> Outcome {
        pair.sim.strike("a", 0, Fault::TearRead(Duration::from_millis(1)));
        a.port.post_read(WorkRequest::signalled(1), buffer(&a.domain, &vec![0; length])?, &remote, 0)?;
        pair.sim.advance(MICROS(10));
        if change {
            exposed.store(0, u64::MAX, Ordering::SeqCst)?;
        }
        assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
        Ok(())
    };
    look(&mut a, 64, false)?;
    look(&mut a, 8, true)?;
    assert_eq!(pair.sim.stats().reads_torn, 0);
    Ok(())
}

#[test]
fn a_torn_write_lands_in_two_parts_in_either_order() -> Outcome {
    let mut firsts = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let (pair, mut a, _b, exposed, remote) = setup(seed)?;
        pair.sim.strike("a", 0, Fault::TearWrite(Duration::from_millis(1)));
        a.port.post_write(WorkRequest::signalled(1), buffer(&a.domain, &[1; 40])?, &remote, 4)?;
        pair.sim.advance(MICROS(10));
        let half = bytes_at(&exposed, 0, 48)?;
        assert!(half[4..44].contains(&0) && half[4..44].contains(&1), "{half:?}");
        for word in half[8..40].chunks(8) {
            assert!(word.iter().all(|byte| *byte == word[0]), "{half:?}");
        }
        firsts.insert(half[4]);
        assert!(poll_one(&mut a.port).is_none());
        assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
        assert_eq!(bytes_at(&exposed, 0, 48)?, [&[0; 4][..], &[1; 40], &[0; 4]].concat());
        assert_eq!(pair.sim.stats().writes_torn, 1);
    }
    assert_eq!(firsts.len(), 2, "always the same part first");
    Ok(())
}

#[test]
fn a_word_is_never_torn() -> Outcome {
    let (pair, mut a, _b, _exposed, remote) = setup(1)?;
    pair.sim.replace_faults(Faults { tear_write_ppm: 1_000_000, ..Faults::none() });
    a.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 64)?;
    a.port.post_write_inline(WorkRequest::signalled(2), &[1; 3], &remote, 66)?;
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
    assert_eq!(pair.sim.stats().writes_torn, 0);
    Ok(())
}

#[test]
fn a_write_half_landed_when_its_poster_dies_may_stay_so() -> Outcome {
    let mut whole = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let (pair, mut a, _b, exposed, remote) = setup(seed)?;
        pair.sim.replace_faults(Faults { land_after_teardown_ppm: 500_000, ..Faults::none() });
        pair.sim.strike("a", 0, Fault::TearWrite(Duration::from_millis(1)));
        a.port.post_write_inline(WorkRequest::signalled(1), &[1; 16], &remote, 0)?;
        pair.sim.advance(MICROS(10));
        pair.sim.power_off("a");
        pair.sim.advance(SECOND);
        let bytes = bytes_at(&exposed, 0, 16)?;
        assert!(bytes.contains(&1));
        whole.insert(!bytes.contains(&0));
    }
    assert_eq!(whole.len(), 2, "always the same end");
    Ok(())
}

#[test]
fn a_lost_notice_never_arrives() -> Outcome {
    let Pair { sim, a, mut b } = pair(1, Faults { lose_notice_ppm: 1_000_000, ..Faults::none() })?;
    drop(a.link);
    sim.advance(SECOND);
    assert_eq!(b.endpoint.poll(), None);
    assert_eq!(sim.stats().notices_lost, 1);
    Ok(())
}

#[test]
fn a_strike_hits_the_operation_it_is_for_and_nobody_elses() -> Outcome {
    let (mut pair, mut a, mut b, _exposed, remote) = setup(1)?;
    assert!(!pair.sim.strike("nobody", 0, Fault::LoseOperation));
    // The second WRITE; READs in between do not count for it.
    pair.sim.strike("a", 1, Fault::RepeatWrite(MICROS(1)));
    let mailbox = pair.b.mailbox()?;
    pair.b.link.port.post_write_inline(WorkRequest::signalled(1), &[1], &mailbox, 0)?;
    b.port.post_receive(WorkRequest::signalled(1), buffer(&b.domain, &[0; 8])?)?;
    let mut repeated = Vec::new();
    for id in 0..6 {
        match id % 2 {
            0 => a.port.post_read(WorkRequest::signalled(id), buffer(&a.domain, &[0; 8])?, &remote, 0)?,
            _ => a.port.post_write_inline(WorkRequest::signalled(id), &[1; 8], &remote, 0)?,
        }
        pair.sim.advance(Duration::from_millis(1));
        repeated.push(pair.sim.stats().writes_repeated);
    }
    assert_eq!(repeated, [0, 0, 0, 1, 1, 1]);
    Ok(())
}

#[test]
fn a_fabric_without_patience_fails_at_once_and_comes_to_rest() -> Outcome {
    let (pair, mut a, _b, _exposed, remote) = setup(1)?;
    pair.sim.replace_faults(Faults { retry_timeout_ns: 0, ..Faults::none() });
    pair.sim.cut("a", "b");
    let mut dial = pair.a.node.dial(&address("b")?, DialPurpose::Session)?;
    a.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
    pair.sim.advance(MICROS(5));
    assert_eq!(poll_one(&mut a.port).ok_or("it waits")?.status, Status::RetryExceeded);
    let before = pair.sim.stats().events;
    pair.sim.advance(SECOND);
    assert!(dial.poll().is_err());
    assert!(pair.sim.stats().events - before < 2_000, "a dial must not spin");
    Ok(())
}

#[test]
fn a_closed_port_takes_no_repeat_though_its_memory_is_still_exposed() -> Outcome {
    let (pair, mut a, mut b, exposed, remote) = setup(1)?;
    pair.sim.strike("a", 0, Fault::RepeatWrite(Duration::from_millis(1)));
    a.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::Success);
    b.port.close();
    exposed.write(0, &[2; 8])?;
    pair.sim.advance(SECOND);
    assert_eq!((bytes_at(&exposed, 0, 8)?, pair.sim.stats().writes_repeated), (vec![2; 8], 0));
    Ok(())
}
