//! Login, bind, and what is refused before.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_core::PartnerId;
use entente_proto::edge::ToRouter;
use entente_proto::identity::Revocation;
use entente_stanza::{Element, Received, StreamCondition, ns};
use tokio::time::{Duration, Instant};

use super::client::{Client, OPEN, jid};
use super::stub::{PROOF, TOKEN, World};
use crate::links::Basis;
use crate::session::Cause;

#[tokio::test(start_paused = true)]
async fn plain_login_binds_the_resource_that_was_asked_for() {
    let world = World::new();
    let mut client = Client::new(&world);
    let features = client.login(7).await;
    assert!(features.child("bind", &ns::BIND).is_some());
    assert!(features.child("sm", &ns::SM).is_some());
    let bound = client.bind().await;
    let bind = bound.child("bind", &ns::BIND).unwrap();
    let full = bind.child("jid", &ns::BIND).unwrap().text();
    assert_eq!(full, format!("{}/r", jid(7)));
    assert!(matches!(world.router.told()[0], ToRouter::Bind { .. }));
}

#[tokio::test(start_paused = true)]
async fn bearer_login_is_refused_by_challenge_and_may_be_repeated() {
    let world = World::new();
    let mut client = Client::new(&world);
    client.open().await;
    let auth = |token| {
        let data = format!("n,a={},\u{1}auth=Bearer {token}\u{1}\u{1}", jid(7));
        format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='OAUTHBEARER'>{}</auth>",
            STANDARD.encode(data)
        )
    };
    client.send(&auth("bad")).await;
    let challenge = client.element().await;
    assert!(challenge.is("challenge", &ns::SASL));
    client
        .send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AQ==</response>")
        .await;
    let failure = client.element().await;
    assert!(failure.child("not-authorized", &ns::SASL).is_some());
    client.send(&auth(TOKEN)).await;
    assert!(client.element().await.is("success", &ns::SASL));
}

#[tokio::test(start_paused = true)]
async fn the_third_failed_login_ends_the_stream() {
    let world = World::new();
    let mut client = Client::new(&world);
    client.open().await;
    for _ in 0..3 {
        let bad = STANDARD.encode("\u{0}1-7\u{0}bad");
        client
            .send(&format!(
                "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{bad}</auth>"
            ))
            .await;
        assert!(client.element().await.is("failure", &ns::SASL));
    }
    assert_eq!(client.error().await, StreamCondition::PolicyViolation);
    assert!(world.router.told().is_empty());
}

fn sasl2(mechanism: &str, data: &[u8], rest: &str) -> String {
    format!(
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'>\
         <initial-response>{}</initial-response>{rest}</authenticate>",
        STANDARD.encode(data)
    )
}

const BIND2: &str = "<bind xmlns='urn:xmpp:bind:0'><tag>phone</tag>\
     <enable xmlns='urn:xmpp:sm:3' resume='1'/></bind>";

fn authorized(success: &Element) -> String {
    assert!(success.is("success", &ns::SASL2), "{success:?}");
    let name = success.child("authorization-identifier", &ns::SASL2);
    name.unwrap().text()
}

