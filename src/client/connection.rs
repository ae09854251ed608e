//! One connection on a tokio runtime: connecting, sending frames, waiting for frames.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use stomp_parser::{Command, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::handshake::Handshake;
use super::wire::{Event, Wire};
use super::{Carrier, Error, Target};

/// How long a polite end may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What CONNECT says of the client.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// The header `login`.
    pub login: Option<String>,
    /// The header `passcode`.
    pub passcode: Option<String>,
    /// The header `host`. Left out unless given: some brokers take it for the name of a virtual host.
    pub host: Option<String>,
    /// The interval at which the server shall show that it lives; zero for not at all.
    pub beat: Duration,
}

/// A connection on which CONNECT was answered.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    wire: Wire,
    /// How long nothing may come, where heart-beats were agreed on.
    silence: Option<Duration>,
}

impl Client {
    /// Connects and logs in. Sets itself no deadline.
    ///
    /// # Errors
    /// [`Error`], among them what the server's ERROR frame says.
    pub async fn connect(target: &Target, login: &Login) -> Result<Client, Error> {
        let (socket, input) = open(target).await?;
        let mut client = Client { socket, wire: Wire::new(target.carrier(), input), silence: None };
        if target.carrier() == Carrier::SockJs && client.event().await? != Event::Open {
            return Err(Error::Protocol("the SockJS session does not open".to_owned()));
        }
        client.send(&connect_frame(login)).await?;
        let connected = client.next().await?;
        if connected.command != Command::Connected {
            return Err(Error::Protocol(format!("{} instead of CONNECTED", connected.command.as_str())));
        }
        client.silence = silence(&connected, login.beat);
        Ok(client)
    }

    /// Writes all that waits. Can be dropped and called again.
    async fn flush(&mut self) -> Result<(), Error> {
        while self.wire.output.has_remaining() {
            let written = self.socket.write_buf(&mut self.wire.output).await;
            written.map_err(|error| Error::lost(&error))?;
        }
        Ok(())
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// If the connection has ended: what the server said before it ended it, or else [`Error::Lost`].
    pub async fn send(&mut self, frame: &Frame) -> Result<(), Error> {
        self.wire.put(frame);
        match self.flush().await {
            Ok(()) => Ok(()),
            Err(lost) => Err(self.last_words().await.unwrap_or(lost)),
        }
    }

    /// What a server said that takes nothing any more.
    async fn last_words(&mut self) -> Option<Error> {
        let said = timeout(GOODBYE, async {
            loop {
                if let Err(error) = self.next().await {
                    return error;
                }
            }
        });
        let said = said.await.ok();
        said.filter(|error| matches!(error, Error::Refused { .. } | Error::Closed { .. }))
    }

    /// The next frame that is no ERROR. Can be dropped and called again without losing anything.
    ///
    /// # Errors
    /// [`Error`]: the end of the connection, and an ERROR frame, is one.
    pub async fn next(&mut self) -> Result<Frame, Error> {
        match self.event().await? {
            Event::Frame(frame) if frame.command == Command::Error => Err(Error::refused(&frame)),
            Event::Frame(frame) => Ok(frame),
            Event::Closed(code, reason) => Err(Error::Closed { code, reason }),
            Event::Open => Err(Error::Protocol("a second SockJS open frame".to_owned())),
        }
    }

    /// Sends a frame with a receipt and waits for that; frames before it are dropped.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn send_and_wait(&mut self, frame: Frame) -> Result<(), Error> {
        let frame = frame.header("receipt", "wait");
        self.send(&frame).await?;
        loop {
            let frame = self.next().await?;
            if frame.command == Command::Receipt && frame.get("receipt-id") == Some("wait") {
                return Ok(());
            }
        }
    }

    /// Says goodbye and waits for the answer, for a moment at most: what was sent before is safe with the server then.
    pub async fn disconnect(mut self) {
        let goodbye = self.send_and_wait(Frame::new(Command::Disconnect));
        // The connection ends either way.
        let _ = timeout(GOODBYE, goodbye).await;
    }

    /// The socket, and what was read from it but not used.
    ///
    /// # Errors
    /// [`Error::Lost`] if the runtime does not give up the socket.
    pub fn into_parts(self) -> Result<(std::net::TcpStream, BytesMut), Error> {
        let socket = self.socket.into_std().map_err(|error| Error::lost(&error))?;
        Ok((socket, self.wire.input))
    }

    async fn event(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.wire.next()? {
                return Ok(event);
            }
            // Where nothing can be written, what is left to read says why.
            let _ = self.flush().await;
            let read = self.socket.read_buf(&mut self.wire.input);
            let read = match self.silence {
                Some(silence) => timeout(silence, read).await.map_err(|_| Error::Silent(silence))?,
                None => read.await,
            };
            match read {
                Ok(0) => return Err(Error::Lost(self.wire.unexpected_end().to_owned())),
                Ok(_) => {}
                Err(error) => return Err(Error::lost(&error)),
            }
        }
    }
}

/// A socket on which frames can be sent: where the carrier is a WebSocket it was opened, and what came behind the answer is
/// there too.
async fn open(target: &Target) -> Result<(TcpStream, BytesMut), Error> {
    let unreachable = |error| Error::Connect { address: target.authority(), error };
    let refused = |answer| Error::Handshake { address: target.to_string(), answer };
    let mut socket = TcpStream::connect((target.host(), target.port())).await.map_err(unreachable)?;
    socket.set_nodelay(true).map_err(unreachable)?;
    if target.carrier() == Carrier::Tcp {
        return Ok((socket, BytesMut::new()));
    }
    let handshake = Handshake::new(target);
    let sent = socket.write_all(handshake.request.as_bytes()).await;
    sent.map_err(|error| Error::lost(&error))?;
    let mut input = BytesMut::new();
    loop {
        if let Some(head) = handshake.answer(&input).map_err(refused)? {
            input.advance(head);
            return Ok((socket, input));
        }
        let read = socket.read_buf(&mut input).await;
        if read.map_err(|error| Error::lost(&error))? == 0 {
            return Err(refused("the server hangs up".to_owned()));
        }
    }
}

fn connect_frame(login: &Login) -> Frame {
    let beat = format!("0,{}", login.beat.as_millis());
    let mut frame =
        Frame::new(Command::Connect).header("accept-version", "1.2,1.1,1.0").header("heart-beat", beat);
    let given = [("host", &login.host), ("login", &login.login), ("passcode", &login.passcode)];
    for (name, value) in given {
        if let Some(value) = value {
            frame = frame.header(name, value.as_str());
        }
    }
    frame
}

/// Twice the interval at which the server beats (1.2 specification, *Heart-beating*), if it does.
fn silence(connected: &Frame, wanted: Duration) -> Option<Duration> {
    let (can, _) = connected.get("heart-beat")?.split_once(',')?;
    let can = Duration::from_millis(can.trim().parse().ok()?);
    let beats = !can.is_zero() && !wanted.is_zero();
    beats.then(|| can.max(wanted) * 2)
}
