//! Races of sessions: two resumes, a bind in between, edges that are gone.

use std::sync::Arc;
use std::time::Duration;

use entente_core::{Content, SessionId};
use entente_log::{Faults, Log, LogError, MemoryLog};
use entente_proto::Directory;
use entente_proto::edge::{CloseReason, ResumeKey, ToEdge, ToRouter, Unresumable};
use entente_router::Config;

use crate::gateway::{Device, Disks, Gateway, KEY, SHARDS};
use crate::odd_log::OddLog;

async fn detach(device: &Device) {
    let session = device.session;
    device.tell(vec![ToRouter::Detach { session }]).await;
}

fn slow_log() -> Disks {
    let faults = Faults {
        seed: 7,
        delay: 1.0,
        max_delay: Duration::from_millis(300),
        ..Faults::default()
    };
    Disks::over(Arc::new(MemoryLog::with_faults(SHARDS, faults)))
}

/// T27: of two resumes at once exactly one goes on, the other one knows, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn of_two_resumes_one_wins() {
    for round in 0..20 {
        let disks = if round % 2 == 0 {
            slow_log()
        } else {
            Disks::new()
        };
        let gateway = Gateway::start(&disks, Config::default()).await;
        let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
        let (mut alice, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
        alice.send(bob.account, &["a", "b", "c"]).await;
        alice.handled().await;
        bob.expect(&["a", "b", "c"]).await;
        detach(&bob).await;
        let mut rivals = [
            gateway.connect(bob.account).await,
            gateway.connect(bob.account).await,
        ];
        for rival in &rivals {
            let (session, account, resume) = (rival.session, rival.account, ResumeKey(KEY));
            rival
                .tell(vec![ToRouter::Resume {
                    session,
                    account,
                    resume,
                    h: 1,
                }])
                .await;
            if round % 4 < 2 {
                tokio::task::yield_now().await;
            }
        }
        let mut winners = Vec::new();
        for (at, rival) in rivals.iter_mut().enumerate() {
            let last = rival.drain().await.pop();
            match last {
                Some(ToEdge::Resumed { acked, .. }) => {
                    assert_eq!(acked.value(), 1);
                    winners.push(at);
                }
                Some(
                    ToEdge::Closed {
                        why: CloseReason::Conflict,
                        ..
                    }
                    | ToEdge::Unresumable {
                        why: Unresumable::Unknown,
                        ..
                    },
                ) => {}
                other => panic!("{other:?} in round {round}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let winner = &mut rivals[winners[0]];
        winner.start().await;
        winner.expect(&["b", "c"]).await;
        gateway.stop().await;
    }
}

/// A bind that comes between a session and its resume: whoever asked is answered.
#[tokio::test(start_paused = true)]
async fn a_bind_during_a_resume_leaves_nobody_without_an_answer() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut alice, mut old) = (gateway.online(alice).await, gateway.online(bob).await);
    alice.send(bob, &["a", "b"]).await;
    alice.handled().await;
    old.expect(&["a", "b"]).await;
    detach(&old).await;
    let mut both = gateway.connect(bob).await;
    let (fresh, resumed) = (SessionId::new(1), SessionId::new(2));
    both.tell(vec![
        ToRouter::Bind {
            session: fresh,
            account: bob,
        },
        ToRouter::Resume {
            session: resumed,
            account: bob,
            resume: ResumeKey(KEY),
            h: 1,
        },
    ])
    .await;
    let items = both.drain().await;
    let answered = items
        .iter()
        .any(|item| item.session() == resumed && matches!(item, ToEdge::Unresumable { .. }));
    assert!(answered, "{items:?}");
    let mut last = gateway.connect(bob).await;
    assert_eq!(
        last.bind().await,
        1,
        "what the resume acknowledged is settled, the rest waits"
    );
    last.start().await;
    last.expect(&["b"]).await;
    gateway.stop().await;
}

/// A resume while stanzas of the old connection are under way counts each of them once.
#[tokio::test(start_paused = true)]
async fn a_resume_waits_for_what_is_under_way() {
    let disks = slow_log();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut sender, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
    sender.send(bob.account, &["a", "b", "c"]).await;
    let mut again = gateway.connect(alice).await;
    let ToEdge::Resumed { handled, .. } = again.resume(0).await else {
        panic!("not resumed")
    };
    assert_eq!(handled.value(), 3, "all three have their outcome");
    again.send(bob.account, &["d"]).await;
    again.handled().await;
    bob.expect(&["a", "b", "c", "d"]).await;
    gateway.stop().await;
}

/// An error that was lost with the connection is told again when the device comes back: `h` covers
/// the stanza, and without its error that would say that it was accepted.
#[tokio::test(start_paused = true)]
async fn a_lost_error_is_told_again() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut sender, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
    let (session, long) = (sender.session, sender.long_message(bob.account, "long"));
    sender.tell(vec![long]).await;
    sender.send(bob.account, &["late"]).await;
    sender.tell(vec![ToRouter::Detach { session }]).await;
    bob.expect(&["late"]).await;
    let mut again = gateway.connect(alice).await;
    let ToEdge::Resumed { handled, .. } = again.resume(0).await else {
        panic!("not resumed")
    };
    assert_eq!(handled.value(), 2, "both have their outcome");
    let refused = again.next().await;
    assert!(
        matches!(&refused, ToEdge::Refused { refusal, .. } if refusal.id == "long"),
        "{refused:?}"
    );
    gateway.stop().await;
}

