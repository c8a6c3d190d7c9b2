//! Sessions whose stream ended and whose connection did not: the next owner goes on with what their
//! edge reports.

use std::time::Duration;

use entente_core::{AccountId, Position, Sequence, Span};
use entente_proto::edge::{
    CloseReason, Management, Report, ResumeKey, ToEdge, ToRouter, Unacked, Unresumable,
};
use entente_router::Config;
use tokio::time::{Instant, sleep};

use crate::gateway::{Device, Disks, Gateway, KEY};
use crate::plug::Power;

/// How long the owners of these tests wait for reports.
const REPORT_TIME: Duration = Duration::from_secs(15);

const fn at(position: u64) -> Position {
    Position::new(position)
}

/// What an edge says of a session of which everything is settled so far.
fn report(device: &Device, handled: u64, written: u64, entries: u64) -> Report {
    Report {
        account: device.account,
        epoch: device.epoch,
        management: Some(Management {
            inbound: at(0),
            outbound: at(0),
            resume: Some(ResumeKey(KEY)),
        }),
        started: true,
        credit: 1 << 20,
        handled: at(handled),
        sent: at(written),
        acked: at(written),
        delivered: Sequence::new(entries),
        settled: Sequence::new(entries),
        unacked: Vec::new(),
        refusals: Vec::new(),
    }
}

/// The same session on another stream.
async fn again(gateway: &Gateway, old: &Device) -> Device {
    let mut device = gateway.try_attach(old.edge, old.account).await.unwrap();
    (device.session, device.epoch) = (old.session, old.epoch);
    device.position = old.position;
    device
}

async fn tell(device: &Device, report: Report) {
    let (session, report) = (device.session, Box::new(report));
    device
        .tell(vec![ToRouter::Reattach { session, report }])
        .await;
}

async fn accepted(device: &mut Device, report: Report) {
    tell(device, report).await;
    let answer = device.next().await;
    assert!(matches!(answer, ToEdge::Reattached { .. }), "{answer:?}");
}

async fn goes_on(device: &mut Device, (handled, written, entries): (u64, u64, u64)) {
    let report = report(device, handled, written, entries);
    accepted(device, report).await;
}

struct Pair {
    disks: Disks,
    power: Power,
    gateway: Gateway,
    alice: Device,
    bob: Device,
}

