//! Listening, dialling, accepting, and the end of links.

use super::*;
use crate::fabric::FabricError;

/// The error of a dial, stepping until it has one.
fn failure(sim: &Sim, dial: &mut SimDial) -> Fallible<FabricError> {
    for _ in 0..100_000 {
        match dial.poll() {
            Err(error) => return Ok(error),
            Ok(Some(_)) => return Err("it was answered".into()),
            Ok(None) => sim.step(),
        };
    }
    Err("the dial never ends".into())
}

#[test]
fn a_status_block_is_read_and_a_mailbox_written_over_a_link() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    pair.b.endpoint.status().write(0, b"status")?;
    let link = &mut pair.a.link;
    let into = buffer(&link.domain, &[0; 6])?;
    link.port.post_read(WorkRequest::signalled(1), into, &link.status, 0)?;
    assert_eq!(complete(&pair.sim, &mut link.port)?.buffer.ok_or("no buffer")?.as_slice(), b"status");
    let mailbox = pair.a.mailbox()?;
    assert_eq!((mailbox.len(), pair.a.link.status.len()), (4096, 4096));
    pair.a.link.port.post_write_inline(WorkRequest::signalled(2), b"mail", &mailbox, 100)?;
    assert!(complete(&pair.sim, &mut pair.a.link.port)?.is_success());
    assert_eq!(bytes_at(pair.b.endpoint.mailbox(slot(0)?).ok_or("no mailbox")?, 100, 4)?, b"mail");
    assert!(pair.b.endpoint.mailbox(slot(1)?).is_none());
    Ok(())
}

#[test]
fn a_dial_needs_an_accept_and_an_observer_none() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let (a, b) = (sim.node("a"), sim.node("b"));
    let mut endpoint = b.listen(&address("b")?, SIZES)?;
    endpoint.status().write(8, b"seen")?;
    let mut session = a.dial(&address("b")?, DialPurpose::Session)?;
    let mut observe = a.dial(&address("b")?, DialPurpose::Observe)?;
    sim.pause("b");
    sim.advance(Duration::from_millis(1));
    assert!(session.poll()?.is_none());
    let mut link = observe.poll()?.ok_or("the observer was not answered")?;
    assert!(link.mailbox.is_none() && sim.is_paused("b"));
    let into = buffer(&link.domain, &[0; 4])?;
    link.port.post_read(WorkRequest::signalled(1), into, &link.status, 8)?;
    assert_eq!(complete(&sim, &mut link.port)?.buffer.ok_or("no buffer")?.as_slice(), b"seen");
    sim.resume("b");
    let Some(EndpointEvent::Incoming(incoming)) = endpoint.poll() else { return Err("no dial".into()) };
    endpoint.accept(incoming, slot(3)?)?;
    sim.advance(Duration::from_millis(1));
    let link = session.poll()?.ok_or("not answered")?;
    assert_eq!(link.mailbox.ok_or("no mailbox")?.0, slot(3)?);
    assert!(matches!(session.poll(), Err(FabricError::LinkLost { .. })), "a link is taken once");
    Ok(())
}

#[test]
fn dials_without_an_answer_end_in_time() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let (a, b) = (sim.node("a"), sim.node("b"));
    let mut nobody = a.dial(&"sim://c:1".parse()?, DialPurpose::Session)?;
    assert!(matches!(failure(&sim, &mut nobody)?, FabricError::NotListening { .. }));
    let mut deaf = a.dial(&address("b")?, DialPurpose::Observe)?;
    assert!(matches!(failure(&sim, &mut deaf)?, FabricError::NotListening { .. }));
    let mut endpoint = b.listen(&address("b")?, SIZES)?;
    let mut ignored = a.dial(&address("b")?, DialPurpose::Session)?;
    let Some(EndpointEvent::Incoming(incoming)) = ({
        sim.advance(Duration::from_millis(1));
        endpoint.poll()
    }) else {
        return Err("no dial".into());
    };
    let error = failure(&sim, &mut ignored)?;
    assert_eq!(error, FabricError::Timeout { address: "sim://b:1".to_owned(), waited_ms: 1000 });
    assert!(matches!(endpoint.accept(incoming, slot(0)?), Err(FabricError::LinkLost { .. })));
    assert!(endpoint.mailbox(slot(0)?).is_none());
    let stats = sim.stats();
    assert_eq!((stats.dials, stats.dials_refused, stats.dials_timed_out), (3, 2, 1));
    Ok(())
}

