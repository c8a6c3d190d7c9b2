//! Values as a parser must hand them on: references resolved, line ends and white space normalised.

use std::borrow::Cow;

use crate::error::StreamFault;
use crate::name::is_char;

/// Character data between markup and references.
pub(super) fn text(raw: &str) -> Result<Cow<'_, str>, StreamFault> {
    // XML 1.0 2.4: `]]>` must not stand in character data.
    let ends = memchr::memchr_iter(b'>', raw.as_bytes());
    for end in ends {
        if raw.get(..=end).is_some_and(|upto| upto.ends_with("]]>")) {
            return Err(StreamFault::NotWellFormed);
        }
    }
    Ok(lines(raw))
}

/// XML 1.0 2.11: CR LF and lone CR are line feeds.
pub(super) fn lines(raw: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\r', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n"))
}

/// An attribute value (XML 1.0 3.3.3).
pub(super) fn attribute(raw: &str) -> Result<Cow<'_, str>, StreamFault> {
    let special = |c: char| matches!(c, '&' | '\t' | '\n' | '\r');
    if !raw.bytes().any(|byte| special(char::from(byte))) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, found)) = rest.find(special).and_then(|at| rest.split_at_checked(at)) {
        out.push_str(plain);
        rest = match found.strip_prefix('&') {
            Some(after) => {
                let (name, after) = after.split_once(';').ok_or(StreamFault::NotWellFormed)?;
                out.push(reference(name)?);
                after
            }
            None => {
                out.push(' ');
                let after = found.strip_prefix("\r\n");
                after.or_else(|| found.get(1..)).unwrap_or_default()
            }
        };
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// What stands between `&` and `;`. RFC 6120 11.1 leaves the five predefined entities.
pub(super) fn reference(name: &str) -> Result<char, StreamFault> {
    if let Some(number) = name.strip_prefix('#') {
        let (digits, radix) = match number.strip_prefix('x') {
            Some(hex) => (hex, 16),
            None => (number, 10),
        };
        // `from_str_radix` would take a sign.
        let plain = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        return plain
            .then(|| u32::from_str_radix(digits, radix).ok())
            .flatten()
            .and_then(char::from_u32)
            .filter(|c| is_char(*c))
            .ok_or(StreamFault::BadReference);
    }
    match name {
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "gt" => Ok('>'),
        "lt" => Ok('<'),
        "quot" => Ok('"'),
        _ => Err(StreamFault::Entity),
    }
}
