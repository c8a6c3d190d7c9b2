//! Mailboxes, sessions, time and repetition.

use std::time::Duration;

use entente_core::{
    Content, Counter, Envelope, Epoch, FailReason, Failed, Sequence, SessionId, ShardId,
    TraceContext,
};

use super::bed::{Bed, account, seal};
use crate::account::MAX_MAILBOX_ENTRIES;
use crate::dedupe::DEDUPE_TIME;
use crate::effect::{Effect, Ended};
use crate::outbox::{OutputItem, Target};
use crate::record::{Command, Output, Record, RecordError};
use crate::shard::SILENCE;

fn settle(account: entente_core::AccountId, epoch: Epoch, through: u64) -> Command {
    Command::Settle {
        account,
        epoch,
        through: Sequence::new(through),
        handled: 0,
    }
}

#[test]
fn a_mailbox_is_fifo_and_lets_go_only_of_what_is_settled_in_the_newest_epoch() {
    let mut bed = Bed::new();
    let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("bob", 1, 2));
    for id in ["a", "b", "c"] {
        bed.send(alice, bob, id);
    }
    let old = bed.open(bob, 1);
    let new = bed.open(bob, 2);
    bed.command(settle(bob, old, 3));
    assert_eq!(bed.waiting(bob).len(), 3, "a stale epoch settles nothing");
    bed.command(settle(bob, new, 2));
    assert_eq!(bed.waiting(bob), ["<message id='c'/>"]);
    let receipt = bed.waiting(alice);
    assert_eq!(receipt.len(), 1, "one receipt names both");
    assert!(
        receipt[0].contains("\"a\"") && receipt[0].contains("\"b\""),
        "{receipt:?}"
    );
}

/// The fold is a function of the log alone: when an owner made checkpoints changes nothing.
#[test]
fn checkpoints_do_not_decide_what_is_a_repetition() {
    let run = |checkpoints: bool| {
        let mut bed = Bed::new();
        let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("bob", 1, 2));
        let checkpoint = |bed: &mut Bed| {
            if checkpoints {
                bed.checkpoint()
            }
        };
        bed.send(alice, bob, "early");
        checkpoint(&mut bed);
        bed.pass(DEDUPE_TIME / 2);
        bed.send(alice, bob, "middle");
        bed.pass(DEDUPE_TIME / 2 + Duration::from_secs(1));
        bed.send(alice, bob, "tick");
        checkpoint(&mut bed);
        bed.send(alice, bob, "early");
        bed.send(alice, bob, "middle");
        bed.waiting(bob)
    };
    let with = run(true);
    assert_eq!(with.len(), 4, "{with:?}");
    assert_eq!(with, run(false));
}

/// The window ends after its time to the millisecond, whatever was stored when.
#[test]
fn an_id_is_new_again_after_its_time_and_not_before() {
    for reload in [false, true] {
        let mut bed = Bed::new();
        let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("bob", 1, 2));
        bed.send(alice, bob, "x");
        bed.pass(Duration::from_secs(3600));
        bed.send(alice, bob, "y");
        bed.checkpoint();
        if reload {
            bed.reload();
        }
        bed.pass(DEDUPE_TIME - Duration::from_secs(3600));
        bed.send(alice, bob, "x");
        assert_eq!(bed.waiting(bob).len(), 2, "the last millisecond counts");
        bed.pass(Duration::from_millis(1));
        bed.send(alice, bob, "x");
        assert_eq!(bed.waiting(bob).len(), 3);
        bed.send(alice, bob, "y");
        assert_eq!(bed.waiting(bob).len(), 3, "a neighbour in the block stays");
    }
}

/// An id is unique to its sender and recipient: RFC 6120 8.1.3 lets a client number each stream anew.
#[test]
fn one_id_to_two_recipients_is_two_stanzas() {
    let mut bed = Bed::new();
    let alice = bed.enlist("alice", 1, 1);
    let (bob, carol) = (bed.enlist("bob", 1, 2), bed.enlist("carol", 1, 3));
    for to in [bob, carol, bob] {
        bed.send(alice, to, "1");
    }
    assert_eq!((bed.waiting(bob).len(), bed.waiting(carol).len()), (1, 1));
}