#[test]
fn wrong_addresses_are_refused() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let a = sim.node("a");
    let shm: Address = "shm://a:1".parse()?;
    assert!(matches!(a.listen(&shm, SIZES).err(), Some(FabricError::Scheme { .. })));
    assert!(matches!(a.dial(&shm, DialPurpose::Observe).err(), Some(FabricError::Scheme { .. })));
    assert!(matches!(a.listen(&address("b")?, SIZES).err(), Some(FabricError::System { .. })));
    assert!(a.listen(&address("a")?, PageSizes { status: 0, mailbox: 8 }).is_err());
    assert!(a.listen(&address("a")?, PageSizes { status: 8, mailbox: 0 }).is_err());
    let endpoint = a.listen(&address("a")?, SIZES)?;
    assert!(matches!(a.listen(&address("a")?, SIZES).err(), Some(FabricError::AddressInUse { .. })));
    drop(endpoint);
    a.listen(&address("a")?, SIZES)?;
    Ok(())
}

#[test]
fn a_taken_slot_is_refused_and_the_dial_waits_on() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    let mut dial = pair.a.node.dial(&address("b")?, DialPurpose::Session)?;
    pair.sim.advance(Duration::from_millis(1));
    let Some(EndpointEvent::Incoming(incoming)) = pair.b.endpoint.poll() else { return Err("no dial".into()) };
    let error = pair.b.endpoint.accept(incoming, slot(0)?);
    assert!(matches!(error, Err(FabricError::Exhausted { .. })), "{error:?}");
    pair.b.endpoint.accept(incoming, slot(1)?)?;
    assert!(matches!(pair.b.endpoint.accept(incoming, slot(2)?), Err(FabricError::LinkLost { .. })));
    pair.sim.advance(Duration::from_millis(1));
    assert_eq!(dial.poll()?.ok_or("not answered")?.mailbox.ok_or("no mailbox")?.0, slot(1)?);
    Ok(())
}

#[test]
fn a_dialler_that_gives_up_is_forgotten() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let (a, b) = (sim.node("a"), sim.node("b"));
    let mut endpoint = b.listen(&address("b")?, SIZES)?;
    drop(a.dial(&address("b")?, DialPurpose::Session)?);
    sim.advance(Duration::from_millis(1));
    assert_eq!(endpoint.poll(), None);
    let dial = a.dial(&address("b")?, DialPurpose::Session)?;
    sim.advance(Duration::from_millis(1));
    drop(dial);
    assert_eq!(endpoint.poll(), None, "it had arrived, and nobody had looked yet");
    let dial = a.dial(&address("b")?, DialPurpose::Session)?;
    sim.advance(Duration::from_millis(1));
    let Some(EndpointEvent::Incoming(incoming)) = endpoint.poll() else { return Err("no dial".into()) };
    endpoint.accept(incoming, slot(0)?)?;
    drop(dial);
    sim.advance(Duration::from_millis(1));
    assert!(matches!(endpoint.poll(), Some(EndpointEvent::Closed(closed, _)) if closed == slot(0)?));
    Ok(())
}

#[test]
fn a_closed_slot_ends_the_link_of_its_dialler() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    pair.a.link.monitor.check()?;
    pair.b.endpoint.close(slot(0)?);
    assert!(pair.b.endpoint.mailbox(slot(0)?).is_none());
    pair.a.link.monitor.check()?;
    pair.sim.advance(Duration::from_millis(1));
    assert!(matches!(pair.a.link.monitor.check(), Err(FabricError::LinkLost { .. })));
    let mailbox = pair.a.mailbox()?;
    pair.a.link.port.post_write_inline(WorkRequest::signalled(1), b"late", &mailbox, 0)?;
    assert_eq!(status(&pair.sim, &mut pair.a.link.port)?, WorkCompletionStatus::RetryExceeded);
    pair.b.endpoint.close(slot(0)?);
    let again = connect(&pair.sim, &pair.a.node, &mut pair.b.endpoint, slot(0)?)?;
    assert_eq!(again.mailbox.ok_or("no mailbox")?.0, slot(0)?);
    assert_eq!(bytes_at(pair.b.endpoint.mailbox(slot(0)?).ok_or("no mailbox")?, 0, 4096)?, vec![0; 4096]);
    Ok(())
}

#[test]
fn a_dropped_link_is_reported_once_and_its_mailbox_stays_readable_until_close() -> Outcome {
    let Pair { sim, a, mut b } = pair(1, Faults::none())?;
    b.endpoint.mailbox(slot(0)?).ok_or("no mailbox")?.write(0, b"kept")?;
    drop(a.link);
    assert_eq!(b.endpoint.poll(), None);
    sim.advance(Duration::from_millis(1));
    let event = b.endpoint.poll();
    let Some(EndpointEvent::Closed(closed, FabricError::LinkLost { address, .. })) = event else {
        return Err(format!("{event:?}").into());
    };
    assert_eq!((closed, address.as_str()), (slot(0)?, "sim://a"));
    assert_eq!(b.endpoint.poll(), None);
    assert_eq!(bytes_at(b.endpoint.mailbox(slot(0)?).ok_or("no mailbox")?, 0, 4)?, b"kept");
    Ok(())
}

