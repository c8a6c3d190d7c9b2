//! Each unary call: what is asked and answered arrives, faults keep their kind, nothing waits long.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{
    AccountFacts, Bundle, EnlistChange, Enlisted, Enlistment, Fault, FaultKind, KyberPrekey,
    OneTimePrekey, PartnerId, PrekeyCount, PrekeyUpload, Secret, SignedPrekey, Timestamp,
    VisibleId,
};
use entente_proto::directory::BlockChange;
use entente_proto::identity::{Credential, FastToken, LoggedIn};
use entente_proto::wire::MESSAGE_BYTES;

use crate::bench::{WAYS, Way, account, directory, identity, soon};
use crate::services::{Answers, Script};

fn signed(id: u32) -> SignedPrekey {
    SignedPrekey {
        id,
        key: [id.to_be_bytes()[3]; 32],
        signature: Bytes::from(vec![9; 64]),
    }
}

fn kyber(id: u32) -> KyberPrekey {
    KyberPrekey {
        id,
        key: Bytes::from(vec![8; 1569]),
        signature: Bytes::from(vec![7; 64]),
    }
}

fn one_time(id: u32) -> OneTimePrekey {
    OneTimePrekey { id, key: [6; 32] }
}

pub(crate) fn answers() -> Answers {
    let facts = AccountFacts {
        account: account(1, 2),
        visible: VisibleId::new("someone@example.org").unwrap(),
        identity: [1; 32],
        transport: [2; 32],
        generation: 3,
        enlisted: Timestamp::from_millis(4),
    };
    Answers {
        facts: Some(facts.clone()),
        blocked: vec![account(1, 3), account(65_535, u64::MAX)],
        enlisted: Enlisted {
            account: account(1, 2),
            change: EnlistChange::Replaced,
        },
        found: Some(account(9, 9)),
        count: PrekeyCount {
            one_time: 98,
            kyber: 3,
        },
        bundle: Bundle {
            account: account(1, 2),
            registration: 77,
            identity: [5; 32],
            signed: signed(3),
            one_time: Some(one_time(4)),
            kyber: Some(kyber(5)),
            last_resort: true,
        },
        logged_in: LoggedIn {
            facts,
            kid: "key-1".into(),
            responder: Some([1, 2, 3].into()),
        },
        fast: FastToken {
            token: "fast-token".into(),
            expires: Timestamp::from_millis(123),
        },
    }
}

fn upload() -> PrekeyUpload {
    PrekeyUpload {
        signed: Some(signed(1)),
        one_time: (0..100).map(one_time).collect(),
        last_resort: Some(kyber(2)),
        kyber: (0..100).map(kyber).collect(),
    }
}

fn change() -> BlockChange {
    BlockChange {
        clear: true,
        add: vec![account(1, 1), account(2, 2)],
        remove: vec![account(3, 3)],
    }
}

#[tokio::test]
async fn every_call_of_the_directory_arrives() {
    for way in WAYS {
        let script = Script::new(Ok(answers()), false);
        let (client, _bench) = directory(way, Arc::clone(&script) as _).await;
        let expected = answers();
        let of = account(12, 34);
        assert_eq!(client.account(of).await, Ok(expected.facts));
        assert_eq!(script.question(), "account 12-34");
        assert_eq!(client.blocked(of).await, Ok(expected.blocked));
        assert_eq!(script.question(), "blocked 12-34");
        assert_eq!(client.change_blocked(of, change()).await, Ok(()));
        assert_eq!(script.question(), format!("change 12-34 {:?}", change()));
        let enlistment = Enlistment {
            partner: PartnerId::new(7).unwrap(),
            visible: VisibleId::new("me").unwrap(),
            transport: [1; 32],
            registration: 5,
            identity: [2; 32],
            signed: signed(6),
        };
        let question = format!("enlist me {enlistment:?}");
        assert_eq!(client.enlist(enlistment).await, Ok(expected.enlisted));
        assert_eq!(script.question(), question);
        let (partner, visible) = (PartnerId::new(7).unwrap(), VisibleId::new("me").unwrap());
        assert_eq!(client.lookup(partner, &visible).await, Ok(expected.found));
        assert_eq!(script.question(), "lookup 7 me");
        assert_eq!(client.prekey_count(of).await, Ok(expected.count));
        assert_eq!(script.question(), "count 12-34");
        assert_eq!(client.take_bundle(of).await, Ok(expected.bundle));
        assert_eq!(script.question(), "take 12-34");
        assert_eq!(client.unenlist(of).await, Ok(()));
        assert_eq!(script.question(), "unenlist 12-34");
        assert_eq!(client.upload(of, upload()).await, Ok(expected.count));
        assert_eq!(script.question(), format!("upload 12-34 {:?}", upload()));
    }
}

#[tokio::test]
async fn nothing_is_an_answer_too() {
    for way in WAYS {
        let mut bundle = answers().bundle;
        (bundle.one_time, bundle.kyber, bundle.last_resort) = (None, None, false);
        let nothing = Answers {
            facts: None,
            blocked: Vec::new(),
            found: None,
            bundle: bundle.clone(),
            ..answers()
        };
        let script = Script::new(Ok(nothing), false);
        let (client, _bench) = directory(way, script).await;
        let of = account(1, 2);
        assert_eq!(client.account(of).await, Ok(None));
        assert_eq!(client.blocked(of).await, Ok(Vec::new()));
        let (partner, visible) = (of.partner(), VisibleId::new("x").unwrap());
        assert_eq!(client.lookup(partner, &visible).await, Ok(None));
        assert_eq!(client.take_bundle(of).await, Ok(bundle));
        let empty = PrekeyUpload::default();
        assert_eq!(client.upload(of, empty).await, Ok(answers().count));
    }
}

