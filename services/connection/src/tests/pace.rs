//! What a client hears when too many log in, and what a slow log does to what sessions send.

use entente_core::Span;
use entente_stanza::ns;
use tokio::time::Duration;

use super::client::Client;
use super::stub::{TOKEN, World};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_stanza::{Element, StreamCondition};

fn narrow() -> World {
    World::with(|config| {
        config.pacing.logins = 1;
        config.pacing.burst = 1;
        config.pacing.hold = Span::secs(0);
    })
}

async fn refused(client: &mut Client, number: u64) -> (Element, StreamCondition) {
    client.open().await;
    let plain = STANDARD.encode(format!("\0{}\0{TOKEN}", super::client::id(number)));
    client
        .send(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
        ))
        .await;
    let failure = client.element().await;
    assert!(failure.is("failure", &ns::SASL), "{failure:?}");
    (failure, client.error().await)
}

/// T157: the refusal costs no verification, and says when to come back; then the client is let in.
#[tokio::test(start_paused = true)]
async fn a_login_too_many_is_told_when_to_come_back() {
    let world = narrow();
    let _first = Client::bound(&world, 1).await;
    let asked = *world.identity.logins.lock();
    let (failure, error) = refused(&mut Client::new(&world), 2).await;
    assert!(failure.child("temporary-auth-failure", &ns::SASL).is_some());
    assert_eq!(error, StreamCondition::ResourceConstraint);
    assert_eq!(*world.identity.logins.lock(), asked, "nothing was verified");
    let retry = failure.child("retry", &ns::ENTENTE).unwrap();
    let after: u64 = retry.attribute("after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&after), "{after}");
    tokio::time::advance(Duration::from_secs(after)).await;
    let _second = Client::bound(&world, 2).await;
}

const TYPING: &str = "<message to='1-9@chat.example' type='chat'>\
     <composing xmlns='http://jabber.org/protocol/chatstates'/></message>";

/// While the log is slow, typing is dropped and a message is not.
#[tokio::test(start_paused = true)]
async fn a_slow_log_drops_what_is_now_or_never_and_keeps_what_is_owed() {
    let world = World::new();
    let (mut client, _) = Client::managed(&world, 7).await;
    let pace = &world.host.rules.pace;
    let before = submitted(&world);
    client.send(TYPING).await;
    client.send("<r xmlns='urn:xmpp:sm:3'/>").await;
    client.named("a").await;
    assert_eq!(submitted(&world), before + 1);
    pace.hear(Duration::from_secs(1));
    tokio::time::advance(Duration::from_millis(600)).await;
    pace.hear(Duration::from_secs(1));
    client.send(TYPING).await;
    client
        .send("<message to='1-9@chat.example' type='chat' id='m'><body>x</body></message>")
        .await;
    client.send("<r xmlns='urn:xmpp:sm:3'/>").await;
    assert_eq!(client.named("a").await.attribute("h"), Some("4"));
    assert_eq!(submitted(&world), before + 2, "the message alone");
}

fn submitted(world: &World) -> usize {
    let told = world.router.told();
    let is_submit = |item: &&entente_proto::edge::ToRouter| {
        matches!(item, entente_proto::edge::ToRouter::Submit { .. })
    };
    told.iter().filter(is_submit).count()
}
