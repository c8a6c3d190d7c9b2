//! The port for the operator's machines: probes, metrics, drain.
//!
//! In: HTTP/1.1 on a listener of its own. Out: `/healthz` (the process turns), `/readyz` (give it
//! work), `/metrics`, and `POST /drain`.
//!
//! **Invariants**
//! - Bound apart from every port of partners and clients; nothing here names a user.
//! - A drain that is asked for twice begins once.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use entente_core::Span;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    AcceptLoop, AcceptMetrics, Drain, HttpLimits, Listener, Metrics, Readiness, Tasks, accept_loop,
    serve_http,
};

/// The media type of OpenMetrics 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The `[admin]` section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Where it listens. Never an address that partners reach.
    pub bind: SocketAddr,
    /// Time for the head of a request.
    pub head: Span,
    /// Time for a whole connection.
    pub connection: Span,
    /// Connections at once: probes, a scraper and a person.
    pub max_connections: usize,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 9600)),
            head: Span::secs(5),
            connection: Span::secs(30),
            max_connections: 32,
        }
    }
}

/// What the port answers from.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Answers `/readyz`.
    pub readiness: Readiness,
    /// Answers `/metrics`.
    pub metrics: Metrics,
    /// Begun by `POST /drain`.
    pub drain: Drain,
}

impl Admin {
    /// Binds the port and answers until cancelled. Returns the bound address and the future that
    /// answers; the port is open, and the backlog fills, before it first runs.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(
        self,
        settings: &AdminSettings,
        tasks: Tasks,
        accepts: AcceptMetrics,
        cancel: CancellationToken,
    ) -> io::Result<(SocketAddr, impl Future<Output = ()> + Send + 'static)> {
        let listener = TcpListener::bind(settings.bind).await?;
        let bound = listener.local_addr()?;
        let serving = self.serve(listener, settings, tasks, accepts, cancel);
        Ok((bound, serving))
    }

    /// Answers on a listener that is bound already.
    pub fn serve<L>(
        self,
        listener: L,
        settings: &AdminSettings,
        tasks: Tasks,
        accepts: AcceptMetrics,
        cancel: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        L: Listener,
        L::Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let permits = Arc::new(Semaphore::new(settings.max_connections));
        let around = AcceptLoop::new("admin", permits, tasks, accepts);
        let limits = HttpLimits {
            head: settings.head.get(),
            connection: settings.connection.get(),
            ..HttpLimits::default()
        };
        let closing = cancel.clone();
        let handler = move |stream, _, permit| {
            let (admin, cancel) = (self.clone(), closing.clone());
            async move {
                let service = service_fn(|request| admin.respond(&request));
                serve_http(stream, limits, service, cancel).await;
                drop(permit);
            }
        };
        accept_loop(listener, around, cancel, handler)
    }

    fn respond(
        &self,
        request: &Request<Incoming>,
    ) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
        ready(Ok(self.answer(request.method(), request.uri().path())))
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let reads = *method == Method::GET || *method == Method::HEAD;
        match path {
            "/healthz" if reads => text(StatusCode::OK, "ok\n"),
            "/readyz" if reads => self.ready(),
            "/metrics" if reads => self.exposition(),
            "/drain" if *method == Method::POST => self.begin_drain(),
            "/healthz" | "/readyz" | "/metrics" => not_allowed("GET, HEAD"),
            "/drain" => not_allowed("POST"),
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let notes = self.readiness.notes();
        let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
        if self.readiness.is_ready() {
            return text(StatusCode::OK, format!("ready\n{notes}"));
        }
        let missing = self.readiness.missing();
        let reason = if missing.is_empty() {
            "draining\n".to_owned()
        } else {
            format!("waiting for {}\n", missing.join(", "))
        };
        text(StatusCode::SERVICE_UNAVAILABLE, reason + &notes)
    }

    fn exposition(&self) -> Response<Full<Bytes>> {
        match self.metrics.encode() {
            Ok(exposition) => {
                let mut response = text(StatusCode::OK, exposition);
                let media_type = HeaderValue::from_static(OPEN_METRICS);
                response.headers_mut().insert(CONTENT_TYPE, media_type);
                response
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "metrics failed\n"),
        }
    }

    fn begin_drain(&self) -> Response<Full<Bytes>> {
        if self.drain.begin() {
            tracing::info!("drain begins");
        }
        text(StatusCode::ACCEPTED, "draining\n")
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain);
    // A probe that a proxy answers from memory says nothing.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}

#[cfg(test)]
mod tests;
