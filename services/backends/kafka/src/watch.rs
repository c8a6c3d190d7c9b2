//! A thread that serves what belongs to no partition: librdkafka's events, a look whether brokers are
//! back, and now and then a wake-up for whoever waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::client::Context;
use crate::error::OpenError;
use crate::shared::{Shared, Unwell};

/// Longest that the thread waits for an event, and with it that it outlives its log.
const POLL: Duration = Duration::from_millis(100);
/// Events are waited for so many times before waiters look again: a reader may have moved the place of
/// a partition from under another that waits at its end.
const LOOK_EVERY: u32 = 10;
/// Longest that brokers are waited for when they are looked for.
const PROBE: Duration = Duration::from_secs(1);

/// Ends the thread when dropped.
#[derive(Debug)]
pub(crate) struct Watch(Arc<AtomicBool>);

impl Watch {
    pub(crate) fn start(
        shared: Arc<Shared>,
        consumer: Arc<BaseConsumer<Context>>,
    ) -> Result<Self, OpenError> {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        std::thread::Builder::new()
            .name("log-watch".to_owned())
            .spawn(move || watch(&shared, &consumer, &told))
            .map_err(OpenError::Thread)?;
        Ok(Self(ends))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn watch(shared: &Shared, consumer: &BaseConsumer<Context>, ends: &AtomicBool) {
    let mut turn = 0_u32;
    while !ends.load(Ordering::Relaxed) {
        // Records come by the partitions' queues: what is here is an event that was served by the
        // call, or left from before the queues were there, and fetched again.
        drop(consumer.poll(POLL));
        turn = turn.wrapping_add(1);
        if !turn.is_multiple_of(LOOK_EVERY) {
            continue;
        }
        shared.wake_all();
        let topic = Some(shared.routing.topic());
        if shared.is(Unwell::Down) && consumer.fetch_metadata(topic, PROBE).is_ok() {
            shared.clear(Unwell::Down);
        }
    }
}
