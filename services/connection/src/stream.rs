//! One XMPP stream over one wire: what the peer says one by one, and deadlines for both directions.
//!
//! **Invariants**
//! - From the first byte of a stanza to its last there is a fixed time; whitespace does not extend
//!   it, nor does a trickle (T12).
//! - Output that makes no progress for the write deadline ends the stream (T156).

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use entente_stanza::limits::WHITESPACE_BYTES;
use entente_stanza::{Element, Framing, Inbound, Limits, Received, StreamCondition, StreamFault};
use tokio::time::{Instant, timeout_at};

use crate::config::DeadlinesConfig;
use crate::wire::{Heard, Outbox, Wire};

/// How long a peer may take to read the error that ends its stream.
const LINGER: Duration = Duration::from_secs(1);
/// How much it may send meanwhile: what was under way, and no flood.
const LINGER_BYTES: usize = 1024 * 1024;

/// One stream.
pub(crate) struct Stream {
    wire: Box<dyn Wire>,
    inbound: Inbound,
    pub(crate) out: Outbox,
    heard: Option<Heard>,
    deadlines: DeadlinesConfig,
    /// When the stanza that is under way began.
    begun: Option<Instant>,
    /// Since when output waits without progress.
    stuck: Option<Instant>,
    /// Whether all output is with the kernel.
    flushed: bool,
    /// When the peer last sent anything.
    pub(crate) alive: Instant,
}

/// Why nothing more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer's bytes are no stream.
    Fault(StreamFault),
    /// The connection is gone.
    Gone,
    /// A deadline passed.
    Late,
}

/// What became of one look at the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Io {
    /// Nothing more will come, or nothing can be written.
    Gone,
    /// Bytes came.
    Read,
    /// All output that is not on hold is with the kernel.
    Written,
}

impl Stream {
    pub(crate) fn new(wire: Box<dyn Wire>, limits: Limits, deadlines: &DeadlinesConfig) -> Self {
        let framing = wire.framing();
        Self {
            wire,
            inbound: Inbound::new(framing, limits),
            out: Outbox::new(framing),
            heard: None,
            deadlines: deadlines.clone(),
            begun: None,
            stuck: None,
            flushed: true,
            alive: Instant::now(),
        }
    }

    pub(crate) fn framing(&self) -> Framing {
        self.wire.framing()
    }

    /// The peer showed who it is: it may send more.
    pub(crate) fn trust(&mut self, limits: Limits) {
        self.inbound.set_limits(limits);
        self.wire.trust();
    }

    /// Expects a new stream header, as after SASL (RFC 6120 6.4.6).
    pub(crate) fn restart(&mut self) {
        self.inbound.restart();
    }

    /// Takes what was received already.
    pub(crate) fn received(&mut self) -> Result<Option<Received>, StreamFault> {
        if let Some(heard) = self.heard.take() {
            return heard.map(Some);
        }
        match self.framing() {
            Framing::Stream => self.inbound.next_event(),
            Framing::WebSocket => Ok(None),
        }
    }

    /// Notes whether a stanza is under way, and gives memory back if none is. To be called when all
    /// that was received has been taken.
    pub(crate) fn settle(&mut self) {
        if self.inbound.buffered() == 0 {
            self.begun = None;
            self.inbound.shrink();
        } else {
            self.begun.get_or_insert_with(Instant::now);
        }
    }

