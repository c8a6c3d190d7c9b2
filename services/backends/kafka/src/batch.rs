//! One append under way: the reports of its records make one outcome.
//!
//! **Invariants**
//! - The outcome is told once, when every record of the batch has a report.
//! - It is an `Appended` only if every report says that its record is stored, behind the one before.

use std::sync::Arc;

use entente_core::{Offset, Timestamp};
use entente_log::{Appended, LogError};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::shared::Permit;

/// Held by every record of the batch that librdkafka has.
#[derive(Debug)]
pub(crate) struct Batch {
    partition: u32,
    records: usize,
    permit: Permit,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: usize,
    stored: Option<Stored>,
    unknown: bool,
    done: Option<oneshot::Sender<Result<Appended, LogError>>>,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    first: u64,
    last: u64,
    at: Timestamp,
}

/// The future side of a batch.
pub(crate) type Outcome = oneshot::Receiver<Result<Appended, LogError>>;

impl Batch {
    pub(crate) fn new(partition: u32, records: usize, permit: Permit) -> (Arc<Self>, Outcome) {
        let (done, outcome) = oneshot::channel();
        let state = State {
            left: records,
            stored: None,
            unknown: false,
            done: Some(done),
        };
        let batch = Self {
            partition,
            records,
            permit,
            state: Mutex::new(state),
        };
        (Arc::new(batch), outcome)
    }

    /// The next record is stored.
    pub(crate) fn stored(&self, offset: u64, at: Timestamp) {
        let mut state = self.state.lock();
        state.stored = Some(match state.stored {
            None => Stored {
                first: offset,
                last: offset,
                at,
            },
            Some(before) => {
                // Not a batch in order: whatever it is, it is not what was asked for.
                state.unknown |= offset <= before.last;
                Stored {
                    last: offset.max(before.last),
                    at: at.max(before.at),
                    ..before
                }
            }
        });
        self.report(&mut state, 1);
    }

    /// Nobody knows of the next `records`: an attempt may have been stored, or none was made while
    /// others of the batch were.
    pub(crate) fn unknown(&self, records: usize) {
        let mut state = self.state.lock();
        state.unknown = true;
        self.report(&mut state, records);
    }

    fn report(&self, state: &mut State, records: usize) {
        state.left = state.left.saturating_sub(records);
        if state.left > 0 {
            return;
        }
        let Some(done) = state.done.take() else {
            return;
        };
        let shared = self.permit.shared();
        let count = u64::try_from(self.records).unwrap_or(u64::MAX);
        let outcome = match state.stored {
            Some(Stored { first, last, at }) if !state.unknown => {
                if let Ok(partition) = shared.partition(self.partition) {
                    partition.reaches(last.saturating_add(1));
                }
                shared.acknowledged(count);
                Ok(Appended::new(
                    self.partition,
                    Offset::new(first),
                    Offset::new(last),
                    at,
                ))
            }
            _ => {
                shared.unknown(count);
                Err(LogError::UnknownOutcome)
            }
        };
        // Nobody waits for a dropped append; it is stored all the same.
        done.send(outcome).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use entente_core::SealKey;

    use super::*;
    use crate::routing::Routing;
    use crate::shared::Shared;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn shared() -> Arc<Shared> {
        let routing = Routing::new(SealKey::new(&[1; 32]), "c", "t");
        Arc::new(Shared::new(routing, &[(0, 0)], 1 << 20))
    }

    fn batch(shared: &Arc<Shared>, records: usize) -> (Arc<Batch>, Outcome) {
        Batch::new(0, records, shared.room(std::iter::empty()).unwrap())
    }

    #[test]
    fn all_reports_make_one_appended_with_holes_between() {
        let shared = shared();
        let (batch, mut outcome) = batch(&shared, 3);
        batch.stored(7, at(1));
        batch.stored(9, at(3));
        assert!(outcome.try_recv().is_err(), "one report is missing");
        batch.stored(10, at(2));
        let appended = outcome.try_recv().unwrap().unwrap();
        assert_eq!(
            (appended.first(), appended.last()),
            (Offset::new(7), Offset::new(10))
        );
        assert_eq!(appended.at(), at(3));
        assert_eq!(shared.partition(0).unwrap().end(), Offset::new(11));
        assert_eq!(shared.counts().acknowledged, 3);
    }

    /// T143: a batch of which one record has no good report is not acknowledged, whatever the others'.
    #[test]
    fn one_unknown_record_makes_the_batch_unknown() {
        for unknown in 0..3 {
            let shared = shared();
            let (batch, mut outcome) = batch(&shared, 3);
            for n in 0..3 {
                if n == unknown {
                    batch.unknown(1);
                } else {
                    batch.stored(n, at(n));
                }
            }
            assert_eq!(outcome.try_recv().unwrap(), Err(LogError::UnknownOutcome));
            assert_eq!(
                (shared.counts().acknowledged, shared.counts().unknown),
                (0, 3)
            );
        }
    }

    /// T144: records that were stored in another order are not acknowledged as this batch.
    #[test]
    fn a_batch_out_of_order_is_unknown() {
        let (batch, mut outcome) = batch(&shared(), 2);
        batch.stored(9, at(1));
        batch.stored(8, at(2));
        assert_eq!(outcome.try_recv().unwrap(), Err(LogError::UnknownOutcome));
    }
}
