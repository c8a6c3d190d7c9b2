//! The owner dies and the connection lives: what the next owner is told, and what the client sees of
//! it, which is nothing.

use bytes::Bytes;
use entente_core::{Content, Position, Sequence};
use entente_proto::edge::{Report, ToRouter};
use entente_stanza::{Element, StreamCondition, ns};
use tokio::time::{Duration, sleep};

use super::client::{Client, jid};
use super::stub::{World, account};

const R: &str = "<r xmlns='urn:xmpp:sm:3'/>";
const PING: &str = "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";

fn words(n: u32) -> Content {
    Content::Stanza(Bytes::from(format!(
        "<message from='1-9@chat.example/x' id='m{n}' to='1-7@chat.example'><body>{n}</body></message>"
    )))
}

fn message(id: &str, to: u64) -> String {
    format!(
        "<message to='{}' id='{id}'><body>x</body></message>",
        jid(to)
    )
}

fn h(element: &Element) -> &str {
    assert!(element.is("a", &ns::SM), "{element:?}");
    element.attribute("h").unwrap()
}

/// A moment of the paused clock.
async fn moment() {
    sleep(Duration::from_millis(50)).await;
}

/// What was told from the last report on.
fn told(world: &World) -> (Report, Vec<ToRouter>) {
    let told = world.router.told();
    let is_report = |item: &ToRouter| matches!(item, ToRouter::Reattach { .. });
    let at = told.iter().rposition(is_report).expect("a report");
    match &told[at] {
        ToRouter::Reattach { report, .. } => ((**report).clone(), told[at + 1..].to_vec()),
        other => panic!("{other:?}"),
    }
}

/// The first words after a report, in short.
fn places(items: &[ToRouter]) -> Vec<String> {
    let short = items.iter().filter_map(|item| match item {
        ToRouter::Submit { envelope, .. } => Some(format!(
            "submit {} {}",
            envelope.position.value(),
            String::from_utf8_lossy(&envelope.id)
        )),
        ToRouter::Handled { position, .. } => Some(format!("handled {}", position.value())),
        ToRouter::Local { .. } => Some("local".into()),
        ToRouter::Enable { .. } => Some("enable".into()),
        _ => None,
    });
    short.collect()
}

