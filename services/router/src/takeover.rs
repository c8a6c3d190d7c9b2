//! How an owner comes to own: load, replay, claim, read the claim back.
//!
//! The claim is a record like any other: the first one of an epoch wins, and who wrote it knows it by
//! its nonce. Commands below the newest claim's epoch change nothing, so an owner that was paused and
//! does not know of its end does no harm.

use std::sync::Arc;
use std::time::Duration;

use entente_core::Epoch;
use entente_log::{LogError, Tail};
use entente_shard::{Command, Effect, Fenced, Record, Shard, ShardConfig, Stores};
use tokio::time::{Instant, timeout};

use crate::error::RouterError;
use crate::events::Phase;
use crate::owner::{Ground, Owner};

/// How long a claim may take to come back. One that vanished is written again.
const CLAIM_PATIENCE: Duration = Duration::from_secs(10);

/// Takes the rows of a shard, replays its partition to the end, and claims it. `own` is the claimer's
/// nonce: the same for each attempt, so that a claim that arrives late is known as its own. Until the
/// claim is there, the owner before serves. Dropping the future leaves at most claims behind.
/// With the owner comes its tail, which stands where the owner goes on.
pub(crate) async fn take_over(
    ground: Ground,
    config: ShardConfig,
    stores: &Stores,
    own: [u8; 16],
) -> Result<(Owner, Tail), RouterError> {
    let partition = config.shard.index();
    let log = Arc::clone(&ground.log);
    let began = Instant::now();
    let store = stores.open(config.shard).await?;
    let mut shard = Shard::load(config, store)?;
    log.refresh(partition).await?;
    if shard.next() < log.floor(partition) {
        return Err(RouterError::LostRows);
    }
    let (from, loaded) = (shard.next(), Instant::now());
    let mut tail = Tail::new(Arc::clone(&log), partition, from);
    while shard.next() < log.end(partition) {
        for record in tail.next_batch().await? {
            shard.apply(&record)?;
        }
        // What the prefix caused was caused by an owner before; what it still owes is in the state.
        drop(shard.take_effects());
    }
    let caught_up = Instant::now();
    let claimed = claim(&ground, &mut shard, &mut tail, own);
    let epoch = timeout(CLAIM_PATIENCE, claimed)
        .await
        .map_err(|_| RouterError::UnknownOutcome)??;
    let replayed = shard.next().value().saturating_sub(from.value());
    // What was seen before the claim, the owner before has counted.
    let _counted = shard.take_repeated();
    ground.events.owned(shard.id(), epoch.value(), replayed);
    ground.events.took_over(&[
        (Phase::Load, loaded - began),
        (Phase::Replay, caught_up - loaded),
        (Phase::Claim, caught_up.elapsed()),
    ]);
    let mut owner = Owner::new(ground, shard, epoch);
    // Their connections may live: edges that held them with the owner before report them now.
    owner.unreported.extend(owner.shard.connected()?);
    owner.report_by += owner.ground.config.report_time.get();
    Ok((owner, tail))
}

async fn claim(
    ground: &Ground,
    shard: &mut Shard,
    tail: &mut Tail,
    own: [u8; 16],
) -> Result<Epoch, RouterError> {
    let epoch = shard.epoch().next();
    let claim = Fenced {
        epoch,
        commands: vec![Command::Claim { nonce: own }],
    };
    let record = Record::commands(shard.id(), &claim, &ground.seal);
    match ground.log.append(shard.id().index(), vec![record]).await {
        // Whether it arrived is read back below.
        Ok(_) | Err(LogError::UnknownOutcome) => {}
        Err(error) => return Err(error.into()),
    }
    loop {
        for record in tail.next_batch().await? {
            shard.apply(&record)?;
        }
        for effect in shard.take_effects() {
            if let Effect::Claimed {
                epoch: claimed,
                nonce,
            } = effect
                && claimed >= epoch
            {
                let ours = claimed == epoch && nonce == own;
                return if ours {
                    Ok(epoch)
                } else {
                    Err(RouterError::Outrun)
                };
            }
        }
    }
}
