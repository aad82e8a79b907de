//! The same seed and the same calls make the same history; the clock is the world's alone.

use super::*;

/// A run with every fault: its digest, its trace, and random bytes of both nodes.
fn run(seed: u64) -> Fallible<(u64, Vec<String>, Vec<u8>)> {
    let pair = pair(seed, Faults::none())?;
    pair.sim.keep_trace(100_000);
    let (mut a, b) = clients(&pair, &PortOptions::new())?;
    pair.sim.replace_faults(Faults { lose_operation_ppm: 0, lose_acknowledgement_ppm: 0, ..Faults::storm() });
    let (_exposed, remote) = expose(&b, &a, AccessFlags::ALL)?;
    for id in 0..60 {
        a.port.post_write(WorkRequest::signalled(id), buffer(&a.domain, &[id as u8; 64])?, &remote, id * 8)?;
        a.port.post_read(WorkRequest::unsignalled(id), buffer(&a.domain, &[0; 64])?, &remote, id * 8)?;
        pair.sim.advance(MICROS(40));
    }
    pair.sim.crash("a");
    pair.sim.advance(SECOND);
    let mut random = vec![0; 32];
    pair.b.node.random(&mut random[..16])?;
    pair.sim.node("a").random(&mut random[16..])?;
    Ok((pair.sim.digest(), pair.sim.trace(), random))
}

#[test]
fn the_same_seed_has_the_same_history() -> Outcome {
    let (first, second) = (run(5)?, run(5)?);
    assert_eq!(first.1, second.1);
    assert_eq!(first, second);
    assert!(first.1.len() > 200, "a short history proves little: {}", first.1.len());
    Ok(())
}

#[test]
fn another_seed_has_another_history() -> Outcome {
    let runs: Vec<_> = (0..8).map(run).collect::<Result<_, _>>()?;
    for (index, one) in runs.iter().enumerate() {
        for other in &runs[index + 1..] {
            assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
        }
    }
    Ok(())
}

#[test]
fn the_clock_moves_by_steps_and_advances_only() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let a = sim.node("a");
    assert_eq!((sim.now(), sim.step(), sim.next_event()), (Timestamp(0), false, None));
    sim.advance(MICROS(10));
    assert_eq!((sim.now(), a.now()), (Timestamp(10_000), Timestamp(10_000)));
    let _dial = a.dial(&"sim://c:1".parse()?, DialPurpose::Session)?;
    assert_eq!(a.now(), Timestamp(10_000));
    let next = sim.next_event().ok_or("nothing on its way")?;
    assert!((11_000..=15_000).contains(&next.0), "{next:?}");
    sim.advance(Duration::from_nanos(next.0 - 10_001));
    assert_eq!(sim.next_event(), Some(next));
    assert!(sim.step());
    assert_eq!(a.now(), next);
    sim.advance(Duration::MAX);
    assert_eq!((sim.now(), sim.next_event()), (Timestamp(u64::MAX), None));
    Ok(())
}

#[test]
fn advance_until_stops_when_told_at_the_limit_and_at_the_end() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let mut dial = sim.node("a").dial(&"sim://c:1".parse()?, DialPurpose::Session)?;
    assert!(!sim.advance_until(Duration::from_nanos(500), || false));
    assert_eq!(sim.now(), Timestamp(0));
    assert!(sim.advance_until(SECOND, || dial.poll().is_err()));
    assert!(sim.now() < Timestamp(20_000));
    assert!(!sim.advance_until(SECOND * 5, || false));
    assert_eq!(sim.next_event(), None);
    Ok(())
}

#[test]
fn each_life_of_each_node_has_random_bytes_of_its_own() -> Outcome {
    let sim = Sim::new(9, Faults::none());
    let mut all = Vec::new();
    for life in 0..3 {
        for name in ["a", "b"] {
            let mut bytes = [0; 24];
            let node = sim.node(name);
            assert_eq!(node.restarts(), life);
            node.random(&mut bytes)?;
            assert!(!all.contains(&bytes));
            all.push(bytes);
            sim.crash(name);
        }
    }
    let mut again = [0; 24];
    Sim::new(9, Faults::storm()).node("a").random(&mut again)?;
    assert_eq!(again, all[0], "nothing but seed, name and life decides");
    Ok(())
}

#[test]
fn a_trace_keeps_its_last_lines() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    sim.node("unseen");
    assert!(sim.trace().is_empty());
    sim.keep_trace(2);
    for name in ["a", "b", "c"] {
        sim.node(name);
    }
    let trace = sim.trace();
    assert_eq!(trace.len(), 2);
    assert!(trace[0].contains("node b starts") && trace[1].contains("node c starts"), "{trace:?}");
    Ok(())
}
