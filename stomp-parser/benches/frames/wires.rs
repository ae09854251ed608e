//! The octets that are decoded and encoded, as clients and servers send them.

/// A SEND of 100 octets, as stomp.js writes it.
pub(crate) fn send_100() -> Vec<u8> {
    let wire = b"SEND\ndestination:/topic/metrics\ncontent-type:text/plain\ncontent-length:24\n\n{\"cpu\":12.5,\"load\":0.73}\0";
    assert_eq!(wire.len(), 100);
    wire.to_vec()
}

/// A MESSAGE of 1 KiB with ten headers.
pub(crate) fn message_1k() -> Vec<u8> {
    const HEADERS: &str = "subscription:sub-0\nmessage-id:5f0c3a91-1048576\ndestination:/topic/host-metrics.web1\n\
        content-type:application/json\ntimestamp:1767225600000\npriority:4\npersistent:true\n\
        correlation-id:0b6f1c52-7a4e-4f0e-9d7e-2f4f8f0f7c11\nx-trace:00-4bf92f3577b34da6a3ce929d0e0e4736-01\n";
    let head = |body: usize| format!("MESSAGE\n{HEADERS}content-length:{body}\n\n");
    let body = 1023 - head(100).len();
    let wire = [head(body).as_bytes(), &text(body), b"\0"].concat();
    assert_eq!(wire.len(), 1024);
    wire
}

/// A SEND with a body of this many octets, without NULs.
pub(crate) fn send(body: usize, content_length: bool) -> Vec<u8> {
    let length = if content_length { format!("content-length:{body}\n") } else { String::new() };
    let head = format!("SEND\ndestination:/topic/reports\ncontent-type:application/json\n{length}\n");
    [head.as_bytes(), &text(body), b"\0"].concat()
}

/// Single frames.
pub(crate) fn frames() -> [(&'static str, Vec<u8>); 3] {
    [
        ("100 B SEND", send_100()),
        ("1 KiB MESSAGE, 10 headers", message_1k()),
        ("50 KiB body", send(50 * 1024, true)),
    ]
}

/// Everything that is decoded in one piece.
pub(crate) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::from(frames());
    all.push(("50 KiB body up to NUL", send(50 * 1024, false)));
    all.push(("64 SENDs of 100 B", send_100().repeat(64)));
    all.push(("heart-beat", b"\n".to_vec()));
    all.push(("4096 heart-beats", b"\n".repeat(4096)));
    all
}

fn text(octets: usize) -> Vec<u8> {
    br#"{"host":"web1","cpu":12.5,"load":[0.73,0.81,0.9],"disk":{"/":0.41}},"#
        .iter()
        .copied()
        .cycle()
        .take(octets)
        .collect()
}
