//! Producers: batches in, one outcome each out.
//!
//! A partition always has the same producer, so its batches are stored in the order of the calls. A
//! producer that ended by a fatal error is replaced with the next append; what it had is unknown.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_log::LogError;
use parking_lot::Mutex;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use tokio::time::Instant;

use crate::batch::{Batch, Outcome};
use crate::client::Context;
use crate::error::OpenError;
use crate::outcome::{ends_the_producer, not_taken};
use crate::shared::{Permit, Shared};

/// The name of the header with the routing seal. Short: it is in every record.
pub(crate) const HEADER: &str = "e";
/// How often a producer that goes is asked whether all its reports are out.
const RETIRE_EVERY: Duration = Duration::from_millis(10);
/// Longest that it is asked. Purged records are reported at once, so this is for a broken machine.
const RETIRE_TRIES: u32 = 6_000;

/// Between two producers of a slot: one that ends at once, as where this program may not write, is not
/// made anew for each append.
const REPLACE_EVERY: Duration = Duration::from_secs(1);

type Handle = ThreadedProducer<Context>;

/// A producer and when it was made.
struct Slot {
    handle: Handle,
    made: Instant,
}

/// The producers of a log.
pub(crate) struct Producers {
    shared: Arc<Shared>,
    config: ClientConfig,
    /// Locked for the time of one batch: what is handed over while it is, is in one row.
    slots: Vec<Mutex<Slot>>,
}

impl Producers {
    pub(crate) fn new(
        shared: Arc<Shared>,
        config: ClientConfig,
        count: usize,
    ) -> Result<Self, OpenError> {
        let made = (0..count).map(|_| make(&config, &shared).map(Mutex::new));
        let slots = made.collect::<Result<_, _>>()?;
        Ok(Self {
            shared,
            config,
            slots,
        })
    }

    /// Hands a batch over. Nothing of it was sent if there is an error.
    pub(crate) fn submit(
        &self,
        partition: u32,
        records: &[Bytes],
        permit: Permit,
    ) -> Result<Outcome, LogError> {
        let number = i32::try_from(partition).map_err(|_| LogError::UnknownPartition)?;
        let slot = usize::try_from(partition).unwrap_or_default() % self.slots.len().max(1);
        let slot = self.slots.get(slot).ok_or(LogError::Closed)?;
        let (batch, outcome) = Batch::new(partition, records.len(), permit);
        let mut slot = slot.lock();
        let mut handle = self.working(&mut slot)?;
        let mut sent = 0;
        for payload in records {
            let mut taken = self.send(handle, number, payload, &batch);
            // Found to be at its end only now, and nothing of the batch is with it.
            if sent == 0 && taken == Err(Refusal::Ended) {
                handle = self.working(&mut slot)?;
                taken = self.send(handle, number, payload, &batch);
            }
            match taken {
                Ok(()) => sent += 1,
                Err(Refusal::Record(error)) if sent == 0 => return Err(error),
                Err(Refusal::Ended) if sent == 0 => return Err(LogError::Busy),
                // A part of the batch is on its way, and the rest will not be.
                Err(_) => {
                    batch.unknown(records.len() - sent);
                    break;
                }
            }
        }
        Ok(outcome)
    }

    /// The producer of a slot; a new one if that cannot go on.
    fn working<'s>(&self, slot: &'s mut Slot) -> Result<&'s Handle, LogError> {
        if slot.handle.client().context().is_broken() {
            if slot.made.elapsed() < REPLACE_EVERY {
                return Err(LogError::Busy);
            }
            let replacement = make(&self.config, &self.shared).map_err(|error| {
                tracing::warn!(%error, "no new producer for the log");
                LogError::Busy
            })?;
            let old = std::mem::replace(slot, replacement);
            self.shared.replaced();
            tracing::warn!("a producer of the log ended and was replaced");
            retire(old.handle);
        }
        Ok(&slot.handle)
    }

    /// Hands one record to librdkafka.
    fn send(
        &self,
        handle: &Handle,
        partition: i32,
        payload: &Bytes,
        batch: &Arc<Batch>,
    ) -> Result<(), Refusal> {
        let routing = &self.shared.routing;
        let header = routing.header(u32::try_from(partition).unwrap_or(u32::MAX), payload);
        let header = Header {
            key: HEADER,
            value: Some(&header),
        };
        let headers = OwnedHeaders::new_with_capacity(1).insert(header);
        let record = BaseRecord::<(), [u8], _>::with_opaque_to(routing.topic(), Arc::clone(batch))
            .partition(partition)
            .payload(&payload[..])
            .headers(headers);
        handle.send(record).map_err(|(error, _)| {
            if error.rdkafka_error_code().is_some_and(ends_the_producer) {
                handle.client().context().break_down();
                Refusal::Ended
            } else {
                Refusal::Record(not_taken(&error))
            }
        })
    }
}

/// Why librdkafka took nothing of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The producer can do nothing any more.
    Ended,
    /// The record, or this moment, is not one for it.
    Record(LogError),
}

fn make(config: &ClientConfig, shared: &Arc<Shared>) -> Result<Slot, OpenError> {
    let handle = config.create_with_context(Context::of(Arc::clone(shared)))?;
    let made = Instant::now();
    Ok(Slot { handle, made })
}

/// Ends a producer on a thread of its own. Every record that it has is reported first, as purged, so
/// that no append waits for ever.
fn retire(handle: Handle) {
    let end = move || {
        handle.purge(PurgeConfig::default().queue().inflight());
        // Its own thread serves the reports meanwhile; librdkafka's flush would wait in steps of
        // 100 ms.
        for _ in 0..RETIRE_TRIES {
            if handle.in_flight_count() == 0 {
                break;
            }
            std::thread::sleep(RETIRE_EVERY);
        }
    };
    let thread = std::thread::Builder::new().name("log-retire".to_owned());
    // Without a thread the closure is dropped here, and the producer with it: that waits too.
    if let Err(error) = thread.spawn(end) {
        tracing::warn!(%error, "a producer of the log ends in place");
    }
}

impl Drop for Producers {
    fn drop(&mut self) {
        let slots = self.slots.drain(..).map(Mutex::into_inner);
        slots.for_each(|slot| retire(slot.handle));
    }
}

impl std::fmt::Debug for Producers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producers")
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}
