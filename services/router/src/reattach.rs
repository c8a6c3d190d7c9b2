//! reattach: a session whose stream ended, and whose connection did not, goes on with what its edge
//! knows of it: at a new owner, or at the same one.
//!
//! **Invariants**
//! - Nothing that this owner knows of the session counts beside the report. What it handled and did not
//!   tell is submitted again, and the log knows what it has.
//! - A session goes on only in the newest epoch of its account, and not if a newer connection asked for
//!   its place.
//! - Who is not reported in time is away, and is woken for what waits.
//!
//! Stanzas of the session may still be on their way into the log, by this owner or by the one before. Each
//! of the two appends them in order, and this one begins with the first that has no outcome: so of each
//! stanza the first copy is behind the first copies of those before it.

use entente_core::{AccountId, Sequence, SessionId};
use entente_proto::edge::{CloseReason, EdgeId, Report, ToEdge, Unresumable};
use entente_shard::Command;
use tokio::time::Instant;

use crate::error::RouterError;
use crate::events::Step;
use crate::owner::Owner;
use crate::resume::digest;
use crate::twin::Twin;

impl Owner {
    /// Takes a session as its edge reports it, or closes it.
    pub(crate) fn reattach(
        &mut self,
        edge: EdgeId,
        session: SessionId,
        report: Report,
    ) -> Result<(), RouterError> {
        let (account, epoch) = (report.account, report.epoch);
        let newest = self.shard.newest(account)?;
        let Some((_, last)) = newest.filter(|(newest, _)| *newest == epoch) else {
            let why = newest.map_or(CloseReason::Revoked, |_| CloseReason::Conflict);
            self.tell(edge, ToEdge::Closed { session, why });
            return Ok(());
        };
        if self.has_rival(account) {
            let why = CloseReason::Conflict;
            self.tell(edge, ToEdge::Closed { session, why });
            return Ok(());
        }
        self.serial += 1;
        let settled = report.settled;
        let twin = Twin::reported(session, edge, self.serial, (report, last));
        if settled > Sequence::default() {
            self.settles.insert(account, (epoch, settled, twin.h()));
            self.settle_at.get_or_insert_with(Instant::now);
        }
        // Behind every `Leave` that an end of its stream caused here.
        if self.unreported.remove(&account).is_none() {
            self.commands.push(Command::Rejoin {
                account,
                session,
                epoch,
            });
        }
        let key = twin
            .managed
            .as_ref()
            .and_then(|managed| managed.resume.as_ref());
        if let Some(digest) = key.map(digest)
            && self.shard.handled_by_dead(account, digest)?.is_none()
        {
            self.commands.push(Command::Resumable {
                account,
                epoch,
                digest,
            });
        }
        if let Some(old) = self.twins.insert(account, twin) {
            self.sessions.remove(&old.session);
            self.drop_lanes(&old.lanes);
        }
        self.sessions.insert(session, account);
        let (shard, count) = (self.shard.id(), self.twins.len());
        self.ground.events.sessions(shard, count);
        self.ground.events.count(Step::Reattached, 1);
        self.tell(edge, ToEdge::Reattached { session });
        match self.resuming.remove(&account) {
            // It waited for this.
            Some(asked) => self.resume(asked),
            None => self.pump(account),
        }
    }

    /// Whether a newer connection of the account asked for the session's place. A resume that waits for
    /// the report itself is none.
    fn has_rival(&self, account: AccountId) -> bool {
        let resumes = self.resuming.contains_key(&account) && self.twins.contains_key(&account);
        resumes
            || self
                .opening
                .values()
                .any(|opening| opening.account == account)
    }

    /// Gives up on who was connected before this owner and was not reported since.
    pub(crate) fn drop_unreported(&mut self, now: Instant) {
        if self.unreported.is_empty() || now < self.report_by {
            return;
        }
        for (account, epoch) in std::mem::take(&mut self.unreported) {
            // Without effect on who has logged in since: that is another epoch.
            self.commands.push(Command::Leave { account, epoch });
            if self.twins.contains_key(&account) {
                continue;
            }
            self.ground.events.twin_lost();
            if let Some(asked) = self.resuming.remove(&account) {
                let h = self.shard.handled_by_dead(account, digest(&asked.resume));
                self.unresumable(&asked, h.unwrap_or_default(), Unresumable::Unknown);
            }
        }
    }
}
