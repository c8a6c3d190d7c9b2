//! librdkafka alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entente_core::SealKey;
use entente_kafka::{KafkaLog, TopicRules};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::figures::Figures;
use crate::{Due, Plan, due_of, wait_for};

/// Longest that the last records of a round are waited for.
const LAST: Duration = Duration::from_secs(30);

/// A producer and a consumer of one topic.
pub(crate) struct Bare {
    topic: String,
    producer: ThreadedProducer<Reports>,
    consumer: Arc<BaseConsumer>,
}

/// Notes when each record was acknowledged, after the begin of the round.
#[derive(Default)]
struct Reports(Arc<Mutex<Vec<Duration>>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<(Instant, Duration)>;

    fn delivery(&self, report: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        assert!(report.is_ok(), "not stored: {report:?}");
        let (begin, due) = *opaque;
        self.0.lock().push(begin.elapsed() - due);
    }
}

impl Bare {
    pub(crate) fn open(plan: &Plan) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let rules = TopicRules::of_log(&plan.settings, "bare", plan.partitions);
        // Opened to have the topic made as those of the log are.
        let made = KafkaLog::open(&plan.settings, &rules, SealKey::new(&[7; 32]));
        drop(runtime.block_on(made).unwrap());
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", plan.settings.bootstrap())
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set(
                "linger.ms",
                plan.settings.linger.get().as_millis().to_string(),
            )
            .set("batch.size", plan.settings.record.get().to_string());
        let producer = config.create_with_context(Reports::default()).unwrap();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", plan.settings.bootstrap())
            .set("group.id", "latency")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "100");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(plan.partitions).unwrap() {
            list.add_partition_offset(&rules.name, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        Self {
            topic: rules.name,
            producer,
            consumer: Arc::new(consumer),
        }
    }

    pub(crate) fn run(&mut self, plan: &Plan, dues: &[Due]) -> Figures {
        let begin = Instant::now();
        let (count, ends) = (dues.len(), Arc::new(AtomicBool::new(false)));
        let (consumer, ended) = (Arc::clone(&self.consumer), Arc::clone(&ends));
        let reader = std::thread::spawn(move || {
            let mut read = Vec::with_capacity(count);
            while read.len() < count && !ended.load(Ordering::Relaxed) {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                    read.push(begin.elapsed() - due_of(message.payload().unwrap()));
                }
            }
            read
        });
        for due in dues {
            wait_for(begin, *due);
            let payload = plan.record(*due);
            let record = BaseRecord::<(), [u8], _>::with_opaque_to(
                &self.topic,
                Box::new((begin, due.after)),
            )
            .partition(i32::try_from(due.partition).unwrap())
            .payload(&payload);
            self.producer
                .send(record)
                .map_err(|(error, _)| error)
                .unwrap();
        }
        let acked = Arc::clone(&self.producer.client().context().0);
        let until = Instant::now() + LAST;
        while (acked.lock().len() < count || !reader.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        ends.store(true, Ordering::Relaxed);
        let read = reader.join().unwrap();
        let acked = std::mem::take(&mut *acked.lock());
        assert_eq!((acked.len(), read.len()), (count, count), "not all came");
        Figures::new(acked, read)
    }
}
