//! Every operation, carried out at once and behind one that waits, from buffers and from loans: the bytes at the target are compared.

use crate::harness::Harness;
use crate::rig::{Fallible, Outcome, PortOf, Rig, buffer, expose};
use handfast::fabric::{
    AccessFlags, Domain, Operation, Port, PortOptions, PortState, WorkCompletionStatus, WorkRequest,
};
use handfast::memory::{Region, Ring, RingReader, RingSource};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const RING_BYTES: u64 = 64 << 10;

/// Around what is lent inline, in words, in blocks and in one instruction.
const LENGTHS: [usize; 12] = [1, 7, 8, 31, 64, 255, 256, 257, 1000, 4096, 5001, 16 << 10];

/// A ring of the left node, registered in its domain.
struct Lender {
    ring: Arc<Ring>,
    reader: RingReader,
    source: RingSource,
}

impl Lender {
    fn new<H: Harness>(rig: &Rig<H>) -> Fallible<Self> {
        let region = Region::builder(RING_BYTES as usize).pinned(false).build()?;
        let (ring, reader) = Ring::new(region, 0, RING_BYTES, (0, 0), None)?;
        let source = rig.left.ring(&ring)?;
        Ok(Self { ring, reader, source })
    }

    /// Publishes bytes; where they begin.
    fn publish(&mut self, bytes: &[u8]) -> Fallible<u64> {
        let (gap, mut span) = self.ring.claim(bytes.len() as u64, 0)?;
        if let Some(gap) = gap {
            gap.publish();
        }
        span.write(0, bytes)?;
        let start = span.start();
        span.publish();
        self.reader.collect(self.reader.collected(), 10, u64::MAX);
        Ok(start)
    }

