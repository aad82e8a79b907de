//! Crashes, restarts, cuts and pauses.

use super::*;
use crate::fabric::FabricError;
use WorkCompletionStatus as Status;

fn is_lost<T>(result: Result<T, FabricError>) -> bool {
    matches!(result, Err(FabricError::LinkLost { .. }))
}

#[test]
fn a_crashed_node_answers_nothing_and_can_do_nothing() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    let (mut a, mut b) = clients(&pair, &PortOptions::new())?;
    let (_exposed, remote) = expose(&b, &a, AccessFlags::ALL)?;
    b.port.post_receive(WorkRequest::signalled(3), buffer(&b.domain, &[0; 8])?)?;
    a.port.post_read(WorkRequest::signalled(1), buffer(&a.domain, &[0; 8])?, &remote, 0)?;
    assert!(pair.sim.crash("b") && !pair.sim.crash("b") && !pair.b.node.is_alive());
    let begun = pair.sim.now();
    assert_eq!(status(&pair.sim, &mut a.port)?, Status::RetryExceeded);
    assert!(pair.sim.now().since(begun) >= Duration::from_millis(4));
    assert!(is_lost(pair.a.link.monitor.check()));

    let dead = &mut pair.b;
    assert!(is_lost(dead.node.listen(&address("b")?, SIZES)) && is_lost(dead.node.domain(&dead.link)));
    assert!(is_lost(dead.node.dial(&address("a")?, DialPurpose::Session)) && is_lost(dead.node.random(&mut [0])));
    assert!(is_lost(b.domain.buffer(region()?)) && is_lost(b.domain.expose(region()?, AccessFlags::ALL)));
    assert!(is_lost(b.domain.port(&PortOptions::new())) && is_lost(b.domain.import(remote.descriptor())));
    assert!(is_lost(dead.link.monitor.check()));
    assert!(matches!(dead.endpoint.poll(), Some(EndpointEvent::Trouble(FabricError::LinkLost { .. }))));
    assert_eq!(dead.endpoint.poll(), None);
    assert_eq!((status(&pair.sim, &mut b.port)?, b.port.state()), (Status::Flushed, PortState::Error));
    assert!(pair.a.node.is_alive());
    Ok(())
}

#[test]
fn a_crash_is_told_and_a_power_cut_is_not() -> Outcome {
    for told in [true, false] {
        let mut pair = pair(1, Faults::none())?;
        let died = if told { pair.sim.crash("b") } else { pair.sim.power_off("b") };
        pair.sim.advance(SECOND);
        assert!(died);
        assert_eq!(pair.a.endpoint.poll().is_some(), told);
        assert_eq!(pair.a.link.monitor.check().is_err(), told);
        drop(pair.b);
        pair.sim.advance(SECOND);
        assert_eq!(pair.a.link.monitor.check().is_err(), told, "the dead do not speak up when they are buried");
    }
    Ok(())
}

#[test]
fn a_restarted_node_listens_anew_and_knows_nothing_of_its_last_life() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    let stale = pair.a.mailbox()?;
    pair.sim.crash("b");
    let mut dial = pair.a.node.dial(&address("b")?, DialPurpose::Session)?;
    pair.sim.advance(Duration::from_millis(1));
    assert!(matches!(dial.poll(), Err(FabricError::NotListening { .. })));
    let b = pair.sim.node("b");
    assert_eq!((b.restarts(), b.is_alive(), pair.b.node.is_alive()), (1, true, false));
    let mut endpoint = b.listen(&address("b")?, SIZES)?;
    pair.a.link.port.post_write_inline(WorkRequest::signalled(1), b"late", &stale, 0)?;
    assert_eq!(status(&pair.sim, &mut pair.a.link.port)?, Status::RetryExceeded);
    let link = connect(&pair.sim, &pair.a.node, &mut endpoint, slot(0)?)?;
    assert_eq!(bytes_at(endpoint.mailbox(slot(0)?).ok_or("no mailbox")?, 0, 8)?, [0; 8]);
    // Keys start again with each life: a stale one may open something, on a port of the new life.
    assert_eq!(link.mailbox.ok_or("no mailbox")?.1.descriptor(), stale.descriptor());
    // What is left of the last life goes without a trace in the new one.
    drop(pair.b);
    let into = buffer(&link.domain, &[0; 8])?;
    let mut port = link.port;
    port.post_read(WorkRequest::signalled(2), into, &link.status, 0)?;
    assert_eq!(status(&pair.sim, &mut port)?, Status::Success);
    let stats = pair.sim.stats();
    assert_eq!((stats.crashes, stats.restarts), (1, 1));
    Ok(())
}

