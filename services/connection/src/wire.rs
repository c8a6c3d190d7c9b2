//! Bytes or messages to and from one socket, whatever carries them.
//!
//! In: a socket that is encrypted already. Out: events of the peer's stream. What is to be written
//! waits in an [`Outbox`].
//!
//! **Invariants**
//! - A connection that is idle holds no read buffer of its own: reading goes through one scratch
//!   buffer a thread.
//! - What is on hold in the outbox does not leave in one flight with what is not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use entente_stanza::splice::{self, Spliced};
use entente_stanza::{Element, Framing, Inbound, Received, StreamFault, StreamHeader, closing};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read from a socket at once: one TLS record.
const READ_BYTES: usize = 16 * 1024;
/// Memory that an empty outbox keeps.
const IDLE_BYTES: usize = 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// What a peer said, or what is wrong with how it said it.
pub(crate) type Heard = Result<Received, StreamFault>;

/// One way to carry a stream.
pub(crate) trait Wire: Send {
    /// How elements are told apart.
    fn framing(&self) -> Framing;

    /// Reads once. `Ready(Ok(None))` means that nothing more will come; otherwise how many bytes
    /// came. What is an event at once, without the parser's help, is put into `heard`.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        inbound: &mut Inbound,
        heard: &mut Option<Heard>,
    ) -> Poll<io::Result<Option<usize>>>;

    /// Writes all of the outbox but what is on hold. `Ready` means that it is with the kernel.
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut Outbox) -> Poll<io::Result<()>>;

    /// Ends the writing side.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The peer showed who it is: bounds for strangers no longer apply.
    fn trust(&mut self) {}
}

/// What waits to be written.
#[derive(Debug)]
pub(crate) struct Outbox {
    framing: Framing,
    ready: Pile,
    held: Option<Pile>,
}

/// A byte stream, or messages; only one of the two is used.
#[derive(Debug, Default)]
struct Pile {
    bytes: BytesMut,
    messages: VecDeque<Bytes>,
    message_bytes: usize,
}

impl Outbox {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            ready: Pile::default(),
            held: None,
        }
    }

    /// Bytes that wait, on hold or not.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.held.as_ref().map_or(0, Pile::len)
    }

    /// Whether something may be written now.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.len() > 0
    }

    pub(crate) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Keeps what is put in from now on back until [`Outbox::release`].
    pub(crate) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    pub(crate) fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.ready.bytes.unsplit(held.bytes);
            self.ready.messages.extend(held.messages);
            self.ready.message_bytes += held.message_bytes;
        }
    }

    pub(crate) fn header(&mut self, header: &StreamHeader) {
        let framing = self.framing;
        self.put(|out| header.write_into(framing, out));
    }

    pub(crate) fn closing(&mut self) {
        let framing = self.framing;
        self.put(|out| out.extend_from_slice(closing(framing)));
    }

    /// An element in canonical form.
    pub(crate) fn element(&mut self, element: &Element) {
        match self.framing {
            Framing::Stream => self.put(|out| element.write_into(out)),
            Framing::WebSocket => self.canonical(&element.to_bytes()),
        }
    }

    /// A stanza that is in canonical form already.
    pub(crate) fn canonical(&mut self, stanza: &[u8]) {
        match self.framing {
            Framing::Stream => self.put(|out| out.extend_from_slice(stanza)),
            Framing::WebSocket => self.put(|out| splice::framed(stanza).write_into(out)),
        }
    }

    /// A canonical stanza with something added.
    pub(crate) fn spliced(&mut self, stanza: &Spliced<'_>) {
        match self.framing {
            Framing::Stream => self.put(|out| stanza.write_into(out)),
            Framing::WebSocket => {
                let mut whole = BytesMut::with_capacity(stanza.len());
                stanza.write_into(&mut whole);
                self.canonical(&whole);
            }
        }
    }

    fn put(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let pile = self.held.as_mut().unwrap_or(&mut self.ready);
        match self.framing {
            Framing::Stream => write(&mut pile.bytes),
            Framing::WebSocket => {
                let mut message = BytesMut::new();
                write(&mut message);
                pile.message_bytes += message.len();
                pile.messages.push_back(message.freeze());
            }
        }
    }

    /// The bytes to write now, of a byte stream.
    pub(crate) fn chunk(&self) -> &[u8] {
        &self.ready.bytes
    }

    pub(crate) fn written(&mut self, bytes: usize) {
        self.ready.bytes.advance(bytes);
        if self.ready.bytes.is_empty() && self.ready.bytes.capacity() > IDLE_BYTES {
            self.ready.bytes = BytesMut::new();
        }
    }

    /// The next message to write.
    pub(crate) fn message(&mut self) -> Option<Bytes> {
        let message = self.ready.messages.pop_front()?;
        self.ready.message_bytes -= message.len();
        if self.ready.messages.is_empty() {
            self.ready.messages = VecDeque::new();
        }
        Some(message)
    }
}

impl Pile {
    fn len(&self) -> usize {
        self.bytes.len() + self.message_bytes
    }
}

/// A stream directly on an encrypted socket (RFC 6120 3).
#[derive(Debug)]
pub(crate) struct Direct<S>(S);

impl<S> Direct<S> {
    pub(crate) const fn new(socket: S) -> Self {
        Self(socket)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for Direct<S> {
    fn framing(&self) -> Framing {
        Framing::Stream
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        inbound: &mut Inbound,
        _heard: &mut Option<Heard>,
    ) -> Poll<io::Result<Option<usize>>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
            let chunk = buffer.filled();
            inbound.push(chunk);
            Poll::Ready(Ok((!chunk.is_empty()).then_some(chunk.len())))
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut Outbox) -> Poll<io::Result<()>> {
        while !out.chunk().is_empty() {
            let written = ready!(Pin::new(&mut self.0).poll_write(cx, out.chunk()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            out.written(written);
        }
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
