//! What is loaded, and how one gets in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::span;

/// What is loaded.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// `start`: the program `entente`, started here in a fresh folder; `entente`: one that runs;
    /// `xmpp`: any XMPP server.
    pub kind: Kind,
    /// The domain: what stands behind the @, and what the certificate is for.
    pub domain: String,
    /// Where clients connect. Of no use with `start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub address: Option<SocketAddr>,
    /// How clients connect.
    pub transport: Transport,
    /// The path of the WebSocket.
    pub path: String,
    /// How clients prove who they are.
    pub sasl: Sasl,
    /// TLS.
    pub tls: TlsOptions,
    /// Who logs in (`xmpp` only).
    pub accounts: Credentials,
    /// The server's process, whose CPU time and memory are measured; `start` knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<u32>,
    /// The server's Prometheus endpoint, as `127.0.0.1:9600`; its figures go into the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub metrics: Option<SocketAddr>,
    /// `start`: the program; by default the one beside this program, or on the PATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub program: Option<PathBuf>,
    /// `start`: the server's core.
    pub core: usize,
    /// `start`: when its log is synced: always, a span such as 5ms, or never.
    pub fsync: String,
    /// `start`: its log, as `storage.log` takes it; by default in its fresh folder. One in a cluster
    /// needs a name that no run had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// `start`: where its fresh folder is made; by default the system's folder for such.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub folder: Option<PathBuf>,
    /// `start`: lines that are appended to its configuration.
    pub config: String,
    /// `entente`: where users enlist (its HTTPS door).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub enlist: Option<SocketAddr>,
    /// `entente`: where the built-in partner listens; the gateway's partner records name it.
    /// Partners after the first take the next ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub partner: Option<SocketAddr>,
    /// `entente`: the number of the first built-in partner.
    pub partner_number: u16,
    /// How the built-in partner's push endpoint behaves.
    pub push: Push,
    /// With `refuse`, this status; with `slow`, see `push_delay`.
    pub push_status: u16,
    /// With `slow`, the time before it answers.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub push_delay: Duration,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            kind: Kind::Start,
            domain: "interop.localhost".to_owned(),
            address: None,
            transport: Transport::Tls,
            path: "/xmpp-websocket".to_owned(),
            sasl: Sasl::Plain,
            tls: TlsOptions::default(),
            accounts: Credentials::default(),
            process: None,
            metrics: None,
            program: None,
            core: 0,
            fsync: "always".to_owned(),
            log: None,
            folder: None,
            config: String::new(),
            enlist: None,
            partner: None,
            partner_number: 7,
            push: Push::Ok,
            push_status: 500,
            push_delay: Duration::from_secs(1),
        }
    }
}

/// What kind of server it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A gateway that runs already.
    Entente,
    /// A gateway that is started here.
    #[default]
    Start,
    /// Any XMPP server.
    Xmpp,
}

/// How clients connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP without TLS: for servers under test on loopback.
    Plain,
    /// TLS after `<starttls/>` (RFC 6120 5).
    Starttls,
    /// TLS from the first byte (XEP-0368).
    #[default]
    Tls,
    /// WebSocket over TLS (RFC 7395).
    Websocket,
}

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sasl {
    /// A token (RFC 7628).
    Oauthbearer,
    /// The password, or the token as password.
    #[default]
    Plain,
    /// SASL2 with Bind 2 and inline stream management (XEP-0388, XEP-0386): one round trip.
    Sasl2,
    /// RFC 5802. The generator pays the iterations too, about a millisecond a login.
    #[serde(rename = "scram-sha-1")]
    ScramSha1,
    /// RFC 7677. The generator pays the iterations too, about a millisecond a login.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
}

/// TLS 1.3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptions {
    /// Which certificates are believed. Before figures are published, name the authority.
    pub trust: Trusted,
    /// With `file`, the PEM file of the authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub authority: Option<PathBuf>,
    /// Whether later connections resume the TLS session of earlier ones.
    pub resume: bool,
}

/// Which certificates are believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trusted {
    /// Every certificate; the server must still hold its key.
    #[default]
    Any,
    /// Those of `authority`, for `domain`.
    File,
}

/// Accounts that exist on an XMPP server. `{n}` is the user's number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Credentials {
    /// The localpart.
    pub user: String,
    /// The password, or the token.
    pub password: String,
    /// The number of the first.
    pub first: u64,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            user: "load{n}".to_owned(),
            password: "load{n}".to_owned(),
            first: 1,
        }
    }
}

/// How the push endpoint of the built-in partner behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Push {
    /// Takes the request and never answers.
    Hang,
    /// Verifies, counts, answers.
    #[default]
    Ok,
    /// Answers with `push_status`.
    Refuse,
    /// Answers after `push_delay`.
    Slow,
    /// Shows a certificate for another host.
    WrongCertificate,
}