/// A short-lived stanza behind a long-lived one is still found by the sweep after a settle.
#[test]
fn the_time_of_the_next_expiry_is_never_late() {
    let mut bed = Bed::new();
    let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("bob", 1, 2));
    for (id, life) in [("first", 60), ("long", 1000), ("short", 100)] {
        let mut envelope = bed.envelope(alice, bob, id);
        envelope.expires = bed.now.plus(Duration::from_secs(life));
        bed.apply(Record::envelope(&envelope, &seal()));
    }
    let epoch = bed.open(bob, 1);
    bed.command(settle(bob, epoch, 1));
    bed.pass(Duration::from_secs(101));
    bed.checkpoint();
    let overdue = |bed: &Bed| bed.shard.overdue(None, bed.now, 10).unwrap().0;
    assert_eq!(overdue(&bed), [bob]);
    bed.command(Command::Expire { account: bob });
    bed.checkpoint();
    assert_eq!(overdue(&bed), [], "the long one is not over");
    assert_eq!(bed.waiting(bob), ["<message id='long'/>"]);
    bed.pass(Duration::from_secs(1000));
    assert_eq!(overdue(&bed), [bob]);
}

/// The promise that a failure notice arrives has no "unless the mailbox is full of messages".
#[test]
fn a_full_mailbox_still_takes_failure_notices() {
    let mut bed = Bed::new();
    let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("bob", 1, 2));
    for id in 0..MAX_MAILBOX_ENTRIES {
        bed.send(bob, alice, &format!("m{id}"));
    }
    bed.send(bob, alice, "over");
    assert!(bed.waiting(bob)[0].contains("MailboxFull"));
    bed.send(alice, account(99), "x");
    let last = bed.waiting(alice).pop().unwrap();
    assert!(last.contains("Undeliverable"), "{last}");
}

/// T28: what a fenced owner still writes changes nothing.
#[test]
fn commands_below_the_newest_claim_change_nothing() {
    let mut bed = Bed::new();
    let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("bob", 1, 2));
    bed.send(alice, bob, "a");
    let epoch = bed.open(bob, 1);
    assert_eq!(bed.claim(2).len(), 1);
    assert_eq!(bed.claim(2), [], "the first claim of an epoch wins");
    assert_eq!(bed.claim(1), []);
    let (request, session) = (7, SessionId::new(9));
    let zombie = vec![
        settle(bob, epoch, 1),
        Command::Leave {
            account: bob,
            epoch,
        },
        Command::Open {
            account: bob,
            session,
        },
        Command::Unenlist {
            request,
            account: bob,
        },
        Command::Take {
            request,
            target: bob,
        },
    ];
    assert_eq!(bed.commands_of(1, zombie.clone()), []);
    assert_eq!(
        bed.commands_of(3, zombie),
        [],
        "nor does an owner that nobody claimed for"
    );
    assert_eq!(bed.waiting(bob).len(), 1);
    bed.command(settle(bob, epoch, 1));
    assert_eq!(
        bed.waiting(bob).len(),
        0,
        "the newest owner does what it says"
    );
}

/// A burst for a user who is away wakes once; the next absence wakes again.
#[test]
fn a_burst_wakes_once() {
    let mut bed = Bed::new();
    let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("bob", 1, 2));
    for id in ["a", "b", "c"] {
        bed.send(alice, bob, id);
    }
    assert_eq!(
        bed.shard.take_outputs(Target::Wake, 10, usize::MAX).len(),
        1
    );
    let epoch = bed.open(bob, 1);
    bed.send(alice, bob, "d");
    assert_eq!(
        bed.shard.take_outputs(Target::Wake, 10, usize::MAX).len(),
        0
    );
    bed.command(settle(bob, epoch, 3));
    bed.command(Command::Leave {
        account: bob,
        epoch,
    });
    assert_eq!(
        bed.shard.take_outputs(Target::Wake, 10, usize::MAX).len(),
        1
    );
    bed.send(alice, bob, "e");
    assert_eq!(
        bed.shard.take_outputs(Target::Wake, 10, usize::MAX).len(),
        0
    );
}

