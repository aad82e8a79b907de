//! The session page: encoding, decoding, checksums.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use handfast::fabric::LinkSlot;
use handfast::handshake::{Handshake, Parties};
use handfast::page::mailbox::{Confirmation, Greeting};
use handfast::page::status::Snapshot;
use handfast::page::{Attempt, Incarnation, Nonce, Proof, SessionId, VersionRange, Word};
use std::error::Error;
use std::hint::black_box;

fn greeting() -> Greeting {
    Greeting {
        direction: 1,
        word: Word { incarnation: Incarnation(2), attempt: Attempt(3), nonce: Nonce([4; 16]) },
        link_nonce: Nonce([5; 16]),
        saw_incarnation: Incarnation(6),
        saw_attempt: Attempt(7),
        proof: Some(Proof([8; 16])),
        versions: VersionRange::CURRENT,
    }
}

fn confirmation() -> Confirmation {
    Confirmation {
        incarnation: Incarnation(2),
        attempt: Attempt(3),
        session: SessionId([4; 16]),
        proof: Proof([5; 16]),
    }
}

fn status() -> Result<Handshake, Box<dyn Error>> {
    let (cluster, node, partner) = ("bench".parse()?, "a".parse()?, "b".parse()?);
    let parties = Parties { cluster, node, partner, versions: VersionRange::CURRENT, key: None };
    Ok(Handshake::new(parties, Incarnation(1), [1; 32]))
}

fn page(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("page");
    let (greeting, confirmation) = (greeting(), confirmation());
    group.bench_function("greeting/encode", |bencher| bencher.iter(|| black_box(&greeting).encode()));
    let bytes = greeting.encode();
    group.bench_function("greeting/decode", |bencher| bencher.iter(|| Greeting::decode(black_box(&bytes))));
    group.bench_function("confirmation/encode", |bencher| bencher.iter(|| black_box(&confirmation).encode()));
    let bytes = confirmation.encode();
    group.bench_function("confirmation/decode", |bencher| bencher.iter(|| Confirmation::decode(black_box(&bytes))));
    if let (Ok(handshake), Some(slot)) = (status(), LinkSlot::new(0)) {
        group.bench_function("status/encode", |bencher| bencher.iter(|| black_box(&handshake).encode()));
        let bytes = handshake.encode();
        group.bench_function("status/decode", |bencher| bencher.iter(|| Snapshot::decode(black_box(&bytes), slot)));
    }
    for length in [60, 124] {
        let bytes = vec![7; length];
        group.bench_function(format!("crc32c/{length}"), |bencher| bencher.iter(|| crc32c::crc32c(black_box(&bytes))));
    }
    group.finish();
}

criterion_group!(benches, page);
criterion_main!(benches);