/// Two users who are connected.
async fn pair() -> Pair {
    let (disks, power) = (Disks::new(), Power::default());
    let gateway = Gateway::start(&power.plug(&disks), Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (alice, bob) = (gateway.online(alice).await, gateway.online(bob).await);
    Pair {
        disks,
        power,
        gateway,
        alice,
        bob,
    }
}

/// Ends a router as a SIGKILL does, and starts the next one.
async fn next_owner(gateway: Gateway, power: &Power, disks: &Disks) -> Gateway {
    gateway.kill(power).await;
    Gateway::start(disks, Config::default()).await
}

async fn wakes(disks: &Disks) -> u64 {
    disks.wake.refresh(0).await.unwrap();
    disks.wake.end(0).value()
}

/// Deliveries go on behind the last one, what the device has is settled, `h` goes on where it was,
/// and what was appended by the owner before is not delivered twice.
#[tokio::test(start_paused = true)]
async fn a_session_goes_on_at_the_next_owner() {
    let Pair {
        disks,
        power,
        gateway,
        mut alice,
        mut bob,
    } = pair().await;
    alice.send(bob.account, &["1", "2", "3"]).await;
    alice.handled().await;
    assert_eq!(bob.expect(&["1", "2", "3"]).await, at(3));
    let gateway = next_owner(gateway, &power, &disks).await;
    let (mut alice, mut bob) = (again(&gateway, &alice).await, again(&gateway, &bob).await);
    // The first of three is acknowledged; nobody told the owner that died.
    let mut of_bob = report(&bob, 0, 3, 3);
    (of_bob.acked, of_bob.settled) = (at(1), Sequence::new(1));
    let open = |n| Unacked {
        position: at(n),
        sequence: Sequence::new(n),
        cost: 100,
    };
    of_bob.unacked = vec![open(2), open(3)];
    accepted(&mut bob, of_bob).await;
    // Of what Alice sent, her edge knows the first to be handled: the rest is sent again, then more.
    goes_on(&mut alice, (1, 0, 0)).await;
    assert_eq!(alice.receipt().await, ["1"]);
    alice.position = at(1);
    alice.send(bob.account, &["2", "3", "4"]).await;
    alice.handled().await;
    assert_eq!(bob.expect(&["4"]).await, at(4));
    bob.acknowledge(at(4)).await;
    assert_eq!(alice.receipt().await, ["2", "3", "4"]);
    // And a resume finds exact counters.
    let mut resumed = gateway.connect(alice.account).await;
    let ToEdge::Resumed { handled, acked, .. } = resumed.resume(1).await else {
        panic!("not resumed")
    };
    assert_eq!((handled, acked), (at(4), at(1)));
    gateway.stop().await;
}

/// Of two sessions of an account the one with the newest epoch goes on.
#[tokio::test(start_paused = true)]
async fn a_session_that_was_replaced_is_closed() {
    let Pair {
        disks,
        power,
        gateway,
        bob,
        ..
    } = pair().await;
    let newer = gateway.online(bob.account).await;
    let gateway = next_owner(gateway, &power, &disks).await;
    let (mut bob, mut newer) = (again(&gateway, &bob).await, again(&gateway, &newer).await);
    goes_on(&mut newer, (0, 0, 0)).await;
    tell(&bob, report(&bob, 0, 0, 0)).await;
    let closed = bob.next().await;
    let why = CloseReason::Conflict;
    assert!(matches!(closed, ToEdge::Closed { why: said, .. } if said == why));
    // What it says after that changes nothing.
    bob.send(newer.account, &["late"]).await;
    assert!(newer.is_quiet().await && bob.is_quiet().await);
    // A bind replaces a reported session like any other.
    let _bound = gateway.online(newer.account).await;
    let closed = newer.next().await;
    assert!(matches!(closed, ToEdge::Closed { why: said, .. } if said == why));
    gateway.stop().await;
}

/// Who is not reported in time is away: woken for what came meanwhile, and not before.
#[tokio::test(start_paused = true)]
async fn who_does_not_come_back_is_woken_when_the_time_is_over() {
    let Pair {
        disks,
        power,
        gateway,
        alice,
        bob,
    } = pair().await;
    let gateway = next_owner(gateway, &power, &disks).await;
    let start = Instant::now();
    let mut alice = again(&gateway, &alice).await;
    goes_on(&mut alice, (0, 0, 0)).await;
    alice.send(bob.account, &["1", "2"]).await;
    alice.handled().await;
    sleep(REPORT_TIME.saturating_sub(start.elapsed() + Duration::from_secs(1))).await;
    assert_eq!(wakes(&disks).await, 0, "bob's edge may still come");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(wakes(&disks).await, 1);
    // Alice is there, and nobody takes her for gone.
    let mut late = again(&gateway, &bob).await;
    late.send(alice.account, &["void"]).await;
    goes_on(&mut late, (0, 0, 0)).await;
    late.expect(&["1", "2"]).await;
    late.position = at(0);
    late.send(alice.account, &["a"]).await;
    alice.expect(&["a"]).await;
    // Bob counts as connected again.
    late.handled().await;
    alice.send(bob.account, &["3"]).await;
    late.expect(&["3"]).await;
    assert_eq!(wakes(&disks).await, 1);
    gateway.stop().await;
}

/// A stream that ends while its owner lives: the same, and nothing that the edge said in between
/// passes what was lost with the stream.
#[tokio::test(start_paused = true)]
async fn a_session_goes_on_at_the_same_owner() {
    let Pair {
        disks,
        gateway,
        mut alice,
        mut bob,
        ..
    } = pair().await;
    alice.send(bob.account, &["1"]).await;
    alice.handled().await;
    bob.expect(&["1"]).await;
    let mut fresh = again(&gateway, &alice).await;
    // "2" went down with the old stream. "3" was on its way to it, and arrives on this one.
    let (_, three) = (
        fresh.message(bob.account, "2"),
        fresh.message(bob.account, "3"),
    );
    fresh.tell(vec![three]).await;
    assert!(bob.is_quiet().await);
    goes_on(&mut fresh, (1, 0, 0)).await;
    fresh.position = at(1);
    fresh.send(bob.account, &["2", "3", "4"]).await;
    fresh.handled().await;
    bob.expect(&["2", "3", "4"]).await;
    // Alice is connected, for the log too: she is not woken, and gets what comes.
    bob.send(fresh.account, &["a"]).await;
    fresh.expect(&["a"]).await;
    assert_eq!(wakes(&disks).await, 0);
    gateway.stop().await;
}

/// What was said on a stream that ended does not count on the next one, be it a report.
#[tokio::test(start_paused = true)]
async fn a_report_counts_on_its_own_stream_only() {
    let Pair {
        gateway,
        mut alice,
        bob,
        ..
    } = pair().await;
    let mut fresh = again(&gateway, &alice).await;
    tell(&alice, report(&alice, 0, 0, 0)).await;
    assert!(fresh.is_quiet().await);
    goes_on(&mut fresh, (0, 0, 0)).await;
    alice.send(bob.account, &["void"]).await;
    fresh.send(bob.account, &["1"]).await;
    let mut bob = bob;
    bob.expect(&["1"]).await;
    assert!(bob.is_quiet().await);
    gateway.stop().await;
}

/// A client that resumes elsewhere is the newer one, also before the log says so.
#[tokio::test(start_paused = true)]
async fn a_resume_under_way_comes_before_a_report() {
    let Pair { gateway, bob, .. } = pair().await;
    let mut old = again(&gateway, &bob).await;
    let mut resumed = gateway.connect(bob.account).await;
    let ask = ToRouter::Resume {
        session: resumed.session,
        account: bob.account,
        resume: ResumeKey(KEY),
        h: 0,
    };
    resumed.tell(vec![ask]).await;
    tell(&old, report(&old, 0, 0, 0)).await;
    let answer = resumed.next().await;
    assert!(matches!(answer, ToEdge::Resumed { .. }), "{answer:?}");
    let said = old.drain().await;
    let why = CloseReason::Conflict;
    assert!(
        matches!(said[..], [ToEdge::Closed { why: said, .. }] if said == why),
        "{said:?}"
    );
    gateway.stop().await;
}

/// An error that the device may not have is owed by the next owner as well.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_repeated_by_the_next_owner() {
    let Pair {
        disks,
        power,
        gateway,
        mut alice,
        bob,
    } = pair().await;
    let long = alice.long_message(bob.account, "long");
    alice.tell(vec![long]).await;
    let ToEdge::Refused { refusal, .. } = alice.next().await else {
        panic!("not refused")
    };
    alice.handled().await;
    let gateway = next_owner(gateway, &power, &disks).await;
    let mut alice = again(&gateway, &alice).await;
    let mut of_alice = report(&alice, 1, 1, 0);
    (of_alice.acked, of_alice.refusals) = (at(0), vec![refusal]);
    accepted(&mut alice, of_alice).await;
    let mut resumed = gateway.connect(alice.account).await;
    let answer = resumed.resume(0).await;
    assert!(matches!(answer, ToEdge::Resumed { .. }), "{answer:?}");
    let repeated = resumed.next().await;
    assert!(
        matches!(&repeated, ToEdge::Refused { refusal, .. } if refusal.id == "long"),
        "{repeated:?}"
    );
    gateway.stop().await;
}

