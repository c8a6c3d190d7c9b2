//! What comes in, judged where it arrives.

use entente_history::{Deliver, Event, Fail, Handled, Id, Passed};

use crate::device::{Delivered, Out};
use crate::scenario::Arrivals;
use crate::tally::{Count, span};
use crate::wire::condition;
use crate::xml::{self, Kind, attribute, holds, number};

use super::Worker;
use super::fill::hash;

impl Worker {
    /// Takes one element that came over a device's line.
    pub(super) fn take(&self, me: usize, element: &[u8], now: u64) {
        let kind = xml::kind(element);
        let Some(device) = self.device(me) else {
            return;
        };
        match kind {
            Kind::Acknowledged(h) => self.cover(me, h, now),
            Kind::Requested => device.borrow_mut().asked = true,
            Kind::Message => {
                let mut at = device.borrow_mut();
                at.handled = at.handled.wrapping_add(1);
                drop(at);
                self.take_message(me, element, now);
            }
            Kind::Iq => {
                let mut at = device.borrow_mut();
                at.handled = at.handled.wrapping_add(1);
                drop(at);
                self.take_iq(me, element, now);
            }
            Kind::Presence => {
                let mut device = device.borrow_mut();
                device.handled = device.handled.wrapping_add(1);
            }
            Kind::Other => {}
        }
    }

    /// The server's `h`: what it covers is accepted.
    pub(super) fn cover(&self, me: usize, h: u32, now: u64) {
        let Some(device) = self.device(me) else {
            return;
        };
        let mut device = device.borrow_mut();
        let stage = self.stage();
        let more = usize::try_from(h.wrapping_sub(device.covered)).unwrap_or(usize::MAX);
        if let Some(history) = &self.common.history {
            let sent = u64::from(device.covered) + u64::try_from(device.written).unwrap_or(0);
            history.record(&Event::H(Handled {
                device: device.number,
                epoch: device.epoch,
                value: h.into(),
                sent,
            }));
        }
        if more > device.written {
            let kind = "h covers what was not sent".to_owned();
            self.tally.borrow_mut().error(stage, kind);
            return;
        }
        device.covered = h;
        let mut again = 0;
        for _ in 0..more {
            device.written -= 1;
            let Some(Out::Message(n)) = device.queue.pop_front() else {
                continue;
            };
            let Some((at, wrote)) = device.acknowledge(n) else {
                continue;
            };
            if let Some(history) = &self.common.history {
                history.record(&Event::Ok(Passed {
                    from: device.number,
                    id: Id::own(device.number, n.into()),
                    epoch: device.epoch,
                }));
            }
            let mut tally = self.tally.borrow_mut();
            tally.count(stage, Count::Acked);
            tally.second.ack.record_us(now.saturating_sub(at));
            let due = self.common.control.stage_of(at);
            let latencies = &mut tally.at(due).latencies.ack;
            latencies.record(
                span(now.saturating_sub(at)),
                span(now.saturating_sub(wrote)),
            );
            drop(tally);
            if device.is_over(n) {
                self.moved(false);
                again += 1;
            }
        }
        device.forget();
        drop(device);
        self.refill(me, again, now);
    }

    /// In a closed loop, what is over makes room.
    fn refill(&self, sender: usize, count: usize, now: u64) {
        let load = &self.common.scenario.load;
        if load.arrivals == Arrivals::Closed && self.stage().sends() {
            for _ in 0..count {
                self.send(sender, now);
            }
        }
    }

