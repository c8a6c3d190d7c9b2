//! T30: what a slow reader may cost, and that it loses nothing.

use std::time::Duration;

use entente_core::{ByteSize, Position, Span};
use entente_proto::edge::{CloseReason, ToEdge, ToRouter};
use entente_router::Config;

use crate::gateway::{Disks, Gateway};

fn small() -> Config {
    Config {
        window_stanzas: 4,
        window_bytes: ByteSize::kib(64),
        stall_time: Span::secs(30),
        ..Config::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_never_acknowledges_is_closed_and_keeps_its_mailbox() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, small()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let (mut alice, mut slow) = (gateway.online(alice).await, gateway.online(bob).await);
    let ids: Vec<_> = (0..10).map(|n| format!("m{n}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    alice.send(bob, &ids).await;
    alice.handled().await;
    slow.expect(&ids[..4]).await;
    assert!(slow.is_quiet().await, "no more than the window");
    // Saying again what was said acknowledges nothing.
    for _ in 0..6 {
        slow.acknowledge(Position::default()).await;
        tokio::time::sleep(Duration::from_secs(9)).await;
    }
    let closed = slow.next().await;
    let stalled = CloseReason::Stalled;
    assert!(
        matches!(closed, ToEdge::Closed { why, .. } if why == stalled),
        "{closed:?}"
    );
    let mut again = gateway.connect(bob).await;
    assert_eq!(again.bind().await, 10);
    again.start().await;
    for window in ids.chunks(4) {
        let last = again.expect(window).await;
        again.acknowledge(last).await;
    }
    gateway.stop().await;
}

#[tokio::test(start_paused = true)]
async fn credit_bounds_what_an_edge_is_sent() {
    let disks = Disks::new();
    let gateway = Gateway::start(&disks, Config::default()).await;
    let (alice, bob) = (gateway.user("alice").await, gateway.user("bob").await);
    let mut alice = gateway.online(alice).await;
    let mut slow = gateway.connect(bob).await;
    slow.bind().await;
    let session = slow.session;
    let grant = |bytes| ToRouter::Credit { session, bytes };
    slow.tell(vec![ToRouter::Start { session }]).await;
    alice.send(bob, &["a", "b", "c"]).await;
    alice.handled().await;
    assert!(slow.is_quiet().await, "nothing without credit");
    slow.tell(vec![grant(1)]).await;
    slow.expect(&["a"]).await;
    assert!(
        slow.is_quiet().await,
        "the overdraft is paid by the next grant"
    );
    slow.tell(vec![grant(1000)]).await;
    slow.expect(&["b", "c"]).await;
    gateway.stop().await;
}
