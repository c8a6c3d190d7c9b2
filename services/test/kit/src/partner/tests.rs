use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::Timestamp;
use http::StatusCode;
use http_body_util::Full;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    Algorithm, GatewayTrust, JWKS_PATH, PUSH_PATH, Partner, PartnerConfig, PushCall, PushMode,
    PushRefusal,
};
use crate::http::HttpTarget;
use crate::trust::{DevAuthority, Trust};

async fn start(algorithm: Algorithm) -> Partner {
    Partner::start(PartnerConfig {
        issuer: "https://partner.test".to_owned(),
        audience: "https://gateway.test".to_owned(),
        algorithm,
        tls: None,
    })
    .await
    .unwrap()
}

/// A partner plays the gateway here: it too publishes a key and signs with it.
async fn pair() -> (Partner, Partner) {
    let (partner, gateway) = (start(Algorithm::Es256).await, start(Algorithm::Rs256).await);
    partner.push().set_trust(GatewayTrust {
        target: HttpTarget::plain(gateway.address()),
        path: JWKS_PATH.to_owned(),
        issuer: "gateway".to_owned(),
        audience: "https://partner.test".to_owned(),
    });
    (partner, gateway)
}

fn token(gateway: &Partner, change: impl FnOnce(&mut Value)) -> String {
    let now = Timestamp::now().secs();
    let mut claims = json!({
        "iss": "gateway", "aud": "https://partner.test", "iat": now, "exp": now + 3600,
        "jti": "w1",
    });
    change(&mut claims);
    gateway.signer().sign(&gateway.header(), &claims).unwrap()
}

async fn call(partner: &Partner, token: &str, body: &'static str) -> StatusCode {
    let target = HttpTarget::plain(partner.address());
    let request = target
        .request("POST", PUSH_PATH)
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap();
    target.send(request).await.unwrap().status()
}

#[tokio::test]
async fn a_wake_up_that_the_gateway_signed_is_counted_for_its_user() {
    let (partner, gateway) = pair().await;
    let good = token(&gateway, |_| {});
    assert_eq!(
        call(&partner, &good, r#"{"to":"ada"}"#).await,
        StatusCode::OK
    );
    assert_eq!(
        call(&partner, &good, r#"{"to":"ada"}"#).await,
        StatusCode::OK
    );
    assert_eq!(partner.push().calls_for("ada"), 2);
    assert_eq!(partner.push().calls_for("bob"), 0);
    assert_eq!(gateway.jwks_calls(), 1, "the key is kept");
}

#[tokio::test]
async fn a_wake_up_that_does_not_verify_is_refused() {
    let (partner, gateway) = pair().await;
    let (_, stranger) = pair().await;
    let bad = [
        token(&gateway, |claims| {
            claims["aud"] = json!("https://other.test")
        }),
        token(&gateway, |claims| claims["iss"] = json!("nobody")),
        token(&gateway, |claims| claims["exp"] = json!(1)),
        token(&gateway, |claims| claims["iat"] = json!(1)),
        token(&gateway, |claims| claims["jti"] = Value::Null),
        token(&stranger, |_| {}),
        "rubbish".to_owned(),
    ];
    for token in &bad {
        let status = call(&partner, token, r#"{"to":"ada"}"#).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let good = token(&gateway, |_| {});
    assert_eq!(call(&partner, &good, "{}").await, StatusCode::BAD_REQUEST);
    let counts = *partner.push().counts().borrow();
    assert_eq!((counts.verified, counts.refused), (0, 8));
}

/// Each call with its id, and those that do not verify as such; keys that are known are not asked for.
#[tokio::test]
async fn a_witness_is_told_of_each_call_before_it_is_answered() {
    let (partner, gateway) = pair().await;
    partner.push().learn().await.unwrap();
    let told: Arc<Mutex<Vec<PushCall>>> = Arc::default();
    let witness = Arc::clone(&told);
    partner.push().set_witness(Some(Arc::new(move |call| {
        witness.lock().push(call.clone())
    })));
    let good = token(&gateway, |_| {});
    let wrong = token(&gateway, |claims| claims["iss"] = json!("nobody"));
    for (token, body) in [
        (&good, r#"{"to":"ada"}"#),
        (&good, "{}"),
        (&wrong, r#"{"to":"ada"}"#),
    ] {
        call(&partner, token, body).await;
    }
    let call = |to: Option<&str>, verified| PushCall {
        to: to.map(str::to_owned),
        verified,
    };
    let wanted = [
        call(Some("ada"), Ok("w1".to_owned())),
        call(None, Err(PushRefusal::Body)),
        call(Some("ada"), Err(PushRefusal::Token)),
    ];
    assert_eq!(*told.lock(), wanted);
    assert_eq!(gateway.jwks_calls(), 1);
    partner.push().set_witness(None);
    self::call(&partner, &good, r#"{"to":"ada"}"#).await;
    assert_eq!(told.lock().len(), 3);
}

#[tokio::test]
async fn the_endpoint_fails_as_it_is_told() {
    let (partner, gateway) = pair().await;
    let good = token(&gateway, |_| {});
    partner.push().set_mode(PushMode::Refuse(503));
    let status = call(&partner, &good, r#"{"to":"ada"}"#).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(partner.push().calls_for("ada"), 0);

    partner.push().set_mode(PushMode::Hang);
    let hung = call(&partner, &good, r#"{"to":"ada"}"#);
    let mut counts = partner.push().counts();
    tokio::select! {
        _ = hung => panic!("a hanging endpoint answered"),
        seen = counts.wait_for(|counts| counts.failed == 2) => { seen.unwrap(); }
    }
    partner
        .push()
        .set_mode(PushMode::Slow(Duration::from_millis(1)));
    assert_eq!(
        call(&partner, &good, r#"{"to":"ada"}"#).await,
        StatusCode::OK
    );
}

#[tokio::test]
async fn keys_are_served_over_tls_to_those_who_trust_the_authority() {
    let authority = DevAuthority::new().unwrap();
    let tls = authority
        .server_config(&["localhost"], &["http/1.1"])
        .unwrap();
    let partner = Partner::start(PartnerConfig {
        issuer: "https://partner.test".to_owned(),
        audience: "https://gateway.test".to_owned(),
        algorithm: Algorithm::EdDsa,
        tls: Some(tls),
    })
    .await
    .unwrap();
    let trust = Trust::Roots(Arc::from(authority.pem()));
    let target = HttpTarget::tls(partner.address(), "localhost", &trust).unwrap();
    let answer = target.fetch(JWKS_PATH).await.unwrap();
    let keys: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(keys["keys"][0]["kid"], partner.signer().kid());

    let other = Trust::Roots(Arc::from(DevAuthority::new().unwrap().pem()));
    let target = HttpTarget::tls(partner.address(), "localhost", &other).unwrap();
    assert!(target.fetch(JWKS_PATH).await.is_err());
    let anyone = HttpTarget::tls(partner.address(), "localhost", &Trust::Anyone).unwrap();
    assert!(anyone.fetch(JWKS_PATH).await.is_ok());
}
