//! One request over one judged connection, within its bounds.
//!
//! In: a [`Request`]. Out: a [`Response`], or why not. The connection is driven by the same future
//! that waits for the answer: a caller that goes away closes it, and no task is left behind.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::connect::{Connector, Resolve, Stream, SystemResolver};
use crate::pool::{Origin, Pool};
use crate::{EgressError, Http, Request, Response, Settings, SettingsError};

/// What every request calls itself: no version, so that nothing can be matched against advisories.
const USER_AGENT: HeaderValue = HeaderValue::from_static("Entente");

/// Longest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Most headers of an answer.
const MAX_HEADERS: usize = 64;

/// The client that all roles of a process share.
#[derive(Debug)]
pub struct Client {
    connector: Connector,
    in_flight: Semaphore,
    pool: Pool<Connection>,
}

impl Client {
    /// A client under these settings. Reads the file of extra roots once.
    ///
    /// # Errors
    /// When a setting cannot work.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        Self::with_resolver(settings, Box::new(SystemResolver::new()))
    }

    pub(crate) fn with_resolver(
        settings: &Settings,
        resolver: Box<dyn Resolve>,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self {
            connector: Connector::new(settings, resolver)?,
            in_flight: Semaphore::new(settings.max_in_flight),
            pool: Pool::new(settings.max_idle, settings.idle.get()),
        })
    }

    async fn attempt(&self, request: Request) -> Result<Response, EgressError> {
        let _permit = self.in_flight.acquire().await;
        let origin = Origin {
            https: request.target.is_https(),
            authority: request.target.authority(),
        };
        let max_body = request.max_body;
        let mut message = message(&request)?;
        while let Some(idle) = self.pool.take(&origin) {
            match self.exchange(idle, message, max_body, &origin).await {
                Exchange::Done(result) => return result,
                // RFC 9112 9.3.1: the server may close an idle connection at any time; what was
                // never written may be sent again, whatever its method.
                Exchange::NotSent(unsent) => message = *unsent,
            }
        }
        let stream = self.connector.connect(&request.target).await?;
        let fresh = Connection::open(stream).await?;
        match self.exchange(fresh, message, max_body, &origin).await {
            Exchange::Done(result) => result,
            Exchange::NotSent(_) => Err(EgressError::Protocol),
        }
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        message: Message,
        max_body: usize,
        origin: &Origin,
    ) -> Exchange {
        if !connection.is_open().await {
            return Exchange::NotSent(Box::new(message));
        }
        let result = connection.exchange(message, max_body).await;
        if matches!(result, Exchange::Done(Ok(_))) && connection.is_ready().await {
            self.pool.keep(origin.clone(), connection);
        }
        result
    }
}

#[async_trait]
impl Http for Client {
    async fn send(&self, request: Request) -> Result<Response, EgressError> {
        request.check()?;
        let deadline = request.deadline;
        timeout(deadline, Box::pin(self.attempt(request)))
            .await
            .unwrap_or(Err(EgressError::Deadline))
    }
}

type Message = http::Request<Full<Bytes>>;

type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

enum Exchange {
    Done(Result<Response, EgressError>),
    NotSent(Box<Message>),
}

/// A connection and the future that moves its bytes.
struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<Driver>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    async fn open(stream: Box<dyn Stream>) -> Result<Self, EgressError> {
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| EgressError::Protocol)?;
        Ok(Self {
            sender,
            driver: Box::pin(driver),
        })
    }

    /// Whether the server left it alone since the last answer.
    async fn is_open(&mut self) -> bool {
        let moved = poll_fn(|context| Poll::Ready(self.driver.as_mut().poll(context)));
        moved.await.is_pending() && !self.sender.is_closed()
    }

    async fn is_ready(&mut self) -> bool {
        self.is_open().await && self.sender.is_ready()
    }

    async fn exchange(&mut self, message: Message, max_body: usize) -> Exchange {
        let sent = self.sender.try_send_request(message);
        let answer = match drive(&mut self.driver, sent).await {
            Ok(answer) => answer,
            Err(mut error) => {
                return match error.take_message() {
                    Some(message) => Exchange::NotSent(Box::new(message)),
                    None => Exchange::Done(Err(EgressError::Protocol)),
                };
            }
        };
        let (head, body) = answer.into_parts();
        if let Err(error) = judge(&head, &body, max_body) {
            return Exchange::Done(Err(error));
        }
        let body = drive(&mut self.driver, collect(body, max_body)).await;
        Exchange::Done(body.map(|body| Response::of(&head, body)))
    }
}

/// Waits for the work while the connection moves; the end of the connection does not end the work,
/// which then finishes or fails by itself.
async fn drive<D: Future + Unpin, F: Future>(driver: &mut D, work: F) -> F::Output {
    let mut work = pin!(work);
    let mut ended = false;
    poll_fn(move |context| {
        if !ended {
            ended = Pin::new(&mut *driver).poll(context).is_ready();
        }
        work.as_mut().poll(context)
    })
    .await
}

fn message(request: &Request) -> Result<Message, EgressError> {
    let bad = |_| EgressError::BadRequest;
    let mut message = http::Request::new(Full::new(request.body.clone()));
    *message.method_mut() = request.method.as_http();
    *message.uri_mut() = request
        .target
        .origin_form()
        .parse()
        .map_err(|_| EgressError::TargetRefused)?;
    let host = HeaderValue::try_from(request.target.authority()).map_err(bad)?;
    let headers: &mut HeaderMap = message.headers_mut();
    *headers = request.headers.clone();
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    Ok(message)
}

/// Refuses an answer by its head, before any of its body is read.
fn judge(
    head: &http::response::Parts,
    body: &Incoming,
    max_body: usize,
) -> Result<(), EgressError> {
    if head.status.is_redirection() {
        return Err(EgressError::Redirected);
    }
    if head.status.is_informational() {
        // 101: nothing here asks for another protocol.
        return Err(EgressError::Protocol);
    }
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !head
        .headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(plain)
    {
        return Err(EgressError::Encoded);
    }
    // RFC 9112 6.1: codings other than chunked would be compression by another door.
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !head
        .headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .all(chunked)
    {
        return Err(EgressError::Encoded);
    }
    match usize::try_from(body.size_hint().lower()) {
        Ok(length) if length <= max_body => Ok(()),
        _ => Err(EgressError::BodyTooLarge),
    }
}

async fn collect(mut body: Incoming, max_body: usize) -> Result<Bytes, EgressError> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| EgressError::Protocol)?;
        // Trailers say nothing that is used here.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > max_body - collected.len() {
            return Err(EgressError::BodyTooLarge);
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

#[cfg(test)]
mod tests;
