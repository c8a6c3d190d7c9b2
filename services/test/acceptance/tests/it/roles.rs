//! A process for each role: what is promised holds when one of them dies.

use std::time::Duration;

use entente_acceptance::nodes::Deployment;
use entente_acceptance::rolling::{Rolled, Rolling};
use entente_acceptance::stand::User;
use entente_kit::client::{Client, Event, Resumption, receipt_request};
use entente_stanza::{Element, Ns, ns};
use tokio::time::{Instant, sleep, timeout};

use crate::program;

const PATIENCE: Duration = Duration::from_secs(60);

fn body() -> Vec<Element> {
    let body = Element::new("body", ns::CLIENT).with_text("across nodes");
    vec![body, receipt_request()]
}

/// Sends numbered messages and writes them to the socket; reads nothing but what comes meanwhile.
async fn send(client: &mut Client, to: &User, ids: std::ops::Range<u32>) {
    for id in ids {
        let id = format!("m-{id}");
        client.send_message(&to.address(), &id, body()).unwrap();
    }
    client.flush().await.unwrap();
}

/// What a client heard.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    messages: Vec<String>,
    accepted: usize,
    receipts: usize,
}

impl Heard {
    fn take(&mut self, event: Event) {
        match event {
            Event::Accepted { .. } => self.accepted += 1,
            Event::Delivered { ids, .. } => self.receipts += ids.len(),
            Event::Message(message) => self.messages.push(message.id.to_string()),
            Event::Refused { condition, .. } => panic!("refused: {condition}"),
            Event::Answer { .. } | Event::IdentityChanged { .. } | Event::Waiting(_) => {}
        }
    }

    /// Whether it is so many messages, acknowledgements and receipts.
    const fn has(&self, (messages, accepted, receipts): (usize, usize, usize)) -> bool {
        self.messages.len() >= messages && self.accepted >= accepted && self.receipts >= receipts
    }
}

/// Lets a client listen until it has heard so much.
async fn hear(client: &mut Client, heard: &mut Heard, wanted: (usize, usize, usize)) {
    let listen = async {
        while !heard.has(wanted) {
            client.ask();
            heard.take(client.recv().await.unwrap());
        }
    };
    let late = timeout(PATIENCE, listen).await.is_err();
    assert!(!late, "{wanted:?} wanted, {heard:?}");
}

type Listener<'a> = (&'a mut Client, &'a mut Heard, (usize, usize, usize));

/// Lets two clients listen until both have heard so much: each waits for what the other acknowledges.
async fn hear_both(first: Listener<'_>, second: Listener<'_>) {
    let (one, one_heard, one_wanted) = first;
    let (two, two_heard, two_wanted) = second;
    let listen = async {
        while !(one_heard.has(one_wanted) && two_heard.has(two_wanted)) {
            one.ask();
            two.ask();
            tokio::select! {
                event = one.recv() => one_heard.take(event.unwrap()),
                event = two.recv() => two_heard.take(event.unwrap()),
            }
        }
    };
    let late = timeout(PATIENCE, listen).await.is_err();
    assert!(
        !late,
        "{one_wanted:?} and {two_wanted:?} wanted, {one_heard:?}, {two_heard:?}"
    );
}

fn numbered(ids: std::ops::Range<u32>) -> Vec<String> {
    ids.map(|id| format!("m-{id}")).collect()
}