/// A client that comes back to a new owner before its old edge does waits for what that one knows.
#[tokio::test(start_paused = true)]
async fn a_resume_waits_for_the_report() {
    let Pair {
        disks,
        power,
        gateway,
        mut alice,
        mut bob,
    } = pair().await;
    alice.send(bob.account, &["1", "2", "3"]).await;
    alice.handled().await;
    bob.expect(&["1", "2", "3"]).await;
    let gateway = next_owner(gateway, &power, &disks).await;
    let mut resumed = gateway.connect(bob.account).await;
    let ask = ToRouter::Resume {
        session: resumed.session,
        account: bob.account,
        resume: ResumeKey(KEY),
        h: 2,
    };
    resumed.tell(vec![ask]).await;
    assert!(resumed.is_quiet().await);
    let mut old = again(&gateway, &bob).await;
    let mut of_bob = report(&old, 5, 3, 3);
    (of_bob.acked, of_bob.settled) = (at(0), Sequence::default());
    of_bob.unacked = vec![Unacked {
        position: at(3),
        sequence: Sequence::new(3),
        cost: 100,
    }];
    tell(&old, of_bob).await;
    let ToEdge::Resumed { handled, acked, .. } = resumed.next().await else {
        panic!("not resumed")
    };
    assert_eq!((handled, acked), (at(5), at(2)));
    let said = old.drain().await;
    assert!(
        matches!(said.last(), Some(ToEdge::Closed { .. })),
        "{said:?}"
    );
    resumed.start().await;
    resumed.expect(&["3"]).await;
    gateway.stop().await;
}

/// A resume whose edge never reports is answered with what the log knows.
#[tokio::test(start_paused = true)]
async fn a_resume_without_a_report_is_answered_in_the_end() {
    let Pair {
        disks,
        power,
        gateway,
        bob,
        ..
    } = pair().await;
    // So that the key is in the log.
    sleep(Duration::from_secs(1)).await;
    gateway.kill(&power).await;
    let config = Config {
        report_time: Span::secs(5),
        ..Config::default()
    };
    let gateway = Gateway::start(&disks, config).await;
    let mut resumed = gateway.connect(bob.account).await;
    let answer = resumed.resume(0).await;
    let unknown = |answer: &ToEdge| {
        let why = Unresumable::Unknown;
        matches!(answer, ToEdge::Unresumable { h: Some(0), why: said, .. } if *said == why)
    };
    assert!(unknown(&answer), "{answer:?}");
    // Now the old edge is too late only if somebody took the place.
    let bound: AccountId = bob.account;
    let _bound = gateway.online(bound).await;
    let mut late = again(&gateway, &bob).await;
    tell(&late, report(&late, 0, 0, 0)).await;
    let closed = late.next().await;
    assert!(matches!(closed, ToEdge::Closed { .. }), "{closed:?}");
    gateway.stop().await;
}
