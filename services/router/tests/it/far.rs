//! A router that owns some of the shards, and takes for them what others bring.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{AccountId, Content, Fault, FaultKind, ShardId};
use entente_log::MemoryLog;
use entente_proto::edge::{EdgeId, Router, ToEdge};
use entente_proto::intake::{Ephemeral, Intake, Taken, Topic};
use entente_proto::owners::ELSEWHERE;
use entente_proto::{Directory, IntakeClient};
use entente_router::Config;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::gateway::{Disks, Gateway, SHARDS};
use crate::odd_log::OddLog;

const PATIENCE: Duration = Duration::from_secs(20);

/// Another router, as this one sees it.
#[derive(Debug)]
struct Far(mpsc::Sender<(ShardId, Vec<Ephemeral>)>);

#[async_trait]
impl Intake for Far {
    async fn append(&self, _: Topic, _: u32, _: Vec<Bytes>) -> Result<Taken, Fault> {
        Err(ELSEWHERE)
    }

    async fn pass(&self, shard: ShardId, stanzas: Vec<Ephemeral>) -> Result<(), Fault> {
        self.0.send((shard, stanzas)).await.unwrap();
        Ok(())
    }
}

/// Disks with the rows of one shard alone.
fn with_shard(disks: &Disks, shard: u32) -> Disks {
    let shard = ShardId::new(shard);
    let store = Arc::clone(&disks.stores[&shard]);
    Disks {
        stores: BTreeMap::from([(shard, store)]),
        ..disks.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_owned_elsewhere_is_refused_by_name() {
    let whole = Disks::new();
    let gateway = Gateway::start(&whole, Config::default()).await;
    let user = gateway.user("somebody").await;
    let home = gateway.placement.of_account(user);
    gateway.stop().await;
    let other = (home.index() + 1) % SHARDS;
    let gateway = Gateway::start(&with_shard(&whole, other), Config::default()).await;
    let service = &gateway.service;
    let refused = service.attach(EdgeId(1), home).await.unwrap_err();
    assert_eq!(refused, ELSEWHERE);
    assert_eq!(service.account(user).await.unwrap_err(), ELSEWHERE);
    let record = || vec![Bytes::from_static(b"no record")];
    let append = |topic, shard| service.append(topic, shard, record());
    assert_eq!(append(Topic::Input, home.index()).await, Err(ELSEWHERE));
    assert_eq!(append(Topic::Wake, 0).await, Err(ELSEWHERE));
    let beyond = append(Topic::Input, SHARDS).await;
    assert_eq!(beyond, Err(ELSEWHERE));
    // What it owns it appends, whatever it is: whoever reads it checks it.
    let end = whole.log.end(other);
    let taken = append(Topic::Input, other).await.unwrap();
    assert_eq!(taken.first, end);
    let empty = service.append(Topic::Input, other, Vec::new()).await;
    assert_eq!(empty.unwrap_err().kind(), FaultKind::PeerMisbehaved);
    gateway.stop().await;
}

/// A user of a shard that a router may own, and one of another shard.
async fn two_users(whole: &Disks) -> (AccountId, AccountId, ShardId) {
    let gateway = Gateway::start(whole, Config::default()).await;
    let ours = gateway.user("ours").await;
    let home = gateway.placement.of_account(ours);
    for number in 0..100 {
        let theirs = gateway.user(&format!("theirs{number}")).await;
        if gateway.placement.of_account(theirs) != home {
            gateway.stop().await;
            return (ours, theirs, home);
        }
    }
    panic!("chance put everybody in one shard");
}

/// What became of a stanza in another node's log is not known, as when that node dies: it is tried
/// again, with what is behind it, and the session does not notice.
#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_elsewhere_costs_a_second_try() {
    let log = OddLog::new(MemoryLog::new(SHARDS));
    let whole = Disks::over(Arc::<OddLog>::clone(&log));
    let (ours, theirs, home) = two_users(&whole).await;
    let disks = with_shard(&whole, home.index());
    let gateway = Gateway::start(&disks, Config::default()).await;
    let mut sender = gateway.online(ours).await;
    sender.send(theirs, &["warm"]).await;
    sender.handled().await;
    assert!(sender.is_quiet().await);
    let ends = || {
        let others = (0..SHARDS).filter(|shard| *shard != home.index());
        others
            .map(|shard| whole.log.end(shard).value())
            .sum::<u64>()
    };
    let before = ends();
    log.set(|mood| mood.swallow = 1);
    sender.send(theirs, &["x", "y"]).await;
    sender.handled().await;
    assert_eq!(ends() - before, 2);
    gateway.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stanzas_that_are_now_or_never_reach_the_other_router_and_come_from_it() {
    let whole = Disks::new();
    let (ours, theirs, home) = two_users(&whole).await;
    let (sender, mut passed) = mpsc::channel(16);
    let far = IntakeClient::local(Arc::new(Far(sender)));
    let disks = with_shard(&whole, home.index());
    let gateway = Gateway::start_beside(&disks, Config::default(), Some(far)).await;
    let mut device = gateway.online(ours).await;
    let typing = device.typing(theirs, "<message/>");
    device.tell(vec![typing]).await;
    let (shard, stanzas) = timeout(PATIENCE, passed.recv()).await.unwrap().unwrap();
    assert_eq!(shard, gateway.placement.of_account(theirs));
    assert_eq!(stanzas.len(), 1);
    assert_eq!((stanzas[0].from, stanzas[0].to), (ours, theirs));
    let answer = Ephemeral {
        from: theirs,
        to: ours,
        payload: Bytes::from_static(b"<message/>"),
    };
    gateway.service.pass(home, vec![answer]).await.unwrap();
    let items = device.drain().await;
    let is_it = |item: &ToEdge| {
        matches!(item, ToEdge::Deliver { content: Content::Stanza(payload), .. }
            if &payload[..] == b"<message/>")
    };
    assert!(items.iter().any(is_it), "{items:?}");
    gateway.stop().await;
}