#[test]
fn what_a_crashed_node_had_on_its_way_lands_or_not_in_order() -> Outcome {
    let mut landed = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let pair = pair(seed, Faults { land_after_teardown_ppm: 700_000, ..Faults::none() })?;
        let (mut a, b) = clients(&pair, &PortOptions::new())?;
        let (exposed, remote) = expose(&b, &a, AccessFlags::REMOTE_WRITE)?;
        for id in 0..4 {
            a.port.post_write_inline(WorkRequest::signalled(id), &[1], &remote, id)?;
        }
        pair.sim.power_off("a");
        pair.sim.advance(SECOND);
        let bytes = bytes_at(&exposed, 0, 4)?;
        let count = bytes.iter().filter(|byte| **byte == 1).count();
        assert!(bytes[..count].iter().all(|byte| *byte == 1), "a gap: {bytes:?}");
        assert_eq!(pair.sim.stats().landed_after_teardown, count as u64);
        landed.insert(count);
        for id in 0..4 {
            let completion = poll_one(&mut a.port).ok_or("not flushed")?;
            assert_eq!((completion.id, completion.status), (id, Status::Flushed));
        }
    }
    assert_eq!(landed.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    Ok(())
}

#[test]
fn a_target_that_closed_its_port_is_safe_from_what_is_on_its_way() -> Outcome {
    let pair = pair(1, Faults { land_after_teardown_ppm: 1_000_000, ..Faults::none() })?;
    let (mut a, mut b) = clients(&pair, &PortOptions::new())?;
    let (exposed, remote) = expose(&b, &a, AccessFlags::REMOTE_WRITE)?;
    a.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &remote, 0)?;
    pair.sim.crash("a");
    b.port.close();
    pair.sim.advance(SECOND);
    assert_eq!(bytes_at(&exposed, 0, 8)?, [0; 8]);
    assert_eq!(pair.sim.stats().landed_after_teardown, 0);
    Ok(())
}

#[test]
fn a_cut_ends_operations_and_dials_and_no_notice_passes() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    let mailbox = pair.a.mailbox()?;
    pair.sim.cut("a", "b");
    let mut dial = pair.a.node.dial(&address("b")?, DialPurpose::Session)?;
    pair.a.link.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &mailbox, 0)?;
    assert_eq!(status(&pair.sim, &mut pair.a.link.port)?, Status::RetryExceeded);
    drop(pair.a.link);
    pair.sim.advance(SECOND);
    assert!(matches!(dial.poll(), Err(FabricError::Timeout { .. })));
    pair.sim.heal("a", "b");
    pair.sim.advance(SECOND);
    assert_eq!(pair.b.endpoint.poll(), None, "nothing told b");
    assert_eq!(bytes_at(pair.b.endpoint.mailbox(slot(0)?).ok_or("no mailbox")?, 0, 8)?, [0; 8]);
    let stats = pair.sim.stats();
    assert!(stats.packets_cut >= 4 && stats.notices_lost == 1 && stats.dials_timed_out == 1, "{stats:?}");
    connect(&pair.sim, &pair.a.node, &mut pair.b.endpoint, slot(1)?)?;
    Ok(())
}

#[test]
fn a_cut_that_heals_in_time_only_delays() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    let mailbox = pair.a.mailbox()?;
    pair.sim.cut("b", "a");
    pair.a.link.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &mailbox, 0)?;
    let mut dial = pair.a.node.dial(&address("b")?, DialPurpose::Observe)?;
    pair.sim.advance(Duration::from_millis(2));
    assert!(poll_one(&mut pair.a.link.port).is_none() && dial.poll()?.is_none());
    pair.sim.heal_all();
    pair.sim.advance(Duration::from_millis(2));
    assert!(poll_one(&mut pair.a.link.port).ok_or("lost")?.is_success());
    assert!(dial.poll()?.is_some());
    assert!(pair.sim.stats().packets_cut > 0);
    Ok(())
}

