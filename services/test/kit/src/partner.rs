//! A stand-in partner: its keys as a JWKS, tokens for its users, and its push endpoint.
//!
//! One server on loopback, plain or TLS. The same code runs the demonstration, the acceptance
//! stories and the load test.

mod push;
mod signer;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use entente_core::{Timestamp, random_array};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use push::{GatewayTrust, PushCall, PushCounts, PushDesk, PushMode, PushRefusal};
pub use signer::{Algorithm, Claims, Signer, SignerError, encode};

/// Where a partner publishes its keys (the framework's path).
pub const JWKS_PATH: &str = "/.well-known/oauth/openid/jwks";
/// Where a partner takes wake-ups.
pub const PUSH_PATH: &str = "/push";
/// The `typ` of a token: one of its own, so that no other kind of JWT passes for it (RFC 8725 3.11).
pub const TOKEN_TYPE: &str = "entente+jwt";
/// How long a sample token lives.
const TOKEN_LIFE: Duration = Duration::from_secs(30 * 60);
/// Connections that are served at once; the gateway keeps a few.
const MAX_CONNECTIONS: usize = 256;

/// How to start a stand-in partner.
#[derive(Debug)]
pub struct PartnerConfig {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` of its tokens: the gateway.
    pub audience: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// Set for HTTPS.
    pub tls: Option<Arc<ServerConfig>>,
}

/// A partner could not start.
#[derive(Debug, thiserror::Error)]
pub enum PartnerError {
    /// No port.
    #[error("listening: {0}")]
    Listen(#[from] std::io::Error),
    /// No key.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

#[derive(Debug)]
struct Shared {
    signer: Signer,
    push: PushDesk,
    jwks_calls: AtomicU64,
}

/// A running partner; its server ends when this is dropped.
#[derive(Debug)]
pub struct Partner {
    issuer: String,
    audience: String,
    address: SocketAddr,
    secure: bool,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

impl Partner {
    /// Draws a key and listens on a free port of loopback.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn start(config: PartnerConfig) -> Result<Self, PartnerError> {
        Self::start_at(config, (Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Draws a key and listens at an address that others know already.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn start_at(config: PartnerConfig, at: SocketAddr) -> Result<Self, PartnerError> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let kid = encode(&random_array::<6>());
        let shared = Arc::new(Shared {
            signer: Signer::new(config.algorithm, &kid)?,
            push: PushDesk::default(),
            jwks_calls: AtomicU64::new(0),
        });
        let secure = config.tls.is_some();
        let routes = Router::new()
            .route(JWKS_PATH, get(jwks))
            .route(PUSH_PATH, post(take_push))
            .with_state(Arc::clone(&shared));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, routes, config.tls.map(TlsAcceptor::from)));
        Ok(Self {
            issuer: config.issuer,
            audience: config.audience,
            address,
            secure,
            shared,
            _server: server,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL as a client that resolves `host` to loopback writes it.
    pub fn base_url(&self, host: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{host}:{}", self.address.port())
    }

    /// Its base URL by its own address.
    pub fn own_url(&self) -> String {
        let host = match self.address.ip() {
            // It listens everywhere, so here too.
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) if ip.is_unspecified() => "[::1]".to_owned(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        self.base_url(&host)
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its key.
    pub fn signer(&self) -> &Signer {
        &self.shared.signer
    }

    /// Its push endpoint.
    pub fn push(&self) -> &PushDesk {
        &self.shared.push
    }

    /// How often its keys were fetched.
    pub fn jwks_calls(&self) -> u64 {
        self.shared.jwks_calls.load(Ordering::Relaxed)
    }

    /// The claims of a good token for a visible id.
    pub fn claims(&self, visible: &str) -> Claims {
        let issued = Timestamp::now();
        Claims {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            subject: visible.to_owned(),
            issued,
            expires: issued.plus(TOKEN_LIFE),
            id: encode(&random_array::<16>()),
        }
    }

    /// The header of a good token.
    pub fn header(&self) -> Value {
        json!({
            "alg": self.shared.signer.algorithm().name(),
            "kid": self.shared.signer.kid(),
            "typ": TOKEN_TYPE,
        })
    }

    /// A good token for a visible id.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn mint(&self, visible: &str) -> Result<String, SignerError> {
        let claims = self.claims(visible).to_json();
        self.shared.signer.sign(&self.header(), &claims)
    }
}

async fn jwks(State(shared): State<Arc<Shared>>) -> axum::Json<Value> {
    shared.jwks_calls.fetch_add(1, Ordering::Relaxed);
    axum::Json(json!({"keys": [shared.signer.jwk()]}))
}

async fn take_push(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mode = shared.push.mode();
    match mode {
        PushMode::Hang => {
            shared.push.count_failed();
            std::future::pending::<()>().await;
        }
        PushMode::Refuse(status) => {
            shared.push.count_failed();
            return StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        }
        PushMode::Ok | PushMode::Slow(_) => {}
    }
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let outcome = shared.push.take(bearer, &body).await;
    if let PushMode::Slow(wait) = mode {
        tokio::time::sleep(wait).await;
    }
    match outcome {
        Ok(()) => StatusCode::OK,
        Err(PushRefusal::Body) => StatusCode::BAD_REQUEST,
        Err(PushRefusal::Key | PushRefusal::Token) => StatusCode::UNAUTHORIZED,
    }
}

/// Serves until the task is dropped; connections die with it.
async fn serve(listener: TcpListener, routes: Router, tls: Option<TlsAcceptor>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let service = TowerToHyperService::new(routes.clone());
        let tls = tls.clone();
        connections.spawn(async move {
            let _permit = permit;
            let builder = Builder::new(TokioExecutor::new());
            // A broken connection is the caller's affair: it sees no answer.
            match tls {
                Some(acceptor) => {
                    if let Ok(secured) = acceptor.accept(socket).await {
                        drop(
                            builder
                                .serve_connection(TokioIo::new(secured), service)
                                .await,
                        );
                    }
                }
                None => drop(
                    builder
                        .serve_connection(TokioIo::new(socket), service)
                        .await,
                ),
            }
        });
    }
}

#[cfg(test)]
mod tests;
