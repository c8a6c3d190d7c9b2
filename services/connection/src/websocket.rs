//! XMPP over WebSocket (RFC 7395): the HTTP side with host-meta, and one message for one element.
//!
//! **Invariants**
//! - Head and upgrade have deadlines; hyper's own is armed with a timer, or it would do nothing
//!   (T154).
//! - A browser may connect only from an origin that is allowed.
//! - Before login a peer may send a small number of bytes in all, so it cannot fill the buffer of a
//!   large message.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use entente_stanza::{Framing, Inbound, StreamFault};
use futures::{Sink, Stream as _};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use crate::session::Rules;
use crate::wire::{Heard, Outbox, Wire};

/// Where the stream is.
const PATH: &str = "/xmpp-websocket";
/// XEP-0156: how a client finds it.
const HOST_META: &str = "/.well-known/host-meta";
const HOST_META_JSON: &str = "/.well-known/host-meta.json";
/// The subprotocol (RFC 7395 3.1).
const PROTOCOL: &str = "xmpp";
/// Longest HTTP head; hyper takes no less than 8 KiB.
const HEAD_BYTES: usize = 8 * 1024;
/// Read buffer of a connection: chat stanzas are below this, larger ones come in pieces.
const READ_BYTES: usize = 4 * 1024;
/// Bytes of all messages before login, in units of the stanza limit then: header, some attempts.
const MESSAGES_BEFORE_LOGIN: u64 = 8;

/// Serves HTTP until the client asks for the stream; none if it never does.
pub(crate) async fn upgrade<S>(socket: S, rules: &Arc<Rules>) -> Option<Box<dyn Wire>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = rules.config.deadlines.handshake.get();
    let asked: Arc<Mutex<Option<OnUpgrade>>> = Arc::default();
    let service = service_fn(|request| {
        let answer = respond(request, rules, &asked);
        std::future::ready(Ok::<_, std::convert::Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(handshake)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    // The whole HTTP part has one deadline: bodies and answers are not covered by hyper's.
    timeout(rules.config.deadlines.negotiate.get(), connection)
        .await
        .ok()?
        .ok()?;
    let upgrade = asked.lock().take()?;
    let upgraded = timeout(handshake, upgrade).await.ok()?.ok()?;
    let limits = &rules.config.limits;
    let largest = limits.stanza_after_auth.get();
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest));
    let before = u64::try_from(limits.stanza_before_auth.get()).unwrap_or(u64::MAX);
    let metered = Metered {
        socket: TokioIo::new(upgraded),
        left: Some(before.saturating_mul(MESSAGES_BEFORE_LOGIN)),
    };
    let socket = WebSocketStream::from_raw_socket(metered, Role::Server, Some(config)).await;
    Some(Box::new(Messages(socket)))
}

fn respond(
    mut request: Request<Incoming>,
    rules: &Rules,
    asked: &Mutex<Option<OnUpgrade>>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    match request.uri().path() {
        PATH => match accept(request.headers(), rules) {
            Ok(response) => {
                *asked.lock() = Some(hyper::upgrade::on(&mut request));
                response
            }
            Err(refused) => status(refused),
        },
        HOST_META => host_meta(&rules.url(), "application/xrd+xml", host_meta_xml),
        HOST_META_JSON => host_meta(&rules.url(), "application/json", host_meta_json),
        _ => status(StatusCode::NOT_FOUND),
    }
}

/// Checks an opening handshake (RFC 6455 4.2.1, RFC 7395 3.1).
fn accept(headers: &HeaderMap, rules: &Rules) -> Result<Response<Full<Bytes>>, StatusCode> {
    let lists = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(wanted))
    };
    let upgrades = lists(header::CONNECTION, "upgrade") && lists(header::UPGRADE, "websocket");
    if !upgrades || !lists(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(StatusCode::UPGRADE_REQUIRED);
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let allowed = &rules.config.websocket.origins;
        let fits = |allowed: &String| allowed == "*" || origin.as_bytes() == allowed.as_bytes();
        if !allowed.iter().any(fits) {
            return Err(StatusCode::FORBIDDEN);
        }
    }
    if !lists(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(StatusCode::BAD_REQUEST)?;
    let key = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    answer.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(PROTOCOL),
    );
    Ok(response)
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn host_meta(url: &str, kind: &'static str, write: fn(&str) -> String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(write(url)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // XEP-0156 section 3: a web client reads this from another origin.
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    response
}

fn host_meta_xml(url: &str) -> String {
    let href = url
        .replace('&', "&amp;")
        .replace('\'', "&apos;")
        .replace('<', "&lt;");
    format!(
        "<?xml version='1.0' encoding='utf-8'?>\n\
         <XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\
         <Link rel='urn:xmpp:alt-connections:websocket' href='{href}'/></XRD>\n"
    )
}

fn host_meta_json(url: &str) -> String {
    let link = serde_json::json!({
        "links": [{ "rel": "urn:xmpp:alt-connections:websocket", "href": url }]
    });
    link.to_string()
}

impl Rules {
    fn url(&self) -> String {
        match &self.config.websocket.url {
            Some(url) => url.clone(),
            None => format!("wss://{}{PATH}", self.domain),
        }
    }
}

/// A socket that gives so many bytes and no more, until it is trusted.
#[derive(Debug)]
struct Metered<S> {
    socket: S,
    left: Option<u64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        let read = u64::try_from(buffer.filled().len() - before).unwrap_or(u64::MAX);
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(read).ok_or(io::ErrorKind::FileTooLarge)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A stream of messages.
struct Messages<S>(WebSocketStream<Metered<S>>);

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for Messages<S> {
    fn framing(&self) -> Framing {
        Framing::WebSocket
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        inbound: &mut Inbound,
        heard: &mut Option<Heard>,
    ) -> Poll<io::Result<Option<usize>>> {
        let message = match ready!(Pin::new(&mut self.0).poll_next(cx)) {
            Some(Ok(message)) => message,
            Some(Err(WsError::Capacity(_))) => {
                *heard = Some(Err(StreamFault::TooLarge));
                return Poll::Ready(Ok(Some(0)));
            }
            Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
            None => return Poll::Ready(Ok(None)),
        };
        let length = message.len();
        match message {
            Message::Text(text) => *heard = Some(inbound.message(text.into())),
            // RFC 7395 3.2: data frames are text.
            Message::Binary(_) => *heard = Some(Err(StreamFault::WebSocketFrame)),
            Message::Close(_) => return Poll::Ready(Ok(None)),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        Poll::Ready(Ok(Some(length)))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut Outbox) -> Poll<io::Result<()>> {
        loop {
            ready!(Pin::new(&mut self.0).poll_ready(cx)).map_err(into_io)?;
            let Some(message) = out.message() else {
                return Pin::new(&mut self.0).poll_flush(cx).map_err(into_io);
            };
            let text = Utf8Bytes::try_from(message).map_err(|_| io::ErrorKind::InvalidData)?;
            Pin::new(&mut self.0)
                .start_send(Message::Text(text))
                .map_err(into_io)?;
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx).map_err(into_io)
    }

    fn trust(&mut self) {
        self.0.get_mut().left = None;
    }
}

fn into_io(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        other => io::Error::other(other),
    }
}
