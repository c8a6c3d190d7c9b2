//! The configuration file: TOML with units in its values, every key optional but the domain.
//!
//! Relative paths are relative to the file. An unknown key is an error; errors name file, line and
//! key.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use entente_connection::Elsewhere;
use entente_core::{ByteSize, Span};
use entente_node::{AdminSettings, CallerLimits, LogSettings};
use serde::{Deserialize, Serialize};

use crate::cluster::{MeshConfig, OwnerMap};

/// A node's configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The deployment's own DNS domain: what stands behind the `@` of every address.
    pub domain: String,
    /// Where what must last is kept.
    #[serde(default)]
    pub storage: Storage,
    /// The file of secrets, as `entente init` writes it.
    #[serde(default = "secrets")]
    pub secrets: PathBuf,
    /// The HTTPS door: enlistment and the gateway's public keys.
    #[serde(default)]
    pub http: HttpConfig,
    /// The XMPP door.
    #[serde(default)]
    pub connection: entente_connection::Config,
    /// Bounds for connections that are not logged in, of both doors.
    #[serde(default)]
    pub callers: CallerLimits,
    /// Shards, sessions and delivery.
    #[serde(default)]
    pub router: entente_router::Config,
    /// Partners, tokens and enlistment.
    #[serde(default)]
    pub identity: entente_identity::Config,
    /// Wake-ups to partners.
    #[serde(default)]
    pub push: entente_push::Config,
    /// Connections to partners' servers.
    #[serde(default)]
    pub egress: entente_egress::Settings,
    /// Probes, metrics and drain, for the operator's machines.
    #[serde(default)]
    pub admin: AdminSettings,
    /// Log lines.
    #[serde(default)]
    pub log: LogSettings,
    /// Traces of sampled messages.
    #[serde(default)]
    pub telemetry: entente_trace::Settings,
    /// How the process ends.
    #[serde(default)]
    pub drain: DrainConfig,
    /// The nodes of a deployment whose roles are processes of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh: Option<MeshConfig>,
}

/// Where what must last is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The log: `file:DIRECTORY`; `kafka://HOST:PORT,HOST:PORT/PREFIX?PARAMETERS` for one in a
    /// cluster, if the program was built with it; or `memory:` for a process that may forget
    /// everything.
    pub log: String,
    /// The rows of the shards: `fjall:DIRECTORY`, or `memory:`. With a log on Kafka `journal:`, in a
    /// journal there, so that routers share the shards and take them over from one another.
    pub state: String,
    /// The number of shards. Fixed when the deployment is created; another number is refused.
    pub shards: u32,
    /// The number of partitions of the wake-ups, which push nodes share if routers share the shards.
    /// Fixed as that of the shards.
    pub wake_partitions: u32,
    /// When the log is synced: `always` (before every acknowledgement), an interval such as `5ms`,
    /// or `never`. All but `always` can lose acknowledged stanzas when the machine loses power.
    pub fsync: String,
    /// Size of one segment file of the log.
    pub segment: ByteSize,
    /// Hints that nodes share, such as one-use ids of enlistment tokens: `memory:`, for a process by
    /// itself; `redis://HOST:PORT/PREFIX?PARAMETERS`, `rediss://…` over TLS, or for a Redis Cluster
    /// `redis-cluster://HOST:PORT,HOST:PORT/PREFIX`, if the program was built with it.
    pub table: String,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            log: "file:data/log".to_owned(),
            state: "fjall:data/state".to_owned(),
            shards: 8,
            wake_partitions: 1,
            fsync: "always".to_owned(),
            segment: ByteSize::kib(64 * 1024),
            table: "memory:".to_owned(),
        }
    }
}

/// The HTTPS door.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where it listens. It uses the certificate of the XMPP door.
    pub listen: SocketAddr,
    /// Connections at one time.
    pub max_connections: usize,
    /// Time for the TLS handshake.
    pub handshake: Span,
    /// Time for the head of a request.
    pub head: Span,
    /// Time for a whole connection.
    pub connection: Span,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            max_connections: 1_024,
            handshake: Span::secs(10),
            head: Span::secs(5),
            connection: Span::secs(60),
        }
    }
}

