//! The port for the operator's machines: probes, metrics, drain.
//!
//! In: HTTP/1.1 on a listener of its own. Out: `/healthz` (the process turns), `/readyz` (give it
//! work), `/metrics`, and `POST /drain`; beside them, pages that others answer, to this machine alone.
//!
//! **Invariants**
//! - Bound apart from every port of partners and clients. What it answers to other machines names no
//!   user.
//! - A drain that is asked for twice begins once.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use entente_core::Span;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
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

/// The answer of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// How it went.
    pub status: StatusCode,
    /// A JSON object, or with an error a line of text.
    pub body: String,
}

/// Pages for people on this very machine, which may name users by their internal ids.
pub trait Pages: Send + Sync + std::fmt::Debug {
    /// The answer to a path with its query; nothing if there is no such page.
    fn page(&self, path: &str, query: &str) -> Option<Answering>;
}

/// A page that is being answered. Dropping it asks no more.
pub type Answering = Pin<Box<dyn Future<Output = Page> + Send>>;

/// What the port answers from.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Answers `/readyz`.
    pub readiness: Readiness,
    /// Answers `/metrics`.
    pub metrics: Metrics,
    /// Begun by `POST /drain`.
    pub drain: Drain,
    /// Answered to callers from this machine alone.
    pub pages: Option<Arc<dyn Pages>>,
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
        let handler = move |stream, peer: SocketAddr, permit| {
            let (admin, cancel) = (self.clone(), closing.clone());
            async move {
                let is_local = peer.ip().to_canonical().is_loopback();
                let service = service_fn(|request| admin.respond(request, is_local));
                serve_http(stream, limits, service, cancel).await;
                drop(permit);
            }
        };
        accept_loop(listener, around, cancel, handler)
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        is_local: bool,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (method, uri) = (request.method(), request.uri());
        let pages = self.pages.as_ref();
        let page = pages.and_then(|pages| pages.page(uri.path(), uri.query().unwrap_or_default()));
        Ok(match page {
            None => self.answer(method, uri.path()),
            Some(_) if !is_local || !names_this_machine(request.headers()) => text(
                StatusCode::FORBIDDEN,
                "this page is for callers on this machine: run `entente inspect` there\n",
            ),
            Some(_) if *method != Method::GET => not_allowed("GET"),
            Some(page) => {
                let page = page.await;
                let mut response = text(page.status, page.body);
                if page.status.is_success() {
                    let json = HeaderValue::from_static("application/json");
                    response.headers_mut().insert(CONTENT_TYPE, json);
                }
                response
            }
        })
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

/// Whether a request was meant for this machine: a browser that was led here by a name that somebody else
/// owns says that name.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let is_here = |address: IpAddr| address.to_canonical().is_loopback();
    host.is_some_and(|host| match host.parse::<SocketAddr>() {
        Ok(address) => is_here(address.ip()),
        Err(_) => host.parse().is_ok_and(is_here),
    })
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
