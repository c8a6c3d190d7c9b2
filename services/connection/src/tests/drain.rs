//! What clients of a node that goes down are told.

use std::sync::Arc;
use std::time::Duration;

use entente_proto::edge::ToRouter;
use entente_stanza::{Element, Received, StreamCondition, ns};

use super::client::{Client, OPEN};
use super::stub::World;

const OTHER: &str = "other.example:5223";

fn world(other: Option<&str>) -> World {
    World::with(|config| config.see_other_host = other.map(|other| other.parse().unwrap()))
}

fn drained(world: &World) {
    world.drain.begin();
    let (links, drain) = (Arc::clone(&world.host.links), world.drain.clone());
    world.tasks.spawn("test-drain", async move {
        crate::drain::drain(&links, &drain, Duration::from_secs(4)).await
    });
}

fn place(error: &Element) -> Option<String> {
    let told = error.child("see-other-host", &ns::STREAM_ERRORS)?;
    Some(told.text())
}

/// T40: where there is another place a drain names it, a resumable session stays so, and one that
/// is not ends.
#[tokio::test(start_paused = true)]
async fn a_drain_names_the_other_place_and_keeps_sessions() {
    let world = world(Some(OTHER));
    let (mut managed, _) = Client::managed(&world, 7).await;
    let mut plain = Client::bound(&world, 8).await;
    drained(&world);
    for client in [&mut managed, &mut plain] {
        let error = client.named("error").await;
        assert_eq!(place(&error).as_deref(), Some(OTHER));
    }
    assert_eq!(plain.next().await, Some(Received::Close));
    let told = world.router.told();
    let detached = told
        .iter()
        .filter(|item| matches!(item, ToRouter::Detach { .. }));
    let ended = told
        .iter()
        .filter(|item| matches!(item, ToRouter::End { .. }));
    assert_eq!((detached.count(), ended.count()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn without_another_place_the_server_goes_down() {
    let world = world(None);
    let (mut client, _) = Client::managed(&world, 7).await;
    drained(&world);
    assert_eq!(client.error().await, StreamCondition::SystemShutdown);
}

#[tokio::test(start_paused = true)]
async fn a_new_stream_of_a_draining_node_is_sent_on_before_login() {
    let world = world(Some(OTHER));
    world.drain.begin();
    let mut client = Client::new(&world);
    client.send(OPEN).await;
    assert!(matches!(client.next().await, Some(Received::Open(_))));
    let error = client.element().await;
    assert_eq!(place(&error).as_deref(), Some(OTHER));
    assert_eq!(*world.identity.logins.lock(), 0);
}

/// While load balancers lag, a node without another place still serves.
#[tokio::test(start_paused = true)]
async fn a_new_stream_is_served_where_there_is_no_other_place() {
    let world = world(None);
    world.drain.begin();
    let mut client = Client::new(&world);
    assert_eq!(client.login(7).await.name(), "features");
}
