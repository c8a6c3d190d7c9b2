//! Faults in sessions, keys, wake-ups and recovery.

use super::{Drained, Edit, Event, Heal, Kind, Line, Note, Rule};

const SECOND: u64 = 1_000_000_000;

pub(super) fn kinds() -> Vec<Kind> {
    let kind = |name, rules, seed_in| Kind {
        name,
        rules,
        seed_in,
    };
    vec![
        kind("h goes back", &[Rule::R6], h_back),
        kind("h beyond what was sent", &[Rule::R6], h_beyond),
        kind("h of a resume too low", &[Rule::R6], resume_back),
        kind("stale connection delivers", &[Rule::R7], stale_delivery),
        kind("stale connection acknowledges", &[Rule::R7], stale_ack),
        kind("drain too late", &[Rule::R9], late_drain),
        kind("never drain", &[Rule::R9], never_drained),
        kind("deliver after the drain", &[Rule::R9], after_drain),
        kind("key twice", &[Rule::R11], key_twice),
        kind("signed prekey goes back", &[Rule::R11], key_back),
        kind("bundle badly signed", &[Rule::R11], key_unsigned),
        kind("push missing", &[Rule::R12], no_push),
        kind("push badly signed", &[Rule::R12], push_unsigned),
        kind("push at another endpoint", &[Rule::R12], push_elsewhere),
        kind("push id changes on retry", &[Rule::R12], push_renamed),
    ]
}

fn h_back(edit: &mut Edit) -> bool {
    for at in edit.places(|event| matches!(event, Event::H(it) if it.value > 0)) {
        let Event::H(it) = edit.event(at).clone() else {
            continue;
        };
        let mut lower = it.clone();
        lower.value -= 1;
        edit.insert((at.0, at.1 + 1), Event::H(lower));
        return true;
    }
    false
}

fn h_beyond(edit: &mut Edit) -> bool {
    // The last of a session, so that the next is not lower.
    for at in edit.places(|event| matches!(event, Event::H(_))) {
        let Event::H(it) = edit.event(at).clone() else {
            continue;
        };
        let later = edit.file(at.0)[at.1 + 1..]
            .iter()
            .find_map(|line| match &line.event {
                Event::H(next) if next.device == it.device => Some(false),
                Event::Resume(next) if next.device == it.device => Some(false),
                Event::Bind(next) if next.device == it.device => Some(true),
                _ => None,
            });
        if later != Some(false) {
            let Event::H(it) = edit.event_mut(at) else {
                return false;
            };
            it.value = it.sent + 1;
            return true;
        }
    }
    false
}

fn resume_back(edit: &mut Edit) -> bool {
    for at in edit.places(|event| matches!(event, Event::Resume(it) if it.h > 0)) {
        let Event::Resume(it) = edit.event(at).clone() else {
            continue;
        };
        let last = edit.file(at.0)[..at.1]
            .iter()
            .rev()
            .find_map(|line| match &line.event {
                Event::H(h) if h.device == it.device => Some(h.value),
                Event::Bind(bind) if bind.device == it.device => Some(0),
                Event::Resume(resume) if resume.device == it.device => Some(resume.h),
                _ => None,
            });
        if let Some(last @ 1..) = last {
            let Event::Resume(it) = edit.event_mut(at) else {
                return false;
            };
            it.h = last - 1;
            return true;
        }
    }
    false
}

/// A copy comes over the connection before, on which the message had not been acknowledged.
fn stale_delivery(edit: &mut Edit) -> bool {
    for at in edit.places(|event| matches!(event, Event::Deliver(it) if it.copy)) {
        let Event::Deliver(copy) = edit.event(at).clone() else {
            continue;
        };
        let old = edit.file(at.0)[..at.1]
            .iter()
            .rev()
            .find_map(|line| match &line.event {
                Event::Deliver(it)
                    if (it.from, &it.id, it.to) == (copy.from, &copy.id, copy.to) =>
                {
                    Some(it.epoch)
                }
                _ => None,
            });
        let acked = edit.ack_after(at, copy.to, copy.epoch);
        if let (Some(epoch), Some(acked)) = (old, acked)
            && epoch + 2 > copy.epoch
            && epoch < copy.epoch
        {
            let stale = super::Deliver { epoch, ..copy };
            edit.insert_delivery((at.0, acked + 1), stale);
            return true;
        }
    }
    false
}