    fn lend(&mut self, start: u64, length: usize) -> Fallible<handfast::memory::Loan> {
        Ok(self.reader.lend(&self.source, start, start + length as u64).ok_or("no loan")?)
    }
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

/// Puts something in front that waits for a receive; with it, everything behind waits too.
fn hold_up<H: Harness>(rig: &Rig<H>, port: &mut PortOf<H>, deferred: bool) -> Outcome {
    if deferred {
        port.post_send(WorkRequest::signalled(99), rig.buffer(8)?)?;
    }
    Ok(())
}

/// Lets what waits go on, where something does.
fn let_go<H: Harness>(rig: &mut Rig<H>, ports: (&mut PortOf<H>, &mut PortOf<H>), deferred: bool) -> Outcome {
    if deferred {
        ports.1.post_receive(WorkRequest::signalled(98), buffer::<H>(&rig.right, 64)?)?;
        rig.good(ports.0, 99)?;
        rig.good(ports.1, 98)?;
    }
    Ok(())
}

pub(crate) fn every_operation_moves_its_bytes_at_once_and_deferred<H: Harness>() -> Outcome {
    for deferred in [false, true] {
        let mut rig = Rig::<H>::new()?;
        let options = PortOptions::new().receiver_not_ready_ms(60_000).message_bytes(64);
        let (mut left, mut right) = rig.ports(&options)?;
        let (memory, remote) = rig.exposed(8192, AccessFlags::ALL)?;
        memory.write(1024, &pattern(500, 3))?;
        memory.store(2048, 40, Ordering::Relaxed)?;
        let mut lender = Lender::new(&rig)?;
        let at = lender.publish(&pattern(300, 9))?;

        hold_up(&rig, &mut left, deferred)?;
        let from = rig.buffer(100)?;
        let written = from.as_slice().to_vec();
        left.post_write(WorkRequest::signalled(1), from, &remote, 1)?;
        left.post_write_loan(WorkRequest::signalled(2), lender.lend(at, 300)?, &remote, 203)?;
        left.post_write_inline(WorkRequest::signalled(3), &[7; 20], &remote, 600)?;
        left.post_read(WorkRequest::signalled(4), rig.buffer(500)?, &remote, 1024)?;
        left.post_fetch_add(WorkRequest::signalled(5), rig.buffer(8)?, &remote, 2048, 2)?;
        left.post_compare_swap(WorkRequest::signalled(6), rig.buffer(8)?, &remote, 2048, 42, 77)?;
        let from = rig.buffer(60)?;
        left.post_write_with_immediate(WorkRequest::signalled(7), from, &remote, 3001, 5)?;
        left.post_send(WorkRequest::signalled(8), rig.buffer(50)?)?;
        let_go(&mut rig, (&mut left, &mut right), deferred)?;
        for id in [11, 12] {
            right.post_receive(WorkRequest::signalled(id), buffer::<H>(&rig.right, 64)?)?;
        }
        let done = rig.complete(&mut left, 8)?;
        let received = rig.complete(&mut right, 2)?;
        assert!(done.iter().chain(&received).all(|done| done.is_success()), "{deferred}: {done:?} {received:?}");
        assert_eq!(done.iter().map(|done| done.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(done.iter().map(|done| done.bytes).collect::<Vec<_>>(), [100, 300, 20, 500, 8, 8, 60, 50]);
        let read = |offset: usize, length: usize| -> Fallible<Vec<u8>> {
            let mut bytes = vec![0; length];
            memory.read(offset, &mut bytes)?;
            Ok(bytes)
        };
        assert_eq!(read(1, 100)?, written, "WRITE, deferred {deferred}");
        assert_eq!(read(203, 300)?, pattern(300, 9), "WRITE of a loan, deferred {deferred}");
        assert_eq!(read(600, 20)?, [7; 20], "inline WRITE, deferred {deferred}");
        assert_eq!(read(3001, 60)?, rig.buffer(60)?.as_slice(), "WRITE with immediate, deferred {deferred}");
        assert_eq!(memory.load(2048, Ordering::Acquire)?, 77, "atomics, deferred {deferred}");
        let returned = |index: usize| done[index].buffer.as_ref().map(|buffer| buffer.as_slice().to_vec());
        assert_eq!(returned(3), Some(pattern(500, 3)), "READ, deferred {deferred}");
        assert_eq!(returned(4), Some(40u64.to_ne_bytes().to_vec()));
        assert_eq!(returned(5), Some(42u64.to_ne_bytes().to_vec()));
        assert!(returned(1).is_none(), "a loan does not come back");
        assert_eq!((received[0].operation, received[0].immediate), (Operation::ReceiveWithImmediate, Some(5)));
        let message = received[1].buffer.as_ref().ok_or("no buffer")?;
        assert_eq!(&message.as_slice()[..50], rig.buffer(50)?.as_slice(), "SEND, deferred {deferred}");
    }
    Ok(())
}

pub(crate) fn loans_of_every_length_arrive_where_they_should<H: Harness>() -> Outcome {
    for deferred in [false, true] {
        let mut rig = Rig::<H>::new()?;
        let (mut left, mut right) = rig.ports(&PortOptions::new().receiver_not_ready_ms(60_000))?;
        let (memory, remote) = rig.exposed(20 << 10, AccessFlags::ALL)?;
        let mut lender = Lender::new(&rig)?;
        for (length, offset) in LENGTHS.into_iter().flat_map(|length| [0, 3, 8].map(|offset| (length, offset))) {
            memory.write(0, &vec![0xee; memory.len()])?;
            let start = lender.publish(&pattern(length, offset as u8))?;
            hold_up(&rig, &mut left, deferred)?;
            left.post_write_loan(WorkRequest::signalled(1), lender.lend(start, length)?, &remote, offset)?;
            if deferred {
                // The rest of the ring may be filled and freed meanwhile, as far as there is room: not what is lent.
                let end = lender.reader.collected();
                assert!(lender.reader.free(end) <= start, "lent bytes were freed");
                lender.publish(&pattern(length, 0x77))?;
            }
            let_go(&mut rig, (&mut left, &mut right), deferred)?;
            let done = rig.good(&mut left, 1)?;
            assert_eq!((done.operation, done.bytes as usize), (Operation::Write, length));
            assert!(done.buffer.is_none());
            let mut all = vec![0; memory.len()];
            memory.read(0, &mut all)?;
            let offset = offset as usize;
            assert_eq!(all[offset..offset + length], pattern(length, offset as u8), "{length} at {offset}");
            let around = all[..offset].iter().chain(&all[offset + length..]);
            assert!(around.copied().all(|byte| byte == 0xee), "{length} at {offset} wrote past itself");
            let end = lender.reader.collected();
            assert_eq!(lender.reader.free(end), end, "the loan is back");
        }
    }
    Ok(())
}

pub(crate) fn loans_come_back_when_their_port_ends<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, _right) = rig.ports(&PortOptions::new().receiver_not_ready_ms(60_000))?;
    let (_memory, remote) = rig.exposed(4096, AccessFlags::ALL)?;
    let mut lender = Lender::new(&rig)?;
    let start = lender.publish(&pattern(500, 1))?;
    hold_up(&rig, &mut left, true)?;
    left.post_write_loan(WorkRequest::signalled(1), lender.lend(start, 500)?, &remote, 0)?;
    let end = lender.reader.collected();
    assert_eq!(lender.reader.free(end), start, "it is out");
    left.close();
    let done = rig.complete(&mut left, 2)?;
    assert!(done.iter().all(|done| done.status == WorkCompletionStatus::Flushed), "{done:?}");
    assert!(done[0].buffer.is_some() && done[1].buffer.is_none());
    assert_eq!(lender.reader.free(end), end, "it is back");
    let start = lender.publish(&pattern(64, 1))?;
    let refused = left.post_write_loan(WorkRequest::signalled(2), lender.lend(start, 64)?, &remote, 0);
    assert_eq!(refused, Err(handfast::fabric::PostError::PortInError));
    let end = lender.reader.collected();
    assert_eq!(lender.reader.free(end), end, "a refused loan is back at once");
    Ok(())
}

/// The ring is registered in another domain of the same node.
pub(crate) fn loans_of_another_domain_are_refused<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, _right) = rig.ports(&PortOptions::new())?;
    let memory = expose::<H>(&rig.right, 4096, AccessFlags::ALL)?;
    let remote = rig.left.import(memory.descriptor())?;
    let mut lender = Lender::new(&rig)?;
    lender.source = rig.links[0].domain.ring(&lender.ring)?;
    let start = lender.publish(&pattern(1000, 1))?;
    left.post_write_loan(WorkRequest::signalled(1), lender.lend(start, 1000)?, &remote, 0)?;
    let done = rig.complete(&mut left, 1)?;
    assert_eq!(done[0].status, WorkCompletionStatus::LocalProtection);
    assert_eq!(left.state(), PortState::Error);
    let mut bytes = vec![0; 1000];
    memory.read(0, &mut bytes)?;
    assert!(bytes.iter().all(|byte| *byte == 0), "nothing was written");
    Ok(())
}

