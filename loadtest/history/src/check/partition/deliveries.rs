//! What reached whom: R2, R3, R4, R5 and R8, and who should have been woken for it.

use foldhash::{HashMap, HashMapExt};

use super::{Delivery, Device, Key, Outcome, Partition, Rule, Spot};
use crate::check::wakes;

/// By pair: the place of the newest message delivered, and the number of its delivery.
type Newest = HashMap<(Device, Device), (u32, u32)>;

/// Copies of one message that a later copy is compared with.
const COPIES: usize = 64;

impl Partition<'_, '_> {
    pub(super) fn receive_deliveries(&mut self) {
        let mut newest = Newest::new();
        self.before = vec![0; self.deliveries.len()];
        let cases = u64::try_from(self.deliveries.len()).unwrap_or(u64::MAX);
        for rule in [Rule::R2, Rule::R3, Rule::R8] {
            self.scan.findings.judged(rule, cases);
        }
        for at in 0..self.deliveries.len() {
            let number = u32::try_from(at + 1).unwrap_or(u32::MAX);
            let Some((spot, delivery)) = self.delivery(number).copied() else {
                continue;
            };
            if !self.is_as_sent(spot, &delivery) {
                continue;
            }
            let Some(message) = self.message_mut(delivery.key) else {
                continue;
            };
            let earlier = std::mem::replace(&mut message.latest, number);
            if message.acked == 0 || (delivery.acked > 0 && delivery.acked < message.acked) {
                message.acked = delivery.acked;
            }
            if earlier == 0 {
                message.delivered = number;
            }
            if let Some(before) = self.before.get_mut(at) {
                *before = earlier;
            }
            if earlier == 0 {
                self.first(spot, &delivery, number, &mut newest);
            } else {
                self.copy(spot, &delivery, earlier);
            }
        }
    }

    /// R2, R8: false if it is not a delivery of a message to whom it was for.
    fn is_as_sent(&mut self, spot: Spot, it: &Delivery) -> bool {
        let Some(message) = self.message(it.key) else {
            let sender = self.roster().of(it.key.sender);
            if sender.is_some() && self.whole_file(it.key.sender).is_none() {
                self.scan.findings.unjudged(Rule::R2);
            } else {
                self.broken(Rule::R2, it.key, &[spot], |roster| {
                    format!("{} got a message that was never sent", roster.name(it.to))
                });
            }
            return false;
        };
        let (to, digest) = (message.to, message.digest);
        let sender = it.key.sender;
        if it.from != sender {
            let partner = |device| self.roster().of(device).map(|known| known.partner);
            let rule = match partner(it.from) {
                Some(claimed) if Some(claimed) != partner(sender) => Rule::R8,
                _ => Rule::R2,
            };
            self.broken(rule, it.key, &[spot], |roster| {
                let (true_one, claimed) = (roster.name(sender), roster.name(it.from));
                format!("a message of {true_one} was delivered as if from {claimed}")
            });
        }
        if it.to != to {
            self.broken(Rule::R2, it.key, &[spot], |roster| {
                format!(
                    "a message to {} reached {}",
                    roster.name(to),
                    roster.name(it.to)
                )
            });
            return false;
        }
        if it.digest != digest {
            self.broken(Rule::R2, it.key, &[spot], |roster| {
                format!(
                    "a message of {} arrived with another body",
                    roster.name(sender)
                )
            });
        }
        true
    }

    fn first(&mut self, spot: Spot, it: &Delivery, number: u32, newest: &mut Newest) {
        self.scan.counts.delivered += 1;
        let Some(message) = self.message(it.key) else {
            return;
        };
        let (place, last_place) = (message.first_sent, message.last_place);
        let (outcome, unsure, file) = (message.outcome, message.unsure, message.file);
        let (sent_at, ok_at, quiet) = (message.at, message.ok_at, message.quiet);
        let wake = it.delayed && !quiet && outcome == Some(Outcome::Ok) && file == spot.file;
        if wake {
            wakes::due(self.scan, spot, it, (sent_at, ok_at));
        }
        if file == spot.file {
            self.recovery
                .add(file, sent_at, it.at.saturating_sub(sent_at));
        }
        if outcome == Some(Outcome::Fail) && !unsure {
            self.broken(Rule::R2, it.key, &[spot], |roster| {
                format!(
                    "a message of {} was refused, and delivered",
                    roster.name(it.key.sender)
                )
            });
        }
        self.crosses_block(spot, it, (file, place));
        self.in_order(spot, it, (place, last_place, number), newest);
    }

