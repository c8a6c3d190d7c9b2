use entente_core::{AccountId, Bundle, PartnerId};

use super::{Form, SignalError, SignalUser};

struct Peer {
    account: AccountId,
    user: SignalUser,
    bundle: Bundle,
}

fn peer(number: u64) -> Peer {
    let account = AccountId::new(PartnerId::new(7).unwrap(), number);
    let mut user = SignalUser::generate().unwrap();
    let signed = user.signed_prekey().unwrap();
    let upload = user.upload(1, 1).unwrap();
    let bundle = Bundle {
        account,
        registration: user.registration(),
        identity: user.identity().unwrap(),
        signed,
        one_time: upload.one_time.first().cloned(),
        kyber: upload.kyber.first().cloned(),
        last_resort: false,
    };
    Peer {
        account,
        user,
        bundle,
    }
}

#[test]
fn two_users_talk_through_bundles() {
    let (mut alice, mut bob) = (peer(1), peer(2));
    alice.user.open(&bob.bundle).unwrap();

    let first = alice.user.encrypt(bob.account, b"hello").unwrap();
    assert_eq!(first.form, Form::Prekey);
    assert!(!first.bytes.windows(5).any(|part| part == b"hello"));
    assert_eq!(bob.user.decrypt(alice.account, &first).unwrap(), b"hello");

    let answer = bob.user.encrypt(alice.account, b"and back").unwrap();
    assert_eq!(answer.form, Form::Message);
    assert_eq!(
        alice.user.decrypt(bob.account, &answer).unwrap(),
        b"and back"
    );
    let next = alice.user.encrypt(bob.account, b"ratcheted").unwrap();
    assert_eq!(next.form, Form::Message);
    assert_eq!(
        bob.user.decrypt(alice.account, &next).unwrap(),
        b"ratcheted"
    );
}

#[test]
fn both_may_open_at_once() {
    let (mut alice, mut bob) = (peer(1), peer(2));
    alice.user.open(&bob.bundle).unwrap();
    bob.user.open(&alice.bundle).unwrap();
    let there = alice.user.encrypt(bob.account, b"there").unwrap();
    let here = bob.user.encrypt(alice.account, b"here").unwrap();
    assert_eq!(bob.user.decrypt(alice.account, &there).unwrap(), b"there");
    assert_eq!(alice.user.decrypt(bob.account, &here).unwrap(), b"here");
    for turn in 0..4_u8 {
        let there = alice.user.encrypt(bob.account, &[turn]).unwrap();
        assert_eq!(bob.user.decrypt(alice.account, &there).unwrap(), [turn]);
        let here = bob.user.encrypt(alice.account, &[turn]).unwrap();
        assert_eq!(alice.user.decrypt(bob.account, &here).unwrap(), [turn]);
    }
}

#[test]
fn a_last_resort_key_opens_a_session_without_one_time_keys() {
    let (mut alice, mut bob) = (peer(1), peer(2));
    let upload = bob.user.upload(0, 0).unwrap();
    bob.bundle.one_time = None;
    bob.bundle.kyber = upload.last_resort;
    bob.bundle.last_resort = true;
    alice.user.open(&bob.bundle).unwrap();
    let sealed = alice.user.encrypt(bob.account, b"late").unwrap();
    assert_eq!(bob.user.decrypt(alice.account, &sealed).unwrap(), b"late");
}

#[test]
fn a_bundle_without_kyber_or_with_a_forged_signature_opens_nothing() {
    let (mut alice, bob) = (peer(1), peer(2));
    let mut bare = bob.bundle.clone();
    bare.kyber = None;
    assert!(matches!(alice.user.open(&bare), Err(SignalError::NoKyber)));
    let mut forged = bob.bundle.clone();
    forged.signed.key = alice.bundle.signed.key;
    assert!(matches!(
        alice.user.open(&forged),
        Err(SignalError::Refused(_))
    ));
    assert!(!alice.user.knows(bob.account).unwrap());
    alice.user.open(&bob.bundle).unwrap();
    assert!(alice.user.knows(bob.account).unwrap());
}

#[test]
fn a_ciphertext_is_taken_once_and_only_unchanged() {
    let (mut alice, mut bob) = (peer(1), peer(2));
    alice.user.open(&bob.bundle).unwrap();
    let sealed = alice.user.encrypt(bob.account, b"once").unwrap();
    let mut bent = sealed.clone();
    *bent.bytes.last_mut().unwrap() ^= 1;
    assert!(bob.user.decrypt(alice.account, &bent).is_err());
    assert_eq!(bob.user.decrypt(alice.account, &sealed).unwrap(), b"once");
    assert!(bob.user.decrypt(alice.account, &sealed).is_err());
}
