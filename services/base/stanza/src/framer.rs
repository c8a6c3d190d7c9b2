//! Cuts the bytes of a stream into whole elements before anything parses them.
//!
//! In: bytes, in chunks of any size. Out: frames that share the memory of the input. A frame is the
//! declaration, the stream header, one stanza, or the end of the stream.
//!
//! **Invariants**
//! - The same bytes give the same frames and the same fault, however they were cut into chunks.
//! - What cannot become a legal stream is refused at the first byte that tells.
//! - Limits hold while bytes arrive: no more than one stanza's limit and one chunk is ever held.
//! - After a fault no frame comes out, only the fault again.

mod declaration;
mod scan;

use bytes::{Buf, Bytes, BytesMut};

use crate::error::StreamFault;
use crate::limits::{IDLE_BUFFER_BYTES, Limits};

use scan::{Cut, Scanner};

/// How stanzas are delimited on the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One long document (RFC 6120 4.2).
    Stream,
    /// One element a message (RFC 7395 3.3.3).
    WebSocket,
}

/// One piece of a stream, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The XML declaration; it was checked and holds nothing.
    Decl,
    /// The start tag of the stream, or `<open/>` of a WebSocket.
    StreamOpen(Bytes),
    /// One whole first-level element.
    Stanza(Bytes),
    /// `</stream:stream>`; the `<close/>` of a WebSocket is an element like others.
    StreamClose,
}

/// The resumable framer of one stream.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    scanner: Scanner,
    limits: Limits,
    fault: Option<StreamFault>,
    whitespace: usize,
}

impl Framer {
    /// A framer at the beginning of a stream (RFC 6120) or for the messages of a WebSocket.
    pub fn new(limits: Limits) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanner: Scanner::new(),
            limits,
            fault: None,
            whitespace: 0,
        }
    }

    /// Sets the limits, as after authentication.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Appends a chunk of input. Pull all frames before the next.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.fault.is_none() {
            self.buffer.extend_from_slice(chunk);
        }
    }

    /// The input buffer, to read into from a socket. Only append, and pull all frames after it.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes held of a frame that is not whole yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whitespace bytes dropped since the last frame: keep-alives, unless there are many.
    pub const fn whitespace(&self) -> usize {
        self.whitespace
    }

    /// Expects a new stream header and keeps what was already received (RFC 6120 4.3.3).
    pub const fn restart(&mut self) {
        self.scanner = Scanner::new();
    }

    /// Gives back memory while the stream is idle.
    pub fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Takes the next whole frame, `None` if more input is needed.
    ///
    /// # Errors
    /// The fault that ends the stream, again on every later call.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, StreamFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let next = self.cut();
        if let Err(fault) = next {
            self.fault = Some(fault);
            self.buffer = BytesMut::new();
        }
        next
    }

    fn cut(&mut self) -> Result<Option<Frame>, StreamFault> {
        if self.scanner.may_skip_whitespace() {
            let blank = self.buffer.iter().take_while(|byte| is_space(**byte));
            let blank = blank.count();
            self.whitespace = self.whitespace.saturating_add(blank);
            self.buffer.advance(blank);
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        // Never look past the limit, or the fault would depend on how much has arrived.
        let window = self.buffer.len().min(self.limits.stanza_bytes);
        let seen = self.buffer.get(..window).unwrap_or_default();
        let Some((cut, len)) = self.scanner.scan(seen, &self.limits)? else {
            return if self.buffer.len() > self.limits.stanza_bytes {
                Err(StreamFault::TooLarge)
            } else {
                Ok(None)
            };
        };
        self.whitespace = 0;
        let bytes = self.buffer.split_to(len).freeze();
        if len > IDLE_BUFFER_BYTES {
            // The rest shares the large block; without this it would keep it for the connection's life.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        Ok(Some(match cut {
            Cut::Declaration => {
                declaration::check(&bytes)?;
                Frame::Decl
            }
            Cut::Header => Frame::StreamOpen(bytes),
            Cut::Element => Frame::Stanza(bytes),
            Cut::Close => Frame::StreamClose,
        }))
    }

    /// Checks that a WebSocket message is exactly one element and says which frame it is.
    ///
    /// # Errors
    /// The fault that ends the stream, again on every later call.
    pub fn message(&mut self, message: Bytes) -> Result<Frame, StreamFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let frame = self.whole(message);
        if let Err(fault) = frame {
            self.fault = Some(fault);
        }
        frame
    }

    fn whole(&self, message: Bytes) -> Result<Frame, StreamFault> {
        // RFC 7395 3.3.3: the first character of a message is `<`.
        if !message.starts_with(b"<") {
            return Err(StreamFault::WebSocketFrame);
        }
        let window = message.len().min(self.limits.stanza_bytes);
        let seen = message.get(..window).unwrap_or_default();
        match Scanner::of_element().scan(seen, &self.limits)? {
            Some((Cut::Element, len)) if len == message.len() => Ok(match first_name(&message) {
                b"open" => Frame::StreamOpen(message),
                _ => Frame::Stanza(message),
            }),
            None if message.len() > window => Err(StreamFault::TooLarge),
            _ => Err(StreamFault::WebSocketFrame),
        }
    }
}

fn first_name(element: &[u8]) -> &[u8] {
    let name = element.get(1..).unwrap_or_default();
    let len = name
        .iter()
        .position(|byte| is_space(*byte) || matches!(byte, b'/' | b'>'));
    name.get(..len.unwrap_or(name.len())).unwrap_or_default()
}

/// White space of XML 1.0 2.3.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests;
