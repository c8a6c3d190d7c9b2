//! What a partner gets when all is well, and what never leaves the gateway.

use std::sync::Arc;

use entente_core::Timestamp;
use entente_egress::{Client, Settings};
use entente_log::Log;
use http::header;

use crate::receiver::Receiver;
use crate::rig::{World, account};

/// T124, T129: the visible id and not a byte more, under a token that another library verifies.
#[tokio::test]
async fn a_wake_up_is_the_visible_id_under_a_token_of_the_gateway() {
    let (world, partner) = (World::new(), Receiver::start().await);
    world.partners.set(1, &partner.base("v1/"), true);
    let life = world.start();
    world.wake(account(1, 7), 1).await;
    let call = partner.until_calls(1).await.remove(0);
    assert_eq!(call.path, "/v1/push");
    assert_eq!(call.body(), r#"{"to":"user\"7@a.test"}"#);
    assert_eq!(call.headers[header::CONTENT_TYPE], "application/json");
    let claims = call.claims(&partner.base("v1"));
    assert_eq!(claims.exp - claims.iat, 3600);
    assert!(Timestamp::now().secs().abs_diff(claims.iat) < 30);
    life.until_shows(r#"entente_push_retired_total{partner="1",outcome="delivered"} 1"#)
        .await;
    world.covered().await;
    assert_eq!(world.rows(), 0);
    life.finish().await;
}

#[tokio::test]
async fn repeated_and_foreign_records_wake_nobody() {
    let (world, partner) = (World::new(), Receiver::start().await);
    world.partners.set(1, &partner.base("v1"), true);
    let foreign = world.log.append(0, vec![b"not ours".as_slice().into()]);
    foreign.await.unwrap();
    for (number, counter) in [(2, 1), (2, 1), (4, 2), (2, 1), (6, 3)] {
        world.wake(account(1, number), counter).await;
    }
    let life = world.start();
    life.until_shows(r#"entente_push_retired_total{partner="1",outcome="delivered"} 3"#)
        .await;
    life.until_shows(r#"entente_push_records_total{outcome="repeated"} 2"#)
        .await;
    assert!(life.shows(r#"entente_push_records_total{outcome="broken"} 1"#));
    life.finish().await;
    assert_eq!(partner.calls().len(), 3);
}

#[tokio::test]
async fn who_is_not_enlisted_or_has_no_door_is_not_woken() {
    let (world, partner) = (World::new(), Receiver::start().await);
    world.partners.set(1, &partner.base("v1"), true);
    let life = world.start();
    world.wake(account(1, 1_000_000), 1).await;
    world.wake(account(9, 8), 2).await;
    world.wake(account(1, 8), 3).await;
    let calls = partner.until_calls(1).await;
    life.until_shows(r#"entente_push_retired_total{partner="1",outcome="not_enlisted"} 1"#)
        .await;
    life.until_shows(r#"entente_push_retired_total{partner="9",outcome="no_endpoint"} 1"#)
        .await;
    assert_eq!(calls.len(), 1);
    life.finish().await;
}

/// T123: an address that may not be reached is judged at each send, whatever was registered.
#[tokio::test]
async fn an_internal_address_is_never_called() {
    let (world, partner) = (World::new(), Receiver::start().await);
    world.partners.set(1, &partner.base("v1"), true);
    let strict = Client::new(&Settings::default()).unwrap();
    let life = world.start_over(Arc::new(strict));
    world.wake(account(1, 7), 1).await;
    life.until_shows(r#"entente_push_attempts_total{partner="1",outcome="target_refused"} 1"#)
        .await;
    life.finish().await;
    assert!(partner.calls().is_empty());
    assert_eq!(world.rows(), 1);
}
