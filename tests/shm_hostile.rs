//! Somebody scribbles over everything that the kernel lets others write, all the time. Dials may fail and messages may be garbled; nothing
//! panics, nothing hangs, and what only its owner can write stays right.
//!
//! One test, alone in its process: the scribbler spares nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/ending.rs"]
mod ending;

use ending::StopOnDrop;
use handfast::fabric::shm::{Shm, ShmDomain, ShmEndpoint, ShmPort};
use handfast::fabric::{
    AccessFlags, Completion, Dial, DialPurpose, Domain, Endpoint, EndpointEvent, Fabric, Link, LinkMonitor, LinkSlot,
    PageSizes, PendingPort, Port, PortOptions, PortState, WorkRequest,
};
use handfast::memory::{Buffer, Region};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const TIME: Duration = Duration::from_secs(3);

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Writes junk into every memory file of this process that takes it; returns how many writes were taken, and how many refused.
fn scribble(stop: &AtomicBool, seed: u64) -> (u64, u64) {
    let (mut state, mut taken, mut refused) = (seed, 0, 0);
    while !stop.load(Ordering::Relaxed) {
        let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { continue };
        for entry in descriptors.flatten() {
            let memory = std::fs::read_link(entry.path())
                .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:handfast"));
            if !memory || stop.load(Ordering::Relaxed) {
                continue;
            }
            let Ok(file) = std::fs::OpenOptions::new().read(true).write(true).open(entry.path()) else { continue };
            let length = file.metadata().map_or(4096, |file| file.len()).max(8);
            for _ in 0..20 {
                // Small numbers and words that stand there already are likelier to mean something than noise.
                let mut junk = match random(&mut state) % 4 {
                    0 => random(&mut state).to_ne_bytes(),
                    1 => (random(&mut state) % 70).to_ne_bytes(),
                    2 => u64::MAX.to_ne_bytes(),
                    _ => [0; 8],
                };
                let at = random(&mut state) % length.min(8192) / 8 * 8;
                if random(&mut state).is_multiple_of(3) {
                    let _ = file.read_exact_at(&mut junk, random(&mut state) % length.min(8192) / 8 * 8);
                }
                match file.write_all_at(&junk, at) {
                    Ok(()) => taken += 1,
                    Err(_) => refused += 1,
                }
            }
            // Possible only in the moment between a file's making and its sealing, which its maker notices.
            let _ = file.set_len(0);
        }
    }
    (taken, refused)
}

fn buffer(domain: &ShmDomain, bytes: usize) -> Fallible<Buffer> {
    Ok(domain.buffer(Region::builder(4096).pinned(false).build()?)?.split_at(bytes).0)
}

fn poll(port: &mut ShmPort) -> Vec<Completion> {
    let mut done: Vec<Completion> = (0..8).map(|_| Completion::default()).collect();
    let count = port.poll(&mut done);
    done.truncate(count);
    done
}