/// Waits until a node's metrics have a line.
async fn until(deployment: &Deployment, node: &str, good: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = deployment.page(node, "/metrics").await.unwrap();
        if metrics.lines().any(&good) {
            return;
        }
        assert!(Instant::now() < deadline, "{metrics}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Users on different connection nodes and shards of different routers write to each other; one
/// connection node is killed, and its client goes on at the other one with exact counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_at_another_node_with_exact_counts() {
    let mut deployment = Deployment::start(&program()).await.unwrap();
    let [ours, theirs] = deployment.enlist(1).await.unwrap();
    let (alice, bob) = (&ours[0], &theirs[0]);
    assert_ne!(
        deployment.shard(alice.account),
        deployment.shard(bob.account)
    );
    let mut at_first = Client::connect(deployment.client(alice, 0)).await.unwrap();
    let mut at_second = Client::connect(deployment.client(bob, 1)).await.unwrap();
    let (mut alice_heard, mut bob_heard) = (Heard::default(), Heard::default());
    // Both ways, with receipts, which are outputs of one shard into the other.
    send(&mut at_first, bob, 0..50).await;
    send(&mut at_second, alice, 0..50).await;
    hear_both(
        (&mut at_first, &mut alice_heard, (50, 50, 50)),
        (&mut at_second, &mut bob_heard, (50, 50, 50)),
    )
    .await;
    // A request that passes three processes: connection, identity, router.
    let count = Element::new("count", Ns::known("urn:entente:keys:0"));
    let answer = at_first.iq("get", None, count).await.unwrap();
    assert_eq!(answer.attribute("type"), Some("result"), "{answer:?}");
    // Now only one of them reads. What is written before the kill has an outcome or not, as it comes.
    send(&mut at_second, alice, 50..60).await;
    send(&mut at_first, bob, 50..60).await;
    hear(&mut at_second, &mut bob_heard, (60, 60, 50)).await;
    deployment.node("c1").unwrap().kill().await.unwrap();
    at_first.cut();
    send(&mut at_second, alice, 60..65).await;
    at_first
        .send_message(&bob.address(), "m-60", body())
        .unwrap();
    let second = deployment.connect(1).await.unwrap();
    let resumed = timeout(PATIENCE, at_first.resume_io(second)).await.unwrap();
    assert_eq!(resumed.unwrap(), Resumption::Resumed);
    hear_both(
        (&mut at_first, &mut alice_heard, (65, 61, 61)),
        (&mut at_second, &mut bob_heard, (61, 65, 65)),
    )
    .await;
    assert_eq!(alice_heard.messages, numbered(0..65));
    assert_eq!(bob_heard.messages, numbered(0..61));
    for counts in [at_first.counts(), at_second.counts()] {
        assert_eq!(
            (counts.copies, counts.out_of_order, counts.rebound),
            (0, 0, 0)
        );
    }
    assert_eq!(at_first.counts().resumed, 1);
    assert_eq!((at_first.unacked(), at_second.unacked()), (0, 0));
    assert_eq!(deployment.errors().unwrap(), Vec::<String>::new());
}

/// What is now or never passes between routers, and who is away is woken by the push node.
#[tokio::test(flavor = "multi_thread")]
async fn typing_and_wake_ups_cross_nodes() {
    let deployment = Deployment::start(&program()).await.unwrap();
    let [ours, theirs] = deployment.enlist(1).await.unwrap();
    let (alice, bob) = (&ours[0], &theirs[0]);
    let mut at_first = Client::connect(deployment.client(alice, 0)).await.unwrap();
    let mut at_second = Client::connect(deployment.client(bob, 1)).await.unwrap();
    let typing = Element::new("message", ns::CLIENT)
        .with_attribute("to", bob.address())
        .with_attribute("type", "chat")
        .with_child(Element::new("composing", ns::CHAT_STATES));
    let heard = async {
        loop {
            at_first.send_stanza(&typing);
            if at_first.flush().await.is_err() {
                // Nodes that have just started may lose a stream once more, and with it the session.
                at_first = Client::connect(deployment.client(alice, 0)).await.unwrap();
                continue;
            }
            // One that comes before its recipient is ready is dropped.
            let event = timeout(Duration::from_millis(200), at_second.recv()).await;
            if let Ok(Event::Message(message)) = event.map(Result::unwrap) {
                return message.element;
            }
        }
    };
    let typed = timeout(PATIENCE, heard).await.unwrap();
    assert!(
        typed.child("composing", &ns::CHAT_STATES).is_some(),
        "{typed:?}"
    );
    // It may be gone already, as above.
    at_second.close().await.ok();
    let mut alice_heard = Heard::default();
    send(&mut at_first, bob, 0..1).await;
    hear(&mut at_first, &mut alice_heard, (0, 1, 0)).await;
    let mut woken = deployment.partner.push().counts();
    let woken = timeout(PATIENCE, woken.wait_for(|counts| counts.verified > 0)).await;
    assert_eq!(woken.unwrap().unwrap().refused, 0);
    assert!(deployment.partner.push().calls_for(&bob.visible) > 0);
    let mut again = Client::connect(deployment.client(bob, 0)).await.unwrap();
    let mut bob_heard = Heard::default();
    hear(&mut again, &mut bob_heard, (1, 0, 0)).await;
    assert_eq!(bob_heard.messages, numbered(0..1));
    assert_eq!(deployment.errors().unwrap(), Vec::<String>::new());
}

/// T178: whoever is killed, nothing acknowledged is lost, and the order of each pair holds.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_whichever_node_is_killed() {
    let rolling = Rolling {
        program: program(),
        log: None,
        victims: vec!["r2", "c1", "r1", "p1", "i1", "c2", "r2"],
        orderly: false,
        users: 3,
        between: Duration::from_secs(1),
        seed: 11,
    };
    let rolled = Box::pin(rolling.run()).await.unwrap();
    assert!(rolled.findings.is_clean(), "{rolled:?}");
    assert_eq!(rolled.errors, Vec::<String>::new());
    // Without these the campaign would prove nothing.
    assert!(rolled.findings.accepted > 100, "{rolled:?}");
    assert!(rolled.in_flight > 0, "{rolled:?}");
    assert!(rolled.resumed > 0, "{rolled:?}");
}

