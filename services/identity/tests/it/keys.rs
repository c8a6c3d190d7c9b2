//! Partners' key servers on loopback sockets, through the real client under its development rules.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{FaultKind, Secret, Span};
use entente_identity::test::{Claims, Client, Issuer, MemoryDirectory, body};
use entente_identity::{Algorithm, Built, Clock, Config, JwksSettings, build};
use entente_node::Metrics;
use entente_proto::identity::Credential;
use entente_table::MemoryTable;
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, pause, resume};

use crate::bench::{AUDIENCE, NOW, PartnersFile, account, deps, form_request, real_http, record};
use crate::partner::{KeyServer, Mode};

/// A service whose two partners are servers; real clock, short waits.
struct Loopback {
    built: Built,
    metrics: Metrics,
    _file: PartnersFile,
    _tasks: JoinSet<()>,
}

impl Loopback {
    fn new(seven: &KeyServer, eight: &KeyServer) -> Self {
        let text = record(7, "active", &seven.url, "") + &record(8, "active", &eight.url, "");
        let file = PartnersFile::new(&text);
        let config = Config {
            partners: file.path(),
            jwks: JwksSettings {
                deadline: Span::secs(1),
                patience: Span::secs(3),
                ..JwksSettings::default()
            },
            ..Config::default()
        };
        let metrics = Metrics::new();
        let directory = Arc::new(MemoryDirectory::default());
        let table = Arc::new(MemoryTable::default());
        let clock = Clock::new(|| entente_core::Timestamp::from_secs(NOW));
        let deps = deps(directory, table, real_http(), clock, &metrics);
        let built = build(&config, deps).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&built.jwks).run());
        Self {
            built,
            metrics,
            _file: file,
            _tasks: tasks,
        }
    }

    /// Enlists `ada` of a partner; the answer's reason, or `ok`.
    async fn enlist(&self, partner: u16, token: &str) -> String {
        let form = body(&Client::new(1).fields(token));
        let target = format!("/3p/interop_reg?partner={partner}");
        let request = form_request(&target)
            .body(Full::new(Bytes::from(form)))
            .unwrap();
        let answer = self.built.enlist.answer(request).await;
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        match answer["reason"].as_str() {
            Some(reason) => reason.to_owned(),
            None => {
                account(&answer);
                "ok".to_owned()
            }
        }
    }
}

fn claims(partner: u16) -> Claims {
    Claims::new(
        &format!("https://id{partner}.example"),
        AUDIENCE,
        "ada",
        NOW,
    )
}

fn key(kid: &str) -> Issuer {
    Issuer::new(Algorithm::Es256, kid)
}

/// T51: two servers publish different keys under one key id; each opens its own partner alone.
#[tokio::test]
async fn the_same_key_id_at_two_partners_is_two_keys() {
    let (seven, eight) = (key("shared"), key("shared"));
    let server7 = KeyServer::start(Mode::Keys(Issuer::set(&[&seven]))).await;
    let server8 = KeyServer::start(Mode::Keys(Issuer::set(&[&eight]))).await;
    let service = Loopback::new(&server7, &server8);
    assert_eq!(service.enlist(7, &seven.token(&claims(7))).await, "ok");
    assert_eq!(service.enlist(8, &eight.token(&claims(8))).await, "ok");
    for (door, token) in [
        (7, eight.token(&claims(7))),
        (7, eight.token(&claims(8))),
        (7, seven.token(&claims(8))),
        (8, seven.token(&claims(8))),
        (8, seven.token(&claims(7))),
        (8, eight.token(&claims(7))),
    ] {
        assert_eq!(service.enlist(door, &token).await, "bad_token");
    }
}

