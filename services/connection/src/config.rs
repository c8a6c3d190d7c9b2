//! What an operator can set about the XMPP door: addresses, certificate, limits, deadlines.

use std::net::SocketAddr;
use std::path::PathBuf;

use entente_core::{ByteSize, Span};
use serde::{Deserialize, Serialize};

use crate::drain::Elsewhere;
use crate::pace::PacingConfig;

/// The configuration of the connection service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The deployment's own DNS domain: what stands behind the `@` of every address here.
    pub domain: String,
    /// Addresses of the direct TLS listeners (XEP-0368).
    pub listen: Vec<SocketAddr>,
    /// Whether a PROXY protocol version 2 header precedes TLS on every listener. With this on, a
    /// connection without the header is closed.
    pub proxy_protocol: bool,
    /// The certificate and its key.
    pub tls: TlsConfig,
    /// The WebSocket listeners (RFC 7395).
    pub websocket: WebSocketConfig,
    /// Sizes and counts.
    pub limits: LimitsConfig,
    /// How long each phase of a connection may take.
    pub deadlines: DeadlinesConfig,
    /// How many logins are taken on.
    pub pacing: PacingConfig,
    /// How long a durable stanza may wait for its recipient.
    pub stanza_life: Span,
    /// What `max` of `<enabled/>` says: how long a session can be resumed.
    pub resume_time: Span,
    /// Where the 32-bit counters of XEP-0198 begin on the wire. A client of the standard begins at 0;
    /// a test begins just below 2^32 to see them wrap.
    pub first_count: u32,
    /// Where clients are sent while this node drains; it comes from the program's `[drain]`. Without
    /// one they are told that the server goes down.
    #[serde(skip)]
    pub see_other_host: Option<Elsewhere>,
}

/// Where the certificate lies.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// How often the files are looked at for a change.
    pub poll: Span,
    /// When less than this is left until the chain ends, a warning a day says so.
    pub expiry_warning: Span,
}

/// The WebSocket side.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSocketConfig {
    /// Addresses of the listeners; TLS, like the others.
    pub listen: Vec<SocketAddr>,
    /// Web origins that may connect; `*` allows all. A client that sends no `Origin` is no browser
    /// and may connect always.
    pub origins: Vec<String>,
    /// The URL that host-meta tells; without it, `wss://DOMAIN/xmpp-websocket`.
    pub url: Option<String>,
}

/// Sizes and counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections at one time over all listeners; more wait in the listen queue.
    pub connections: u32,
    /// Bytes of one stanza before authentication.
    pub stanza_before_auth: ByteSize,
    /// Bytes of one stanza after authentication.
    pub stanza_after_auth: ByteSize,
    /// Bytes of deliveries that may be on their way to one socket. At least one largest stanza.
    pub credit: ByteSize,
    /// Failed logins on one connection before it is closed.
    pub login_attempts: u32,
    /// Binds of one account in a row before they are slowed down.
    pub bind_burst: u32,
    /// Afterwards, one bind of an account in this time.
    pub bind_interval: Span,
}

/// How long each phase of a connection may take.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadlinesConfig {
    /// From accept to the end of the TLS handshake, PROXY header included.
    pub handshake: Span,
    /// From the handshake to a bound session.
    pub negotiate: Span,
    /// From the first byte of a stanza to its last.
    pub stanza: Span,
    /// Without any progress in writing to the socket.
    pub write: Span,
    /// Without a byte from the client before it is asked for a sign of life.
    pub idle: Span,
    /// For that sign of life.
    pub probe: Span,
    /// From bind to the backlog if the client stays silent.
    pub start: Span,
    /// For an answer of another service of ours.
    pub answer: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domain: "localhost".to_owned(),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 5223))],
            proxy_protocol: false,
            tls: TlsConfig::default(),
            websocket: WebSocketConfig::default(),
            limits: LimitsConfig::default(),
            deadlines: DeadlinesConfig::default(),
            pacing: PacingConfig::default(),
            stanza_life: Span::secs(30 * 24 * 3600),
            resume_time: Span::secs(300),
            first_count: 0,
            see_other_host: None,
        }
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            certificate: PathBuf::from("tls.crt"),
            key: PathBuf::from("tls.key"),
            poll: Span::secs(10),
            // A month: one try of whoever renews it may fail and be noticed.
            expiry_warning: Span::secs(30 * 24 * 3600),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 50_000,
            stanza_before_auth: ByteSize::bytes(10_000),
            stanza_after_auth: ByteSize::kib(256),
            credit: ByteSize::kib(320),
            login_attempts: 3,
            bind_burst: 6,
            bind_interval: Span::secs(10),
        }
    }
}

