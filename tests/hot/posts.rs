//! Every operation of a port, posted and polled, QueueFull and refusals included.

use crate::hot::Linked;
use handfast::fabric::shm::Shm;
use handfast::fabric::{
    AccessFlags, Completion, Domain, Exposed, Fabric, Operation, PendingPort, Port, PortOptions, PostError, Refused,
    WorkRequest,
};
use handfast::memory::{Buffer, Region};

type ShmPort = <Shm as Fabric>::Port;
type ShmRemote = <Shm as Fabric>::Remote;

/// Operations a port of these loops holds.
const SENDS_MAX: u32 = 8;
const RECEIVES_MAX: u32 = 4;
/// Longest copy of the loop: past the lengths that are copied word by word.
const LONG: usize = 16 << 10;

/// Two wired ports, memory to write to, and buffers.
pub(crate) struct Posts {
    // Field order is drop order: ports before the memory they reach.
    here: ShmPort,
    there: ShmPort,
    remote: ShmRemote,
    memory: Exposed,
    long: Option<Buffer>,
    short: Option<Buffer>,
    word: Option<Buffer>,
    receives: [Option<Buffer>; 2],
    many: Vec<Buffer>,
    next: u64,
    _linked: Linked,
}

fn posted(outcome: Result<(), Refused>) {
    assert!(outcome.is_ok(), "refused");
}

fn completed(port: &mut ShmPort, operation: Operation) -> Completion {
    let mut completions = [Completion::default()];
    assert!(port.poll(&mut completions) == 1, "no completion");
    let [completion] = completions;
    assert!(completion.is_success() && completion.operation == operation, "not well completed");
    completion
}

impl Posts {
    pub(crate) fn new() -> Self {
        let linked = Linked::new();
        let domains = [0, 1].map(|index| linked.fabric.domain(&linked.links[index].0).expect("a domain"));
        let options = PortOptions::new().send_work_requests(SENDS_MAX).receive_work_requests(RECEIVES_MAX);
        let [pending_here, pending_there] = [0, 1].map(|index| domains[index].port(&options).expect("a port"));
        let addresses = [pending_here.address(), pending_there.address()];
        let here = pending_here.connect(&addresses[1]).expect("a wired port");
        let there = pending_there.connect(&addresses[0]).expect("a wired port");
        let region = Region::builder(64 << 10).backing(domains[1].backing(AccessFlags::ALL)).build().expect("memory");
        let memory = domains[1].expose(region, AccessFlags::ALL).expect("exposed");
        let remote = domains[0].import(memory.descriptor()).expect("imported");
        let buffer = |index: usize, bytes: usize| {
            let region = Region::builder(bytes).pinned(false).build().expect("memory");
            let domain: &<Shm as Fabric>::Domain = &domains[index];
            domain.buffer(region).expect("a buffer").split_at(bytes).0
        };
        let limits = here.limits();
        let many = buffer(0, 64 * limits.send_work_requests_max.max(limits.receive_work_requests_max) as usize + 64);
        let mut long = buffer(0, LONG);
        long.as_mut_slice().fill(3);
        Self {
            here,
            there,
            remote,
            memory,
            long: Some(long),
            short: Some(buffer(0, 64)),
            word: Some(buffer(0, 8)),
            receives: [Some(buffer(1, 1024)), Some(buffer(1, 1024))],
            many: many.split_into(64),
            next: 0,
            _linked: linked,
        }
    }

    /// Each operation once, and both queues filled to the brim and emptied.
    pub(crate) fn once(&mut self) {
        self.next += 1;
        self.writes_and_reads();
        self.atomics();
        self.messages();
        self.full_of_writes();
        self.full_of_receives();
        self.refusals();
    }

    fn writes_and_reads(&mut self) {
        let request = WorkRequest::signalled(self.next);
        let value = self.next.to_le_bytes();
        assert!(self.here.post_write_inline(WorkRequest::unsignalled(0), &value, &self.remote, 0).is_ok());
        let long = self.long.take().expect("the long buffer");
        posted(self.here.post_write(request, long, &self.remote, 4096));
        completed(&mut self.here, Operation::Write);
        self.long = completed(&mut self.here, Operation::Write).buffer;
        let short = self.short.take().expect("the short buffer");
        posted(self.here.post_read(request, short, &self.remote, 0));
        self.short = completed(&mut self.here, Operation::Read).buffer;
        let seen = self.short.as_ref().and_then(|buffer| buffer.as_slice().first_chunk::<8>());
        assert!(seen == Some(&value), "the READ behind the WRITE brought something else");
    }

