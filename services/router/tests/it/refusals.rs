//! A log that refuses, hangs or does not say, and what devices then hear.

use std::sync::Arc;
use std::time::Duration;

use entente_core::{FaultKind, SessionId, Span};
use entente_log::{Log, LogError, MemoryLog};
use entente_proto::edge::{CloseReason, ToEdge, ToRouter};
use entente_router::Config;
use tokio::time::{Instant, timeout};

use crate::gateway::{Disks, Gateway, SHARDS};
use crate::odd_log::OddLog;

async fn odd() -> (Arc<OddLog>, Disks) {
    let log = OddLog::new(MemoryLog::new(SHARDS));
    let disks = Disks::over(Arc::clone(&log) as Arc<dyn Log>);
    (log, disks)
}

/// Lets every task do what it can without time.
async fn turn() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// T147: what a full log does not take is neither acknowledged nor refused: it waits, and goes when
/// there is space. The sessions live on.
#[tokio::test(start_paused = true)]
async fn what_a_full_log_does_not_take_waits_for_space() {
    let (log, disks) = odd().await;
    let patient = Config {
        log_patience: Span::secs(60),
        ..Config::default()
    };
    let gateway = Gateway::start(&disks, patient).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut alice, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
    alice.send(bob.account, &["a"]).await;
    alice.handled().await;
    let last = bob.expect(&["a"]).await;
    for error in [LogError::Full, LogError::Busy] {
        log.set(|mood| mood.refuse = Some(error));
        let (x, y, z) = (
            format!("{error:?}x"),
            format!("{error:?}y"),
            format!("{error:?}z"),
        );
        alice.send(bob.account, &[&x, &y]).await;
        assert!(alice.is_quiet().await, "no outcome while the log is full");
        alice.send(bob.account, &[&z]).await;
        assert!(alice.is_quiet().await && bob.is_quiet().await);
        log.set(|mood| mood.refuse = None);
        alice.handled().await;
        bob.expect(&[&x, &y, &z]).await;
    }
    log.set(|mood| mood.refuse = Some(LogError::Full));
    bob.acknowledge(last).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(alice.is_quiet().await && bob.is_quiet().await);
    log.set(|mood| mood.refuse = None);
    assert_eq!(
        alice.receipt().await,
        ["a"],
        "the acknowledgement waited and is not lost"
    );
    gateway.stop().await;
}

/// T147: when the log stays full, the connection of a sender is closed with a reason of its own. The
/// session can be resumed: `h` tells from where on to send again, and all arrives once, in order.
#[tokio::test(start_paused = true)]
async fn a_log_that_stays_full_closes_and_refuses_nothing() {
    let (log, disks) = odd().await;
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut alice, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
    alice.send(bob.account, &["a"]).await;
    alice.handled().await;
    bob.expect(&["a"]).await;
    log.set(|mood| mood.refuse = Some(LogError::Full));
    alice.send(bob.account, &["b", "c"]).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let closed = alice.next().await;
    let full = CloseReason::Full;
    assert!(
        matches!(closed, ToEdge::Closed { why, .. } if why == full),
        "{closed:?}"
    );
    log.set(|mood| mood.refuse = None);
    // Written by an edge that had not heard: taken now, it would pass "b".
    alice.send(bob.account, &["late"]).await;
    let mut again = gateway.connect(alice.account).await;
    let ToEdge::Resumed { handled, .. } = again.resume(0).await else {
        panic!("not resumed")
    };
    assert_eq!(handled.value(), 1, "all but what waited");
    again.send(bob.account, &["b", "c", "late"]).await;
    again.handled().await;
    bob.expect(&["b", "c", "late"]).await;
    assert!(bob.is_quiet().await);
    gateway.stop().await;
}

