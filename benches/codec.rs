//! Bytes to requests and answers to bytes: `cargo bench --bench codec`.

mod support;

use std::hint::black_box;

use bytes::{Buf as _, Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput};
use gearhouse::protocol::{Codec, Flavor, Frame, Handle, Kind, Response, Spec, WriteBuf};
use gearhouse::types::JobId;
use support::PREFIX;
use tokio_util::codec::Decoder as _;

/// Packets in a read: as many as are applied under one lock.
const PACKETS: u64 = 64;

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(PACKETS));
    let read_of = |packet: fn(u64) -> Frame| support::read((1..=PACKETS).map(packet));
    let reads = [
        ("submits", read_of(|number| support::submit(Kind::SubmitJobBg, 0, Some(number)))),
        ("grabs", read_of(|_| support::grab())),
        ("completes", read_of(support::complete)),
    ];
    for (name, read) in reads {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| BytesMut::from(&read[..]), decode_all, BatchSize::SmallInput);
        });
    }
}

fn decode_all(mut read: BytesMut) {
    let mut codec = Codec::new(1 << 20);
    while let Ok(Some(request)) = codec.decode(&mut read) {
        black_box(request);
    }
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    let submit = support::submit(Kind::SubmitJobBg, 0, Some(1));
    let (spec, _) = Spec::parse(submit.kind, submit.body).expect("a submit is well-formed");
    let handle = Handle { prefix: PREFIX, id: JobId(1_234_567) };
    let result = Bytes::from_static(b"H:gearhouse:1234567\0result");
    let answers = [
        ("JOB_CREATED", Response::JobCreated(handle)),
        ("JOB_ASSIGN_UNIQ", Response::Assign { flavor: Flavor::Unique, handle, parts: spec.parts() }),
        ("WORK_COMPLETE", Response::Work { kind: Kind::WorkComplete, body: &result }),
        ("NOOP", Response::Noop),
    ];
    for (name, answer) in answers {
        group.bench_function(name, |bencher| {
            let mut line = WriteBuf::default();
            bencher.iter(|| {
                black_box(&answer).encode(&mut line);
                // As if it was written: the memory stays for the next answer.
                line.advance(line.len());
            });
        });
    }
}

criterion::criterion_group! {
    name = benches;
    config = support::criterion();
    targets = decode, encode
}
criterion::criterion_main!(benches);
