//! deliver: from a mailbox to the session that holds the newest epoch, in order and within bounds.
//!
//! One cursor walks the mailbox, so what waited comes before what is new. A session has a window of
//! what it has not acknowledged, and the credit that its edge granted.

use entente_core::{AccountId, Fault, FaultKind, Position, SessionId};
use entente_proto::edge::{CloseReason, Management, ResumeKey, ToEdge, credit_cost};
use entente_shard::Command;
use entente_trace::Open;
use tokio::time::Instant;

use crate::error::RouterError;
use crate::events::Step;
use crate::owner::{Opening, Owner};
use crate::resume::digest;

/// The most credit that a session can collect, in bytes: an edge has no more room than this.
const MAX_CREDIT: i64 = 16 * 1024 * 1024;

impl Owner {
    /// Sends a session what waits for it, as far as window and credit reach.
    pub(crate) fn pump(&mut self, account: AccountId) -> Result<(), RouterError> {
        let config = std::sync::Arc::clone(&self.ground.config);
        let Some(twin) = self.twins.get_mut(&account) else {
            return Ok(());
        };
        if !twin.started || twin.detached.is_some() {
            return Ok(());
        }
        let (session, edge) = (twin.session, twin.edge);
        let Some(edge) = self.edges.get_mut(&edge) else {
            return Ok(());
        };
        let mut sent = 0;
        while twin.credit > 0 {
            let full = twin.unacked.len() >= config.window_stanzas
                || twin.unacked_bytes >= config.window_bytes.get();
            if full {
                twin.stalled.get_or_insert_with(Instant::now);
                break;
            }
            let Some(next) = self.shard.waiting_after(account, twin.cursor)? else {
                break;
            };
            let position = twin.delivered(next.sequence, credit_cost(&next.content));
            let span = twin.traced(next.sequence);
            let waited = next.sequence <= twin.backlog;
            edge.push(ToEdge::Deliver {
                session,
                position,
                sequence: Some(next.sequence),
                content: next.content,
                delayed: waited.then_some(next.admitted),
                trace: span.as_ref().map(Open::context),
            });
            if let Some(span) = span {
                span.done();
            }
            sent += 1;
        }
        self.ground.events.count(Step::Delivered, sent);
        Ok(())
    }

    pub(crate) fn start(&mut self, session: SessionId) -> Result<(), RouterError> {
        let Some((account, twin)) = self.twin(session) else {
            return Ok(());
        };
        twin.started = true;
        self.pump(account)
    }

    pub(crate) fn credit(&mut self, session: SessionId, bytes: u32) -> Result<(), RouterError> {
        let Some((account, twin)) = self.twin(session) else {
            return Ok(());
        };
        twin.credit = twin.credit.saturating_add(i64::from(bytes)).min(MAX_CREDIT);
        self.pump(account)
    }

    pub(crate) fn local(&mut self, session: SessionId) {
        let Some((_, twin)) = self.twin(session) else {
            return;
        };
        let (edge, position) = (twin.edge, twin.place());
        self.tell(edge, ToEdge::Slot { session, position });
    }

    /// Asks the fold for a session epoch. The answer comes as `Effect::Opened`.
    pub(crate) fn bind(
        &mut self,
        edge: entente_proto::edge::EdgeId,
        session: SessionId,
        account: AccountId,
        resumes: Option<u64>,
    ) {
        let opening = Opening {
            edge,
            account,
            resumes,
        };
        self.opening.insert(session, opening);
        self.commands.push(Command::Open { account, session });
    }

    pub(crate) fn enable(
        &mut self,
        session: SessionId,
        inbound: Position,
        resume: Option<ResumeKey>,
    ) {
        let Some((account, twin)) = self.twin(session) else {
            return;
        };
        let outbound = twin.sent;
        let (edge, epoch) = (twin.edge, twin.epoch);
        let key = resume.as_ref().map(digest);
        twin.managed = Some(Management {
            inbound,
            outbound,
            resume,
        });
        if let Some(digest) = key {
            self.commands.push(Command::Resumable {
                account,
                epoch,
                digest,
            });
        }
        self.tell(
            edge,
            ToEdge::Enabled {
                session,
                inbound,
                outbound,
            },
        );
    }

    /// The connection died. With a key the twin waits for a resume; without one it is over.
    pub(crate) fn detach(&mut self, session: SessionId) {
        let Some((account, twin)) = self.twin(session) else {
            self.opening.remove(&session);
            return;
        };
        if twin.detached.is_some() {
            return;
        }
        let resumable = twin
            .managed
            .as_ref()
            .is_some_and(|managed| managed.resume.is_some());
        let epoch = twin.epoch;
        twin.detached = Some(Instant::now());
        self.commands.push(Command::Leave { account, epoch });
        if !resumable {
            self.forget(account);
        }
    }

    pub(crate) fn end(&mut self, session: SessionId) {
        let Some((account, twin)) = self.twin(session) else {
            self.opening.remove(&session);
            self.resuming.retain(|_, asked| asked.session != session);
            return;
        };
        let epoch = twin.epoch;
        if twin.detached.is_none() {
            self.commands.push(Command::Leave { account, epoch });
        }
        self.forget(account);
    }

    /// Ends a session from this side; the edge closes the connection.
    pub(crate) fn close(&mut self, session: SessionId, why: CloseReason) {
        let Some((_, twin)) = self.twin(session) else {
            return;
        };
        let edge = twin.edge;
        self.tell(edge, ToEdge::Closed { session, why });
        self.end(session);
    }

    pub(crate) fn forget(&mut self, account: AccountId) {
        if let Some(twin) = self.twins.remove(&account) {
            self.sessions.remove(&twin.session);
            self.drop_lanes(&twin.lanes);
            self.settle_now(account);
        }
        if let Some(waiting) = self.resuming.remove(&account) {
            self.unresumable(&waiting, None, entente_proto::edge::Unresumable::Unknown);
        }
        self.ground
            .events
            .sessions(self.shard.id(), self.twins.len());
    }
}

/// What callers of the directory hear while the shard is given up.
pub(crate) const NO_OWNER: Fault = Fault::new(
    FaultKind::Unavailable,
    "the owner of the account is not available",
);