    fn take_message(&self, me: usize, element: &[u8], now: u64) {
        let mut marks = [0; 5];
        let id = attribute(element, b"id").unwrap_or_default();
        let Some(count) = self.marks(id, &mut marks) else {
            // Words of the server itself, or of somebody else.
            self.take_receipt(me, element);
            return;
        };
        let [sender, n, ..] = marks;
        if attribute(element, b"type") == Some(b"error") {
            self.take_error(me, (sender, n), element, now);
            return;
        }
        match (count, marks) {
            (2, _) => self.take_delivery(me, (sender, n), element, now),
            (5, [_, _, _, at, wrote]) => {
                let stage = self.common.control.stage_of(at);
                let mut tally = self.tally.borrow_mut();
                tally.at(self.stage()).counters.receipts += 1;
                let latencies = &mut tally.at(stage).latencies.receipt;
                latencies.record(
                    span(now.saturating_sub(at)),
                    span(now.saturating_sub(wrote)),
                );
            }
            _ => {}
        }
    }

    fn take_delivery(&self, me: usize, (sender, n): (u64, u64), element: &[u8], now: u64) {
        let stage = self.stage();
        let (Some(number), Ok(n)) = (u32::try_from(sender).ok(), u32::try_from(n)) else {
            return;
        };
        let Some(from) = self.index_of(number) else {
            self.tally.borrow_mut().at(stage).counters.corrupt += 1;
            return;
        };
        let (Some(device), Some(writer)) = (self.device(me), self.device(from)) else {
            return;
        };
        let mut device = device.borrow_mut();
        device.here += 1;
        device.came = now;
        let (epoch, returned, own, slow) =
            (device.epoch, device.returned, device.number, device.slow);
        drop(device);
        let to = u32::try_from(me).unwrap_or(u32::MAX);
        let delivered = writer.borrow_mut().deliver(n, to, epoch);
        if let Some(history) = &self.common.history {
            history.record(&Event::Deliver(Deliver {
                to: own,
                from: self.claimed(element).unwrap_or(number),
                id: Id::own(number, n.into()),
                digest: hash(self.travels(element)),
                epoch,
                delayed: holds(element, b"urn:xmpp:delay"),
                copy: matches!(delivered, Delivered::Copy | Delivered::Twice),
                seq: None,
            }));
        }
        let whole = self.is_whole(me, (number, n), element, delivered)
            && self.claimed(element) == Some(number);
        let mut tally = self.tally.borrow_mut();
        let counters = &mut tally.at(stage).counters;
        if !whole {
            counters.corrupt += 1;
        }
        match delivered {
            Delivered::Invented => counters.corrupt += u64::from(whole),
            Delivered::Copy => counters.wire_copies += 1,
            Delivered::Twice => counters.duplicates += 1,
            Delivered::First { at, wrote, ordered } => {
                counters.out_of_order += u64::from(!ordered);
                tally.count(stage, Count::Delivered);
                if at < returned {
                    tally.backlog.waits.record_us(now.saturating_sub(returned));
                } else if !slow && !self.is_noisy(from) {
                    let took = now.saturating_sub(at);
                    tally.second.delivery.record_us(took);
                    let due = self.common.control.stage_of(at);
                    let latencies = &mut tally.at(due).latencies.delivery;
                    latencies.record(span(took), span(now.saturating_sub(wrote)));
                }
                drop(tally);
                self.settle(from, n, now);
                self.receipt(me, from, n, (at, wrote));
            }
        }
    }

    /// A message was delivered or refused: it may be over.
    fn settle(&self, from: usize, n: u32, now: u64) {
        let Some(writer) = self.device(from) else {
            return;
        };
        let mut writer = writer.borrow_mut();
        if writer.is_over(n) {
            writer.forget();
            drop(writer);
            self.moved(false);
            self.refill(from, 1, now);
        }
    }

    fn receipt(&self, me: usize, from: usize, n: u32, (at, wrote): (u64, u64)) {
        if !self.chance(self.common.scenario.load.receipts) {
            return;
        }
        if let (Some(device), Ok(to)) = (self.device(me), u32::try_from(from)) {
            let receipt = Out::Receipt { to, n, at, wrote };
            device.borrow_mut().queue.push_back(receipt);
        }
    }