/// T43: a key server that the token names sees no connection.
#[tokio::test]
async fn a_named_key_server_is_never_asked() {
    let seven = key("k1");
    let evil = key("evil");
    let server = KeyServer::start(Mode::Keys(Issuer::set(&[&seven]))).await;
    let named = KeyServer::start(Mode::Keys(Issuer::set(&[&evil]))).await;
    let service = Loopback::new(&server, &server);
    for member in ["jku", "x5u"] {
        let header = serde_json::json!({
            "alg": "ES256", "kid": "evil", "typ": "entente+jwt", (member): named.url,
        });
        let token = evil.sign(&header.to_string(), &claims(7).text());
        assert_eq!(service.enlist(7, &token).await, "bad_token");
    }
    assert_eq!(service.enlist(7, &seven.token(&claims(7))).await, "ok");
    assert_eq!(named.hits(), 0);
}

/// T54: each hostile server costs a bounded wait and a typed reason, and its neighbour nothing.
#[tokio::test]
async fn hostile_key_servers_fail_closed() {
    let (seven, eight) = (key("k1"), key("k1"));
    let keys = Issuer::set(&[&seven]);
    let neighbour = Arc::new(KeyServer::start(Mode::Keys(Issuer::set(&[&eight]))).await);
    let trap = KeyServer::start(Mode::Keys(keys.clone())).await;
    let mut stories = JoinSet::new();
    for (mode, label) in [
        (Mode::Status(500), "status"),
        (Mode::Status(204), "status"),
        (Mode::Redirect(trap.url.clone()), "redirected"),
        (Mode::Silent, "deadline"),
        (Mode::Endless, "body_too_large"),
        (Mode::Compressed, "encoded"),
        (Mode::Cut, "protocol"),
        (Mode::Typed("text/html", keys.clone()), "content_type"),
        (Mode::Keys("{}".to_owned()), "malformed"),
        (Mode::Keys(Issuer::set(&[&seven, &seven])), "duplicate_kid"),
    ] {
        let token = seven.token(&claims(7));
        let other = eight.token(&claims(8));
        let neighbour = Arc::clone(&neighbour);
        stories.spawn(async move {
            let server = KeyServer::start(mode.clone()).await;
            let service = Loopback::new(&server, &neighbour);
            let start = Instant::now();
            assert_eq!(service.enlist(8, &other).await, "ok", "{mode:?}");
            assert_eq!(service.enlist(7, &token).await, "unavailable", "{mode:?}");
            assert!(start.elapsed() < Duration::from_secs(10));
            let counted = service.metrics.encode().unwrap();
            let line = format!("{{partner=\"7\",outcome=\"{label}\"}} 1");
            assert!(counted.contains(&line), "{mode:?}: {counted}");
        });
    }
    stories.join_all().await;
    assert_eq!(trap.hits(), 0, "no redirect was followed");
}

/// T54, T55: rotation over a socket, with the cool-down passed by the clock of the test.
#[tokio::test]
async fn keys_rotate_over_a_socket() {
    let (old, new) = (key("old"), key("new"));
    let server = KeyServer::start(Mode::Keys(Issuer::set(&[&old]))).await;
    let service = Loopback::new(&server, &server);
    assert_eq!(service.enlist(7, &old.token(&claims(7))).await, "ok");
    server.set(Mode::Keys(Issuer::set(&[&old, &new])));
    pause();
    advance(Duration::from_secs(10)).await;
    resume();
    assert_eq!(service.enlist(7, &new.token(&claims(7))).await, "ok");
    assert_eq!(service.enlist(7, &old.token(&claims(7))).await, "ok");
}

/// A login whose partner cannot be asked is told to come back, not that it is wrong.
#[tokio::test]
async fn a_login_without_keys_is_unavailable() {
    let seven = key("k1");
    let server = KeyServer::start(Mode::Status(503)).await;
    let service = Loopback::new(&server, &server);
    let account = "7-1001".parse().unwrap();
    let credential = Credential::Token(Secret::new(seven.token(&claims(7))));
    let refused = service.built.client.login(account, credential).await;
    assert_eq!(
        refused.err().map(|fault| fault.kind()),
        Some(FaultKind::Unavailable)
    );
}
