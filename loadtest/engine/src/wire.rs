//! One XMPP connection with as little between the load and the socket as possible.
//!
//! In: bytes that are stanzas already. Out: whole elements, as bytes; nothing here parses a tree.
//! TLS from the first byte, after `<starttls/>`, or none; or a WebSocket over TLS.
//!
//! **Invariants**
//! - What a server sends goes through the gateway's own framer and its limits: bytes that are no
//!   stream end the connection, and memory stays bounded.
//! - [`Line::poll_fill`] and [`Line::poll_flush`] can be called again after any wait.

mod door;
mod error;
mod io;
mod websocket;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use entente_stanza::{Frame, Framer, Limits};

pub use door::{Door, DoorError, tls};
pub use error::LineError;
pub(crate) use error::condition;

use io::Io;
use websocket::WebSocket;

/// Bytes of one read: a TLS record.
pub(crate) const READ_BYTES: usize = 16 * 1024;
/// How much may be queued before the next flush.
const OUT_BYTES: usize = 64 * 1024;

/// One connection.
pub struct Line {
    io: Io,
    framer: Framer,
    websocket: Option<WebSocket>,
    out: BytesMut,
    room: Room,
}

/// Where bytes are read to; one for all lines of a thread, so that idle ones hold no memory.
pub(crate) type Room = Rc<RefCell<Box<[u8]>>>;

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    fn new(io: Io, room: Room) -> Self {
        Self {
            io,
            framer: Framer::new(Limits::AFTER_AUTH),
            websocket: None,
            out: BytesMut::new(),
            room,
        }
    }

    /// Whether stanzas travel in WebSocket messages.
    pub const fn is_websocket(&self) -> bool {
        self.websocket.is_some()
    }

    /// Queues one top-level element, or a stream header.
    pub fn queue(&mut self, element: &[u8]) {
        match &mut self.websocket {
            Some(websocket) => websocket.wrap(element, &mut self.out),
            None => self.out.extend_from_slice(element),
        }
    }

    /// Queues bytes that are no element: a keep-alive.
    pub fn keep_alive(&mut self) {
        match &mut self.websocket {
            Some(websocket) => websocket.ping(&mut self.out),
            None => self.out.extend_from_slice(b" "),
        }
    }

    /// Whether more may be queued before the next flush.
    pub fn has_room(&self) -> bool {
        self.out.len() < OUT_BYTES
    }

    /// Begins a new stream on what was received and not read (RFC 6120 4.3.3).
    pub const fn restart(&mut self) {
        self.framer.restart();
    }

    /// Writes what is queued. Ready when all is written.
    ///
    /// # Errors
    /// Of the socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LineError>> {
        self.io.poll_drain(&mut self.out, cx).map_err(LineError::Io)
    }

    /// Waits for more bytes, at most so many.
    ///
    /// # Errors
    /// Of the socket, and at its end.
    pub fn poll_fill(
        &mut self,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, LineError>> {
        let mut room = self.room.borrow_mut();
        let most = most.min(room.len());
        let room = room.get_mut(..most).unwrap_or_default();
        match self.io.poll_read(room, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => Poll::Ready(Err(LineError::Closed)),
            Poll::Ready(Ok(count)) => {
                let read = room.get(..count).unwrap_or_default();
                match &mut self.websocket {
                    Some(websocket) => websocket.push(read),
                    None => self.framer.push(read),
                }
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(LineError::Io(error))),
        }
    }

    /// The next element that is there.
    ///
    /// # Errors
    /// If the bytes are no stream, or the server ended it.
    pub fn next_element(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            let frame = match &mut self.websocket {
                Some(websocket) => match websocket.next(&mut self.out)? {
                    Some(message) => Some(self.framer.message(message)?),
                    None => None,
                },
                None => self.framer.next_frame()?,
            };
            match frame {
                Some(Frame::Stanza(element)) => {
                    if element.starts_with(b"<stream:error") || element.starts_with(b"<error") {
                        return Err(LineError::stream(&element));
                    }
                    if self.websocket.is_some() && element.starts_with(b"<close") {
                        return Err(LineError::Closed);
                    }
                    return Ok(Some(element));
                }
                Some(Frame::Decl | Frame::StreamOpen(_)) => {}
                Some(Frame::StreamClose) => return Err(LineError::Closed),
                None => return Ok(None),
            }
        }
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// Of the socket. Dropping the future may leave a part unwritten, which stays queued.
    pub async fn flush(&mut self) -> Result<(), LineError> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Writes what is queued and waits for the next element.
    ///
    /// # Errors
    /// As those of [`Self::next_element`]. Cancel-safe.
    pub async fn element(&mut self) -> Result<Bytes, LineError> {
        self.flush().await?;
        loop {
            if let Some(element) = self.next_element()? {
                return Ok(element);
            }
            std::future::poll_fn(|cx| self.poll_fill(READ_BYTES, cx)).await?;
        }
    }

    /// Gives back memory before a long wait.
    pub fn rest(&mut self) {
        self.framer.shrink();
        if self.out.is_empty() && self.out.capacity() > 0 {
            self.out = BytesMut::new();
        }
    }

    /// Ends the stream in order and waits for the server to end its side.
    ///
    /// # Errors
    /// Of the socket.
    pub async fn close(mut self) -> Result<(), LineError> {
        if self.is_websocket() {
            self.queue(b"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
        } else {
            self.queue(b"</stream:stream>");
        }
        self.flush().await?;
        while self.element().await.is_ok() {}
        self.io.shut().await.map_err(LineError::Io)
    }
}
