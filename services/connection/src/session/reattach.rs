//! The stream to the owner ended and the connection did not: what the next owner is told.
//!
//! **Invariants**
//! - The report comes first, then everything without an outcome in the order in which it was told
//!   before, then requests for places.
//! - While there is no owner, the client goes on to write, as far as what waits is bounded; of what it is
//!   owed it gets what needs no owner.

use entente_proto::edge::{Report, ToRouter};

use super::flow::Management;
use super::{Effects, LOCAL_BYTES, LOCALS, Session};

impl Session {
    /// Whether more of the client's stanzas can be taken.
    pub(crate) fn takes_more(&self, has_owner: bool) -> bool {
        // Half of what would end the session: one element can ask for several places.
        let many = self.locals.len() > LOCALS / 2 || self.local_bytes > LOCAL_BYTES / 2;
        !self.ledger.is_full() && (has_owner || !many)
    }

    /// Tells an owner that may know nothing of the session.
    pub(crate) fn reattach(&mut self, fx: &mut Effects<'_>) {
        let session = self.id;
        let report = Box::new(self.report());
        fx.router.push(ToRouter::Reattach { session, report });
        self.ledger.tell_again(session, self.handled, fx.router);
        let places = self.locals.iter().map(|_| ToRouter::Local { session });
        fx.router.extend(places);
        if let Management::Asked {
            resume, inbound, ..
        } = &self.management
        {
            fx.router.push(ToRouter::Enable {
                session,
                inbound: *inbound,
                resume: resume.clone(),
            });
        }
    }

    fn report(&self) -> Report {
        let credit = self.rules.config.limits.credit.get();
        let credit = u32::try_from(credit).unwrap_or(u32::MAX);
        let mut report = Report {
            account: self.me.account,
            epoch: self.epoch,
            management: self.management.told(),
            started: self.has_started(),
            credit: credit.saturating_sub(self.spent),
            handled: self.handled,
            sent: self.written,
            acked: self.written,
            delivered: entente_core::Sequence::default(),
            settled: entente_core::Sequence::default(),
            unacked: Vec::new(),
            refusals: Vec::new(),
        };
        self.ledger.report(&mut report);
        report
    }
}