    /// R4, R5. Compares places in the sender's file for deliveries in the recipient's order.
    fn in_order(
        &mut self,
        spot: Spot,
        it: &Delivery,
        (place, last_place, number): (u32, u32, u32),
        newest: &mut Newest,
    ) {
        self.scan.findings.judged(Rule::R4, 1);
        self.scan.findings.judged(Rule::R5, 1);
        let top = newest.entry((it.key.sender, it.to)).or_default();
        let (top_place, top_number) = *top;
        if place > top_place {
            *top = (place, number);
        }
        if last_place >= top_place {
            return;
        }
        let Some((there, later)) = self.delivery(top_number).copied() else {
            return;
        };
        let closed = later.acked > 0 && later.acked < spot.line;
        let (rule, how) = if closed {
            (
                Rule::R5,
                "after a later one had been delivered and acknowledged",
            )
        } else {
            (Rule::R4, "after a later one")
        };
        let file = there.file;
        let acked = Spot {
            file,
            line: later.acked,
        };
        self.broken(rule, it.key, &[there, acked, spot], |roster| {
            let (from, to) = (roster.name(it.key.sender), roster.name(it.to));
            format!("a message of {from} reached {to} {how}")
        });
    }

    /// R8: sent and delivered while a block stood, by one process's own order.
    fn crosses_block(&mut self, spot: Spot, it: &Delivery, (file, sent): (u16, u32)) {
        let spans = self.scan.blocks.get(&(it.to, it.key.sender));
        let crossed = spans.into_iter().flatten().find(|(there, on, off)| {
            let within = |line: u32| *on < line && line < *off;
            *there == file && file == spot.file && within(sent) && within(spot.line)
        });
        let Some((file, line, _)) = crossed.copied() else {
            return;
        };
        self.broken(Rule::R8, it.key, &[Spot { file, line }, spot], |roster| {
            let (from, to) = (roster.name(it.key.sender), roster.name(it.to));
            format!("a message of {from} reached {to}, who had blocked it")
        });
    }

    /// R3: the message had been delivered before.
    fn copy(&mut self, spot: Spot, it: &Delivery, earlier: u32) {
        self.scan.counts.wire_duplicates += 1;
        self.scan.counts.app_duplicates += u64::from(!it.copy);
        let told = self.acknowledged_in_time(spot, it, earlier);
        let how = if told {
            "over the connection over which it had acknowledged it"
        } else if self.receipt_before(spot, it) {
            "over a connection that began after the receipt for it"
        } else if !it.copy {
            "and its application was handed it again"
        } else {
            return;
        };
        let there = self.delivery(earlier).map(|(spot, _)| *spot);
        self.broken(Rule::R3, it.key, &[there.unwrap_or(spot), spot], |roster| {
            let (from, to) = (roster.name(it.key.sender), roster.name(it.to));
            format!("{to} got a message of {from} again, {how}")
        });
    }

    fn acknowledged_in_time(&self, spot: Spot, it: &Delivery, earlier: u32) -> bool {
        let mut number = earlier;
        for _ in 0..COPIES {
            let Some((_, other)) = self.delivery(number) else {
                return false;
            };
            if other.epoch == it.epoch && other.acked > 0 && other.acked < spot.line {
                return true;
            }
            let at = usize::try_from(number)
                .ok()
                .and_then(|at| at.checked_sub(1));
            number = at
                .and_then(|at| self.before.get(at))
                .copied()
                .unwrap_or_default();
        }
        false
    }

    /// The gateway had told the sender that the device has it, before the device connected anew.
    fn receipt_before(&self, spot: Spot, it: &Delivery) -> bool {
        let receipt = self
            .message(it.key)
            .filter(|message| message.file == spot.file && message.receipt > 0)
            .map(|message| message.receipt);
        let began = self
            .roster()
            .of(it.to)
            .and_then(|known| known.began(it.epoch));
        self.scan.options.receipt_settles
            && receipt
                .zip(began)
                .is_some_and(|(receipt, began)| receipt < began)
    }

    /// Whether a later message of the pair than this was delivered.
    pub(super) fn passed(&self, key: Key, newest: &HashMap<(Device, Device), u32>) -> bool {
        self.message(key).is_some_and(|message| {
            let newest = newest
                .get(&(key.sender, message.to))
                .copied()
                .unwrap_or_default();
            message.last_place < newest
        })
    }
}
