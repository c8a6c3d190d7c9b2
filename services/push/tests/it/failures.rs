//! Partners that fail, hang, lie or go away.

use std::time::Duration;

use entente_core::Span;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::receiver::{Receiver, Reply};
use crate::rig::{World, account, until};

/// Each way to fail, once; then it works, and the wake-up is the same one.
#[tokio::test]
async fn every_failure_is_tried_again_with_the_same_id() {
    let mut cases = JoinSet::new();
    for reply in [
        Reply::Hang,
        Reply::Large,
        Reply::Redirect,
        Reply::Status(400),
        Reply::Status(401),
        Reply::Status(500),
        Reply::Status(502),
        Reply::Status(503),
    ] {
        cases.spawn(fails_once(reply));
    }
    cases.join_all().await;
}

async fn fails_once(reply: Reply) {
    let (world, partner) = (World::new(), Receiver::start().await);
    world.partners.set(1, &partner.base("v1"), true);
    partner.script([reply.clone()]);
    let life = world.start();
    world.wake(account(1, 7), 1).await;
    let calls = partner.until_calls(2).await;
    let ids = calls
        .iter()
        .map(|call| call.claims(&partner.base("v1")).jti);
    let ids: Vec<_> = ids.collect();
    assert_eq!(ids[0], ids[1], "{reply:?}");
    // A redirect would have shown up under another path.
    assert!(calls.iter().all(|call| call.path == "/v1/push"));
    let done = r#"entente_push_retired_total{partner="1",outcome="delivered"} 1"#;
    life.until_shows(done).await;
    life.finish().await;
    assert_eq!(partner.calls().len(), 2, "{reply:?}");
}

/// T126: the time that a partner names is kept.
#[tokio::test]
async fn retry_after_is_kept() {
    let (world, partner) = (World::new(), Receiver::start().await);
    world.partners.set(1, &partner.base("v1"), true);
    partner.script([Reply::RetryAfter(429, "2")]);
    let life = world.start();
    world.wake(account(1, 7), 1).await;
    partner.until_calls(1).await;
    // One that comes meanwhile waits as well.
    world.wake(account(1, 9), 2).await;
    let calls = partner.until_calls(3).await;
    assert!(calls[1].at.duration_since(calls[0].at) >= Duration::from_secs(2));
    life.finish().await;
}

/// T126: 410 ends the wake-up; a later one of the same user is tried, since it was seen again.
#[tokio::test]
async fn gone_ends_this_wake_up() {
    let (world, partner) = (World::new(), Receiver::start().await);
    world.partners.set(1, &partner.base("v1"), true);
    partner.script([Reply::Status(410)]);
    let life = world.start();
    world.wake(account(1, 7), 1).await;
    life.until_shows(r#"entente_push_retired_total{partner="1",outcome="gone"} 1"#)
        .await;
    world.covered().await;
    assert_eq!((world.rows(), partner.calls().len()), (0, 1));
    world.wake(account(1, 7), 2).await;
    partner.until_calls(2).await;
    life.finish().await;
}

/// T127: one of 100 partners hangs with many users; the others are woken as if it were not there.
#[tokio::test]
async fn one_partner_that_hangs_holds_up_nobody_else() {
    let (mut world, partners) = (World::new(), Receiver::start().await);
    world.config.deadline = Span::secs(30);
    for partner in 1..=100 {
        let folder = format!("p{partner}/");
        world.partners.set(partner, &partners.base(&folder), true);
    }
    partners.hang_under("/p1/");
    for number in 0..200 {
        world.wake(account(1, 2 * number), number + 1).await;
    }
    let life = world.start();
    until("it hangs", || !partners.calls().is_empty()).await;
    let started = tokio::time::Instant::now();
    for partner in 2..=100 {
        world.wake(account(partner, 7), u64::from(partner)).await;
    }
    let others = || {
        let calls = partners.calls();
        calls
            .iter()
            .filter(|call| !call.path.starts_with("/p1/"))
            .count()
    };
    until("the others are woken", || others() == 99).await;
    // Far below the deadline for which the one hangs.
    assert!(started.elapsed() < Duration::from_secs(10));
    let hung = partners.calls().len() - 99;
    assert!(hung <= world.config.concurrency, "{hung}");
    drop(life.tasks.finish(Duration::from_secs(10)).await);
}

/// T132: a changed URL counts for what is queued, and a wrong certificate gets no token.
#[tokio::test]
async fn a_wrong_certificate_gets_nothing_and_a_changed_url_gets_all() {
    let (world, partner) = (World::new(), Receiver::start().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = JoinSet::new();
    server.spawn(impostor(listener));
    world
        .partners
        .set(1, &format!("https://127.0.0.1:{port}/v1"), true);
    let life = world.start();
    world.wake(account(1, 7), 1).await;
    life.until_shows(r#"entente_push_attempts_total{partner="1",outcome="tls"} 1"#)
        .await;
    world.partners.set(1, &partner.base("v2"), true);
    let call = partner.until_calls(1).await.remove(0);
    assert_eq!(call.path, "/v2/push");
    assert_eq!(call.claims(&partner.base("v2")).aud, partner.base("v2"));
    life.finish().await;
}

/// A server whose certificate nobody vouches for; it fails the test if a handshake completes.
async fn impostor(listener: TcpListener) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        assert!(acceptor.accept(socket).await.is_err());
    }
}