#[test]
fn the_end_of_an_old_link_is_never_told_of_a_new_one() -> Outcome {
    let Pair { sim, a, mut b } = pair(1, Faults::none())?;
    drop(a.link);
    sim.advance(Duration::from_millis(1));
    // The report waits, and the slot is used again before anybody looks.
    b.endpoint.close(slot(0)?);
    assert_eq!(b.endpoint.poll(), None);
    let mut link = connect(&sim, &a.node, &mut b.endpoint, slot(0)?)?;
    sim.advance(SECOND);
    assert_eq!(b.endpoint.poll(), None);
    link.monitor.check()?;
    Ok(())
}

#[test]
fn a_dropped_endpoint_ends_its_links_and_refuses_those_that_wait() -> Outcome {
    let Pair { sim, a, b } = pair(1, Faults::none())?;
    let mut observer = a.node.dial(&address("b")?, DialPurpose::Observe)?;
    let mut waiting = a.node.dial(&address("b")?, DialPurpose::Session)?;
    sim.advance(Duration::from_millis(1));
    let mut observing = observer.poll()?.ok_or("not answered")?;
    drop(b.endpoint);
    sim.advance(Duration::from_millis(1));
    assert!(matches!(waiting.poll(), Err(FabricError::NotListening { .. })));
    let mut link = a.link;
    assert!(link.monitor.check().is_err() && observing.monitor.check().is_err());
    let into = buffer(&observing.domain, &[0; 4])?;
    observing.port.post_read(WorkRequest::signalled(1), into, &observing.status, 0)?;
    assert_eq!(status(&sim, &mut observing.port)?, WorkCompletionStatus::RetryExceeded);
    Ok(())
}

#[test]
fn a_violation_ends_the_accepted_link_too() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    let status_block = pair.a.link.status.clone();
    pair.a.link.port.post_write_inline(WorkRequest::signalled(1), &[1], &status_block, 0)?;
    assert_eq!(status(&pair.sim, &mut pair.a.link.port)?, WorkCompletionStatus::RemoteAccess);
    assert!(matches!(pair.b.endpoint.poll(), Some(EndpointEvent::Closed(..))));
    assert!(pair.a.link.monitor.check().is_err());
    Ok(())
}

#[test]
fn a_key_of_one_accepted_link_does_not_open_on_another() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    let stranger = pair.sim.node("stranger");
    let mut link = connect(&pair.sim, &stranger, &mut pair.b.endpoint, slot(1)?)?;
    let stolen = link.domain.import(pair.a.mailbox()?.descriptor())?;
    link.port.post_write_inline(WorkRequest::signalled(1), &[1], &stolen, 0)?;
    assert_eq!(status(&pair.sim, &mut link.port)?, WorkCompletionStatus::RemoteAccess);
    assert_eq!(bytes_at(pair.b.endpoint.mailbox(slot(0)?).ok_or("no mailbox")?, 0, 8)?, [0; 8]);
    pair.a.link.monitor.check()?;
    Ok(())
}

#[test]
fn a_page_is_as_long_as_asked_whatever_its_memory() -> Outcome {
    for (sizes, of_mailbox) in
        [(PageSizes { status: 64, mailbox: 200 }, true), (PageSizes { status: 200, mailbox: 64 }, false)]
    {
        let sim = Sim::new(1, Faults::none());
        let mut endpoint = sim.node("b").listen(&address("b")?, sizes)?;
        let mut link = connect(&sim, &sim.node("a"), &mut endpoint, slot(0)?)?;
        let (_, mailbox) = link.mailbox.clone().ok_or("no mailbox")?;
        assert_eq!((link.status.len(), mailbox.len()), (sizes.status as u64, sizes.mailbox as u64));
        let real = if of_mailbox { mailbox.descriptor() } else { link.status.descriptor() };
        let forged = link.domain.import(&RemoteDescriptor { length: 4096, ..*real })?;
        for (offset, wanted) in [(192, WorkCompletionStatus::Success), (193, WorkCompletionStatus::RemoteAccess)] {
            match of_mailbox {
                true => link.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &forged, offset)?,
                false => {
                    link.port.post_read(WorkRequest::signalled(1), buffer(&link.domain, &[0; 8])?, &forged, offset)?
                }
            }
            assert_eq!(status(&sim, &mut link.port)?, wanted);
        }
    }
    Ok(())
}

#[test]
fn a_notice_is_sent_once_and_if_lost_never_again() -> Outcome {
    let Pair { sim, mut a, mut b } = pair(1, Faults { lose_notice_ppm: 1_000_000, ..Faults::none() })?;
    a.link.port.close();
    sim.replace_faults(Faults::none());
    drop(a.link);
    sim.advance(SECOND);
    assert_eq!((b.endpoint.poll(), sim.stats().notices_lost), (None, 1));
    Ok(())
}
