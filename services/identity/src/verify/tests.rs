use std::path::Path;
use std::sync::Arc;

use entente_core::{PartnerId, Timestamp};
use entente_egress::test::Answers;
use entente_egress::{Policy, Response};
use entente_keys::{decode_within, encode};
use entente_node::Metrics;
use ring::hmac;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::config::JwksSettings;
use crate::events::Events;
use crate::partners::Registry;
use crate::test::{Claims, Issuer};

mod header;
mod signature;
mod time;

/// The moment of all tests, in seconds.
const NOW: u64 = 1_800_000_000;
const AUDIENCE: &str = "https://gateway.example";

/// Partners 7 (all algorithms) and 8 (ES256 alone) whose keys a script publishes.
struct Bench {
    registry: Arc<Registry>,
    verifier: Verifier,
    http: Answers,
    _tasks: JoinSet<()>,
}

fn issuer_of(partner: u16) -> String {
    format!("https://id{partner}.example")
}

fn record(partner: u16, algorithms: &str) -> String {
    format!(
        r#"
        [[partner]]
        number = {partner}
        name = "{partner}"
        kind = "partner"
        state = "active"
        issuer = "https://id{partner}.example"
        audience = "{AUDIENCE}"
        jwks = "https://id{partner}.example/jwks"
        algorithms = {algorithms}
        "#
    )
}

impl Bench {
    fn new(seven: &[&Issuer], eight: &[&Issuer]) -> Self {
        let (seven, eight) = (Issuer::set(seven), Issuer::set(eight));
        let text = record(7, r#"["RS256", "ES256", "EdDSA"]"#) + &record(8, r#"["ES256"]"#);
        let policy = Policy::production();
        let registry = Registry::from_text(Path::new("partners.toml"), &text, policy).unwrap();
        let registry = Arc::new(registry);
        let http = Answers::new(move |request| {
            let keys = match request.target.host() {
                "id7.example" => &seven,
                _ => &eight,
            };
            Ok(Response::json(keys.clone()))
        });
        let events = Events::new(&Metrics::new()).unwrap();
        let settings = JwksSettings::default();
        let jwks = Jwks::new(
            Arc::clone(&registry),
            Arc::new(http.clone()),
            settings,
            events,
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&jwks).run());
        Self {
            registry,
            verifier: Verifier::new(jwks),
            http,
            _tasks: tasks,
        }
    }

    /// A bench with one key of partner 7, fetched.
    async fn ready(seven: &Issuer) -> Self {
        let bench = Self::new(&[seven], &[]);
        bench.http.wait_for(2).await;
        tokio::task::yield_now().await;
        bench
    }

    async fn verify(&self, partner: u16, token: &str) -> Result<Proof, TokenError> {
        let partner = self.registry.partner(PartnerId::new(partner).unwrap());
        let now = Timestamp::from_secs(NOW);
        self.verifier.verify(&partner.unwrap(), token, now).await
    }

    async fn refusal(&self, token: &str) -> Option<TokenError> {
        self.verify(7, token).await.err()
    }
}

fn claims(partner: u16) -> Claims {
    Claims::new(&issuer_of(partner), AUDIENCE, "ada@example.org", NOW)
}

fn key() -> Issuer {
    Issuer::new(Algorithm::EdDsa, "k1")
}

