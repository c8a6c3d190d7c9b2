//! A process that may open few files.

use std::time::Duration;

use entente_stanza::{Element, Ns};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stand::Stand;

/// What the process may have open. Log, store and listeners need some forty.
const DESCRIPTORS: u32 = 160;
/// Connections of somebody who holds what there is: more than that, and no more than the listen queue
/// takes beside it, in which each further one would wait for a second.
const GREEDY: usize = 240;

fn ping() -> Element {
    Element::new("ping", Ns::known("urn:xmpp:ping"))
}

/// T135: with no descriptor left, connections that wait are closed and not left waiting, sessions
/// go on; when descriptors are free again, users connect again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_descriptors_is_survived() {
    // The greedy one is to be held back by the system, not by a deadline.
    let patient = "\n[connection.deadlines]\nhandshake = \"60s\"\n";
    let stand = Stand::start(|config| config + patient, Some(DESCRIPTORS)).await;
    assert!(stand.log().contains("fewer descriptors than connections"));
    let mut session = stand.online("early@partner.example").await;
    stand.enlist("late@partner.example").await;
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..GREEDY {
        // The backlog takes more than the process can.
        let connected = timeout(Duration::from_secs(5), TcpStream::connect(stand.xmpp)).await;
        match connected {
            Ok(Ok(socket)) => held.push(socket),
            Ok(Err(_)) | Err(_) => refused += 1,
        }
    }
    assert!(held.len() + refused == GREEDY && held.len() > DESCRIPTORS as usize);
    let answer = session.iq("get", None, ping()).await.unwrap();
    assert_eq!(
        answer.attribute("type"),
        Some("result"),
        "a session goes on"
    );
    drop(held);
    stand
        .until("entente_node_strangers{} ", |strangers| strangers == 0)
        .await;
    let shed = "entente_node_accept_total{listener=\"connection-tls\",event=\"shed\"} ";
    stand.until(shed, |shed| shed > 0).await;
    let mut late = stand.online("late@partner.example").await;
    for client in [&mut session, &mut late] {
        let answer = client.iq("get", None, ping()).await.unwrap();
        assert_eq!(answer.attribute("type"), Some("result"));
    }
    assert!(!stand.log().contains("ERROR"), "{}", stand.log());
}