    fn take_error(&self, me: usize, (sender, n): (u64, u64), element: &[u8], now: u64) {
        let at = memchr::memmem::find(element, b"<error").and_then(|at| element.get(at..));
        let reason = condition(at.unwrap_or_default());
        let stage = self.stage();
        let Some(device) = self.device(me) else {
            return;
        };
        let mut device = device.borrow_mut();
        let (number, epoch) = (device.number, device.epoch);
        let Ok(n) = u32::try_from(n) else {
            return;
        };
        if u64::from(number) != sender {
            return;
        }
        let accepted = device.was_acknowledged(n);
        let news = device.fail(n);
        let over = news && device.is_over(n);
        drop(device);
        if let Some(history) = &self.common.history {
            let id = Id::own(number, n.into());
            history.record(&if accepted {
                let to = number;
                Event::Notice(entente_history::Notice {
                    to,
                    id,
                    reason: reason.clone(),
                    epoch,
                })
            } else {
                Event::Fail(Fail {
                    from: number,
                    id,
                    reason: reason.clone(),
                })
            });
        }
        if news {
            self.tally.borrow_mut().refused(stage, reason);
        }
        if over {
            self.settle(me, n, now);
        }
    }

    fn take_iq(&self, me: usize, element: &[u8], now: u64) {
        let id = attribute(element, b"id").unwrap_or_default();
        let kind = attribute(element, b"type").unwrap_or_default();
        if matches!(kind, b"get" | b"set") {
            self.answer_iq(me, element, id);
        } else if let Some(n) = id.strip_prefix(b"k").and_then(number) {
            self.take_bundle(me, n, element, kind == b"result", now);
        } else if id == b"u" && kind != b"result" {
            let kind = "keys refused".to_owned();
            self.tally.borrow_mut().error(self.stage(), kind);
        }
    }

    /// A client must answer requests (RFC 6120 8.2.3); servers ping with them.
    fn answer_iq(&self, me: usize, element: &[u8], id: &[u8]) {
        let (id, from) = (
            String::from_utf8_lossy(id),
            attribute(element, b"from").map(String::from_utf8_lossy),
        );
        let to = from.map(|from| format!(" to='{from}'")).unwrap_or_default();
        let quoted = id.contains(['\'', '<']) || to.matches('\'').count() > 2;
        if quoted {
            return;
        }
        let answer = if holds(element, b"urn:xmpp:ping") {
            format!("<iq xmlns='jabber:client' type='result' id='{id}'{to}/>")
        } else {
            format!(
                "<iq xmlns='jabber:client' type='error' id='{id}'{to}><error type='cancel'>\
                 <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            )
        };
        if let Some(device) = self.device(me) {
            let answer = Out::Answer(answer.into_bytes().into());
            device.borrow_mut().queue.push_back(answer);
        }
    }

    /// The device that the server says is the sender.
    fn claimed(&self, element: &[u8]) -> Option<u32> {
        let from = attribute(element, b"from")?;
        let bare = from.split(|byte| *byte == b'/').next()?;
        let mut marks = [0; 5];
        let id = attribute(element, b"id")?;
        self.marks(id, &mut marks)?;
        let number = u32::try_from(*marks.first()?).ok()?;
        let index = self.index_of(number)?;
        if self
            .addresses
            .get(index)
            .is_some_and(|address| **address == *bare)
        {
            return Some(number);
        }
        // Somebody else: rare, and worth a search.
        let other = self
            .addresses
            .iter()
            .position(|address| **address == *bare)?;
        Some(self.number(u32::try_from(other).ok()?))
    }

    /// The numbers of one of our ids, after the run's tag; says how many there are.
    pub(super) fn marks(&self, id: &[u8], marks: &mut [u64; 5]) -> Option<usize> {
        let rest = id
            .strip_prefix(self.common.tag.as_bytes())?
            .strip_prefix(b".")?;
        let mut count = 0;
        for part in rest.split(|byte| *byte == b'.') {
            let text = std::str::from_utf8(part).ok()?;
            *marks.get_mut(count)? = text.parse().ok()?;
            count += 1;
        }
        Some(count)
    }
}
