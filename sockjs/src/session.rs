//! A session, as a handler gets it, and the task that runs the handler and brings the session to
//! its end.

use std::{
    fmt,
    future::poll_fn,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use futures_util::future::LocalBoxFuture;
use pin_project_lite::pin_project;
use tokio::time::timeout;

use crate::{
    SockJs,
    error::SendError,
    link::Link,
    peer::Peer,
    prepared::Prepared,
    receiver::{Incoming, Received, Sink},
};

/// A message from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message; all that SockJS has.
    Text(ByteString),
    /// A binary message, from raw WebSockets only.
    Binary(Bytes),
}

/// One session with one peer.
///
/// There are two ways to use it. In the plain way, [`recv`](Self::recv) gives messages and
/// [`sender`](Self::sender) sends them; queue, heartbeats, pongs and the close are taken care of. A
/// program that serves many sessions from one place and does all this itself takes the session
/// apart with [`into_parts`](Self::into_parts).
///
/// In the plain way, pings and the peer's close are answered while messages are received. The
/// session ends when its handler does: what is queued is written, the peer gets a close frame
/// (SockJS `c[3000,"Go away!"]`, raw WebSockets 1000), and after
/// [`close_timeout`](crate::Config::close_timeout) at the latest the connection is gone.
pub struct Session {
    reader: Reader,
    peer: Peer,
}

/// The read half, which goes back to the task when the session is dropped.
struct Reader {
    incoming: Incoming,
    link: Rc<Link>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.link.give_back(mem::replace(&mut self.incoming, Incoming::gone()));
    }
}

impl Session {
    /// Starts a task that runs `handler` on a new session.
    pub(crate) fn start<F>(
        sockjs: SockJs,
        incoming: Incoming,
        sink: Sink,
        peer: Peer,
        handler: impl FnOnce(Session) -> F,
    ) where
        F: Future<Output = ()> + 'static,
    {
        let link = Link::new(sockjs, sink);
        let reader = Reader { incoming, link: Rc::clone(&link) };
        let handler = handler(Session { reader, peer });
        actix_rt::spawn(Run { handler: Some(handler), link: Some(link), finish: None });
    }

    /// The facts of the request that opened the session.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The next message; none when the session has ended, whoever ended it. Cancel-safe.
    ///
    /// Messages are pieces of a read buffer: what is kept for longer should be copied.
    pub async fn recv(&mut self) -> Option<Message> {
        self.peer.compact();
        let Reader { incoming, link } = &mut self.reader;
        link.begin();
        poll_fn(|cx| {
            while !link.is_closed() {
                match incoming.poll_next(cx) {
                    Poll::Ready(Ok(Received::Text(text))) => {
                        return Poll::Ready(Some(Message::Text(text)));
                    }
                    Poll::Ready(Ok(Received::Binary(body))) => {
                        return Poll::Ready(Some(Message::Binary(body)));
                    }
                    Poll::Ready(Ok(Received::Reply(frame))) => link.reply(frame),
                    Poll::Ready(Ok(Received::Partial)) => {}
                    Poll::Ready(Err(end)) => link.ended(&end),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(None)
        })
        .await
    }

    /// A sender for this session, for use anywhere on this worker.
    pub fn sender(&self) -> Sender {
        self.reader.link.begin();
        Sender(Rc::clone(&self.reader.link))
    }

    /// Takes the session apart: the read half, the write half and the facts. From here on nothing
    /// happens by itself: replies, heartbeats and the close are the owner's to write, and the
    /// connection ends when both halves are dropped.
    ///
    /// This is for sessions not yet used in the plain way: what was queued by [`Sender`]s and not
    /// written is lost, and these are closed.
    pub fn into_parts(self) -> (Incoming, Sink, Peer) {
        let Session { mut reader, peer } = self;
        let sink = reader.link.give_away();
        let incoming = mem::replace(&mut reader.incoming, Incoming::gone());
        (incoming, sink, peer)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Sends messages into one session, in the plain way. Clones share the session's queue. It is of
/// use until the session's handler ends.
#[derive(Clone)]
pub struct Sender(Rc<Link>);

impl Sender {
    /// Queues a message.
    ///
    /// # Errors
    /// The queue is full, the session is closed, or its transport cannot carry the message.
    pub fn try_send(&self, message: &Prepared) -> Result<(), SendError> {
        self.0.push(message.frame(self.0.framing())?)
    }

    /// Queues a text for this session alone. What goes to several is better [`Prepared`] once.
    ///
    /// # Errors
    /// See [`try_send`](Self::try_send).
    pub fn text(&self, text: impl AsRef<str>) -> Result<(), SendError> {
        let mut frame = BytesMut::new();
        self.0.framing().text(text.as_ref(), &mut frame);
        self.0.push(frame.freeze())
    }

    /// Queues a binary message for this session alone.
    ///
    /// # Errors
    /// See [`try_send`](Self::try_send).
    pub fn binary(&self, body: impl AsRef<[u8]>) -> Result<(), SendError> {
        let mut frame = BytesMut::new();
        self.0.framing().binary(body.as_ref(), &mut frame)?;
        self.0.push(frame.freeze())
    }

    /// Closes the session behind what is queued. [`Session::recv`] gives no more messages then.
    ///
    /// For code and reason on the wire see [`Framing::close`](crate::Framing::close). Applications
    /// use codes from 3000 to 4999.
    pub fn close(&self, code: u16, reason: &str) {
        self.0.close(self.0.framing().close(code, reason));
    }

    /// Whether nothing can be sent any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

pin_project! {
    /// The task of a session: the handler, beside it the writing of what it and others send, and
    /// behind it the end.
    struct Run<F> {
        #[pin]
        handler: Option<F>,
        // None once the session was taken apart: then its handler does everything.
        link: Option<Rc<Link>>,
        // Apart, so that the memory it needs is not held for as long as the session lives.
        finish: Option<LocalBoxFuture<'static, ()>>,
    }
}

impl<F: Future<Output = ()>> Future for Run<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if let Some(handler) = this.handler.as_mut().as_pin_mut() {
            if let Some(link) = this.link {
                link.run();
            }
            let done = handler.poll(cx).is_ready();
            this.link.take_if(|link| link.is_given_away());
            if !done {
                if let Some(link) = this.link {
                    // Whether it is done writing or waits to, it goes on when woken.
                    let _ = link.poll_flush(cx);
                    link.wait(cx);
                }
                return Poll::Pending;
            }
            this.handler.set(None);
        }
        if let Some(link) = this.link.take() {
            *this.finish = Some(Box::pin(finish(link)));
        }
        this.finish.as_mut().map_or(Poll::Ready(()), |finish| finish.as_mut().poll(cx))
    }
}

/// Brings a session to its end after its handler.
async fn finish(link: Rc<Link>) {
    let incoming = link.take_back();
    link.begin();
    link.close(link.framing().go_away());
    let deadline = link.close_timeout();
    let goodbye = async {
        poll_fn(|cx| link.poll_flush(cx)).await;
        let Some(mut incoming) = incoming else {
            return link.with_sink(Sink::shutdown);
        };
        // The peer answers the close frame; then, as RFC 6455 wants it, the server ends the
        // connection first.
        while incoming.next().await.is_ok() {}
        link.with_sink(Sink::shutdown);
        incoming.drain().await;
    };
    if timeout(deadline, goodbye).await.is_err() {
        link.with_sink(Sink::abort);
    }
    link.over();
}
