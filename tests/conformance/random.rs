//! Random sequences of everything, seeded: each request completes exactly once, in order, with its own buffer.

use crate::harness::Harness;
use crate::rig::{Outcome, PortOf, RemoteOf, Rig, buffer};
use handfast::fabric::{
    AccessFlags, Completion, Domain, Operation, Port, PortOptions, PortState, PostError, Refused, RemoteDescriptor,
    WorkCompletionStatus, WorkRequest,
};
use handfast::memory::Buffer;
use std::collections::VecDeque;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What one port was given and has not completed.
#[derive(Default)]
struct Expected {
    sends: VecDeque<(u64, Operation, bool, bool)>,
    receives: VecDeque<u64>,
    failed: bool,
    completed: u64,
}

/// Each buffer begins with the id of the request that holds it, so that none can be swapped for another.
fn stamp(mut buffer: Buffer, id: u64) -> Buffer {
    buffer.as_mut_slice()[8..16].copy_from_slice(&id.to_ne_bytes());
    buffer
}

fn stamped(buffer: &Buffer) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&buffer.as_slice()[8..16]);
    u64::from_ne_bytes(bytes)
}

impl Expected {
    fn check(&mut self, done: &Completion) {
        self.completed += 1;
        let receive = matches!(done.operation, Operation::Receive | Operation::ReceiveWithImmediate);
        if receive {
            assert_eq!(self.receives.pop_front(), Some(done.id), "receives in order: {done:?}");
            assert!(done.buffer.is_some());
        } else {
            let (id, operation, has_buffer, in_place) = self.sends.pop_front().expect("a completion too many");
            assert_eq!((id, operation, has_buffer), (done.id, done.operation, done.buffer.is_some()), "{done:?}");
            if let (Some(buffer), true) = (&done.buffer, in_place) {
                assert_eq!(stamped(buffer), id, "its own buffer");
            }
            if self.failed {
                assert_eq!(done.status, WorkCompletionStatus::Flushed, "after a failure: {done:?}");
            }
            // A completion that is flushed first means that this side was closed, or the other ended.
            self.failed |= !done.is_success();
        }
    }
}

struct Player<H: Harness> {
    port: PortOf<H>,
    domain: crate::rig::DomainOf<H>,
    remote: RemoteOf<H>,
    wrong: RemoteOf<H>,
    expected: Expected,
    next_id: u64,
}

impl<H: Harness> Player<H> {
    fn post(&mut self, random: &mut Random) -> Outcome {
        let id = self.next_id;
        self.next_id += 1;
        let request = WorkRequest { id, signalled: random.below(3) == 0 };
        let offset = random.below(500) * 8;
        let target = if random.below(400) == 0 { &self.wrong } else { &self.remote };
        let fresh = |bytes| buffer::<H>(&self.domain, bytes).map(|buffer| stamp(buffer, id));
        let kind = random.below(9);
        let posted: Result<(Operation, bool, bool), Refused> = match kind {
            0 => {
                let posted = self.port.post_write_inline(request, &id.to_ne_bytes(), target, offset);
                match posted {
                    Ok(()) => Ok((Operation::Write, false, false)),
                    Err(reason) => Err(Refused { reason, buffer: fresh(16)? }),
                }
            }
            1 => self.port.post_read(request, fresh(32)?, target, offset).map(|()| (Operation::Read, true, false)),
            2 => self
                .port
                .post_write_with_immediate(request, fresh(24)?, target, offset, 7)
                .map(|()| (Operation::WriteWithImmediate, true, true)),
            3 => {
                let small = buffer::<H>(&self.domain, 8)?;
                self.port.post_fetch_add(request, small, target, offset, 3).map(|()| (Operation::FetchAdd, true, false))
            }
            4 => self.port.post_send(request, fresh(16)?).map(|()| (Operation::Send, true, true)),
            5 | 6 => match self.port.post_receive(request, fresh(64)?) {
                Ok(()) => {
                    self.expected.receives.push_back(id);
                    return Ok(());
                }
                Err(refused) => Err(refused),
            },
            _ => self
                .port
                .post_write(request, fresh(16 + random.below(200) as usize)?, target, offset)
                .map(|()| (Operation::Write, true, true)),
        };
        match posted {
            Ok((operation, has_buffer, in_place)) => {
                self.expected.sends.push_back((id, operation, has_buffer, in_place));
            }
            Err(refused) => {
                if kind != 0 && kind != 3 {
                    assert_eq!(stamped(&refused.buffer), id, "the refused buffer is the posted one");
                }
                let in_error = self.port.state() == PortState::Error;
                assert!(refused.reason == PostError::QueueFull || in_error, "{:?}", refused.reason);
            }
        }
        Ok(())
    }

    fn poll(&mut self, random: &mut Random) {
        let mut some: Vec<Completion> = (0..random.below(6)).map(|_| Completion::default()).collect();
        let got = self.port.poll(&mut some);
        assert!(got <= some.len());
        some.iter().take(got).for_each(|done| self.expected.check(done));
    }

    fn is_done(&self) -> bool {
        self.expected.sends.is_empty() && self.expected.receives.is_empty()
    }
}

fn play<H: Harness>(rig: &mut Rig<H>, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let options = PortOptions::new()
        .send_work_requests(1 + random.below(12) as u32)
        .receive_work_requests(1 + random.below(6) as u32)
        .message_bytes(64)
        .receiver_not_ready_ms(if random.below(2) == 0 { 1 } else { 10_000 });
    let (left, right) = rig.ports(&options)?;
    let there = crate::rig::expose::<H>(&rig.right, 8192, AccessFlags::ALL)?;
    let here = crate::rig::expose::<H>(&rig.left, 8192, AccessFlags::ALL)?;
    let wrong = |descriptor: &RemoteDescriptor| RemoteDescriptor { key: descriptor.key ^ 1 << 50, ..*descriptor };
    let mut players = [
        Player::<H> {
            port: left,
            domain: rig.left.clone(),
            remote: rig.left.import(there.descriptor())?,
            wrong: rig.left.import(&wrong(there.descriptor()))?,
            expected: Expected::default(),
            next_id: 1,
        },
        Player::<H> {
            port: right,
            domain: rig.right.clone(),
            remote: rig.right.import(here.descriptor())?,
            wrong: rig.right.import(&wrong(here.descriptor()))?,
            expected: Expected::default(),
            next_id: 1 << 32,
        },
    ];
    for _ in 0..600 {
        let player = &mut players[random.below(2) as usize];
        match random.below(1000) {
            0 => player.port.close(),
            1..650 => player.post(&mut random)?,
            650..900 => player.poll(&mut random),
            _ => rig.harness.pump(),
        }
    }
    let [left, right] = &mut players;
    left.port.close();
    right.port.close();
    crate::rig::until(&mut rig.harness, "all completions", || {
        left.poll(&mut random);
        right.poll(&mut random);
        Ok((left.is_done() && right.is_done()).then_some(()))
    })?;
    for player in &mut players {
        crate::rig::quiet(&mut rig.harness, &mut player.port)?;
        assert!(player.expected.completed > 0);
    }
    Ok(())
}

pub(crate) fn every_request_completes_once_whatever_happens<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    for seed in 0..60 {
        play(&mut rig, seed).map_err(|error| format!("seed {seed}: {error}"))?;
    }
    Ok(())
}
