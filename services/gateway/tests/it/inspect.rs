//! `entente inspect` against a running gateway: what it says and with which status it ends.

use std::process::{Command, Output};

use entente_core::AccountId;
use entente_kit::client::Event;
use entente_stanza::{Element, ns};
use serde_json::Value;
use tokio::time::timeout;

use crate::stand::{PATIENCE, Stand};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");

/// Runs `entente inspect` beside the gateway.
fn inspect(stand: &Stand, words: &[&str]) -> Output {
    let mut program = Command::new(PROGRAM);
    program.arg("inspect").arg("--config");
    program.arg(stand.node().join("entente.toml")).args(words);
    program.output().unwrap()
}

fn json(stand: &Stand, words: &[&str]) -> Value {
    let words = [&["--json"], words].concat();
    let said = inspect(stand, &words);
    assert!(said.status.success(), "{said:?}");
    serde_json::from_slice(&said.stdout).unwrap()
}

fn stanza<'a>(id: &'a str, from: &'a str, to: &'a str) -> [&'a str; 6] {
    ["stanza", id, "--from", from, "--to", to]
}

/// What is refused, and with which status.
fn refused(stand: &Stand, words: &[&str]) -> (Option<i32>, String) {
    let said = inspect(stand, words);
    assert!(said.stdout.is_empty(), "{said:?}");
    (said.status.code(), String::from_utf8(said.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_call_finds_a_stanza_and_why_it_waits() {
    let stand = Stand::start(|text| text, None).await;
    let alice: AccountId = stand.enlist("alice@partner.example").await;
    let bob: AccountId = stand.enlist("bob@partner.example").await;
    let (from, to) = (alice.to_string(), bob.to_string());
    let mut alice = stand.connect("alice@partner.example", alice).await;
    let secret = Element::new("body", ns::CLIENT).with_text("what nobody else may read");
    let address = format!("{bob}@{}", crate::stand::DOMAIN);
    alice.send_message(&address, "m-1", vec![secret]).unwrap();
    alice.ask();
    let accepted =
        async { while !matches!(alice.recv().await.unwrap(), Event::Accepted { .. }) {} };
    timeout(PATIENCE, accepted).await.unwrap();

    let node = json(&stand, &["node"]);
    assert_eq!(node["node"], "entente");
    let device = json(&stand, &["device", &to]);
    assert_eq!(device["mailbox"]["entries"], 1);
    assert_eq!(device["session"], Value::Null);
    let sender = json(&stand, &["device", &from]);
    assert_eq!(sender["session"]["state"], "attached");
    assert_eq!(sender["session"]["edge"], node["edge"]);
    let found = json(&stand, &stanza("m-1", &from, &to));
    assert_eq!(found["state"], "it is in the mailbox of its recipient");
    let waits = "the device is not connected; a wake-up was emitted";
    assert_eq!(found["waits"], waits);
    assert_eq!(found["shard"], device["shard"]);

    let mut bob = stand.connect("bob@partner.example", bob).await;
    let message = async { while !matches!(bob.recv().await.unwrap(), Event::Message(_)) {} };
    timeout(PATIENCE, message).await.unwrap();
    let there = json(&stand, &["device", &to]);
    assert_eq!(there["session"]["state"], "attached");
    let number = device["shard"].to_string();
    let shard = json(&stand, &["shard", &number]);
    assert_eq!(shard["state"], "serving");
    assert_eq!(shard["log"]["fault"], Value::Null);
    let said = inspect(&stand, &["shard", &number]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.starts_with("node "), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("log: applied ")),
        "{text}"
    );

    let nobody = refused(&stand, &["device", "1-1"]);
    assert_eq!(nobody.0, Some(3));
    assert!(
        nobody.1.contains("the account is not enlisted"),
        "{nobody:?}"
    );
    let unseen = refused(&stand, &stanza("m-2", &from, &to));
    assert_eq!(unseen.0, Some(3));
    assert!(unseen.1.contains("dedupe window"), "{unseen:?}");
    let beyond = refused(&stand, &["shard", "4096"]);
    assert_eq!(beyond.0, Some(3));
    assert!(beyond.1.contains("shards, numbered from 0"), "{beyond:?}");
    let away = refused(&stand, &["--at", "127.0.0.1:1", "node"]);
    assert_eq!(away.0, Some(1));
    assert!(away.1.contains("is not reached"), "{away:?}");

    // Each question is in the log, and nobody who was asked for.
    let log = stand.log();
    let asked: Vec<_> = log
        .lines()
        .filter(|line| line.contains("inspected"))
        .collect();
    assert!(asked.len() >= 7, "{log}");
    for told in [&from, &to, "m-1", "m-2", "what nobody else may read"] {
        assert!(!log.contains(told), "{told} is in\n{log}");
    }
}

/// Every metric that the gateway shows is in the table for whoever is on call, with its type.
#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_metrics_has_all_that_are_shown() {
    const TABLE: &str = include_str!("../../../../ops/metrics.md");
    let stand = Stand::start(|text| text, None).await;
    let mut alice = stand.online("alice@partner.example").await;
    alice.ask();
    stand
        .until("entente_router_log_available{} ", |value| value == 1)
        .await;
    let answer = stand.admin.fetch("/metrics").await.unwrap();
    let text = String::from_utf8(answer.body().to_vec()).unwrap();
    let mut shown = 0;
    for line in text.lines() {
        let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|it| it.split_once(' '))
        else {
            continue;
        };
        let total = if kind == "counter" { "_total" } else { "" };
        let row = format!("| `{name}{total}` | {kind} |");
        assert!(TABLE.contains(&row), "{row} is not in ops/metrics.md");
        shown += 1;
    }
    assert!(shown > 20, "{text}");
}
