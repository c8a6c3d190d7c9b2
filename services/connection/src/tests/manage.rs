//! XEP-0198, its resumption, and the pings that stand in for it.

use bytes::Bytes;
use entente_core::{Content, Position};
use entente_proto::edge::ToRouter;
use entente_stanza::{Element, StreamCondition, ns};
use tokio::time::{Duration, Instant};

use super::client::{Client, jid};
use super::router::receipt;
use super::stub::{World, account};

const R: &str = "<r xmlns='urn:xmpp:sm:3'/>";

fn words(n: u32) -> Content {
    Content::Stanza(Bytes::from(format!(
        "<message from='1-9@chat.example/x' id='m{n}' to='1-7@chat.example'><body>{n}</body></message>"
    )))
}

fn acked(world: &World) -> Vec<Position> {
    let told = world.router.told();
    let through = |item: &ToRouter| match item {
        ToRouter::Acked { through, .. } => Some(*through),
        _ => None,
    };
    told.iter().filter_map(through).collect()
}

fn h(element: &Element) -> &str {
    assert!(element.is("a", &ns::SM), "{element:?}");
    element.attribute("h").unwrap()
}

#[tokio::test(start_paused = true)]
async fn h_follows_the_owner_and_never_runs_ahead() {
    let world = World::new();
    let (mut client, _) = Client::managed(&world, 7).await;
    client.send("<a xmlns='urn:xmpp:sm:3' h='2'/>").await;
    world.router.stick(true).await;
    let message = format!(
        "<message to='{}' id='m'><body>x</body></message>{R}",
        jid(9)
    );
    client.send(&message).await;
    // The presence alone is handled so far: the answer waits for more, but not for long.
    let asked = Instant::now();
    assert_eq!(h(&client.named("a").await), "1");
    assert!(asked.elapsed() >= Duration::from_millis(200));
    client.send(R).await;
    assert_eq!(h(&client.element().await), "1");
    world.router.stick(false).await;
    assert_eq!(h(&client.element().await), "2");
    client.send(R).await;
    assert_eq!(h(&client.element().await), "2");
}

#[tokio::test(start_paused = true)]
async fn deliveries_are_settled_by_what_the_client_acknowledges() {
    let world = World::new();
    world.router.keep(account(7), words(1));
    let (mut client, _) = Client::managed(&world, 7).await;
    let message = client.named("message").await;
    assert_eq!(message.attribute("id"), Some("m1"));
    client.send("<a xmlns='urn:xmpp:sm:3' h='3'/>").await;
    client.send(R).await;
    client.named("a").await;
    assert_eq!(acked(&world).last(), Some(&Position::new(3)));
}

