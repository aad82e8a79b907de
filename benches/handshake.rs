//! The four steps as pure computing: what each costs the node that drives it, and the node that answers.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use handfast::fabric::LinkSlot;
use handfast::handshake::{Handshake, Parties, Phase, PreSharedKey};
use handfast::page::mailbox::{CONFIRMATION_OFFSET, GREETING_BYTES, HANDSHAKE_BYTES};
use handfast::page::{Incarnation, VersionRange};
use std::error::Error;
use std::hint::black_box;

fn parties(node: &str, partner: &str, key: Option<&PreSharedKey>) -> Result<Parties, Box<dyn Error>> {
    let (cluster, node, partner) = ("bench".parse()?, node.parse()?, partner.parse()?);
    Ok(Parties { cluster, node, partner, versions: VersionRange::CURRENT, key: key.cloned() })
}

/// Both nodes and the mailbox at each point between two steps.
struct Stages {
    slot: LinkSlot,
    /// The dialler before steps 1, 2, 3, 4.
    dialler: [Handshake; 4],
    /// The acceptor before the greeting, and before the confirmation.
    acceptor: [Handshake; 2],
    /// Its mailbox with the greeting, and with both.
    mailbox: [[u8; HANDSHAKE_BYTES]; 2],
}

fn stages(key: Option<&PreSharedKey>) -> Result<Stages, Box<dyn Error>> {
    let slot = LinkSlot::new(0).ok_or("no slot")?;
    let mut a = Handshake::new(parties("a", "b", key)?, Incarnation(1), [1; 32]);
    let mut b = Handshake::new(parties("b", "a", key)?, Incarnation(2), [2; 32]);
    b.accepted(slot);
    a.link_up(slot);
    let look = a.clone();
    a.posted();
    a.read_done(&b.encode());
    let greet = a.clone();
    let mut greeted = [0; HANDSHAKE_BYTES];
    greeted[..GREETING_BYTES].copy_from_slice(&a.greeting());
    a.posted();
    a.write_done();
    let check = a.clone();
    let before = b.clone();
    let _ = b.mailbox(slot, &greeted);
    a.posted();
    a.read_done(&b.encode());
    let mut confirmed = greeted;
    confirmed[CONFIRMATION_OFFSET..].copy_from_slice(&a.confirmation());
    if a.phase() != Some(Phase::Confirm) {
        return Err("the steps did not come to the fourth".into());
    }
    Ok(Stages { slot, dialler: [look, greet, check, a], acceptor: [before, b], mailbox: [greeted, confirmed] })
}

fn steps(criterion: &mut Criterion, name: &str, key: Option<&PreSharedKey>) {
    let Ok(stages) = stages(key) else { return };
    let mut group = criterion.benchmark_group(name);
    let [look, greet, check, confirm] = &stages.dialler;
    let [ungreeted, greeted] = &stages.acceptor;
    let (before, after) = (ungreeted.encode(), greeted.encode());
    let read = |handshake: &mut Handshake, bytes| {
        handshake.posted();
        handshake.read_done(black_box(bytes));
        handshake.phase()
    };
    group.bench_function("1 read done", |bencher| {
        bencher.iter_batched_ref(|| look.clone(), |handshake| read(handshake, &before), BatchSize::SmallInput);
    });
    group.bench_function("2 greeting", |bencher| bencher.iter(|| black_box(greet).greeting()));
    group.bench_function("2 write done", |bencher| {
        let done = |handshake: &mut Handshake| {
            handshake.posted();
            handshake.write_done();
        };
        bencher.iter_batched_ref(|| greet.clone(), done, BatchSize::SmallInput);
    });
    group.bench_function("3 read done", |bencher| {
        bencher.iter_batched_ref(|| check.clone(), |handshake| read(handshake, &after), BatchSize::SmallInput);
    });
    group.bench_function("4 confirmation", |bencher| bencher.iter(|| black_box(confirm).confirmation()));
    for (what, handshake, bytes) in
        [("acceptor: greeting", ungreeted, &stages.mailbox[0]), ("acceptor: confirmation", greeted, &stages.mailbox[1])]
    {
        group.bench_function(what, |bencher| {
            let answer = |handshake: &mut Handshake| handshake.mailbox(stages.slot, black_box(bytes));
            bencher.iter_batched_ref(|| handshake.clone(), answer, BatchSize::SmallInput);
        });
    }
    group.bench_function("acceptor: encode", |bencher| bencher.iter(|| black_box(greeted).encode()));
    group.finish();
}

fn handshake(criterion: &mut Criterion) {
    steps(criterion, "handshake", None);
    if let Ok(key) = PreSharedKey::new(&[9; 32]) {
        steps(criterion, "handshake keyed", Some(&key));
    }
    if let Ok(parties) = parties("a", "b", None) {
        let new = || Handshake::new(black_box(&parties).clone(), Incarnation(1), [1; 32]);
        criterion.bench_function("handshake/new", |bencher| bencher.iter(new));
    }
}

criterion_group!(benches, handshake);
criterion_main!(benches);
