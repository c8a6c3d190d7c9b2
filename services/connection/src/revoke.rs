//! Ends sessions whose login lost its ground: a partner's key was revoked, or the partner suspended.
//!
//! **Invariants**
//! - A login that was judged before a revocation and takes its seat after it is caught too: it shows
//!   the [`Mark`] that it took before it asked.
//! - Doubt ends sessions: what fell out of the memory is taken as revoked.

use std::collections::VecDeque;
use std::sync::Arc;

use entente_proto::IdentityClient;
use entente_proto::identity::Revocation;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::events::{self, Meters};
use crate::links::{Basis, Links};

/// Revocations that are remembered for logins in flight: revocations are rare, logins take seconds.
const MEMORY: usize = 64;

/// The revocations of late.
#[derive(Debug, Default)]
pub(crate) struct Revocations(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    seen: u64,
    last: VecDeque<Revocation>,
}

/// A moment in the sequence of revocations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl Revocations {
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.0.lock().seen)
    }

    /// Whether a login on this basis was revoked since the mark.
    pub(crate) fn since(&self, mark: Mark, basis: &Basis) -> bool {
        let memory = self.0.lock();
        let missed = usize::try_from(memory.seen - mark.0).unwrap_or(usize::MAX);
        missed > memory.last.len()
            || memory
                .last
                .iter()
                .rev()
                .take(missed)
                .any(|revocation| basis.falls_with(revocation))
    }

    fn remember(&self, revocation: Revocation) {
        let mut memory = self.0.lock();
        memory.seen += 1;
        if memory.last.len() == MEMORY {
            memory.last.pop_front();
        }
        memory.last.push_back(revocation);
    }

    fn forget(&self) {
        let mut memory = self.0.lock();
        // More than can be missed: every mark taken so far is in doubt.
        memory.seen += 1;
        memory.last.clear();
    }

    /// Follows the identity service for as long as it speaks.
    pub(crate) async fn follow(
        self: Arc<Self>,
        mut source: broadcast::Receiver<Revocation>,
        identity: IdentityClient,
        links: Arc<Links>,
        meters: Meters,
    ) {
        loop {
            match source.recv().await {
                Ok(revocation) => {
                    self.remember(revocation.clone());
                    links.revoke(Some(&revocation));
                    events::Revoked { all: false }.emit(&meters);
                }
                Err(RecvError::Lagged(_)) => {
                    self.forget();
                    links.revoke(None);
                    events::Revoked { all: true }.emit(&meters);
                    source = identity.revocations();
                }
                Err(RecvError::Closed) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use entente_core::PartnerId;

    fn key(partner: u16, kid: &str) -> Revocation {
        Revocation::Key {
            partner: PartnerId::new(partner).unwrap(),
            kid: kid.into(),
        }
    }

    fn basis(partner: u16, kid: &str) -> Basis {
        Basis {
            partner: PartnerId::new(partner).unwrap(),
            kid: kid.into(),
        }
    }

    #[test]
    fn a_login_in_flight_is_caught() {
        let revocations = Revocations::default();
        revocations.remember(key(1, "a"));
        let mark = revocations.mark();
        assert!(!revocations.since(mark, &basis(1, "a")));
        revocations.remember(key(1, "b"));
        assert!(revocations.since(mark, &basis(1, "b")));
        assert!(!revocations.since(mark, &basis(1, "c")));
        assert!(!revocations.since(mark, &basis(2, "b")));
        revocations.remember(Revocation::Partner(PartnerId::new(2).unwrap()));
        assert!(revocations.since(mark, &basis(2, "b")));
        let mark = revocations.mark();
        let kept = [PartnerId::new(2).unwrap()].into();
        revocations.remember(Revocation::AllBut(Arc::new(kept)));
        assert!(revocations.since(mark, &basis(1, "c")));
        assert!(!revocations.since(mark, &basis(2, "b")));
    }

    #[test]
    fn what_was_forgotten_counts_as_revoked() {
        let revocations = Revocations::default();
        let mark = revocations.mark();
        for _ in 0..=MEMORY {
            revocations.remember(key(9, "x"));
        }
        assert!(revocations.since(mark, &basis(1, "a")));
        let mark = revocations.mark();
        revocations.forget();
        assert!(revocations.since(mark, &basis(1, "a")));
        assert!(!revocations.since(revocations.mark(), &basis(1, "a")));
    }
}