/// T184: of a session's stanzas for one shard none is with the log while the one before it has no
/// outcome. So a lost append takes nothing out of order, in whatever session the device comes back.
#[tokio::test(start_paused = true)]
async fn nothing_passes_a_stanza_without_outcome() {
    for lost in [LogError::UnknownOutcome, LogError::Full] {
        let (log, disks) = odd().await;
        let gateway = Gateway::start(&disks, Config::default()).await;
        let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
        let (mut sender, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
        sender.send(bob.account, &["warm"]).await;
        sender.handled().await;
        bob.expect(&["warm"]).await;
        assert!(sender.is_quiet().await);
        log.set(|mood| mood.hold = true);
        for id in ["one", "two", "three"] {
            sender.send(bob.account, &[id]).await;
            turn().await;
        }
        assert_eq!(log.held(), 1, "the others wait for the first");
        log.release(lost);
        turn().await;
        let mut again = gateway.online(alice).await;
        again.send(bob.account, &["one", "two", "three"]).await;
        again.handled().await;
        bob.expect(&["one", "two", "three"]).await;
        assert!(bob.is_quiet().await);
        gateway.stop().await;
    }
}

/// A stanza that no log takes is refused before it is tried, however often it comes; the error
/// is on the stream before the `h` that covers it.
#[tokio::test(start_paused = true)]
async fn what_no_log_takes_is_refused_each_time() {
    let (_, disks) = odd().await;
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let mut bob = gateway.online(bob).await;
    for _ in 0..2 {
        let mut alice = gateway.online(alice).await;
        let long = alice.long_message(bob.account, "long");
        alice.tell(vec![long]).await;
        alice.send(bob.account, &["short"]).await;
        let refused = alice.next().await;
        let ToEdge::Refused { refusal, .. } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(
            (&refusal.id[..], refusal.fault.kind()),
            (&b"long"[..], FaultKind::PeerMisbehaved)
        );
        alice.handled().await;
    }
    bob.expect(&["short"]).await;
    assert!(bob.is_quiet().await);
    gateway.stop().await;
}

/// Commands keep their order although the log refuses some of them: the newest session stays.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_full_log_goes_before_what_is_new() {
    let (log, disks) = odd().await;
    let gateway = Gateway::start(&disks, Config::default()).await;
    let bob = gateway.user("bob").await;
    let mut device = gateway.connect(bob).await;
    let (older, newer) = (SessionId::new(1), SessionId::new(2));
    let bind = |session| ToRouter::Bind {
        session,
        account: bob,
    };
    log.set(|mood| mood.refuse = Some(LogError::Full));
    device.tell(vec![bind(older)]).await;
    turn().await;
    log.set(|mood| mood.refuse = None);
    device.tell(vec![bind(newer)]).await;
    let items = device.drain().await;
    let closed: Vec<_> = items
        .iter()
        .filter(|item| matches!(item, ToEdge::Closed { .. }))
        .map(ToEdge::session)
        .collect();
    assert_eq!(closed, [older], "{items:?}");
    gateway.stop().await;
}

/// A claim of which nothing is known is claimed again: the shard does not stay without owner.
#[tokio::test(start_paused = true)]
async fn a_claim_that_vanished_is_repeated() {
    let (log, disks) = odd().await;
    log.set(|mood| mood.swallow = 2);
    let gateway = Gateway::start(&disks, Config::default()).await;
    let bob = gateway.user("bob").await;
    gateway.online(bob).await;
    gateway.stop().await;
}

/// An unknown outcome is told as neither accepted nor refused: the stanza is tried again, and arrives
/// once, before what is behind it.
#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_tried_again_and_arrives_once() {
    for stored in [true, false] {
        let (log, disks) = odd().await;
        let gateway = Gateway::start(&disks, Config::default()).await;
        let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
        let (mut sender, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
        sender.send(bob.account, &["warm"]).await;
        sender.handled().await;
        bob.expect(&["warm"]).await;
        if stored {
            let copy = sender.message(bob.account, "x");
            sender.tell(vec![copy]).await;
            sender.handled().await;
        }
        log.set(|mood| mood.swallow = 1);
        sender.send(bob.account, &["x"]).await;
        turn().await;
        sender.send(bob.account, &["y"]).await;
        sender.handled().await;
        bob.expect(&["x", "y"]).await;
        assert!(bob.is_quiet().await);
        gateway.stop().await;
    }
}

/// A log whose reads take their time is followed all the same, however busy the edges are.
#[tokio::test(start_paused = true)]
async fn busy_edges_do_not_starve_the_reader_of_the_log() {
    let (log, disks) = odd().await;
    let gateway = Gateway::start(&disks, Config::default()).await;
    let bob = gateway.user("bob").await;
    let (mut device, busy) = (gateway.connect(bob).await, gateway.connect(bob).await);
    log.set(|mood| mood.slow_read = Duration::from_millis(50));
    let session = SessionId::new(99);
    let chatter = async {
        loop {
            busy.tell(vec![ToRouter::Local { session }]).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = chatter => {}
        waiting = timeout(Duration::from_secs(5), device.bind()) => {
            waiting.expect("bound in time");
        }
    }
    gateway.stop().await;
}

/// A connection node that drains nothing costs itself its stream, and nobody else any time.
#[tokio::test(start_paused = true)]
async fn a_stuck_edge_delays_nobody_else() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let bob = gateway.user("bob").await;
    let mut stuck = gateway.online(bob).await;
    let mut other = gateway.connect_as(bob, gateway.user("carol").await).await;
    let session = stuck.session;
    for _ in 0..200 {
        stuck.tell(vec![ToRouter::Local { session }]).await;
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
    let before = Instant::now();
    let session = SessionId::new(77);
    other
        .tell(vec![ToRouter::Bind {
            session,
            account: bob,
        }])
        .await;
    let answer = other.next().await;
    assert!(matches!(answer, ToEdge::Bound { .. }), "{answer:?}");
    let took = before.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(
        stuck.is_cut_off().await,
        "what does not drain is taken for dead"
    );
    gateway.stop().await;
}

/// A service that nobody holds any more leaves its owners idle, not spinning.
#[tokio::test(start_paused = true)]
async fn owners_without_callers_rest() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let Gateway { service, tasks, .. } = gateway;
    drop(service);
    // The paused clock moves only while every task rests.
    tokio::time::sleep(Duration::from_secs(1)).await;
    tasks
        .finish(Duration::from_secs(5))
        .await
        .expect("every task ends");
}
