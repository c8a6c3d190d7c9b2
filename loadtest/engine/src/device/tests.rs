use std::sync::Arc;

use super::*;
use crate::account::Secret;

fn device() -> Device {
    let account = Account {
        localpart: "a".into(),
        partner: 0,
        secret: Secret::Password(Arc::from("p")),
    };
    Device::new(7, account, vec![Peer::new(1), Peer::new(2)])
}

#[test]
fn a_message_is_over_when_it_was_delivered_and_covered_in_any_order() {
    let mut device = device();
    for at in [10, 20] {
        device.send(at);
    }
    assert_eq!(
        device.deliver(0, 1, 1),
        Delivered::First {
            at: 10,
            wrote: 0,
            ordered: true
        }
    );
    assert!(!device.is_over(0));
    assert_eq!(device.acknowledge(0), Some((10, 0)));
    assert_eq!(device.acknowledge(0), None, "no news");
    device.forget();
    assert!(device.is_over(0) && !device.is_over(1));
    assert_eq!(device.missing(true), (0, 1));
    device.acknowledge(1);
    assert_eq!(device.missing(true), (1, 0));
    assert_eq!(
        device.missing(false),
        (0, 1),
        "nobody said that it was accepted"
    );
    assert!(device.fail(1) && !device.fail(1));
    assert_eq!(device.missing(true), (0, 0));
}

#[test]
fn copies_are_told_from_doubles_by_the_connection() {
    let mut device = device();
    for at in 0..4 {
        device.send(at);
    }
    // 0 and 2 go to 1.
    device.deliver(0, 1, 1);
    assert_eq!(device.deliver(0, 1, 1), Delivered::Twice);
    assert_eq!(device.deliver(0, 1, 2), Delivered::Copy);
    device.acknowledge(0);
    device.forget();
    assert_eq!(
        device.deliver(0, 1, 2),
        Delivered::Copy,
        "also when it was forgotten"
    );
    device.deliver(2, 1, 2);
    assert_eq!(device.deliver(2, 1, 2), Delivered::Twice);
    assert_eq!(device.deliver(2, 1, 3), Delivered::Copy);
}

#[test]
fn what_comes_early_or_to_the_wrong_one_or_from_nobody_is_seen() {
    let mut device = device();
    for at in 0..4 {
        device.send(at);
    }
    assert_eq!(
        device.deliver(2, 1, 1),
        Delivered::First {
            at: 2,
            wrote: 0,
            ordered: true
        }
    );
    assert_eq!(
        device.deliver(0, 1, 1),
        Delivered::First {
            at: 0,
            wrote: 0,
            ordered: false
        }
    );
    assert_eq!(device.deliver(1, 1, 1), Delivered::Invented, "it went to 2");
    assert_eq!(device.deliver(9, 1, 1), Delivered::Invented, "never sent");
}

#[test]
fn a_fresh_session_repeats_what_was_not_covered_and_nothing_else() {
    let mut device = device();
    device.queue.push_back(Out::Typing(0));
    device.send(1);
    device.queue.push_back(Out::Answer(b"<iq/>"[..].into()));
    device.written = 3;
    device.begin();
    assert_eq!(device.written, 0);
    let kinds: Vec<bool> = device
        .queue
        .iter()
        .map(|out| matches!(out, Out::Message(0)))
        .collect();
    assert_eq!(kinds, [false, true], "presence, then the message");
}
