//! What goes out and what comes back, and the port between.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::Timestamp;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, response};

use crate::{EgressError, Target};

/// Time for a whole request unless the caller says otherwise.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// Bytes of an answer's body unless the caller says otherwise: a key set of 64 keys fits.
const DEFAULT_MAX_BODY: usize = 64 * 1024;

/// Headers that describe the connection or that this crate sets itself.
const RESERVED: &[HeaderName] = &[
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
];

/// Sends requests to parties outside.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends the request once and returns the whole answer, whatever its status but a redirect.
    ///
    /// After an error it is unknown whether the other side acted on the request. Dropping the
    /// future closes the connection.
    async fn send(&self, request: Request) -> Result<Response, EgressError>;
}

/// The verbs in use. There is no CONNECT: nothing here makes a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Removes.
    Delete,
    /// Reads.
    Get,
    /// Reads the head only.
    Head,
    /// Hands over.
    Post,
    /// Replaces.
    Put,
}

impl Method {
    pub(crate) const fn as_http(self) -> http::Method {
        match self {
            Self::Delete => http::Method::DELETE,
            Self::Get => http::Method::GET,
            Self::Head => http::Method::HEAD,
            Self::Post => http::Method::POST,
            Self::Put => http::Method::PUT,
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The verb.
    pub method: Method,
    /// Where to.
    pub target: Target,
    /// What the caller adds. Headers of the connection are refused.
    pub headers: HeaderMap,
    /// The content; its length is sent along.
    pub body: Bytes,
    /// Time for name, connection, request and the whole answer.
    pub deadline: Duration,
    /// The longest body that the answer may have, in bytes.
    pub max_body: usize,
}

impl Request {
    /// A request without headers and body, with 5 s and 64 KiB for the answer.
    pub fn new(method: Method, target: Target) -> Self {
        Self {
            method,
            target,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            deadline: DEFAULT_DEADLINE,
            max_body: DEFAULT_MAX_BODY,
        }
    }

    /// A GET.
    pub fn get(target: Target) -> Self {
        Self::new(Method::Get, target)
    }

    /// A POST of a body of the given media type.
    pub fn post(target: Target, content_type: HeaderValue, body: Bytes) -> Self {
        let mut request = Self::new(Method::Post, target);
        request.body = body;
        request.header(header::CONTENT_TYPE, content_type)
    }

    /// With one more header; a second one of the same name replaces the first.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With another deadline.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// With another bound on the answer's body.
    #[must_use]
    pub const fn max_body(mut self, max_body: usize) -> Self {
        self.max_body = max_body;
        self
    }

    /// Refuses headers that would change the framing or the peer.
    pub(crate) fn check(&self) -> Result<(), EgressError> {
        if RESERVED.iter().any(|name| self.headers.contains_key(name)) {
            return Err(EgressError::BadRequest);
        }
        Ok(())
    }
}

/// An answer that is not a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The media type in lower case without parameters, such as `application/json`.
    pub content_type: Option<String>,
    /// The whole body, as long as the request's `max_body` at most.
    pub body: Bytes,
    /// After how long the server asks to come back, from seconds or a date.
    pub retry_after: Option<Duration>,
}

impl Response {
    /// An answer without a body.
    pub const fn new(status: StatusCode) -> Self {
        Self {
            status,
            content_type: None,
            body: Bytes::new(),
            retry_after: None,
        }
    }

    /// A 200 with JSON.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self {
            content_type: Some("application/json".to_owned()),
            body: body.into(),
            ..Self::new(StatusCode::OK)
        }
    }

    pub(crate) fn of(head: &response::Parts, body: Bytes) -> Self {
        Self {
            status: head.status,
            content_type: content_type(&head.headers),
            body,
            retry_after: retry_after(&head.headers, Timestamp::now()),
        }
    }
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?.trim();
    Some(essence.to_ascii_lowercase())
}

/// RFC 9110 10.2.3: delay-seconds or an HTTP-date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let date: SystemTime = httpdate::parse_http_date(value).ok()?;
    let date = Timestamp::from_millis(0).plus(date.duration_since(UNIX_EPOCH).ok()?);
    Some(date.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_retry_after() {
        let now = Timestamp::from_secs(784_111_777 - 60);
        let parse = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers, now)
        };
        assert_eq!(parse("120"), Some(Duration::from_secs(120)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(parse(date), Some(Duration::from_secs(60)));
        let past = "Sun, 06 Nov 1994 08:00:00 GMT";
        assert_eq!(parse(past), Some(Duration::ZERO));
        for bad in ["", "-1", "soon", "99999999999999999999999"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn media_types_lose_case_and_parameters() {
        let mut headers = HeaderMap::new();
        assert_eq!(content_type(&headers), None);
        let value = HeaderValue::from_static("Application/JSON; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, value);
        assert_eq!(content_type(&headers).as_deref(), Some("application/json"));
    }
}
