//! Accounts and keys under races and restarts; what time does to mailboxes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use entente_core::{
    Content, EnlistChange, FailReason, KyberPrekey, OneTimePrekey, PrekeyUpload, Timestamp,
};
use entente_log::MemoryLog;
use entente_proto::Directory;
use entente_proto::edge::ToEdge;
use entente_router::Config;
use futures::future::join_all;

use crate::gateway::{Disks, Gateway, SHARDS};

/// T67: of many enlistments of one user at once, one creates; all have the same id.
#[tokio::test(start_paused = true)]
async fn a_hundred_enlistments_make_one_account() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let all = join_all((0..100).map(|_| gateway.enlist("alice", 1))).await;
    let ids: BTreeSet<_> = all.iter().map(|enlisted| enlisted.account).collect();
    let created = all
        .iter()
        .filter(|enlisted| enlisted.change == EnlistChange::Created);
    assert_eq!((ids.len(), created.count()), (1, 1));
    gateway.stop().await;
}

fn keys(count: u32) -> PrekeyUpload {
    let key = |id: u32| {
        let mut key = [0; 32];
        key[28..].copy_from_slice(&id.to_be_bytes());
        key
    };
    let kyber = |id: u32| {
        let mut bytes = vec![8; 1569];
        bytes[1565..].copy_from_slice(&id.to_be_bytes());
        KyberPrekey {
            id,
            key: bytes.into(),
            signature: Bytes::from(vec![9; 64]),
        }
    };
    PrekeyUpload {
        one_time: (0..count)
            .map(|id| OneTimePrekey { id, key: key(id) })
            .collect(),
        kyber: (0..count).map(kyber).collect(),
        ..PrekeyUpload::default()
    }
}

/// T89: many takes at once and a restart between serve no key twice.
#[tokio::test(start_paused = true)]
async fn bundles_never_share_a_key() {
    let disks = Disks::new();
    let (mut one_time, mut kyber, mut bundles) = (BTreeSet::new(), BTreeSet::new(), 0);
    for round in 0..3 {
        let gateway = Gateway::start(&disks, Config::default()).await;
        let bob = gateway.user("bob").await;
        if round == 0 {
            gateway.service.upload(bob, keys(150)).await.unwrap();
        }
        for bundle in join_all((0..64).map(|_| gateway.service.take_bundle(bob))).await {
            let bundle = bundle.unwrap();
            bundles += 1;
            assert!(bundle.one_time.is_none_or(|key| one_time.insert(key.id)));
            assert!(bundle.kyber.is_none_or(|key| kyber.insert(key.id)));
        }
        if round == 0 {
            gateway.stop().await;
        }
        // Otherwise the next one claims the shard from a log that the rows do not cover.
    }
    assert_eq!((bundles, one_time.len(), kyber.len()), (192, 150, 150));
}

/// Uploads of the largest size that come all at once fit into the log's records.
#[tokio::test(start_paused = true)]
async fn many_large_uploads_at_once_are_taken() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let names: Vec<_> = (0..24).map(|n| format!("user{n}")).collect();
    let users = join_all(names.iter().map(|name| gateway.user(name))).await;
    let uploads = users
        .iter()
        .map(|user| gateway.service.upload(*user, keys(200)));
    for count in join_all(uploads).await {
        assert_eq!(count.unwrap().kyber, 200);
    }
    gateway.stop().await;
}

/// What waited for its whole life comes back to its sender as a failure, and is not delivered; an
/// account that was silent for 30 days is gone.
#[tokio::test(start_paused = true)]
async fn time_fails_what_nobody_fetched() {
    const DAY: u64 = 86_400_000;
    let behind = Arc::new(AtomicU64::new(31 * DAY));
    let clock = Arc::clone(&behind);
    let log = MemoryLog::new(SHARDS).clock(move || {
        let behind = clock.load(Ordering::Relaxed);
        Timestamp::now().minus(Duration::from_millis(behind))
    });
    let disks = Disks::over(Arc::new(log));
    let config = Config {
        sweep: entente_core::Span::secs(1),
        ..Config::default()
    };
    let gateway = Gateway::start(&disks, config).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let mut alice = gateway.online(alice).await;
    let mut item = alice.message(bob, "old");
    if let entente_proto::edge::ToRouter::Submit { envelope, .. } = &mut item {
        Arc::make_mut(envelope).expires = Timestamp::now().minus(Duration::from_secs(86_400));
    }
    alice.tell(vec![item]).await;
    alice.handled().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    // Sweeps propose by the own clock, which is right here; the fold decided by the log's so far.
    assert!(gateway.service.account(bob).await.unwrap().is_some());
    behind.store(0, Ordering::Relaxed);
    let ToEdge::Deliver {
        content: Content::Failed(failed),
        ..
    } = alice.next().await
    else {
        panic!("no failure notice")
    };
    assert_eq!((&failed.id[..], failed.to), (&b"old"[..], bob));
    assert!(matches!(
        failed.why,
        FailReason::Expired | FailReason::Undeliverable
    ));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(gateway.service.account(bob).await.unwrap().is_none());
    assert!(
        gateway
            .service
            .account(alice.account)
            .await
            .unwrap()
            .is_some(),
        "connected"
    );
    assert!(alice.is_quiet().await, "one notice");
    gateway.stop().await;
}
