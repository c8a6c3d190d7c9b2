//! The log against librdkafka's own cluster, whose brokers fail on command.

use std::collections::HashSet;
use std::future::Future;

use entente_core::ByteSize;
use entente_core::Span;
use entente_log::Appended;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};

use super::*;

const PARTITIONS: u32 = 2;
/// Longest that anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);

struct Bed {
    cluster: MockCluster<'static, DefaultProducerContext>,
    settings: Settings,
    log: KafkaLog,
}

impl Bed {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let cluster = MockCluster::new(3).unwrap();
        let url = format!(
            "kafka://{}/mock?development=on",
            cluster.bootstrap_servers()
        );
        let mut settings = Settings::from_url(&url).unwrap();
        change(&mut settings);
        let rules = TopicRules::of_log(&settings, "input", PARTITIONS);
        cluster.create_topic(&rules.name, 2, 3).unwrap();
        let admin = asking(&settings).unwrap();
        let key = SealKey::new(&[7; 32]);
        let log = KafkaLog::attach(&settings, &rules, key, admin)
            .await
            .unwrap();
        Self {
            cluster,
            settings,
            log,
        }
    }

    /// What the next requests to append are answered with; nothing of them is stored.
    fn produce_fails(&self, errors: &[Code]) {
        self.cluster.request_errors(RDKafkaApiKey::Produce, errors);
    }

    async fn append(&self, text: &str) -> Result<Appended, LogError> {
        soon(
            self.log
                .append(0, vec![Bytes::copy_from_slice(text.as_bytes())]),
        )
        .await
    }

    async fn append_when_there_is_room(&self, text: &str) -> Result<Appended, LogError> {
        loop {
            match self.append(text).await {
                Err(LogError::Busy) => tokio::time::sleep(Duration::from_millis(20)).await,
                outcome => return outcome,
            }
        }
    }

    async fn stored(&self) -> Vec<String> {
        let mut next = Offset::new(0);
        let mut all = Vec::new();
        while next < self.log.end(0) {
            let records = soon(self.log.read(0, next, 1 << 20)).await.unwrap();
            for record in records {
                next = record.offset.next();
                all.push(String::from_utf8(record.payload.to_vec()).unwrap());
            }
        }
        all
    }

    fn all_down(&self) {
        (1..=3).for_each(|broker| self.cluster.broker_down(broker).unwrap());
    }

    fn all_up(&self) {
        (1..=3).for_each(|broker| self.cluster.broker_up(broker).unwrap());
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.unwrap()
}

/// The first of each, for what is stored twice.
fn distinct(all: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    all.into_iter()
        .filter(|each| seen.insert(each.clone()))
        .collect()
}

/// What others appended is known without reading it; what is not ours counts until it was looked at.
#[tokio::test]
async fn how_far_a_partition_reaches_is_asked() {
    let bed = Bed::new().await;
    let beside = async |key: u8| {
        let rules = TopicRules::of_log(&bed.settings, "input", PARTITIONS);
        let (admin, key) = (asking(&bed.settings).unwrap(), SealKey::new(&[key; 32]));
        let log = KafkaLog::attach(&bed.settings, &rules, key, admin).await;
        log.unwrap()
    };
    let latest = async || soon(bed.log.latest(0)).await.unwrap().value();
    let ours = beside(7).await;
    let batch = vec![Bytes::from_static(b"ours"); 3];
    soon(ours.append(0, batch)).await.unwrap();
    assert_eq!((bed.log.end(0).value(), latest().await), (0, 3));
    soon(bed.log.readable(0, Offset::new(0))).await.unwrap();
    while bed.stored().await.len() < 3 {
        soon(bed.log.readable(0, bed.log.end(0))).await.unwrap();
    }
    assert_eq!(latest().await, 3);
    let batch = vec![Bytes::from_static(b"strange")];
    soon(beside(8).await.append(0, batch)).await.unwrap();
    assert_eq!(latest().await, 4, "nobody has looked");
    let look = async {
        // Waits for ever, and passes over what is not ours meanwhile.
        let _ours = bed.log.readable(0, Offset::new(3)).await;
    };
    let passed = async {
        while bed.log.counts().misrouted.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = look => panic!("there is nothing of ours"),
        () = soon(passed) => {}
    }
    assert_eq!(latest().await, 3, "no reader ever gets behind it");
}

