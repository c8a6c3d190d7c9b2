//! The byte machine under the framer: finds where a first-level element ends.
//!
//! **Invariants**
//! - It stops at the same byte with the same answer however the input was cut.
//! - It keeps no bytes, only a state and counts, so a stopped scan costs nothing to resume.

use crate::error::StreamFault;
use crate::limits::Limits;

use super::is_space;

/// What ends where the scan stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Close,
    Declaration,
    Element,
    Header,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first byte of a stream.
    Start,
    /// Between the declaration and the header.
    Prolog,
    /// Between first-level elements.
    Between,
    /// Character data inside an element.
    Text,
    /// After `<`.
    Lt,
    /// In a start tag, outside of values.
    Tag,
    /// In an attribute value.
    Quote(u8),
    /// After an attribute value.
    AfterQuote,
    /// After `</`.
    Slash,
    /// In the name of an end tag.
    End,
    /// In the white space after the name of an end tag.
    EndSpace,
    /// After `<!`, so many bytes into `[CDATA[`.
    Bang(usize),
    /// Inside a CDATA section.
    CData,
    /// So many bytes into `<?xml `.
    Declaration,
    /// In `</stream:stream>`.
    Close,
    /// After it.
    Closed,
}

const CDATA: &[u8] = b"[CDATA[";
const DECLARATION: &[u8] = b"<?xml";
const CLOSE: &[u8] = b"</stream:stream";

/// Where a scan stands.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    /// Bytes of the present frame that were looked at.
    at: usize,
    depth: usize,
    elements: usize,
    attributes: usize,
    in_stream: bool,
    declared: bool,
    /// The start of the CDATA content, so that `<![CDATA[]]>` is not closed by its own opening.
    cdata: usize,
}

impl Scanner {
    /// At the beginning of a stream.
    pub(super) const fn new() -> Self {
        Self {
            state: State::Start,
            at: 0,
            depth: 0,
            elements: 0,
            attributes: 0,
            in_stream: false,
            declared: false,
            cdata: 0,
        }
    }

    /// At the beginning of one element that stands alone.
    pub(super) const fn of_element() -> Self {
        let mut scanner = Self::new();
        scanner.in_stream = true;
        scanner.state = State::Between;
        scanner
    }

    pub(super) fn may_skip_whitespace(&self) -> bool {
        self.at == 0 && matches!(self.state, State::Between | State::Prolog | State::Closed)
    }

    /// Looks at the bytes of the present frame that are new.
    pub(super) fn scan(
        &mut self,
        data: &[u8],
        limits: &Limits,
    ) -> Result<Option<(Cut, usize)>, StreamFault> {
        while let Some(rest) = data.get(self.at..).filter(|rest| !rest.is_empty()) {
            if let Some(cut) = self.step(data, rest, limits)? {
                let len = std::mem::take(&mut self.at);
                return Ok(Some((cut, len)));
            }
        }
        Ok(None)
    }

    /// Advances by at least one byte of `rest`.
    fn step(
        &mut self,
        data: &[u8],
        rest: &[u8],
        limits: &Limits,
    ) -> Result<Option<Cut>, StreamFault> {
        let byte = rest.first().copied().unwrap_or_default();
        match self.state {
            State::Text => match memchr::memchr(b'<', rest) {
                Some(len) => {
                    self.at += len + 1;
                    self.state = State::Lt;
                }
                None => self.at += rest.len(),
            },
            State::Tag => return self.tag(data, rest, limits),
            State::Quote(quote) => self.quote(rest, quote)?,
            State::CData => self.cdata(data, rest),
            State::End => return self.end(rest),
            _ => {
                self.at += 1;
                return self.mark(byte, data);
            }
        }
        Ok(None)
    }

    /// The states that look at one byte.
    fn mark(&mut self, byte: u8, data: &[u8]) -> Result<Option<Cut>, StreamFault> {
        self.state = match (self.state, byte) {
            (State::Start | State::Prolog | State::Between, b'<') => State::Lt,
            // A byte-order mark is text, too (RFC 6120 11.6).
            (State::Start | State::Prolog | State::Between, _) => {
                return Err(StreamFault::StrayText);
            }
            (State::Lt, _) => self.after_lt(byte)?,
            (State::AfterQuote, b'>' | b'/' | b' ' | b'\t' | b'\r' | b'\n') => {
                // The tag state needs to see `>` itself.
                self.at -= usize::from(byte == b'>');
                State::Tag
            }
            (State::Slash, _) if is_name_start(byte) => State::End,
            (State::EndSpace, b'>') => return Ok(self.leave()),
            (State::EndSpace, _) if is_space(byte) => State::EndSpace,
            (State::Bang(seen), _) => self.after_bang(seen, byte)?,
            (State::Declaration, _) => return self.declaration(byte, data),
            (State::Close, _) => return self.close(byte),
            _ => return Err(StreamFault::NotWellFormed),
        };
        Ok(None)
    }

    fn after_lt(&mut self, byte: u8) -> Result<State, StreamFault> {
        match byte {
            b'!' => Ok(State::Bang(0)),
            b'?' if !self.declared && !self.in_stream => {
                self.declared = true;
                Ok(State::Declaration)
            }
            b'?' => Err(StreamFault::ProcessingInstruction),
            b'/' if self.depth > 0 => Ok(State::Slash),
            b'/' if self.in_stream => Ok(State::Close),
            _ if is_name_start(byte) => {
                self.attributes = 0;
                Ok(State::Tag)
            }
            _ => Err(StreamFault::NotWellFormed),
        }
    }