#[test]
fn a_cut_of_the_way_back_lets_operations_land_and_fail() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    let mailbox = pair.a.mailbox()?;
    pair.sim.cut_one_way("b", "a");
    pair.a.link.port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &mailbox, 0)?;
    assert_eq!(status(&pair.sim, &mut pair.a.link.port)?, Status::RetryExceeded);
    assert_eq!(bytes_at(pair.b.endpoint.mailbox(slot(0)?).ok_or("no mailbox")?, 0, 8)?, [1; 8]);
    assert_eq!(pair.sim.stats().landed_but_failed, 1);
    Ok(())
}

#[test]
fn a_cut_outlives_a_restart() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    sim.cut("a", "b");
    let a = sim.node("a");
    sim.node("b");
    sim.crash("b");
    let _endpoint = sim.node("b").listen(&address("b")?, SIZES)?;
    let mut dial = a.dial(&address("b")?, DialPurpose::Observe)?;
    sim.advance(SECOND);
    assert!(matches!(dial.poll(), Err(FabricError::Timeout { .. })));
    Ok(())
}

#[test]
fn a_paused_nodes_memory_answers_and_a_mark_tells_it() -> Outcome {
    let mut pair = pair(1, Faults::none())?;
    assert!(pair.sim.pause("b") && pair.sim.is_paused("b") && !pair.sim.is_paused("a"));
    let into = buffer(&pair.a.link.domain, &[9; 8])?;
    let status_block = pair.a.link.status.clone();
    pair.a.link.port.post_read(WorkRequest::signalled(1), into, &status_block, 0)?;
    assert_eq!(status(&pair.sim, &mut pair.a.link.port)?, Status::Success);
    assert!(pair.sim.resume("b") && !pair.sim.is_paused("b"));
    pair.sim.pause("b");
    pair.sim.crash("b");
    assert!(!pair.sim.is_paused("b") && !pair.sim.pause("b"), "nobody of that name lives");
    pair.sim.node("b");
    assert!(!pair.sim.is_paused("b"), "a new life runs");
    Ok(())
}

#[test]
fn a_crash_of_either_side_ends_a_dial_under_way() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let (a, b) = (sim.node("a"), sim.node("b"));
    let mut endpoint = b.listen(&address("b")?, SIZES)?;
    let mut dial = a.dial(&address("b")?, DialPurpose::Session)?;
    sim.advance(Duration::from_millis(1));
    let Some(EndpointEvent::Incoming(incoming)) = endpoint.poll() else { return Err("no dial".into()) };
    sim.crash("a");
    assert!(is_lost(endpoint.accept(incoming, slot(0)?)) && is_lost(dial.poll()));
    let mut dial = sim.node("a").dial(&address("b")?, DialPurpose::Session)?;
    sim.advance(Duration::from_millis(1));
    sim.crash("b");
    sim.advance(Duration::from_millis(1));
    assert!(matches!(dial.poll(), Err(FabricError::NotListening { .. })));
    Ok(())
}

#[test]
fn what_was_lost_before_a_crash_does_not_land_after_it() -> Outcome {
    let pair = pair(1, Faults { land_after_teardown_ppm: 1_000_000, ..Faults::none() })?;
    let (mut a, b) = clients(&pair, &PortOptions::new())?;
    let (exposed, remote) = expose(&b, &a, AccessFlags::REMOTE_WRITE)?;
    pair.sim.strike("a", 1, Fault::LoseOperation);
    for id in 0..3 {
        a.port.post_write_inline(WorkRequest::signalled(id), &[1], &remote, id)?;
    }
    pair.sim.power_off("a");
    pair.sim.advance(SECOND);
    assert_eq!(bytes_at(&exposed, 0, 3)?, [1, 0, 0]);
    Ok(())
}
