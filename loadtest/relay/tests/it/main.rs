//! The relay over TLS on loopback, with a client that checks its certificate.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod client;

use client::{Client, Server};
use entente_relay::Options;

fn options() -> Options {
    Options {
        domain: "relay.localhost".to_owned(),
        gather: false,
        ask: false,
        queue: 4,
    }
}

fn message(to: &str, number: usize) -> String {
    format!(
        "<message to='{to}' id='m-{number}'><body>text {number} &lt;/message&gt;</body></message>"
    )
}

#[tokio::test]
async fn messages_go_both_ways_and_are_acknowledged() {
    for gather in [false, true] {
        let server = Server::start(Options {
            gather,
            ..options()
        });
        let (mut a, mut b) = (server.log_in("u1").await, server.log_in("u2").await);
        for number in 0..3 {
            a.send(&message("u2@relay.localhost", number)).await;
        }
        a.send("<r xmlns='urn:xmpp:sm:3'/>").await;
        a.expect("<a xmlns='urn:xmpp:sm:3' h='3'/>").await;
        for number in 0..3 {
            let wanted = message("u2@relay.localhost", number);
            let wanted = wanted.replacen(' ', &format!(" from='{}' ", a.address), 1);
            b.expect(&wanted).await;
        }
        // To the full address, and back.
        b.send(&message(&a.address.clone(), 9)).await;
        let wanted = message(&a.address, 9).replacen(' ', &format!(" from='{}' ", b.address), 1);
        a.expect(&wanted).await;
    }
}

/// More in one write than one read takes: the rest is in TLS, and the socket tells nothing of it.
#[tokio::test]
async fn records_that_come_together_are_all_taken() {
    const RECORDS: usize = 40;
    let server = Server::start(options());
    let mut a = server.log_in("u1").await;
    let presence = format!("<presence><status>{}</status></presence>", "x".repeat(1000));
    let mut texts = vec![presence.as_str(); RECORDS];
    texts.push("<r xmlns='urn:xmpp:sm:3'/>");
    a.send_together(&texts).await;
    a.expect(&format!("<a xmlns='urn:xmpp:sm:3' h='{RECORDS}'/>"))
        .await;
}

#[tokio::test]
async fn acknowledgements_are_asked_for_only_when_told_to() {
    let server = Server::start(Options {
        ask: true,
        gather: true,
        ..options()
    });
    let (mut a, mut b) = (server.log_in("u1").await, server.log_in("u2").await);
    a.send(&message("u2@relay.localhost", 1)).await;
    assert!(b.next().await.starts_with("<message"));
    b.expect("<r xmlns='urn:xmpp:sm:3'/>").await;
    b.send("<a xmlns='urn:xmpp:sm:3' h='1'/>").await;
    b.send(&message("u1@relay.localhost", 2)).await;
    assert!(a.next().await.starts_with("<message"));
}

#[tokio::test]
async fn messages_to_nobody_come_back_as_errors() {
    let server = Server::start(options());
    let mut a = server.log_in("u1").await;
    for to in ["u2@relay.localhost", "u1@elsewhere.localhost", "o&apos;k"] {
        a.send(&message(to, 5)).await;
        let error = a.next().await;
        let wanted = format!(
            "<message type='error' id='m-5' from='{to}' to='{}'>",
            a.address
        );
        assert!(error.starts_with(&wanted), "{error}");
    }
    // An error is not answered; the answer to the next request shows that nothing came before it.
    a.send("<message type='error' to='u2@relay.localhost'/>")
        .await;
    a.send("<r xmlns='urn:xmpp:sm:3'/>").await;
    a.expect("<a xmlns='urn:xmpp:sm:3' h='4'/>").await;
}

/// Two users who flood each other through queues of one, and read while they write.
#[tokio::test]
async fn two_who_flood_each_other_get_everything_in_order() {
    const MESSAGES: usize = 1_000;
    for gather in [false, true] {
        let server = Server::start(Options {
            gather,
            queue: 1,
            ..options()
        });
        let (a, b) = (server.log_in("u1").await, server.log_in("u2").await);
        let flood = async |client: Client, to: &str| {
            let (mut reader, mut writer) = client.split();
            let write = async {
                for number in 0..MESSAGES {
                    writer.send(&message(to, number)).await;
                }
            };
            let read = async {
                for number in 0..MESSAGES {
                    let element = reader.next().await;
                    assert!(element.contains(&format!(" id='m-{number}'>")), "{element}");
                }
            };
            tokio::join!(write, read);
        };
        tokio::join!(
            flood(a, "u2@relay.localhost"),
            flood(b, "u1@relay.localhost")
        );
    }
}

#[tokio::test]
async fn iqs_are_agreed_to_and_the_stream_ends_in_order() {
    let server = Server::start(options());
    let mut a = server.log_in("u1").await;
    a.send("<iq type='get' id='p&amp;1'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    a.expect("<iq type='result' id='p&amp;1'/>").await;
    a.send("<presence/></stream:stream>").await;
    assert!(a.ended().await);
    // The name is free again.
    let mut b = server.log_in("u2").await;
    b.send(&message("u1@relay.localhost", 1)).await;
    assert!(b.next().await.contains("type='error'"));
}

#[tokio::test]
async fn what_is_out_of_turn_ends_the_connection() {
    let server = Server::start(options());
    for stanza in [
        "<message to='u1@relay.localhost'/>",
        "<iq type='set' id='1'/>",
        "<r/>",
        "</a>",
    ] {
        let mut client = server.connect().await;
        client.open().await;
        client.send(stanza).await;
        assert!(client.ended().await, "{stanza}");
    }
    let mut client = server.connect().await;
    client.open().await;
    // The user's name is `a'b`.
    client
        .send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEnYgBw</auth>")
        .await;
    assert!(client.next().await.contains("<not-authorized/>"));
}
