//! Faults in what becomes of messages.

use super::{
    At, Deliver, Device, Edit, Event, Fail, Id, Kind, Passed, Receipt, ReceiptKind, Rng, Rule,
    partner, sent,
};

pub(super) fn kinds() -> Vec<Kind> {
    let kind = |name, rules, seed_in| Kind {
        name,
        rules,
        seed_in,
    };
    vec![
        kind("drop", &[Rule::R1], drop_one),
        kind("acknowledge too early", &[Rule::R1], early),
        kind("lose the failure notice", &[Rule::R1], no_notice),
        kind("give up what was delivered", &[Rule::R1], given_up),
        kind("invent", &[Rule::R2], invent),
        kind("corrupt", &[Rule::R2], corrupt),
        kind("misroute", &[Rule::R1, Rule::R2], misroute),
        kind("deliver after fail", &[Rule::R2], after_fail),
        kind("spoof within a partner", &[Rule::R2], |edit| {
            spoof(edit, true)
        }),
        kind("spoof across partners", &[Rule::R8], |edit| {
            spoof(edit, false)
        }),
        kind("duplicate after the ack", &[Rule::R3], duplicate),
        kind("hand over a copy", &[Rule::R3], handed_over),
        kind("copy after the receipt", &[Rule::R3], forgotten),
        kind("swap", &[Rule::R4], swap),
        kind("fill a hole later", &[Rule::R5], fill_later),
        kind("refuse after the ack", &[Rule::R6], refused_late),
        kind("deliver across a block", &[Rule::R8], across_block),
        kind("receipt without ack", &[Rule::R10], receipt_unacked),
        kind("receipt before the ack", &[Rule::R10], receipt_early),
        kind("receipt twice", &[Rule::R10], receipt_twice),
    ]
}

fn drop_one(edit: &mut Edit) -> bool {
    let Some((at, it)) = edit.plain().pop() else {
        return false;
    };
    edit.remove_delivery(at);
    edit.drop_receipts(it.from, &it.id);
    true
}

/// A message of unknown outcome that got nowhere, acknowledged.
fn early(edit: &mut Edit) -> bool {
    for at in edit.places(|event| matches!(event, Event::Info(_))) {
        let Event::Info(it) = edit.event(at).clone() else {
            continue;
        };
        let notices = |event: &Event| matches!(event, Event::Notice(no) if no.id == it.id && no.to == it.from);
        if edit.deliveries(it.from, &it.id) > 0
            || edit.counts(it.from, &it.id, sent) > 1
            || !edit.places(notices).is_empty()
        {
            continue;
        }
        // Over the connection just begun.
        let found = edit.file(at.0)[..at.1]
            .iter()
            .rev()
            .find_map(|line| match &line.event {
                Event::Bind(bind) if bind.device == it.from => Some(bind.epoch),
                _ => None,
            });
        let (from, id, epoch) = (it.from, it.id, found.unwrap());
        *edit.event_mut(at) = Event::Ok(Passed { from, id, epoch });
        return true;
    }
    false
}

fn no_notice(edit: &mut Edit) -> bool {
    for at in edit.places(|event| matches!(event, Event::Notice(_))) {
        let Event::Notice(it) = edit.event(at).clone() else {
            continue;
        };
        if edit.counts(it.to, &it.id, super::ok) > 0 {
            edit.sample.files[at.0].remove(at.1);
            return true;
        }
    }
    false
}

fn given_up(edit: &mut Edit) -> bool {
    for at in edit.places(|event| matches!(event, Event::Receipt(_))) {
        let Event::Receipt(it) = edit.event(at).clone() else {
            continue;
        };
        let notice = entente_history::Notice {
            to: it.to,
            id: it.id,
            reason: "gone".into(),
            epoch: it.epoch,
        };
        edit.insert((at.0, at.1 + 1), Event::Notice(notice));
        return true;
    }
    false
}

fn invent(edit: &mut Edit) -> bool {
    let Some((at, mut it)) = edit.plain().pop() else {
        return false;
    };
    it.id = match it.id {
        Id::Foreign(_) => Id::Foreign("nobody's".into()),
        Id::Own { .. } => Id::own(it.from, 1 << 40),
    };
    edit.insert_delivery(at, it);
    true
}

fn corrupt(edit: &mut Edit) -> bool {
    let bit = edit.rng.random_range(0..64);
    let Some((at, mut it)) = edit.plain().pop() else {
        return false;
    };
    it.digest.0 ^= 1 << bit;
    *edit.event_mut(at) = Event::Deliver(it);
    true
}