#[tokio::test]
async fn every_call_of_identity_arrives() {
    for way in WAYS {
        let script = Script::new(Ok(answers()), false);
        let (client, _bench) = identity(way, Arc::clone(&script) as _).await;
        let expected = answers();
        let of = account(12, 34);
        assert_eq!(client.blocked(of).await, Ok(expected.blocked));
        assert_eq!(script.question(), "blocked 12-34");
        let bundle = client.bundle(of, account(1, 2)).await;
        assert_eq!(bundle, Ok(expected.bundle));
        assert_eq!(script.question(), "bundle 12-34 1-2");
        assert_eq!(client.change_blocked(of, change()).await, Ok(()));
        assert_eq!(script.question(), format!("change 12-34 {:?}", change()));
        let fast = client.issue_fast(of).await.unwrap();
        assert_eq!(fast.token, expected.fast.token);
        assert_eq!(fast.expires, expected.fast.expires);
        assert_eq!(script.question(), "fast 12-34");
        let proof = Credential::Fast {
            token: "public".into(),
            proof: [1, 2, 3].into(),
        };
        let granted = soon(client.login(of, proof)).await.unwrap();
        assert_eq!(granted.facts, expected.logged_in.facts);
        assert_eq!(granted.kid, expected.logged_in.kid);
        assert_eq!(granted.responder, expected.logged_in.responder);
        assert_eq!(script.question(), "login 12-34 public [1, 2, 3]");
        let token = Credential::Token(Secret::new("a.jwt.here".to_owned()));
        soon(client.login(of, token)).await.unwrap();
        assert_eq!(script.question(), "login 12-34 a.jwt.here");
        assert_eq!(client.prekey_count(of).await, Ok(expected.count));
        assert_eq!(script.question(), "count 12-34");
        assert_eq!(client.unenlist(of).await, Ok(()));
        assert_eq!(script.question(), "unenlist 12-34");
        assert_eq!(client.upload(of, upload()).await, Ok(expected.count));
        assert_eq!(script.question(), format!("upload 12-34 {:?}", upload()));
    }
}

#[tokio::test]
async fn faults_keep_their_kind() {
    let kinds = [
        FaultKind::Conflict,
        FaultKind::Deadline,
        FaultKind::Forbidden,
        FaultKind::Internal,
        FaultKind::NotFound,
        FaultKind::Overloaded,
        FaultKind::PeerMisbehaved,
        FaultKind::Unauthenticated,
        FaultKind::Unavailable,
    ];
    for way in WAYS {
        let script = Script::new(Ok(answers()), false);
        let (client, _bench) = directory(way, Arc::clone(&script) as _).await;
        for kind in kinds {
            let known = Fault::new(kind, "the account is not enlisted");
            *script.answer.lock() = Err(known);
            assert_eq!(client.unenlist(account(1, 2)).await, Err(known), "{way:?}");
            *script.answer.lock() = Err(Fault::new(kind, "words that only the service has"));
            let fault = client.take_bundle(account(1, 2)).await.unwrap_err();
            assert_eq!(fault.kind(), kind, "{way:?}");
            let repeated = fault.text() == "words that only the service has";
            assert_eq!(repeated, way == Way::Local);
        }
    }
}

/// T134: neither a question nor an answer beyond the limit is carried; the next call is.
#[tokio::test]
async fn oversized_messages_are_refused() {
    let script = Script::new(Ok(answers()), false);
    let (client, _bench) = directory(Way::Wire, Arc::clone(&script) as _).await;
    let of = account(1, 2);
    let mut large = upload();
    large.kyber = vec![kyber(1); MESSAGE_BYTES / 1500];
    let refused = client.upload(of, large).await.unwrap_err();
    assert_eq!(refused.kind(), FaultKind::Internal);
    assert!(script.asked.lock().is_empty(), "the service was not asked");
    let endless = Answers {
        blocked: vec![account(65_535, u64::MAX); MESSAGE_BYTES / 10],
        ..answers()
    };
    *script.answer.lock() = Ok(endless);
    let refused = client.blocked(of).await.unwrap_err();
    assert_eq!(refused.kind(), FaultKind::Internal);
    assert_eq!(client.unenlist(of).await, Ok(()));
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_unavailable() {
    let script = Script::new(Ok(answers()), false);
    let (client, bench) = directory(Way::Wire, script).await;
    assert_eq!(client.unenlist(account(1, 2)).await, Ok(()));
    drop(bench);
    let fault = soon(client.unenlist(account(1, 2))).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Unavailable);
}

/// T137: a call whose caller is gone ends at the service too; so does one that takes too long.
#[tokio::test]
async fn calls_end_with_their_callers() {
    let script = Script::new(Ok(answers()), true);
    let (client, _bench) = directory(Way::Wire, Arc::clone(&script) as _).await;
    let in_flight = || Arc::strong_count(&script.in_flight) - 1;
    let level = async |wanted: usize| {
        while in_flight() != wanted {
            tokio::task::yield_now().await;
        }
    };
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..200 {
        let client = client.clone();
        calls.spawn(async move { client.unenlist(account(1, number)).await });
    }
    soon(level(200)).await;
    calls.abort_all();
    soon(level(0)).await;

    tokio::time::pause();
    let late = client.unenlist(account(1, 2)).await.unwrap_err();
    assert_eq!(late.kind(), FaultKind::Deadline);
    tokio::time::resume();
    tokio::time::timeout(Duration::from_secs(20), level(0))
        .await
        .unwrap();
}