fn stale_ack(edit: &mut Edit) -> bool {
    for at in edit.places(|event| matches!(event, Event::Ok(it) if it.epoch > 1)) {
        let Event::Ok(it) = edit.event(at).clone() else {
            continue;
        };
        // Something was acknowledged over the newer one already.
        let heard = edit.file(at.0)[..at.1]
            .iter()
            .any(|line| match &line.event {
                Event::H(h) => (h.device, h.epoch) == (it.from, it.epoch),
                Event::Ok(ok) => (ok.from, ok.epoch) == (it.from, it.epoch),
                _ => false,
            });
        if heard {
            let Event::Ok(it) = edit.event_mut(at) else {
                return false;
            };
            it.epoch -= 1;
            return true;
        }
    }
    false
}

fn late_drain(edit: &mut Edit) -> bool {
    let places = edit.places(|event| matches!(event, Event::Drained(_)));
    let (file, line) = places[0];
    for it in edit.sample.files[file].iter_mut().skip(line) {
        it.at += 61 * SECOND;
    }
    true
}

fn never_drained(edit: &mut Edit) -> bool {
    let (file, line) = edit.places(|event| matches!(event, Event::Drained(_)))[0];
    edit.sample.files[file].remove(line);
    let at = edit.sample.files[file].last().unwrap().at + 61 * SECOND;
    let text = "the run gave up waiting".into();
    let event = Event::Note(Note { text });
    edit.sample.files[file].push(Line { at, event });
    true
}

/// The drain stands before the last delivery.
fn after_drain(edit: &mut Edit) -> bool {
    for at in edit.places(|event| matches!(event, Event::Drained(_))) {
        let Event::Drained(Drained { device }) = *edit.event(at) else {
            continue;
        };
        let lines = edit.file(at.0);
        let healed = lines
            .iter()
            .position(|line| line.event == Event::Heal(Heal {}))
            .unwrap();
        let last = lines
            .iter()
            .rposition(|line| matches!(&line.event, Event::Deliver(it) if it.to == device));
        if let Some(last) = last.filter(|last| *last > healed) {
            let event = edit.sample.files[at.0].remove(at.1).event;
            edit.insert((at.0, last), event);
            return true;
        }
    }
    false
}

fn key_twice(edit: &mut Edit) -> bool {
    let (file, line) = edit.places(|event| matches!(event, Event::Prekey(_)))[0];
    let again = edit.event((file, line)).clone();
    let to = (file + 1) % edit.sample.files.len();
    let Event::Prekey(mut again) = again else {
        return false;
    };
    // Somebody of another process is given it at that process's end, where versions are highest.
    again.by = u32::try_from(to).unwrap() * super::super::sample::DEVICES;
    again.asked = 0;
    let end = edit.file(to).len() - 1;
    edit.insert((to, end), Event::Prekey(again));
    true
}

fn key_back(edit: &mut Edit) -> bool {
    for at in edit.places(|event| matches!(event, Event::Prekey(it) if it.version > 1)) {
        let Event::Prekey(it) = edit.event(at).clone() else {
            continue;
        };
        let mut older = it.clone();
        older.version -= 1;
        older.key = Some(1 << 50);
        older.asked = edit.file(at.0)[at.1].at + 1;
        let line = Line {
            at: older.asked,
            event: Event::Prekey(older),
        };
        edit.sample.files[at.0].insert(at.1 + 1, line);
        return true;
    }
    false
}

fn key_unsigned(edit: &mut Edit) -> bool {
    let at = edit.places(|event| matches!(event, Event::Prekey(_)))[0];
    let Event::Prekey(it) = edit.event_mut(at) else {
        return false;
    };
    it.sig_ok = false;
    true
}

fn no_push(edit: &mut Edit) -> bool {
    let device = edit.sample.due[0];
    edit.remove_all(|event| matches!(event, Event::Push(it) if it.to == device));
    true
}

fn push_unsigned(edit: &mut Edit) -> bool {
    let calls = edit.places(|event| matches!(event, Event::Push(it) if it.attempt == 2));
    let Some(Event::Push(it)) = calls.first().map(|at| edit.event_mut(*at)) else {
        return false;
    };
    it.sig_ok = false;
    true
}

fn push_elsewhere(edit: &mut Edit) -> bool {
    let calls = edit.places(|event| matches!(event, Event::Push(_)));
    let Event::Push(it) = edit.event_mut(calls[0]) else {
        return false;
    };
    it.endpoint = "push-9".into();
    true
}

fn push_renamed(edit: &mut Edit) -> bool {
    let calls = edit.places(|event| matches!(event, Event::Push(it) if it.attempt == 2));
    let Some(Event::Push(it)) = calls.first().map(|at| edit.event_mut(*at)) else {
        return false;
    };
    it.wake.push_str("-again");
    true
}
