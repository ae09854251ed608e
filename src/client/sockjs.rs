//! SockJS frames as a client sees them, inside WebSocket messages.

/// What a server says in one SockJS frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The session is open.
    Open,
    /// A heartbeat.
    Heartbeat,
    /// Messages, at least one as a rule.
    Messages(Vec<String>),
    /// The end of the session.
    Close(u16, String),
}

/// Reads one SockJS frame; `None` if it is none.
pub fn said(payload: &[u8]) -> Option<Said> {
    let (kind, rest) = payload.split_first()?;
    match (kind, rest) {
        (b'o', []) => Some(Said::Open),
        (b'h', []) => Some(Said::Heartbeat),
        (b'a', json) => serde_json::from_slice(json).ok().map(Said::Messages),
        (b'c', json) => {
            let (code, reason) = serde_json::from_slice(json).ok()?;
            Some(Said::Close(code, reason))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_told_from_the_others() {
        assert_eq!(said(b"o"), Some(Said::Open));
        assert_eq!(said(b"h"), Some(Said::Heartbeat));
        let messages = Said::Messages(vec!["a\0".to_owned(), "b".to_owned()]);
        assert_eq!(said(b"a[\"a\\u0000\",\"b\"]"), Some(messages));
        let close = Said::Close(3000, "Go away!".to_owned());
        assert_eq!(said(b"c[3000,\"Go away!\"]"), Some(close));
        for wrong in [&b""[..], b"x", b"oo", b"a", b"a[1]", b"c[]"] {
            assert_eq!(said(wrong), None, "{wrong:?}");
        }
    }
}