/// T143: an append is acknowledged after errors that pass, and only when it is stored.
#[tokio::test]
async fn what_passes_is_tried_again() {
    let bed = Bed::new().await;
    let passing = [
        Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    let mut wanted = Vec::new();
    for (n, error) in passing.into_iter().enumerate() {
        bed.produce_fails(&[error, error]);
        let text = n.to_string();
        bed.append(&text)
            .await
            .unwrap_or_else(|why| panic!("{error:?}: {why}"));
        wanted.push(text);
        assert_eq!(bed.stored().await, wanted, "{error:?}");
    }
    assert_eq!(bed.log.counts().acknowledged, 7);
    assert_eq!(bed.log.health(), Health::Ok);
}

/// T143: an append that the brokers refuse is not acknowledged, and not called lost either: an attempt
/// before, whose answer was lost, may have been stored.
#[tokio::test]
async fn what_is_refused_is_unknown_and_told() {
    let bed = Bed::new().await;
    let refusals = [
        Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        Code::RD_KAFKA_RESP_ERR_INVALID_RECORD,
        Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    ];
    for error in refusals {
        bed.produce_fails(&[error]);
        assert_eq!(
            bed.append("refused").await,
            Err(LogError::UnknownOutcome),
            "{error:?}"
        );
        let told = "the brokers refuse what this program may not do";
        assert_eq!(
            bed.log.health(),
            Health::Failed { reason: told },
            "{error:?}"
        );
        // librdkafka keeps a topic that was refused for a moment, and takes nothing for it.
        soon(async {
            while bed.append("taken").await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert_eq!(bed.log.health(), Health::Ok, "{error:?}");
    }
    assert_eq!(distinct(bed.stored().await), ["taken"]);
}

/// T144: after an error that ends a producer another takes its place. What was under way is unknown,
/// and what comes next is stored behind what was acknowledged before.
#[tokio::test]
async fn a_producer_that_ended_is_replaced() {
    let bed = Bed::new().await;
    let ends = [
        Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
        Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
    ];
    let mut acknowledged = Vec::new();
    for (n, error) in ends.into_iter().enumerate() {
        for text in [
            format!("before {n}"),
            format!("under way {n}"),
            format!("after {n}"),
        ] {
            if text.starts_with("under way") {
                bed.produce_fails(&[error]);
            }
            let outcome = bed.append_when_there_is_room(&text).await;
            if outcome.is_ok() {
                acknowledged.push(text);
            } else {
                assert_eq!(outcome, Err(LogError::UnknownOutcome), "{error:?} {text}");
                assert!(text.starts_with("under way"), "{error:?} {text}");
            }
        }
    }
    let stored = distinct(bed.stored().await);
    let kept: Vec<_> = stored
        .into_iter()
        .filter(|each| acknowledged.contains(each))
        .collect();
    assert_eq!(kept, acknowledged);
    let counts = bed.log.counts();
    assert!(counts.replaced > 0, "{counts:?}");
    assert_eq!(
        counts.acknowledged,
        u64::try_from(acknowledged.len()).unwrap()
    );
}

/// T143: no broker, no acknowledgement; and what is acknowledged when they are back is stored.
#[tokio::test]
async fn without_brokers_nothing_is_acknowledged() {
    let bed = Bed::with(|settings| settings.delivery = Span::secs(3)).await;
    bed.append("before").await.unwrap();
    bed.all_down();
    assert_eq!(bed.append("lost").await, Err(LogError::UnknownOutcome));
    assert!(matches!(bed.log.health(), Health::Failed { .. }));
    bed.all_up();
    soon(async { while bed.append("after").await.is_err() {} }).await;
    assert_eq!(bed.log.health(), Health::Ok);
    let stored = distinct(bed.stored().await);
    assert!(
        stored.iter().position(|each| each == "before")
            < stored.iter().position(|each| each == "after")
    );
}

/// T144: what waits longer than it may is unknown, and nothing of it is stored behind what came later.
#[tokio::test]
async fn slow_brokers_do_not_change_the_order() {
    let bed = Bed::with(|settings| settings.delivery = Span::secs(3)).await;
    bed.append("first").await.unwrap();
    for broker in 1..=3 {
        bed.cluster
            .broker_round_trip_time(broker, Duration::from_millis(4_500))
            .unwrap();
    }
    let late: Vec<_> = (0..20)
        .map(|n| bed.log.append(0, vec![Bytes::from(format!("late {n}"))]))
        .collect();
    for append in late {
        assert_eq!(soon(append).await, Err(LogError::UnknownOutcome));
    }
    for broker in 1..=3 {
        bed.cluster
            .broker_round_trip_time(broker, Duration::ZERO)
            .unwrap();
    }
    let mut acknowledged = Vec::new();
    for n in 0..5 {
        let text = format!("again {n}");
        if bed.append(&text).await.is_ok() {
            acknowledged.push(text);
        }
    }
    assert!(!acknowledged.is_empty());
    let stored = distinct(bed.stored().await);
    assert_eq!(stored.first().map(String::as_str), Some("first"));
    let again: Vec<_> = stored
        .iter()
        .filter(|each| acknowledged.contains(each))
        .collect();
    assert!(again.into_iter().eq(&acknowledged), "{stored:?}");
    let late: Vec<_> = stored
        .iter()
        .filter(|each| each.starts_with("late"))
        .collect();
    let wanted: Vec<_> = (0..20)
        .map(|n| format!("late {n}"))
        .filter(|n| late.contains(&n))
        .collect();
    assert!(late.into_iter().eq(&wanted), "{stored:?}");
}

/// T143: a partition that gets another leader in the middle of many appends loses none of them.
#[tokio::test]
async fn another_leader_loses_nothing() {
    let bed = Bed::new().await;
    let topic = format!("{}.input", bed.settings.prefix);
    let mut wanted = Vec::new();
    for leader in [1, 2, 3, 1] {
        bed.cluster
            .partition_leader(&topic, 0, Some(leader))
            .unwrap();
        let many: Vec<_> = (0..50)
            .map(|n| {
                wanted.push(format!("{leader} {n} {}", wanted.len()));
                bed.log
                    .append(0, vec![Bytes::from(wanted.last().unwrap().clone())])
            })
            .collect();
        for append in many {
            soon(append).await.unwrap();
        }
    }
    assert_eq!(distinct(bed.stored().await), wanted);
}

/// What waits is bounded: the rest is refused at once, and nothing of it is stored later.
#[tokio::test]
async fn a_full_queue_refuses_and_never_grows() {
    const QUEUE: ByteSize = ByteSize::kib(64);
    let bed = Bed::with(|settings| {
        settings.queue = QUEUE;
        settings.delivery = Span::secs(30);
    })
    .await;
    bed.all_down();
    let payload = |n: usize| Bytes::from(format!("{n:0>1000}"));
    let mut waiting = Vec::new();
    let mut refused = 0;
    for n in 0..1_000 {
        let mut append = bed.log.append(0, vec![payload(n)]);
        match futures_now(&mut append).await {
            Some(outcome) => {
                assert_eq!(outcome, Err(LogError::Busy));
                refused += 1;
            }
            None => waiting.push((n, append)),
        }
    }
    assert!(waiting.len() < QUEUE.get() / 1_000, "{}", waiting.len());
    assert_eq!(waiting.len() + refused, 1_000);
    let large = vec![Bytes::from(vec![0; QUEUE.get() + 1])];
    assert_eq!(
        soon(bed.log.append(0, large)).await,
        Err(LogError::TooLarge)
    );
    bed.all_up();
    let mut wanted = Vec::new();
    for (n, append) in waiting {
        soon(append).await.unwrap();
        wanted.push(format!("{n:0>1000}"));
    }
    assert_eq!(bed.stored().await, wanted);
    bed.append("room again").await.unwrap();
}

/// The outcome, if it is there already.
async fn futures_now(append: &mut Append) -> Option<Result<Appended, LogError>> {
    tokio::select! {
        biased;
        outcome = append => Some(outcome),
        () = ready(()) => None,
    }
}

/// Every append has an outcome, also when the log goes in the middle of it.
#[tokio::test]
async fn a_dropped_log_leaves_no_append_waiting() {
    let bed = Bed::new().await;
    bed.all_down();
    let waiting: Vec<_> = (0..10)
        .map(|_| bed.log.append(1, vec![Bytes::new()]))
        .collect();
    let Bed { cluster, log, .. } = bed;
    drop(log);
    for append in waiting {
        assert_eq!(soon(append).await, Err(LogError::UnknownOutcome));
    }
    drop(cluster);
}

/// A closed log takes nothing, tells what was under way, and is still read.
#[tokio::test]
async fn closing_waits_for_what_is_under_way() {
    let bed = Bed::new().await;
    let waiting = bed.log.append(0, vec![Bytes::from_static(b"last")]);
    soon(bed.log.close()).await;
    soon(waiting).await.unwrap();
    assert_eq!(bed.append("late").await, Err(LogError::Closed));
    assert_eq!(bed.stored().await, ["last"]);
    assert_eq!(
        soon(bed.log.readable(0, bed.log.end(0))).await,
        Err(LogError::Closed)
    );
}

/// What nobody follows is not fetched, and who waits all the same is not forgotten.
#[tokio::test]
async fn only_what_is_followed_is_fetched() {
    let bed = Bed::new().await;
    bed.append("a").await.unwrap();
    assert_eq!(bed.log.reader.assigned(), 0, "nobody reads yet");
    for _ in 0..2 {
        assert_eq!(bed.stored().await, ["a"]);
        assert_eq!(bed.log.reader.assigned(), 1);
        bed.log.unfollow(0);
        assert_eq!(bed.log.reader.assigned(), 0);
        bed.log.unfollow(0);
        bed.log.unfollow(PARTITIONS);
    }
    let unfollowed = async {
        // In vain while the one who waits is being given its place.
        let mut taken = false;
        while !taken {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let had = bed.log.reader.assigned();
            bed.log.unfollow(0);
            taken = bed.log.reader.assigned() < had;
        }
        bed.append("b").await.unwrap();
    };
    let waits = soon(bed.log.readable(0, Offset::new(1)));
    let (readable, ()) = tokio::join!(waits, unfollowed);
    readable.unwrap();
    assert_eq!(bed.stored().await, ["a", "b"]);
}

/// A partition whose end takes long to find holds up no other one, and each has its own.
#[tokio::test]
async fn ends_are_found_side_by_side() {
    let bed = Bed::new().await;
    let rules = TopicRules::of_log(&bed.settings, "input", PARTITIONS);
    let beside = async || {
        let (admin, key) = (asking(&bed.settings).unwrap(), SealKey::new(&[7; 32]));
        let log = KafkaLog::attach(&bed.settings, &rules, key, admin).await;
        log.unwrap()
    };
    let other = beside().await;
    for (partition, records) in [(0, 2), (1, 3)] {
        let batch = vec![Bytes::from_static(b"beside"); records];
        soon(other.append(partition, batch)).await.unwrap();
    }
    let late = beside().await;
    let ends = [0, 1].map(|partition| late.end(partition).value());
    assert_eq!(ends, [2, 3]);
    let held = bed.log.reader.hold(0).await;
    let found = async {
        while bed.log.end(1) != Offset::new(3) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(held);
    };
    let finds = bed.log.reader.find_ends(ends.to_vec());
    let (finds, ()) = soon(async { tokio::join!(finds, found) }).await;
    finds.unwrap();
    assert_eq!(bed.log.end(0), Offset::new(2));
}
