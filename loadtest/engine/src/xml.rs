//! Elements told apart by their first bytes, and values found in them, without building a tree.

use memchr::{memchr, memmem};

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `<a/>` with its `h`.
    Acknowledged(u32),
    /// `<iq/>`.
    Iq,
    /// `<message/>`.
    Message,
    /// Anything else that is no stanza.
    Other,
    /// `<presence/>`.
    Presence,
    /// `<r/>`.
    Requested,
}

/// Tells what an element is.
pub fn kind(element: &[u8]) -> Kind {
    let ends = |at: usize| {
        matches!(
            element.get(at),
            Some(b' ' | b'/' | b'>' | b'\n' | b'\t' | b'\r')
        )
    };
    if element.starts_with(b"<message") && ends(8) {
        return Kind::Message;
    }
    if element.starts_with(b"<r") && ends(2) {
        return Kind::Requested;
    }
    if element.starts_with(b"<a") && ends(2) {
        let h = attribute(element, b"h").and_then(number);
        return h.map_or(Kind::Other, Kind::Acknowledged);
    }
    if element.starts_with(b"<iq") && ends(3) {
        return Kind::Iq;
    }
    if element.starts_with(b"<presence") && ends(9) {
        return Kind::Presence;
    }
    // XEP-0198 nonzas may come with a prefix.
    if element.starts_with(b"<sm:r") && ends(5) {
        return Kind::Requested;
    }
    Kind::Other
}

/// The raw value of an attribute of the first tag, whatever its quotes.
pub fn attribute<'a>(element: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = element;
    let start = rest
        .iter()
        .position(|byte| is_space(*byte) || *byte == b'>')?;
    rest = rest.get(start..)?;
    loop {
        let skip = rest.iter().position(|byte| !is_space(*byte))?;
        rest = rest.get(skip..)?;
        if matches!(rest.first(), None | Some(b'>' | b'/')) {
            return None;
        }
        let equals = memchr(b'=', rest)?;
        let key = rest.get(..equals)?.trim_ascii_end();
        rest = rest.get(equals + 1..)?.trim_ascii_start();
        let (quote, value) = rest.split_first()?;
        let end = memchr(*quote, value)?;
        if key == name {
            return value.get(..end);
        }
        rest = value.get(end + 1..)?;
    }
}

/// Reads a decimal number.
pub fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 10 {
        return None;
    }
    let mut value = 0_u32;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value = value.checked_mul(10)?.checked_add(u32::from(digit))?;
    }
    Some(value)
}

/// The raw text of the first `<body>`.
pub fn body(element: &[u8]) -> Option<&[u8]> {
    text_of(element, b"<body", b"</body>")
}

/// The raw text between the first tag that starts so and the next end tag.
pub fn text_of<'a>(element: &'a [u8], start: &[u8], end: &[u8]) -> Option<&'a [u8]> {
    let from = memmem::find(element, start)? + start.len();
    let rest = element.get(from..)?;
    let inner = rest.get(memchr(b'>', rest)? + 1..)?;
    inner.get(..memmem::find(inner, end)?)
}

/// Whether bytes occur anywhere.
pub fn holds(element: &[u8], what: &[u8]) -> bool {
    memmem::find(element, what).is_some()
}

/// Appends a decimal number.
pub fn write_number(mut value: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        let digit = u8::try_from(value % 10).unwrap_or(0);
        out.push(b'0' + digit);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.get_mut(start..).unwrap_or_default().reverse();
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_told_apart_by_their_first_bytes() {
        for (element, wanted) in [
            ("<a xmlns='urn:xmpp:sm:3' h='17'/>", Kind::Acknowledged(17)),
            (
                "<a h=\"17\" xmlns=\"urn:xmpp:sm:3\"/>",
                Kind::Acknowledged(17),
            ),
            ("<a xmlns='urn:xmpp:sm:3'/>", Kind::Other),
            ("<a xmlns='urn:xmpp:sm:3' h='99999999999'/>", Kind::Other),
            ("<r xmlns='urn:xmpp:sm:3'/>", Kind::Requested),
            ("<message id='1'><body>x</body></message>", Kind::Message),
            ("<messages/>", Kind::Other),
            ("<presence/>", Kind::Presence),
            ("<iq type='result'/>", Kind::Iq),
            ("<enabled/>", Kind::Other),
        ] {
            assert_eq!(kind(element.as_bytes()), wanted, "{element}");
        }
    }

    #[test]
    fn attributes_are_read_from_the_first_tag_alone() {
        let element =
            b"<message from=\"a\"\n xid='9' id = '41' q='>'><body id='2' h='5'/></message>";
        assert_eq!(attribute(element, b"id").and_then(number), Some(41));
        assert_eq!(attribute(element, b"from"), Some(&b"a"[..]));
        assert_eq!(attribute(element, b"q"), Some(&b">"[..]));
        assert_eq!(attribute(element, b"h"), None);
        for broken in [&b"<a"[..], b"<a b", b"<a b=", b"<a b='", b"<a b=''", b""] {
            assert_eq!(attribute(broken, b"h"), None);
        }
    }

    #[test]
    fn bodies_are_found_with_and_without_attributes() {
        assert_eq!(
            body(b"<message><x/><body>hi</body></message>"),
            Some(&b"hi"[..])
        );
        assert_eq!(
            body(b"<message><body xml:lang='en'>hi</body></message>"),
            Some(&b"hi"[..])
        );
        assert_eq!(body(b"<message><body/></message>"), None);
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for value in [0, 7, 10, 4_294_967_295_u64] {
            let mut out = b"x".to_vec();
            write_number(value, &mut out);
            assert_eq!(out, format!("x{value}").into_bytes());
            assert_eq!(number(&out[1..]), u32::try_from(value).ok());
        }
        assert_eq!(number(b"4294967296"), None);
        assert_eq!(number(b"1x"), None);
    }
}
