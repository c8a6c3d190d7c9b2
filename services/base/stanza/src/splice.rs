//! Adds to canonical stanzas without parsing them again.
//!
//! All functions rely on the canonical form of `write`: the name is followed by a blank, `/`
//! or `>`, a namespace declaration comes first, and an element ends in `/>` or its end tag.

use bytes::BytesMut;

/// The pieces of a canonical stanza with a child added as the last one; to be written in order.
#[derive(Clone, Copy, Debug)]
pub struct Spliced<'a> {
    parts: [&'a [u8]; 6],
}

impl<'a> Spliced<'a> {
    /// The pieces; some may be empty.
    pub const fn parts(&self) -> &[&'a [u8]; 6] {
        &self.parts
    }

    /// Bytes of all pieces together.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends all pieces.
    pub fn write_into(&self, out: &mut BytesMut) {
        out.reserve(self.len());
        self.parts
            .iter()
            .for_each(|part| out.extend_from_slice(part));
    }
}

/// Puts a canonical child before the end of a canonical stanza, as `<delay/>` on delivery.
pub fn with_child<'a>(stanza: &'a [u8], child: &'a [u8]) -> Spliced<'a> {
    if let Some(start) = stanza.strip_suffix(b"/>") {
        let (name, _) = after_name(stanza);
        let name = name.get(1..).unwrap_or_default();
        return Spliced {
            parts: [start, b">", child, b"</", name, b">"],
        };
    }
    let end = memchr::memrchr(b'<', stanza).unwrap_or(stanza.len());
    let (before, after) = stanza.split_at(end);
    Spliced {
        parts: [before, child, after, b"", b"", b""],
    }
}

/// A canonical stanza for a WebSocket, where the element itself declares its namespaces (RFC 7395
/// 3.3.3). What declares one already stays as it is.
pub fn framed(stanza: &[u8]) -> Spliced<'_> {
    let (name, rest) = after_name(stanza);
    let declared: &[u8] = if rest.starts_with(b" xmlns=") {
        b""
    } else if name.starts_with(b"<stream:") {
        b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    } else {
        b" xmlns='jabber:client'"
    };
    Spliced {
        parts: [name, declared, rest, b"", b"", b""],
    }
}

/// Splits after `<name`.
fn after_name(stanza: &[u8]) -> (&[u8], &[u8]) {
    let end = stanza
        .iter()
        .position(|byte| matches!(byte, b' ' | b'/' | b'>'));
    stanza.split_at(end.unwrap_or(stanza.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;
    use crate::ns;

    fn joined(spliced: Spliced<'_>) -> String {
        let mut out = BytesMut::new();
        spliced.write_into(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_child_is_added_at_the_end_of_either_form() {
        let delay = Element::new("delay", ns::DELAY).with_attribute("stamp", "x/>");
        let bare = Element::new("message", ns::CLIENT).with_attribute("id", "</a>");
        let full = bare
            .clone()
            .with_text("a")
            .with_child(Element::new("b", ns::CLIENT));
        for stanza in [Element::new("m", ns::CLIENT), bare, full] {
            let (bytes, child) = (stanza.to_bytes(), delay.to_bytes());
            let spliced = with_child(&bytes, &child);
            let whole = stanza.clone().with_child(delay.clone()).to_bytes();
            assert_eq!(spliced.len(), whole.len());
            assert_eq!(joined(spliced).as_bytes(), whole);
        }
    }

    #[test]
    fn a_websocket_gets_the_namespaces_that_a_stream_has_in_its_header() {
        let message = Element::new("message", ns::CLIENT).with_attribute("id", "1");
        assert_eq!(
            joined(framed(&message.to_bytes())),
            "<message xmlns='jabber:client' id='1'/>"
        );
        let enable = Element::new("enable", ns::SM);
        assert_eq!(
            joined(framed(&enable.to_bytes())).as_bytes(),
            enable.to_bytes()
        );
        let features = Element::new("features", ns::STREAMS);
        assert_eq!(
            joined(framed(&features.to_bytes())),
            "<stream:features xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'/>"
        );
    }
}
