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

/// `<r/>` and `<a/>` of XEP-0198 in their usual spellings: two of three elements on a busy stream, and
/// the same whatever the stream declared, since they declare their own namespace. Anything else,
/// good or bad, is the reader's.
fn management(frame: &[u8]) -> Option<Element> {
    let (name, rest) = match frame.strip_prefix(b"<r ") {
        Some(rest) => ("r", rest),
        None => ("a", frame.strip_prefix(b"<a ")?),
    };
    let (value, mut rest) = quoted(rest.strip_prefix(b"xmlns=")?)?;
    if value != ns::SM.as_str().as_bytes() {
        return None;
    }
    let mut element = Element::new(name, ns::SM);
    if name == "a" {
        let (value, after) = quoted(rest.strip_prefix(b" h=")?)?;
        rest = after;
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return None;
        }
        element.set_attribute("h", std::str::from_utf8(value).ok()?);
    }
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    (rest == b"/>").then_some(element)
}

/// What stands between two quotes of a kind, and what follows.
fn quoted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (quote, rest) = bytes.split_first()?;
    if !matches!(quote, b'\'' | b'"') {
        return None;
    }
    let end = memchr::memchr(*quote, rest)?;
    Some((rest.get(..end)?, rest.get(end + 1..)?))
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
                let element = match management(&bytes) {
                    Some(element) => element,
                    None => self.reader.element(&bytes)?,
                };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read without the reader is what the reader would have read.
    #[test]
    fn stream_management_is_read_as_by_the_reader() {
        let mut reader = Reader::new(ns::CLIENT, Framing::WebSocket, Limits::AFTER_AUTH);
        for short in [
            "<r xmlns='urn:xmpp:sm:3'/>",
            "<r xmlns=\"urn:xmpp:sm:3\" />",
            "<a xmlns='urn:xmpp:sm:3' h='0'/>",
            "<a xmlns=\"urn:xmpp:sm:3\" h=\"4294967295\" />",
        ] {
            let read = reader.element(&Bytes::from_static(short.as_bytes()));
            assert_eq!(management(short.as_bytes()), read.ok(), "{short}");
        }
        for long in [
            "<r xmlns='urn:xmpp:sm:2'/>",
            "<r xmlns='urn:xmpp:sm:3'></r>",
            "<r xmlns='urn:xmpp:sm:3' a='b'/>",
            "<a xmlns='urn:xmpp:sm:3'/>",
            "<a xmlns='urn:xmpp:sm:3' h='1' g='2'/>",
            "<a xmlns='urn:xmpp:sm:3' h='-1'/>",
            "<a xmlns='urn:xmpp:sm:3' h=''/>",
            "<a xmlns='urn:xmpp:sm:3'h='1'/>",
            "<a h='1' xmlns='urn:xmpp:sm:3'/>",
            "<r/>",
            "<r  xmlns='urn:xmpp:sm:3'/>",
        ] {
            assert_eq!(management(long.as_bytes()), None, "{long}");
        }
    }
}
