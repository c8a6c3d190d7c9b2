//! Reading from anywhere, and records that do not belong where they lie.

use bytes::Bytes;
use entente_core::{Offset, SealKey};
use entente_kafka::{KafkaLog, Misrouted, Routing, Settings};
use entente_log::{Log, LogError, Record};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::broker::{brokers, missing, open, rules, settings, soon};
use crate::or_skip;

pub(crate) async fn append(log: &KafkaLog, partition: u32, text: &str) -> Offset {
    let batch = vec![Bytes::copy_from_slice(text.as_bytes())];
    soon(log.append(partition, batch)).await.unwrap().first()
}

pub(crate) async fn all(log: &KafkaLog, partition: u32) -> Vec<Record> {
    let mut next = log.floor(partition);
    let mut all = Vec::new();
    while next < log.end(partition) {
        let records = soon(log.read(partition, next, 1 << 20)).await.unwrap();
        next = records.last().unwrap().offset.next();
        all.extend(records);
    }
    all
}

pub(crate) fn texts(records: &[Record]) -> Vec<&str> {
    records
        .iter()
        .map(|record| std::str::from_utf8(&record.payload).unwrap())
        .collect()
}

/// Writes to a topic past the log, as whoever may produce to it can.
pub(crate) fn intrude(settings: &Settings, partition: i32, header: Option<&[u8]>, payload: &str) {
    intrude_into(&rules(settings).name, partition, header, payload);
}

pub(crate) fn intrude_into(topic: &str, partition: i32, header: Option<&[u8]>, payload: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers().unwrap())
        .create()
        .unwrap();
    let mut record = BaseRecord::<(), str>::to(topic)
        .partition(partition)
        .payload(payload);
    if let Some(header) = header {
        let headers = OwnedHeaders::new().insert(Header {
            key: "e",
            value: Some(header),
        });
        record = record.headers(headers);
    }
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(std::time::Duration::from_secs(30)).unwrap();
}

/// Any place may be read at any time, in any order, and gives what is there.
#[tokio::test]
async fn places_are_read_in_any_order() {
    const RECORDS: usize = 300;
    or_skip!(missing());
    let settings = settings();
    let log = open(&settings).await;
    let mut offsets = Vec::new();
    for n in 0..RECORDS {
        offsets.push(append(&log, 1, &n.to_string()).await);
    }
    let mut rng = StdRng::seed_from_u64(11);
    for _ in 0..40 {
        let at = rng.random_range(0..RECORDS);
        let bytes = rng.random_range(1..200);
        let records = soon(log.read(1, offsets[at], bytes)).await.unwrap();
        for (n, record) in (at..).zip(&records) {
            assert_eq!(record.payload, n.to_string());
            assert_eq!(record.offset, offsets[n]);
        }
        assert!(!records.is_empty());
    }
}

/// A read that was given up in the middle takes nothing from the next.
#[tokio::test]
async fn a_read_that_was_dropped_skips_nothing() {
    or_skip!(missing());
    let settings = settings();
    let log = open(&settings).await;
    for n in 0..50 {
        append(&log, 0, &n.to_string()).await;
    }
    for from in (0..50).rev() {
        let dropped = log.read(0, Offset::new(from), 1 << 20);
        tokio::select! {
            biased;
            _ = dropped => {}
            () = std::future::ready(()) => {}
        }
        let records = soon(log.read(0, Offset::new(from), 1 << 20)).await.unwrap();
        assert_eq!(records.first().unwrap().payload, from.to_string());
    }
}

