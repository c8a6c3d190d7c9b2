//! The one way in which this program writes an element.
//!
//! **Invariants**
//! - Equal elements give equal bytes; the reader gives the element back.
//! - Written for a stream whose default namespace is the content namespace and whose prefix `stream`
//!   is the streams namespace. A first-level stanza therefore starts without `xmlns`, and the same
//!   bytes serve both doors: see [`crate::splice::framed`] for what a WebSocket needs in front.
//! - `xmlns` is the first attribute, values stand in apostrophes, prefixes are `ns0`, `ns1` and so
//!   on in order of use; the prefix `stream` is used for a first-level element only.
//! - No recursion: the depth of a tree costs list entries, not stack.

use bytes::{BufMut, Bytes, BytesMut};

use crate::element::{Attribute, Element, Node};
use crate::ns::{self, Ns};

/// First guess at the size of a stanza, so that the buffer grows once or not at all.
const USUAL_BYTES: usize = 1024;

impl Element {
    /// The canonical bytes, for a stream of clients.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(USUAL_BYTES);
        self.write_into(&mut out);
        out.freeze()
    }

    /// Appends the canonical bytes, for a stream of clients.
    pub fn write_into(&self, out: &mut BytesMut) {
        self.write_in(&ns::CLIENT, out);
    }

    /// Appends the canonical bytes, for a stream whose default namespace is `content`.
    pub fn write_in(&self, content: &Ns, out: &mut BytesMut) {
        let stream = self.ns() == &ns::STREAMS && content != &ns::STREAMS;
        let outer = if stream { self.ns() } else { content };
        let mut open: Vec<Open<'_>> = Vec::new();
        if !start(self, outer, stream, out) {
            return;
        }
        let inner = if stream { content } else { self.ns() };
        let mut now = Open::new(self, inner, stream);
        loop {
            match now.rest.split_first() {
                Some((Node::Text(value), rest)) => {
                    text(value, out);
                    now.rest = rest;
                }
                Some((Node::Element(child), rest)) => {
                    now.rest = rest;
                    if start(child, now.inner, false, out) {
                        open.push(now);
                        now = Open::new(child, child.ns(), false);
                    }
                }
                None => {
                    out.put_slice(b"</");
                    name(now.element, now.stream, out);
                    out.put_u8(b'>');
                    match open.pop() {
                        Some(outer) => now = outer,
                        None => return,
                    }
                }
            }
        }
    }
}

/// An element whose end tag is still owed.
struct Open<'a> {
    element: &'a Element,
    /// The default namespace for its children.
    inner: &'a Ns,
    stream: bool,
    rest: &'a [Node],
}

impl<'a> Open<'a> {
    fn new(element: &'a Element, inner: &'a Ns, stream: bool) -> Self {
        Self {
            element,
            inner,
            stream,
            rest: element.children(),
        }
    }
}

/// Writes the start tag; false if that was all of the element.
fn start(element: &Element, outer: &Ns, stream: bool, out: &mut BytesMut) -> bool {
    out.put_u8(b'<');
    name(element, stream, out);
    if element.ns() != outer {
        plain_attribute("xmlns", element.ns().as_str(), out);
    }
    for (at, attribute) in element.attributes().iter().enumerate() {
        if attribute.ns.is_none() {
            plain_attribute(&attribute.name, &attribute.value, out);
        } else if attribute.ns == ns::XML {
            out.put_slice(b" xml:");
            value_of(attribute, out);
        } else {
            prefixed(element.attributes(), at, attribute, out);
        }
    }
    let has_children = !element.children().is_empty();
    out.put_slice(if has_children { b">" } else { b"/>" });
    has_children
}

fn name(element: &Element, stream: bool, out: &mut BytesMut) {
    if stream {
        out.put_slice(b"stream:");
    }
    out.put_slice(element.name().as_bytes());
}

/// An attribute of a foreign namespace; its prefix is declared where the namespace is first used.
fn prefixed(all: &[Attribute], at: usize, attribute: &Attribute, out: &mut BytesMut) {
    let foreign = |other: &&Attribute| !other.ns.is_none() && other.ns != ns::XML;
    let is_first = |index: usize, ns: &Ns| all.iter().take(index).all(|other| &other.ns != ns);
    let mut number = 0;
    for (index, other) in all.iter().enumerate().filter(|(_, other)| foreign(other)) {
        if other.ns == attribute.ns {
            break;
        }
        number += usize::from(is_first(index, &other.ns));
    }
    let prefix = format!("ns{number}");
    if is_first(at, &attribute.ns) {
        plain_attribute(&format!("xmlns:{prefix}"), attribute.ns.as_str(), out);
    }
    out.put_u8(b' ');
    out.put_slice(prefix.as_bytes());
    out.put_u8(b':');
    value_of(attribute, out);
}

fn value_of(attribute: &Attribute, out: &mut BytesMut) {
    out.put_slice(attribute.name.as_bytes());
    out.put_slice(b"='");
    attribute_text(&attribute.value, b'\'', out);
    out.put_u8(b'\'');
}

/// Writes ` name='value'`.
pub(crate) fn plain_attribute(name: &str, value: &str, out: &mut BytesMut) {
    out.put_u8(b' ');
    out.put_slice(name.as_bytes());
    out.put_slice(b"='");
    attribute_text(value, b'\'', out);
    out.put_u8(b'\'');
}

/// Writes an attribute value. White space but the blank is written as references, or a parser would
/// turn it into blanks (XML 1.0 3.3.3).
pub(crate) fn attribute_text(value: &str, quote: u8, out: &mut BytesMut) {
    let special = |byte: &u8| {
        SPECIAL.get(usize::from(*byte)).copied().unwrap_or(false)
            && (*byte == quote || !matches!(byte, b'\'' | b'"'))
    };
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(special) {
        let (plain, found) = rest.split_at(at);
        out.put_slice(plain);
        rest = escape(found, out);
    }
    out.put_slice(rest);
}

/// Bytes that may have to be written as references in an attribute value.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut bytes: &[u8] = b"&<>'\"\t\n\r";
    while let Some((byte, rest)) = bytes.split_first() {
        #[expect(
            clippy::indexing_slicing,
            reason = "a byte is below 256; checked at compile time"
        )]
        {
            special[*byte as usize] = true;
        }
        bytes = rest;
    }
    special
};

/// Writes character data. A carriage return is written as a reference, or a parser would turn it into
/// a line feed (XML 1.0 2.11).
fn text(value: &str, out: &mut BytesMut) {
    let mut rest = value.as_bytes();
    let returns = memchr::memchr(b'\r', rest).is_some();
    loop {
        let at = if returns {
            rest.iter()
                .position(|byte| matches!(byte, b'&' | b'<' | b'>' | b'\r'))
        } else {
            memchr::memchr3(b'&', b'<', b'>', rest)
        };
        let Some(at) = at else {
            out.put_slice(rest);
            return;
        };
        let (plain, found) = rest.split_at(at);
        out.put_slice(plain);
        rest = escape(found, out);
    }
}

/// Writes the first byte as a reference and returns what follows it.
fn escape<'a>(found: &'a [u8], out: &mut BytesMut) -> &'a [u8] {
    let Some((byte, rest)) = found.split_first() else {
        return found;
    };
    out.put_slice(match byte {
        b'&' => b"&amp;",
        b'<' => b"&lt;",
        b'>' => b"&gt;",
        b'\'' => b"&apos;",
        b'"' => b"&quot;",
        b'\t' => b"&#9;",
        b'\n' => b"&#10;",
        _ => b"&#13;",
    });
    rest
}
