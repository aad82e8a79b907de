//! Ports of the shm fabric, two nodes in one process: what posting and polling cost the initiator where no line has to travel.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use handfast::fabric::shm::{Shm, ShmPort, ShmRemote};
use handfast::fabric::{Completion, Port, WorkRequest};
use handfast::manager::{Client, ClientSpec, ClusterManager, Event, LostReason, NodeConfig, Unavailable};
use handfast::memory::{Buffer, Region};
use handfast::session::Session;
use std::error::Error;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

struct Taker(Sender<Session<Shm>>);

impl Client<Shm> for Taker {
    fn on_ready(&mut self, session: Session<Shm>) {
        let _ = self.0.send(session);
    }
    fn on_lost(&mut self, _: &LostReason) {}
    fn on_unavailable(&mut self, _: &Unavailable) {}
}

/// One end, with a buffer of a line.
struct End {
    session: Session<Shm>,
    port: ShmPort,
    grant: ShmRemote,
    line: Option<Buffer>,
}

/// Both ends of a port, and the managers that keep its session.
type Pair = ([End; 2], Vec<ClusterManager<Shm>>);

/// Two nodes that are ready, and what keeps them so.
fn pair() -> Result<Pair, Box<dyn Error>> {
    let run = std::process::id();
    let address = |port| format!("shm://handfast-bench-{run}:{port}").parse();
    let (mut nodes, mut sessions) = (Vec::new(), Vec::new());
    for (node, at, partner, partner_at) in [("a", 1, "b", 2), ("b", 2, "a", 1)] {
        let (at, partner_at) = (address(at)?, address(partner_at)?);
        let config = NodeConfig::new("bench".parse()?, node.parse()?, at, partner.parse()?, partner_at);
        let mut manager = ClusterManager::boot(Shm::new(), config)?;
        let (sender, receiver) = channel();
        manager.client(ClientSpec::new("bench".parse()?).memory(1 << 20), Box::new(Taker(sender)))?;
        manager.open();
        nodes.push(manager);
        sessions.push(receiver);
    }
    let (mut ready, began) = (0, Instant::now());
    while ready < 2 {
        for node in &mut nodes {
            while let Some(event) = node.poll() {
                ready += usize::from(matches!(event, Event::Ready { .. }));
            }
        }
        if began.elapsed() > Duration::from_secs(10) {
            return Err("no session within 10 s".into());
        }
    }
    let mut ends = Vec::new();
    for receiver in sessions {
        let mut session = receiver.try_recv()?;
        let port = session.take_ports().pop().ok_or("no port")?;
        let grant = session.grant().ok_or("no grant")?.clone();
        let (line, _) = session.buffer(Region::builder(4096).pinned(false).build()?)?.split_at(64);
        ends.push(End { session, port, grant, line: Some(line) });
    }
    let ends: [End; 2] = ends.try_into().map_err(|_| "two nodes, and not two ends")?;
    Ok((ends, nodes))
}

/// Polls the one completion that is outstanding; its buffer.
fn complete(port: &mut ShmPort, completions: &mut [Completion; 1]) -> Option<Buffer> {
    let polled = port.poll(completions);
    assert!(polled == 1 && completions[0].is_success(), "{completions:?}");
    completions[0].buffer.take()
}

fn one_sided(criterion: &mut Criterion, end: &mut End) {
    let mut group = criterion.benchmark_group("shm");
    let (request, mut completions) = (WorkRequest::signalled(1), Default::default());
    group.bench_function("write_inline/8", |bencher| {
        bencher.iter(|| {
            let posted = end.port.post_write_inline(request, &7u64.to_ne_bytes(), &end.grant, 0);
            assert!(posted.is_ok());
            complete(&mut end.port, &mut completions)
        });
    });
    group.bench_function("write/64", |bencher| {
        bencher.iter(|| {
            let posted = end.line.take().map(|line| end.port.post_write(request, line, &end.grant, 4096));
            assert!(matches!(posted, Some(Ok(()))));
            end.line = complete(&mut end.port, &mut completions);
        });
    });
    group.bench_function("read/64", |bencher| {
        bencher.iter(|| {
            let posted = end.line.take().map(|line| end.port.post_read(request, line, &end.grant, 8192));
            assert!(matches!(posted, Some(Ok(()))));
            end.line = complete(&mut end.port, &mut completions);
        });
    });
    group.finish();
}

fn messages(criterion: &mut Criterion, [here, there]: &mut [End; 2]) {
    let (request, mut completions) = (WorkRequest::signalled(1), Default::default());
    criterion.bench_function("shm/send and receive/64", |bencher| {
        bencher.iter(|| {
            let offered = there.line.take().map(|line| there.port.post_receive(request, line));
            assert!(matches!(offered, Some(Ok(()))));
            let sent = here.line.take().map(|line| here.port.post_send(request, line));
            assert!(matches!(sent, Some(Ok(()))));
            here.line = complete(&mut here.port, &mut completions);
            there.line = complete(&mut there.port, &mut completions);
        });
    });
}

fn regions(criterion: &mut Criterion, end: &End) {
    let Some(memory) = end.session.memory() else { return };
    let mut group = criterion.benchmark_group("region");
    for length in [8, 64, 4096] {
        let mut bytes = vec![7; length];
        group.bench_function(format!("write/{length}"), |bencher| bencher.iter(|| memory.write(0, &bytes)));
        group.bench_function(format!("read/{length}"), |bencher| bencher.iter(|| memory.read(0, &mut bytes)));
    }
    group.finish();
}

fn shm(criterion: &mut Criterion) {
    match pair() {
        Ok((mut ends, nodes)) => {
            let [here, _] = &mut ends;
            one_sided(criterion, here);
            regions(criterion, here);
            messages(criterion, &mut ends);
            drop(nodes);
        }
        Err(error) => {
            eprintln!("the pair of nodes could not be opened: {error}");
            std::process::exit(1);
        }
    }
}

criterion_group!(benches, shm);
criterion_main!(benches);