/// The wake-up for a sampled message carries its trace; one for what waited already has none.
#[test]
fn a_wake_up_carries_the_trace_of_the_message_that_caused_it() {
    let mut bed = Bed::new();
    let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("bob", 1, 2));
    let trace = Some(TraceContext {
        trace_id: [1; 16],
        span_id: [2; 8],
        flags: 1,
    });
    let sampled = Envelope {
        trace,
        ..bed.envelope(alice, bob, "a")
    };
    let woken = |bed: &mut Bed| {
        let items = bed.shard.take_outputs(Target::Wake, 10, usize::MAX);
        let traces = items.into_iter().map(|(_, item)| match item {
            OutputItem::Wake { account, trace } => (account, trace),
            OutputItem::Content { .. } => panic!("{item:?} is no wake-up"),
        });
        traces.collect::<Vec<_>>()
    };
    bed.apply(Record::envelope(&sampled, &seal()));
    assert_eq!(woken(&mut bed), [(bob, trace)]);
    let epoch = bed.open(bob, 1);
    bed.command(Command::Leave {
        account: bob,
        epoch,
    });
    assert_eq!(woken(&mut bed), [(bob, None)]);
}

/// A device that counts as gone and is not is connected again in the epoch that it has, and hears of
/// what came meanwhile; who has been replaced is not.
#[test]
fn a_session_joins_again_in_its_epoch_only() {
    let mut bed = Bed::new();
    let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("bob", 1, 2));
    let wakes = |bed: &mut Bed| bed.shard.take_outputs(Target::Wake, 10, usize::MAX).len();
    let rejoin = |epoch| Command::Rejoin {
        account: bob,
        session: SessionId::new(1),
        epoch,
    };
    let epoch = bed.open(bob, 1);
    let leave = Command::Leave {
        account: bob,
        epoch,
    };
    bed.command(leave.clone());
    bed.send(alice, bob, "a");
    assert_eq!(wakes(&mut bed), 1);
    let effects = bed.command(rejoin(epoch));
    assert!(
        matches!(effects[..], [Effect::Arrived { account, .. }] if account == bob),
        "{effects:?}"
    );
    bed.send(alice, bob, "b");
    assert_eq!(wakes(&mut bed), 0, "it is connected");
    bed.command(leave);
    assert_eq!(wakes(&mut bed), 1, "and gone again");
    let newer = bed.open(bob, 2);
    bed.command(Command::Leave {
        account: bob,
        epoch: newer,
    });
    assert_eq!(bed.command(rejoin(epoch)), []);
    assert_eq!(bed.shard.connected().unwrap(), []);
    bed.command(rejoin(newer));
    assert_eq!(bed.shard.connected().unwrap(), [(bob, newer)]);
}

/// T71, T187: nothing of an erased account is in any row, and who wrote to it hears of it.
#[test]
fn erasure_leaves_no_row() {
    for stored_before in [false, true] {
        let mut bed = Bed::new();
        let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("canary-bob", 0xCA, 2));
        let keys = Box::new(super::bed::one_time(1..5));
        bed.ask(|request| Command::Upload {
            request,
            account: bob,
            keys,
        });
        bed.send(alice, bob, "canary-stanza");
        let epoch = bed.open(bob, 0xCA_CA_CA_CA);
        if stored_before {
            bed.checkpoint();
            assert!(bed.stores(b"canary-bob") && bed.stores(b"<message id='canary-stanza'/>"));
        }
        bed.command(Command::Leave {
            account: bob,
            epoch,
        });
        bed.pass(SILENCE - Duration::from_millis(1));
        bed.command(Command::Silent { account: bob });
        assert!(
            bed.shard.facts(bob).unwrap().is_some(),
            "not silent for long enough"
        );
        bed.pass(Duration::from_millis(1));
        bed.command(Command::Silent { account: bob });
        bed.checkpoint();
        assert!(bed.shard.facts(bob).unwrap().is_none());
        assert!(!bed.stores(b"canary-bob"));
        assert!(!bed.stores(b"<message id='canary-stanza'/>"));
        assert!(!bed.stores(&[0xCA; 32]), "identity and transport keys");
        assert!(!bed.stores(&[7; 28]), "prekeys");
        let notices = bed.waiting(alice);
        assert!(notices[0].contains("Undeliverable"), "{notices:?}");
        let effects = bed.command(Command::Open {
            account: bob,
            session: SessionId::new(3),
        });
        assert!(matches!(effects[..], [Effect::Unknown { .. }]));
    }
}