    fn after_bang(&mut self, seen: usize, byte: u8) -> Result<State, StreamFault> {
        match CDATA.get(seen) {
            // CDATA is character data and may stand only where that may.
            Some(b'[') if seen == 0 && byte == b'[' && self.depth == 0 => {
                Err(StreamFault::StrayText)
            }
            Some(expected) if *expected == byte => {
                self.cdata = self.at;
                Ok(if seen + 1 == CDATA.len() {
                    State::CData
                } else {
                    State::Bang(seen + 1)
                })
            }
            _ if seen == 0 && byte == b'-' => Err(StreamFault::Comment),
            _ if seen == 0 && byte.eq_ignore_ascii_case(&b'D') => Err(StreamFault::Doctype),
            _ => Err(StreamFault::NotWellFormed),
        }
    }

    fn tag(
        &mut self,
        data: &[u8],
        rest: &[u8],
        limits: &Limits,
    ) -> Result<Option<Cut>, StreamFault> {
        let stop = rest
            .iter()
            .position(|byte| matches!(byte, b'<' | b'>' | b'"' | b'\''));
        let Some((len, byte)) = stop.and_then(|len| Some((len, *rest.get(len)?))) else {
            self.at += rest.len();
            return Ok(None);
        };
        self.at += len + 1;
        match byte {
            b'<' => Err(StreamFault::NotWellFormed),
            b'>' => {
                let before = self.at.checked_sub(2).and_then(|at| data.get(at));
                self.enter(before == Some(&b'/'), limits)
            }
            quote => {
                self.attributes += 1;
                if self.attributes > limits.attributes {
                    return Err(StreamFault::TooComplex);
                }
                self.state = State::Quote(quote);
                Ok(None)
            }
        }
    }

    fn quote(&mut self, rest: &[u8], quote: u8) -> Result<(), StreamFault> {
        match memchr::memchr2(quote, b'<', rest) {
            Some(len) if rest.get(len) == Some(&b'<') => Err(StreamFault::NotWellFormed),
            Some(len) => {
                self.at += len + 1;
                self.state = State::AfterQuote;
                Ok(())
            }
            None => {
                self.at += rest.len();
                Ok(())
            }
        }
    }

    fn cdata(&mut self, data: &[u8], rest: &[u8]) {
        match memchr::memchr(b'>', rest) {
            Some(len) => {
                self.at += len + 1;
                let content = data.get(self.cdata..self.at).unwrap_or_default();
                if content.ends_with(b"]]>") {
                    self.state = State::Text;
                }
            }
            None => self.at += rest.len(),
        }
    }

    fn end(&mut self, rest: &[u8]) -> Result<Option<Cut>, StreamFault> {
        let stop = rest
            .iter()
            .position(|byte| is_space(*byte) || matches!(byte, b'<' | b'>' | b'"' | b'\'' | b'/'));
        let Some((len, byte)) = stop.and_then(|len| Some((len, *rest.get(len)?))) else {
            self.at += rest.len();
            return Ok(None);
        };
        self.at += len + 1;
        match byte {
            b'>' => Ok(self.leave()),
            _ if is_space(byte) => {
                self.state = State::EndSpace;
                Ok(None)
            }
            _ => Err(StreamFault::NotWellFormed),
        }
    }

    /// A start tag is whole.
    fn enter(&mut self, empty: bool, limits: &Limits) -> Result<Option<Cut>, StreamFault> {
        if !self.in_stream {
            if empty {
                return Err(StreamFault::StreamHeader);
            }
            self.in_stream = true;
            self.state = State::Between;
            return Ok(Some(Cut::Header));
        }
        self.elements += 1;
        if self.elements > limits.elements {
            return Err(StreamFault::TooComplex);
        }
        if self.depth + 1 > limits.depth {
            return Err(StreamFault::TooDeep);
        }
        self.depth += 1;
        if empty {
            return Ok(self.leave());
        }
        self.state = State::Text;
        Ok(None)
    }

    /// An element is whole.
    fn leave(&mut self) -> Option<Cut> {
        self.depth -= 1;
        if self.depth > 0 {
            self.state = State::Text;
            return None;
        }
        self.elements = 0;
        self.state = State::Between;
        Some(Cut::Element)
    }

    fn declaration(&mut self, byte: u8, data: &[u8]) -> Result<Option<Cut>, StreamFault> {
        let at = self.at - 1;
        match DECLARATION.get(at) {
            Some(expected) if *expected == byte => {}
            Some(_) => return Err(StreamFault::ProcessingInstruction),
            None if at == DECLARATION.len() && !is_space(byte) => {
                return Err(StreamFault::ProcessingInstruction);
            }
            None if byte == b'<' => return Err(StreamFault::NotWellFormed),
            None if byte == b'>' => {
                if at.checked_sub(1).and_then(|at| data.get(at)) != Some(&b'?') {
                    return Err(StreamFault::NotWellFormed);
                }
                self.state = State::Prolog;
                return Ok(Some(Cut::Declaration));
            }
            None => {}
        }
        Ok(None)
    }

    fn close(&mut self, byte: u8) -> Result<Option<Cut>, StreamFault> {
        match CLOSE.get(self.at - 1) {
            Some(expected) if *expected == byte => Ok(None),
            None if is_space(byte) => Ok(None),
            None if byte == b'>' => {
                self.state = State::Closed;
                Ok(Some(Cut::Close))
            }
            _ => Err(StreamFault::NotWellFormed),
        }
    }
}

/// The first byte of a name; beyond ASCII the reader looks at the whole character.
const fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}
