//! The decoder and encoder of this repository beside those of the crate on crates.io that has the same name.
//!
//! The peer takes one whole frame in a `Vec` and reads its headers into the fields of a type for each command, without
//! unescaping, limits, versions or pieces. Both are given a fresh `Vec` each time, made outside of the time measured.

// The octets are those of the other bench.
#[path = "../../../stomp-parser/benches/frames/wires.rs"]
#[allow(dead_code)]
mod wires;

use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput};
use ours::{
    Command, Decoder, Limits, Version, encode_body, encode_command, encode_content_length, encode_header,
};
use peer::client::ClientFrame;
use peer::server::{MessageFrameBuilder, ServerFrame};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    decoding(&mut criterion);
    encoding(&mut criterion);
    criterion.final_summary();
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, wire) in wires::frames() {
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_function(format!("{name}, ours"), |bencher| {
            let mut decoder = Decoder::new(Limits::default());
            decoder.set_version(Version::V1_2);
            let decode = |wire: Vec<u8>| {
                decoder.feed(Bytes::from(wire));
                let frame = decoder.next().expect("no rule is broken").expect("a whole frame");
                assert_eq!(decoder.next(), Ok(None));
                frame
            };
            bencher.iter_batched(|| wire.clone(), decode, BatchSize::SmallInput);
        });
        let from_server = wire.starts_with(b"MESSAGE");
        group.bench_function(format!("{name}, crates.io"), |bencher| {
            let server = |wire: Vec<u8>| ServerFrame::try_from(wire).map(drop).expect("a whole frame");
            let client = |wire: Vec<u8>| ClientFrame::try_from(wire).map(drop).expect("a whole frame");
            if from_server {
                bencher.iter_batched(|| wire.clone(), server, BatchSize::SmallInput);
            } else {
                bencher.iter_batched(|| wire.clone(), client, BatchSize::SmallInput);
            }
        });
    }
    group.finish();
}

/// From parts at hand to octets: what a server does for each message.
fn encoding(criterion: &mut Criterion) {
    const BODY: &[u8] = &[b'x'; 512];
    const DESTINATION: &str = "/topic/host-metrics.web1";
    let mut group = criterion.benchmark_group("encode from parts");
    group.bench_function("MESSAGE, 5 headers, 512 B, ours", |bencher| {
        let mut wire = BytesMut::new();
        bencher.iter(|| {
            wire.clear();
            encode_command(Command::Message, &mut wire);
            for (name, value) in [
                ("message-id", "5f0c3a91-1048576"),
                ("destination", DESTINATION),
                ("subscription", "sub-0"),
                ("content-type", "application/json"),
            ] {
                encode_header(name, black_box(value), Version::V1_2, &mut wire);
            }
            encode_content_length(BODY.len(), &mut wire);
            encode_body(black_box(BODY), &mut wire);
        });
    });
    group.bench_function("MESSAGE, 5 headers, 512 B, crates.io", |bencher| {
        bencher.iter(|| {
            let owned = |text: &str| black_box(text).to_owned();
            let frame =
                MessageFrameBuilder::new(owned("5f0c3a91-1048576"), owned(DESTINATION), owned("sub-0"))
                    .content_type(owned("application/json"))
                    .content_length(512)
                    .body(black_box(BODY).to_vec())
                    .build();
            let wire: Vec<u8> = frame.into();
            wire
        });
    });
    group.finish();
}
