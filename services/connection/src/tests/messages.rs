//! Stanzas of a bound session: what is submitted, what is answered, what is refused.

use entente_core::{Class, Content, Envelope, FailReason, Failed};
use entente_proto::edge::ToRouter;
use entente_stanza::{Element, Node, StanzaError, StreamCondition, ns};

use super::client::{Client, jid};
use super::router::NOBODY;
use super::stub::{World, account};

fn submitted(world: &World) -> Vec<Envelope> {
    let told = world.router.told();
    let envelope = |item: ToRouter| match item {
        ToRouter::Submit { envelope, .. } => Some((*envelope).clone()),
        _ => None,
    };
    told.into_iter().filter_map(envelope).collect()
}

async fn ready(world: &World, number: u64) -> Client {
    let mut client = Client::bound(world, number).await;
    client.send("<presence/>").await;
    client.element().await;
    client.element().await;
    client
}

/// Sends a request and gives the answer.
async fn ask(client: &mut Client, iq: &str) -> Element {
    client.send(iq).await;
    client.named("iq").await
}

fn condition(answer: &Element) -> &'static str {
    let error = answer.child("error", &ns::CLIENT).expect("an error");
    StanzaError::from_element(error).unwrap().condition.as_str()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_stamped_and_reaches_its_recipient() {
    let world = World::new();
    let mut alice = ready(&world, 7).await;
    let mut bob = ready(&world, 9).await;
    let forged = "<stanza-id xmlns='urn:xmpp:sid:0' by='1-9@chat.example' id='forged'/>\
         <receipt xmlns='urn:entente:0' kind='delivered'><id>x</id></receipt>\
         <request xmlns='urn:entente:0'/><forwarded xmlns='urn:xmpp:forward:0'>\
         <message xmlns='jabber:client' from='1-9@chat.example' to='1-7@chat.example'/></forwarded>";
    alice
        .send(&format!(
            "<message to='{}' id='m1' type='chat'><body>hi &amp; ho</body>{forged}</message>",
            jid(9)
        ))
        .await;
    let message = bob.named("message").await;
    assert_eq!(message.attribute("from"), Some(&*format!("{}/r", jid(7))));
    assert_eq!(
        message.child("body", &ns::CLIENT).unwrap().text(),
        "hi & ho"
    );
    assert!(message.child("forwarded", &ns::FORWARD).is_some());
    assert!(message.elements().all(|child| child.ns() != &ns::ENTENTE));
    let ids: Vec<&Element> = message
        .elements()
        .filter(|child| child.is("stanza-id", &ns::STANZA_ID))
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(ids[0].attribute("by"), Some(&*jid(9)));
    assert_ne!(ids[0].attribute("id"), Some("forged"));
    let envelope = &submitted(&world)[0];
    assert!(envelope.wants_receipt);
    assert_eq!((envelope.from, envelope.to), (account(7), account(9)));
    assert_eq!(envelope.class, Class::Durable);
    assert_eq!(envelope.id, "m1");
}

#[tokio::test(start_paused = true)]
async fn what_waited_carries_its_delay_in_our_name() {
    let world = World::new();
    let stanza =
        |id| Content::Stanza(format!("<message id='{id}'><body>x</body></message>").into());
    world.router.keep(account(9), stanza("late"));
    let mut bob = Client::bound(&world, 9).await;
    bob.send("<presence/>").await;
    bob.named("message").await;
    let late = bob.named("message").await;
    assert_eq!(late.attribute("id"), Some("late"));
    let delay = late.child("delay", &ns::DELAY).unwrap();
    assert_eq!(delay.attribute("from"), Some("chat.example"));
    assert_eq!(delay.attribute("stamp"), Some("2023-11-14T22:13:20.000Z"));
    world.router.keep(account(9), stanza("live"));
    bob.send("<presence/>").await;
    let live = bob.named("message").await;
    assert_eq!(live.attribute("id"), Some("live"));
    assert!(live.child("delay", &ns::DELAY).is_none());
}

