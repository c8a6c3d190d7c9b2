//! What a process takes for the logs that it keeps: shards' records for its router, wake-ups for its
//! push service.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{Fault, FaultKind, ShardId};
use entente_log::{Log, LogError};
use entente_proto::IntakeClient;
use entente_proto::intake::{Ephemeral, Intake, Taken, Topic};
use entente_proto::owners::ELSEWHERE;

const FULL: Fault = Fault::new(FaultKind::Overloaded, "the gateway cannot store this now");
const NEVER: Fault = Fault::new(FaultKind::PeerMisbehaved, "the log never takes this");
const UNKNOWN: Fault = Fault::new(FaultKind::Deadline, "the answer took too long");
const AWAY: Fault = Fault::new(FaultKind::Unavailable, "the service is ending");

/// See the module.
#[derive(Debug)]
pub(crate) struct WakeIntake {
    wake: Arc<dyn Log>,
    router: Option<IntakeClient>,
}

impl WakeIntake {
    /// The intake of a process that keeps a wake-up log, has a router, or both; none if neither.
    pub(super) fn of(
        wake: Option<Arc<dyn Log>>,
        router: Option<IntakeClient>,
    ) -> Option<IntakeClient> {
        match wake {
            Some(wake) => Some(IntakeClient::local(Arc::new(Self { wake, router }))),
            None => router,
        }
    }
}

#[async_trait]
impl Intake for WakeIntake {
    async fn append(
        &self,
        topic: Topic,
        partition: u32,
        records: Vec<Bytes>,
    ) -> Result<Taken, Fault> {
        match (topic, &self.router) {
            (Topic::Wake, _) => {}
            (Topic::Input, Some(router)) => return router.append(topic, partition, records).await,
            (Topic::Input, None) => return Err(ELSEWHERE),
        }
        let appended = self.wake.append(partition, records).await;
        let appended = appended.map_err(|error| match error {
            LogError::Busy | LogError::Full => FULL,
            LogError::UnknownOutcome => UNKNOWN,
            LogError::EmptyBatch | LogError::TooLarge | LogError::UnknownPartition => NEVER,
            LogError::Closed
            | LogError::Corrupt
            | LogError::Truncated { .. }
            | LogError::Unavailable => AWAY,
        })?;
        Ok(Taken {
            first: appended.first(),
            last: appended.last(),
            at: appended.at(),
        })
    }

    async fn pass(&self, shard: ShardId, stanzas: Vec<Ephemeral>) -> Result<(), Fault> {
        match &self.router {
            Some(router) => router.pass(shard, stanzas).await,
            None => Err(ELSEWHERE),
        }
    }
}
