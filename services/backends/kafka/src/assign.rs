//! Which partitions a consumer fetches, and from where.

use std::sync::Arc;
use std::time::Duration;

use entente_log::LogError;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset as Place, TopicPartitionList};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::client::Context;
use crate::shared::Shared;

/// Longest that librdkafka is waited for to move a place. It answers without asking a broker.
const MOVE: Duration = Duration::from_secs(5);
/// Between two attempts to move the place of a partition that is being assigned.
const SEEK_AGAIN: Duration = Duration::from_millis(5);
/// Longest that a broker is waited for to say where a partition begins and ends.
const WATERMARKS: Duration = Duration::from_secs(10);
/// Between two questions where a partition begins and ends.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What was fetched of one partition.
pub(crate) type Queue = PartitionQueue<Context>;

/// Moves the place of a partition, which is assigned or is not. Returns a new queue if it had to be
/// assigned: librdkafka stops fetching at a place that is not there, and then does not seek any more.
pub(crate) fn go(
    consumer: &Arc<BaseConsumer<Context>>,
    shared: &Arc<Shared>,
    (partition, assigned): (u32, bool),
    from: u64,
) -> Result<Option<Queue>, LogError> {
    let (topic, number) = (shared.routing.topic(), number(partition)?);
    let place = Place::Offset(i64::try_from(from).map_err(|_| LogError::Unavailable)?);
    if assigned && consumer.seek(topic, number, place, MOVE).is_ok() {
        return Ok(None);
    }
    let unavailable = |error: KafkaError| {
        tracing::warn!(partition, %error, "a partition of the log is not assigned");
        LogError::Unavailable
    };
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, number, place)
        .map_err(unavailable)?;
    if assigned {
        consumer.incremental_unassign(&list).map_err(unavailable)?;
    }
    consumer.incremental_assign(&list).map_err(unavailable)?;
    let queue = split(consumer, shared, partition);
    // What came between the two calls went to the consumer's own queue: fetched again. librdkafka
    // assigns on a thread of its own, and does not seek before it has.
    let until = Instant::now() + MOVE;
    while let Err(error) = consumer.seek(topic, number, place, MOVE) {
        if Instant::now() > until {
            return Err(unavailable(error));
        }
        std::thread::sleep(SEEK_AGAIN);
    }
    Ok(queue)
}

/// Takes a partition from the consumer.
pub(crate) fn unassign(
    consumer: &BaseConsumer<Context>,
    shared: &Shared,
    partition: u32,
) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition(
        shared.routing.topic(),
        i32::try_from(partition).unwrap_or(i32::MAX),
    );
    consumer.incremental_unassign(&list)
}

/// A queue for what is fetched of one partition, which wakes whoever waits for it.
pub(crate) fn split(
    consumer: &Arc<BaseConsumer<Context>>,
    shared: &Arc<Shared>,
    partition: u32,
) -> Option<Queue> {
    let number = number(partition).ok()?;
    let mut queue = consumer.split_partition_queue(shared.routing.topic(), number)?;
    let shared = Arc::clone(shared);
    queue.set_nonempty_callback(move || {
        if let Ok(known) = shared.partition(partition) {
            known.changed.notify_waiters();
        }
    });
    Some(queue)
}

/// Assigns every partition at its end, from where nothing is fetched before it is written.
pub(crate) fn assign(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    ends: &[u64],
) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::with_capacity(ends.len());
    for (partition, end) in (0..).zip(ends) {
        let place = Place::Offset(i64::try_from(*end).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, partition, place)?;
    }
    consumer.assign(&list)
}

pub(crate) async fn watermarks(
    consumer: &Arc<BaseConsumer<Context>>,
    shared: &Arc<Shared>,
    partition: u32,
) -> Result<(u64, u64), LogError> {
    let (consumer, shared, number) = (Arc::clone(consumer), Arc::clone(shared), number(partition)?);
    let asked = spawn_blocking(move || ask_watermarks(&consumer, shared.routing.topic(), number));
    let answer = asked.await.map_err(|_| LogError::Unavailable)?;
    answer.map_err(|_| LogError::Unavailable)
}

/// Where a partition begins and ends. Blocks.
fn ask_watermarks(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partition: i32,
) -> Result<(u64, u64), KafkaError> {
    until_agreed(|| {
        let (low, high) = consumer.fetch_watermarks(topic, partition, WATERMARKS)?;
        let offset = |offset: i64| u64::try_from(offset).unwrap_or_default();
        Ok((offset(low), offset(high)))
    })
}

/// The same of each partition of a topic, with two requests to each broker. Blocks.
pub(crate) fn ask_all_watermarks(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partitions: u32,
) -> Result<Vec<(u64, u64)>, KafkaError> {
    let lows = until_agreed(|| ask_places(consumer, topic, partitions, Place::Beginning))?;
    let highs = until_agreed(|| ask_places(consumer, topic, partitions, Place::End))?;
    Ok(lows.into_iter().zip(highs).collect())
}

fn ask_places(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partitions: u32,
    place: Place,
) -> Result<Vec<u64>, KafkaError> {
    let numbers = (0..partitions).filter_map(|each| i32::try_from(each).ok());
    let mut list = TopicPartitionList::new();
    for number in numbers.clone() {
        list.add_partition_offset(topic, number, place)?;
    }
    // What stands for a time may be one of the two ends, as in the request itself.
    let told = consumer.offsets_for_times(list, WATERMARKS)?;
    let offset = |number| {
        let unknown = KafkaError::OffsetFetch(Code::UnknownPartition);
        let told = told.find_partition(topic, number).ok_or(unknown.clone())?;
        told.error()?;
        match told.offset() {
            Place::Offset(offset) => u64::try_from(offset).map_err(|_| unknown),
            _ => Err(unknown),
        }
    };
    // Answers come broker by broker.
    numbers.map(offset).collect()
}

/// Asks again while brokers do not agree on who leads, as they do for a moment after a topic was made.
fn until_agreed<T>(ask: impl Fn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let until = Instant::now() + WATERMARKS;
    loop {
        match ask() {
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => std::thread::sleep(ASK_AGAIN),
            told => return told,
        }
    }
}

fn number(partition: u32) -> Result<i32, LogError> {
    i32::try_from(partition).map_err(|_| LogError::UnknownPartition)
}
