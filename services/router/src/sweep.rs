//! What happens by time: checkpoints, sessions that were not resumed, stalled readers, mailboxes
//! whose entries are overdue. Time only proposes: the fold decides by the log's time.

use std::sync::Arc;
use std::time::Duration;

use entente_core::{Offset, Timestamp};
use entente_proto::edge::CloseReason;
use entente_shard::{Command, StoreError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::RouterError;
use crate::owner::{Busy, Owner};

/// Accounts looked over in one tick: a sweep is spread over time.
const SWEEP_ROWS: usize = 256;
/// Sweeps stop while own clock and the log's differ by more: one of them is wrong.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// How long an owner serves a shard whose rows another one took, without that one's claim: longer than
/// a claim takes. Nothing of it is stored meanwhile, so what a later owner replays grows.
const SUCCESSION: Duration = Duration::from_secs(30);

impl Owner {
    pub(crate) async fn tick(&mut self) -> Result<(), RouterError> {
        let now = Instant::now();
        self.refused = false;
        self.busy.retain(|_, busy| *busy == Busy::UnderWay);
        for (target, through) in std::mem::take(&mut self.sent) {
            self.commands.push(Command::Sent { target, through });
        }
        self.drop_stale(now);
        self.drop_unreported(now);
        self.retry_lanes(now)?;
        self.store(now).await?;
        self.look(now).await;
        self.sweep(now)
    }

    fn drop_stale(&mut self, now: Instant) {
        let resume = self.ground.config.resume_time.get();
        let stall = self.ground.config.stall_time.get();
        let twins = self.twins.iter();
        let over: Vec<_> = twins
            .clone()
            .filter(|(_, twin)| twin.detached.is_some_and(|at| now - at > resume))
            .map(|(account, _)| *account)
            .collect();
        let stalled: Vec<_> = twins
            .filter(|(_, twin)| twin.detached.is_none())
            .filter(|(_, twin)| twin.stalled.is_some_and(|at| now - at > stall))
            .map(|(_, twin)| twin.session)
            .collect();
        for account in over {
            self.forget(account);
        }
        for session in stalled {
            self.close(session, CloseReason::Stalled);
        }
    }

    async fn store(&mut self, now: Instant) -> Result<(), RouterError> {
        if let Some(since) = self.superseded {
            let is_late = now - since > SUCCESSION;
            return if is_late {
                Err(RouterError::Fenced)
            } else {
                Ok(())
            };
        }
        if let Some(storing) = &mut self.storing {
            if !storing.is_finished() {
                return Ok(());
            }
            let outcome = storing.await;
            self.storing = None;
            self.stored(outcome)?;
        }
        let every = self.ground.config.checkpoint.get();
        if self.stored_at.is_none_or(|at| now - at >= every) {
            self.stored_at = Some(now);
            let checkpoint = self.shard.checkpoint();
            self.storing_from = checkpoint.replay_from();
            self.storing = Some(tokio::task::spawn_blocking(move || checkpoint.commit()));
        }
        Ok(())
    }

    fn stored(
        &mut self,
        outcome: Result<Result<(), StoreError>, tokio::task::JoinError>,
    ) -> Result<(), RouterError> {
        let failed = |_| StoreError::Failed("the commit did not end".into());
        match outcome.map_err(failed)? {
            // Whoever took the rows is about to claim: until then sessions are served from here.
            Err(StoreError::Fenced) => {
                self.superseded.get_or_insert_with(Instant::now);
                return Ok(());
            }
            stored => stored?,
        }
        self.shard.checkpointed();
        let margin = self.ground.config.replay_margin;
        let floor = Offset::new(self.storing_from.value().saturating_sub(margin));
        if self.flooring.as_ref().is_none_or(JoinHandle::is_finished) {
            // Beside the owner: a log that is full or slow frees its space when it can, and a floor
            // that was not raised is raised with the next checkpoint.
            let (log, shard) = (Arc::clone(&self.ground.log), self.shard.id());
            let events = self.ground.events.clone();
            let raise = async move {
                if let Err(error) = log.raise_floor(shard.index(), floor).await {
                    events.floor_stayed(shard, error);
                }
            };
            self.flooring = Some(self.ground.tasks.spawn("raise floor", raise));
        }
        Ok(())
    }

    /// Stores everything once more, so that the next start replays nothing.
    pub(crate) async fn last_checkpoint(&mut self) -> Result<(), RouterError> {
        if let Some(storing) = self.storing.take() {
            let outcome = storing.await;
            self.stored(outcome)?;
        }
        if self.superseded.is_some() {
            return Ok(());
        }
        let checkpoint = self.shard.checkpoint();
        self.storing_from = checkpoint.replay_from();
        let outcome = tokio::task::spawn_blocking(move || checkpoint.commit()).await;
        self.stored(outcome)
    }

    fn sweep(&mut self, now: Instant) -> Result<(), RouterError> {
        if now < self.sweep_at {
            return Ok(());
        }
        let (log_time, own_time) = (self.shard.time(), Timestamp::now());
        // The log's time stands still while nothing is appended; a command moves it.
        if log_time.since(own_time) > CLOCK_SKEW {
            tracing::error!(shard = %self.shard.id(), "the clock is behind the log: sweeps stop");
            self.sweep_at = now + CLOCK_SKEW;
            return Ok(());
        }
        let (expired, silent, more) = self.shard.overdue(self.swept, own_time, SWEEP_ROWS)?;
        let expire = expired
            .into_iter()
            .map(|account| Command::Expire { account });
        self.commands.extend(expire);
        let erase = silent
            .into_iter()
            .map(|account| Command::Silent { account });
        self.commands.extend(erase);
        self.swept = more;
        if more.is_none() {
            self.sweep_at = now + self.ground.config.sweep.get();
        }
        Ok(())
    }
}