/// How the process ends after SIGTERM or `POST /drain`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainConfig {
    /// Time between "not ready" and the first closed connection: load balancers lag.
    pub settle: Span,
    /// Time over which connections are closed, evenly.
    pub budget: Span,
    /// Time for everything else to end and be stored.
    pub flush: Span,
    /// Where clients on direct TLS are sent, as `host:port`: another gateway of the deployment that
    /// has the same domain. Without it they are told that this one goes down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub see_other_host: Option<Elsewhere>,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self {
            settle: Span::secs(0),
            budget: Span::secs(10),
            flush: Span::secs(20),
            see_other_host: None,
        }
    }
}

impl DrainConfig {
    fn check(&self, own: &[SocketAddr]) -> Result<(), &'static str> {
        let names = |address: &SocketAddr| {
            let elsewhere = self.see_other_host.as_ref();
            elsewhere.is_some_and(|place| place.as_str() == address.to_string())
        };
        if own.iter().any(names) {
            return Err("drain.see_other_host is an address of this gateway itself");
        }
        Ok(())
    }
}

fn secrets() -> PathBuf {
    PathBuf::from("secrets.toml")
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// It is not what it must be.
    #[error("{file}:{line}: {message}")]
    Value {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with the key.
        message: String,
    },
    /// A setting cannot work.
    #[error("{file}: {message}")]
    Setting {
        /// The file.
        file: String,
        /// What is wrong, with the key.
        message: String,
    },
}

impl Config {
    /// Reads a file and checks every section.
    ///
    /// # Errors
    /// [`ConfigError`] names file, line and key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            file: file.clone(),
            source,
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::from_text(&file, folder, &text)
    }

    /// Reads a text as if it stood in a file of a folder.
    ///
    /// # Errors
    /// [`ConfigError`] names file, line and key.
    pub fn from_text(file: &str, folder: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let before = text.as_bytes().get(..at).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let key = key_of(text.lines().nth(line - 1).unwrap_or_default());
            let message = format!("{key}{}", error.message());
            ConfigError::Value {
                file: file.to_owned(),
                line,
                message,
            }
        })?;
        config.connection.domain.clone_from(&config.domain);
        config.connection.resume_time = config.router.resume_time;
        let elsewhere = &config.drain.see_other_host;
        config.connection.see_other_host.clone_from(elsewhere);
        config.resolve(folder);
        let setting = |message: String| ConfigError::Setting {
            file: file.to_owned(),
            message,
        };
        config.storage.check().map_err(setting)?;
        config
            .drain
            .check(&config.connection.listen)
            .map_err(|message| setting(message.to_owned()))?;
        config
            .connection
            .check()
            .map_err(|error| setting(format!("connection: {error}")))?;
        config
            .callers
            .check()
            .map_err(|error| setting(error.to_string()))?;
        config
            .router
            .check()
            .map_err(|message| setting(message.to_owned()))?;
        config
            .identity
            .check()
            .map_err(|error| setting(error.to_string()))?;
        config
            .push
            .check()
            .map_err(|error| setting(error.to_string()))?;
        config
            .egress
            .check()
            .map_err(|error| setting(error.to_string()))?;
        config
            .log
            .check()
            .map_err(|error| setting(error.to_string()))?;
        if let Some(mesh) = &config.mesh {
            let are_shared = crate::backends::are_shared(&config.storage);
            OwnerMap::new(mesh, config.storage.shards, are_shared)
                .map_err(|error| setting(format!("mesh.nodes: {error}")))?;
        }
        Ok(config)
    }

    fn resolve(&mut self, folder: &Path) {
        let paths = [
            &mut self.secrets,
            &mut self.connection.tls.certificate,
            &mut self.connection.tls.key,
            &mut self.identity.partners,
            &mut self.push.key,
        ];
        for path in paths.into_iter().chain(&mut self.push.publish) {
            *path = folder.join(&*path);
        }
        if let Some(mesh) = &mut self.mesh {
            mesh.resolve(folder);
        }
        if let Some(roots) = &mut self.egress.extra_roots {
            *roots = folder.join(&*roots);
        }
        for url in [&mut self.storage.log, &mut self.storage.state] {
            if let Some((scheme @ ("file" | "fjall"), path)) = url.split_once(':')
                && !path.is_empty()
            {
                *url = format!("{scheme}:{}", folder.join(path).display());
            }
        }
    }
}

