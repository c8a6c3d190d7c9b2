//! Topics as they are found.

use entente_core::{ByteSize, SealKey};
use entente_kafka::{Finding, KafkaLog, OpenError, Settings, TopicRules, survey};
use entente_log::{Log, LogError};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::broker::{brokers, key, missing, open, rules, settings, soon};
use crate::or_skip;

async fn make(name: &str, partitions: i32, changes: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers().unwrap())
        .create()
        .unwrap();
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let topic = changes
        .iter()
        .fold(topic, |topic, (name, value)| topic.set(name, value));
    let made = soon(admin.create_topics([&topic], &AdminOptions::new()))
        .await
        .unwrap();
    made.into_iter().next().unwrap().unwrap();
}

/// T147: a topic that others made is held against every rule, and refused with what differs.
#[tokio::test]
async fn a_topic_that_could_lose_records_is_refused() {
    or_skip!(missing());
    let settings = settings();
    let rules = rules(&settings);
    make(
        &rules.name,
        2,
        &[("retention.ms", "1000"), ("cleanup.policy", "compact")],
    )
    .await;
    let refused = soon(KafkaLog::open(&settings, &rules, key()))
        .await
        .unwrap_err();
    assert!(matches!(refused, OpenError::Differs { .. }));
    let said = refused.to_string();
    for wanted in [
        "partitions is 2, wanted 3",
        "cleanup.policy is compact, wanted delete",
        "retention.ms is 1000, wanted -1",
        "message.timestamp.type is CreateTime, wanted LogAppendTime",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
}

/// The number of partitions is that of the first start.
#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    or_skip!(missing());
    let settings = settings();
    drop(open(&settings).await);
    let more = TopicRules::of_log(&settings, "input", 4);
    let refused = soon(KafkaLog::open(&settings, &more, key()))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("partitions is 3, wanted 4"),
        "{refused}"
    );
}

#[tokio::test]
async fn brokers_that_do_not_answer_are_named() {
    let settings = Settings::from_url("kafka://127.0.0.1:1/p?development=on").unwrap();
    let refused = soon(KafkaLog::open(
        &settings,
        &rules(&settings),
        SealKey::new(&[1; 32]),
    ))
    .await;
    let said = refused.unwrap_err().to_string();
    let names = said.starts_with("none of the brokers 127.0.0.1:1 answers: ");
    assert!(names && said.contains("Connection refused"), "{said}");
}

/// A look at the brokers says what a start would do or refuse, and makes nothing.
#[tokio::test]
async fn a_survey_says_what_a_start_would_meet() {
    or_skip!(missing());
    let settings = settings();
    let rules = [rules(&settings)];
    let topic = rules[0].name.clone();
    let absent = vec![Finding::Missing {
        topic: topic.clone(),
    }];
    for _ in 0..2 {
        assert_eq!(
            soon(survey(&settings, &rules, &key())).await.unwrap(),
            absent
        );
    }
    let many = Settings {
        replicas: 99,
        ..settings.clone()
    };
    let few = soon(survey(&many, &rules, &key())).await.unwrap();
    assert!(
        matches!(few[..], [_, Finding::FewBrokers { wanted: 99, up }] if up < 99),
        "{few:?}"
    );
    drop(open(&settings).await);
    let nothing: Vec<Finding> = Vec::new();
    assert_eq!(
        soon(survey(&settings, &rules, &key())).await.unwrap(),
        nothing
    );
    let other = [TopicRules::of_log(&settings, "input", 5)];
    let differs = soon(survey(&settings, &other, &key())).await.unwrap();
    assert!(differs.iter().all(Finding::prevents), "{differs:?}");
    let said = differs[0].to_string();
    assert!(said.contains("partitions is 3, wanted 5"), "{said}");
}

/// What the settings allow passes every limit on the way: producer, broker and consumer.
#[tokio::test]
async fn the_largest_records_pass_end_to_end() {
    or_skip!(missing());
    let settings = Settings {
        record: ByteSize::kib(4096),
        ..settings()
    };
    let log = open(&settings).await;
    let large = bytes::Bytes::from(vec![0x5a; settings.record.get()]);
    let batch = vec![large.clone(); 4];
    let appended = soon(log.append(0, batch)).await.unwrap();
    let mut next = appended.first();
    for _ in 0..4 {
        let records = soon(log.read(0, next, 1)).await.unwrap();
        let record = records.first().unwrap();
        assert!(record.payload == large);
        next = record.offset.next();
    }
    let larger = bytes::Bytes::from(vec![0; settings.record.get() + 1]);
    assert_eq!(
        soon(log.append(0, vec![larger])).await,
        Err(LogError::TooLarge)
    );
}
