//! Start tags, read in place.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a stanza with an attribute more, apart from its value.
const ATTRIBUTE_ROOM: usize = 16;

/// The name of an element.
pub(crate) fn name(element: &[u8]) -> &[u8] {
    let rest = element.get(1..).unwrap_or_default();
    let end = rest.iter().position(|byte| !in_name(*byte));
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

/// The value of an attribute in the start tag of an element, as it is written.
pub(crate) fn attribute<'a>(element: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut rest = element.get(1 + name(element).len()..)?;
    loop {
        rest = rest.trim_ascii_start();
        let equals = rest.iter().position(|byte| !in_name(*byte))?;
        let (name, after) = rest.split_at(equals);
        let after = after.trim_ascii_start().strip_prefix(b"=")?;
        let (&quote, value) = after.trim_ascii_start().split_first()?;
        if !matches!(quote, b'\'' | b'"') {
            return None;
        }
        let end = memchr::memchr(quote, value)?;
        if name == wanted {
            return value.get(..end);
        }
        rest = value.get(end + 1..)?;
    }
}

/// The element with one attribute more, right behind its name.
pub(crate) fn with_attribute(element: &[u8], added: &str, value: &str) -> Bytes {
    let (name, rest) = element.split_at((1 + name(element).len()).min(element.len()));
    let mut out = BytesMut::with_capacity(element.len() + value.len() + ATTRIBUTE_ROOM);
    out.put_slice(name);
    for part in [" ", added, "='", value, "'"] {
        out.put_slice(part.as_bytes());
    }
    out.put_slice(rest);
    out.freeze()
}

/// A value for an attribute in single quotes, from one that stood in quotes of either kind.
pub(crate) fn requote(value: &[u8]) -> String {
    String::from_utf8_lossy(value).replace('\'', "&apos;")
}

const fn in_name(byte: u8) -> bool {
    !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'>' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_in_the_start_tag_alone() {
        let element =
            b"<message id=\"a'b\" to = 'u2@peer/x'\n type='chat'><body to='no'/></message>";
        assert_eq!(name(element), b"message");
        assert_eq!(attribute(element, b"to"), Some(&b"u2@peer/x"[..]));
        assert_eq!(attribute(element, b"id"), Some(&b"a'b"[..]));
        assert_eq!(attribute(element, b"type"), Some(&b"chat"[..]));
        assert_eq!(attribute(element, b"from"), None);
        assert_eq!(
            attribute(b"<message><body to='no'/></message>", b"to"),
            None
        );
        assert_eq!(attribute(b"<a to='x'/>", b"to"), Some(&b"x"[..]));
    }

    #[test]
    fn what_is_no_tag_has_no_attributes() {
        for element in [
            "", "<", "<a", "<a ", "<a b", "<a b=", "<a b='", "<a b=c>", "<a b = >",
        ] {
            assert_eq!(attribute(element.as_bytes(), b"b"), None, "{element}");
        }
    }

    #[test]
    fn an_attribute_goes_behind_the_name() {
        let added = with_attribute(b"<message to='b'/>", "from", "a@c/d");
        assert_eq!(&added[..], b"<message from='a@c/d' to='b'/>");
        assert_eq!(&with_attribute(b"<a/>", "from", "x")[..], b"<a from='x'/>");
        assert_eq!(requote(b"a'b"), "a&apos;b");
    }
}
