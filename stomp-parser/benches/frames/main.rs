//! What decoding and encoding cost, beside the memory-speed limits: `memchr` over the same octets for decoding, a copy of
//! them for encoding.
//!
//! The frames are those of `wires.rs`. Each is decoded as it comes from a socket: one piece, fed to a decoder that
//! lives on.

mod wires;

use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput};
use stomp_parser::{Decoder, Frame, Limits, Version, encode};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    decoding(&mut criterion);
    long_bodies(&mut criterion);
    encoding(&mut criterion);
    criterion.final_summary();
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, wire) in wires::all() {
        let wire = Bytes::from(wire);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_function(name, |bencher| {
            let mut decoder = decoder();
            bencher.iter(|| decode(&mut decoder, wire.clone()));
        });
        // No octet of these frames is 0xff, so that all are looked at.
        group.bench_function(format!("{name}, limit: memchr"), |bencher| {
            bencher.iter(|| memchr::memchr(0xff, black_box(&wire)));
        });
    }
    group.finish();
}

/// A body of many pieces, each in memory of its own as it would be behind a WebSocket.
fn long_bodies(criterion: &mut Criterion) {
    const BODY: usize = 8 * 1024 * 1024;
    const PIECE: usize = 16 * 1024;
    let mut group = criterion.benchmark_group("decode in 16 KiB pieces");
    group.throughput(Throughput::Bytes(BODY as u64)).sample_size(20);
    for (name, wire) in [
        ("8 MiB body, content-length", wires::send(BODY, true)),
        ("8 MiB body up to NUL", wires::send(BODY, false)),
    ] {
        group.bench_function(name, |bencher| {
            let pieces = || -> Vec<Bytes> { wire.chunks(PIECE).map(Bytes::copy_from_slice).collect() };
            let mut decoder = decoder();
            bencher.iter_batched(
                pieces,
                |pieces| {
                    let last = pieces.into_iter().map(|piece| decode(&mut decoder, piece)).last();
                    assert!(last.is_some_and(|frames| frames == 1));
                },
                BatchSize::PerIteration,
            );
        });
    }
    let wire = wires::send(BODY, true);
    group.bench_function("8 MiB body, limit: copy", |bencher| {
        let pieces = || -> Vec<Bytes> { wire.chunks(PIECE).map(Bytes::copy_from_slice).collect() };
        bencher.iter_batched(
            pieces,
            |pieces| {
                let mut out = Vec::with_capacity(wire.len());
                pieces.iter().for_each(|piece| out.extend_from_slice(piece));
                out
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, wire) in wires::frames() {
        let frame = only_frame(&wire);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        let mut out = BytesMut::with_capacity(2 * wire.len());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                encode(black_box(&frame), Version::V1_2, &mut out);
            });
        });
        assert_eq!(out, wire, "what was decoded is encoded again");
        group.bench_function(format!("{name}, limit: copy"), |bencher| {
            bencher.iter(|| {
                out.clear();
                out.extend_from_slice(black_box(&wire));
            });
        });
    }
    group.finish();
}

fn decoder() -> Decoder {
    let limits = Limits { body: 16 * 1024 * 1024, ..Limits::default() };
    let mut decoder = Decoder::new(limits);
    decoder.set_version(Version::V1_2);
    decoder
}

/// Feeds one piece and takes all frames of it.
fn decode(decoder: &mut Decoder, piece: Bytes) -> usize {
    decoder.feed(piece);
    let mut frames = 0;
    while let Some(frame) = decoder.next().expect("no rule is broken") {
        black_box(frame);
        frames += 1;
    }
    frames
}

fn only_frame(wire: &[u8]) -> Frame {
    let mut decoder = decoder();
    decoder.feed(Bytes::copy_from_slice(wire));
    decoder.next().expect("no rule is broken").expect("a whole frame")
}
