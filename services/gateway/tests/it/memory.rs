//! What a crowd of large stanzas leaves behind.

use std::time::Duration;

use std::net::Ipv4Addr;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::raw::Raw;
use crate::stand::{PATIENCE, Stand};

/// Sessions that each send one at the same time.
const SESSIONS: usize = 200;
/// Characters of one: below the limit of 256 KiB.
const LARGE: usize = 200 * 1024;
/// What may stay after the crowd: the allocator's slack, in bytes.
const SLACK: u64 = 12 << 20;
/// What the crowd holds at least while its last byte is missing.
const HELD: u64 = 30 << 20;

async fn each<F>(sessions: Vec<Raw>, act: impl Fn(Raw) -> F) -> Vec<Raw>
where
    F: Future<Output = Raw> + Send + 'static,
{
    let mut crowd = JoinSet::new();
    for session in sessions {
        crowd.spawn(act(session));
    }
    crowd.join_all().await
}

/// All of a stanza but its end; nobody knows the request, so the answer is short.
async fn most(mut session: Raw) -> Raw {
    let text = "x".repeat(LARGE);
    session
        .say(&format!(
            "<iq type='get' id='q'><query xmlns='urn:example:large'>{text}"
        ))
        .await;
    session
}

async fn rest(mut session: Raw) -> Raw {
    session.say("</query></iq>").await;
    session.until("</error></iq>").await;
    session
}

async fn ping(mut session: Raw) -> Raw {
    session
        .say("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    session.until("id='p'").await;
    session
}

/// Waits until the process has read the crowd.
async fn until_held(stand: &Stand, before: u64) {
    let deadline = Instant::now() + PATIENCE;
    while stand.resident() < before + HELD {
        let now = stand.resident();
        assert!(
            Instant::now() < deadline,
            "{before} bytes before, {now} with the crowd"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// Pings until the process is as small as it should be: the allocator gives back as it works.
async fn given_back(stand: &Stand, mut sessions: Vec<Raw>, before: u64) -> Vec<Raw> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        sessions = each(sessions, ping).await;
        let now = stand.resident();
        if now < before + SLACK {
            return sessions;
        }
        assert!(
            Instant::now() < deadline,
            "{before} bytes before, {now} after"
        );
        sleep(Duration::from_millis(500)).await;
    }
}

/// T13: hundreds of streams hold a stanza of 200 KiB each, some of which never end; afterwards the
/// process has given the memory back, and the sessions live on.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_large_stanzas_leaves_nothing_behind() {
    let stand = Stand::start(|config| config, None).await;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let visible = format!("user{number}@partner.example");
        let account = stand.enlist(&visible).await;
        let mut raw = Raw::connect(&stand, Ipv4Addr::LOCALHOST).await;
        raw.login(account, &stand.token(&visible)).await;
        raw.bind("r").await;
        sessions.push(raw);
    }
    // One round by one session, so that what is made once and kept is there.
    let first = sessions.pop().unwrap();
    sessions.push(rest(most(first).await).await);
    let before = stand.resident();
    for _ in 0..2 {
        sessions = each(sessions, most).await;
        until_held(&stand, before).await;
        sessions = each(sessions, rest).await;
        sessions = given_back(&stand, sessions, before).await;
    }
    let mut broken = each(sessions, most).await;
    let sessions = broken.split_off(SESSIONS / 2);
    drop(broken);
    given_back(&stand, each(sessions, rest).await, before).await;
    assert!(!stand.log().contains("ERROR"), "{}", stand.log());
}
