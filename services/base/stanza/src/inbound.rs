//! Framer and reader as one: bytes in, typed events out.
//!
//! **Invariants**
//! - The first event is the header; nothing else is read before it.
//! - After a fault, and after the end of the stream, no event comes out.

use bytes::{Bytes, BytesMut};

use crate::element::Element;
use crate::error::StreamFault;
use crate::framer::{Frame, Framer, Framing};
use crate::header::StreamHeader;
use crate::limits::Limits;
use crate::ns::{self, Ns};
use crate::reader::Reader;

/// What a peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It opened the stream, or opened it anew after a restart.
    Open(StreamHeader),
    /// A first-level element: a stanza or a nonza.
    Element(Element),
    /// It closed the stream.
    Close,
}

/// The receiving half of one stream.
#[derive(Debug)]
pub struct Inbound {
    framer: Framer,
    reader: Reader,
    framing: Framing,
    content: Ns,
    limits: Limits,
    is_open: bool,
    fault: Option<StreamFault>,
}

impl Inbound {
    /// A stream of clients that has not begun.
    pub fn new(framing: Framing, limits: Limits) -> Self {
        Self::with_content(ns::CLIENT, framing, limits)
    }

    /// A stream with another content namespace, as of components.
    pub fn with_content(content: Ns, framing: Framing, limits: Limits) -> Self {
        Self {
            framer: Framer::new(limits),
            reader: Reader::new(content.clone(), framing, limits),
            framing,
            content,
            limits,
            is_open: false,
            fault: None,
        }
    }

    /// Sets the limits, as after authentication.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.framer.set_limits(limits);
        self.reader.set_limits(limits);
    }

    /// The input buffer, to read into from a socket. Only append, and take all events after it.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        self.framer.buffer()
    }

    /// Appends a chunk of input. Take all events before the next.
    pub fn push(&mut self, chunk: &[u8]) {
        self.framer.push(chunk);
    }

    /// Bytes held of an element that is not whole yet; not zero means that a stanza is under way.
    pub fn buffered(&self) -> usize {
        self.framer.buffered()
    }

    /// Whitespace bytes dropped since the last element.
    pub const fn whitespace(&self) -> usize {
        self.framer.whitespace()
    }

    /// Gives back memory while the stream is idle.
    pub fn shrink(&mut self) {
        self.framer.shrink();
    }

    /// Expects a new header and keeps what was already received, as after SASL (RFC 6120 4.3.3).
    pub fn restart(&mut self) {
        self.framer.restart();
        self.reader = Reader::new(self.content.clone(), self.framing, self.limits);
        self.is_open = false;
    }

    /// Takes the next event of a byte stream, `None` if more input is needed.
    ///
    /// # Errors
    /// The fault that ends the stream, again on every later call.
    pub fn next_event(&mut self) -> Result<Option<Received>, StreamFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let next = self.pull();
        self.fault = next.as_ref().err().copied();
        next
    }

    /// Takes one message of a WebSocket.
    ///
    /// # Errors
    /// The fault that ends the stream, again on every later call.
    pub fn message(&mut self, message: Bytes) -> Result<Received, StreamFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let frame = self.framer.message(message);
        let event = frame.and_then(|frame| self.read(frame));
        let event = event.and_then(|event| event.ok_or(StreamFault::WebSocketFrame));
        self.fault = event.as_ref().err().copied();
        event
    }

    fn pull(&mut self) -> Result<Option<Received>, StreamFault> {
        while let Some(frame) = self.framer.next_frame()? {
            if let Some(event) = self.read(frame)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn read(&mut self, frame: Frame) -> Result<Option<Received>, StreamFault> {
        match frame {
            Frame::Decl => Ok(None),
            Frame::StreamOpen(bytes) => {
                let header = self.reader.open(&bytes)?;
                self.is_open = true;
                Ok(Some(Received::Open(header)))
            }
            _ if !self.is_open => Err(StreamFault::StreamHeader),
            Frame::Stanza(bytes) => {
                let element = self.reader.element(&bytes)?;
                let closes =
                    self.framing == Framing::WebSocket && element.is("close", &ns::FRAMING);
                Ok(Some(if closes {
                    Received::Close
                } else {
                    Received::Element(element)
                }))
            }
            Frame::StreamClose => Ok(Some(Received::Close)),
        }
    }
}
