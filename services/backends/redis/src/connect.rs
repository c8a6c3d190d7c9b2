//! One connection, shared by all calls, made when it is needed and made anew when it broke.
//!
//! **Invariants**
//! - One attempt at a time, and a pause after one that failed: who comes meanwhile is told at once
//!   that Redis is away.
//! - A call that went out is never sent again by us: whether it was carried out is unknown.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, TlsCertificates, Value,
};
use tokio::time::Instant;

use crate::function;
use crate::settings::Settings;

/// Pause after an attempt that failed.
const PAUSE: Duration = Duration::from_millis(200);
/// What a cluster's client may try again by itself, after a redirection or while slots move.
const CLUSTER_RETRIES: u32 = 2;
/// The longest pause before such a retry, in milliseconds.
const CLUSTER_RETRY_WAIT: u64 = 50;

/// How to connect.
#[derive(Clone)]
pub(crate) enum Door {
    Cluster(ClusterClient),
    Single(Client, AsyncConnectionConfig),
}

#[derive(Clone)]
pub(crate) enum Connection {
    Cluster(ClusterConnection),
    Single(MultiplexedConnection),
}

/// The connection that all calls share.
pub(crate) struct Shared {
    door: Door,
    connect: Duration,
    state: Mutex<State>,
    /// Held by the one who connects.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Tells one connection from the next, so that only the broken one is let go of.
    serial: u64,
    not_before: Option<Instant>,
}

impl Door {
    pub(crate) fn new(
        settings: &Settings,
        password: Option<String>,
        authorities: Option<Vec<u8>>,
    ) -> Result<Self, RedisError> {
        if settings.tls {
            // What the client takes is the process's: ours, unless somebody chose before. An error
            // says that somebody did.
            rustls::crypto::ring::default_provider()
                .install_default()
                .ok();
        }
        // The name of the library would need a right that not every version has.
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(user) = &settings.user {
            login = login.set_username(user);
        }
        if let Some(password) = password {
            login = login.set_password(password);
        }
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: authorities,
        };
        let mut nodes = Vec::new();
        for node in &settings.nodes {
            let address = if settings.tls {
                ConnectionAddr::TcpTls {
                    host: node.host.clone(),
                    port: node.port,
                    insecure: false,
                    tls_params: None,
                }
            } else {
                ConnectionAddr::Tcp(node.host.clone(), node.port)
            };
            let info: ConnectionInfo = address.into_connection_info()?;
            nodes.push(info.set_redis_settings(login.clone()));
        }
        let (answer, connect) = (settings.answer.get(), settings.connect.get());
        if settings.cluster {
            let mut builder = ClusterClientBuilder::new(nodes)
                .retries(CLUSTER_RETRIES)
                .max_retry_wait(CLUSTER_RETRY_WAIT)
                .connection_timeout(connect)
                .response_timeout(answer)
                .overall_response_timeout(Some(answer * 2))
                .connection_concurrency_limit(settings.calls);
            if settings.tls && certificates.root_cert.is_some() {
                builder = builder.certs(certificates);
            }
            return Ok(Self::Cluster(builder.build()?));
        }
        let first = nodes.into_iter().next().ok_or_else(|| {
            RedisError::from((redis::ErrorKind::InvalidClientConfig, "no server is named"))
        })?;
        let client = if settings.tls && certificates.root_cert.is_some() {
            Client::build_with_tls(first, certificates)?
        } else {
            Client::open(first)?
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect))
            .set_response_timeout(Some(answer));
        Ok(Self::Single(client, config))
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        match self {
            Self::Cluster(client) => Ok(Connection::Cluster(client.get_async_connection().await?)),
            Self::Single(client, config) => {
                let connection = client.get_multiplexed_async_connection_with_config(config);
                Ok(Connection::Single(connection.await?))
            }
        }
    }
}

impl Connection {
    pub(crate) async fn call(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Cluster(connection) => connection.req_packed_command(command).await,
            Self::Single(connection) => connection.req_packed_command(command).await,
        }
        .and_then(Value::extract_error)
    }
}

impl Shared {
    pub(crate) fn new(door: Door, connect: Duration) -> Self {
        Self {
            door,
            connect,
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// The connection, made if there is none; nothing if Redis is away.
    pub(crate) async fn connection(&self) -> Option<(Connection, u64)> {
        if let Some(there) = self.present() {
            return Some(there);
        }
        let _alone = self.connecting.lock().await;
        if let Some(there) = self.present() {
            return Some(there);
        }
        if self
            .state
            .lock()
            .not_before
            .is_some_and(|at| Instant::now() < at)
        {
            return None;
        }
        let attempt = tokio::time::timeout(self.connect, self.ready()).await;
        let mut state = self.state.lock();
        match attempt {
            Ok(Ok(connection)) => {
                state.serial += 1;
                state.connection = Some(connection.clone());
                Some((connection, state.serial))
            }
            failed => {
                state.not_before = Some(Instant::now() + PAUSE);
                let why = match failed {
                    Ok(Err(error)) => error.category().to_owned(),
                    _ => "no answer in time".to_owned(),
                };
                tracing::warn!(why, "the table of hints cannot be reached");
                None
            }
        }
    }

    /// A connection that has answered, to a server that has the function or may yet get it.
    async fn ready(&self) -> Result<Connection, RedisError> {
        let mut connection = self.door.connect().await?;
        let loaded = connection.call(&function::load()).await;
        if !function::is_loaded(&loaded) {
            // Who may not load it can still use it, where the operator did.
            let known = loaded.err().filter(|error| error.code() != Some("NOPERM"));
            if let Some(error) = known {
                return Err(error);
            }
        }
        Ok(connection)
    }

    /// Lets go of a connection that broke, unless it was replaced already.
    pub(crate) fn broke(&self, serial: u64) {
        let mut state = self.state.lock();
        if state.serial == serial {
            state.connection = None;
        }
    }

    fn present(&self) -> Option<(Connection, u64)> {
        let state = self.state.lock();
        let connection = state.connection.clone()?;
        Some((connection, state.serial))
    }
}
