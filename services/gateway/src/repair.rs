//! `entente repair`: a shard whose rows are lost begins anew, when somebody accepts what that costs.
//!
//! It opens the logs as a node does and owns nothing. What may be done at all, and what is left, is for
//! [`Anew`] to say.

use std::time::Duration;

use entente_core::{SealKey, ShardId};
use entente_shard::{Anew, AnewError, Remains, ShardConfig};

use crate::backends::{self, BackendError, Keeps, Logs};
use crate::config::Config;
use crate::deployment::{self, DeploymentError};

/// Checkpoints that an owner could have written while nobody did.
const CHECKPOINTS: u32 = 5;
/// How long nobody writes, at least: checkpoints are late on a busy machine.
const QUIET: Duration = Duration::from_secs(10);

/// Why nothing can be repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The rows are in files, which only their machine has.
    #[error(
        "storage.state is no journal: the rows are in files of one machine, restore them from a copy"
    )]
    NoJournal,
    /// There is no such shard.
    #[error("there is no shard {shard}: storage.shards is {shards}")]
    NoShard {
        /// What was asked for.
        shard: u32,
        /// How many there are, from 0.
        shards: u32,
    },
    /// The logs do not open.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The placement is not that of the deployment.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
}

/// One shard that may have lost its rows, over logs that are open.
#[derive(Debug)]
pub struct Repair {
    anew: Anew,
    logs: Logs,
    quiet: Duration,
}

impl Repair {
    /// Opens the logs of a deployment.
    ///
    /// # Errors
    /// [`RepairError`].
    pub async fn open(config: &Config, seal: &SealKey, shard: u32) -> Result<Self, RepairError> {
        let storage = &config.storage;
        if !backends::are_shared(storage) {
            return Err(RepairError::NoJournal);
        }
        let shards = storage.shards;
        if shard >= shards {
            return Err(RepairError::NoShard { shard, shards });
        }
        let placement = deployment::placement(storage, seal, None)?;
        let logs = backends::logs(storage, &Keeps::all(shards), seal).await?;
        let (input, journals) = (logs.input.clone(), logs.journals.clone());
        let (Some(input), Some([journals, _])) = (input, journals) else {
            return Err(RepairError::NoJournal);
        };
        let shard = ShardConfig {
            shard: ShardId::new(shard),
            placement,
            seal: seal.clone(),
        };
        Ok(Self {
            anew: Anew {
                config: shard,
                input,
                journals,
            },
            logs,
            quiet: QUIET.max(config.router.checkpoint.get() * CHECKPOINTS),
        })
    }

    /// Looks what would be left, and writes nothing.
    ///
    /// # Errors
    /// [`AnewError`]; of a shard that has lost nothing, above all.
    pub async fn look(&self) -> Result<Remains, AnewError> {
        self.anew.look(self.quiet).await
    }

    /// Begins anew with what is left.
    ///
    /// # Errors
    /// [`AnewError`]; it may be tried again.
    pub async fn begin(&self, remains: &Remains) -> Result<(), AnewError> {
        self.anew.begin(remains).await
    }

    /// Waits until everything is stored.
    pub async fn close(self) {
        self.logs.close().await;
    }
}