/// The same behind a message that waits for its receive. For fabrics that carry operations out in order themselves: over rxe neither completion
/// comes, and why is not known.
pub(crate) fn loans_of_another_domain_are_refused_behind_what_waits<H: Harness>() -> Outcome {
    let mut rig = Rig::<H>::new()?;
    let (mut left, mut right) = rig.ports(&PortOptions::new().receiver_not_ready_ms(60_000))?;
    let memory = expose::<H>(&rig.right, 4096, AccessFlags::ALL)?;
    let remote = rig.left.import(memory.descriptor())?;
    let mut lender = Lender::new(&rig)?;
    lender.source = rig.links[0].domain.ring(&lender.ring)?;
    let start = lender.publish(&pattern(1000, 1))?;
    hold_up(&rig, &mut left, true)?;
    left.post_write_loan(WorkRequest::signalled(1), lender.lend(start, 1000)?, &remote, 0)?;
    let_go(&mut rig, (&mut left, &mut right), true)?;
    let done = rig.complete(&mut left, 1)?;
    assert_eq!(done[0].status, WorkCompletionStatus::LocalProtection);
    assert_eq!(left.state(), PortState::Error);
    let mut bytes = vec![0; 1000];
    memory.read(0, &mut bytes)?;
    assert!(bytes.iter().all(|byte| *byte == 0), "nothing was written");
    Ok(())
}
