//! Builds the service and starts its one task.

use std::sync::Arc;

use entente_core::SealKey;
use entente_egress::Http;
use entente_log::Log;
use entente_node::{Metrics, Tasks};
use entente_proto::DirectoryClient;
use entente_shard::StateStore;

use crate::config::Config;
use crate::desk::{Desk, Ground};
use crate::dispatch::{Dispatcher, Endpoints};
use crate::error::BuildError;
use crate::events::{Events, Stopped};
use crate::sign::{Signer, SigningKey};

/// What the service stands on.
pub struct Deps {
    /// The wake-up log.
    pub log: Arc<dyn Log>,
    /// Rows of this service alone.
    pub store: Arc<dyn StateStore>,
    /// The key of all seals.
    pub seal: SealKey,
    /// Who an account is.
    pub directory: DirectoryClient,
    /// Where partners are woken.
    pub endpoints: Arc<dyn Endpoints>,
    /// The way to partners.
    pub http: Arc<dyn Http>,
    /// What signs; [`Config::signing_key`] reads it.
    pub key: SigningKey,
    /// Where the task is started.
    pub tasks: Tasks,
    /// Where metrics are registered.
    pub metrics: Metrics,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deps")
    }
}

/// A service that has started.
#[derive(Debug)]
pub struct Built {
    /// The key set that partners fetch, as JSON, for [`JWKS_PATH`](crate::JWKS_PATH).
    pub jwks: String,
}

/// Reads the rows and starts the service. It ends, after storing where it is, when the tasks are
/// cancelled.
///
/// # Errors
/// [`BuildError`] says what to change.
pub fn build(config: Config, deps: Deps) -> Result<Built, BuildError> {
    config.check()?;
    let jwks = deps.key.jwks();
    let dispatcher = Dispatcher {
        directory: deps.directory,
        endpoints: deps.endpoints,
        http: deps.http,
        signer: Arc::new(Signer::new(deps.key, config.issuer.clone())),
        deadline: config.deadline.get(),
    };
    let desk = Desk::open(Ground {
        events: Events::new(&deps.metrics)?,
        config,
        log: deps.log,
        store: deps.store,
        seal: deps.seal,
        dispatcher,
    })?;
    let cancelled = deps.tasks.cancelled();
    deps.tasks.spawn_vital("push", async move {
        if let Err(error) = desk.run(cancelled).await {
            Stopped { error: &error }.emit();
        }
    });
    Ok(Built { jwks })
}
