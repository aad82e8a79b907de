//! No allocation on the hot path of real RDMA: an allocator that counts, and a thousand rounds of everything.
#![cfg(feature = "verbs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "hot_path/counting.rs"]
mod counting;
#[path = "conformance/device.rs"]
mod device;
#[path = "conformance/harness.rs"]
mod harness;
#[allow(dead_code, reason = "shared with the conformance suite")]
#[path = "conformance/rig.rs"]
mod rig;

use counting::{Counting, counted};
use device::Device;
use handfast::fabric::verbs::{VerbsPort, VerbsRemote};
use handfast::fabric::{AccessFlags, Completion, Port, PortOptions, PostError, WorkRequest};
use handfast::memory::Buffer;
use rig::{Outcome, Rig, buffer};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: u32 = 1_000;
const SENDS: u32 = 8;

struct Loop {
    here: VerbsPort,
    there: VerbsPort,
    remote: VerbsRemote,
    long: Option<Buffer>,
    short: Option<Buffer>,
    receive: Option<Buffer>,
}

/// The next completion, which must be good; its buffer.
fn done(port: &mut VerbsPort) -> Option<Buffer> {
    let mut completions = [Completion::default()];
    while port.poll(&mut completions) == 0 {
        std::hint::spin_loop();
    }
    let [completion] = completions;
    assert!(completion.is_success(), "not well completed");
    completion.buffer
}

impl Loop {
    fn once(&mut self) {
        let (here, remote) = (&mut self.here, &self.remote);
        let request = WorkRequest::signalled(1);
        assert!(here.post_write(WorkRequest::unsignalled(0), self.long.take().expect("a buffer"), remote, 0).is_ok());
        assert!(here.post_read(request, self.short.take().expect("a buffer"), remote, 0).is_ok());
        self.long = done(here);
        self.short = done(here);
        assert!(here.post_fetch_add(request, self.short.take().expect("a buffer"), remote, 0, 1).is_ok());
        self.short = done(here);
        assert!(self.there.post_receive(request, self.receive.take().expect("a buffer")).is_ok());
        assert!(here.post_send(request, self.short.take().expect("a buffer")).is_ok());
        self.short = done(here);
        self.receive = done(&mut self.there);
        here.hold();
        for _ in 0..SENDS {
            assert!(here.post_write_inline(WorkRequest::unsignalled(2), &[7; 8], remote, 64).is_ok());
        }
        let full = here.post_write_inline(request, &[7; 8], remote, 64);
        assert!(full == Err(PostError::QueueFull) && here.ring().is_ok());
        for _ in 0..SENDS {
            done(here);
        }
    }
}

#[test]
#[ignore = "needs an RDMA device: cargo xtask rig"]
fn posting_and_polling_allocate_nothing() -> Outcome {
    let rig = Rig::<Device>::new()?;
    let (here, there) = rig.ports(&PortOptions::new().send_work_requests(SENDS))?;
    let (_memory, remote) = rig.exposed(64 << 10, AccessFlags::ALL)?;
    let (long, short, receive) = (rig.buffer(16 << 10)?, rig.buffer(8)?, buffer::<Device>(&rig.right, 64)?);
    let mut work = Loop { here, there, remote, long: Some(long), short: Some(short), receive: Some(receive) };
    work.once();
    let (calls, ()) = counted(|| (0..ROUNDS).for_each(|_| work.once()));
    println!("{ROUNDS} rounds of every operation, {calls} calls to the allocator");
    assert_eq!(calls, 0);
    Ok(())
}
