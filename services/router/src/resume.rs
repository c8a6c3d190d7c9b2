//! resume: a session goes on over another connection, from any edge.
//!
//! The twin answers exactly as long as it lives, whatever became of the edge. A resume waits until
//! every stanza of the old connection has its outcome, so that no position is counted twice.

#[cfg(feature = "mutants")]
use entente_core::mutant::{self, Mutant};
use entente_core::{AccountId, Epoch, SessionId};
use entente_proto::edge::{CloseReason, EdgeId, ResumeKey, ToEdge, Unresumable};
use entente_shard::Command;
use ring::digest::{SHA256, digest as hash};

use crate::error::RouterError;
use crate::events::Step;
use crate::owner::{Owner, Resuming};

/// What the log keeps of a resume key: enough to know it again, nothing to use it with.
pub(crate) fn digest(key: &ResumeKey) -> [u8; 16] {
    let full = hash(&SHA256, &key.0);
    full.as_ref().first_chunk().copied().unwrap_or_default()
}

impl Owner {
    pub(crate) fn resume(&mut self, asked: Resuming) -> Result<(), RouterError> {
        let known = self.twins.get(&asked.account).and_then(|twin| {
            let managed = twin.managed.as_ref()?;
            let key = managed.resume.as_ref()?;
            // The digest takes the same time for every key, and its first difference tells nothing.
            (digest(key) == digest(&asked.resume)).then_some(twin)
        });
        let Some(twin) = known else {
            let h = self
                .shard
                .handled_by_dead(asked.account, digest(&asked.resume))?;
            if h.is_some() && self.unreported.contains_key(&asked.account) {
                // Whoever carried it may still report it.
                self.await_one(asked);
                return Ok(());
            }
            self.unresumable(&asked, h, Unresumable::Unknown);
            return Ok(());
        };
        if twin.position_of(asked.h).is_none() {
            let h = twin.h();
            self.unresumable(&asked, Some(h), Unresumable::BadCount);
            return Ok(());
        }
        let (old, edge, attached) = (twin.session, twin.edge, twin.detached.is_none());
        #[cfg(feature = "mutants")]
        if mutant::is(Mutant::NoFencing) {
            let account = asked.account;
            self.resuming.insert(account, asked);
            return self.resume_when_quiet(account);
        }
        if attached {
            // The old connection is half dead at best: it gets no more, and what it sends is late.
            self.tell(
                edge,
                ToEdge::Closed {
                    session: old,
                    why: CloseReason::Conflict,
                },
            );
            self.detach(old);
        }
        self.sessions.remove(&old);
        let account = asked.account;
        self.await_one(asked);
        self.resume_when_quiet(account)
    }

    /// Lets a resume wait, in place of one that waits already.
    fn await_one(&mut self, asked: Resuming) {
        if let Some(earlier) = self.resuming.insert(asked.account, asked) {
            self.unresumable(&earlier, None, Unresumable::Unknown);
        }
    }

    /// Goes on with a resume that waits, if nothing of the old connection is under way any more.
    pub(crate) fn resume_when_quiet(&mut self, account: AccountId) -> Result<(), RouterError> {
        let quiet = self
            .twins
            .get(&account)
            .is_some_and(|twin| twin.appending == 0);
        if !quiet {
            return Ok(());
        }
        let Some(asked) = self.resuming.remove(&account) else {
            return Ok(());
        };
        let Some(twin) = self.twins.get_mut(&account) else {
            return Ok(());
        };
        let Some(position) = twin.position_of(asked.h) else {
            let h = twin.h();
            self.unresumable(&asked, Some(h), Unresumable::BadCount);
            return Ok(());
        };
        let settled = twin.acknowledge(position);
        let (epoch, h, life) = (twin.epoch, twin.h(), twin.life);
        if let Some(sequence) = settled {
            self.settles.insert(account, (epoch, sequence, h));
        }
        self.bind(asked.edge, asked.session, account, Some(life));
        Ok(())
    }

    /// The fold gave the resumed session its epoch.
    pub(crate) fn resumed(
        &mut self,
        account: AccountId,
        session: SessionId,
        epoch: Epoch,
        edge: EdgeId,
    ) -> Result<(), RouterError> {
        self.serial += 1;
        let Some(twin) = self.twins.get_mut(&account) else {
            return Ok(());
        };
        twin.rebind(session, edge, (epoch, self.serial));
        let Some(managed) = &twin.managed else {
            return Ok(());
        };
        let item = ToEdge::Resumed {
            session,
            epoch,
            handled: twin.handled,
            inbound: managed.inbound,
            outbound: managed.outbound,
            acked: twin.acked,
        };
        if let Some(key) = &managed.resume {
            // So that what the log has of the session keeps up with it in the new epoch.
            let digest = digest(key);
            self.commands.push(Command::Resumable {
                account,
                epoch,
                digest,
            });
        }
        self.ground.events.count(Step::Resumed, 1);
        let refusals = twin.refuse_again();
        self.tell(edge, item);
        for refusal in refusals {
            self.tell_refused(edge, session, refusal);
        }
        self.pump(account)
    }

    pub(crate) fn unresumable(&mut self, asked: &Resuming, h: Option<u32>, why: Unresumable) {
        self.ground.events.count(Step::Unresumable, 1);
        self.tell(
            asked.edge,
            ToEdge::Unresumable {
                session: asked.session,
                h,
                why,
            },
        );
    }
}
