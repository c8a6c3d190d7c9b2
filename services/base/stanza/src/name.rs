//! Which characters and names XML 1.0 (fifth edition) and XML Namespaces allow.

/// `Char` of XML 1.0 2.2; U+FFFE, U+FFFF and controls are out, surrogates are no `char`.
pub(crate) const fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Whether every character of a frame is a `Char`; the frame is known to be UTF-8.
pub(crate) fn all_chars(text: &str) -> bool {
    let bytes = text.as_bytes();
    // One pass without branches, which the compiler turns into vector code.
    let (mut control, mut high) = (0_u8, 0_u8);
    for &byte in bytes {
        let white = (byte == b'\t') | (byte == b'\n') | (byte == b'\r');
        control |= u8::from((byte < 0x20) & !white);
        high |= byte & 0x80;
    }
    if control != 0 {
        return false;
    }
    // U+FFFE and U+FFFF are EF BF BE and EF BF BF.
    high == 0
        || !memchr::memchr_iter(0xEF, bytes)
            .any(|at| matches!(bytes.get(at..at + 3), Some([_, 0xBF, 0xBE | 0xBF])))
}

/// A name without a colon (XML Namespaces 3, `NCName`).
pub(crate) fn is_ncname(name: &str) -> bool {
    let mut rest = name.bytes();
    let ascii = match rest.next() {
        Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => rest.all(
            |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.'),
        ),
        _ => false,
    };
    ascii || is_wide_ncname(name)
}

#[cold]
fn is_wide_ncname(name: &str) -> bool {
    let mut rest = name.chars();
    rest.next().is_some_and(is_name_start) && rest.all(is_name_char)
}

/// `NameStartChar` of XML 1.0 2.3 without the colon, and without U+FDF0 to U+FFFD: the byte-order mark
/// is among them, parsers disagree on them, and no vocabulary uses them.
const fn is_name_start(c: char) -> bool {
    matches!(c,
        'a'..='z' | 'A'..='Z' | '_'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}'
        | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}'
        | '\u{F900}'..='\u{FDCF}' | '\u{10000}'..='\u{EFFFF}')
}

/// `NameChar` of XML 1.0 2.3 without the colon.
const fn is_name_char(c: char) -> bool {
    is_name_start(c)
        || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// Splits a qualified name and checks both parts; a second colon is a bad character of the second.
pub(crate) fn split(name: &str) -> Option<(Option<&str>, &str)> {
    match name.split_once(':') {
        None => is_ncname(name).then_some((None, name)),
        Some((prefix, local)) => {
            (is_ncname(prefix) && is_ncname(local)).then_some((Some(prefix), local))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T6: names that begin with a digit, are empty or have two colons are no names.
    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "_", "a-1.b_", "é", "日本", "a\u{B7}"] {
            assert_eq!(split(good), Some((None, good)), "{good}");
        }
        assert_eq!(split("a:b"), Some((Some("a"), "b")));
        for bad in [
            "",
            "1",
            "-a",
            ".a",
            ":",
            "a:",
            ":a",
            "a:b:c",
            "a$b",
            "a b",
            "\u{B7}a",
            "\u{D7}",
            "a\u{FEFF}b",
        ] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    /// T7: control characters and U+FFFE are found wherever they stand.
    #[test]
    fn forbidden_characters_are_found() {
        assert!(all_chars("a\t\r\n\u{7F}é\u{FFFD}\u{10FFFF}\u{EFFF}"));
        for bad in ["\u{0}", "\u{1B}", "\u{1F}", "\u{FFFE}", "\u{FFFF}"] {
            for pad in 0..40 {
                let text = format!("{}{bad}{}", "é".repeat(pad), "x".repeat(40 - pad));
                assert!(!all_chars(&text));
                assert!(!bad.chars().all(is_char));
            }
        }
    }
}
