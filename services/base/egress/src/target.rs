//! Addresses of requests, in one spelling only.
//!
//! In: text that a partner registered. Out: scheme, host, port and path, of which the URL library
//! and a naive reader of the text have the same opinion. The text must already be what the URL
//! Standard would make of it: octal, hexadecimal and short forms of IPv4, percent-encoded hosts,
//! user names, fragments, backslashes, dot segments and characters that parsers drop are refused
//! instead of repaired.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use crate::Policy;

/// Longest URL, in bytes; RFC 9110 4.1 asks to support at least 8000, no partner needs as many.
const MAX_URL_BYTES: usize = 2048;
/// Longest reference that a client may name below a base, in bytes.
const MAX_REFERENCE_BYTES: usize = 512;

/// Where a request goes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target(Url);

impl Target {
    /// Parses a URL that must be spelled canonically.
    ///
    /// # Errors
    /// When the grammar, the scheme or the port is refused under the policy. Addresses are judged
    /// when a connection is made.
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, TargetError> {
        let plain = |byte: u8| {
            byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'"' | b'<' | b'>')
        };
        if text.len() > MAX_URL_BYTES || !text.bytes().all(plain) {
            return Err(TargetError::Grammar);
        }
        let url = Url::parse(text).map_err(|_| TargetError::Grammar)?;
        match url.scheme() {
            "https" => {}
            "http" if policy.is_development() => {}
            _ => return Err(TargetError::Scheme),
        }
        // The one comparison that settles all spellings: nothing was repaired but a missing path.
        let spelled = url.as_str();
        if spelled != text && spelled.strip_suffix('/') != Some(text) {
            return Err(TargetError::Grammar);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Grammar);
        }
        let target = Self(url);
        if target.host().is_empty() || target.host().ends_with('.') {
            return Err(TargetError::Grammar);
        }
        if target.is_single_label() && !policy.is_development() {
            return Err(TargetError::Grammar);
        }
        if target.port() == 0 || !policy.admits_port(target.port()) {
            return Err(TargetError::Port);
        }
        Ok(target)
    }

    /// The host: a name in lower case, or an address; IPv6 in brackets.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// The path, which starts with `/`.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// The whole URL. It may carry a partner's secret: never log it.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The address, if the host is one.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }

    /// Names without a dot belong to the machine or the cluster.
    pub(crate) fn is_single_label(&self) -> bool {
        self.literal().is_none() && !self.host().contains('.')
    }

    /// The name (or address) and port as the `Host` header has them (RFC 9110 7.2).
    pub(crate) fn authority(&self) -> String {
        match self.0.port() {
            Some(port) => format!("{}:{port}", self.host()),
            None => self.host().to_owned(),
        }
    }

    /// Path and query, the origin form of RFC 9112 3.2.1.
    pub(crate) fn origin_form(&self) -> String {
        match self.0.query() {
            Some(query) => format!("{}?{query}", self.path()),
            None => self.path().to_owned(),
        }
    }
}

/// Shows the host only: paths and queries may hold secrets.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.authority())
    }
}

/// A partner's registered URL, below which clients may name things.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Base(Target);

impl Base {
    /// Parses a URL without a query; its path is a folder, with or without the last `/`.
    ///
    /// # Errors
    /// As [`Target::parse`], and when there is a query.
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, TargetError> {
        let target = Target::parse(text, policy)?;
        if target.0.query().is_some() {
            return Err(TargetError::Grammar);
        }
        Ok(Self(target))
    }

    /// The target `{base}/{reference}`; its scheme, host and port are the base's.
    ///
    /// The reference is segments of letters, digits and `-._~=` with `/` between. `%XX` is decoded
    /// once and must give one of these characters, so no escape survives.
    ///
    /// # Errors
    /// When the reference is empty, too long or outside of this grammar.
    pub fn join(&self, reference: &str) -> Result<Target, TargetError> {
        if reference.len() > MAX_REFERENCE_BYTES {
            return Err(TargetError::Reference);
        }
        let decoded = decode_once(reference).ok_or(TargetError::Reference)?;
        let named = |segment: &str| {
            !matches!(segment, "" | "." | "..") && segment.bytes().all(is_reference_byte)
        };
        if !decoded.split('/').all(named) {
            return Err(TargetError::Reference);
        }
        let mut url = self.0.0.clone();
        let folder = url.path().trim_end_matches('/');
        let path = format!("{folder}/{decoded}");
        url.set_path(&path);
        // The grammar leaves nothing to repair; were it otherwise, the path would have moved.
        if url.path() != path {
            return Err(TargetError::Reference);
        }
        Ok(Target(url))
    }

    /// The base as a target of its own.
    pub const fn target(&self) -> &Target {
        &self.0
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base({})", self.0.authority())
    }
}

/// Why a URL or reference is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is not a URL, or not the canonical spelling of one.
    #[error("not a URL in canonical spelling with a full host name")]
    Grammar,
    /// The port is not listed.
    #[error("the port of the URL is not allowed")]
    Port,
    /// The reference is not plain segments.
    #[error("not a reference below the registered URL")]
    Reference,
    /// Not `https`.
    #[error("the scheme of the URL is not https")]
    Scheme,
}

const fn is_reference_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'=')
}

/// Decodes `%XX` to bytes of the grammar; `/` cannot come out of an escape.
fn decode_once(reference: &str) -> Option<String> {
    let mut decoded = String::with_capacity(reference.len());
    let mut bytes = reference.bytes();
    while let Some(byte) = bytes.next() {
        let plain = match byte {
            b'%' => {
                let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
                Some(high << 4 | low).filter(|byte| is_reference_byte(*byte))?
            }
            b'/' => byte,
            _ => Some(byte).filter(|byte| is_reference_byte(*byte))?,
        };
        decoded.push(char::from(plain));
    }
    Some(decoded)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
