//! The HTTPS door: enlistment, and the public keys of the gateway.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_identity::{Enlist, PATH as ENLIST_PATH};
use entente_node::{
    AcceptLoop, AcceptMetrics, Callers, HttpLimits, Tasks, accept_loop, serve_http,
};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::HttpConfig;

/// What the listener is called in metrics.
const NAME: &str = "https";
/// Where partners find the keys that sign our wake-ups.
const JWKS_PATH: &str = "/.well-known/jwks";
/// How long others may keep our keys.
const JWKS_AGE: HeaderValue = HeaderValue::from_static("max-age=300");

/// What stands behind the door.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) enlist: Arc<Enlist>,
    pub(crate) jwks: Bytes,
    pub(crate) tls: TlsAcceptor,
    pub(crate) callers: Callers,
}

impl Door {
    /// Binds the door and serves it until the tasks end. Returns the bound address.
    pub(crate) async fn open(
        self,
        config: &HttpConfig,
        tasks: &Tasks,
        accepts: AcceptMetrics,
    ) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(config.listen).await?;
        let bound = listener.local_addr()?;
        let permits = Arc::new(Semaphore::new(config.max_connections));
        let around = AcceptLoop::new(NAME, permits, tasks.clone(), accepts);
        let limits = HttpLimits {
            head: config.head.get(),
            connection: config.connection.get(),
            ..HttpLimits::default()
        };
        let handshake = config.handshake.get();
        let cancel = tasks.cancelled();
        let ends = cancel.clone();
        let handler = move |stream, peer: SocketAddr, permit| {
            let (door, ends) = (self.clone(), ends.clone());
            async move {
                // Nobody logs in at this door: who comes stays a stranger.
                if let Ok(mut stranger) = door.callers.arrive(NAME)
                    && stranger.comes_from(peer.ip()).is_ok()
                {
                    door.serve(stream, handshake, limits, ends).await;
                }
                drop(permit);
            }
        };
        tasks.spawn_vital(NAME, accept_loop(listener, around, cancel, handler));
        Ok(bound)
    }

    async fn serve(
        self,
        stream: TcpStream,
        handshake: Duration,
        limits: HttpLimits,
        ends: CancellationToken,
    ) {
        // A peer that does not finish its handshake is its own problem: nothing is told or kept.
        let Ok(Ok(stream)) = timeout(handshake, self.tls.accept(stream)).await else {
            return;
        };
        let service = service_fn(move |request: Request<Incoming>| {
            let door = self.clone();
            async move { Ok::<_, Infallible>(door.answer(request).await) }
        });
        serve_http(stream, limits, service, ends).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.uri().path(), request.method()) {
            (ENLIST_PATH, &Method::POST) => self.enlist.answer(request).await,
            (ENLIST_PATH, _) => refusal(StatusCode::METHOD_NOT_ALLOWED, Some("POST")),
            (JWKS_PATH, &Method::GET) => {
                let mut response = Response::new(Full::new(self.jwks.clone()));
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(CACHE_CONTROL, JWKS_AGE);
                response
            }
            (JWKS_PATH, _) => refusal(StatusCode::METHOD_NOT_ALLOWED, Some("GET")),
            _ => refusal(StatusCode::NOT_FOUND, None),
        }
    }
}

fn refusal(status: StatusCode, allow: Option<&'static str>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    if let Some(allow) = allow {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}
