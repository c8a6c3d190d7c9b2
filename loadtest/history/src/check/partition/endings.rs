//! What became of each message in the end: R1, the holes of R5, and the receipts of R10.

use foldhash::{HashMap, HashMapExt};

use super::{Device, Key, Outcome, Partition, Rule, Spot, Told};

impl Partition<'_, '_> {
    /// Notes the first receipt of each message; R10 for those that speak of nothing.
    pub(super) fn receive_receipts(&mut self) {
        let receipts = std::mem::take(&mut self.receipts);
        self.scan.counts.receipts += u64::try_from(receipts.len()).unwrap_or(u64::MAX);
        for (spot, it) in &receipts {
            self.scan.findings.judged(Rule::R10, 1);
            let Some(message) = self.message_mut(it.key) else {
                self.broken(Rule::R10, it.key, &[*spot], |roster| {
                    format!(
                        "{} got a receipt for what was never sent",
                        roster.name(it.to)
                    )
                });
                continue;
            };
            let (to, sender) = (message.to, it.key.sender);
            if it.to != sender || it.of != to {
                self.broken(Rule::R10, it.key, &[*spot], |roster| {
                    let (told, of) = (roster.name(it.to), roster.name(it.of));
                    let (from, to) = (roster.name(sender), roster.name(to));
                    format!("{told} was told that {of} has a message of {from} to {to}")
                });
            } else if message.receipt == 0 {
                (message.receipt, message.receipt_epoch) = (spot.line, it.epoch);
            } else if message.receipt_epoch == it.epoch {
                let receipt = spot_of(message.file, message.receipt);
                self.broken(Rule::R10, it.key, &[receipt, *spot], |roster| {
                    format!("{} got two receipts for one message", roster.name(it.to))
                });
            } else {
                // Another connection: the first may not have been acknowledged.
                message.receipt_epoch = it.epoch;
            }
        }
        self.receipts = receipts;
    }

    /// R10: after the acknowledgement.
    pub(super) fn judge_receipts(&mut self) {
        let receipts = std::mem::take(&mut self.receipts);
        for (spot, it) in receipts {
            self.judge_receipt(spot, &it);
        }
    }

    fn judge_receipt(&mut self, spot: Spot, it: &Told) {
        let Some(message) = self.message(it.key) else {
            return;
        };
        let first = spot_of(message.file, message.receipt);
        if first != spot {
            return;
        }
        let (acked, to, file) = (message.acked, message.to, message.file);
        let how = if acked == 0 {
            if self.whole_file(to).is_none() {
                self.scan.findings.unjudged(Rule::R10);
                return;
            }
            "never acknowledged"
        } else {
            let owner = self.roster().of(to).and_then(|known| known.owner);
            if owner != Some(file) || acked < spot.line {
                return;
            }
            "had not acknowledged yet"
        };
        self.broken(Rule::R10, it.key, &[spot], |roster| {
            format!(
                "a receipt speaks of a message that {} {how}",
                roster.name(to)
            )
        });
    }

    /// Notes the first notice of each message.
    pub(super) fn receive_notices(&mut self) {
        let notices = std::mem::take(&mut self.notices);
        self.scan.counts.notices += u64::try_from(notices.len()).unwrap_or(u64::MAX);
        for (spot, it) in notices {
            let known = self.message_mut(it.key).filter(|_| it.key.sender == it.to);
            let Some(message) = known else {
                self.broken(Rule::R2, it.key, &[spot], |roster| {
                    format!(
                        "{} got a failure notice for what it never sent",
                        roster.name(it.to)
                    )
                });
                continue;
            };
            if message.notice == 0 {
                (message.notice, message.notice_epoch) = (spot.line, it.epoch);
            } else if message.notice_epoch == it.epoch {
                let first = spot_of(message.file, message.notice);
                self.broken(Rule::R1, it.key, &[first, spot], |roster| {
                    format!(
                        "{} got two failure notices for one message",
                        roster.name(it.to)
                    )
                });
            } else {
                message.notice_epoch = it.epoch;
            }
        }
    }

    /// R1, and R5 where R1 cannot tell.
    pub(super) fn judge_messages(&mut self) {
        let mut newest = HashMap::<(Device, Device), u32>::new();
        for message in self.messages.iter().filter(|message| message.delivered > 0) {
            let place = newest.entry((message.key.sender, message.to)).or_default();
            *place = message.first_sent.max(*place);
        }
        for at in 0..self.messages.len() {
            let Some(message) = self.messages.get_mut(at) else {
                continue;
            };
            // A sending whose outcome the file does not tell is in flight to its end.
            message.close(u32::MAX, self.scan.files.get_mut(usize::from(message.file)));
            let counts = &mut self.scan.counts;
            counts.invoke += 1;
            match message.outcome {
                None => counts.open += 1,
                Some(Outcome::Fail) => counts.fail += 1,
                Some(Outcome::Info) => counts.info += 1,
                Some(Outcome::Ok) => counts.ok += 1,
            }
            let once = message.times > 1 && message.latest == message.delivered;
            counts.suppressed += u64::from(once);
            let key = message.key;
            self.judge_message(key, &newest);
        }
    }

    fn judge_message(&mut self, key: Key, newest: &HashMap<(Device, Device), u32>) {
        let Some(message) = self.message(key) else {
            return;
        };
        let (to, outcome, notice) = (message.to, message.outcome, message.notice);
        let (delivered, acked) = (message.delivered > 0, message.acked > 0);
        if notice > 0 && (acked || outcome == Some(Outcome::Fail)) {
            let what = if acked {
                "was acknowledged by its recipient, and given up"
            } else {
                "was refused, and given up too"
            };
            self.broken(Rule::R1, key, &[], |roster| {
                format!("a message of {} {what}", roster.name(key.sender))
            });
        }
        if outcome != Some(Outcome::Ok) {
            return;
        }
        let drained = self
            .roster()
            .of(to)
            .is_some_and(|known| known.drained.is_some());
        let missing = !delivered && notice == 0;
        if drained && self.whole_file(key.sender).is_some() {
            self.scan.findings.judged(Rule::R1, 1);
            if missing {
                self.broken(Rule::R1, key, &[], |roster| {
                    let (from, to) = (roster.name(key.sender), roster.name(to));
                    format!("a message of {from} to {to} was accepted, and is lost")
                });
            }
            return;
        }
        if !missing {
            self.scan.findings.judged(Rule::R1, 1);
        } else if self.whole_file(key.sender).is_some() && self.passed(key, newest) {
            self.broken(Rule::R5, key, &[], |roster| {
                let (from, to) = (roster.name(key.sender), roster.name(to));
                format!("an accepted message of {from} to {to} is missing before a later one")
            });
        } else {
            self.scan.findings.unjudged(Rule::R1);
        }
    }
}

const fn spot_of(file: u16, line: u32) -> Spot {
    Spot { file, line }
}