/// To another device of the process, which is connected.
fn misroute(edit: &mut Edit) -> bool {
    for (at, it) in edit.plain() {
        let other = edit
            .file(at.0)
            .iter()
            .skip(at.1 + 1)
            .find_map(|line| match &line.event {
                Event::Deliver(next) if next.to != it.to && next.from != it.from => {
                    Some(next.clone())
                }
                _ => None,
            });
        let began = |line: &super::Line, device: Device, epoch: u32| match &line.event {
            Event::Bind(it) => (it.device, it.epoch) == (device, epoch),
            Event::Resume(it) => (it.device, it.epoch) == (device, epoch),
            _ => false,
        };
        let Some(other) = other else {
            continue;
        };
        let there = edit.file(at.0)[..at.1]
            .iter()
            .any(|line| began(line, other.to, other.epoch));
        if !there {
            continue;
        }
        let mut wrong = edit.remove_delivery(at);
        edit.drop_receipts(it.from, &it.id);
        (wrong.to, wrong.epoch) = (other.to, other.epoch);
        // Receipts may have stood before it.
        let line = edit
            .file(at.0)
            .iter()
            .position(|line| line.event == Event::Deliver(other.clone()));
        edit.insert_delivery((at.0, line.unwrap()), wrong);
        return true;
    }
    false
}

/// Refused, by what the sender was told; and delivered.
fn after_fail(edit: &mut Edit) -> bool {
    let Some((_, it)) = edit.plain().pop() else {
        return false;
    };
    let oks =
        edit.places(|event| matches!(event, Event::Ok(ok) if ok.from == it.from && ok.id == it.id));
    let (from, id, reason) = (it.from, it.id, "policy-violation".into());
    *edit.event_mut(oks[0]) = Event::Fail(Fail { from, id, reason });
    true
}

fn spoof(edit: &mut Edit, same: bool) -> bool {
    for (at, mut it) in edit.plain() {
        if matches!(it.id, Id::Foreign(_)) {
            continue;
        }
        let devices = super::super::sample::DEVICES * super::super::sample::PROCESSES;
        let other = (0..devices)
            .find(|other| *other != it.from && (partner(*other) == partner(it.from)) == same);
        it.from = other.unwrap();
        *edit.event_mut(at) = Event::Deliver(it);
        return true;
    }
    false
}

fn duplicate(edit: &mut Edit) -> bool {
    let Some((at, mut it)) = edit.plain().pop() else {
        return false;
    };
    let acked = edit.ack_after(at, it.to, it.epoch).unwrap();
    it.copy = true;
    edit.insert_delivery((at.0, acked + 1), it);
    true
}

fn handed_over(edit: &mut Edit) -> bool {
    let copies = edit.places(|event| matches!(event, Event::Deliver(it) if it.copy));
    let Some(at) = copies.first().copied() else {
        return false;
    };
    let Event::Deliver(it) = edit.event_mut(at) else {
        return false;
    };
    it.copy = false;
    true
}

/// What the gateway knew to be delivered comes again after the device connects anew.
fn forgotten(edit: &mut Edit) -> bool {
    for (at, mut it) in edit.plain() {
        let receipt = edit.file(at.0).iter().position(|line| {
            matches!(&line.event, Event::Receipt(receipt) if receipt.id == it.id && receipt.to == it.from)
        });
        let Some(receipt) = receipt else {
            continue;
        };
        let next = edit
            .file(at.0)
            .iter()
            .enumerate()
            .skip(receipt)
            .find_map(|(line, bind)| match &bind.event {
                Event::Bind(bind) if bind.device == it.to => Some((line, bind.epoch)),
                _ => None,
            });
        let Some((line, epoch)) = next else {
            continue;
        };
        (it.epoch, it.copy, it.delayed) = (epoch, true, false);
        edit.insert_delivery((at.0, line + 1), it);
        return true;
    }
    false
}

/// Two of a pair, one behind the other, before any of them is acknowledged.
fn neighbours(edit: &mut Edit) -> Option<(At, At)> {
    for (at, it) in edit.plain() {
        let acked = edit.ack_after(at, it.to, it.epoch)?;
        let next = (at.1 + 1..acked).find(|line| match edit.event((at.0, *line)) {
            Event::Deliver(next) => (next.from, next.to) == (it.from, it.to) && !next.copy,
            _ => false,
        });
        let Some(next) = next else {
            continue;
        };
        let Event::Deliver(second) = edit.event((at.0, next)) else {
            continue;
        };
        let once = edit.deliveries(second.from, &second.id) == 1
            && edit.counts(second.from, &second.id, sent) == 1;
        if once {
            return Some((at, (at.0, next)));
        }
    }
    None
}

fn swap(edit: &mut Edit) -> bool {
    let Some((one, two)) = neighbours(edit) else {
        return false;
    };
    let (first, second) = (edit.event(one).clone(), edit.event(two).clone());
    *edit.event_mut(one) = second;
    *edit.event_mut(two) = first;
    true
}