    fn atomics(&mut self) {
        let request = WorkRequest::signalled(self.next);
        let word = self.word.take().expect("the word");
        posted(self.here.post_fetch_add(request, word, &self.remote, 0, 5));
        let word = completed(&mut self.here, Operation::FetchAdd).buffer.expect("the word");
        posted(self.here.post_compare_swap(request, word, &self.remote, 0, self.next + 5, self.next));
        self.word = completed(&mut self.here, Operation::CompareSwap).buffer;
        let now = self.memory.load(0, std::sync::atomic::Ordering::Acquire);
        assert!(now.ok() == Some(self.next), "the compare and swap did not swap");
    }

    /// A SEND and a WRITE with immediate, each posted before the receive it waits for in every second round.
    fn messages(&mut self) {
        let request = WorkRequest::signalled(self.next);
        let early = self.next.is_multiple_of(2);
        if early {
            self.offer_receives();
        }
        let short = self.short.take().expect("the short buffer");
        posted(self.here.post_send(request, short));
        let long = self.long.take().expect("the long buffer");
        posted(self.here.post_write_with_immediate(request, long, &self.remote, 4096, 77));
        if !early {
            assert!(self.here.poll(&mut [Completion::default()]) == 0, "nothing receives yet");
            self.offer_receives();
        }
        self.short = completed(&mut self.here, Operation::Send).buffer;
        self.long = completed(&mut self.here, Operation::WriteWithImmediate).buffer;
        self.receives[0] = completed(&mut self.there, Operation::Receive).buffer;
        let completion = completed(&mut self.there, Operation::ReceiveWithImmediate);
        assert!(completion.immediate == Some(77), "other immediate data");
        self.receives[1] = completion.buffer;
    }

    fn offer_receives(&mut self) {
        for place in &mut self.receives {
            let buffer = place.take().expect("a receive's buffer");
            posted(self.there.post_receive(WorkRequest::signalled(self.next), buffer));
        }
    }

    fn full_of_writes(&mut self) {
        let mut outstanding = 0;
        loop {
            let buffer = self.many.pop().expect("a buffer");
            match self.here.post_write(WorkRequest::signalled(outstanding), buffer, &self.remote, 128) {
                Ok(()) => outstanding += 1,
                Err(refused) => {
                    assert!(refused.reason == PostError::QueueFull, "refused for another reason");
                    self.many.push(refused.buffer);
                    break;
                }
            }
        }
        assert!(outstanding >= u64::from(SENDS_MAX));
        let inline = self.here.post_write_inline(WorkRequest::signalled(0), &[1; 8], &self.remote, 128);
        assert!(inline == Err(PostError::QueueFull));
        self.take_back(outstanding);
    }

    fn take_back(&mut self, outstanding: u64) {
        let mut taken = 0;
        while taken < outstanding {
            let mut completions: [Completion; 4] = Default::default();
            let count = self.here.poll(&mut completions);
            assert!(count > 0, "completions are missing");
            for completion in completions.iter_mut().take(count) {
                assert!(completion.is_success() && completion.id == taken, "not in order");
                taken += 1;
                self.many.extend(completion.buffer.take());
            }
        }
    }

    /// The receives of the near side, filled to the brim and used up by SENDs of the far side.
    fn full_of_receives(&mut self) {
        let mut outstanding = 0;
        loop {
            let buffer = self.many.pop().expect("a buffer");
            match self.here.post_receive(WorkRequest::signalled(outstanding), buffer) {
                Ok(()) => outstanding += 1,
                Err(refused) => {
                    assert!(refused.reason == PostError::QueueFull, "refused for another reason");
                    self.many.push(refused.buffer);
                    break;
                }
            }
        }
        for _ in 0..outstanding {
            let mut buffer = self.receives[0].take().expect("a buffer of the far side");
            buffer.truncate(32);
            posted(self.there.post_send(WorkRequest::signalled(1), buffer));
            self.receives[0] = completed(&mut self.there, Operation::Send).buffer;
        }
        self.take_back(outstanding);
        if let Some(buffer) = &mut self.receives[0] {
            buffer.restore();
        }
    }

    fn refusals(&mut self) {
        let end = self.remote_len();
        let inline = self.here.post_write_inline(WorkRequest::signalled(0), &[1; 8], &self.remote, end - 4);
        assert!(inline == Err(PostError::OutOfRange));
        let word = self.word.take().expect("the word");
        match self.here.post_read(WorkRequest::signalled(0), word, &self.remote, end) {
            Err(refused) if refused.reason == PostError::OutOfRange => self.word = Some(refused.buffer),
            _ => panic!("taken, or refused for another reason"),
        }
        let short = self.short.take().expect("the short buffer");
        match self.here.post_fetch_add(WorkRequest::signalled(0), short, &self.remote, 0, 1) {
            Err(refused) if refused.reason == PostError::Length => self.short = Some(refused.buffer),
            _ => panic!("taken, or refused for another reason"),
        }
        assert!(self.here.poll(&mut [Completion::default()]) == 0, "a completion of nothing");
    }

    fn remote_len(&self) -> u64 {
        use handfast::fabric::Remote;
        self.remote.len()
    }
}
