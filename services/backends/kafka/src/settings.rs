//! Where the brokers are, how they are reached, and the bounds of what waits for them.

use std::fmt;
use std::path::{Path, PathBuf};

use entente_core::{ByteSize, Span};

/// What a log needs to know of its cluster. Read from a URL by
/// [`Settings::from_url`](Settings::from_url).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to begin; the cluster tells of the others.
    pub brokers: Vec<Broker>,
    /// What the names of the topics begin with.
    pub prefix: String,
    /// TLS to the brokers, or none.
    pub tls: Option<Tls>,
    /// How this program says who it is, beside a certificate.
    pub sasl: Option<Sasl>,
    /// Copies of each record. Fewer than three are for development.
    pub replicas: u16,
    /// Copies that must be there before a record is acknowledged.
    pub min_insync: u16,
    /// Producers of a log. A partition has one of them; a fault that ends one spares the others'.
    pub producers: usize,
    /// How long a record waits for others to share its request.
    pub linger: Span,
    /// How long a batch is tried before its outcome is called unknown.
    pub delivery: Span,
    /// Bytes of records that wait for brokers. What comes beyond is refused.
    pub queue: ByteSize,
    /// Longest record.
    pub record: ByteSize,
    /// How records are compressed on the wire and on the brokers' disks.
    pub compression: Compression,
    /// How long brokers wait for a sign of life of a process before what it owns goes to others. They
    /// take no less than their `group.min.session.timeout.ms`, which is 6 s unless it was set.
    pub session: Span,
}

/// The address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// A DNS name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// TLS to the brokers. Their names are always checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities that are believed; those of the system if there is none.
    pub ca: Option<PathBuf>,
    /// What this program shows.
    pub identity: Option<Identity>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM file of the certificate.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

/// A name and a password. The password is in a file of its own, never in the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// How the password is proven.
    pub mechanism: Mechanism,
    /// The name.
    pub user: String,
    /// A file whose first line is the password.
    pub password_file: PathBuf,
}

/// How a password is proven to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616: the password itself.
    Plain,
    /// RFC 5802 with SHA-256.
    ScramSha256,
    /// RFC 5802 with SHA-512.
    ScramSha512,
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: most of a record is ciphertext.
    None,
    /// Zstandard.
    Zstd,
}

/// Why settings are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No broker, or one that is not `host:port`.
    #[error("`{0}` is not `host:port`")]
    Broker(String),
    /// Encrypted connections are asked for, and this program was built without them.
    #[error("`kafka+tls` and SCRAM need a program built with the feature `tls`")]
    NoTls,
    /// A file whose path is relative, and nobody knows to what.
    #[error("`{0}` must be a file's absolute path")]
    Path(&'static str),
    /// The prefix is empty or has characters that no topic may have.
    #[error(
        "`{0}` is not the begin of a topic's name: use a-z, 0-9, `-`, `_` and `.`, 200 at most"
    )]
    Prefix(String),
    /// The scheme is neither.
    #[error("the URL begins with `kafka://` or `kafka+tls://`")]
    Scheme,
    /// A parameter that is not known, or twice there.
    #[error("`{0}` is no parameter, or is there twice")]
    Unknown(String),
    /// A parameter that is not what it must be.
    #[error("`{name}` must be {wanted}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
}

/// The longest topic name is 249 characters; what we add to the prefix is shorter than the rest.
const MAX_PREFIX: usize = 200;
/// Producers of one log. Each has a thread for every broker.
const MAX_PRODUCERS: usize = 16;
/// Bounds of the longest record: below, no batch of the router fits; beyond, requests stall others.
const RECORD_BYTES: std::ops::RangeInclusive<usize> = 512 * 1024..=16 * 1024 * 1024;

impl Settings {
    /// The defaults for some brokers.
    pub const fn new(brokers: Vec<Broker>, prefix: String) -> Self {
        Self {
            brokers,
            prefix,
            tls: None,
            sasl: None,
            replicas: 3,
            min_insync: 2,
            producers: 1,
            linger: Span::new(std::time::Duration::from_millis(1)),
            delivery: Span::secs(30),
            queue: ByteSize::kib(32 * 1024),
            record: ByteSize::kib(1024),
            compression: Compression::None,
            session: Span::secs(6),
        }
    }

    /// Settings for one broker on this machine: one copy of everything.
    #[must_use]
    pub const fn development(mut self) -> Self {
        self.replicas = 1;
        self.min_insync = 1;
        self
    }

    /// The brokers as librdkafka takes them.
    pub fn bootstrap(&self) -> String {
        let brokers: Vec<_> = self.brokers.iter().map(ToString::to_string).collect();
        brokers.join(",")
    }

    /// Files that hold keys or passwords.
    pub fn key_files(&self) -> Vec<&Path> {
        let identity = self.tls.iter().filter_map(|tls| tls.identity.as_ref());
        let keys = identity.map(|identity| identity.key.as_path());
        let passwords = self.sasl.iter().map(|sasl| sasl.password_file.as_path());
        keys.chain(passwords).collect()
    }

    /// Checks what no type says. `development` lets go of the copies.
    ///
    /// # Errors
    /// [`SettingsError`] names the first that is wrong.
    pub fn check(&self, development: bool) -> Result<(), SettingsError> {
        let value = |name, wanted| Err(SettingsError::Value { name, wanted });
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if self.prefix.is_empty()
            || self.prefix.len() > MAX_PREFIX
            || !self.prefix.chars().all(plain)
        {
            return Err(SettingsError::Prefix(self.prefix.clone()));
        }
        if !development && self.replicas < 3 {
            return value("replicas", "3 or more, unless `development=on` is there");
        }
        if !development && self.min_insync < 2 {
            return value("min_insync", "2 or more, unless `development=on` is there");
        }
        // With all of them needed, the loss of one machine stops every sender.
        if self.min_insync > self.replicas || (!development && self.min_insync == self.replicas) {
            return value("min_insync", "less than `replicas`");
        }
        if !(1..=MAX_PRODUCERS).contains(&self.producers) {
            return value("producers", "1 to 16");
        }
        if !RECORD_BYTES.contains(&self.record.get()) {
            return value("record", "512KiB to 16MiB");
        }
        // A batch of the router is 1 MiB and the records that end it.
        if self.queue.get() < self.record.get().saturating_mul(4)
            || self.queue > ByteSize::kib(1 << 20)
        {
            return value("queue", "4 times `record` to 1GiB");
        }
        if !(1_000..=600_000).contains(&self.delivery.get().as_millis()) {
            return value("delivery", "1s to 10m");
        }
        if !(1_000..=300_000).contains(&self.session.get().as_millis()) {
            return value("session", "1s to 5m");
        }
        if self.linger.get().as_millis() > 1_000 {
            return value("linger", "1s at most");
        }
        let scram = self
            .sasl
            .as_ref()
            .is_some_and(|sasl| sasl.mechanism != Mechanism::Plain);
        if !cfg!(feature = "tls") && cfg!(feature = "client") && (self.tls.is_some() || scram) {
            return Err(SettingsError::NoTls);
        }
        if self.tls.is_none() && !development && self.sasl.is_some() {
            return value(
                "sasl",
                "used with `kafka+tls`, or a password crosses the network in the clear",
            );
        }
        Ok(())
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