#[tokio::test(start_paused = true)]
async fn acknowledging_what_was_never_sent_ends_the_session() {
    let world = World::new();
    let (mut client, _) = Client::managed(&world, 7).await;
    client.send("<a xmlns='urn:xmpp:sm:3' h='3'/>").await;
    let error = client.named("error").await;
    assert!(error.child("handled-count-too-high", &ns::SM).is_some());
    assert!(acked(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_died_connection_goes_on_where_it_was() {
    let world = World::new();
    world.router.keep(account(7), words(1));
    let (mut client, previd) = Client::managed(&world, 7).await;
    assert_eq!(client.named("message").await.attribute("id"), Some("m1"));
    drop(client);
    let mut again = Client::new(&world);
    again.login(7).await;
    again
        .send(&format!(
            "<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='2'/>"
        ))
        .await;
    let resumed = again.element().await;
    assert!(resumed.is("resumed", &ns::SM), "{resumed:?}");
    assert_eq!(resumed.attribute("previd"), Some(&*previd));
    assert_eq!(resumed.attribute("h"), Some("1"));
    assert_eq!(again.named("message").await.attribute("id"), Some("m1"));
    // The address is the one that was bound, and counting goes on.
    again
        .send(&format!(
            "<message from='{}/r' to='{}' id='n'/>{R}",
            jid(7),
            jid(9)
        ))
        .await;
    assert_eq!(h(&again.named("a").await), "2");
    again.send("<a xmlns='urn:xmpp:sm:3' h='3'/>").await;
    again.send(R).await;
    again.named("a").await;
    assert_eq!(acked(&world).last(), Some(&Position::new(3)));
}

/// T26: a guessed id, an old id, and the right id of another account all fail alike; the session's
/// own account still gets in.
#[tokio::test(start_paused = true)]
async fn resumption_needs_the_secret_and_the_account() {
    let world = World::new();
    let (client, previd) = Client::managed(&world, 7).await;
    drop(client);
    let guessed = format!("{}.r", "A".repeat(22));
    for (number, previd) in [
        (8, previd.as_str()),
        (7, guessed.as_str()),
        (7, "no-key"),
        (7, ""),
    ] {
        let mut thief = Client::new(&world);
        thief.login(number).await;
        thief
            .send(&format!(
                "<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='2'/>"
            ))
            .await;
        let failed = thief.element().await;
        assert!(failed.is("failed", &ns::SM), "{failed:?}");
        assert!(failed.child("item-not-found", &ns::STANZA_ERRORS).is_some());
    }
    let mut owner = Client::new(&world);
    owner.login(7).await;
    owner
        .send(&format!(
            "<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='2'/>"
        ))
        .await;
    assert!(owner.element().await.is("resumed", &ns::SM));
}

/// T31: what cannot be resumed tells how far the client's own stanzas got, and a bind follows.
#[tokio::test(start_paused = true)]
async fn a_failed_resumption_leads_to_a_fresh_bind() {
    let world = World::new();
    let mut client = Client::new(&world);
    client.login(7).await;
    let guessed = format!("{}.r", "A".repeat(22));
    client
        .send(&format!(
            "<resume xmlns='urn:xmpp:sm:3' previd='{guessed}' h='2'/>"
        ))
        .await;
    assert_eq!(client.element().await.attribute("h"), Some("7"));
    assert_eq!(client.bind().await.attribute("type"), Some("result"));
}

/// A session whose owner cannot be asked is not said to be over: the client comes again.
#[tokio::test(start_paused = true)]
async fn a_resumption_while_the_owner_is_away_ends_the_stream_and_not_the_session() {
    let world = World::new();
    let (client, previd) = Client::managed(&world, 7).await;
    drop(client);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let resume = format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='2'/>");
    world.router.go_away();
    let mut early = Client::new(&world);
    early.login(7).await;
    early.send(&resume).await;
    let error = early.element().await;
    assert!(error.is("error", &ns::STREAMS), "{error:?}");
    let condition = error.child("resource-constraint", &ns::STREAM_ERRORS);
    assert!(condition.is_some(), "{error:?}");
    world.router.come_back();
    let mut again = Client::new(&world);
    again.login(7).await;
    again.send(&resume).await;
    assert!(again.element().await.is("resumed", &ns::SM));
}

#[tokio::test(start_paused = true)]
async fn counters_on_the_wire_wrap() {
    let world = World::with(|config| config.first_count = u32::MAX - 1);
    world.router.keep(account(7), words(1));
    let (mut client, previd) = Client::managed(&world, 7).await;
    client.named("message").await;
    client
        .send(&format!(
            "<a xmlns='urn:xmpp:sm:3' h='{}'/><presence/>{R}",
            1
        ))
        .await;
    assert_eq!(h(&client.named("a").await), "0", "two after the first");
    assert_eq!(acked(&world).last(), Some(&Position::new(3)));
    drop(client);
    let mut again = Client::new(&world);
    again.login(7).await;
    again
        .send(&format!(
            "<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='1'/>"
        ))
        .await;
    assert_eq!(again.element().await.attribute("h"), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_enabled_in_the_same_flight() {
    let world = World::new();
    let mut client = Client::bound(&world, 7).await;
    client
        .send("<enable xmlns='urn:xmpp:sm:3' resume='true'/><presence/>")
        .await;
    assert!(client.element().await.is("enabled", &ns::SM));
    let sent = Instant::now();
    assert_eq!(client.element().await.name(), "presence");
    assert!(sent.elapsed() >= Duration::from_millis(100));
}

/// T23, T96: only the answer to a ping that is pending on this stream settles anything.
#[tokio::test(start_paused = true)]
async fn without_stream_management_an_answered_ping_settles() {
    let world = World::new();
    world.router.keep(account(7), words(1));
    let mut client = Client::bound(&world, 7).await;
    client.send("<presence/>").await;
    client.named("message").await;
    assert_eq!(client.named("message").await.attribute("id"), Some("m1"));
    let ping = client.named("iq").await;
    assert!(ping.child("ping", &ns::PING).is_some());
    let id = ping.attribute("id").unwrap();
    assert!(id.len() >= 24, "96 bits or more: {id}");
    for spoof in [
        "<iq type='result' id='1'/>".to_owned(),
        format!("<iq type='result' id='{id}' to='{}'/>", jid(9)),
        format!("<iq type='result' id='{id}x'/>"),
    ] {
        client.send(&spoof).await;
    }
    client
        .send("<iq type='get' id='s'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    client.named("iq").await;
    assert!(acked(&world).is_empty());
    client
        .send(&format!("<iq type='error' id='{id}' to='chat.example'/>"))
        .await;
    client
        .send(&format!("<iq type='result' id='{id}' to='chat.example'/>"))
        .await;
    client
        .send("<iq type='get' id='t'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    client.named("iq").await;
    assert_eq!(
        acked(&world),
        [Position::new(4)],
        "once, and for all before the ping"
    );
}

#[tokio::test(start_paused = true)]
async fn the_backlog_waits_for_presence_and_says_how_much_there_is() {
    let world = World::new();
    world.router.keep(account(7), words(1));
    world.router.keep(account(7), receipt(account(9), b"sent"));
    let mut client = Client::bound(&world, 7).await;
    client
        .send("<presence><priority>-1</priority></presence>")
        .await;
    assert_eq!(client.element().await.name(), "presence");
    client
        .send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    assert_eq!(client.element().await.attribute("id"), Some("p"));
    client.send("<presence/>").await;
    assert_eq!(client.element().await.name(), "presence");
    let count = client.element().await;
    let offline = count.child("offline", &ns::ENTENTE).unwrap();
    assert_eq!(offline.attribute("count"), Some("2"));
    assert_eq!(client.element().await.attribute("id"), Some("m1"));
    let receipt = client.element().await;
    assert_eq!(receipt.attribute("from"), Some(&*jid(9)));
    let ids = receipt.child("receipt", &ns::ENTENTE).unwrap();
    assert_eq!(ids.child("id", &ns::ENTENTE).unwrap().text(), "sent");
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_gets_its_backlog_after_two_seconds() {
    let world = World::new();
    let mut client = Client::bound(&world, 7).await;
    let bound = Instant::now();
    let count = client.element().await;
    assert!(count.child("offline", &ns::ENTENTE).is_some());
    assert_eq!(bound.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_stays_away_resets_the_session() {
    let world = World::new();
    let mut client = Client::bound(&world, 7).await;
    world.router.go_away();
    let gone = Instant::now();
    assert_eq!(client.error().await, StreamCondition::Reset);
    assert_eq!(gone.elapsed().as_secs(), 30);
    world.router.come_back();
    let mut again = Client::new(&world);
    again.login(7).await;
    assert_eq!(again.bind().await.attribute("type"), Some("result"));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_cut_short_leaves_no_session() {
    let world = World::with(|config| config.limits.bind_burst = 1);
    let mut client = Client::new(&world);
    client.login(7).await;
    client.bind().await;
    drop(client);
    loop {
        let told = world.router.told();
        if told.iter().any(|item| matches!(item, ToRouter::End { .. })) {
            return;
        }
        tokio::task::yield_now().await;
    }
}
