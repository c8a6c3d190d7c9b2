//! Revocations: every one is heard, or a gap is.

use std::sync::Arc;

use entente_core::{FaultKind, PartnerId, Secret};
use entente_proto::IdentityClient;
use entente_proto::identity::{Credential, Revocation};
use tokio::sync::broadcast::error::RecvError;

use crate::bench::{Bench, WAYS, Way, account, identity, soon};
use crate::calls::answers;
use crate::services::{Answers, Script};

fn partner(number: u16) -> PartnerId {
    PartnerId::new(number).unwrap()
}

fn key(kid: &str) -> Revocation {
    Revocation::Key {
        partner: partner(7),
        kid: kid.into(),
    }
}

fn token() -> Credential {
    Credential::Token(Secret::new("jwt".to_owned()))
}

/// What the service says that logins rest on.
fn grounds(script: &Script<Answers>, said: &[(u16, u8)]) {
    let said = said.iter();
    *script.grounds.lock() = said
        .map(|(number, digest)| (partner(*number), Box::from([*digest])))
        .collect();
}

/// Breaks the stream, and waits for the next one, at whose begin the service says that.
async fn gap(
    script: &Script<Answers>,
    client: &IdentityClient,
    bench: &Option<Bench>,
    said: &[(u16, u8)],
) {
    grounds(script, said);
    bench.as_ref().unwrap().cut();
    listeners(script, 0).await;
    let mended = async { while client.login(account(1, 2), token()).await.is_err() {} };
    soon(mended).await;
    listeners(script, 1).await;
}

/// Until the service has so many listeners.
async fn listeners(script: &Script<Answers>, wanted: usize) {
    let level = async {
        while script.revoked.receiver_count() != wanted {
            tokio::task::yield_now().await;
        }
    };
    soon(level).await;
}

#[tokio::test]
async fn revocations_are_heard_in_order_by_all() {
    for way in WAYS {
        let script = Script::new(Ok(answers()), false);
        let (client, _bench) = identity(way, Arc::clone(&script) as _).await;
        soon(client.login(account(1, 2), token())).await.unwrap();
        let mut ears = [client.revocations(), client.revocations()];
        let said = [key("a"), Revocation::Partner(partner(9)), key(""), key("b")];
        for revocation in &said {
            script.revoked.send(revocation.clone()).unwrap();
        }
        for ear in &mut ears {
            for revocation in &said {
                let heard = soon(ear.recv()).await;
                assert_eq!(heard.as_ref(), Ok(revocation), "{way:?}");
            }
            assert!(ear.is_empty());
        }
    }
}

#[tokio::test]
async fn a_listener_that_is_slow_lags() {
    for way in WAYS {
        let script = Script::new(Ok(answers()), false);
        let (client, _bench) = identity(way, Arc::clone(&script) as _).await;
        soon(client.login(account(1, 2), token())).await.unwrap();
        let mut ear = client.revocations();
        // More than the service's own broadcast holds, without a turn for anyone to read.
        for number in 0..50 {
            script.revoked.send(key(&number.to_string())).unwrap();
        }
        let lagged = async {
            loop {
                match ear.recv().await {
                    Ok(_) => {}
                    Err(error) => return error,
                }
            }
        };
        let error = soon(lagged).await;
        assert!(matches!(error, RecvError::Lagged(_)), "{way:?}");
        let mut ear = client.revocations();
        let heard = async {
            loop {
                script.revoked.send(key("last")).unwrap();
                if let Ok(heard) = ear.recv().await
                    && heard == key("last")
                {
                    return;
                }
            }
        };
        soon(heard).await;
    }
}

/// Users of partners of whom something may have been revoked while the stream was down end, before any
/// new login, and nobody else.
#[tokio::test]
async fn a_gap_in_the_stream_ends_those_whose_ground_changed() {
    let script = Script::new(Ok(answers()), false);
    grounds(&script, &[(1, 0), (2, 0), (3, 0)]);
    let (client, bench) = identity(Way::Wire, Arc::clone(&script) as _).await;
    soon(client.login(account(1, 2), token())).await.unwrap();
    let mut ear = client.revocations();
    assert!(ear.is_empty(), "the first stream is no gap");
    // What a revocation leaves behind comes after it, and is known before the next one.
    grounds(&script, &[(1, 9), (2, 0), (3, 0)]);
    for kid in ["first", "second"] {
        script.revoked.send(key(kid)).unwrap();
        assert_eq!(soon(ear.recv()).await, Ok(key(kid)));
    }
    gap(&script, &client, &bench, &[(1, 9), (2, 1), (4, 0)]).await;
    let kept = |numbers: &[u16]| {
        let kept = numbers.iter().map(|number| partner(*number)).collect();
        Ok(Revocation::AllBut(Arc::new(kept)))
    };
    assert_eq!(soon(ear.recv()).await, kept(&[1]));
    gap(&script, &client, &bench, &[(1, 9), (2, 1), (4, 0)]).await;
    assert_eq!(soon(ear.recv()).await, kept(&[1, 2, 4]));
    script.revoked.send(key("after")).unwrap();
    assert_eq!(soon(ear.recv()).await, Ok(key("after")));
}

#[tokio::test]
async fn no_login_is_granted_while_revocations_are_not_heard() {
    let script = Script::new(Ok(answers()), false);
    let (client, bench) = identity(Way::Wire, Arc::clone(&script) as _).await;
    soon(client.login(account(1, 2), token())).await.unwrap();
    bench
        .as_ref()
        .unwrap()
        .client
        .finish(crate::bench::PATIENCE)
        .await
        .unwrap();
    assert_eq!(client.unenlist(account(1, 2)).await, Ok(()), "it answers");
    tokio::time::pause();
    let deaf = client.login(account(1, 2), token()).await.unwrap_err();
    assert_eq!(deaf.kind(), FaultKind::Unavailable);
}

#[tokio::test]
async fn listening_ends_with_the_handle() {
    let script = Script::new(Ok(answers()), false);
    let (client, _bench) = identity(Way::Wire, Arc::clone(&script) as _).await;
    listeners(&script, 1).await;
    drop(client);
    listeners(&script, 0).await;
}
