//! What a router shows to whoever is on call.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{AccountId, ByteSize, Fault, FaultKind, PartnerId, ShardId, Timestamp};
use entente_log::{Log, MemoryLog};
use entente_node::{Drain, Readiness};
use entente_proto::edge::ToRouter;
use entente_proto::inspect::{Inspect, NOT_SEEN, Question};
use entente_router::{Config, Takes};
use entente_shard::{Assignment, Stores};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::gateway::{Disks, Gateway, SHARDS};
use crate::odd_log::OddLog;
use crate::plug::Power;

/// Longer than an owner goes without a look at itself.
const LOOK: Duration = Duration::from_secs(6);

/// A series of a shard.
fn of(name: &str, shard: ShardId) -> String {
    format!("entente_router_{name}{{shard=\"{shard}\"}}")
}

fn odd() -> (Arc<OddLog>, Disks) {
    let log = OddLog::new(MemoryLog::new(SHARDS));
    let disks = Disks::over(Arc::clone(&log) as Arc<dyn Log>);
    (log, disks)
}

/// What a connected device does not acknowledge grows old; what waits for one that is away does not
/// count, and a repetition does.
#[tokio::test(start_paused = true)]
async fn the_oldest_unsettled_stanza_is_shown_while_its_device_is_there() {
    let gateway = Gateway::start(&Disks::new(), Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let age = of(
        "unsettled_oldest_seconds",
        gateway.placement.of_account(bob),
    );
    let mut alice = gateway.online(alice).await;
    let mut old = alice.message(bob, "a");
    if let ToRouter::Submit { envelope, .. } = &mut old {
        let hours = Duration::from_secs(7_200);
        Arc::make_mut(envelope).admitted = Timestamp::now().minus(hours);
    }
    alice.tell(vec![old]).await;
    alice.handled().await;
    sleep(LOOK).await;
    assert_eq!(gateway.metric(&age), Some(0), "nobody is there to take it");
    let mut bob = gateway.online(bob).await;
    let last = bob.expect(&["a"]).await;
    sleep(LOOK).await;
    assert!(gateway.metric(&age) >= Some(7_200));
    bob.acknowledge(last).await;
    assert_eq!(alice.receipt().await, ["a"]);
    sleep(LOOK).await;
    assert_eq!(gateway.metric(&age), Some(0));

    let hits = "entente_router_dedupe_hits_total{}";
    assert_eq!(gateway.metric(hits), None);
    alice.send(bob.account, &["b", "b", "b"]).await;
    alice.handled().await;
    sleep(LOOK).await;
    assert_eq!(gateway.metric(hits), Some(2));
    gateway.stop().await;
}

/// An owner that does not get on with reading shows how many records it is behind, and for how long.
#[tokio::test(start_paused = true)]
async fn an_owner_that_stands_still_lags() {
    let (log, disks) = odd();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let shard = ShardId::new(1);
    let (records, seconds) = (of("log_lag_records", shard), of("log_lag_seconds", shard));
    sleep(2 * LOOK).await;
    assert_eq!(gateway.metric(&records), Some(0));
    log.set(|mood| mood.slow_read = Duration::from_secs(100));
    let junk = Bytes::from_static(b"not ours");
    for _ in 0..2 {
        let stored = log.append(shard.index(), vec![junk.clone(); 3]).await;
        stored.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(gateway.metric(&records), Some(6));
    let since = gateway.metric(&seconds).unwrap();
    assert!((45..=60).contains(&since), "{since}");
    log.set(|mood| mood.slow_read = Duration::ZERO);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(gateway.metric(&records), Some(0));
    assert_eq!(gateway.metric(&seconds), Some(0));
    assert_eq!(gateway.metric(&of("quarantine_records", shard)), Some(6));
    let answer = gateway.service.inspect(Question::Quarantine(shard)).await;
    let answer: serde_json::Value = serde_json::from_str(&answer.unwrap()).unwrap();
    let records = answer["records"].as_array().unwrap();
    assert_eq!(records.len(), 6);
    let offsets = records
        .iter()
        .map(|record| record["offset"].as_u64().unwrap());
    assert!(offsets.is_sorted());
    assert_eq!(records[5]["why"], "record seal does not match");
    assert_eq!(records[5]["bytes"], 8);
    gateway.stop().await;
}

/// A take-over shows how long its phases took and which sessions it does not have, until they are
/// reported or given up. What was set aside before is still there to be looked at.
#[tokio::test(start_paused = true)]
async fn a_take_over_shows_which_sessions_are_not_reported() {
    let (disks, power) = (Disks::new(), Power::default());
    let gateway = Gateway::start(&power.plug(&disks), Config::default()).await;
    let alice = gateway.user("alice").await;
    let shard = gateway.placement.of_account(alice);
    let mut device = gateway.online(alice).await;
    let bob = gateway.user("bob").await;
    device.send(bob, &["a"]).await;
    device.handled().await;
    let junk = vec![Bytes::from_static(b"not ours")];
    disks.log.append(shard.index(), junk).await.unwrap();
    sleep(LOOK).await;
    gateway.kill(&power).await;

    let next = Gateway::start(&disks, Config::default()).await;
    for phase in ["load", "replay", "claim"] {
        let count = format!("entente_router_takeover_seconds_count{{phase=\"{phase}\"}}");
        assert_eq!(next.metric(&count), Some(u64::from(SHARDS)), "{phase}");
    }
    sleep(Duration::from_secs(1)).await;
    let lost = "entente_router_twins_lost_total{}";
    assert_eq!(next.metric(&of("twins_unreported", shard)), Some(1));
    assert_eq!(next.metric(&of("quarantine_records", shard)), Some(1));
    assert_eq!(next.metric(lost), None);
    sleep(Config::default().report_time.get() + LOOK).await;
    assert_eq!(next.metric(&of("twins_unreported", shard)), Some(0));
    assert_eq!(next.metric(lost), Some(1));
    next.stop().await;
}

/// Who has handed a shard over shows nothing of it any more: two that show it would be added up.
#[tokio::test(start_paused = true)]
async fn a_shard_that_left_is_shown_no_more() {
    let (log, disks) = odd();
    let (told, assigned) = watch::channel(Some(BTreeSet::from([ShardId::new(0)])));
    let owning = (
        Assignment::Told(assigned),
        Stores::Kept(disks.stores.clone()),
        None,
    );
    let gateway = Gateway::start_with(&disks, Config::default(), owning).await;
    let lag = of("log_lag_records", ShardId::new(0));
    sleep(2 * LOOK).await;
    assert_eq!(gateway.metric(&lag), Some(0));
    told.send_replace(Some(BTreeSet::new()));
    // It serves until another one claims.
    sleep(LOOK).await;
    assert_eq!(gateway.metric(&lag), Some(0));
    let next = Gateway::start_with(
        &disks,
        Config::default(),
        (
            Assignment::Fixed(BTreeSet::from([ShardId::new(0)])),
            Stores::Kept(disks.stores.clone()),
            None,
        ),
    )
    .await;
    sleep(LOOK).await;
    assert_eq!(gateway.metric(&lag), None);
    assert!(next.metric(&lag).is_some());
    drop(log);
    gateway.stop().await;
    next.stop().await;
}

/// A log that all nodes share may be away for all of them: none takes itself out for it, and each says
/// so. For a node's own log readiness is that of the node. The metric says it in both cases.
#[tokio::test(start_paused = true)]
async fn a_shared_log_that_is_away_takes_nobody_out() {
    const NOTE: &str = "the log takes no appends";
    for is_shared in [true, false] {
        let (log, disks) = odd();
        let readiness = Readiness::new(Drain::new());
        let takes = if is_shared {
            Takes::Note(readiness.note(NOTE))
        } else {
            Takes::Condition(readiness.condition("log"))
        };
        let owning = (
            Assignment::Fixed(disks.stores.keys().copied().collect()),
            Stores::Kept(disks.stores.clone()),
            None,
        );
        let told = (readiness, takes);
        let gateway = Gateway::start_told(&disks, Config::default(), owning, told).await;
        let shown = || (gateway.readiness.is_ready(), gateway.readiness.notes());
        let available = || gateway.metric("entente_router_log_available{}");
        sleep(Duration::from_secs(1)).await;
        assert_eq!((shown(), available()), ((true, vec![]), Some(1)));
        log.set(|mood| mood.unwell = Some("no broker of the log can be reached"));
        sleep(Duration::from_secs(1)).await;
        let away = if is_shared {
            (true, vec![NOTE])
        } else {
            (false, vec![])
        };
        assert_eq!((shown(), available()), (away, Some(0)));
        log.set(|mood| mood.unwell = None);
        sleep(Duration::from_secs(1)).await;
        assert_eq!((shown(), available()), ((true, vec![]), Some(1)));
        gateway.stop().await;
    }
}

/// Asks why something waits for an account, and for what a stanza waits.
async fn waits(gateway: &Gateway, question: Question) -> Result<String, Fault> {
    let answer = gateway.service.inspect(question).await?;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    Ok(answer["waits"].as_str().unwrap_or_default().to_owned())
}

fn stanza(from: AccountId, to: AccountId, id: &'static str) -> Question {
    Question::Stanza {
        from,
        from_device: 1,
        to,
        id: Bytes::from_static(id.as_bytes()),
    }
}

/// Where a stanza is and for what it waits is told at each step of its way, and at none what it says.
#[tokio::test(start_paused = true)]
async fn a_stanza_can_be_followed_to_its_end() {
    let one = Config {
        window_stanzas: 1,
        window_bytes: ByteSize::kib(1024),
        ..Config::default()
    };
    let gateway = Gateway::start(&Disks::new(), one).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let device = || waits(&gateway, Question::Device(bob));
    let of = |id| waits(&gateway, stanza(alice, bob, id));
    assert_eq!(device().await.as_deref(), Ok("nothing waits"));
    assert_eq!(of("a").await, Err(NOT_SEEN));
    let mut sender = gateway.online(alice).await;
    sender.send(bob, &["a", "b"]).await;
    sender.handled().await;
    let woken = "the device is not connected; a wake-up was emitted";
    assert_eq!(device().await.as_deref(), Ok(woken));
    assert_eq!(of("b").await.as_deref(), Ok(woken));
    let other = waits(&gateway, stanza(bob, alice, "a")).await;
    assert_eq!(other, Err(NOT_SEEN), "the id of another sender");

    let mut receiver = gateway.connect(bob).await;
    receiver.bind().await;
    receiver.manage().await;
    let bound = "the session is bound and has not asked for its backlog";
    assert_eq!(device().await.as_deref(), Ok(bound));
    receiver.start().await;
    let first = receiver.expect(&["a"]).await;
    let in_flight = "it was sent and is not acknowledged";
    assert_eq!(of("a").await.as_deref(), Ok(in_flight));
    let full = "the window is full: the device does not acknowledge what it was sent";
    assert_eq!(of("b").await.as_deref(), Ok(full));
    let answer = gateway.service.inspect(stanza(alice, bob, "a")).await;
    let answer = answer.unwrap();
    assert!(
        answer.contains(&format!("\"position\":{first}")),
        "{answer}"
    );
    assert!(!answer.contains("<message"), "{answer}");

    receiver.acknowledge(first).await;
    let last = receiver.expect(&["b"]).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(of("a").await.as_deref(), Ok(""), "it is over");
    receiver.acknowledge(last).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(device().await.as_deref(), Ok("nothing waits"));
    gateway.stop().await;
}

/// What lies beyond an answer is said precisely.
#[tokio::test(start_paused = true)]
async fn who_asks_for_nothing_that_is_there_hears_so() {
    let gateway = Gateway::start(&Disks::new(), Config::default()).await;
    let alice = gateway.user("alice").await;
    let nobody = AccountId::new(PartnerId::new(7).unwrap(), 1);
    for question in [Question::Device(nobody), stanza(alice, nobody, "a")] {
        let refused = gateway.service.inspect(question).await.unwrap_err();
        assert_eq!(refused.kind(), FaultKind::NotFound);
        assert_eq!(refused.text(), "the account is not enlisted");
    }
    let beyond = Question::Shard(ShardId::new(SHARDS));
    let refused = gateway.service.inspect(beyond).await.unwrap_err();
    assert_eq!(refused.text(), "there is no such shard");
    let shard = gateway.placement.of_account(alice);
    // Until somebody has asked the log, nobody knows of a lag.
    sleep(2 * LOOK).await;
    let answer = gateway.service.inspect(Question::Shard(shard)).await;
    let answer: serde_json::Value = serde_json::from_str(&answer.unwrap()).unwrap();
    assert_eq!(answer["state"], "serving");
    assert_eq!(answer["log"]["lag_records"], 0);
    assert_eq!(answer["epoch"], 1);
    gateway.stop().await;
}
