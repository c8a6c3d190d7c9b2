use crate::framer::Framing;
use crate::limits::Limits;
use crate::reader::Reader;

use super::*;

fn element(text: &str) -> Element {
    let mut reader = Reader::new(ns::CLIENT, Framing::Stream, Limits::AFTER_AUTH);
    reader.open(crate::fuzzing::HEADER).unwrap();
    reader.element(text.as_bytes()).unwrap()
}

fn stanza(text: &str) -> Stanza {
    Stanza::from_element(element(text)).unwrap()
}

fn refusal(text: &str) -> StanzaRefusal {
    *Stanza::from_element(element(text)).unwrap_err()
}

fn written(element: Element) -> String {
    String::from_utf8(element.to_bytes().to_vec()).unwrap()
}

#[test]
fn unknown_children_and_attributes_survive() {
    let text = "<message from='a@b' id='1' to='c@d/e' type='chat' xml:lang='en' x='y'>\
                <body>hi</body> <x xmlns='urn:x' z='1'><y/></x></message>";
    let typed = stanza(text);
    let Stanza::Message(message) = &typed else {
        panic!("a message is a message")
    };
    assert_eq!(message.type_, MessageType::Chat);
    assert_eq!(message.body().as_deref(), Some("hi"));
    assert_eq!(message.head.to, Jid::parse("c@d/e").ok());
    assert_eq!(message.head.id.as_deref(), Some("1"));
    assert_eq!(written(typed.into_element()), text);
}

/// T22: a forwarded stanza, a carbon and an own copy inside set nothing outside.
#[test]
fn what_is_inside_is_never_unwrapped() {
    let inner = "<message xmlns='jabber:client' from='victim@d' to='x@d' id='9' type='groupchat'/>";
    for wrapper in [
        format!("<forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded>"),
        format!("<sent xmlns='urn:xmpp:carbons:2'>{inner}</sent>"),
        inner.to_owned(),
    ] {
        let typed = stanza(&format!(
            "<message from='a@b' to='c@d' id='1'>{wrapper}</message>"
        ));
        let head = typed.head().unwrap();
        assert_eq!(head.from, Jid::parse("a@b").ok());
        assert_eq!(head.to, Jid::parse("c@d").ok());
        assert_eq!(head.id.as_deref(), Some("1"));
        let Stanza::Message(message) = typed else {
            panic!("a message is a message")
        };
        assert_eq!(
            (message.type_, message.payload.len()),
            (MessageType::Normal, 1)
        );
    }
}

/// T25: what nobody knows is a nonza, and a known name elsewhere is no stanza.
#[test]
fn unknown_kinds_are_nonzas() {
    for text in [
        "<ib/>",
        "<enable xmlns='urn:xmpp:sm:3'/>",
        "<message xmlns='jabber:server' to='a@b'/>",
        "<iq xmlns='urn:x'/>",
        "<MESSAGE/>",
    ] {
        let typed = stanza(text);
        assert!(matches!(&typed, Stanza::Nonza(_)), "{text}");
        assert_eq!(typed.head(), None);
        assert_eq!(written(typed.into_element()), text);
    }
}

/// T14: a request for compression is a nonza that the session can refuse by name.
#[test]
fn compression_is_only_a_name() {
    let compress =
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>";
    let Stanza::Nonza(asked) = stanza(compress) else {
        panic!("not a stanza")
    };
    assert!(asked.is("compress", &ns::COMPRESS));
}

#[test]
fn broken_stanzas_are_answered_and_the_stream_lives() {
    let cases = [
        ("<iq id='1' to='b'/>", StanzaCondition::BadRequest),
        ("<iq id='1' type='get'/>", StanzaCondition::BadRequest),
        (
            "<iq id='1' type='set'><a/><b/></iq>",
            StanzaCondition::BadRequest,
        ),
        (
            "<iq id='1' type='ask'><a/></iq>",
            StanzaCondition::BadRequest,
        ),
        ("<iq type='get'><a/></iq>", StanzaCondition::BadRequest),
        ("<presence type='here'/>", StanzaCondition::BadRequest),
        ("<message to='a@'/>", StanzaCondition::JidMalformed),
        ("<message from='a b@c'/>", StanzaCondition::JidMalformed),
    ];
    for (text, condition) in cases {
        let refused = refusal(text);
        assert_eq!(refused.condition, condition, "{text}");
        assert_eq!(refused.element, element(text));
        let answer = refused.answer().unwrap();
        assert_eq!(answer.attribute("type"), Some("error"));
        let error = answer
            .child("error", &ns::CLIENT)
            .and_then(StanzaError::from_element);
        assert_eq!(error.unwrap().condition, condition);
    }
    let answer = refusal("<message id='7' from='a@b' to='c@'/>")
        .answer()
        .unwrap();
    assert_eq!(
        (answer.attribute("id"), answer.attribute("to")),
        (Some("7"), Some("a@b"))
    );
    // RFC 6120 8.3.1: an error is not answered with an error.
    for silent in [
        "<message type='error' to='c@'/>",
        "<iq type='result'><a/></iq>",
    ] {
        assert_eq!(refusal(silent).answer(), None);
    }
}

#[test]
fn answers_go_back_to_where_the_question_came_from() {
    let Stanza::Iq(ping) =
        stanza("<iq from='a@b/c' to='d' id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
    else {
        panic!("an iq is an iq")
    };
    assert!(ping.payload().unwrap().is("ping", &ns::PING));
    let result = ping.result(None).into_element();
    assert_eq!(
        written(result),
        "<iq from='d' id='1' to='a@b/c' type='result'/>"
    );
    let refused = ping
        .error(&StanzaError::new(StanzaCondition::ServiceUnavailable))
        .unwrap();
    assert_eq!(
        written(refused.clone().into_element()),
        "<iq from='d' id='1' to='a@b/c' type='error'><error type='cancel'>\
         <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    );
    assert_eq!(
        refused.error(&StanzaError::new(StanzaCondition::BadRequest)),
        None
    );
}

#[test]
fn presence_says_what_it_says() {
    let Stanza::Presence(here) = stanza("<presence><priority> -1\n</priority></presence>") else {
        panic!("a presence is a presence")
    };
    assert_eq!((here.type_, here.priority()), (PresenceType::Available, -1));
    for text in [
        "<presence type='unavailable'/>",
        "<presence type='subscribe'/>",
        "<presence/>",
    ] {
        assert_eq!(written(stanza(text).into_element()), text);
    }
}

#[test]
fn gateway_owned_children_can_be_stripped() {
    let Stanza::Message(mut message) =
        stanza("<message><delay xmlns='urn:xmpp:delay'/>x<body/></message>")
    else {
        panic!("a message is a message")
    };
    message.strip(|child| child.ns() == &ns::DELAY);
    assert_eq!(
        written(message.into_element()),
        "<message>x<body/></message>"
    );
}
