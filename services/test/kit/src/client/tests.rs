use std::sync::Arc;

use entente_stanza::{Framing, Inbound, Limits, Received, StreamHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::trust::Trust;

/// A server that does what the test says, line by line.
struct Script {
    io: DuplexStream,
    inbound: Inbound,
}

impl Script {
    fn pair() -> (Self, Box<dyn Io>) {
        let (io, theirs) = duplex(64 * 1024);
        let inbound = Inbound::new(Framing::Stream, Limits::AFTER_AUTH);
        (Self { io, inbound }, Box::new(theirs))
    }

    async fn next(&mut self) -> Received {
        loop {
            if let Some(received) = self.inbound.next_event().unwrap() {
                return received;
            }
            let count = self.io.read_buf(self.inbound.buffer()).await.unwrap();
            assert_ne!(count, 0, "the client hung up");
        }
    }

    async fn element(&mut self) -> Element {
        match self.next().await {
            Received::Element(element) => element,
            other => panic!("{other:?}"),
        }
    }

    async fn say(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).await.unwrap();
    }

    async fn open(&mut self, features: &str) {
        let Received::Open(header) = self.next().await else {
            panic!("no stream header");
        };
        assert_eq!(header.to.unwrap().as_str(), "gateway.test");
        let header = StreamHeader {
            from: Some(Jid::parse("gateway.test").unwrap()),
            version: Some(StreamHeader::VERSION),
            ns: ns::CLIENT,
            ..StreamHeader::default()
        };
        let mut bytes = bytes::BytesMut::new();
        header.write_into(Framing::Stream, &mut bytes);
        self.io.write_all(&bytes).await.unwrap();
        self.say(&format!("<stream:features>{features}</stream:features>"))
            .await;
    }

    /// SASL by the old way, up to the features after it.
    async fn authenticate(&mut self) -> Element {
        self.open("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            .await;
        let auth = self.element().await;
        self.say("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            .await;
        self.inbound.restart();
        self.open("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>")
            .await;
        auth
    }

    /// Bind and enable.
    async fn bind(&mut self, resume_id: &str) {
        let bind = self.element().await;
        assert!(bind.child("bind", &ns::BIND).is_some());
        self.say(
            "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>7-1@gateway.test/r</jid></bind></iq>",
        )
        .await;
        assert!(self.element().await.is("enable", &ns::SM));
        self.say(&format!(
            "<enabled xmlns='urn:xmpp:sm:3' resume='true' id='{resume_id}'/>"
        ))
        .await;
    }

    /// The next message, past what is no message.
    async fn message_id(&mut self) -> String {
        loop {
            let element = self.element().await;
            if element.name() == "message" {
                return element.attribute("id").unwrap().to_owned();
            }
        }
    }
}

fn config(mechanism: Mechanism) -> ClientConfig {
    ClientConfig {
        addresses: vec![([127, 0, 0, 1], 1).into()],
        domain: "gateway.test".to_owned(),
        tls: Trust::Anyone.client_config(&[]).unwrap(),
        localpart: "7-1".to_owned(),
        credential: Credential::Token(Arc::from("token")),
        mechanism,
        transport: Transport::DirectTls,
        stream_management: true,
        presence: false,
        login_within: Duration::from_secs(5),
    }
}

/// A client that has just bound, and its server.
async fn connected() -> (Client, Script) {
    let (mut script, io) = Script::pair();
    let mut client = Client::new(config(Mechanism::Plain));
    let serve = async {
        let auth = script.authenticate().await;
        assert_eq!(auth.text(), "ADctMQB0b2tlbg==");
        script.bind("s1").await;
    };
    let (how, ()) = tokio::join!(client.resume_io(io), serve);
    assert_eq!(how.unwrap(), Resumption::Rebound);
    assert_eq!(client.bound().unwrap().as_str(), "7-1@gateway.test/r");
    (client, script)
}

fn send(client: &mut Client, ids: &[&str]) {
    for id in ids {
        client.send_message("7-2@gateway.test", id, []).unwrap();
    }
}

async fn accepted(client: &mut Client) -> Box<str> {
    match client.recv().await.unwrap() {
        Event::Accepted { id, .. } => id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_h_accepts_what_it_covers_and_no_more() {
    let (mut client, mut script) = connected().await;
    send(&mut client, &["a", "b", "c"]);
    client.flush().await.unwrap();
    assert_eq!(script.message_id().await, "a");
    script.say("<a xmlns='urn:xmpp:sm:3' h='2'/>").await;
    assert_eq!(&*accepted(&mut client).await, "a");
    assert_eq!(&*accepted(&mut client).await, "b");
    assert_eq!((client.unacked(), client.counts().acked), (1, 2));
    script.say("<a xmlns='urn:xmpp:sm:3' h='9'/>").await;
    assert!(matches!(client.recv().await, Err(ClientError::BadCount(_))));
}

#[tokio::test(start_paused = true)]
async fn requests_for_h_and_pings_are_answered_at_once() {
    let (mut client, mut script) = connected().await;
    script
        .say(
            "<message from='7-2@gateway.test' id='x'/><r xmlns='urn:xmpp:sm:3'/>\
             <iq type='get' id='p' from='gateway.test'><ping xmlns='urn:xmpp:ping'/></iq>\
             <iq type='get' id='v'><query xmlns='jabber:iq:version'/></iq>",
        )
        .await;
    assert!(matches!(client.recv().await, Ok(Event::Message(_))));
    let answers = async {
        let a = script.element().await;
        assert_eq!(a.attribute("h"), Some("1"));
        let pong = script.element().await;
        assert_eq!(pong.attribute("type"), Some("result"));
        assert_eq!(pong.attribute("to"), Some("gateway.test"));
        let version = script.element().await;
        assert_eq!(version.attribute("type"), Some("error"));
    };
    tokio::select! {
        event = client.recv() => panic!("{event:?}"),
        () = answers => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_resumed_and_only_the_uncovered_is_sent_again() {
    let (mut client, script) = connected().await;
    send(&mut client, &["a", "b"]);
    client.flush().await.unwrap();
    drop(script);
    assert!(matches!(client.recv().await, Err(ClientError::Closed)));
    send(&mut client, &["c"]);

    let (mut script, io) = Script::pair();
    let serve = async {
        script.authenticate().await;
        let resume = script.element().await;
        assert_eq!(resume.attribute("previd"), Some("s1"));
        assert_eq!(resume.attribute("h"), Some("0"));
        script
            .say("<resumed xmlns='urn:xmpp:sm:3' previd='s1' h='1'/>")
            .await;
    };
    let (how, ()) = tokio::join!(client.resume_io(io), serve);
    assert_eq!(how.unwrap(), Resumption::Resumed);
    client.flush().await.unwrap();
    assert_eq!(&*accepted(&mut client).await, "a");
    assert_eq!(script.message_id().await, "b");
    assert_eq!(script.message_id().await, "c");
    assert_eq!(client.counts().resumed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_gone_is_bound_anew_and_everything_uncovered_keeps_its_id() {
    let (mut client, script) = connected().await;
    send(&mut client, &["a", "b", "c"]);
    client.flush().await.unwrap();
    drop(script);
    assert!(client.recv().await.is_err());

    let (mut script, io) = Script::pair();
    let serve = async {
        script.authenticate().await;
        assert!(script.element().await.is("resume", &ns::SM));
        script
            .say("<failed xmlns='urn:xmpp:sm:3' h='1'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
            .await;
        script.bind("s2").await;
    };
    let (how, ()) = tokio::join!(client.resume_io(io), serve);
    assert_eq!(how.unwrap(), Resumption::Rebound);
    client.flush().await.unwrap();
    assert_eq!(&*accepted(&mut client).await, "a");
    assert_eq!(script.message_id().await, "b");
    assert_eq!(script.message_id().await, "c");
    // The counts began anew: two messages, so `h` is 2.
    script.say("<a xmlns='urn:xmpp:sm:3' h='2'/>").await;
    assert_eq!(&*accepted(&mut client).await, "b");
    assert_eq!(&*accepted(&mut client).await, "c");
    let counts = client.counts();
    assert_eq!((counts.sent, counts.acked), (3, 3));
    assert_eq!((counts.rebound, counts.resent), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn copies_are_dropped_and_counted_apart() {
    let (mut client, mut script) = connected().await;
    let message = |id: &str| format!("<message from='7-2@gateway.test' id='{id}'/>");
    for id in ["s-1", "s-3", "s-1", "s-2"] {
        script.say(&message(id)).await;
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        match client.recv().await.unwrap() {
            Event::Message(message) => ids.push(message.id.to_string()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ids, ["s-1", "s-3", "s-2"]);
    let counts = client.counts();
    assert_eq!((counts.received, counts.copies), (3, 1));
    assert_eq!(counts.out_of_order, 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_gateway_states_is_told_apart_from_what_users_write() {
    let (mut client, mut script) = connected().await;
    script
        .say(
            "<message type='headline' from='gateway.test'>\
             <offline xmlns='urn:entente:0' count='3'/></message>\
             <message type='headline' from='7-2@gateway.test'>\
             <receipt xmlns='urn:entente:0' kind='delivered'><id>a</id><id>b</id></receipt></message>\
             <message type='error' id='c' from='7-3@gateway.test'><error type='cancel'>\
             <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>\
             <message id='d' from='7-2@gateway.test'>\
             <delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/></message>",
        )
        .await;
    assert!(matches!(client.recv().await, Ok(Event::Waiting(3))));
    let Ok(Event::Delivered { by, ids }) = client.recv().await else {
        panic!("no receipt");
    };
    assert_eq!((&*by, ids.len()), ("7-2@gateway.test", 2));
    let Ok(Event::Refused { id, condition, .. }) = client.recv().await else {
        panic!("no refusal");
    };
    assert_eq!((&*id, &*condition), ("c", "item-not-found"));
    let Ok(Event::Message(message)) = client.recv().await else {
        panic!("no message");
    };
    assert!(message.delayed);
    assert_eq!(client.counts().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_gets_its_own_answer() {
    let (mut client, mut script) = connected().await;
    let serve = async {
        let iq = script.element().await;
        let id = iq.attribute("id").unwrap().to_owned();
        script
            .say(&format!(
                "<iq type='result' id='other'/><message from='7-2@gateway.test' id='m'/>\
                 <iq type='result' id='{id}'/>"
            ))
            .await;
    };
    let ping = Element::new("ping", ns::PING);
    let (answer, ()) = tokio::join!(client.iq("get", None, ping), serve);
    assert_eq!(answer.unwrap().attribute("id"), Some("q1"));
    assert!(matches!(client.recv().await, Ok(Event::Answer { .. })));
    assert!(matches!(client.recv().await, Ok(Event::Message(_))));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_costs_the_deadline_and_no_more() {
    let (script, io) = Script::pair();
    let mut client = Client::new(config(Mechanism::Plain));
    let error = client.resume_io(io).await.unwrap_err();
    assert!(matches!(error, ClientError::Deadline) && error.is_passing());
    drop(script);
}

#[tokio::test(start_paused = true)]
async fn a_refused_login_says_why_and_is_not_worth_repeating() {
    let (mut script, io) = Script::pair();
    let mut client = Client::new(config(Mechanism::OauthBearer));
    let serve = async {
        script
            .open("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            .await;
        let auth = script.element().await;
        assert_eq!(auth.attribute("mechanism"), Some("OAUTHBEARER"));
        script
            .say("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>")
            .await;
    };
    let (outcome, ()) = tokio::join!(client.resume_io(io), serve);
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), "login refused: not-authorized");
    assert!(!error.is_passing());
}

#[tokio::test(start_paused = true)]
async fn sasl2_binds_inline_and_comes_back_by_its_fast_token() {
    let (mut script, io) = Script::pair();
    let mut client = Client::new(config(Mechanism::Sasl2 { fast: true }));
    let success = |inner: &str| {
        format!(
            "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>7-1@gateway.test/r\
             </authorization-identifier>{inner}</success><stream:features/>"
        )
    };
    let serve = async {
        script
            .open("<authentication xmlns='urn:xmpp:sasl:2'/>")
            .await;
        let request = script.element().await;
        assert_eq!(request.attribute("mechanism"), Some("PLAIN"));
        assert!(request.child("request-token", &ns::FAST).is_some());
        let bind = request.child("bind", &ns::BIND2).unwrap();
        assert!(bind.child("enable", &ns::SM).is_some());
        script
            .say(&success(
                "<token xmlns='urn:xmpp:fast:0' token='f1' expiry='2030-01-01T00:00:00Z'/>\
                 <bound xmlns='urn:xmpp:bind:0'>\
                 <enabled xmlns='urn:xmpp:sm:3' resume='true' id='s1'/></bound>",
            ))
            .await;
    };
    let (how, ()) = tokio::join!(client.resume_io(io), serve);
    assert_eq!(how.unwrap(), Resumption::Rebound);
    client.cut();

    let (mut script, io) = Script::pair();
    let serve = async {
        script
            .open("<authentication xmlns='urn:xmpp:sasl:2'/>")
            .await;
        let request = script.element().await;
        assert_eq!(request.attribute("mechanism"), Some("HT-SHA-256-NONE"));
        assert!(request.child("fast", &ns::FAST).is_some());
        let resume = request.child("resume", &ns::SM).unwrap();
        assert_eq!(resume.attribute("previd"), Some("s1"));
        script
            .say(&success(
                "<resumed xmlns='urn:xmpp:sm:3' previd='s1' h='0'/>",
            ))
            .await;
    };
    let (how, ()) = tokio::join!(client.resume_io(io), serve);
    assert_eq!(how.unwrap(), Resumption::Resumed);
}
