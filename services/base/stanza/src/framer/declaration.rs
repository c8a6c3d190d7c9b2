//! The one XML declaration that RFC 6120 11.5 and 11.6 leave: version 1.0, encoding UTF-8 or none.

use crate::error::StreamFault;

/// Checks a whole `<?xml ... ?>`.
pub(super) fn check(bytes: &[u8]) -> Result<(), StreamFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| StreamFault::BadUtf8)?;
    let inner = text
        .strip_prefix("<?xml")
        .and_then(|rest| rest.strip_suffix("?>"))
        .ok_or(StreamFault::Declaration)?;
    let (version, rest) = pseudo_attribute(inner, "version").ok_or(StreamFault::Declaration)?;
    if version != "1.0" {
        return Err(StreamFault::Declaration);
    }
    if rest.chars().all(is_space) {
        return Ok(());
    }
    let (encoding, rest) = pseudo_attribute(rest, "encoding").ok_or(StreamFault::Declaration)?;
    if !encoding.eq_ignore_ascii_case("utf-8") {
        return Err(StreamFault::DeclaredEncoding);
    }
    if rest.chars().all(is_space) {
        Ok(())
    } else {
        Err(StreamFault::Declaration)
    }
}

/// Reads ` name = 'value'` and returns the value and what follows.
fn pseudo_attribute<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let trimmed = text.trim_start_matches(is_space);
    if trimmed.len() == text.len() {
        return None;
    }
    let after = trimmed.strip_prefix(name)?.trim_start_matches(is_space);
    let after = after.strip_prefix('=')?.trim_start_matches(is_space);
    let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    after.strip_prefix(quote)?.split_once(quote)
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}
