//! What routers of other nodes have for shards that are owned here, and what owners here have for
//! shards that are owned elsewhere.
//!
//! In: sealed records and ephemeral stanzas. Out: the same, in the log or with the owner. Records are
//! checked by the fold that reads them, as if they had been appended here.

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{Fault, FaultKind, ShardId};
use entente_log::LogError;
use entente_proto::IntakeClient;
use entente_proto::intake::{Ephemeral, Intake, Taken, Topic};
use entente_proto::owners::ELSEWHERE;

use crate::append::FULL;
use crate::deliver::NO_OWNER;
use crate::events::{Events, Step};
use crate::owner::{Call, Inlets};
use crate::service::Service;

/// Stanzas for another node that go in one call.
const PASS_BATCH: usize = 256;

const TOO_LARGE: Fault = Fault::new(FaultKind::PeerMisbehaved, "the log never takes this");
const UNKNOWN: Fault = Fault::new(FaultKind::Deadline, "the answer took too long");

#[async_trait]
impl Intake for Service {
    async fn append(
        &self,
        topic: Topic,
        partition: u32,
        records: Vec<Bytes>,
    ) -> Result<Taken, Fault> {
        if topic != Topic::Input || !self.owns(ShardId::new(partition)) {
            return Err(ELSEWHERE);
        }
        let appended = self.log().append(partition, records).await;
        let appended = appended.map_err(fault)?;
        Ok(Taken {
            first: appended.first(),
            last: appended.last(),
            at: appended.at(),
        })
    }

    async fn pass(&self, shard: ShardId, stanzas: Vec<Ephemeral>) -> Result<(), Fault> {
        for Ephemeral { from, to, payload } in stanzas {
            self.call(shard, Call::Ephemeral { from, to, payload })
                .await?;
        }
        Ok(())
    }
}

/// What a caller hears of a log that did not take its records.
fn fault(error: LogError) -> Fault {
    match error {
        LogError::Busy | LogError::Full => FULL,
        LogError::EmptyBatch | LogError::TooLarge => TOO_LARGE,
        LogError::UnknownOutcome => UNKNOWN,
        LogError::UnknownPartition => ELSEWHERE,
        LogError::Closed
        | LogError::Corrupt
        | LogError::Truncated { .. }
        | LogError::Unavailable => NO_OWNER,
    }
}

/// Stands where the owner of a shard of another node would: passes ephemeral stanzas on to it, one
/// call at a time, and drops what does not get through. What edges still say is dropped as well. Ends
/// when nobody can ask any more; dropping it loses at most what is under way.
pub(crate) async fn pass_on(
    shard: ShardId,
    inlets: &mut Inlets,
    far: &Option<IntakeClient>,
    events: &Events,
) {
    let Inlets { batches, calls } = inlets;
    let drop_batches = async { while batches.recv().await.is_some() {} };
    let pass_calls = async {
        let mut asked = Vec::with_capacity(PASS_BATCH);
        while calls.recv_many(&mut asked, PASS_BATCH).await > 0 {
            let stanzas = asked.drain(..).filter_map(|call| match call {
                Call::Ephemeral { from, to, payload } => Some(Ephemeral { from, to, payload }),
                // Asked of an owner that is not here: dropping the question answers it.
                Call::Attach { .. }
                | Call::Change { .. }
                | Call::Inspect { .. }
                | Call::Read(_) => None,
            });
            let stanzas: Vec<_> = stanzas.collect();
            let count = u64::try_from(stanzas.len()).unwrap_or_default();
            let passed = match far {
                Some(far) if count > 0 => far.pass(shard, stanzas).await.is_ok(),
                _ => count == 0,
            };
            if !passed {
                events.count(Step::Dropped, count);
            }
        }
    };
    tokio::join!(drop_batches, pass_calls);
}
