//! How a connection fails.

use std::io;

use entente_stanza::StreamFault;

use crate::xml::{attribute, number};

/// A connection that failed, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The server closed it.
    #[error("the server closed the connection")]
    Closed,
    /// No connection.
    #[error("connecting: {0}")]
    Connect(io::Error),
    /// No answer in time.
    #[error("no answer in {0} s")]
    Deadline(u64),
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Io(io::Error),
    /// The server takes no login of this account now and says when it will, in seconds.
    #[error("the login is to be tried again in {0} s")]
    Later(u32),
    /// Bytes that are no XMPP stream.
    #[error("the server's bytes are no stream: {0}")]
    NoStream(#[from] StreamFault),
    /// The server refused a login or a request, with its condition.
    #[error("{step} was refused: {condition}")]
    Refused {
        /// What was refused.
        step: &'static str,
        /// The server's condition.
        condition: String,
    },
    /// The server ended the stream, with its condition.
    #[error("the server ended the stream: {0}")]
    Stream(String),
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The server does not offer, or does not answer, what is needed.
    #[error("the server has no {0}")]
    Unmet(&'static str),
    /// The WebSocket's bytes are none.
    #[error("WebSocket: {0}")]
    WebSocket(&'static str),
}

impl LineError {
    /// The kind, for counting.
    pub fn kind(&self) -> String {
        match self {
            Self::Closed => "connection closed".to_owned(),
            Self::Connect(error) => format!("connect: {}", error.kind()),
            Self::Deadline(_) => "no answer".to_owned(),
            Self::Io(error) => format!("connection lost: {}", error.kind()),
            Self::Later(_) => "the login: later".to_owned(),
            Self::NoStream(_) => "bytes that are no stream".to_owned(),
            Self::Refused { step, condition } => format!("{step}: {condition}"),
            Self::Stream(condition) => format!("stream error: {condition}"),
            Self::Tls(_) => "TLS".to_owned(),
            Self::Unmet(what) => format!("no {what}"),
            Self::WebSocket(_) => "WebSocket".to_owned(),
        }
    }

    /// Whether another try cannot help: the server, its certificate or the credentials are wrong.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused { condition, .. } => matches!(
                condition.as_str(),
                "not-authorized" | "invalid-mechanism" | "credentials-expired" | "account-disabled"
            ),
            // A handshake that broke off is a server that went away; one with a reason is not.
            Self::Tls(error) => error.kind() == io::ErrorKind::InvalidData,
            Self::Unmet(_) => true,
            _ => false,
        }
    }

    /// A login that was refused: for good, or until the time that the server names in its own words
    /// (`<retry after='SECONDS'/>` in `urn:entente:0`).
    pub(crate) fn login(element: &[u8]) -> Self {
        let retry = memchr::memmem::find(element, b"<retry").and_then(|at| element.get(at..));
        let after = retry.and_then(|retry| attribute(retry, b"after"));
        match after.and_then(number) {
            Some(after) => Self::Later(after),
            None => Self::Refused {
                step: "the login",
                condition: condition(element),
            },
        }
    }

    pub(super) fn stream(element: &[u8]) -> Self {
        Self::Stream(condition(element))
    }
}

/// The first child's name of an error element.
pub(crate) fn condition(element: &[u8]) -> String {
    let mut parts = element.split(|byte| *byte == b'<').skip(2);
    let name = parts.next().unwrap_or_default();
    let end = |byte: &u8| matches!(byte, b' ' | b'/' | b'>');
    let name = name.split(end).next().unwrap_or_default();
    // What a server says goes into reports: only what a condition can be.
    let good = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
    let text: String = name
        .iter()
        .filter(good)
        .take(64)
        .map(|byte| char::from(*byte))
        .collect();
    if text.is_empty() {
        "no condition".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_login_tells_when_to_come_back_if_it_was_said() {
        let paced = b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><temporary-auth-failure/>\
            <retry xmlns='urn:entente:0' after='17'/></failure>";
        assert!(matches!(LineError::login(paced), LineError::Later(17)));
        let plain =
            b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
        assert!(LineError::login(plain).is_final());
        assert!(!LineError::login(paced).is_final());
    }
}