#[test]
fn the_self_test_passes() {
    assert_eq!(self_test(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_good_token_of_each_algorithm_proves_its_user() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let issuer = Issuer::new(algorithm, "k1");
        let bench = Bench::ready(&issuer).await;
        let claims = claims(7).with("jti", "once").with("name", json!({"a": 1}));
        let proof = bench.verify(7, &issuer.token(&claims)).await.unwrap();
        assert_eq!(proof.partner, PartnerId::new(7).unwrap());
        assert_eq!(proof.visible.as_str(), "ada@example.org");
        assert_eq!(proof.kid, Kid::new("k1").unwrap());
        assert_eq!(proof.id.as_str(), "once");
        assert_eq!(proof.expires, Timestamp::from_secs(NOW + 600));
        assert_eq!(proof.bound, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_binding_is_read_and_another_one_refused() {
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    let bound = |cnf: Value| issuer.token(&claims(7).with("cnf", cnf));
    let token = bound(json!({"jkt": encode(&[7; 32])}));
    let proof = bench.verify(7, &token).await.unwrap();
    assert_eq!(proof.bound, Some([7; 32]));
    for other in [
        json!({"jkt": encode(&[7; 31])}),
        json!({"jkt": 7}),
        json!({"x5t#S256": encode(&[7; 32])}),
        json!({"jkt": encode(&[7; 32]), "kid": "k"}),
        json!({}),
        json!(null),
        json!("jkt"),
    ] {
        let refused = bench.refusal(&bound(other.clone())).await;
        assert_eq!(refused, Some(TokenError::Claims), "{other}");
    }
}

/// T48: a claim of another type is an error and never absent; names stand once.
#[tokio::test(start_paused = true)]
async fn claims_have_their_types() {
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    let at = Some(TokenError::Claims);
    for name in ["iss", "aud", "sub", "iat", "exp", "jti"] {
        let token = issuer.token(&claims(7).without(name));
        assert_eq!(bench.refusal(&token).await, at, "no {name}");
        for wrong in [json!(null), json!([]), json!({}), json!(true), json!("")] {
            let token = issuer.token(&claims(7).with(name, wrong.clone()));
            let refused = bench.refusal(&token).await;
            assert!(refused.is_some(), "{name}: {wrong}");
        }
    }
    for (name, wrong) in [
        ("iss", json!([issuer_of(7)])),
        ("aud", json!([AUDIENCE])),
        ("aud", json!([AUDIENCE, "https://other.example"])),
        ("sub", json!(5)),
        ("sub", json!("a\u{0}b")),
        ("sub", json!("x".repeat(321))),
        ("jti", json!(5)),
        ("jti", json!("x".repeat(129))),
        ("exp", json!((NOW + 600).to_string())),
        ("iat", json!(-1)),
        ("nbf", json!("now")),
        ("nbf", json!(null)),
    ] {
        let token = issuer.token(&claims(7).with(name, wrong.clone()));
        assert_eq!(bench.refusal(&token).await, at, "{name}: {wrong}");
    }
    let good = claims(7).text();
    for (from, to) in [
        (format!(r#""iat":{NOW}"#), format!(r#""iat":{NOW}.0"#)),
        (format!(r#""iat":{NOW}"#), r#""iat":18e8"#.to_owned()),
        (
            format!(r#""iat":{NOW}"#),
            r#""iat":9007199254740992"#.to_owned(),
        ),
        ("{".to_owned(), r#"{"sub":"eve","#.to_owned()),
        ("{".to_owned(), r#"{"x":1,"x":2,"#.to_owned()),
        ("}".to_owned(), "} {}".to_owned()),
    ] {
        let payload = good.replacen(&from, &to, 1);
        assert_ne!(payload, good);
        let refused = bench.refusal(&issuer.token_of(&payload)).await;
        assert_eq!(refused, at, "{payload}");
    }
    assert_eq!(bench.refusal(&issuer.token_of(&good)).await, None);
}

/// T51: neither a token of partner 8 with 7's key id, nor one that says it is 7's, is 7's.
#[tokio::test(start_paused = true)]
async fn a_partner_cannot_sign_for_another() {
    let seven = Issuer::new(Algorithm::Es256, "shared");
    let eight = Issuer::new(Algorithm::Es256, "shared");
    let bench = Bench::new(&[&seven], &[&eight]);
    bench.http.wait_for(2).await;
    let of_eight = eight.token(&claims(8));
    let as_seven = eight.token(&claims(7));
    let refused = bench.refusal(&of_eight).await;
    assert_eq!(refused, Some(TokenError::Issuer));
    let refused = bench.refusal(&as_seven).await;
    assert_eq!(refused, Some(TokenError::Signature));
    let refused = bench.verify(8, &as_seven).await.err();
    assert_eq!(refused, Some(TokenError::Issuer));
    assert!(bench.verify(8, &of_eight).await.is_ok());
    assert!(bench.verify(7, &seven.token(&claims(7))).await.is_ok());
    let elsewhere = claims(7).with("aud", "https://other.example");
    let refused = bench.refusal(&seven.token(&elsewhere)).await;
    assert_eq!(refused, Some(TokenError::Audience));
}

/// T55: a key that was revoked by call is refused at once although it is published.
#[tokio::test(start_paused = true)]
async fn a_revoked_key_is_refused() {
    let issuer = key();
    let bench = Bench::ready(&issuer).await;
    let token = issuer.token(&claims(7));
    assert_eq!(bench.refusal(&token).await, None);
    let kid = Kid::new("k1").unwrap();
    assert!(bench.registry.revoke(PartnerId::new(7).unwrap(), kid));
    assert_eq!(bench.refusal(&token).await, Some(TokenError::Revoked));
}
