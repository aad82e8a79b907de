//! Everything dropped in every order, with work outstanding: nothing is freed that the device may touch, and nothing is left behind. Run under valgrind in
//! the rig.

use crate::device::Device;
use crate::harness::Side;
use crate::rig::{Outcome, Rig, buffer, expose, knock, link, listen};
use handfast::fabric::{AccessFlags, Domain, Port, PortOptions, PostError, WorkRequest};
use std::process::Command;

/// What the kernel counts of our objects: protection domains, queue pairs, memory regions and the like.
fn resources() -> Option<String> {
    let shown = Command::new("rdma").args(["resource", "show"]).output().ok()?;
    Some(String::from_utf8_lossy(&shown.stdout).into_owned())
}

/// Runs something, and compares what the kernel holds before and after.
fn leaves_nothing(work: impl Fn() -> Outcome) -> Outcome {
    // librdmacm keeps what it opened: let it open everything first.
    work()?;
    let before = resources();
    work()?;
    assert_eq!(resources(), before, "left behind");
    Ok(())
}

/// A rig with work outstanding on both ports, receives posted, and remote memory under WRITEs.
fn busy(rig: &Rig<Device>) -> Result<Busy, Box<dyn std::error::Error>> {
    let options = PortOptions::new().receiver_not_ready_ms(60_000);
    let (mut left, mut right) = rig.ports(&options)?;
    let (memory, remote) = rig.exposed(64 << 10, AccessFlags::ALL)?;
    for id in 0..8 {
        right.post_receive(WorkRequest::signalled(id), buffer::<Device>(&rig.right, 64)?)?;
        left.post_write(WorkRequest::unsignalled(id), rig.buffer(32 << 10)?, &remote, 0)?;
        left.post_read(WorkRequest::signalled(id), rig.buffer(4096)?, &remote, 0)?;
    }
    // One that waits for a receive that never comes.
    right.post_send(WorkRequest::signalled(9), buffer::<Device>(&rig.right, 64)?)?;
    Ok((left, right, memory, remote))
}

type Busy = (
    handfast::fabric::verbs::VerbsPort,
    handfast::fabric::verbs::VerbsPort,
    handfast::fabric::Exposed,
    handfast::fabric::verbs::VerbsRemote,
);

#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn teardown_in_every_order() -> Outcome {
    for order in 0..6 {
        leaves_nothing(|| {
            let rig = Rig::<Device>::new()?;
            let (left, right, memory, remote) = busy(&rig)?;
            match order {
                0 => drop((left, right, memory, rig)),
                1 => drop((memory, right, left, rig)),
                2 => drop((rig, memory, left, right)),
                3 => drop((right, rig, left, memory)),
                4 => {
                    let Rig { left: mine, right: theirs, links, endpoints, .. } = rig;
                    drop((endpoints, mine, memory, theirs, left, links, right));
                }
                _ => {
                    let Rig { left: mine, right: theirs, links, endpoints, .. } = rig;
                    theirs.revoke()?;
                    mine.revoke()?;
                    drop((links, left, endpoints, right, mine, theirs, memory));
                }
            }
            let _ = remote;
            Ok(())
        })?;
    }
    Ok(())
}

/// Memory that goes while the partner writes into it: its WRITEs fail, and hit nothing.
#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn teardown_of_memory_under_writes() -> Outcome {
    leaves_nothing(|| {
        let mut rig = Rig::<Device>::new()?;
        let (mut left, _right) = rig.ports(&PortOptions::new())?;
        let (memory, remote) = rig.exposed(64 << 10, AccessFlags::REMOTE_WRITE)?;
        let mut posted = 0;
        for id in 0..16 {
            left.post_write(WorkRequest::signalled(id), rig.buffer(64 << 10)?, &remote, 0)?;
            posted += 1;
        }
        drop(memory);
        // What comes in its place must not be hit.
        let other = expose::<Device>(&rig.right, 64 << 10, AccessFlags::NONE)?;
        match left.post_write(WorkRequest::signalled(16), rig.buffer(64)?, &remote, 0) {
            Ok(()) => posted += 1,
            Err(refused) => assert_eq!(refused.reason, PostError::PortInError),
        }
        let done = rig.complete(&mut left, posted)?;
        assert!(!done[posted - 1].is_success(), "written into memory that is gone");
        assert!(done.iter().all(|done| done.buffer.is_some()), "a buffer was kept");
        for word in 0..(64 << 10) / 8 {
            assert_eq!(other.load(word * 8, std::sync::atomic::Ordering::Relaxed)?, 0);
        }
        Ok(())
    })
}

/// Forgotten handles keep their memory for ever; everything else still goes in order.
#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn teardown_with_forgotten_handles() -> Outcome {
    let rig = Rig::<Device>::new()?;
    let (left, right, memory, remote) = busy(&rig)?;
    std::mem::forget(left);
    std::mem::forget(memory);
    std::mem::forget(rig.buffer(4096)?);
    drop((right, remote, rig));
    Ok(())
}

/// Dials dropped at every stage.
#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn teardown_of_dials() -> Outcome {
    use handfast::fabric::{Dial, DialPurpose, Fabric};
    leaves_nothing(|| {
        let mut harness = <Device as crate::harness::Harness>::new();
        let mut endpoint = listen(&harness, Side::Right, 1)?;
        let node = crate::harness::Harness::node(&harness, Side::Left);
        let to = crate::harness::Harness::address(&harness, Side::Right, 1);
        for polls in 0..40 {
            let mut dial = node.dial(&to, DialPurpose::Session)?;
            for _ in 0..polls {
                let _ = dial.poll()?;
            }
        }
        let (dial, incoming) = knock(&mut harness, Side::Left, &mut endpoint)?;
        drop(endpoint);
        drop(dial);
        let _ = incoming;
        let mut endpoint = listen(&harness, Side::Right, 1)?;
        let held = link(&mut harness, Side::Left, &mut endpoint, 0)?;
        drop(endpoint);
        drop(held);
        Ok(())
    })
}