/// T95: another `from` closes the stream; no `from` and the own one pass.
#[tokio::test(start_paused = true)]
async fn a_foreign_from_ends_the_stream() {
    let world = World::new();
    let mut honest = ready(&world, 7).await;
    for from in [
        String::new(),
        format!("from='{}'", jid(7)),
        format!("from='{}/r'", jid(7)),
    ] {
        honest
            .send(&format!("<message {from} to='{}' id='m'/>", jid(9)))
            .await;
    }
    while submitted(&world).len() < 3 {
        tokio::task::yield_now().await;
    }
    let foreign = [
        jid(8),
        "2-7@chat.example".to_owned(),
        format!("{}/other", jid(7)),
        "1-7@other.example".to_owned(),
        "chat.example".to_owned(),
        "@".to_owned(),
        String::new(),
    ];
    for from in foreign {
        for name in ["message", "presence", "iq"] {
            let world = World::new();
            let mut liar = ready(&world, 7).await;
            liar.send(&format!("<{name} from='{from}' to='{}' id='m'/>", jid(9)))
                .await;
            assert_eq!(
                liar.error().await,
                StreamCondition::InvalidFrom,
                "{name} {from}"
            );
            assert!(submitted(&world).is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_to_nobody_is_refused_precisely() {
    let world = World::new();
    let mut client = ready(&world, 7).await;
    let nobody = jid(NOBODY);
    for (to, type_, wanted) in [
        ("1-9@other.example", "chat", "remote-server-not-found"),
        ("alice@chat.example", "chat", "item-not-found"),
        ("chat.example", "chat", "service-unavailable"),
        ("@@", "chat", "jid-malformed"),
        ("1-9@chat.example", "groupchat", "service-unavailable"),
        (nobody.as_str(), "chat", "item-not-found"),
    ] {
        client
            .send(&format!(
                "<message to='{to}' type='{type_}' id='m'><body/></message>"
            ))
            .await;
        let error = client.named("message").await;
        assert_eq!(error.attribute("type"), Some("error"), "{to}");
        assert_eq!(error.attribute("id"), Some("m"), "{to}");
        assert_eq!(condition(&error), wanted, "{to}");
    }
    // Errors are never answered.
    client.send("<message to='x@y' type='error' id='e'/>").await;
    let pong = ask(
        &mut client,
        "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>",
    )
    .await;
    assert_eq!(pong.attribute("id"), Some("p"));
}

type Case = (&'static str, &'static str, &'static str, &'static str);

const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const PEP: &str = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='x'/></pubsub>";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";
const ROSTER: &str = "<query xmlns='jabber:iq:roster'/>";
const ME: &str = "1-7@chat.example";
const DOMAIN: &str = "chat.example";

/// Type, address (or none), payload, and the answer.
const CASES: &[Case] = &[
    ("get", "", ROSTER, "result"),
    ("set", "", ROSTER, "not-allowed"),
    (
        "set",
        DOMAIN,
        "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>",
        "result",
    ),
    ("get", DOMAIN, INFO, "result"),
    ("get", ME, INFO, "result"),
    ("get", "1-7@chat.example/r", INFO, "result"),
    (
        "get",
        DOMAIN,
        "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        "result",
    ),
    ("get", "", PING, "result"),
    ("get", ME, PING, "result"),
    ("get", DOMAIN, PING, "result"),
    (
        "get",
        DOMAIN,
        "<query xmlns='jabber:iq:version'/>",
        "result",
    ),
    ("get", "", "<vCard xmlns='vcard-temp'/>", "item-not-found"),
    ("get", "", PEP, "item-not-found"),
    ("get", ME, PEP, "item-not-found"),
    ("set", "", PEP, "service-unavailable"),
    (
        "get",
        "",
        "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>",
        "result",
    ),
    ("set", "", "<enable xmlns='urn:xmpp:carbons:2'/>", "result"),
    ("set", "", "<disable xmlns='urn:xmpp:carbons:2'/>", "result"),
    (
        "get",
        "",
        "<blocklist xmlns='urn:xmpp:blocking'/>",
        "result",
    ),
    (
        "set",
        "",
        "<block xmlns='urn:xmpp:blocking'/>",
        "bad-request",
    ),
    (
        "set",
        "",
        "<query xmlns='urn:xmpp:mam:2'/>",
        "service-unavailable",
    ),
    (
        "get",
        DOMAIN,
        "<request xmlns='urn:xmpp:http:upload:0'/>",
        "service-unavailable",
    ),
    ("get", "1-9@chat.example", INFO, "service-unavailable"),
    ("get", "room@muc.example", INFO, "service-unavailable"),
    ("get", "", "<count xmlns='urn:entente:keys:0'/>", "result"),
    (
        "get",
        "",
        "<bundle xmlns='urn:entente:keys:0' jid='1-9@chat.example'/>",
        "result",
    ),
    (
        "get",
        "",
        "<bundle xmlns='urn:entente:keys:0' jid='1-1000@chat.example'/>",
        "item-not-found",
    ),
    ("get", "", "<x xmlns='urn:unknown'/>", "service-unavailable"),
    ("odd", "", PING, "bad-request"),
    ("get", "", "", "bad-request"),
];

/// T25: each kind of stanza has its answer, with the request's id and from whom was asked.
#[tokio::test(start_paused = true)]
async fn every_request_is_answered_at_once() {
    let world = World::new();
    let mut client = ready(&world, 7).await;
    for (n, (type_, to, payload, wanted)) in CASES.iter().enumerate() {
        let address = match *to {
            "" => String::new(),
            to => format!(" to='{to}'"),
        };
        let iq = format!("<iq type='{type_}' id='q{n}'{address}>{payload}</iq>");
        let answer = ask(&mut client, &iq).await;
        assert_eq!(answer.attribute("id"), Some(&*format!("q{n}")), "{iq}");
        if *wanted == "result" {
            assert_eq!(answer.attribute("type"), Some("result"), "{iq}");
        } else {
            assert_eq!(condition(&answer), *wanted, "{iq}");
        }
        if !to.is_empty() {
            assert_eq!(answer.attribute("from"), Some(*to), "{iq}");
        }
    }
    // An iq without an id is answered too, by an error without one.
    let nameless = ask(&mut client, &format!("<iq type='get'>{PING}</iq>")).await;
    assert_eq!(condition(&nameless), "bad-request");
}

#[tokio::test(start_paused = true)]
async fn the_domain_says_only_what_is_true() {
    let world = World::new();
    let mut client = ready(&world, 7).await;
    let info = "<iq type='get' id='i' to='chat.example'>\
         <query xmlns='http://jabber.org/protocol/disco#info'/></iq>";
    let answer = ask(&mut client, info).await;
    let query = answer.child("query", &ns::DISCO_INFO).unwrap();
    let identity = query.child("identity", &ns::DISCO_INFO).unwrap();
    assert_eq!(identity.attribute("category"), Some("server"));
    let features: Vec<&str> = query
        .elements()
        .filter_map(|f| f.attribute("var"))
        .collect();
    assert!(features.contains(&"urn:xmpp:ping"));
    for absent in [
        "urn:xmpp:mam:2",
        "urn:xmpp:http:upload:0",
        "http://jabber.org/protocol/muc",
    ] {
        assert!(!features.contains(&absent), "{absent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_is_kept_and_pushed() {
    let world = World::new();
    let mut client = ready(&world, 7).await;
    let block = "<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'>\
         <item jid='1-9@chat.example'/></block></iq>";
    assert_eq!(
        ask(&mut client, block).await.attribute("type"),
        Some("result")
    );
    let push = client.named("iq").await;
    assert!(push.child("block", &ns::BLOCKING).is_some());
    let id = push.attribute("id").unwrap();
    client.send(&format!("<iq type='result' id='{id}'/>")).await;
    let list = "<iq type='get' id='l'><blocklist xmlns='urn:xmpp:blocking'/></iq>";
    let answer = ask(&mut client, list).await;
    let list = answer.child("blocklist", &ns::BLOCKING).unwrap();
    let items: Vec<&str> = list.elements().filter_map(|i| i.attribute("jid")).collect();
    assert_eq!(items, [jid(9)]);
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_leave_is_answered_whichever_news_comes_first() {
    const LEAVE: &str = "<iq type='set' id='u'><unenlist xmlns='urn:entente:keys:0'/></iq>";
    let world = World::new();
    let mut client = ready(&world, 7).await;
    assert_eq!(
        ask(&mut client, LEAVE).await.attribute("type"),
        Some("result")
    );
    let mut client = ready(&world, 8).await;
    world.router.revoke_at_next(account(8));
    let answer = ask(&mut client, &LEAVE.replace("'u'", "'v'")).await;
    assert_eq!(answer.attribute("id"), Some("v"));
    assert_eq!(answer.attribute("type"), Some("result"));
    assert_eq!(client.error().await, StreamCondition::NotAuthorized);
}

/// T39: nobody sees or gets anybody's presence.
#[tokio::test(start_paused = true)]
async fn presence_goes_to_nobody_else() {
    let world = World::new();
    let mut alice = ready(&world, 7).await;
    let mut bob = ready(&world, 9).await;
    alice
        .send(&format!(
            "<presence type='subscribe' to='{}' id='s'/>",
            jid(9)
        ))
        .await;
    let declined = alice.named("presence").await;
    assert_eq!(declined.attribute("type"), Some("unsubscribed"));
    assert_eq!(declined.attribute("from"), Some(&*jid(9)));
    alice.send(&format!("<presence to='{}'/>", jid(9))).await;
    alice
        .send(&format!("<presence type='probe' to='{}'/>", jid(9)))
        .await;
    alice.send("<presence type='unavailable'/>").await;
    alice
        .send("<presence to='room@muc.example/me'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        .await;
    assert_eq!(
        alice.named("presence").await.attribute("type"),
        Some("error")
    );
    assert!(submitted(&world).is_empty());
    bob.send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    assert_eq!(bob.element().await.attribute("id"), Some("p"));
}

#[tokio::test(start_paused = true)]
async fn notices_of_the_gateway_are_written_in_its_own_form() {
    let world = World::new();
    let failed = |why| {
        Content::Failed(Failed {
            to: account(9),
            id: "lost".into(),
            why,
        })
    };
    world
        .router
        .keep(account(7), failed(FailReason::Undeliverable));
    world
        .router
        .keep(account(7), Content::IdentityChanged { of: account(9) });
    let mut client = ready(&world, 7).await;
    let error = client.named("message").await;
    assert_eq!(error.attribute("from"), Some(&*jid(9)));
    assert_eq!(error.attribute("id"), Some("lost"));
    assert_eq!(condition(&error), "service-unavailable");
    let changed = client.named("message").await;
    assert_eq!(changed.attribute("type"), Some("headline"));
    let changed = changed.child("identity-changed", &ns::ENTENTE).unwrap();
    assert_eq!(changed.attribute("jid"), Some(&*jid(9)));
    assert!(
        changed
            .children()
            .iter()
            .all(|node| matches!(node, Node::Element(_)))
    );
}

#[tokio::test(start_paused = true)]
async fn stanzas_in_another_namespace_are_named_as_such() {
    let world = World::new();
    let mut client = ready(&world, 7).await;
    client
        .send("<message xmlns='' to='1-9@chat.example'/>")
        .await;
    assert_eq!(client.error().await, StreamCondition::InvalidNamespace);
    let mut client = ready(&world, 8).await;
    client.send("<unknown/>").await;
    assert_eq!(client.error().await, StreamCondition::UnsupportedStanzaType);
}
