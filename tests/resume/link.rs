//! A client by any transport, and numbers that look random.

#![allow(missing_docs, unreachable_pub)]

use stomp_parser::Frame;

use crate::support::{Carrier, Client, Receiver, Server, Session};

#[derive(Debug, Clone, Copy)]
pub enum Transport {
    Socket(Carrier),
    Session(Receiver),
}

pub const TRANSPORTS: [Transport; 6] = [
    Transport::Socket(Carrier::Raw),
    Transport::Socket(Carrier::SockJs),
    Transport::Socket(Carrier::Tcp),
    Transport::Session(Receiver::Streaming),
    Transport::Session(Receiver::Polling),
    Transport::Session(Receiver::EventSource),
];

/// A client by any transport.
pub enum Link {
    Socket(Box<Client>),
    Session(Box<Session>),
}

impl Link {
    pub async fn connect(server: &Server, transport: Transport, window: Option<u32>) -> Link {
        match transport {
            Transport::Socket(carrier) => {
                let mut client = Client::with_window(server.at(carrier), carrier, window).await;
                client.greet("1.2", "0,0").await;
                Link::Socket(Box::new(client))
            }
            Transport::Session(receiver) => {
                Link::Session(Box::new(Session::connect(server.address, receiver, window).await))
            }
        }
    }

    pub async fn send(&mut self, text: &str) {
        match self {
            Link::Socket(client) => client.send(text).await,
            Link::Session(session) => session.send(text).await,
        }
    }

    pub async fn frame(&mut self) -> Option<Frame> {
        match self {
            Link::Socket(client) => client.frame().await,
            Link::Session(session) => session.frame().await,
        }
    }

    pub fn cut_after(&mut self, octets: usize) {
        match self {
            Link::Socket(client) => client.cut_after(octets),
            Link::Session(session) => session.cut_after(octets),
        }
    }

    pub fn vanish(self) {
        match self {
            Link::Socket(client) => client.vanish(),
            Link::Session(session) => session.vanish(),
        }
    }
}

/// Dice that fall the same each time (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ word >> 31) % sides as u64) as usize
    }

    pub fn percent(&mut self, of: usize) -> bool {
        self.below(100) < of
    }

    pub fn one_of<'t, T>(&mut self, all: &'t [T]) -> Option<&'t T> {
        if all.is_empty() { None } else { all.get(self.below(all.len())) }
    }
}

/// A destination, the channels that it matches, and whether it can match events.
pub type Target = (String, Vec<usize>, bool);
