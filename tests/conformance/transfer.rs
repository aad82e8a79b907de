//! READ, WRITE, atomics: what arrives, where, and in which order.

use crate::harness::Harness;
use crate::rig::{Outcome, Rig, buffer, expose, until};
use handfast::fabric::{AccessFlags, Domain, Operation, Port, PortOptions, PostError, WorkRequest};
use std::sync::atomic::Ordering;

const LENGTHS: [usize; 22] =
    [1, 2, 3, 7, 8, 9, 15, 16, 24, 63, 64, 65, 127, 255, 256, 257, 511, 1000, 1024, 4095, 4096, 10_000];

pub(crate) fn bytes_arrive_where_they_should_and_nowhere_else<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(16 << 10, AccessFlags::ALL)?;
    let size = memory.len();
    for length in LENGTHS {
        for offset in [0, 1, 7, 8, 61, 4090] {
            memory.write(0, &vec![0xee; size])?;
            let from = rig.buffer(length)?;
            let expected = from.as_slice().to_vec();
            port.post_write(WorkRequest::signalled(1), from, &remote, offset as u64)?;
            let done = rig.good(&mut port, 1)?;
            assert_eq!((done.operation, done.bytes as usize), (Operation::Write, length));
            let mut all = vec![0; size];
            memory.read(0, &mut all)?;
            assert_eq!(&all[offset..offset + length], &expected[..], "{length} at {offset}");
            let around = all[..offset].iter().chain(&all[offset + length..]);
            assert!(around.copied().all(|byte| byte == 0xee), "{length} at {offset} wrote past itself");

            let mut into = done.buffer.ok_or("no buffer")?;
            into.as_mut_slice().fill(0);
            port.post_read(WorkRequest::signalled(2), into, &remote, offset as u64)?;
            let done = rig.good(&mut port, 2)?;
            assert_eq!((done.operation, done.bytes as usize), (Operation::Read, length));
            assert_eq!(done.buffer.ok_or("no buffer")?.as_slice(), &expected[..]);
        }
    }
    Ok(())
}

pub(crate) fn inline_bytes_are_taken_at_once<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::REMOTE_WRITE)?;
    let max = port.limits().inline_bytes_max as usize;
    assert!(max >= 8, "at least a word");
    let mut bytes: Vec<u8> = (0..=max).map(|index| index as u8 ^ 0x5a).collect();
    for length in [1, 7, 8, 13, max] {
        let expected = bytes[..length].to_vec();
        port.post_write_inline(WorkRequest::signalled(length as u64), &bytes[..length], &remote, 8)?;
        bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        assert_eq!(rig.good(&mut port, length as u64)?.bytes as usize, length);
        let mut got = vec![0; length];
        memory.read(8, &mut got)?;
        assert_eq!(got, expected);
    }
    let too_long = port.post_write_inline(WorkRequest::signalled(1), &bytes[..=max], &remote, 0);
    assert_eq!(too_long, Err(PostError::Length));
    Ok(())
}

/// An operation of no bytes is an operation like others, also just at the end.
pub(crate) fn nothing_moves_nothing<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    let end = memory.len() as u64;
    for offset in [0, 5, end] {
        port.post_write(WorkRequest::unsignalled(1), rig.buffer(0)?, &remote, offset)?;
        port.post_write_inline(WorkRequest::unsignalled(2), &[], &remote, offset)?;
        port.post_read(WorkRequest::signalled(3), rig.buffer(0)?, &remote, offset)?;
        let done = rig.complete(&mut port, 3)?;
        assert!(done.iter().all(|done| done.is_success() && done.bytes == 0), "{done:?}");
        assert!(done[0].buffer.is_some() && done[1].buffer.is_none() && done[2].buffer.is_some());
    }
    let past = port.post_write_inline(WorkRequest::signalled(4), &[], &remote, end + 1);
    assert_eq!(past, Err(PostError::OutOfRange));
    Ok(())
}

pub(crate) fn a_read_behind_a_write_sees_it<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    let mut into = rig.buffer(8)?;
    for round in 1..200u64 {
        port.post_write_inline(WorkRequest::unsignalled(0), &round.to_ne_bytes(), &remote, 64)?;
        port.post_read(WorkRequest::signalled(1), into, &remote, 64)?;
        let mut done = rig.complete(&mut port, 2)?;
        assert!(done.iter().all(handfast::fabric::Completion::is_success));
        into = done.pop().and_then(|done| done.buffer).ok_or("no buffer")?;
        assert_eq!(into.as_slice(), round.to_ne_bytes());
        assert_eq!(memory.load(64, Ordering::Acquire)?, round);
    }
    Ok(())
}

