//! Prekeys and block lists.

use entente_core::{Bundle, FaultKind, PrekeyUpload};

use super::bed::{Bed, kyber, one_time};
use crate::account::MAX_PREKEYS;
use crate::effect::{Effect, Reply};
use crate::record::Command;

fn upload(bed: &mut Bed, account: entente_core::AccountId, keys: PrekeyUpload) -> Option<u32> {
    let keys = Box::new(keys);
    let reply = bed.ask(|request| Command::Upload {
        request,
        account,
        keys,
    });
    match reply {
        Some(Reply::Count(count)) => Some(count.one_time),
        _ => None,
    }
}

fn take(bed: &mut Bed, target: entente_core::AccountId) -> Bundle {
    match bed.ask(|request| Command::Take { request, target }) {
        Some(Reply::Bundle(bundle)) => *bundle,
        other => panic!("{other:?} instead of a bundle"),
    }
}

/// T89: a client that repeats an upload because it saw no answer brings no served key back.
#[test]
fn a_repeated_upload_revives_no_served_key() {
    let mut bed = Bed::new();
    let bob = bed.enlist("bob", 1, 2);
    let keys = PrekeyUpload {
        kyber: vec![kyber(1), kyber(2)],
        ..one_time(1..=3)
    };
    assert_eq!(upload(&mut bed, bob, keys.clone()), Some(3));
    let first = take(&mut bed, bob);
    bed.checkpoint();
    bed.reload();
    assert_eq!(
        upload(&mut bed, bob, keys),
        Some(2),
        "the served one stays served"
    );
    let rest: Vec<_> = (0..3).map(|_| take(&mut bed, bob)).collect();
    let served = [&first].into_iter().chain(&rest);
    let ids: Vec<_> = served
        .clone()
        .filter_map(|bundle| Some(bundle.one_time.as_ref()?.id))
        .collect();
    assert_eq!(ids, [1, 2, 3]);
    let ids: Vec<_> = served
        .filter_map(|bundle| Some(bundle.kyber.as_ref()?.id))
        .collect();
    assert_eq!(ids, [1, 2]);
    // The id alone is the client's to use again, with another key.
    let mut other = one_time([1]);
    other.one_time[0].key = [66; 32];
    assert_eq!(upload(&mut bed, bob, other), Some(1));
}

#[test]
fn an_upload_counts_each_key_once_and_may_be_repeated_at_the_limit() {
    let mut bed = Bed::new();
    let bob = bed.enlist("bob", 1, 2);
    let most = u32::try_from(MAX_PREKEYS).unwrap();
    assert_eq!(upload(&mut bed, bob, one_time([1, 1, 2])), Some(2));
    assert_eq!(upload(&mut bed, bob, one_time(1..=most)), Some(most));
    assert_eq!(
        upload(&mut bed, bob, one_time(1..=most)),
        Some(most),
        "idempotent"
    );
    let keys = Box::new(one_time([most + 1]));
    let effects = bed.command(Command::Upload {
        request: 5,
        account: bob,
        keys,
    });
    assert!(
        matches!(&effects[..], [Effect::Answer { reply: Err(fault), .. }] if fault.kind() == FaultKind::Overloaded),
        "{effects:?}"
    );
}

/// T89, T90: both keys of a bundle go in one record; a crash between may waste, never repeat.
#[test]
fn prekeys_are_served_once_across_reloads() {
    let mut bed = Bed::new();
    let bob = bed.enlist("bob", 1, 2);
    let keys = PrekeyUpload {
        kyber: (1..=4).map(kyber).collect(),
        last_resort: Some(kyber(99)),
        ..one_time(1..=6)
    };
    upload(&mut bed, bob, keys);
    let (mut one_time, mut pq, mut last) = (Vec::new(), Vec::new(), 0);
    for round in 0..8 {
        let bundle = take(&mut bed, bob);
        one_time.extend(bundle.one_time.map(|key| key.id));
        match bundle.kyber {
            Some(_) if bundle.last_resort => last += 1,
            Some(key) => pq.push(key.id),
            None => panic!("no key"),
        }
        if round % 2 == 0 {
            bed.checkpoint();
        }
        bed.reload();
    }
    assert_eq!(
        (one_time, pq, last),
        (vec![1, 2, 3, 4, 5, 6], vec![1, 2, 3, 4], 4)
    );
}

/// T67: the same visible id has one account, whichever numbers were drawn.
#[test]
fn one_visible_id_has_one_account() {
    let mut bed = Bed::new();
    let bob = bed.enlist("bob", 1, 2);
    assert_eq!(bed.enlist("bob", 1, 3), bob);
    assert_eq!(bed.enlist("bob", 2, 4), bob);
    let enlistment = Box::new(super::bed::enlistment("carol", 1));
    let effects = bed.command(Command::Enlist {
        request: 1,
        number: 2,
        enlistment,
    });
    assert!(
        matches!(&effects[..], [Effect::Answer { reply: Err(fault), .. }] if fault.kind() == FaultKind::Conflict)
    );
}

/// T104: who is blocked hears what an unknown recipient sounds like; unblocking ends it.
#[test]
fn a_blocked_sender_gets_nothing_in() {
    let mut bed = Bed::new();
    let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("bob", 1, 2));
    let block = |add, remove| {
        move |request| Command::Block {
            request,
            account: bob,
            clear: false,
            add,
            remove,
        }
    };
    bed.ask(block(vec![alice], vec![]));
    bed.send(alice, bob, "a");
    assert_eq!(bed.waiting(bob).len(), 0);
    assert!(bed.waiting(alice)[0].contains("Undeliverable"));
    bed.ask(block(vec![], vec![alice]));
    bed.send(alice, bob, "b");
    assert_eq!(bed.waiting(bob), ["<message id='b'/>"]);
}
