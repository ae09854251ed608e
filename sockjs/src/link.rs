//! What a session, its senders and the task that runs it share, in the plain way of using a
//! session.
//!
//! The task writes: senders queue and wake it, so that all that was sent meanwhile goes out in one
//! write.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    SockJs,
    config::Config,
    error::SendError,
    frame::Framing,
    queue::Queue,
    receiver::{End, Incoming, Sink},
};

pub(crate) struct Link {
    sockjs: SockJs,
    framing: Framing,
    transport: &'static str,
    /// None once the session is over, or its halves were given away.
    sink: RefCell<Option<Sink>>,
    /// The read half, given back by a session that its handler is done with.
    incoming: Cell<Option<Incoming>>,
    /// Made when the session is first used in the plain way.
    plain: RefCell<Option<Box<Plain>>>,
    /// The task that runs the session, while it is not being polled.
    task: Cell<Option<Waker>>,
}

#[derive(Default)]
struct Plain {
    queue: Queue,
    /// Nothing more can be sent: the close frame is queued, or none is needed.
    closed: bool,
}

impl Link {
    pub(crate) fn new(sockjs: SockJs, sink: Sink) -> Rc<Self> {
        Rc::new(Link {
            sockjs,
            framing: sink.framing(),
            transport: sink.transport(),
            sink: RefCell::new(Some(sink)),
            incoming: Cell::new(None),
            plain: RefCell::new(None),
            task: Cell::new(None),
        })
    }

    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    fn config(&self) -> &Config {
        self.sockjs.settings()
    }

    /// Gives the write half away; that of a session that is over is of no use, but there is one.
    pub(crate) fn give_away(&self) -> Sink {
        self.plain.take();
        self.wake();
        self.sink.take().unwrap_or_else(|| Sink::gone(self.framing, self.transport))
    }

    /// Whether the task has nothing to do with the connection: it was given away.
    pub(crate) fn is_given_away(&self) -> bool {
        self.sink.borrow().is_none()
    }

    /// Takes the read half back, for the task to end the session with.
    pub(crate) fn give_back(&self, incoming: Incoming) {
        if !self.is_given_away() {
            self.incoming.set(Some(incoming));
        }
    }

    /// Begins the plain way, if it was not begun before.
    pub(crate) fn begin(self: &Rc<Self>) {
        let mut plain = self.plain.borrow_mut();
        if plain.is_none() && !self.is_given_away() {
            *plain = Some(Box::default());
            if self.framing.heartbeat().is_some() {
                self.sockjs.worker().heartbeats().add(Rc::downgrade(self));
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.plain.borrow().as_ref().is_none_or(|plain| plain.closed)
    }

    pub(crate) fn push(&self, frame: Bytes) -> Result<(), SendError> {
        let config = self.config();
        let mut plain = self.plain.borrow_mut();
        let plain = plain.as_mut().filter(|plain| !plain.closed).ok_or(SendError::Closed)?;
        let is_full =
            |queue: &Queue| queue.is_full_for(frame.len(), config.queue_messages, config.queue_bytes);
        if is_full(&plain.queue) {
            // Full is only what the peer does not read, not what the task had no turn to write yet.
            if let Some(sink) = self.sink.borrow().as_ref() {
                // Errors show when the task writes.
                let _ = plain.queue.write(sink);
            }
            if is_full(&plain.queue) {
                return Err(SendError::Full);
            }
        }
        plain.queue.push(frame);
        self.wake();
        Ok(())
    }

    /// A heartbeat, unless something is on its way that says as much.
    pub(crate) fn heartbeat(&self) {
        let (mut plain, frame) = (self.plain.borrow_mut(), self.framing.heartbeat());
        if let (Some(plain), Some(frame)) = (plain.as_mut(), frame)
            && !plain.closed
            && plain.queue.is_empty()
        {
            plain.queue.push(Bytes::from_static(frame));
            self.wake();
        }
    }

    pub(crate) fn reply(&self, frame: Bytes) {
        if let Some(plain) = self.plain.borrow_mut().as_mut() {
            plain.queue.reply(frame);
            self.wake();
        }
    }

    /// Closes behind what is queued, unless it is closed already.
    pub(crate) fn close(&self, frame: Bytes) {
        if let Some(plain) = self.plain.borrow_mut().as_mut()
            && !plain.closed
        {
            plain.queue.push(frame);
            plain.closed = true;
            self.wake();
        }
    }

    /// Takes note of how the peer's side ended. What is queued still goes out, if it can, and
    /// behind it the close frame.
    pub(crate) fn ended(&self, end: &End) {
        match end {
            End::Protocol { code, reason } => self.close(self.framing.close(*code, reason)),
            End::Closed { .. } | End::Gone | End::Io(_) => {}
        }
        if let Some(plain) = self.plain.borrow_mut().as_mut() {
            // After a close frame of the peer, the reply is the answer to that.
            plain.queue.reply_last();
            plain.closed = true;
        }
    }

    /// Wakes the task, if it is not running.
    fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// To be called when the task is going to wait.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        self.task.set(Some(cx.waker().clone()));
    }

    /// To be called when the task runs: what is sent meanwhile needs no waking.
    pub(crate) fn run(&self) {
        self.task.take();
    }

    /// Writes what is queued; ready when all is written or cannot be.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let (mut plain, sink) = (self.plain.borrow_mut(), self.sink.borrow());
            let (Some(plain), Some(sink)) = (plain.as_mut(), sink.as_ref()) else {
                return Poll::Ready(());
            };
            match plain.queue.write(sink) {
                Ok(()) => return Poll::Ready(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(sink.poll_writable(cx));
                }
                Err(_) => {
                    // The read half tells that the connection is gone.
                    **plain = Plain { queue: Queue::default(), closed: true };
                    return Poll::Ready(());
                }
            }
        }
    }

    /// The read half, if the session gave it back.
    pub(crate) fn take_back(&self) -> Option<Incoming> {
        self.incoming.take()
    }

    pub(crate) fn close_timeout(&self) -> Duration {
        self.config().close_timeout
    }

    /// Uses the write half, if it is still here.
    pub(crate) fn with_sink(&self, f: impl FnOnce(&Sink)) {
        if let Some(sink) = self.sink.borrow().as_ref() {
            f(sink);
        }
    }

    /// Lets the connection go.
    pub(crate) fn over(&self) {
        self.plain.take();
        self.sink.take();
    }
}
