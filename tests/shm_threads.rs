//! The shm fabric under real concurrency: two threads, each with its own side of a link's ports.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/ending.rs"]
mod ending;

use ending::{StopOnDrop, Wait, wait_until};
use handfast::fabric::shm::{Shm, ShmDomain, ShmEndpoint, ShmPort};
use handfast::fabric::{
    AccessFlags, Completion, Dial, DialPurpose, Domain, Endpoint, EndpointEvent, Exposed, Fabric, Link, LinkSlot,
    PageSizes, PendingPort, Port, PortOptions, WorkRequest,
};
use handfast::memory::{Buffer, Region};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;
type Outcome = Fallible<()>;

struct Pair {
    left: ShmDomain,
    right: ShmDomain,
    _link: Link<Shm>,
    _endpoint: ShmEndpoint,
}

fn pair() -> Fallible<Pair> {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let address = format!("shm://threads.{}.{number}:1", std::process::id()).parse()?;
    let mut endpoint = Shm::new().listen(&address, PageSizes { status: 4096, mailbox: 4096 })?;
    let mut dial = Shm::new().dial(&address, DialPurpose::Session)?;
    let mut wait = Wait::new("the link");
    let link = loop {
        wait.turn();
        if let Some(link) = dial.poll()? {
            break link;
        }
        if let Some(EndpointEvent::Incoming(incoming)) = endpoint.poll() {
            endpoint.accept(incoming, LinkSlot::new(0).ok_or("no slot")?)?;
        }
    };
    let (left, right) = (Shm::new().domain(&link)?, Shm::new().domain(&link)?);
    Ok(Pair { left, right, _link: link, _endpoint: endpoint })
}

impl Pair {
    fn ports(&self, options: &PortOptions) -> Fallible<(ShmPort, ShmPort)> {
        let (one, other) = (self.left.port(options)?, self.right.port(options)?);
        let (at_one, at_other) = (one.address(), other.address());
        Ok((one.connect(&at_other)?, other.connect(&at_one)?))
    }
    fn exposed(&self, bytes: usize) -> Fallible<Exposed> {
        let backing = self.right.backing(AccessFlags::ALL);
        let region = Region::builder(bytes).pinned(false).backing(backing).build()?;
        Ok(self.right.expose(region, AccessFlags::ALL)?)
    }
}

fn cut(domain: &ShmDomain, count: usize, each: usize) -> Fallible<Vec<Buffer>> {
    let whole = domain.buffer(Region::builder(count * each).pinned(false).build()?)?;
    let mut buffers = whole.split_into(each);
    buffers.truncate(count);
    Ok(buffers)
}

fn drain(port: &mut ShmPort, into: &mut Vec<Buffer>) -> usize {
    let mut done: Vec<Completion> = (0..16).map(|_| Completion::default()).collect();
    let count = port.poll(&mut done);
    for done in done.into_iter().take(count) {
        assert!(done.is_success(), "{done:?}");
        into.extend(done.buffer);
    }
    count
}

/// A reader that sees a word sees everything that was written before it, whatever the lengths.
#[test]
fn what_was_written_before_a_word_is_seen_with_it() -> Outcome {
    const ROUNDS: u64 = 60_000;
    const LENGTHS: [usize; 6] = [8, 64, 200, 256, 264, 3000];
    let pair = pair()?;
    let memory = pair.exposed(8192)?;
    let remote = pair.left.import(memory.descriptor())?;
    let (mut port, _partner) = pair.ports(&PortOptions::new())?;
    let mut buffers = cut(&pair.left, 4, 3000)?;
    thread::scope(|scope| {
        let writing = scope.spawn(move || {
            for round in 1..=ROUNDS {
                let length = LENGTHS[round as usize % LENGTHS.len()];
                wait_until("a buffer", || {
                    drain(&mut port, &mut buffers);
                    !buffers.is_empty()
                });
                let mut from = buffers.pop().expect("a buffer");
                from.restore();
                from.truncate(length);
                from.as_mut_slice().chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&round.to_ne_bytes()));
                port.post_write(WorkRequest::signalled(round), from, &remote, 64).expect("room in the queue");
                port.post_write_inline(WorkRequest::signalled(0), &round.to_ne_bytes(), &remote, 0).expect("room");
                wait_until("a completion", || drain(&mut port, &mut buffers) != 0);
            }
        });
        let (mut seen, mut wait) = (0, Wait::new("the next round"));
        while seen < ROUNDS {
            wait.turn();
            let now = memory.load(0, Ordering::Acquire).expect("in range");
            assert!(now >= seen, "the word went back from {seen} to {now}");
            if now > seen {
                wait.restart();
            }
            seen = now;
            let length = LENGTHS[seen as usize % LENGTHS.len()];
            for at in (0..if seen == 0 { 0 } else { length }).step_by(8) {
                let word = memory.load(64 + at, Ordering::Relaxed).expect("in range");
                assert!(word >= seen, "round {seen} of {length} bytes: {word} at {at}");
            }
        }
        writing.join().expect("the writer");
    });
    Ok(())
}

