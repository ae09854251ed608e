//! What quoting costs, and a whole frame, beside a copy of the same octets (the limit) and serde_json, which escapes
//! less: neither the ranges that browsers lost, nor does it know SockJS frames.

use std::hint::black_box;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use criterion::{Criterion, Throughput};
use sockjs::Framing;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    quoting(&mut criterion);
    criterion.final_summary();
}

fn quoting(criterion: &mut Criterion) {
    for (name, text) in texts() {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(text.len() as u64));
        let mut out = BytesMut::with_capacity(8 * text.len() + 64);
        group.bench_function("quote", |bencher| {
            bencher.iter(|| {
                out.clear();
                sockjs::quote(black_box(&text), &mut out);
            });
        });
        group.bench_function("whole frame", |bencher| {
            bencher.iter(|| {
                out.clear();
                Framing::SockJsWebSocket.text(black_box(&text), &mut out);
            });
        });
        group.bench_function("limit: copy", |bencher| {
            bencher.iter(|| {
                out.clear();
                out.put_slice(black_box(text.as_bytes()));
            });
        });
        let mut json = Vec::with_capacity(8 * text.len() + 64);
        group.bench_function("serde_json", |bencher| {
            bencher.iter(|| {
                json.clear();
                serde_json::to_writer(&mut json, black_box(&text))
            });
        });
        group.finish();
    }
}

/// Frames of a text protocol with JSON in them: what is quoted in life.
fn texts() -> [(&'static str, String); 4] {
    let message = |body: String| {
        let head = "MESSAGE\nsubscription:sub-0\nmessage-id:5f0c3a91-1048576\ndestination:/topic/host-metrics.web1\n";
        format!("{head}content-length:{}\n\n{body}\0", body.len())
    };
    let json = r#"{"host":"web1.example.org","cpu":12.5,"load":[0.73,0.81,0.9],"disks":[{"path":"/","used":0.41}]},"#;
    let german = "Größenänderungen übernächtigter Füchse – „jäh“ überquert. ";
    [
        ("256 B, JSON", message(json.repeat(2)[..140].to_owned())),
        ("10 KiB, JSON", message(json.repeat(100))),
        ("10 KiB, German", message(german.repeat(150))),
        ("10 KiB, plain", message("0123456789 abcdef".repeat(600))),
    ]
}
