//! A partner's server on loopback. It verifies tokens with a library that we do not sign with.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::rig::{ISSUER, key, until};

/// How a request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Hang,
    Large,
    Status(u16),
    RetryAfter(u16, &'static str),
    Redirect,
}

/// What came in.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the answer was 200.
    pub(crate) well: bool,
}

/// Everything that a token may state; anything else is refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
    pub(crate) jti: String,
}

#[derive(Default)]
struct Inner {
    calls: Mutex<Vec<Call>>,
    script: Mutex<VecDeque<Reply>>,
    /// Paths under which requests hang.
    hangs: Mutex<Option<&'static str>>,
    /// The answer when the script is over.
    last: Mutex<Option<Reply>>,
}

pub(crate) struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    _server: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner::default());
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&inner));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            inner,
            _server: server,
        }
    }

    pub(crate) fn base(&self, folder: &str) -> String {
        format!("http://{}/{folder}", self.address)
    }

    /// Answers the next requests so, and then well.
    pub(crate) fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.inner.script.lock().extend(replies);
    }

    /// Answers everything so from now on; none is well.
    pub(crate) fn always(&self, reply: Option<Reply>) {
        *self.inner.last.lock() = reply;
    }

    pub(crate) fn hang_under(&self, path: &'static str) {
        *self.inner.hangs.lock() = Some(path);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.inner.calls.lock().clone()
    }

    pub(crate) async fn until_calls(&self, count: usize) -> Vec<Call> {
        until("enough calls", || self.inner.calls.lock().len() >= count).await;
        self.calls()
    }
}

impl Call {
    /// The claims of the token, verified by the gateway's published keys.
    pub(crate) fn claims(&self, audience: &str) -> Claims {
        let bearer = self.headers[header::AUTHORIZATION].to_str().unwrap();
        let token = bearer.strip_prefix("Bearer ").unwrap();
        let head = decode_header(token).unwrap();
        let keys: JwkSet = serde_json::from_str(&key().jwks()).unwrap();
        let jwk = keys.find(&head.kid.unwrap()).unwrap();
        let mut rules = Validation::new(Algorithm::RS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["iss", "aud", "exp"]);
        let key = DecodingKey::from_jwk(jwk).unwrap();
        decode::<Claims>(token, &key, &rules).unwrap().claims
    }

    pub(crate) fn body(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 4096).await.unwrap();
    let path = head.uri.path().to_owned();
    let hangs = inner
        .hangs
        .lock()
        .is_some_and(|under| path.starts_with(under));
    let scripted = inner.script.lock().pop_front();
    let reply = scripted.or_else(|| inner.last.lock().clone());
    let well = !hangs && matches!(reply, None | Some(Reply::Status(200)));
    inner.calls.lock().push(Call {
        at: Instant::now(),
        path,
        headers: head.headers,
        body,
        well,
    });
    let status = |code| StatusCode::from_u16(code).unwrap();
    match reply {
        _ if hangs => hang().await,
        None => StatusCode::OK.into_response(),
        Some(Reply::Hang) => hang().await,
        Some(Reply::Large) => vec![b'x'; 1 << 20].into_response(),
        Some(Reply::Status(code)) => status(code).into_response(),
        Some(Reply::RetryAfter(code, after)) => {
            (status(code), [(header::RETRY_AFTER, after)]).into_response()
        }
        Some(Reply::Redirect) => (status(307), [(header::LOCATION, "/elsewhere")]).into_response(),
    }
}

async fn hang() -> Response {
    tokio::time::sleep(Duration::from_secs(3600)).await;
    StatusCode::OK.into_response()
}
