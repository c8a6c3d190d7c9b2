//! An account that everybody writes to slows its own shard and no other.

use std::sync::Arc;
use std::time::Duration;

use entente_core::{AccountId, ShardId, Span};
use entente_log::{Log, LogError, MemoryLog};
use entente_proto::edge::ToEdge;
use entente_router::Config;
use tokio::time::sleep;

use crate::gateway::{Device, Disks, Gateway, SHARDS};
use crate::odd_log::OddLog;

/// Messages for the hot account, of each sender.
const FLOOD: usize = 1_000;
/// Messages between the two who have nothing to do with it.
const CALM: usize = 200;

/// An account of a shard, or of another one.
async fn of_shard(gateway: &Gateway, name: &str, is_wanted: impl Fn(ShardId) -> bool) -> AccountId {
    for attempt in 0..100 {
        let account = gateway.user(&format!("{name}{attempt}")).await;
        if is_wanted(gateway.placement.of_account(account)) {
            return account;
        }
    }
    panic!("chance puts nobody there")
}

/// Two who write to each other beside a flood: how many of the messages arrived, and were acknowledged.
async fn talk(sender: &mut Device, receiver: &mut Device) -> (usize, usize) {
    let (mut arrived, mut receipts) = (0, 0);
    for round in 0..CALM {
        sender
            .send(receiver.account, &[&format!("calm{round}")])
            .await;
        let place = receiver.expect(&[&format!("calm{round}")]).await;
        arrived += 1;
        receiver.acknowledge(place).await;
        loop {
            match sender.next().await {
                ToEdge::Deliver { position, .. } => {
                    sender.acknowledge(position).await;
                    receipts += 1;
                    break;
                }
                ToEdge::Handled { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    (arrived, receipts)
}

async fn flood(hot: AccountId, senders: &mut [Device]) {
    for sender in senders {
        let ids: Vec<_> = (0..FLOOD).map(|id| format!("hot{id}")).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        for part in ids.chunks(100) {
            sender.send(hot, part).await;
        }
    }
}

/// The owner of the hot account does not get on with reading, and the senders are of the shards of those
/// who are calm: those send and receive as if there were no flood.
#[tokio::test(start_paused = true)]
async fn a_hot_account_slows_its_own_shard() {
    let log = OddLog::new(MemoryLog::new(SHARDS));
    let disks = Disks::over(Arc::clone(&log) as Arc<dyn Log>);
    let gateway = Gateway::start(&disks, Config::default()).await;
    let hot = gateway.user("hot").await;
    let shard = gateway.placement.of_account(hot);
    let elsewhere = |other| other != shard;
    let anne = of_shard(&gateway, "anne", elsewhere).await;
    let bert = of_shard(&gateway, "bert", elsewhere).await;
    let mut senders = Vec::new();
    for name in ["eve", "fay", "gus"] {
        let account = of_shard(&gateway, name, elsewhere).await;
        senders.push(gateway.online(account).await);
    }
    let (mut anne, mut bert) = (gateway.online(anne).await, gateway.online(bert).await);
    let mut target = gateway.online(hot).await;
    log.set(|mood| {
        mood.only = Some(shard.index());
        mood.slow_read = Duration::from_secs(1_000_000);
    });
    // One read may be under way, and is the last one.
    senders[0].send(hot, &["first"]).await;
    sleep(Duration::from_secs(1)).await;
    flood(hot, &mut senders).await;
    for sender in &mut senders {
        sender.handled().await;
    }
    assert_eq!(talk(&mut anne, &mut bert).await, (CALM, CALM));
    sleep(Duration::from_secs(10)).await;
    let lag = |shard| format!("entente_router_log_lag_records{{shard=\"{shard}\"}}");
    let behind = gateway.metric(&lag(shard)).unwrap();
    assert!(behind > 1, "the hot shard is behind by {behind}");
    for other in (0..SHARDS)
        .map(ShardId::new)
        .filter(|other| *other != shard)
    {
        assert_eq!(gateway.metric(&lag(other)), Some(0), "shard {other}");
    }
    let (before, _) = target.ready();
    assert!(
        before.len() < FLOOD,
        "{} arrived at the hot account",
        before.len()
    );
    gateway.stop().await;
}

/// The log of the hot shard takes nothing: what waits for it waits with its senders, and others of the same
/// shards go on.
#[tokio::test(start_paused = true)]
async fn a_partition_that_takes_nothing_holds_up_its_own_senders() {
    let log = OddLog::new(MemoryLog::new(SHARDS));
    let disks = Disks::over(Arc::clone(&log) as Arc<dyn Log>);
    let patient = Config {
        log_patience: Span::secs(3_600),
        ..Config::default()
    };
    let gateway = Gateway::start(&disks, patient).await;
    let hot = gateway.user("hot").await;
    let shard = gateway.placement.of_account(hot);
    let elsewhere = |other| other != shard;
    let anne = of_shard(&gateway, "anne", elsewhere).await;
    let home = gateway.placement.of_account(anne);
    let bert = of_shard(&gateway, "bert", elsewhere).await;
    let eve = of_shard(&gateway, "eve", |other| other == home).await;
    let (mut anne, mut bert) = (gateway.online(anne).await, gateway.online(bert).await);
    let mut senders = [gateway.online(eve).await];
    log.set(|mood| {
        mood.only = Some(shard.index());
        mood.refuse = Some(LogError::Busy);
    });
    flood(hot, &mut senders).await;
    assert_eq!(talk(&mut anne, &mut bert).await, (CALM, CALM));
    let [eve] = &mut senders;
    let (heard, is_open) = eve.ready();
    assert!(is_open && heard.is_empty(), "{heard:?}");
    log.set(|mood| mood.refuse = None);
    eve.handled().await;
    gateway.stop().await;
}
