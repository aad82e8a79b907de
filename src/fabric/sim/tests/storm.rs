//! Random work under every fault at once: what must hold whatever happens.

use super::*;
use crate::fabric::sim::rng::Rng;
use WorkCompletionStatus as Status;
use std::collections::{BTreeMap, VecDeque};

const SEEDS: u64 = 150;

/// One node's port, what was posted on it, and what came back.
struct Worker {
    client: Client,
    exposed: Exposed,
    remote: SimRemote,
    posted: [VecDeque<u64>; 2],
    with_buffer: BTreeMap<u64, usize>,
    next: u64,
    failed: bool,
    completed: u64,
}

impl Worker {
    fn new(client: Client, exposed: Exposed, remote: SimRemote) -> Self {
        let (posted, with_buffer) = ([VecDeque::new(), VecDeque::new()], BTreeMap::new());
        Self { client, exposed, remote, posted, with_buffer, next: 1, failed: false, completed: 0 }
    }

    fn post(&mut self, rng: &mut Rng) -> Outcome {
        let (id, port, remote) = (self.next, &mut self.client.port, &self.remote);
        let request = if rng.chance(300_000) { WorkRequest::unsignalled(id) } else { WorkRequest::signalled(id) };
        let (length, offset) = (rng.between(0, 96) as usize, rng.below(20) * 8);
        let kind = rng.below(8);
        let exact = if matches!(kind, 4 | 5) { 8 } else { length };
        let bytes = buffer(&self.client.domain, &vec![id as u8; exact])?;
        let inline = vec![id as u8; exact];
        let result = match kind {
            0 | 1 => port.post_read(request, bytes, remote, offset),
            2 => port.post_write(request, bytes, remote, offset),
            3 => port.post_write_with_immediate(request, bytes, remote, offset, id as u32),
            4 => port.post_fetch_add(request, bytes, remote, offset, id),
            5 => port.post_compare_swap(request, bytes, remote, offset, id, 0),
            6 => port.post_send(request, bytes),
            _ => {
                drop(bytes);
                match port.post_write_inline(request, &inline, remote, offset) {
                    Ok(()) => self.posted[0].push_back(id),
                    Err(reason) => self.check_refused(reason),
                }
                self.next += 1;
                return Ok(());
            }
        };
        self.next += 1;
        match result {
            Ok(()) => {
                self.posted[0].push_back(id);
                self.with_buffer.insert(id, exact);
            }
            Err(refused) => {
                assert_eq!(refused.buffer.len(), exact);
                self.check_refused(refused.reason);
            }
        }
        Ok(())
    }

    fn check_refused(&self, reason: PostError) {
        let state = self.client.port.state();
        let allowed = if state == PortState::Error { PostError::PortInError } else { PostError::QueueFull };
        assert_eq!(reason, allowed);
    }

    fn receive(&mut self) -> Outcome {
        let id = self.next;
        self.next += 1;
        match self.client.port.post_receive(WorkRequest::signalled(id), buffer(&self.client.domain, &[0; 96])?) {
            Ok(()) => {
                self.posted[1].push_back(id);
                self.with_buffer.insert(id, 96);
            }
            Err(refused) => self.check_refused(refused.reason),
        }
        Ok(())
    }

    /// Each completion is of the oldest request of its queue, with its own buffer; after the first failure all are flushed.
    fn poll(&mut self) -> Outcome {
        while let Some(completion) = poll_one(&mut self.client.port) {
            let queue = usize::from(matches!(
                completion.operation,
                crate::fabric::Operation::Receive | crate::fabric::Operation::ReceiveWithImmediate
            ));
            assert_eq!(self.posted[queue].pop_front(), Some(completion.id), "{completion:?}");
            assert_eq!(self.with_buffer.remove(&completion.id), completion.buffer.map(|buffer| buffer.len()));
            if self.failed {
                assert_eq!(completion.status, Status::Flushed);
            }
            self.failed |= completion.status != Status::Success;
            self.completed += 1;
        }
        Ok(())
    }
}