/// What waits for a full log when the connection dies goes on waiting, and is stored when there is
/// space: the resume waits for it, and covers it.
#[tokio::test(start_paused = true)]
async fn what_waits_for_the_log_outlives_the_connection() {
    let log = OddLog::new(MemoryLog::new(SHARDS));
    let disks = Disks::over(Arc::clone(&log) as Arc<dyn Log>);
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut sender, mut bob) = (gateway.online(alice).await, gateway.online(bob).await);
    let (session, item) = (sender.session, sender.message(bob.account, "waits"));
    log.set(|mood| mood.refuse = Some(LogError::Full));
    sender.tell(vec![item, ToRouter::Detach { session }]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    log.set(|mood| mood.refuse = None);
    let mut again = gateway.connect(alice).await;
    let ToEdge::Resumed { handled, .. } = again.resume(0).await else {
        panic!("not resumed")
    };
    assert_eq!(handled.value(), 1);
    bob.expect(&["waits"]).await;
    gateway.stop().await;
}

/// A connection node that missed the end of an owner and still speaks to the next one holds nobody's
/// place: the account is away, and is woken.
#[tokio::test(start_paused = true)]
async fn an_edge_without_a_stream_binds_nobody() {
    let log = OddLog::new(MemoryLog::new(SHARDS));
    let disks = Disks::over(Arc::clone(&log) as Arc<dyn Log>);
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let mut lost = gateway.connect(bob).await;
    log.set(|mood| mood.swallow = 1);
    lost.tell(vec![ToRouter::Bind {
        session: lost.session,
        account: bob,
    }])
    .await;
    assert!(lost.is_cut_off().await, "the owner gave up");
    tokio::time::sleep(Duration::from_secs(5)).await;
    lost.tell(vec![ToRouter::Bind {
        session: lost.session,
        account: bob,
    }])
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = disks.wake.end(0);
    let mut alice = gateway.online(alice).await;
    alice.send(bob, &["a"]).await;
    alice.handled().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(disks.wake.end(0) > before, "bob is woken");
    gateway.stop().await;
}

/// T68: a new identity key ends a session that waits to be resumed, and the peers are told once.
#[tokio::test(start_paused = true)]
async fn a_new_identity_ends_the_old_session_and_peers_hear_of_it() {
    for connected in [true, false] {
        let disks = Disks::new();
        let gateway = Gateway::start(&disks, Config::default()).await;
        let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
        let (mut alice, mut old) = (gateway.online(alice).await, gateway.online(bob).await);
        alice.send(bob, &["a"]).await;
        alice.handled().await;
        old.expect(&["a"]).await;
        if !connected {
            detach(&old).await;
        }
        gateway.enlist("bob", 2).await;
        if connected {
            let closed = old.next().await;
            let revoked = CloseReason::Revoked;
            assert!(matches!(closed, ToEdge::Closed { why, .. } if why == revoked));
        }
        let notice = alice.next().await;
        assert!(
            matches!(notice, ToEdge::Deliver { content: Content::IdentityChanged { of }, .. } if of == bob),
            "{notice:?}"
        );
        let mut thief = gateway.connect(bob).await;
        let answer = thief.resume(0).await;
        assert!(matches!(answer, ToEdge::Unresumable { .. }), "{answer:?}");
        gateway.enlist("bob", 2).await;
        assert!(alice.is_quiet().await, "the same key again is no news");
        gateway.stop().await;
    }
}

/// T104: typing of a blocked user reaches nobody, and nothing of it is ever stored.
#[tokio::test(start_paused = true)]
async fn ephemeral_stanzas_respect_blocks_and_leave_no_trace() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, carol) = (gateway.user("alice").await, gateway.user("carol").await);
    let bob = gateway.user("bob").await;
    let change = entente_proto::directory::BlockChange {
        add: vec![alice],
        ..Default::default()
    };
    gateway.service.change_blocked(bob, change).await.unwrap();
    let (mut alice, mut carol) = (gateway.online(alice).await, gateway.online(carol).await);
    let mut device = gateway.online(bob).await;
    for (sender, text) in [(&mut alice, "from alice"), (&mut carol, "from carol")] {
        let item = sender.typing(bob, text);
        sender.tell(vec![item]).await;
        sender.handled().await;
    }
    assert_eq!(device.stanza().await.0, "from carol");
    assert!(device.is_quiet().await);
    detach(&device).await;
    let item = carol.typing(bob, "while away");
    carol.tell(vec![item]).await;
    carol.handled().await;
    let mut fresh = gateway.connect(bob).await;
    assert_eq!(fresh.bind().await, 0);
    gateway.stop().await;
}
