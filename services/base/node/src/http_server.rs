//! HTTP/1.1 towards callers that may be slow on purpose.
//!
//! In: an accepted stream and a service. Out: served requests, or a closed connection. hyper's own
//! limit on the head does nothing without a timer, so one is installed, and the whole connection has
//! a limit besides, which also covers the first byte, the body and a peer that does not read.
//!
//! **Invariants**
//! - A connection ends at `connection` at the latest, whatever the peer does.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// From the start of a connection, or the end of the request before, to the end of a head.
    pub head: Duration,
    /// From start to end.
    pub connection: Duration,
    /// Longest head, in bytes. hyper takes no less than 8192.
    pub max_head_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            connection: Duration::from_secs(30),
            max_head_bytes: 16 * 1024,
        }
    }
}

/// Serves the requests of one connection until it ends, a limit is hit or the cancellation fires.
///
/// Cancelled, it finishes the request under way and closes. Errors of the peer end the connection
/// and are not reported: they are the peer's.
pub async fn serve_http<S, T>(stream: T, limits: HttpLimits, service: S, cancel: CancellationToken)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<Full<Bytes>>> + Send,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.max_head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = timeout(limits.connection, async {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = cancel.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    });
    if !matches!(served.await, Ok(Ok(()))) {
        tracing::debug!("http connection cut");
    }
}