pub(crate) fn writes_of_one_port_land_in_order<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new().send_work_requests(64))?;
    let (memory, remote) = rig.exposed(8192, AccessFlags::REMOTE_WRITE)?;
    for round in 0..20u64 {
        for step in 1..=30u64 {
            let value = round * 100 + step;
            port.post_write_inline(WorkRequest::unsignalled(step), &value.to_ne_bytes(), &remote, 8 * step)?;
            port.post_write_inline(
                WorkRequest { id: 100 + step, signalled: step == 30 },
                &value.to_ne_bytes(),
                &remote,
                4096,
            )?;
        }
        until(&mut rig.harness, "the last word", || {
            let seen = memory.load(4096, Ordering::Acquire)?;
            // What was posted before the word that we see has landed; what is later may have too.
            for step in 1..=seen.saturating_sub(round * 100).min(30) {
                assert_eq!(memory.load(8 * step as usize, Ordering::Relaxed)?, round * 100 + step);
            }
            Ok((seen >= round * 100 + 30).then_some(()))
        })?;
        let done = rig.complete(&mut port, 60)?;
        let ids: Vec<u64> = done.iter().map(|done| done.id).collect();
        let expected: Vec<u64> = (1..=30).flat_map(|step| [step, 100 + step]).collect();
        assert_eq!(ids, expected);
    }
    Ok(())
}

pub(crate) fn atomics_add_and_swap<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut port, _partner) = rig.ports(&PortOptions::new())?;
    let (memory, remote) = rig.exposed(4096, AccessFlags::REMOTE_ATOMIC)?;
    memory.store(24, u64::MAX - 1, Ordering::Relaxed)?;
    let mut expected = u64::MAX - 1;
    for add in [1, 5, 0, u64::MAX] {
        port.post_fetch_add(WorkRequest::signalled(add), rig.buffer(8)?, &remote, 24, add)?;
        let done = rig.good(&mut port, add)?;
        assert_eq!((done.operation, done.bytes), (Operation::FetchAdd, 8));
        assert_eq!(done.buffer.ok_or("no buffer")?.as_slice(), expected.to_ne_bytes());
        expected = expected.wrapping_add(add);
        assert_eq!(memory.load(24, Ordering::Relaxed)?, expected);
    }
    for (compare, swap) in [(expected, 77), (expected.wrapping_add(1), 78), (77, 79)] {
        let before = memory.load(24, Ordering::Relaxed)?;
        port.post_compare_swap(WorkRequest::signalled(swap), rig.buffer(8)?, &remote, 24, compare, swap)?;
        let done = rig.good(&mut port, swap)?;
        assert_eq!(done.operation, Operation::CompareSwap);
        assert_eq!(done.buffer.ok_or("no buffer")?.as_slice(), before.to_ne_bytes());
        let after = if before == compare { swap } else { before };
        assert_eq!(memory.load(24, Ordering::Relaxed)?, after);
    }
    assert_eq!(memory.load(24, Ordering::Relaxed)?, 79);
    assert_eq!((memory.load(16, Ordering::Relaxed)?, memory.load(32, Ordering::Relaxed)?), (0, 0));
    Ok(())
}

pub(crate) fn both_directions_at_once<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new())?;
    let (there, to_right) = rig.exposed(4096, AccessFlags::ALL)?;
    let here = expose::<H>(&rig.left, 4096, AccessFlags::ALL)?;
    let to_left = rig.right.import(here.descriptor())?;
    let (a, b) = (rig.buffer(100)?, buffer::<H>(&rig.right, 200)?);
    let (bytes_a, bytes_b) = (a.as_slice().to_vec(), b.as_slice().to_vec());
    left.post_write(WorkRequest::signalled(1), a, &to_right, 10)?;
    right.post_write(WorkRequest::signalled(2), b, &to_left, 20)?;
    rig.good(&mut left, 1)?;
    rig.good(&mut right, 2)?;
    let (mut got_a, mut got_b) = (vec![0; 100], vec![0; 200]);
    there.read(10, &mut got_a)?;
    here.read(20, &mut got_b)?;
    assert_eq!((got_a, got_b), (bytes_a, bytes_b));
    Ok(())
}
