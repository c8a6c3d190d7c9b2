//! Peers that send too much, too slowly, or read nothing.

use entente_proto::edge::ToRouter;
use entente_stanza::StreamCondition;
use tokio::time::{Duration, Instant, sleep};

use super::client::{Client, OPEN, jid};
use super::stub::{World, account};

/// T11: a stanza of the limit passes, one byte more does not, before login and after.
#[tokio::test(start_paused = true)]
async fn stanzas_beyond_the_limit_end_the_stream() {
    let world = World::new();
    let limits = world.host.rules.config.limits.clone();
    let before = limits.stanza_before_auth.get();
    let head = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>";
    let auth = |bytes: usize| format!("{head}{}</auth>", "A".repeat(bytes - head.len() - 7));
    let mut client = Client::new(&world);
    client.open().await;
    client.send(&auth(before)).await;
    assert_eq!(client.element().await.name(), "failure");
    client.send(&auth(before + 1)).await;
    assert_eq!(client.error().await, StreamCondition::PolicyViolation);

    let after = limits.stanza_after_auth.get();
    let head = format!("<message to='{}' id='big'><body>", jid(9));
    let message = |bytes: usize| {
        let tail = "</body></message>";
        format!(
            "{head}{}{tail}",
            "x".repeat(bytes - head.len() - tail.len())
        )
    };
    let mut client = Client::bound(&world, 7).await;
    client.send(&message(after)).await;
    client
        .send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    client.named("iq").await;
    let is_submit = |item: &ToRouter| matches!(item, ToRouter::Submit { .. });
    assert!(world.router.told().iter().any(is_submit));
    client.send(&message(after + 1)).await;
    assert_eq!(client.error().await, StreamCondition::PolicyViolation);
}

/// T11: what never ends is cut at the limit, not when it ends.
#[tokio::test(start_paused = true)]
async fn endless_tags_attributes_and_whitespace_end_the_stream() {
    let world = World::new();
    for endless in ["<", "<a b='", "<auth xmlns='x'>", " "] {
        let mut client = Client::new(&world);
        client.open().await;
        client.send(endless).await;
        let more = if endless == " " { " " } else { "x" };
        client.send(&more.repeat(10_001)).await;
        assert_eq!(
            client.error().await,
            StreamCondition::PolicyViolation,
            "{endless}"
        );
    }
}

/// T12: a trickle is cut at the stanza deadline, before login and after; whitespace does not help.
#[tokio::test(start_paused = true)]
async fn a_trickle_is_cut_at_the_stanza_deadline() {
    let world = World::new();
    let deadline = world.host.rules.config.deadlines.stanza.get();
    for bound in [false, true] {
        let mut client = if bound {
            Client::bound(&world, 7).await
        } else {
            let mut client = Client::new(&world);
            client.open().await;
            client
        };
        let begun = Instant::now();
        for byte in "<message to='1-9@chat.example'   ".chars().cycle().take(27) {
            client.send(&byte.to_string()).await;
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(client.error().await, StreamCondition::ConnectionTimeout);
        assert!(
            begun.elapsed() <= deadline + Duration::from_secs(2),
            "{bound}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_asked_and_then_cut() {
    let world = World::new();
    let deadlines = &world.host.rules.config.deadlines;
    let wait = deadlines.idle.get() + deadlines.probe.get();
    let (mut client, _) = Client::managed(&world, 7).await;
    client.send("<a xmlns='urn:xmpp:sm:3' h='2'/>").await;
    let begun = Instant::now();
    assert_eq!(client.error().await, StreamCondition::ConnectionTimeout);
    assert!(begun.elapsed() >= wait, "{:?}", begun.elapsed());
    let told = world.router.told();
    assert!(
        told.iter()
            .any(|item| matches!(item, ToRouter::Detach { .. }))
    );
    // Whoever gives a sign of life stays.
    let (mut client, _) = Client::managed(&world, 8).await;
    client.send("<a xmlns='urn:xmpp:sm:3' h='2'/>").await;
    for _ in 0..3 {
        sleep(deadlines.idle.get() / 2).await;
        client.send(" ").await;
    }
    client
        .send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    assert_eq!(client.named("iq").await.attribute("id"), Some("p"));
}

/// T30, T156: a client that reads nothing costs its credit and no more, is cut at the write deadline,
/// and loses nothing.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_cut_and_keeps_its_mail() {
    let world = World::new();
    let stanza = format!(
        "<message id='m' to='1-7@chat.example'><body>{}</body></message>",
        "x".repeat(8 * 1024)
    );
    for _ in 0..200 {
        world.router.keep(
            account(7),
            entente_core::Content::Stanza(stanza.clone().into()),
        );
    }
    let mut client = Client::piped(&world, 4096);
    client.login(7).await;
    client.bind().await;
    client
        .send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        .await;
    let enabled = client.element().await;
    let previd = enabled.attribute("id").unwrap().to_owned();
    client.send("<presence/>").await;
    let begun = Instant::now();
    loop {
        let told = world.router.told();
        if told
            .iter()
            .any(|item| matches!(item, ToRouter::Detach { .. }))
        {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    let write = world.host.rules.config.deadlines.write.get();
    assert!(begun.elapsed() <= write * 3, "{:?}", begun.elapsed());
    let mut again = Client::new(&world);
    again.login(7).await;
    again
        .send(&format!(
            "<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='2'/>"
        ))
        .await;
    for _ in 0..200 {
        again.named("message").await;
    }
}

/// T30: requests of a client that does not read stop being read.
#[tokio::test(start_paused = true)]
async fn answers_do_not_pile_up_for_a_client_that_does_not_read() {
    let world = World::new();
    let mut client = Client::piped(&world, 1024);
    client.login(7).await;
    client.bind().await;
    let ping = "<iq type='get' id='0123456789'><ping xmlns='urn:xmpp:ping'/></iq>".repeat(16);
    let mut sent = 0_usize;
    while tokio::time::timeout(Duration::from_secs(1), client.send(&ping))
        .await
        .is_ok()
    {
        sent += 16;
        assert!(sent < 4096, "requests are read without end");
    }
    assert!(sent > 64);
}

#[tokio::test(start_paused = true)]
async fn a_stream_header_in_the_middle_ends_the_session() {
    let world = World::new();
    let mut client = Client::bound(&world, 7).await;
    client.send(OPEN).await;
    assert_ne!(client.error().await, StreamCondition::InternalServerError);
}