/// T152: a record of another time or make is set aside, and the next one is applied.
#[test]
fn what_cannot_be_read_is_set_aside_and_nothing_stalls() {
    let mut bed = Bed::new();
    let (alice, bob) = (bed.enlist("alice", 1, 1), bed.enlist("bob", 1, 2));
    let good = Record::envelope(&bed.envelope(alice, bob, "x"), &seal());
    let mut unknown = vec![9, 1, 2, 3];
    let tag = seal().tag(&[&0_u32.to_be_bytes()[..], &unknown].concat());
    unknown.extend_from_slice(&tag);
    let mut torn = good.to_vec();
    torn.truncate(torn.len() - 1);
    let cases = [
        (unknown, RecordError::UnknownKind),
        (torn, RecordError::BadSeal),
        (Vec::new(), RecordError::Malformed),
        (vec![2], RecordError::BadSeal),
    ];
    for (payload, expected) in cases {
        let effects = bed.apply(payload.into());
        assert!(
            matches!(effects[..], [Effect::Quarantined { why, .. }] if why == expected),
            "{effects:?}"
        );
    }
    bed.apply(good);
    assert_eq!(bed.waiting(bob).len(), 1);
}

/// Whoever can write to the log fills no disk: only so many records that were set aside are kept.
#[test]
fn quarantine_is_bounded() {
    let mut bed = Bed::new();
    for number in 0..3 * crate::fold::MAX_QUARANTINE {
        bed.apply(vec![9; 40 + usize::try_from(number % 7).unwrap()].into());
        if number % 100 == 0 {
            bed.checkpoint();
        }
    }
    bed.checkpoint();
    let mut rows = 0;
    bed.store
        .scan(b"q", None, &mut |_, _| {
            rows += 1;
            true
        })
        .unwrap();
    assert_eq!(rows, crate::fold::MAX_QUARANTINE);
}

/// Outputs of another shard: the next one counts, repetitions do not, early ones are held.
#[test]
fn outputs_are_taken_once_and_in_order() {
    let mut bed = Bed::new();
    let alice = bed.enlist("alice", 1, 1);
    let output = |counter: u64| Output {
        source: ShardId::new(1),
        counter: Counter::new(counter),
        to: alice,
        content: Content::Failed(Failed {
            to: account(9),
            id: format!("n{counter}").into(),
            why: FailReason::Expired,
        }),
    };
    bed.outputs(&[output(1), output(1), output(3)]);
    assert_eq!(
        bed.waiting(alice).len(),
        1,
        "the third waits for the second"
    );
    bed.checkpoint();
    bed.reload();
    bed.outputs(&[output(1), output(2), output(3), output(2)]);
    let notices = bed.waiting(alice);
    assert_eq!(notices.len(), 3);
    for (at, notice) in notices.iter().enumerate() {
        assert!(notice.contains(&format!("n{}", at + 1)), "{notices:?}");
    }
}

/// T68: a new identity key ends what the old one had, whether or not a device is connected.
#[test]
fn a_new_identity_revokes_even_a_session_that_only_waits() {
    for connected in [true, false] {
        let mut bed = Bed::new();
        let bob = bed.enlist("bob", 1, 2);
        let epoch = bed.open(bob, 5);
        if !connected {
            bed.command(Command::Leave {
                account: bob,
                epoch,
            });
        }
        let enlistment = Box::new(super::bed::enlistment("bob", 2));
        let effects = bed.command(Command::Enlist {
            request: 1,
            number: 7,
            enlistment,
        });
        let revoked = |effect: &Effect| matches!(effect, Effect::Closed { account, why: Ended::Revoked, .. } if *account == bob);
        assert!(effects.iter().any(revoked), "{effects:?}");
    }
}
