//! The preparation of each part of an address (RFC 7622 3.2 to 3.4).

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use precis_core::profile::PrecisFastInvocation;
use precis_profiles::{OpaqueString, UsernameCaseMapped};

use super::{JidError, PART_BYTES};

/// Where the parts of a plain address are.
pub(super) struct Plain {
    pub(super) local: u16,
    pub(super) domain_end: u16,
}

/// Recognises an address that preparation would not change: lower-case ASCII letters, digits, `-`,
/// `_` and single dots before the slash, printable ASCII after it.
pub(super) fn plain(text: &[u8]) -> Option<Plain> {
    let end = text.iter().position(|byte| *byte == b'/');
    let (bare, resource) = match end.and_then(|end| text.split_at_checked(end)) {
        Some((bare, resource)) => (bare, Some(resource.get(1..)?)),
        None => (text, None),
    };
    let (local, domain) = match bare.iter().position(|byte| *byte == b'@') {
        Some(at) => (bare.get(..at)?, bare.get(at + 1..)?),
        None => (&[][..], bare),
    };
    let has_local = local.len() < bare.len() - domain.len();
    let local_fits = !has_local || fits(local);
    let resource_fits = resource.is_none_or(|part| fits(part) && part.iter().all(is_graphic));
    let good = local_fits
        && local
            .iter()
            .all(|byte| is_plain(*byte) || matches!(byte, b'.' | b'_'))
        && resource_fits
        && is_plain_domain(domain);
    good.then_some(Plain {
        local: u16::try_from(local.len()).ok()?,
        domain_end: u16::try_from(bare.len()).ok()?,
    })
}

/// Letters, digits and inner single hyphens and dots: no A-label, no IP address, no final dot.
fn is_plain_domain(domain: &[u8]) -> bool {
    let mut before = b'.';
    let mut named = false;
    for byte in domain {
        let joint = matches!(byte, b'.' | b'-');
        if !(is_plain(*byte) || *byte == b'.') || (joint && matches!(before, b'.' | b'-')) {
            return false;
        }
        // A hyphen at the end of a label.
        if *byte == b'.' && before == b'-' {
            return false;
        }
        // The last label decides whether it looks like an IP address.
        if before == b'.' {
            named = byte.is_ascii_lowercase();
        }
        before = *byte;
    }
    // DNS allows 253 bytes; longer labels and names go the slow way and are told apart there.
    named && domain.len() <= 63 && !matches!(before, b'.' | b'-')
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

const fn is_graphic(byte: &u8) -> bool {
    byte.is_ascii_graphic()
}

const fn fits(part: &[u8]) -> bool {
    !part.is_empty() && part.len() <= PART_BYTES
}

/// RFC 7622 3.3: `UsernameCaseMapped`, and some ASCII characters less.
pub(super) fn local(given: &str) -> Result<String, JidError> {
    let prepared = stable(given, |text| UsernameCaseMapped::enforce(text).ok())?;
    // RFC 7622 3.3.1; looked for after preparation, because width mapping makes such characters.
    if prepared.contains(['"', '&', '\'', '/', ':', '<', '>', '@']) {
        return Err(JidError);
    }
    Ok(prepared)
}

/// RFC 7622 3.4: `OpaqueString`.
pub(super) fn resource(given: &str) -> Result<String, JidError> {
    stable(given, |text| OpaqueString::enforce(text).ok())
}

/// RFC 7622 3.2: an IP address, or a name of U-labels without a final dot.
pub(super) fn domain(given: &str) -> Result<String, JidError> {
    if given.len() > PART_BYTES {
        return Err(JidError);
    }
    if let Some(inner) = given.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or(JidError)?;
        let address: Ipv6Addr = inner.parse().map_err(|_| JidError)?;
        return Ok(format!("[{address}]"));
    }
    stable(given, name)
}

fn name(given: &str) -> Option<Cow<'_, str>> {
    // RFC 7622 3.2: a final separator is stripped before anything else. UTS 46 knows three more.
    let dots = ['.', '\u{3002}', '\u{FF0E}', '\u{FF61}'];
    let given = given.strip_suffix(dots).unwrap_or(given);
    let uts46 = Uts46::new();
    let (unicode, valid) = uts46.to_unicode(given.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
    valid.ok()?;
    let ascii = uts46.to_ascii(
        unicode.as_bytes(),
        AsciiDenyList::STD3,
        Hyphens::Check,
        DnsLength::Verify,
    );
    ascii.ok()?;
    // What looks like an IPv4 address must be one, in its one spelling.
    let last = unicode.rsplit('.').next()?;
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    let address: Option<Ipv4Addr> = unicode.parse().ok();
    (!numeric || address.is_some()).then(|| Cow::Owned(unicode.into_owned()))
}

/// Prepares, and prepares again: RFC 8265 7.3 knows strings for which the second time differs.
fn stable<'a>(
    given: &'a str,
    prepare: impl for<'b> Fn(&'b str) -> Option<Cow<'b, str>>,
) -> Result<String, JidError> {
    if given.is_empty() || given.len() > PART_BYTES {
        return Err(JidError);
    }
    let once: Cow<'a, str> = prepare(given).ok_or(JidError)?;
    let again = prepare(&once).ok_or(JidError)?;
    if once.is_empty() || once.len() > PART_BYTES || again != once {
        return Err(JidError);
    }
    Ok(once.into_owned())
}