impl Default for DeadlinesConfig {
    fn default() -> Self {
        Self {
            handshake: Span::secs(10),
            negotiate: Span::secs(60),
            stanza: Span::secs(30),
            write: Span::secs(30),
            idle: Span::secs(300),
            probe: Span::secs(30),
            start: Span::secs(2),
            answer: Span::secs(10),
        }
    }
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The credit is smaller than the largest stanza: it would never be delivered.
    #[error("limits.credit must be at least limits.stanza_after_auth")]
    Credit,
    /// The domain is not a DNS name.
    #[error("domain must be a DNS name in lower case")]
    Domain,
    /// A deadline or count is zero.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// RFC 6120 13.12 forbids a lower limit.
    #[error("limits.{0} must be at least 10000B")]
    StanzaLimit(&'static str),
    /// No listener at all.
    #[error("listen and websocket.listen are both empty")]
    NoListener,
}

/// RFC 6120 13.12: no implementation may set a lower limit.
const LEAST_STANZA_LIMIT: usize = 10_000;

impl Config {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting.
    pub fn check(&self) -> Result<(), ConfigError> {
        let host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let label = |text: &str| !text.is_empty() && text.bytes().all(host);
        if !self.domain.split('.').all(label) || self.domain.len() > 253 {
            return Err(ConfigError::Domain);
        }
        if self.listen.is_empty() && self.websocket.listen.is_empty() {
            return Err(ConfigError::NoListener);
        }
        self.limits.check()?;
        self.pacing.check()?;
        self.deadlines.check()
    }
}

impl LimitsConfig {
    fn check(&self) -> Result<(), ConfigError> {
        if self.stanza_before_auth.get() < LEAST_STANZA_LIMIT {
            return Err(ConfigError::StanzaLimit("stanza_before_auth"));
        }
        if self.stanza_after_auth.get() < LEAST_STANZA_LIMIT {
            return Err(ConfigError::StanzaLimit("stanza_after_auth"));
        }
        if self.credit < self.stanza_after_auth {
            return Err(ConfigError::Credit);
        }
        let counts = [
            ("limits.connections", self.connections),
            ("limits.login_attempts", self.login_attempts),
            ("limits.bind_burst", self.bind_burst),
        ];
        counts
            .into_iter()
            .find(|(_, count)| *count == 0)
            .map_or(Ok(()), |(name, _)| Err(ConfigError::Zero(name)))
    }
}

impl DeadlinesConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let spans = [
            ("deadlines.handshake", self.handshake),
            ("deadlines.negotiate", self.negotiate),
            ("deadlines.stanza", self.stanza),
            ("deadlines.write", self.write),
            ("deadlines.idle", self.idle),
            ("deadlines.probe", self.probe),
            ("deadlines.answer", self.answer),
        ];
        spans
            .into_iter()
            .find(|(_, span)| span.get().is_zero())
            .map_or(Ok(()), |(name, _)| Err(ConfigError::Zero(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_can_work() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn each_bad_setting_is_named() {
        let mut config = Config {
            domain: "Not A Domain".to_owned(),
            ..Config::default()
        };
        assert_eq!(config.check(), Err(ConfigError::Domain));
        config = Config::default();
        config.listen.clear();
        assert_eq!(config.check(), Err(ConfigError::NoListener));
        config = Config::default();
        config.limits.credit = ByteSize::kib(128);
        assert_eq!(config.check(), Err(ConfigError::Credit));
        config = Config::default();
        config.limits.stanza_before_auth = ByteSize::bytes(9_999);
        assert_eq!(
            config.check(),
            Err(ConfigError::StanzaLimit("stanza_before_auth"))
        );
        config = Config::default();
        config.deadlines.idle = Span::secs(0);
        assert_eq!(config.check(), Err(ConfigError::Zero("deadlines.idle")));
        config = Config::default();
        config.pacing.logins = 0;
        assert_eq!(config.check(), Err(ConfigError::Zero("pacing.logins")));
    }
}
