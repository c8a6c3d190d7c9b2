//! The demonstration's own ledger: what was sent and what arrived, by pair of users.
//!
//! Kept at the application, on decrypted numbers: it trusts neither the gateway's counts nor the
//! client's dedupe.

use std::collections::HashMap;

use entente_core::AccountId;
use entente_kit::device::{histogram, record};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// What one user sent to one other.
#[derive(Debug, Default)]
struct Pair {
    sent: u64,
    arrived: Vec<bool>,
    highest: u64,
}

/// What became of everything that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    pub(crate) undecryptable: u64,
    pub(crate) micros: Histogram<u64>,
}

impl Totals {
    /// Sent, and never seen by the recipient.
    pub(crate) const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.delivered)
    }
}

#[derive(Debug)]
struct Inner {
    pairs: HashMap<(AccountId, AccountId), Pair>,
    totals: Totals,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Book {
    inner: Mutex<Inner>,
    delivered: watch::Sender<u64>,
    clock: Instant,
}

impl Default for Book {
    fn default() -> Self {
        let totals = Totals {
            sent: 0,
            delivered: 0,
            duplicates: 0,
            out_of_order: 0,
            undecryptable: 0,
            micros: histogram(),
        };
        Self {
            inner: Mutex::new(Inner {
                pairs: HashMap::new(),
                totals,
            }),
            delivered: watch::Sender::new(0),
            clock: Instant::now(),
        }
    }
}

impl Book {
    /// Microseconds on the book's clock.
    pub(crate) fn micros(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Numbers the next message from one user to another.
    pub(crate) fn send(&self, from: AccountId, to: AccountId) -> u64 {
        let mut inner = self.inner.lock();
        inner.totals.sent += 1;
        let pair = inner.pairs.entry((from, to)).or_default();
        pair.sent += 1;
        pair.arrived.push(false);
        pair.sent
    }

    /// Notes a message that its recipient decrypted.
    pub(crate) fn arrive(&self, from: AccountId, to: AccountId, number: u64, micros: u64) {
        let now = self.micros();
        let mut inner = self.inner.lock();
        let Inner { pairs, totals } = &mut *inner;
        let pair = pairs.entry((from, to)).or_default();
        let at = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        match at.and_then(|at| pair.arrived.get_mut(at)) {
            Some(seen) if !*seen => *seen = true,
            // A number that nobody sent is no delivery either.
            _ => {
                totals.duplicates += 1;
                return;
            }
        }
        if number < pair.highest {
            totals.out_of_order += 1;
        }
        pair.highest = pair.highest.max(number);
        totals.delivered += 1;
        let took = std::time::Duration::from_micros(now.saturating_sub(micros));
        record(&mut totals.micros, took);
        let delivered = totals.delivered;
        drop(inner);
        self.delivered.send_replace(delivered);
    }

    /// Notes a message that could not be decrypted.
    pub(crate) fn fail(&self) {
        self.inner.lock().totals.undecryptable += 1;
    }

    /// How many were delivered, to wait on.
    pub(crate) fn delivered(&self) -> watch::Receiver<u64> {
        self.delivered.subscribe()
    }

    /// What became of everything.
    pub(crate) fn totals(&self) -> Totals {
        self.inner.lock().totals.clone()
    }
}

#[cfg(test)]
mod tests {
    use entente_core::PartnerId;

    use super::*;

    #[test]
    fn losses_copies_and_disorder_are_told_apart() {
        let id = |number| AccountId::new(PartnerId::new(1).unwrap(), number);
        let book = Book::default();
        for _ in 0..4 {
            book.send(id(1), id(2));
        }
        assert_eq!(book.send(id(2), id(1)), 1);
        for number in [1, 3, 2, 2, 9] {
            book.arrive(id(1), id(2), number, 0);
        }
        let totals = book.totals();
        assert_eq!((totals.sent, totals.delivered, totals.lost()), (5, 3, 2));
        assert_eq!((totals.duplicates, totals.out_of_order), (2, 1));
        assert_eq!(totals.micros.len(), 3);
        assert_eq!(*book.delivered().borrow(), 3);
    }
}
