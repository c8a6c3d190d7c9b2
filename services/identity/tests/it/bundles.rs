//! Prekeys that are uploaded and handed out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{
    AccountId, FaultKind, KyberPrekey, OneTimePrekey, PrekeyCount, PrekeyUpload, SignedPrekey,
};
use entente_identity::test::Client;
use entente_keys::KYBER1024_BYTES;
use entente_keys::test::SigningKey;
use entente_proto::directory::BlockChange;
use entente_table::MemoryTable;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bench::{Bench, kind, partner, record};
use crate::enlist::DeadTable;

/// A sound Kyber key with a number in it, signed by the client.
fn kyber(client: &Client, id: u32) -> KyberPrekey {
    let mut key = vec![0; KYBER1024_BYTES];
    key[0] = 8;
    key[KYBER1024_BYTES - 4..].copy_from_slice(&id.to_be_bytes());
    let signature = client.identity.sign(&key).bytes().to_vec();
    KyberPrekey {
        id,
        key: key.into(),
        signature: signature.into(),
    }
}

fn one_time(id: u8) -> OneTimePrekey {
    OneTimePrekey {
        id: u32::from(id),
        key: *SigningKey::new([id; 32]).public().unwrap().bytes(),
    }
}

fn full(client: &Client) -> PrekeyUpload {
    PrekeyUpload {
        signed: Some(client.signed()),
        one_time: (1..=3).map(one_time).collect(),
        last_resort: Some(kyber(client, 100)),
        kyber: (1..=3).map(|id| kyber(client, id)).collect(),
    }
}

async fn enlisted(bench: &Bench) -> (Client, AccountId, AccountId) {
    let client = Client::new(1);
    let target = bench.enlist(&client, "target").await;
    let requester = bench.enlist(&Client::new(2), "requester").await;
    (client, target, requester)
}

/// T65, T89, T90: what was uploaded is handed out with both one-time keys, each once; then the
/// last-resort key, and it says so.
#[tokio::test(start_paused = true)]
async fn keys_are_handed_out_once() {
    let bench = Bench::new();
    let (client, target, requester) = enlisted(&bench).await;
    let identity = &bench.built.client;
    let count = identity.upload(target, full(&client)).await.unwrap();
    let three = PrekeyCount {
        one_time: 3,
        kyber: 3,
    };
    assert_eq!(count, three);
    assert_eq!(identity.prekey_count(target).await, Ok(three));
    let (mut curve, mut lattice) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..3 {
        let bundle = identity.bundle(requester, target).await.unwrap();
        assert_eq!(bundle.account, target);
        assert_eq!(bundle.registration, 0x1234);
        assert!(curve.insert(bundle.one_time.unwrap().id));
        assert!(lattice.insert(bundle.kyber.unwrap().id));
        assert!(!bundle.last_resort);
    }
    let bundle = identity.bundle(requester, target).await.unwrap();
    assert_eq!(bundle.one_time, None);
    assert_eq!(bundle.kyber.unwrap().id, 100);
    assert!(bundle.last_resort);
}