/// Messages between two threads that both send and receive arrive once, whole and in order.
#[test]
fn messages_cross_both_ways() -> Outcome {
    const MESSAGES: u64 = 40_000;
    let pair = pair()?;
    let options = PortOptions::new().send_work_requests(16).receive_work_requests(8).message_bytes(200);
    let (left, right) = pair.ports(&options.receiver_not_ready_ms(30_000))?;
    let side = |mut port: ShmPort, domain: ShmDomain| {
        move || {
            let mut sends = cut(&domain, 16, 200).expect("buffers");
            for into in cut(&domain, 8, 200).expect("buffers") {
                port.post_receive(WorkRequest::signalled(u64::MAX), into).expect("room");
            }
            let (mut sent, mut came) = (0, 0);
            let mut done: Vec<Completion> = (0..8).map(|_| Completion::default()).collect();
            let mut wait = Wait::new("the other side's messages");
            while sent < MESSAGES || came < MESSAGES || sends.len() < 16 {
                while sent < MESSAGES
                    && let Some(mut from) = sends.pop()
                {
                    from.restore();
                    from.truncate(8 + (sent % 24) as usize * 8);
                    from.as_mut_slice().chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&sent.to_ne_bytes()));
                    port.post_send(WorkRequest::signalled(sent), from).expect("as many buffers as room");
                    sent += 1;
                }
                let count = port.poll(&mut done);
                if count > 0 {
                    wait.restart();
                }
                wait.turn();
                for done in &mut done[..count] {
                    assert!(done.is_success(), "{done:?}");
                    let buffer = done.buffer.take().expect("a buffer");
                    if done.id != u64::MAX {
                        sends.push(buffer);
                        continue;
                    }
                    assert_eq!(u64::from(done.bytes), 8 + came % 24 * 8);
                    for word in buffer.as_slice()[..done.bytes as usize].chunks_exact(8) {
                        assert_eq!(word, came.to_ne_bytes());
                    }
                    came += 1;
                    port.post_receive(WorkRequest::signalled(u64::MAX), buffer).expect("room");
                }
            }
            // The other side may still be sending: its port must not find this one gone.
            port
        }
    };
    let (one, other) = (side(left, pair.left.clone()), side(right, pair.right.clone()));
    let other = thread::spawn(other);
    let one = one();
    drop((one, other.join().map_err(|_| "the other side failed")?));
    Ok(())
}

/// Atomics of several ports on one word lose nothing.
#[test]
fn atomics_of_several_ports_lose_nothing() -> Outcome {
    const EACH: u64 = 30_000;
    let pair = pair()?;
    let memory = pair.exposed(4096)?;
    let remote = pair.left.import(memory.descriptor())?;
    let mut partners = Vec::new();
    thread::scope(|scope| -> Outcome {
        for number in 0..3 {
            let (mut port, partner) = pair.ports(&PortOptions::new())?;
            partners.push(partner);
            let (remote, mut buffers) = (remote.clone(), cut(&pair.left, 1, 8)?);
            scope.spawn(move || {
                for _ in 0..EACH {
                    let into = buffers.pop().expect("a buffer");
                    let request = WorkRequest::signalled(number);
                    port.post_fetch_add(request, into, &remote, 8, number + 1).expect("room");
                    wait_until("a completion", || drain(&mut port, &mut buffers) != 0);
                }
            });
        }
        // The owner's own atomics count too, on this fabric.
        for _ in 0..EACH {
            memory.fetch_add(8, 10, Ordering::Relaxed)?;
        }
        Ok(())
    })?;
    assert_eq!(memory.load(8, Ordering::SeqCst)?, EACH * (1 + 2 + 3 + 10));
    Ok(())
}

/// After the completion of a READ behind a WRITE, of two ports that write one word and read the other's at least one sees the other's WRITE.
#[test]
fn a_read_behind_a_write_orders_both() -> Outcome {
    const ROUNDS: u64 = 30_000;
    let pair = pair()?;
    let memory = pair.exposed(4096)?;
    let remote = pair.left.import(memory.descriptor())?;
    let seen = [const { AtomicU64::new(0) }; 2];
    let (steps, gone) = ([const { AtomicU64::new(0) }; 2], AtomicBool::new(false));
    // Waits until both sides came to a step. A side that failed does not come: the other fails, too.
    let meet = |side: usize, step: u64| {
        let there = || steps[1 - side].load(Ordering::Acquire) >= step;
        steps[side].store(step, Ordering::Release);
        wait_until("the other side", || there() || gone.load(Ordering::Acquire));
        assert!(there(), "the other side failed");
    };
    let ports = [pair.ports(&PortOptions::new())?, pair.ports(&PortOptions::new())?];
    let buffers = [cut(&pair.left, 1, 8)?, cut(&pair.left, 1, 8)?];
    let mut partners = Vec::new();
    thread::scope(|scope| {
        for (side, ((mut port, partner), mut buffers)) in (0..2u64).zip(ports.into_iter().zip(buffers)) {
            partners.push(partner);
            let (remote, seen, gone, meet) = (remote.clone(), &seen, &gone, &meet);
            scope.spawn(move || {
                let _gone = StopOnDrop(gone);
                for round in 1..=ROUNDS {
                    meet(side as usize, 2 * round - 1);
                    let into = buffers.pop().expect("a buffer");
                    let (mine, theirs) = (side * 128, (1 - side) * 128);
                    port.post_write_inline(WorkRequest::unsignalled(0), &round.to_ne_bytes(), &remote, mine)
                        .expect("room");
                    port.post_read(WorkRequest::signalled(1), into, &remote, theirs).expect("room");
                    wait_until("a completion", || drain(&mut port, &mut buffers) != 0);
                    let word = u64::from_ne_bytes(buffers[0].as_slice().try_into().expect("8 bytes"));
                    seen[side as usize].store(word, Ordering::SeqCst);
                    meet(side as usize, 2 * round);
                    let both = [&seen[0], &seen[1]].map(|seen| seen.load(Ordering::SeqCst));
                    assert!(both.contains(&round), "round {round}: neither saw the other: {both:?}");
                }
            });
        }
    });
    Ok(())
}