fn fill_later(edit: &mut Edit) -> bool {
    let Some((one, _)) = neighbours(edit) else {
        return false;
    };
    let it = edit.remove_delivery(one);
    edit.drop_receipts(it.from, &it.id);
    // Dropping receipts moved lines: the acknowledgement is found anew.
    let from = edit.file(one.0).iter().position(|line| {
        matches!(&line.event, Event::Deliver(next) if (next.to, next.epoch, next.from) == (it.to, it.epoch, it.from))
    });
    let start = from.map_or(one.1, |first| first.max(one.1.saturating_sub(3)));
    let acked = edit.ack_after((one.0, start), it.to, it.epoch).unwrap();
    edit.insert_delivery((one.0, acked + 1), it);
    true
}

fn refused_late(edit: &mut Edit) -> bool {
    let oks = edit.places(|event| matches!(event, Event::Ok(_)));
    let Some(at) = oks.first().copied() else {
        return false;
    };
    let Event::Ok(it) = edit.event(at).clone() else {
        return false;
    };
    let (from, id, reason) = (it.from, it.id, "resource-constraint".into());
    edit.insert((at.0, at.1 + 1), Event::Fail(Fail { from, id, reason }));
    true
}

/// The message that a block refused is accepted and delivered before the block is lifted.
fn across_block(edit: &mut Edit) -> bool {
    for at in edit.places(|event| matches!(event, Event::Block(it) if !it.on)) {
        let Event::Block(block) = edit.event(at).clone() else {
            continue;
        };
        let fail = (0..at.1).rev().find(
            |line| matches!(edit.event((at.0, *line)), Event::Fail(it) if it.from == block.peer),
        );
        let fail = (at.0, fail.unwrap());
        let Event::Fail(refused) = edit.event(fail).clone() else {
            continue;
        };
        let invoke = edit.places(|event| sent(event) == Some((refused.from, &refused.id)));
        let Event::Invoke(invoke) = edit.event(invoke[0]).clone() else {
            continue;
        };
        let epoch = |device: Device| {
            let lines = &edit.file(at.0)[..at.1];
            lines.iter().rev().find_map(|line| match &line.event {
                Event::Bind(it) if it.device == device => Some(it.epoch),
                Event::Resume(it) if it.device == device => Some(it.epoch),
                _ => None,
            })
        };
        let (sender, recipient) = (epoch(block.peer).unwrap(), epoch(block.by).unwrap());
        *edit.event_mut(fail) = Event::Ok(Passed {
            from: refused.from,
            id: refused.id.clone(),
            epoch: sender,
        });
        let delivery = Deliver {
            to: block.by,
            from: block.peer,
            id: refused.id,
            digest: invoke.digest,
            epoch: recipient,
            delayed: false,
            copy: false,
            seq: None,
        };
        edit.insert_delivery(at, delivery);
        return true;
    }
    false
}

fn receipt_for(edit: &mut Edit, wanted: impl Fn(&Event) -> bool) -> bool {
    for at in edit.places(wanted) {
        let (Event::Fail(Fail { from, id, .. }) | Event::Info(entente_history::Info { from, id })) =
            edit.event(at).clone()
        else {
            continue;
        };
        if edit.deliveries(from, &id) > 0 {
            continue;
        }
        let invoke = edit.places(|event| sent(event) == Some((from, &id)));
        let Event::Invoke(invoke) = edit.event(invoke[0]).clone() else {
            continue;
        };
        let receipt = Receipt {
            to: from,
            of: invoke.to,
            id,
            kind: ReceiptKind::Delivered,
            epoch: 1,
        };
        edit.insert((at.0, at.1 + 1), Event::Receipt(receipt));
        return true;
    }
    false
}

fn receipt_unacked(edit: &mut Edit) -> bool {
    receipt_for(edit, |event| {
        matches!(event, Event::Fail(_) | Event::Info(_))
    })
}

fn receipt_early(edit: &mut Edit) -> bool {
    for (at, it) in edit.plain() {
        let receipt = edit.file(at.0).iter().position(|line| {
            matches!(&line.event, Event::Receipt(receipt) if receipt.id == it.id && receipt.to == it.from)
        });
        if let Some(receipt) = receipt {
            let line = edit.sample.files[at.0].remove(receipt);
            edit.insert(at, line.event);
            return true;
        }
    }
    false
}

fn receipt_twice(edit: &mut Edit) -> bool {
    let receipts = edit.places(|event| matches!(event, Event::Receipt(_)));
    let Some(at) = receipts.first().copied() else {
        return false;
    };
    let event = edit.event(at).clone();
    edit.insert(at, event);
    true
}