/// T65: one bad signature, key or id refuses the whole upload before any write.
#[tokio::test(start_paused = true)]
async fn bad_uploads_write_nothing() {
    let bench = Bench::new();
    let (client, target, _) = enlisted(&bench).await;
    let writes = bench.directory.writes();
    let other = Client::new(9);
    let good = || full(&client);
    let curve = |key: OneTimePrekey| PrekeyUpload {
        one_time: vec![one_time(1), key],
        ..good()
    };
    let lattice = |key: KyberPrekey| PrekeyUpload {
        kyber: vec![kyber(&client, 1), key],
        ..good()
    };
    let signed = |change: &dyn Fn(&mut SignedPrekey)| {
        let mut signed = client.signed();
        change(&mut signed);
        PrekeyUpload {
            signed: Some(signed),
            ..good()
        }
    };
    let flipped = |bytes: &Bytes| {
        let mut bytes = bytes.to_vec();
        bytes[40] ^= 1;
        Bytes::from(bytes)
    };
    for bad in [
        signed(&|signed| signed.signature = flipped(&signed.signature)),
        signed(&|signed| signed.signature = signed.signature.slice(1..)),
        signed(&|signed| signed.key = one_time(7).key),
        signed(&|signed| signed.key = [0; 32]),
        signed(&|signed| signed.id = 1 << 24),
        curve(OneTimePrekey {
            key: [0; 32],
            ..one_time(2)
        }),
        curve(OneTimePrekey {
            id: 1 << 24,
            ..one_time(2)
        }),
        curve(one_time(1)),
        lattice(kyber(&other, 2)),
        lattice(kyber(&client, 1)),
        lattice(kyber(&client, 100)),
        lattice(KyberPrekey {
            key: flipped(&kyber(&client, 2).key),
            ..kyber(&client, 2)
        }),
        lattice(KyberPrekey {
            key: Bytes::from_static(&[8; 33]),
            ..kyber(&client, 2)
        }),
        PrekeyUpload {
            last_resort: Some(kyber(&other, 3)),
            ..PrekeyUpload::default()
        },
    ] {
        let refused = bench.built.client.upload(target, bad).await;
        assert_eq!(kind(refused), Some(FaultKind::PeerMisbehaved));
        sleep(Duration::from_secs(600)).await;
    }
    let many = PrekeyUpload {
        one_time: (1..=101).map(one_time).collect(),
        ..PrekeyUpload::default()
    };
    let refused = bench.built.client.upload(target, many).await;
    assert_eq!(kind(refused), Some(FaultKind::Overloaded));
    assert_eq!(bench.directory.writes(), writes);
    assert!(bench.built.client.upload(target, good()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn uploads_have_a_budget() {
    let bench = Bench::new();
    let (_, target, other) = enlisted(&bench).await;
    let upload = |account| bench.built.client.upload(account, PrekeyUpload::default());
    for _ in 0..20 {
        assert!(upload(target).await.is_ok());
    }
    assert_eq!(kind(upload(target).await), Some(FaultKind::Overloaded));
    assert!(upload(other).await.is_ok());
}

/// T87: one requester gets six bundles of one target and then one in ten minutes; others are not
/// held back by it.
#[tokio::test(start_paused = true)]
async fn a_target_is_not_drained() {
    let bench = Bench::new();
    let (_, target, requester) = enlisted(&bench).await;
    let other = bench.enlist(&Client::new(3), "other").await;
    let take = |from, of| bench.built.client.bundle(from, of);
    for _ in 0..6 {
        assert!(take(requester, target).await.is_ok());
    }
    assert_eq!(
        kind(take(requester, target).await),
        Some(FaultKind::Overloaded)
    );
    assert!(take(other, target).await.is_ok());
    assert!(take(requester, other).await.is_ok());
    sleep(Duration::from_secs(600)).await;
    assert!(take(requester, target).await.is_ok());
    assert_eq!(
        kind(take(requester, target).await),
        Some(FaultKind::Overloaded)
    );
}

/// T87, T94: all users of a partner share its budget, and a budget that cannot be read is none.
#[tokio::test(start_paused = true)]
async fn partners_have_a_budget_and_it_fails_closed() {
    let rest = "quotas = { bundles_per_minute = 2 }";
    let bench = Bench::with(rest, Arc::new(MemoryTable::default()));
    let (_, target, requester) = enlisted(&bench).await;
    let third = bench.enlist(&Client::new(3), "third").await;
    let take = |from, of| bench.built.client.bundle(from, of);
    assert!(take(requester, target).await.is_ok());
    assert!(take(third, target).await.is_ok());
    assert_eq!(kind(take(target, third).await), Some(FaultKind::Overloaded));

    let bench = Bench::with("", Arc::new(DeadTable));
    let (from, of) = (AccountId::new(partner(7), 1), AccountId::new(partner(7), 2));
    let refused = bench.built.client.bundle(from, of).await;
    assert_eq!(kind(refused), Some(FaultKind::Overloaded));
    let refused = bench
        .built
        .client
        .upload(from, PrekeyUpload::default())
        .await;
    assert_eq!(kind(refused), Some(FaultKind::Overloaded));
}

/// T97: unknown, blocked, and of a stopped partner read the same.
#[tokio::test(start_paused = true)]
async fn all_that_is_not_found_reads_alike() {
    let bench = Bench::new();
    let (_, target, requester) = enlisted(&bench).await;
    let take = |of| bench.built.client.bundle(requester, of);
    let unknown = take(AccountId::new(partner(7), 1)).await.unwrap_err();
    assert_eq!(unknown.kind(), FaultKind::NotFound);
    assert!(take(target).await.is_ok());
    let block = BlockChange {
        add: vec![requester],
        ..BlockChange::default()
    };
    let identity = &bench.built.client;
    identity.change_blocked(target, block).await.unwrap();
    assert_eq!(identity.blocked(target).await, Ok(vec![requester]));
    assert_eq!(take(target).await.err(), Some(unknown));
    let stranger = AccountId::new(partner(9), 1);
    assert_eq!(take(stranger).await.err(), Some(unknown));
    bench.rewrite(
        &(record(7, "active", "https://id7.example/jwks", "")
            + &record(8, "suspended", "https://id8.example/jwks", "")),
    );
    let stopped = AccountId::new(partner(8), 1);
    assert_eq!(take(stopped).await.err(), Some(unknown));
}

/// T89: 64 at once never share a one-time key.
#[tokio::test(start_paused = true)]
async fn racing_requests_share_no_key() {
    let bench = Arc::new(Bench::new());
    let (client, target, _) = enlisted(&bench).await;
    let keys = PrekeyUpload {
        one_time: (1..=64).map(one_time).collect(),
        kyber: (1..=64).map(|id| kyber(&client, id)).collect(),
        ..PrekeyUpload::default()
    };
    bench.built.client.upload(target, keys).await.unwrap();
    let mut requests = JoinSet::new();
    for number in 0..64 {
        let bench = Arc::clone(&bench);
        let from = AccountId::new(partner(8), number);
        requests.spawn(async move { bench.built.client.bundle(from, target).await.unwrap() });
    }
    let bundles = requests.join_all().await;
    let curve: BTreeSet<u32> = bundles
        .iter()
        .filter_map(|bundle| bundle.one_time.as_ref().map(|key| key.id))
        .collect();
    let lattice: BTreeSet<u32> = bundles
        .iter()
        .filter_map(|bundle| bundle.kyber.as_ref().map(|key| key.id))
        .collect();
    assert_eq!((curve.len(), lattice.len()), (64, 64));
}
