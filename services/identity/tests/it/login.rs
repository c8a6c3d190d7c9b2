//! Logins by token and by FAST, and what ends them.

use std::sync::Arc;

use entente_core::{AccountId, Enlistment, FaultKind, VisibleId};
use entente_identity::Kid;
use entente_identity::test::{Client, body};
use entente_keys::encode;
use entente_proto::Directory;
use entente_proto::identity::{Credential, Revocation};
use ring::hmac;
use serde_json::json;

use crate::bench::{Bench, NOW, account, both, kind, partner, record};

const DAY: u64 = 24 * 3600;

fn proof(token: &str, role: &[u8]) -> Box<[u8]> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
    hmac::sign(&key, role).as_ref().into()
}

fn fast(token: &str) -> Credential {
    Credential::Fast {
        token: "".into(),
        proof: proof(token, b"Initiator"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_logs_its_user_in_again_and_again() {
    let bench = Bench::new();
    let ada = bench.enlist(&Client::new(1), "ada").await;
    let token = bench.seven.token(&bench.claims(7, "ada"));
    for _ in 0..3 {
        let granted = bench.login(ada, token.clone()).await.unwrap();
        assert_eq!(granted.facts.account, ada);
        assert_eq!(&*granted.kid, "k1");
        assert!(granted.responder.is_none());
    }
    bench.set_now(NOW + 630);
    let late = bench.login(ada, token).await;
    assert_eq!(kind(late), Some(FaultKind::Unauthenticated));
}

/// T51, T95, T98: a token opens its own user's account and no other, whoever shares number or name.
#[tokio::test(start_paused = true)]
async fn a_token_opens_one_account() {
    let bench = Bench::new();
    let ada = bench.enlist(&Client::new(1), "ada").await;
    let eve = bench.enlist(&Client::new(2), "eve").await;
    let form = Client::new(3).fields(&bench.eight.token(&bench.claims(8, "ada")));
    let answer = bench
        .post_to("/3p/interop_reg?partner=8", body(&form))
        .await;
    let twin = account(&answer);
    let of_ada = || bench.seven.token(&bench.claims(7, "ada"));
    let of_eve = || bench.seven.token(&bench.claims(7, "eve"));
    let of_twin = || bench.eight.token(&bench.claims(8, "ada"));
    let forged = bench.eight.token(&bench.claims(7, "ada"));
    for (account, token, opens) in [
        (ada, of_ada(), true),
        (eve, of_eve(), true),
        (twin, of_twin(), true),
        (ada, of_eve(), false),
        (eve, of_ada(), false),
        (ada, of_twin(), false),
        (twin, of_ada(), false),
        (ada, forged.clone(), false),
        (twin, forged, false),
        (AccountId::new(partner(8), ada.number()), of_ada(), false),
        (AccountId::new(partner(7), 1), of_ada(), false),
        (AccountId::new(partner(9), 1), of_ada(), false),
    ] {
        let result = bench.login(account, token).await;
        assert_eq!(result.is_ok(), opens);
        if let Err(fault) = result {
            assert_eq!(fault.kind(), FaultKind::Unauthenticated);
            assert_eq!(fault.text(), "login refused", "one text for everything");
        }
    }
}

/// T58: a token that names another transport key than the enlisted one is refused.
#[tokio::test(start_paused = true)]
async fn a_bound_token_needs_the_enlisted_key() {
    let bench = Bench::new();
    let client = Client::new(1);
    let ada = bench.enlist(&client, "ada").await;
    let bound = |client: &Client| {
        let print = encode(&client.transport.public().unwrap().thumbprint());
        let claims = bench.claims(7, "ada").with("cnf", json!({"jkt": print}));
        bench.seven.token(&claims)
    };
    let granted = bench.login(ada, bound(&client)).await.unwrap();
    let enlisted = *client.transport.public().unwrap().bytes();
    assert_eq!(granted.facts.transport, enlisted, "for the handshake");
    let other = bench.login(ada, bound(&Client::new(2))).await;
    assert_eq!(kind(other), Some(FaultKind::Unauthenticated));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_partner_is_forbidden_and_its_sessions_end() {
    let bench = Bench::new();
    let ada = bench.enlist(&Client::new(1), "ada").await;
    let token = || bench.seven.token(&bench.claims(7, "ada"));
    let secret = bench.built.client.issue_fast(ada).await.unwrap().token;
    for state in ["suspended", "removed", "onboarding"] {
        let mut ended = bench.built.client.revocations();
        bench.rewrite(&record(7, state, "https://id7.example/jwks", ""));
        assert_eq!(ended.try_recv(), Ok(Revocation::Partner(partner(7))));
        let refused = bench.login(ada, token()).await;
        assert_eq!(kind(refused), Some(FaultKind::Forbidden));
        let refused = bench.built.client.login(ada, fast(&secret)).await;
        assert_eq!(kind(refused), Some(FaultKind::Forbidden));
        bench.rewrite(&both(""));
        assert!(bench.login(ada, token()).await.is_ok());
    }
}

/// T55: a key that is revoked by call or by the file ends sessions and opens none, FAST included.
#[tokio::test(start_paused = true)]
async fn a_revoked_key_opens_nothing() {
    for by_file in [false, true] {
        let bench = Bench::new();
        let ada = bench.enlist(&Client::new(1), "ada").await;
        let token = bench.seven.token(&bench.claims(7, "ada"));
        let secret = bench.built.client.issue_fast(ada).await.unwrap().token;
        assert!(bench.login(ada, token.clone()).await.is_ok());
        assert!(bench.built.client.login(ada, fast(&secret)).await.is_ok());
        let mut ended = bench.built.client.revocations();
        if by_file {
            bench.rewrite(&both("revoked_keys = [\"k1\"]"));
        } else {
            let kid = Kid::new("k1").unwrap();
            assert!(bench.built.registry.revoke(partner(7), kid));
        }
        for kid in ["k1", ""] {
            let revoked = Revocation::Key {
                partner: partner(7),
                kid: kid.into(),
            };
            assert_eq!(ended.try_recv(), Ok(revoked));
        }
        let refused = bench.login(ada, token).await;
        assert_eq!(kind(refused), Some(FaultKind::Unauthenticated));
        let refused = bench.built.client.login(ada, fast(&secret)).await;
        assert_eq!(kind(refused), Some(FaultKind::Unauthenticated));
    }
}

/// T55: a key that is revoked while a login waits for it opens nothing: the login would miss the
/// revocation that ends sessions.
#[tokio::test(start_paused = true)]
async fn a_revocation_meets_logins_under_way() {
    for revoked in [false, true] {
        let bench = Bench::new();
        let client = Client::new(1);
        // Straight into the directory, so that no key was fetched when the login begins.
        let enlistment = Enlistment {
            partner: partner(7),
            visible: VisibleId::new("ada").unwrap(),
            transport: *client.transport.public().unwrap().bytes(),
            registration: 1,
            identity: *client.identity.public().unwrap().bytes(),
            signed: client.signed(),
        };
        let ada = bench.directory.enlist(enlistment).await.unwrap().account;
        let token = bench.seven.token(&bench.claims(7, "ada"));
        let revoke = async {
            if revoked {
                let kid = Kid::new("k1").unwrap();
                assert!(bench.built.registry.revoke(partner(7), kid));
            }
        };
        let (granted, ()) = tokio::join!(bench.login(ada, token), revoke);
        let wanted = revoked.then_some(FaultKind::Unauthenticated);
        assert_eq!(kind(granted), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_fails_is_no_refusal() {
    let bench = Bench::new();
    let ada = bench.enlist(&Client::new(1), "ada").await;
    let token = bench.seven.token(&bench.claims(7, "ada"));
    bench.directory.set_down(true);
    let failed = bench.login(ada, token.clone()).await;
    assert_eq!(kind(failed), Some(FaultKind::Unavailable));
    bench.directory.set_down(false);
    assert!(bench.login(ada, token).await.is_ok());
}

/// XEP-0484: the client shows an HMAC under the token, and the server shows one in return.
#[tokio::test(start_paused = true)]
async fn fast_logs_in_both_ways() {
    let bench = Bench::new();
    let ada = bench.enlist(&Client::new(1), "ada").await;
    let eve = bench.enlist(&Client::new(2), "eve").await;
    let given = bench.built.client.issue_fast(ada).await.unwrap();
    assert!(!format!("{given:?}").contains(&*given.token));
    let login = |account, credential| bench.built.client.login(account, credential);
    let granted = login(ada, fast(&given.token)).await.unwrap();
    assert_eq!(granted.facts.account, ada);
    assert_eq!(&*granted.kid, "");
    assert_eq!(granted.responder, Some(proof(&given.token, b"Responder")));
    for (account, credential) in [
        (eve, fast(&given.token)),
        (ada, fast("guess")),
        (
            ada,
            Credential::Fast {
                token: given.token.clone(),
                proof: proof(&given.token, b"Responder"),
            },
        ),
        (
            ada,
            Credential::Fast {
                token: given.token.clone(),
                proof: Box::default(),
            },
        ),
    ] {
        let refused = login(account, credential).await;
        assert_eq!(kind(refused), Some(FaultKind::Unauthenticated));
    }
    let gone = AccountId::new(partner(7), 1);
    let none = bench.built.client.issue_fast(gone).await;
    assert_eq!(kind(none), Some(FaultKind::NotFound));
}

#[tokio::test(start_paused = true)]
async fn fast_tokens_end_within_fourteen_days() {
    let bench = Bench::new();
    let ada = bench.enlist(&Client::new(1), "ada").await;
    let given = bench.built.client.issue_fast(ada).await.unwrap();
    let end = given.expires.secs();
    assert!(end > NOW + 13 * DAY && end <= NOW + 14 * DAY);
    let login = || bench.built.client.login(ada, fast(&given.token));
    bench.set_now(end - 1);
    assert!(login().await.is_ok());
    bench.set_now(end);
    assert_eq!(kind(login().await), Some(FaultKind::Unauthenticated));
    // A clock that went back before the day of issue knows no such token either.
    bench.set_now(NOW - DAY);
    assert_eq!(kind(login().await), Some(FaultKind::Unauthenticated));
}

/// T68: a new identity key and an erased account leave no way in.
#[tokio::test(start_paused = true)]
async fn fast_tokens_end_with_the_identity() {
    let bench = Bench::new();
    let ada = bench.enlist(&Client::new(1), "ada").await;
    let given = bench.built.client.issue_fast(ada).await.unwrap();
    let login = || bench.built.client.login(ada, fast(&given.token));
    assert_eq!(bench.enlist(&Client::new(1), "ada").await, ada);
    assert!(login().await.is_ok(), "the same identity keeps it");
    assert_eq!(bench.enlist(&Client::new(2), "ada").await, ada);
    assert_eq!(kind(login().await), Some(FaultKind::Unauthenticated));
    let given = bench.built.client.issue_fast(ada).await.unwrap();
    bench.built.client.unenlist(ada).await.unwrap();
    let refused = bench.built.client.login(ada, fast(&given.token)).await;
    assert_eq!(kind(refused), Some(FaultKind::Unauthenticated));
}

/// No identifier, token or key reaches the log, whatever is refused.
#[test]
fn nothing_of_a_user_is_logged() {
    use parking_lot::Mutex;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(use_all());
        // A call site that another test met first, at the wrong moment, is switched off until it is
        // looked at again; by now this test has met them all.
        tracing::callsite::rebuild_interest_cache();
        let secrets = runtime.block_on(use_all());
        let log = String::from_utf8(sink.0.lock().clone()).unwrap();
        assert!(log.contains("login ended"), "{log}");
        for secret in secrets {
            assert!(!log.contains(&secret), "{secret} in {log}");
        }
    });
}

/// Good and bad uses of the service; returns what nobody may find in the log.
async fn use_all() -> Vec<String> {
    let bench = Bench::new();
    let client = Client::new(1);
    let canary = "canary@example.org";
    let ada = bench.enlist(&client, canary).await;
    let token = bench.seven.token(&bench.claims(7, canary));
    bench.login(ada, token.clone()).await.unwrap();
    let forged = bench.eight.token(&bench.claims(7, canary));
    assert!(bench.login(ada, forged.clone()).await.is_err());
    let given = bench.built.client.issue_fast(ada).await.unwrap();
    let refused = bench.built.client.login(ada, fast("wrong")).await;
    assert!(refused.is_err());
    let fields = client.fields("t");
    vec![
        canary.to_owned(),
        token,
        forged,
        given.token.into(),
        ada.to_string(),
        fields[0].1.clone(),
        fields[3].1.clone(),
        "\"k1\"".to_owned(),
    ]
}