/// `key: ` of a line `key = value`, or nothing.
fn key_of(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => format!("{}: ", key.trim()),
        _ => String::new(),
    }
}

impl Storage {
    fn check(&self) -> Result<(), String> {
        if !(1..=1024).contains(&self.shards) {
            return Err("storage.shards must be 1 to 1024".to_owned());
        }
        if !(1..=self.shards).contains(&self.wake_partitions) {
            return Err("storage.wake_partitions must be 1 to storage.shards".to_owned());
        }
        crate::backends::fsync(&self.fsync)?;
        crate::backends::known(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        Config::from_text("entente.toml", Path::new("/etc/entente"), text)
    }

    #[test]
    fn a_domain_is_enough() {
        let config = read("domain = \"interop.example\"").unwrap();
        assert_eq!(config.connection.domain, "interop.example");
        assert_eq!(config.storage.log, "file:/etc/entente/data/log");
        assert_eq!(config.secrets, Path::new("/etc/entente/secrets.toml"));
    }

    #[test]
    fn the_other_place_reaches_the_door() {
        let config = read("domain = \"a\"\n[drain]\nsee_other_host = \"b.example:5223\"").unwrap();
        let told = config.connection.see_other_host.unwrap();
        assert_eq!(told.as_str(), "b.example:5223");
    }

    #[test]
    fn mistakes_are_named_with_line_and_key() {
        let cases = [
            ("", "entente.toml:1:"),
            (
                "domain = \"a\"\n[router]\nresume_tim = \"5s\"",
                "entente.toml:3: resume_tim: ",
            ),
            (
                "domain = \"a\"\n[router]\nresume_time = \"5\"",
                "entente.toml:3: resume_time: ",
            ),
            (
                "domain = \"a\"\n[storage]\nfsync = \"maybe\"",
                "storage.fsync",
            ),
            ("domain = \"a\"\n[storage]\nshards = 0", "storage.shards"),
            (
                "domain = \"a\"\n[storage]\nwake_partitions = 9",
                "storage.wake_partitions must be 1 to",
            ),
            (
                "domain = \"a\"\n[storage]\nlog = \"kafka://b\"",
                "storage.log",
            ),
            (
                "domain = \"a\"\n[storage]\nstate = \"data\"",
                "storage.state",
            ),
            (
                "domain = \"a\"\n[storage]\nstate = \"journal:\"",
                "storage.state in a journal needs storage.log on Kafka",
            ),
            ("domain = \"a\"\n[log]\nfilter = \"a=loud\"", "log.filter"),
            (
                "domain = \"a\"\n[drain]\nsee_other_host = \"b\"",
                "entente.toml:3: see_other_host: `b` is not `host:port`",
            ),
            (
                "domain = \"a\"\n[drain]\nsee_other_host = \"127.0.0.1:5223\"",
                "drain.see_other_host is an address of this gateway",
            ),
            (
                "domain = \"a\"\n[callers]\nexempt = [\"192.0.2.1\"]",
                "entente.toml:3: exempt: `192.0.2.1` is not a network",
            ),
            ("domain = \"a\"\n[callers]\nburst = 0", "callers.burst"),
            ("domain = \"A b\"", "domain"),
        ];
        for (text, wanted) in cases {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
    }
}
