//! Which edge is attached to which shard here, so that a stream follows the one it replaces.
//!
//! An edge that lost its stream attaches again at once. Its owner takes attachments and batches from
//! two queues, so the farewell of the old stream could pass for that of the new one; therefore a new
//! stream waits until the old one is over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use entente_core::{Fault, ShardId};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::edge::EdgeId;
use crate::wire::fault::{REPLACED, TOO_MANY};

/// Streams that one server carries: the edges of a large deployment times its shards.
const SEATS: usize = 65_536;

/// The seats of one server. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<HashMap<(EdgeId, ShardId), Holder>>>);

#[derive(Clone, Debug)]
struct Holder {
    stop: CancellationToken,
    over: CancellationToken,
}

/// A stream's seat; the next one of the same edge and shard may go on when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    key: (EdgeId, ShardId),
    /// Fires when another stream wants the seat, or the server ends.
    pub(super) stop: CancellationToken,
    over: CancellationToken,
}

impl Seats {
    /// Takes the seat, and ends and waits for the stream that has it.
    ///
    /// # Errors
    /// `Conflict` if a still newer stream took it meanwhile; `Overloaded` if there are too many.
    pub(super) async fn take(
        &self,
        edge: EdgeId,
        shard: ShardId,
        ending: &CancellationToken,
    ) -> Result<Seat, Fault> {
        let key = (edge, shard);
        let seat = Seat {
            seats: self.clone(),
            key,
            stop: ending.child_token(),
            over: CancellationToken::new(),
        };
        let before = self.put(key, &seat)?;
        if let Some(before) = before {
            before.stop.cancel();
            before.over.cancelled().await;
        }
        if seat.stop.is_cancelled() {
            return Err(REPLACED);
        }
        Ok(seat)
    }

    fn put(&self, key: (EdgeId, ShardId), seat: &Seat) -> Result<Option<Holder>, Fault> {
        let holder = Holder {
            stop: seat.stop.clone(),
            over: seat.over.clone(),
        };
        let mut seats = self.0.lock();
        let full = seats.len() >= SEATS;
        match seats.entry(key) {
            Entry::Occupied(mut taken) => Ok(Some(taken.insert(holder))),
            Entry::Vacant(_) if full => Err(TOO_MANY),
            Entry::Vacant(free) => {
                free.insert(holder);
                Ok(None)
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.seats.0.lock();
        // Tokens compare by what they are clones of: a newer stream's seat stays.
        if let Entry::Occupied(taken) = seats.entry(self.key)
            && taken.get().over == self.over
        {
            taken.remove();
        }
        drop(seats);
        self.over.cancel();
    }
}