/// T142: records that nobody of this deployment wrote to this place are counted and not handed out, and
/// those around them are.
#[tokio::test]
async fn records_of_others_are_counted_and_passed() {
    or_skip!(missing());
    let settings = settings();
    let log = open(&settings).await;
    append(&log, 0, "ours").await;
    let topic = rules(&settings).name;
    let stranger = Routing::new(SealKey::new(&[8; 32]), "c", &topic).header(0, b"forged");
    intrude(&settings, 0, None, "bare");
    intrude(&settings, 0, Some(&stranger), "forged");
    append(&log, 0, "ours too").await;
    assert_eq!(texts(&all(&log, 0).await), ["ours", "ours too"]);
    let counted = [(Misrouted::NoHeader, 1), (Misrouted::OtherOrigin, 1)];
    assert_eq!(log.counts().misrouted, counted);
}

/// T142: records of others at the end of a partition hold up nobody: the next start ends before them.
#[tokio::test]
async fn records_of_others_at_the_end_hold_up_no_start() {
    or_skip!(missing());
    let settings = settings();
    let log = open(&settings).await;
    let ours = append(&log, 0, "ours").await;
    drop(log);
    for n in 0..20 {
        intrude(&settings, 0, None, &n.to_string());
        intrude(&settings, 2, None, &n.to_string());
    }
    let log = open(&settings).await;
    assert_eq!(log.end(0), ours.next());
    assert_eq!(log.end(1), Offset::new(0));
    assert_eq!(log.end(2), Offset::new(0));
    assert_eq!(texts(&all(&log, 0).await), ["ours"]);
    append(&log, 0, "later").await;
    append(&log, 2, "first").await;
    assert_eq!(texts(&all(&log, 0).await), ["ours", "later"]);
    let records = soon(log.read(2, Offset::new(0), 1)).await.unwrap();
    assert_eq!(texts(&records), ["first"]);
}

/// T146: what is gone is told, never skipped. Another process lets records go and appends, and who waits
/// here learns of both.
#[tokio::test]
async fn two_processes_see_each_other() {
    or_skip!(missing());
    let settings = settings();
    let (log, other) = (open(&settings).await, open(&settings).await);
    for n in 0..10 {
        append(&log, 0, &n.to_string()).await;
    }
    soon(other.readable(0, Offset::new(9))).await.unwrap();
    assert_eq!(texts(&all(&other, 0).await).len(), 10);
    soon(other.raise_floor(0, Offset::new(6))).await.unwrap();
    // The floor here is the one of the start: the brokers say that there is nothing.
    let gone = soon(log.read(0, Offset::new(2), 1000)).await;
    assert_eq!(
        gone,
        Err(LogError::Truncated {
            floor: Offset::new(6)
        })
    );
    assert_eq!(log.floor(0), Offset::new(6));
    let records = soon(log.read(0, Offset::new(6), 1000)).await.unwrap();
    assert_eq!(texts(&records), ["6", "7", "8", "9"]);
    let waits = log.readable(0, log.end(0));
    let appends = append(&other, 0, "from there");
    let (told, _) = soon(async { tokio::join!(waits, appends) }).await;
    told.unwrap();
    let records = soon(log.read(0, Offset::new(10), 1000)).await.unwrap();
    assert_eq!(texts(&records), ["from there"]);
}

/// Who takes a partition over asks where it ends: what another process appended is below that, and what
/// that one let go is below the floor.
#[tokio::test]
async fn an_end_is_asked_for() {
    or_skip!(missing());
    let settings = settings();
    let (log, other) = (open(&settings).await, open(&settings).await);
    for n in 0..10 {
        append(&other, 0, &n.to_string()).await;
    }
    soon(other.raise_floor(0, Offset::new(4))).await.unwrap();
    assert_eq!(log.end(0), Offset::new(0));
    soon(log.refresh(0)).await.unwrap();
    assert_eq!(
        (log.floor(0), log.end(0)),
        (Offset::new(4), Offset::new(10))
    );
    assert_eq!(texts(&all(&log, 0).await), ["4", "5", "6", "7", "8", "9"]);
    // Nothing new: the same answer.
    soon(log.refresh(0)).await.unwrap();
    assert_eq!(log.end(0), Offset::new(10));
    assert_eq!(soon(log.refresh(99)).await, Err(LogError::UnknownPartition));
}
