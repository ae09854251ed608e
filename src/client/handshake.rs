//! The opening handshake of a WebSocket (RFC 6455, section 4.1), the client's side.

use actix_http::ws::hash_key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Carrier, Target, random};

/// What a server may answer at most.
const LARGEST_ANSWER: usize = 16 * 1024;

/// One handshake under way.
#[derive(Debug)]
pub(super) struct Handshake {
    key: String,
    /// The request, complete.
    pub(super) request: String,
}

impl Handshake {
    pub(super) fn new(target: &Target) -> Handshake {
        let octets = [random(), random()].map(u64::to_ne_bytes);
        let key = STANDARD.encode(octets.concat());
        // SockJS offers no subprotocol.
        let protocols = match target.carrier() {
            Carrier::Raw => "Sec-WebSocket-Protocol: v12.stomp, v11.stomp, v10.stomp\r\n",
            Carrier::SockJs | Carrier::Tcp => "",
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{protocols}\r\n",
            target.request_path(),
            target.authority(),
        );
        Handshake { key, request }
    }

    /// The length of the answer's head, once it is all there.
    ///
    /// # Errors
    /// What is wrong with the answer, if it does not open a WebSocket.
    pub(super) fn answer(&self, octets: &[u8]) -> Result<Option<usize>, String> {
        let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if octets.len() > LARGEST_ANSWER {
                Err("the answer does not end".to_owned())
            } else {
                Ok(None)
            };
        };
        let head = String::from_utf8_lossy(&octets[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("101") {
            return Err(format!("the server answers {status:?}"));
        }
        let accept = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-accept"));
        let expected = hash_key(self.key.as_bytes());
        match accept {
            Some((_, value)) if value.trim().as_bytes() == expected => Ok(Some(end + 4)),
            _ => Err("the server answers 101 with a wrong Sec-WebSocket-Accept".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn handshake() -> Handshake {
        let mut handshake = Handshake::new(&"ws://h:1/ws".parse().unwrap());
        handshake.key = "dGhlIHNhbXBsZSBub25jZQ==".to_owned();
        handshake
    }

    /// The answer of RFC 6455, section 1.3.
    const ANSWER: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        sec-websocket-accept:  s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    #[test]
    fn takes_the_answer_of_the_rfc_and_leaves_what_follows() {
        let mut octets = ANSWER.to_vec();
        octets.extend_from_slice(b"\x81\x01o");
        assert_eq!(handshake().answer(&octets), Ok(Some(ANSWER.len())));
        assert_eq!(handshake().answer(&ANSWER[..ANSWER.len() - 1]), Ok(None));
    }

    #[test]
    fn says_what_the_server_answered_instead() {
        let refused = |answer: &[u8]| handshake().answer(answer).unwrap_err();
        assert_eq!(
            refused(b"HTTP/1.1 404 Not Found\r\n\r\n"),
            "the server answers \"HTTP/1.1 404 Not Found\""
        );
        let forged = String::from_utf8_lossy(ANSWER).replace("s3p", "xxx");
        assert!(refused(forged.as_bytes()).contains("wrong Sec-WebSocket-Accept"));
        assert!(refused(&[b'x'; LARGEST_ANSWER + 1]).contains("does not end"));
    }

    #[test]
    fn keys_are_sixteen_octets_and_new_each_time() {
        let target = "http://h/ws".parse().unwrap();
        let (one, other) = (Handshake::new(&target), Handshake::new(&target));
        assert_eq!(STANDARD.decode(&one.key).unwrap().len(), 16);
        assert_ne!(one.key, other.key);
        assert!(!one.request.contains("Protocol"), "SockJS offers none");
    }
}
