//! From the octets of a WebSocket to what a session receives. No I/O.

use std::mem;

use bytes::BytesMut;
use bytestring::ByteString;

use crate::{
    config::Config,
    frame::Framing,
    message::{self, Refused, Strings},
    receiver::{End, Received},
    ws::{self, Decoder, Frame, Violation},
};

/// The reading side of one WebSocket session.
#[derive(Debug)]
pub(crate) struct Inbound {
    decoder: Decoder,
    framing: Framing,
    max_message: usize,
    /// Messages of one SockJS frame that were not asked for yet.
    strings: Strings,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    /// The peer's close frame was answered and is to be told.
    Closed(Box<(u16, ByteString)>),
    Over,
}

impl Inbound {
    pub(crate) fn new(framing: Framing, config: &Config) -> Self {
        Inbound {
            decoder: Decoder::new(config.max_payload(framing)),
            framing,
            max_message: config.max_message,
            strings: Strings::default(),
            state: State::Open,
        }
    }

    /// Adds what was read. To be called when [`next`](Self::next) gave `None`.
    pub(crate) fn feed(&mut self, chunk: BytesMut) {
        self.decoder.feed(chunk);
    }

    /// What there is without more octets.
    pub(crate) fn next(&mut self) -> Option<Result<Received, End>> {
        loop {
            if let Some(text) = self.strings.next() {
                return Some(Ok(Received::Text(text)));
            }
            match mem::replace(&mut self.state, State::Over) {
                State::Open => self.state = State::Open,
                State::Closed(end) => {
                    let (code, reason) = *end;
                    return Some(Err(End::Closed { code, reason }));
                }
                State::Over => return Some(Err(End::Gone)),
            }
            let frame = match self.decoder.next() {
                Ok(frame) => frame?,
                Err(violation) => return Some(Err(self.refuse(violation))),
            };
            match self.receive(frame) {
                Ok(Some(received)) => return Some(Ok(received)),
                Ok(None) => {}
                Err(violation) => return Some(Err(self.refuse(violation))),
            }
        }
    }

    /// Ends the reading: nothing that came is used any more.
    pub(crate) fn refuse(&mut self, violation: Violation) -> End {
        self.state = State::Over;
        self.decoder = Decoder::new(0);
        End::Protocol { code: violation.code, reason: violation.reason }
    }

    fn receive(&mut self, frame: Frame) -> Result<Option<Received>, Violation> {
        Ok(match frame {
            Frame::Text(payload) => match self.framing {
                Framing::WebSocket => {
                    let text = ByteString::try_from(payload.freeze()).map_err(|_| Violation::NOT_UTF8)?;
                    Some(Received::Text(text))
                }
                Framing::SockJsWebSocket | Framing::SockJsHttp => {
                    self.strings = message::read(payload, self.max_message).map_err(violation)?;
                    None
                }
            },
            Frame::Binary(payload) => match self.framing {
                Framing::WebSocket => Some(Received::Binary(payload.freeze())),
                Framing::SockJsWebSocket | Framing::SockJsHttp => {
                    return Err(Violation { code: 1003, reason: "SockJS carries text only" });
                }
            },
            Frame::Ping(payload) => Some(Received::Reply(ws::pong(&payload))),
            Frame::Pong => None,
            Frame::Close { code, reason } => {
                self.state = State::Closed(Box::new((code.unwrap_or(1005), reason)));
                Some(Received::Reply(ws::close_answer(code)))
            }
        })
    }
}

/// Broken messages close the session with the code and reason of sockjs-node.
fn violation(refused: Refused) -> Violation {
    match refused {
        Refused::Broken => Violation { code: 3000, reason: "Broken framing." },
        Refused::NotUtf8 => Violation::NOT_UTF8,
        Refused::TooBig => Violation::TOO_BIG,
    }
}
