//! Where a client connects, as whom, and what it asks for.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig as TlsConfig;

/// How a client connects and logs in.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where the server listens: tried in this order until one takes a connection.
    pub addresses: Vec<SocketAddr>,
    /// The domain of the service: what the stream is opened to and the certificate is checked for.
    pub domain: String,
    /// Whom to trust; see [`crate::trust::Trust::client_config`].
    pub tls: Arc<TlsConfig>,
    /// The localpart: the internal id.
    pub localpart: String,
    /// What it shows for itself.
    pub credential: Credential,
    /// How it shows it.
    pub mechanism: Mechanism,
    /// How stanzas travel.
    pub transport: Transport,
    /// Whether to enable XEP-0198.
    pub stream_management: bool,
    /// Whether to send initial presence after a bind.
    pub presence: bool,
    /// How long connecting and logging in may take together.
    pub login_within: Duration,
}

/// What a client shows for itself.
#[derive(Clone)]
pub enum Credential {
    /// Makes a token for each login.
    Minted(Arc<dyn Fn() -> Option<String> + Send + Sync>),
    /// One token, or a password.
    Token(Arc<str>),
}

impl Credential {
    /// The text for the login that is about to begin; `None` if none can be made.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Minted(mint) => mint(),
            Self::Token(token) => Some(token.to_string()),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// How a client logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// SASL `OAUTHBEARER` (RFC 7628).
    OauthBearer,
    /// SASL `PLAIN` (RFC 4616).
    Plain,
    /// SASL2 with Bind 2 (XEP-0388, XEP-0386), by `PLAIN` the first time.
    Sasl2 {
        /// Asks for a token and logs in by it from the second time on (XEP-0484).
        fast: bool,
    },
}

/// How stanzas travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TLS from the first byte (XEP-0368).
    DirectTls,
    /// A WebSocket over TLS at this path (RFC 7395).
    WebSocket {
        /// The path.
        path: String,
    },
}

impl Transport {
    /// The ALPN names to offer.
    pub const fn alpn(&self) -> &'static [&'static str] {
        match self {
            Self::DirectTls => &["xmpp-client"],
            Self::WebSocket { .. } => &["http/1.1"],
        }
    }
}