#[tokio::test(start_paused = true)]
async fn sasl2_binds_enables_and_gives_a_token_in_one_go() {
    let world = World::new();
    let mut client = Client::new(&world);
    let features = client.open().await;
    let authentication = features.child("authentication", &ns::SASL2).unwrap();
    assert!(authentication.child("inline", &ns::SASL2).is_some());
    let plain = format!("\0{}\0{TOKEN}", jid(7));
    let token = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>";
    client
        .send(&sasl2(
            "PLAIN",
            plain.as_bytes(),
            &format!("{BIND2}{token}"),
        ))
        .await;
    let success = client.element().await;
    assert!(authorized(&success).starts_with(&format!("{}/phone/", jid(7))));
    let bound = success.child("bound", &ns::BIND2).unwrap();
    let enabled = bound.child("enabled", &ns::SM).unwrap();
    assert_eq!(enabled.attribute("resume"), Some("true"));
    let token = success.child("token", &ns::FAST).unwrap();
    assert_eq!(token.attribute("token"), Some("fast-token"));
    let features = client.element().await;
    assert!(features.is("features", &ns::STREAMS));
    assert!(features.child("sm", &ns::SM).is_none(), "it is on already");
    client.send("<presence/><r xmlns='urn:xmpp:sm:3'/>").await;
    assert_eq!(client.named("a").await.attribute("h"), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn fast_login_answers_with_the_responders_proof() {
    let world = World::new();
    let mut client = Client::new(&world);
    client.open().await;
    let mut data = b"1-7\0".to_vec();
    data.extend(PROOF);
    let fast = format!("{BIND2}<fast xmlns='urn:xmpp:fast:0'/>");
    client.send(&sasl2("HT-SHA-256-NONE", &data, &fast)).await;
    let success = client.element().await;
    authorized(&success);
    let proof = success.child("additional-data", &ns::SASL2).unwrap();
    assert_eq!(proof.text(), STANDARD.encode([6; 32]));
}

#[tokio::test(start_paused = true)]
async fn sasl2_without_bind_goes_on_to_bind_without_a_new_header() {
    let world = World::new();
    let mut client = Client::new(&world);
    client.open().await;
    let plain = format!("\0{}\0{TOKEN}", jid(7));
    client.send(&sasl2("PLAIN", plain.as_bytes(), "")).await;
    assert_eq!(authorized(&client.element().await), jid(7));
    let features = client.element().await;
    assert!(features.child("bind", &ns::BIND).is_some());
    assert_eq!(client.bind().await.attribute("type"), Some("result"));
}

#[tokio::test(start_paused = true)]
async fn another_domain_is_unknown() {
    let world = World::new();
    let mut client = Client::new(&world);
    client
        .send(&OPEN.replace("chat.example", "other.example"))
        .await;
    assert!(matches!(client.next().await, Some(Received::Open(_))));
    assert_eq!(client.error().await, StreamCondition::HostUnknown);
}

/// T36: nothing but header and authentication is legal before login, and nothing is kept.
#[tokio::test(start_paused = true)]
async fn everything_else_before_login_ends_the_stream() {
    let world = World::new();
    for early in [
        "<message to='1-1@chat.example'><body>x</body></message>",
        "<presence/>",
        "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
        "<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
        "<enable xmlns='urn:xmpp:sm:3'/>",
        "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>",
        "<r xmlns='urn:xmpp:sm:3'/>",
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<whatever xmlns='urn:x'/>",
    ] {
        let mut client = Client::new(&world);
        client.open().await;
        client.send(early).await;
        assert_eq!(
            client.error().await,
            StreamCondition::NotAuthorized,
            "{early}"
        );
    }
    assert_eq!(*world.identity.logins.lock(), 0);
    assert!(world.router.told().is_empty());
}

/// T14: compression gets the answer that it defines, and never a compressed stream.
#[tokio::test(start_paused = true)]
async fn compression_is_not_supported() {
    const COMPRESS: &str =
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>";
    let world = World::new();
    let mut stranger = Client::new(&world);
    let features = stranger.open().await;
    assert!(
        features
            .elements()
            .all(|feature| feature.name() != "compression")
    );
    stranger.send(COMPRESS).await;
    let failure = stranger.element().await;
    assert!(failure.child("unsupported-method", &ns::COMPRESS).is_some());
    let mut client = Client::bound(&world, 7).await;
    client.send(COMPRESS).await;
    assert!(client.element().await.is("failure", &ns::COMPRESS));
}

#[tokio::test(start_paused = true)]
async fn stanzas_before_bind_end_the_stream() {
    let world = World::new();
    let mut client = Client::new(&world);
    client.login(7).await;
    client.send("<enable xmlns='urn:xmpp:sm:3'/>").await;
    let failed = client.element().await;
    assert!(
        failed
            .child("unexpected-request", &ns::STANZA_ERRORS)
            .is_some()
    );
    client.send("<presence/>").await;
    assert_eq!(client.error().await, StreamCondition::NotAuthorized);
}

#[tokio::test(start_paused = true)]
async fn a_slow_login_is_ended_at_its_deadline() {
    let world = World::new();
    let mut client = Client::new(&world);
    let begun = Instant::now();
    client.open().await;
    assert_eq!(client.error().await, StreamCondition::ConnectionTimeout);
    let deadline = world.host.rules.config.deadlines.negotiate.get();
    assert!(begun.elapsed() < deadline + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_newest_session_wins_and_the_old_one_hears_of_it() {
    let world = World::new();
    let mut old = Client::bound(&world, 7).await;
    let mut new = Client::bound(&world, 7).await;
    assert_eq!(old.error().await, StreamCondition::Conflict);
    new.send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    assert_eq!(new.element().await.attribute("id"), Some("p"));
}

/// T37: two clients that throw each other out are slowed down; another account is not.
#[tokio::test(start_paused = true)]
async fn a_takeover_storm_is_slowed_down() {
    let world = World::new();
    let begun = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..9 {
        clients.push(Client::bound(&world, 7).await);
    }
    let limits = &world.host.rules.config.limits;
    let free = limits.bind_burst;
    assert_eq!(free, 6);
    assert!(begun.elapsed() >= limits.bind_interval.get() * 2);
    let begun = Instant::now();
    let _other = Client::bound(&world, 8).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_ends_its_sessions_at_once() {
    let world = World::new();
    let mut client = Client::bound(&world, 7).await;
    let key = |kid: &str| Revocation::Key {
        partner: PartnerId::new(1).unwrap(),
        kid: kid.into(),
    };
    world.host.links.revoke(Some(&key("kid-2")));
    client
        .send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    assert_eq!(client.element().await.attribute("id"), Some("p"));
    world.host.links.revoke(Some(&key("kid-1")));
    assert_eq!(client.error().await, StreamCondition::NotAuthorized);
    let basis = Basis {
        partner: PartnerId::new(1).unwrap(),
        kid: "kid-1".into(),
    };
    assert!(basis.falls_with(&Revocation::Partner(PartnerId::new(1).unwrap())));
    assert_ne!(Cause::Revoked, Cause::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_clients_and_leaves_resumable_sessions_alone() {
    let world = World::new();
    let mut plain = Client::bound(&world, 7).await;
    let (mut managed, _) = Client::managed(&world, 8).await;
    let budget = Duration::from_secs(4);
    let links = std::sync::Arc::clone(&world.host.links);
    let drain = world.drain.clone();
    let left = world.tasks.spawn("test-drain", async move {
        crate::drain::drain(&links, &drain, budget).await
    });
    assert_eq!(plain.error().await, StreamCondition::SystemShutdown);
    assert_eq!(managed.error().await, StreamCondition::SystemShutdown);
    assert_eq!(left.await.unwrap(), 0);
    let told = world.router.told();
    assert!(told.iter().any(|item| matches!(item, ToRouter::End { .. })));
    assert!(
        told.iter()
            .any(|item| matches!(item, ToRouter::Detach { .. }))
    );
}