/// Tries to open a link; gives up after a while.
fn try_dial(endpoint: &mut ShmEndpoint, slot: LinkSlot) -> Option<Link<Shm>> {
    let mut dial = Shm::new().dial(endpoint.address(), DialPurpose::Session).ok()?;
    for _ in 0..200 {
        let polled = dial.poll();
        match endpoint.poll() {
            Some(EndpointEvent::Incoming(incoming)) => {
                endpoint.close(slot);
                let _ = endpoint.accept(incoming, slot);
            }
            Some(EndpointEvent::Closed(closed, _)) => endpoint.close(closed),
            _ => {}
        }
        match polled {
            Ok(Some(link)) => return Some(link),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
    None
}

/// A pair of ports talks until one side fails; returns messages that came.
fn talk(left: &ShmDomain, right: &ShmDomain) -> Fallible<(u64, bool)> {
    let options = PortOptions::new().send_work_requests(8).receive_work_requests(4).message_bytes(64);
    let options = options.receiver_not_ready_ms(5);
    let (Ok(one), Ok(other)) = (left.port(&options), right.port(&options)) else { return Ok((0, true)) };
    let (at_one, at_other) = (one.address(), other.address());
    let (Ok(mut one), Ok(mut other)) = (one.connect(&at_other), other.connect(&at_one)) else { return Ok((0, true)) };
    let (mut came, mut sent, mut offered) = (0, 0u64, 0u64);
    let cut = |domain: &ShmDomain| -> Fallible<Vec<Buffer>> {
        Ok(domain.buffer(Region::builder(300 * 64).pinned(false).build()?)?.split_into(64))
    };
    let (receives, sends) = (cut(right)?, cut(left)?);
    for (round, (into, from)) in receives.into_iter().zip(sends).take(300).enumerate() {
        let request = WorkRequest::signalled(round as u64);
        offered += u64::from(other.post_receive(request, into).is_ok());
        sent += u64::from(one.post_send(request, from).is_ok());
        for done in poll(&mut other) {
            assert!(done.buffer.is_some() && done.id < 300);
            assert!(!done.is_success() || done.bytes <= 64 || done.immediate.is_some(), "{done:?}");
            came += u64::from(done.is_success());
            offered -= 1;
        }
        for done in poll(&mut one) {
            assert!(done.buffer.is_some());
            sent -= 1;
        }
    }
    let failed = one.state() == PortState::Error || other.state() == PortState::Error;
    one.close();
    other.close();
    while let done @ 1.. = poll(&mut other).len() as u64 {
        offered -= done;
    }
    while let done @ 1.. = poll(&mut one).len() as u64 {
        sent -= done;
    }
    assert_eq!((sent, offered), (0, 0), "each request completed once");
    Ok((came, failed))
}

/// Whether the door opens again once nobody scribbles.
fn heals(endpoint: &mut ShmEndpoint, slot: LinkSlot) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if try_dial(endpoint, slot).is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

#[test]
fn whatever_is_scribbled_only_what_is_scribbled_over_suffers() -> Outcome {
    let address = format!("shm://hostile.{}:1", std::process::id()).parse()?;
    let mut endpoint = Shm::new().listen(&address, PageSizes { status: 4096, mailbox: 4096 })?;
    let slot = |number| LinkSlot::new(number).ok_or("no slot");
    endpoint.status().write(0, b"only the owner writes this")?;
    let mut link = try_dial(&mut endpoint, slot(0)?).ok_or("no link")?;
    let (left, right) = (Shm::new().domain(&link)?, Shm::new().domain(&link)?);
    let quiet = right.expose(
        Region::builder(4096).pinned(false).backing(right.backing(AccessFlags::REMOTE_READ)).build()?,
        AccessFlags::REMOTE_READ,
    )?;
    quiet.write(0, b"nor this")?;
    let quiet_remote = left.import(quiet.descriptor())?;
    let (reader, answerer) = (left.port(&PortOptions::new())?, right.port(&PortOptions::new())?);
    let (at_reader, at_answerer) = (reader.address(), answerer.address());
    let (mut reader, _answerer) = (reader.connect(&at_answerer)?, answerer.connect(&at_reader)?);

    let stop = Arc::new(AtomicBool::new(false));
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let scribbler = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || scribble(&stop, seed)
    });
    // However this test ends, the scribbler ends first: it spares nothing of this process.
    let stopping = StopOnDrop(&stop);
    let begun = Instant::now();
    let (mut dials, mut links, mut messages, mut failures, mut talks) = (0u32, 0u32, 0u64, 0u32, 0u32);
    // Chance decides what is hit when: some time at least, and until enough was hit.
    let enough = |links: u32, dials: u32, failures: u32| failures > 0 && links > 0 && links < dials;
    while begun.elapsed() < TIME || (!enough(links, dials, failures) && begun.elapsed() < 20 * TIME) {
        for (port, remote, expected) in [
            (&mut link.port, &link.status, &b"only the owner writes this"[..]),
            (&mut reader, &quiet_remote, &b"nor this"[..]),
        ] {
            let domain = if expected.len() == 8 { &left } else { &link.domain };
            port.post_read(WorkRequest::signalled(1), buffer(domain, expected.len())?, remote, 0)?;
            let done = poll(port);
            assert!(done.len() == 1 && done[0].is_success(), "{done:?}");
            assert_eq!(done[0].buffer.as_ref().map(|buffer| buffer.as_slice()), Some(expected));
        }
        let (_, mailbox) = link.mailbox.clone().ok_or("no mailbox")?;
        link.port.post_write_inline(WorkRequest::signalled(2), &[1; 64], &mailbox, 128)?;
        assert!(poll(&mut link.port).iter().all(Completion::is_success));
        dials += 1;
        links += u32::from(try_dial(&mut endpoint, slot(1)?).is_some());
        let (came, failed) = talk(&left, &right)?;
        messages += came;
        talks += 1;
        failures += u32::from(failed);
    }
    drop(stopping);
    let (taken, refused) = scribbler.join().map_err(|_| "the scribbler failed")?;
    println!(
        "{taken} scribbles, {refused} refused by the kernel; {links} of {dials} dials, {failures} of {talks} talks failed, {messages} messages"
    );
    assert!(taken > 1000 && refused > 1000, "the scribbler was at work");
    assert!(enough(links, dials, failures), "it hit something, and not everything");
    assert!(link.monitor.check().is_ok() && link.port.state() == PortState::Ready);
    assert!(heals(&mut endpoint, slot(2)?), "the door stays broken");
    Ok(())
}
