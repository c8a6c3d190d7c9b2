//! What a device and its peers see.

use std::time::Duration;

use entente_core::{Content, Span};
use entente_proto::Directory;
use entente_proto::edge::{CloseReason, ToEdge, ToRouter, Unresumable};
use entente_router::Config;
use tokio::time::Instant;

use crate::gateway::{Disks, Gateway};

#[tokio::test(start_paused = true)]
async fn messages_arrive_in_order_and_receipts_come_back() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut alice, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
    alice.send(bob.account, &["a", "b", "c"]).await;
    alice.handled().await;
    let last = bob.expect(&["a", "b", "c"]).await;
    assert!(
        alice.is_quiet().await,
        "no receipt before the device acknowledged"
    );
    bob.acknowledge(last).await;
    assert_eq!(alice.receipt().await, ["a", "b", "c"]);
    gateway.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_id_is_handed_over_once() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut alice, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
    alice.send(bob.account, &["a", "a", "b", "a"]).await;
    alice.handled().await;
    bob.expect(&["a", "b"]).await;
    assert!(bob.is_quiet().await);
    gateway.stop().await;
}

/// Starts and kills in quick succession, each before a checkpoint is due: the next start must not
/// have all of it to replay.
#[tokio::test(start_paused = true)]
async fn what_was_replayed_is_stored_soon() {
    let disks = Disks::new();
    let config = Config {
        checkpoint: Span::secs(3600),
        ..Config::default()
    };
    let first = Gateway::start(&disks, config.clone()).await;
    let (alice, bob) = (first.user("alice").await, first.user("bob").await);
    let mut alice = first.online(alice).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    alice.send(bob, &["a", "b", "c"]).await;
    alice.handled().await;
    let partition = first.placement.of_account(bob).index();
    let end = disks.log.end(partition);
    assert!(disks.log.floor(partition) < end, "no checkpoint is due");
    drop(first);
    let _second = Gateway::start(&disks, config).await;
    let soon = Instant::now() + Duration::from_secs(5);
    while disks.log.floor(partition) < end {
        assert!(Instant::now() < soon, "the next start replays it again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_survives_every_kind_of_end() {
    let disks = Disks::new();
    for round in 0..4 {
        let gateway = Gateway::start(&disks, Config::default()).await;
        let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
        let mut alice = gateway.online(alice).await;
        let id = format!("m{round}");
        alice.send(bob, &[&id]).await;
        alice.handled().await;
        if round % 2 == 0 {
            gateway.stop().await;
        }
        // Otherwise the process is as good as killed: the next one claims the shards.
    }
    let gateway = Gateway::start(&disks, Config::default()).await;
    let bob = gateway.user("bob").await;
    let mut bob = gateway.connect(bob).await;
    assert_eq!(bob.bind().await, 4);
    bob.start().await;
    bob.expect(&["m0", "m1", "m2", "m3"]).await;
    gateway.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_over_another_connection() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut alice, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
    alice.send(bob.account, &["a", "b", "c"]).await;
    alice.handled().await;
    bob.expect(&["a", "b", "c"]).await;
    bob.tell(vec![ToRouter::Detach {
        session: bob.session,
    }])
    .await;
    alice.send(bob.account, &["d"]).await;
    alice.handled().await;

    let mut again = gateway.connect(bob.account).await;
    let ToEdge::Resumed { acked, .. } = again.resume(1).await else {
        panic!("not resumed")
    };
    assert_eq!(acked.value(), 1);
    again
        .tell(vec![ToRouter::Credit {
            session: again.session,
            bytes: 1 << 20,
        }])
        .await;
    assert_eq!(alice.receipt().await, ["a"]);
    let last = again.expect(&["b", "c", "d"]).await;
    again.acknowledge(last).await;
    assert_eq!(alice.receipt().await, ["b", "c", "d"]);
    gateway.stop().await;
}

/// T26, T31: a wrong key, a wrong count and a dead session are told apart from nothing but a bind.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_resumed_is_said_and_nothing_is_lost() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut alice, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
    alice.send(bob.account, &["a"]).await;
    alice.handled().await;
    bob.expect(&["a"]).await;

    let mut greedy = gateway.connect(bob.account).await;
    let answer = greedy.resume(7).await;
    assert!(matches!(
        answer,
        ToEdge::Unresumable {
            why: Unresumable::BadCount,
            ..
        }
    ));
    // Another account that knows the key resumes nothing.
    let mut thief = gateway.connect(alice.account).await;
    alice
        .tell(vec![ToRouter::End {
            session: alice.session,
        }])
        .await;
    let answer = thief.resume(0).await;
    assert!(matches!(
        answer,
        ToEdge::Unresumable {
            h: Some(0),
            why: Unresumable::Unknown,
            ..
        }
    ));

    gateway.stop().await;
    let gateway = Gateway::start(&disks, Config::default()).await;
    let mut bob = gateway.connect(bob.account).await;
    let answer = bob.resume(1).await;
    assert!(matches!(
        answer,
        ToEdge::Unresumable {
            h: Some(0),
            why: Unresumable::Unknown,
            ..
        }
    ));
    assert_eq!(bob.bind().await, 1);
    bob.start().await;
    bob.expect(&["a"]).await;
    gateway.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_session_replaces_the_older_one() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut alice, mut old) = (gateway.online(alice).await, gateway.online(bob).await);
    let mut new = gateway.online(bob).await;
    let closed = old.next().await;
    assert!(
        matches!(
            closed,
            ToEdge::Closed {
                why: CloseReason::Conflict,
                ..
            }
        ),
        "{closed:?}"
    );
    alice.send(bob, &["a"]).await;
    new.expect(&["a"]).await;
    old.send(alice.account, &["late"]).await;
    alice.handled().await;
    assert!(
        alice.is_quiet().await,
        "a session that lost its place sends nothing"
    );
    gateway.stop().await;
}

/// T97, T104: unknown and unwilling look the same.
#[tokio::test(start_paused = true)]
async fn undeliverable_says_no_more() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let change = entente_proto::directory::BlockChange {
        add: vec![alice],
        ..Default::default()
    };
    gateway.service.change_blocked(bob, change).await.unwrap();
    let mut alice = gateway.online(alice).await;
    let nobody = entente_core::AccountId::new(bob.partner(), 1);
    for to in [nobody, bob] {
        alice.send(to, &["x"]).await;
        let mut failed = None;
        while failed.is_none() {
            if let ToEdge::Deliver {
                content: Content::Failed(notice),
                ..
            } = alice.next().await
            {
                failed = Some(notice);
            }
        }
        let failed = failed.unwrap();
        assert_eq!((failed.to, &failed.id[..]), (to, &b"x"[..]));
        assert_eq!(failed.why, entente_core::FailReason::Undeliverable);
    }
    gateway.stop().await;
}
