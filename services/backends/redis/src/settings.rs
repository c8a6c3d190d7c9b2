//! How Redis is reached, and how long it may take.

use std::path::PathBuf;
use std::time::Duration;

use entente_core::Span;

/// A hint that is later than this is worth less than the detour.
const ANSWER: Duration = Duration::from_millis(250);
/// Time for a connection, its TLS handshake and its login.
const CONNECT: Duration = Duration::from_secs(1);
/// Calls that may wait for answers at one time: beyond, Redis is too slow to be waited for.
const CALLS: usize = 4_096;

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// A name, or an address (version 6 without brackets).
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// The settings of a table in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server; of a cluster, some of its nodes, which name the others.
    pub nodes: Vec<Node>,
    /// Whether it is a Redis Cluster.
    pub cluster: bool,
    /// Before each key, with a colon between: what the user of the ACL is confined to.
    pub prefix: String,
    /// Whether connections are encrypted and the servers' names checked.
    pub tls: bool,
    /// The file with the authorities to trust, in PEM; without one, the system's.
    pub ca: Option<PathBuf>,
    /// The user of the ACL; without one, `default`.
    pub user: Option<String>,
    /// The file with the user's password.
    pub password_file: Option<PathBuf>,
    /// How long an answer is waited for.
    pub answer: Span,
    /// How long a connection is waited for.
    pub connect: Span,
    /// Calls that may wait at one time.
    pub calls: usize,
}

/// Why a URL is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The scheme is not one of the four.
    #[error(
        "a table in Redis begins with `redis://`, `rediss://`, `redis-cluster://` or `rediss-cluster://`"
    )]
    Scheme,
    /// A server without a port, or with a name that is none.
    #[error("`{0}` is not HOST:PORT")]
    Node(String),
    /// More than one server, and no cluster.
    #[error("several servers are a cluster: its URL begins with `redis-cluster://`")]
    Several,
    /// The prefix is missing or has other characters.
    #[error("the path must be a prefix of 1 to 64 letters, digits, `-`, `_` or `.`")]
    Prefix,
    /// A user or a password before the servers.
    #[error("a password in a URL is shown by many things: use `user=` and `password_file=`")]
    Credentials,
    /// A parameter that does not exist, or exists twice.
    #[error("there is no parameter `{0}`, or it is given twice")]
    Unknown(String),
    /// A parameter that says nothing.
    #[error("`{name}` must be {wanted}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it can be.
        wanted: &'static str,
    },
    /// A setting for TLS without TLS.
    #[error("`ca` is for `rediss://` and `rediss-cluster://` only")]
    NoTls,
}

impl Settings {
    /// The defaults for these servers.
    pub fn new(nodes: Vec<Node>, prefix: impl Into<String>) -> Self {
        Self {
            nodes,
            cluster: false,
            prefix: prefix.into(),
            tls: false,
            ca: None,
            user: None,
            password_file: None,
            answer: Span::new(ANSWER),
            connect: Span::new(CONNECT),
            calls: CALLS,
        }
    }

    /// The line of an ACL file for the user of this table: its keys, and the commands that it sends.
    pub fn acl(&self) -> String {
        format!(
            "user {} on resetkeys ~{}:* resetchannels -@all +get +set +del +fcall +function|load \
             +time +info +ping +hello +cluster|slots",
            self.user.as_deref().unwrap_or("entente"),
            self.prefix,
        )
    }
}