/// Nodes behind the connections that die or are restarted cost no connection: its edges find a router
/// again, and go on where they were, and no session ends for what identity may have revoked meanwhile.
async fn connections_outlive(victims: Vec<&'static str>, orderly: bool) -> Rolled {
    let rolling = Rolling {
        program: program(),
        log: None,
        victims,
        orderly,
        users: 4,
        between: Duration::from_secs(1),
        seed: 12,
    };
    let rolled = Box::pin(rolling.run()).await.unwrap();
    assert!(rolled.findings.is_clean(), "{rolled:?}");
    assert_eq!(rolled.errors, Vec::<String>::new());
    assert!(rolled.findings.accepted > 100, "{rolled:?}");
    assert_eq!((rolled.resumed, rolled.rebound), (0, 0), "{rolled:?}");
    rolled
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_outlive_routers_that_are_killed() {
    let rolled = connections_outlive(vec!["r2", "r1", "r2", "r1"], false).await;
    assert!(rolled.in_flight > 0, "{rolled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_outlive_routers_that_are_restarted() {
    let rolled = connections_outlive(vec!["r2", "r1", "r2", "r1"], true).await;
    assert!(rolled.in_flight > 0, "{rolled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_outlive_identity_nodes_that_are_killed() {
    connections_outlive(vec!["i1", "i1"], false).await;
}

/// What an operator sees of it: who is ready, who is away, and the end of a node in order.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_tell_who_is_there_and_end_in_order() {
    let mut deployment = Deployment::start(&program()).await.unwrap();
    let nodes = [
        "router r1",
        "router r2",
        "identity i1",
        "push p1",
        "connection c2",
    ];
    let is_ready = |said: &str, node: &str| {
        let mut lines = said.lines();
        lines.any(|line| line.starts_with(node) && line.ends_with(": ready"))
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = deployment.check("connection", "c1").unwrap();
        if nodes.iter().all(|node| is_ready(&said, node)) {
            break;
        }
        assert!(Instant::now() < deadline, "{said}");
    }
    let reachable =
        |line: &str| line == "entente_mesh_peers{role=\"router\",state=\"reachable\"} 2";
    until(&deployment, "c1", reachable).await;
    let role = |line: &str| line == "entente_mesh_role{role=\"push\"} 1";
    until(&deployment, "p1", role).await;
    let ended = deployment.node("r2").unwrap().stop(PATIENCE).await.unwrap();
    assert!(ended.success(), "{ended}");
    let away = |line: &str| line == "entente_mesh_peers{role=\"router\",state=\"unreachable\"} 1";
    until(&deployment, "c1", away).await;
    let said = deployment.check("connection", "c1").unwrap();
    let line = said.lines().find(|line| line.starts_with("router r2"));
    assert!(line.unwrap().contains("cannot be reached: "), "{said}");
    let ready = deployment.page("c1", "/readyz").await.unwrap();
    assert!(ready.starts_with("ready"), "{ready}");
    assert!(ready.contains("note: a node that is needed does not answer"));
    for node in ["c1", "p1", "i1", "r1"] {
        let ended = deployment.node(node).unwrap().stop(PATIENCE).await.unwrap();
        assert!(ended.success(), "{node}: {ended}");
    }
    assert_eq!(deployment.errors().unwrap(), Vec::<String>::new());
}

/// Whoever is on call asks any router, which finds the owner; a node that faces strangers names it.
#[tokio::test(flavor = "multi_thread")]
async fn any_router_answers_for_all_of_them() {
    let mut deployment = Deployment::start(&program()).await.unwrap();
    let [_, theirs] = deployment.enlist(1).await.unwrap();
    let bob = &theirs[0];
    let (account, shard) = (bob.account.to_string(), deployment.shard(bob.account));
    let device = Client::connect(deployment.client(bob, 0)).await.unwrap();
    let number = shard.to_string();
    let (device_of, shard_of) = (["device", &account], ["shard", &number]);
    let wanted = ["\"node\":\"r2\"", "\"state\":\"attached\"", "\"entries\":0"];
    for router in ["r1", "r2"] {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = deployment.inspect("router", router, &device_of).unwrap();
            assert!(said.status.success(), "{router}: {said:?}");
            let said = String::from_utf8(said.stdout).unwrap();
            if wanted.iter().all(|member| said.contains(member)) {
                break;
            }
            assert!(Instant::now() < deadline, "{router}: {said}");
        }
    }
    let said = deployment.inspect("connection", "c1", &shard_of).unwrap();
    let named = String::from_utf8(said.stdout).unwrap();
    assert!(named.contains("\"node\":\"r2\""), "{named}");
    let said = deployment.inspect("connection", "c1", &device_of).unwrap();
    let why = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(why.contains("is owned by the router r2"), "{why}");
    drop(device);
    deployment.node("r2").unwrap().kill().await.unwrap();
    let said = deployment.inspect("router", "r1", &shard_of).unwrap();
    let why = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "{why}");
    assert!(why.contains(&format!("shard {shard}: ")), "{why}");
}