/// One history; the number of its completions.
fn history(seed: u64, total: &mut Stats) -> Fallible<u64> {
    let pair = pair(seed, Faults::none())?;
    let options = PortOptions::new().send_work_requests(16).receive_work_requests(8).receiver_not_ready_ms(20);
    let (a, b) = clients(&pair, &options)?;
    let (of_a, from_b) = expose(&a, &b, AccessFlags::ALL)?;
    let (of_b, from_a) = expose(&b, &a, AccessFlags::ALL)?;
    let mut workers = [Worker::new(a, of_a, from_a), Worker::new(b, of_b, from_b)];
    // Fewer losses than a storm's: the first ends the port, and the rest should be seen too.
    let (lose_operation_ppm, lose_acknowledgement_ppm) = (3_000, 3_000);
    pair.sim.replace_faults(Faults { lose_operation_ppm, lose_acknowledgement_ppm, ..Faults::storm() });
    let mut rng = Rng::new(seed);
    for _ in 0..300 {
        let worker = &mut workers[rng.below(2) as usize];
        match rng.below(100) {
            0..8 => worker.exposed.write(rng.below(20) as usize * 8, &[rng.next() as u8; 96])?,
            8..40 => worker.post(&mut rng)?,
            40..65 => worker.receive()?,
            65..80 => worker.poll()?,
            80..97 => pair.sim.advance(MICROS(rng.below(40))),
            97 if rng.chance(300_000) => {
                pair.sim.cut_one_way(["a", "b"][rng.below(2) as usize], ["b", "a"][rng.below(2) as usize])
            }
            98 => pair.sim.heal_all(),
            _ if seed.is_multiple_of(7) && rng.chance(100_000) => worker.client.port.close(),
            _ => {}
        }
    }
    if seed.is_multiple_of(5) {
        pair.sim.crash("b");
    }
    pair.sim.advance(SECOND);
    for worker in &mut workers {
        worker.client.port.close();
        worker.poll()?;
        assert!(worker.posted.iter().all(VecDeque::is_empty), "never completed: {:?}", worker.posted);
        assert!(worker.with_buffer.is_empty());
    }
    let stats = pair.sim.stats();
    add(total, &stats);
    assert_eq!(stats.completions, workers.iter().map(|worker| worker.completed).sum::<u64>());
    pair.sim.advance(SECOND * 2);
    assert_eq!(pair.sim.next_event(), None, "the world comes to rest");
    Ok(stats.completions)
}

fn add(total: &mut Stats, stats: &Stats) {
    total.operations_lost += stats.operations_lost;
    total.acknowledgements_lost += stats.acknowledgements_lost;
    total.landed_but_failed += stats.landed_but_failed;
    total.landed_after_teardown += stats.landed_after_teardown;
    total.operations_delayed += stats.operations_delayed;
    total.writes_repeated += stats.writes_repeated;
    total.reads_torn += stats.reads_torn;
    total.writes_torn += stats.writes_torn;
    total.packets_cut += stats.packets_cut;
    total.receivers_not_ready += stats.receivers_not_ready;
    total.notices_lost += stats.notices_lost;
}

#[test]
fn every_request_completes_once_in_order_with_its_buffer() -> Outcome {
    let (mut total, mut completions) = (Stats::default(), 0);
    for seed in 0..SEEDS {
        completions += history(seed, &mut total).map_err(|error| format!("seed {seed}: {error}"))?;
    }
    assert!(completions > 40 * SEEDS, "{completions}");
    for (what, count) in [
        ("lost operations", total.operations_lost),
        ("lost acknowledgements", total.acknowledgements_lost),
        ("landed but failed", total.landed_but_failed),
        ("landed after teardown", total.landed_after_teardown),
        ("delays", total.operations_delayed),
        ("repeats", total.writes_repeated),
        ("torn reads", total.reads_torn),
        ("torn writes", total.writes_torn),
        ("cuts", total.packets_cut),
        ("receivers not ready", total.receivers_not_ready),
        ("lost notices", total.notices_lost),
    ] {
        assert!(count > 0, "no {what}: {total:?}");
    }
    Ok(())
}