#[tokio::test(start_paused = true)]
async fn stanzas_without_an_outcome_are_told_again_in_order_before_new_ones() {
    let world = World::new();
    let (mut client, _) = Client::managed(&world, 7).await;
    client.send(&message("a", 9)).await;
    client.send(R).await;
    assert_eq!(h(&client.named("a").await), "2");
    world.router.stick(true).await;
    client.send(&message("b", 9)).await;
    client.send(PING).await;
    client.send(&message("c", 8)).await;
    moment().await;
    world.router.die();
    client.send(&message("d", 9)).await;
    moment().await;
    let (report, again) = told(&world);
    assert_eq!((report.handled, report.started), (Position::new(2), true));
    assert_eq!(
        places(&again),
        ["submit 3 b", "handled 4", "submit 5 c", "submit 6 d"]
    );
    world.router.stick(false).await;
    client.send(R).await;
    assert_eq!(h(&client.named("a").await), "6");
    assert_eq!(world.router.kept(account(9)), ["a", "b", "d"]);
    assert_eq!(world.router.kept(account(8)), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn deliveries_go_on_where_they_were() {
    let world = World::new();
    for n in 1..=3 {
        world.router.keep(account(7), words(n));
    }
    let (mut client, _) = Client::managed(&world, 7).await;
    for id in ["m1", "m2", "m3"] {
        assert_eq!(client.named("message").await.attribute("id"), Some(id));
    }
    // The presence and the count came before them.
    client.send("<a xmlns='urn:xmpp:sm:3' h='3'/>").await;
    moment().await;
    world.router.die();
    // What the client acknowledges meanwhile is told with the rest.
    client.send("<a xmlns='urn:xmpp:sm:3' h='4'/>").await;
    world.router.keep(account(7), words(4));
    moment().await;
    let (report, _) = told(&world);
    assert_eq!(
        (report.acked, report.sent),
        (Position::new(4), Position::new(5))
    );
    assert_eq!(
        (report.settled, report.delivered),
        (Sequence::new(2), Sequence::new(3))
    );
    assert_eq!(client.named("message").await.attribute("id"), Some("m4"));
    client.send("<a xmlns='urn:xmpp:sm:3' h='6'/>").await;
    client.send(R).await;
    assert_eq!(h(&client.named("a").await), "1");
}

/// What the client asks of this node meanwhile is answered when there is a place for the answer.
#[tokio::test(start_paused = true)]
async fn a_client_is_served_as_far_as_it_goes_without_an_owner() {
    let world = World::new();
    let (mut client, _) = Client::managed(&world, 7).await;
    world.router.go_away();
    moment().await;
    client.send(&format!("{PING}{R}")).await;
    // The count of what was handled before is no secret of the owner's.
    assert_eq!(h(&client.named("a").await), "1");
    sleep(Duration::from_secs(10)).await;
    world.router.come_back();
    let answer = client.named("iq").await;
    assert_eq!(answer.attribute("id"), Some("p"));
    client
        .send(&format!("<a xmlns='urn:xmpp:sm:3' h='3'/>{R}"))
        .await;
    assert_eq!(h(&client.named("a").await), "2");
    let (report, again) = told(&world);
    assert_eq!(report.sent, Position::new(2));
    assert_eq!(places(&again), ["handled 2", "local"]);
}

/// XEP-0198 that was asked for and not answered is asked for again.
#[tokio::test(start_paused = true)]
async fn stream_management_is_asked_for_again() {
    let world = World::new();
    let mut client = Client::bound(&world, 7).await;
    world.router.go_away();
    client
        .send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        .await;
    client.send(&message("a", 9)).await;
    moment().await;
    world.router.come_back();
    assert!(client.named("enabled").await.is("enabled", &ns::SM));
    client.send(R).await;
    assert_eq!(h(&client.named("a").await), "1");
    assert_eq!(places(&told(&world).1), ["submit 1 a", "local", "enable"]);
}

/// A client without XEP-0198 keeps its connection too, and its stanzas are not forgotten.
#[tokio::test(start_paused = true)]
async fn a_client_without_stream_management_goes_on() {
    let world = World::new();
    let mut client = Client::bound(&world, 7).await;
    client.send("<presence/>").await;
    assert_eq!(client.named("presence").await.name(), "presence");
    world.router.go_away();
    client.send(&message("a", 9)).await;
    moment().await;
    world.router.come_back();
    world.router.keep(account(7), words(1));
    loop {
        let message = client.named("message").await;
        if message.attribute("id") == Some("m1") {
            break;
        }
    }
    assert_eq!(world.router.kept(account(9)), ["a"]);
}

/// An error that the client has not acknowledged is owed by the next owner as well.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_reported_until_the_client_has_it() {
    let world = World::new();
    let (mut client, _) = Client::managed(&world, 7).await;
    client.send(&message("x", super::router::NOBODY)).await;
    let error = client.named("message").await;
    assert_eq!(error.attribute("type"), Some("error"));
    moment().await;
    world.router.die();
    moment().await;
    let (report, again) = told(&world);
    let [refusal] = &report.refusals[..] else {
        panic!("{report:?}")
    };
    assert_eq!(
        (refusal.inbound, &*refusal.id),
        (Position::new(2), &b"x"[..])
    );
    assert_eq!(refusal.position, report.sent);
    assert!(!places(&again).iter().any(|item| item.starts_with("submit")));
    client.send("<a xmlns='urn:xmpp:sm:3' h='3'/>").await;
    moment().await;
    world.router.die();
    moment().await;
    assert_eq!(told(&world).0.refusals, []);
}

/// The owner's word counts: whoever has the account by now keeps it.
#[tokio::test(start_paused = true)]
async fn a_session_that_was_replaced_meanwhile_is_closed() {
    let world = World::new();
    let (mut client, _) = Client::managed(&world, 7).await;
    world.router.go_away();
    world.router.replace(account(7));
    world.router.come_back();
    assert_eq!(client.error().await, StreamCondition::Conflict);
}

/// A connection that dies while there is no owner is told of to the next one, with its counters.
#[tokio::test(start_paused = true)]
async fn a_session_that_lost_both_ends_can_be_resumed() {
    let world = World::new();
    world.router.keep(account(7), words(1));
    let (mut client, previd) = Client::managed(&world, 7).await;
    assert_eq!(client.named("message").await.attribute("id"), Some("m1"));
    world.router.die();
    world.router.go_away();
    client.send(&message("a", 9)).await;
    moment().await;
    drop(client);
    moment().await;
    world.router.come_back();
    sleep(Duration::from_secs(2)).await;
    let last = world.router.told().pop();
    assert!(matches!(last, Some(ToRouter::Detach { .. })), "{last:?}");
    let mut again = Client::new(&world);
    again.login(7).await;
    let resume = format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='2'/>");
    again.send(&resume).await;
    let resumed = again.element().await;
    assert!(resumed.is("resumed", &ns::SM), "{resumed:?}");
    assert_eq!(resumed.attribute("h"), Some("2"));
    assert_eq!(again.named("message").await.attribute("id"), Some("m1"));
}

/// An owner that takes sessions and ends at once, again and again, is not asked as fast as it answers.
#[tokio::test(start_paused = true)]
async fn an_owner_that_ends_at_once_is_asked_once_a_second() {
    let world = World::new();
    let (mut client, _) = Client::managed(&world, 7).await;
    let reports = || {
        let told = world.router.told();
        let reports = told.iter();
        reports
            .filter(|item| matches!(item, ToRouter::Reattach { .. }))
            .count()
    };
    for _ in 0..20_000 {
        let before = reports();
        sleep(Duration::from_millis(1)).await;
        if reports() > before || before == 0 {
            world.router.die();
        }
    }
    // Seven in the first two seconds or so, then one a second.
    assert!((15..35).contains(&reports()), "{}", reports());
    sleep(Duration::from_secs(2)).await;
    client.send(&message("a", 9)).await;
    client.send(R).await;
    assert_eq!(h(&client.named("a").await), "2");
}

/// However long the owner is away, what waits for it is bounded.
#[tokio::test(start_paused = true)]
async fn what_waits_for_an_owner_is_bounded() {
    let world = World::new();
    let (mut client, _) = Client::managed(&world, 7).await;
    world.router.stick(true).await;
    let flood: String = (0..20_000).map(|n| message(&n.to_string(), 9)).collect();
    let send = client.send(&flood);
    let stuck = tokio::time::timeout(Duration::from_secs(5), send).await;
    assert!(stuck.is_err(), "more than the limit was read");
    let submits = || {
        let told = world.router.told();
        let submits = told
            .iter()
            .filter(|item| matches!(item, ToRouter::Submit { .. }));
        submits.count()
    };
    assert_eq!(submits(), 1024);
    world.router.stick(false).await;
    moment().await;
    assert!(submits() > 1024);
}
