//! apply: records into the fold, and its effects out to sessions and callers.

#[cfg(feature = "mutants")]
use entente_core::mutant::{self, Mutant};
use entente_core::{AccountId, Epoch, Sequence, SessionId, TraceContext};
use entente_log::Record;
use entente_proto::edge::{CloseReason, ToEdge, Unresumable};
use entente_shard::{Command, Effect, Ended};
use entente_trace::Stage;

use crate::error::RouterError;
use crate::owner::Owner;
use crate::twin::Twin;

impl Owner {
    pub(crate) fn apply(&mut self, records: &[Record]) -> Result<(), RouterError> {
        for record in records {
            self.shard.apply(record)?;
        }
        let effects = self.shard.take_effects();
        for effect in &effects {
            // Before the first of them is delivered, which takes the others along.
            if let Effect::Arrived {
                account,
                sequence,
                trace: Some(trace),
            } = effect
            {
                self.trace(*account, *sequence, *trace);
            }
        }
        for effect in effects {
            match effect {
                Effect::Answer { request, reply } => {
                    if let Some(waiting) = self.requests.remove(&request) {
                        let _caller_left = waiting.send(reply);
                    }
                }
                Effect::Arrived { account, .. } => self.pump(account)?,
                Effect::Claimed { epoch, .. } if epoch > self.epoch => {
                    return Err(RouterError::Fenced);
                }
                Effect::Claimed { .. } => {}
                Effect::Closed {
                    account,
                    session,
                    why,
                } => match why {
                    Ended::Replaced => self.replaced(account, session),
                    Ended::Revoked => self.revoked(account),
                },
                Effect::Opened {
                    account,
                    session,
                    epoch,
                    waiting,
                    last,
                } => {
                    self.opened(account, session, epoch, (waiting, last))?;
                }
                Effect::Quarantined { offset, why } => {
                    self.ground
                        .events
                        .quarantined(self.shard.id(), offset.value(), why);
                }
                Effect::Unknown { session } => {
                    if let Some(opening) = self.opening.remove(&session) {
                        let why = CloseReason::Revoked;
                        self.tell(opening.edge, ToEdge::Closed { session, why });
                    }
                }
            }
        }
        Ok(())
    }

    /// Begins the span of a delivery; it ends when the delivery is handed to the edge.
    fn trace(&mut self, account: AccountId, sequence: Sequence, trace: TraceContext) {
        let shard = Some(self.shard.id());
        let span = self.ground.tracer.child(Some(trace), Stage::Deliver, shard);
        if let (Some(span), Some(twin)) = (span, self.twins.get_mut(&account)) {
            twin.trace(sequence, span);
        }
    }

    /// The fold gave the account's place to a newer session.
    fn replaced(&mut self, account: AccountId, session: Option<SessionId>) {
        let Some(session) = session else { return };
        #[cfg(feature = "mutants")]
        if mutant::is(Mutant::NoFencing) {
            return;
        }
        self.sessions.remove(&session);
        let Some(twin) = self.twins.get_mut(&account) else {
            return;
        };
        if twin.session == session && twin.detached.is_none() {
            twin.detached = Some(tokio::time::Instant::now());
            let (edge, why) = (twin.edge, CloseReason::Conflict);
            self.tell(edge, ToEdge::Closed { session, why });
        }
    }

    /// The account is erased or has a new identity key: whatever its devices had or asked for before
    /// is over, also a session that waits to be resumed and one whose `Open` is still under way.
    fn revoked(&mut self, account: AccountId) {
        let why = CloseReason::Revoked;
        if let Some(twin) = self.twins.remove(&account) {
            self.sessions.remove(&twin.session);
            self.drop_lanes(&twin.lanes);
            if twin.detached.is_none() {
                let session = twin.session;
                self.tell(twin.edge, ToEdge::Closed { session, why });
            }
        }
        if let Some(asked) = self.resuming.remove(&account) {
            self.unresumable(&asked, None, Unresumable::Unknown);
        }
        let under_way = self.opening.iter();
        let under_way = under_way.filter(|(_, opening)| opening.account == account);
        let under_way: Vec<_> = under_way.map(|(session, _)| *session).collect();
        for session in under_way {
            if let Some(opening) = self.opening.remove(&session) {
                self.tell(opening.edge, ToEdge::Closed { session, why });
            }
        }
    }

    /// A session was opened that nobody holds. What waits to be resumed holds the newest epoch now.
    fn nobody_opened(&mut self, account: AccountId, epoch: Epoch) {
        self.commands.push(Command::Leave { account, epoch });
        if let Some(twin) = self.twins.get_mut(&account) {
            twin.epoch = epoch;
        }
    }

    fn opened(
        &mut self,
        account: AccountId,
        session: SessionId,
        epoch: Epoch,
        (waiting, last): (u32, Sequence),
    ) -> Result<(), RouterError> {
        let Some(opening) = self.opening.remove(&session) else {
            // Whoever asked is gone: the account must not count as connected. Or was answered before:
            // the log had the command twice.
            let twin = self.twins.get(&account);
            if twin.is_none_or(|twin| twin.epoch != epoch) {
                self.nobody_opened(account, epoch);
            }
            return Ok(());
        };
        if let Some(life) = opening.resumes {
            let twin = self.twins.get(&account);
            if twin.is_some_and(|twin| twin.life == life) {
                self.sessions.insert(session, account);
                return self.resumed(account, session, epoch, opening.edge);
            }
            // The session that was to go on was replaced or revoked in between.
            self.nobody_opened(account, epoch);
            let (h, why) = (None, Unresumable::Unknown);
            self.tell(opening.edge, ToEdge::Unresumable { session, h, why });
            return Ok(());
        }
        self.sessions.insert(session, account);
        self.unreported.remove(&account);
        if let Some(waiting) = self.resuming.remove(&account) {
            // A bind came in between: the session that was to be resumed is replaced.
            self.unresumable(&waiting, None, Unresumable::Unknown);
        }
        self.serial += 1;
        let twin = Twin::new(session, epoch, self.serial, opening.edge, last);
        if let Some(old) = self.twins.insert(account, twin) {
            self.sessions.remove(&old.session);
            self.drop_lanes(&old.lanes);
        }
        self.ground
            .events
            .sessions(self.shard.id(), self.twins.len());
        self.tell(
            opening.edge,
            ToEdge::Bound {
                session,
                epoch,
                waiting,
            },
        );
        Ok(())
    }
}