    /// When the first deadline of the two directions passes.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let stanza = self.begun.map(|begun| begun + self.deadlines.stanza.get());
        // Output that was queued a moment ago counts from now: it may get stuck while we wait.
        let stuck = || self.stuck.unwrap_or_else(Instant::now);
        let write = self
            .has_output()
            .then(|| stuck() + self.deadlines.write.get());
        stanza.into_iter().chain(write).min()
    }

    /// Whether there is output that may leave now.
    pub(crate) fn has_output(&self) -> bool {
        !self.flushed || self.out.is_ready()
    }

    /// Writes what there is, then reads if wanted. Ready on the first that gets somewhere; that all
    /// is written is of no interest to who is not told of it.
    pub(crate) fn poll_io(&mut self, cx: &mut Context<'_>, read: bool, tell: bool) -> Poll<Io> {
        if self.has_output() {
            let before = self.out.len();
            self.flushed = false;
            match self.wire.poll_write(cx, &mut self.out) {
                Poll::Ready(Ok(())) => {
                    self.flushed = true;
                    self.stuck = None;
                    if tell {
                        return Poll::Ready(Io::Written);
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Io::Gone),
                Poll::Pending if self.out.len() < before => self.stuck = Some(Instant::now()),
                Poll::Pending => {
                    self.stuck.get_or_insert_with(Instant::now);
                }
            }
        }
        if !read {
            return Poll::Pending;
        }
        match self.wire.poll_read(cx, &mut self.inbound, &mut self.heard) {
            Poll::Ready(Ok(Some(_))) => {
                self.alive = Instant::now();
                Poll::Ready(Io::Read)
            }
            Poll::Ready(Ok(None) | Err(_)) => Poll::Ready(Io::Gone),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Waits for the next thing that a peer says who logs in, writing what is in the outbox meanwhile.
    pub(crate) async fn next(&mut self) -> Result<Received, Broken> {
        loop {
            if let Some(received) = self.received().map_err(Broken::Fault)? {
                return Ok(received);
            }
            self.settle();
            // A session may keep itself alive by whitespace for days; a login may not.
            if self.inbound.whitespace() > WHITESPACE_BYTES {
                return Err(Broken::Fault(StreamFault::TooLarge));
            }
            let deadline = self.deadline();
            let io = poll_fn(|cx| self.poll_io(cx, true, true));
            let io = match deadline {
                Some(deadline) => timeout_at(deadline, io).await.map_err(|_| Broken::Late)?,
                None => io.await,
            };
            if io == Io::Gone {
                return Err(Broken::Gone);
            }
        }
    }

    /// Writes all that waits.
    ///
    /// # Errors
    /// If the connection is gone or does not take it within the write deadline.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + self.deadlines.write.get();
        while self.has_output() {
            let io = poll_fn(|cx| self.poll_io(cx, false, true));
            match timeout_at(deadline, io).await {
                Ok(Io::Gone) => return Err(io::ErrorKind::BrokenPipe.into()),
                Ok(_) => {}
                Err(late) => return Err(late.into()),
            }
        }
        Ok(())
    }

    /// Ends the stream: an error if there is one, the closing tag, and the end of writing.
    pub(crate) async fn close(&mut self, error: Option<&Element>) {
        self.out.release();
        if let Some(error) = error {
            self.out.element(error);
        }
        self.out.closing();
        if self.flush().await.is_ok() {
            let deadline = Instant::now() + self.deadlines.write.get();
            // The peer may be gone by now; that is as good an end.
            let _closed = timeout_at(deadline, poll_fn(|cx| self.wire.poll_close(cx))).await;
            if error.is_some() {
                let by = Instant::now() + LINGER;
                let _heard_or_not = timeout_at(by, self.linger()).await;
            }
        }
    }

    /// Drops what the peer still sends until it closes too. A socket that is closed with input unread
    /// resets the connection, and the reset can overtake the error (RFC 1122 4.2.2.13).
    async fn linger(&mut self) {
        let mut left = LINGER_BYTES;
        loop {
            let mut unheard = Inbound::new(self.framing(), Limits::BEFORE_AUTH);
            let mut heard = None;
            let read = poll_fn(|cx| self.wire.poll_read(cx, &mut unheard, &mut heard)).await;
            match read {
                Ok(Some(bytes)) if bytes < left => left -= bytes,
                _ => return,
            }
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Broken {
    /// What to tell the peer, if there is still one to tell.
    pub(crate) const fn error(self) -> Option<(StreamCondition, &'static str)> {
        match self {
            Self::Fault(fault) => Some((fault.condition(), fault.text())),
            Self::Gone => None,
            Self::Late => Some((StreamCondition::ConnectionTimeout, "deadline passed")),
        }
    }
}
