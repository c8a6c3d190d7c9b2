//! The identity service: unpacks calls, asks the stage, packs the answer.

use std::sync::Arc;

use async_trait::async_trait;
use entente_core::{AccountId, Bundle, Fault, PrekeyCount, PrekeyUpload, Secret};
use entente_egress::{Http, Policy};
use entente_node::{Metrics, MetricsError};
use entente_proto::directory::BlockChange;
use entente_proto::identity::{Credential, FastToken, Grounds, Identity, LoggedIn, Revocation};
use entente_proto::{DirectoryClient, IdentityClient};
use entente_table::Table;
use tokio::sync::{Semaphore, broadcast};

use crate::bundles::Bundles;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::devices::{Devices, FastKeys};
use crate::enlist::Enlist;
use crate::events::{Events, PartnersRead};
use crate::jwks::Jwks;
use crate::partners::{PartnersError, Registry};
use crate::verify::{self, Verifier};

/// What the service stands on.
pub struct Deps {
    /// The accounts.
    pub directory: DirectoryClient,
    /// The way to the partners' key sets.
    pub http: Arc<dyn Http>,
    /// The rules under which addresses in the partners' file are judged.
    pub policy: Policy,
    /// Budgets and used tokens.
    pub table: Arc<dyn Table>,
    /// Where counters are kept.
    pub metrics: Metrics,
    /// From which FAST tokens are derived; the same on every node of the deployment.
    pub fast_secret: Secret<[u8; 32]>,
    /// The time against which tokens are checked.
    pub clock: Clock,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deps")
    }
}

/// The parts of a running service. Nothing works before [`Jwks::run`] is polled.
#[derive(Clone, Debug)]
pub struct Built {
    /// What connection nodes call.
    pub client: IdentityClient,
    /// The enlistment door.
    pub enlist: Arc<Enlist>,
    /// The partners; [`reload`] reads their file again.
    pub registry: Arc<Registry>,
    /// The partners' keys; its `run` must be spawned as a vital task.
    pub jwks: Arc<Jwks>,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A metric's name is taken.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The file of partners cannot be taken.
    #[error(transparent)]
    Partners(#[from] PartnersError),
    /// The signature library does not verify what it must, or verifies what it must not.
    #[error("the self-test of {0} signatures failed")]
    SelfTest(&'static str),
}

/// Builds the service after a self-test of the signature library.
///
/// # Errors
/// [`BuildError`] says what to change.
pub fn build(config: &Config, deps: Deps) -> Result<Built, BuildError> {
    config.check()?;
    verify::self_test().map_err(BuildError::SelfTest)?;
    let registry = Arc::new(Registry::open(&config.partners, deps.policy)?);
    let events = Events::new(&deps.metrics)?;
    let jwks = Jwks::new(
        Arc::clone(&registry),
        deps.http,
        config.jwks,
        events.clone(),
    );
    let verifier = Verifier::new(Arc::clone(&jwks));
    let devices = Devices {
        registry: Arc::clone(&registry),
        verifier: verifier.clone(),
        directory: deps.directory.clone(),
        fast: FastKeys::new(deps.fast_secret, config.fast),
        clock: deps.clock.clone(),
        events: events.clone(),
    };
    let bundles = Bundles {
        registry: Arc::clone(&registry),
        directory: deps.directory.clone(),
        table: Arc::clone(&deps.table),
        events: events.clone(),
    };
    let enlist = Enlist {
        registry: Arc::clone(&registry),
        verifier,
        directory: deps.directory.clone(),
        table: deps.table,
        clock: deps.clock,
        events,
        places: Semaphore::new(config.enlistments),
    };
    let service = Service {
        registry: Arc::clone(&registry),
        directory: deps.directory,
        devices,
        bundles,
    };
    Ok(Built {
        client: IdentityClient::local(Arc::new(service)),
        enlist: Arc::new(enlist),
        registry,
        jwks,
    })
}

/// Checks the settings and the file of partners, and starts nothing.
///
/// # Errors
/// [`BuildError`] says what to change.
pub fn check(config: &Config, policy: Policy) -> Result<(), BuildError> {
    config.check()?;
    Registry::open(&config.partners, policy)?;
    Ok(())
}

/// Reads the partners' file again and tells the operator what came of it. Blocks for one small file.
///
/// # Errors
/// [`PartnersError`]; the partners stay as they were.
pub fn reload(registry: &Registry) -> Result<usize, PartnersError> {
    let result = registry.reload();
    let outcome = result.as_ref().copied();
    PartnersRead { outcome }.emit();
    result
}

#[derive(Debug)]
struct Service {
    registry: Arc<Registry>,
    directory: DirectoryClient,
    devices: Devices,
    bundles: Bundles,
}

#[async_trait]
impl Identity for Service {
    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault> {
        self.directory.blocked(account).await
    }

    async fn bundle(&self, requester: AccountId, target: AccountId) -> Result<Bundle, Fault> {
        Ok(self.bundles.take(requester, target).await?)
    }

    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault> {
        self.directory.change_blocked(account, change).await
    }

    async fn issue_fast(&self, account: AccountId) -> Result<FastToken, Fault> {
        Ok(self.devices.issue_fast(account).await?)
    }

    async fn login(&self, account: AccountId, credential: Credential) -> Result<LoggedIn, Fault> {
        Ok(self.devices.login(account, credential).await?)
    }

    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault> {
        self.directory.prekey_count(account).await
    }

    fn grounds(&self) -> Grounds {
        self.registry.grounds()
    }

    fn revocations(&self) -> broadcast::Receiver<Revocation> {
        self.registry.revocations()
    }

    async fn unenlist(&self, account: AccountId) -> Result<(), Fault> {
        self.directory.unenlist(account).await
    }

    async fn upload(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault> {
        Ok(self.bundles.upload(account, keys).await?)
    }
}
