//! Sessions of a device in its own order: connections, acknowledgements both ways, blocks, drains.

use super::{Delivery, Key, Known, Record, Rule, Scan, Spot, UNACKED, Wrong};
use crate::event::{Bind, Block, Deliver, Devack, Drained, Handled, Resume, Unbind};
use crate::id::Device;

impl Scan<'_> {
    pub(super) fn bind(&mut self, spot: Spot, at: u64, it: &Bind) -> Result<(), Wrong> {
        let known = self.roster.acts(it.device, spot.file)?;
        let old = known.begin(it.epoch, spot.line, &it.node)?;
        known.h = 0;
        known.back(at);
        self.counts.binds += 1;
        self.give_up(old)
    }

    pub(super) fn resume(&mut self, spot: Spot, it: &Resume) -> Result<(), Wrong> {
        let known = self.roster.acts(it.device, spot.file)?;
        if known.epoch == 0 {
            let what = format!("device {} resumes what it never began", it.device);
            return Err(Wrong::Story(what));
        }
        let elsewhere = *known.node != *it.node && !known.node.is_empty() && !it.node.is_empty();
        let (last, heard) = (known.h, known.heard.1);
        let old = known.begin(it.epoch, spot.line, &it.node)?;
        known.h = last.max(it.h);
        known.offline = None;
        known.called = false;
        self.counts.resumes += 1;
        self.counts.takeovers += u64::from(elsewhere);
        self.findings.judged(Rule::R6, 1);
        if it.h < last {
            self.findings.broken(Rule::R6, || {
                let who = self.roster.name(it.device);
                let what = format!("{who} was told h {last}, and h {} when it resumed", it.h);
                (what, vec![heard, spot])
            });
        }
        self.give_up(old)
    }

    pub(super) fn unbind(&mut self, spot: Spot, at: u64, it: &Unbind) -> Result<(), Wrong> {
        let known = self.roster.acts(it.device, spot.file)?;
        begun(known, it.device, it.epoch)?;
        if it.epoch == known.epoch {
            known.live = false;
            known.offline = Some(at);
            known.called = false;
        }
        Ok(())
    }

    pub(super) fn deliver(&mut self, spot: Spot, at: u64, it: &Deliver) -> Result<(), Wrong> {
        let known = self.roster.acts(it.to, spot.file)?;
        begun(known, it.to, it.epoch)?;
        self.counts.deliver += 1;
        let delivery = Delivery {
            key: Key::new(&it.id, it.from),
            from: it.from,
            to: it.to,
            digest: it.digest,
            at,
            epoch: it.epoch,
            acked: 0,
            delayed: it.delayed,
            copy: it.copy,
        };
        let (acked, drained) = (known.acked, known.drained);
        match known.stream(it.epoch) {
            None => self.put(spot, &Record::Deliver(delivery), delivery.key.sender)?,
            Some(stream) => {
                stream.delivered += 1;
                stream.unacked.push_back((spot, delivery));
                self.roster.unacked += 1;
            }
        }
        if self.roster.unacked > UNACKED {
            let what = format!("{UNACKED} deliveries without an acknowledgement before this one");
            return Err(Wrong::Story(what));
        }
        self.findings.judged(Rule::R7, 1);
        if it.epoch < acked.0 {
            self.findings.broken(Rule::R7, || {
                let (who, old, new) = (self.roster.name(it.to), it.epoch, acked.0);
                let what = format!(
                    "{who} got a delivery over connection {old}, after it had acknowledged over {new}"
                );
                (what, vec![acked.1, spot])
            });
        }
        if let Some(there) = drained {
            self.findings.broken(Rule::R9, || {
                let who = self.roster.name(it.to);
                let what = format!("{who} got a delivery after it had drained");
                (what, vec![there, spot])
            });
        }
        Ok(())
    }

    pub(super) fn devack(&mut self, spot: Spot, it: &Devack) -> Result<(), Wrong> {
        let known = self.roster.acts(it.device, spot.file)?;
        begun(known, it.device, it.epoch)?;
        let newest = known.acked.0;
        let Some(stream) = known.stream(it.epoch) else {
            let what = format!(
                "connection {} of device {} is long over",
                it.epoch, it.device
            );
            return Err(Wrong::Story(what));
        };
        let (count, delivered, before) = (it.count, stream.delivered, stream.acked);
        if count > delivered || count < before {
            let what = format!(
                "device {} acknowledges {count} deliveries of {delivered}, after {before}",
                it.device
            );
            return Err(Wrong::Story(what));
        }
        stream.acked = count;
        let covered = usize::try_from(count - before).unwrap_or(usize::MAX);
        let covered: Vec<_> = stream.unacked.drain(..covered).collect();
        if it.epoch > newest {
            known.acked = (it.epoch, spot);
        }
        self.roster.unacked -= covered.len();
        for (there, delivery) in covered {
            let acked = spot.line;
            let record = Record::Deliver(Delivery { acked, ..delivery });
            self.put(there, &record, delivery.key.sender)?;
        }
        Ok(())
    }

    /// Deliveries that nobody will acknowledge any more.
    fn give_up(&mut self, old: Vec<(Spot, Delivery)>) -> Result<(), Wrong> {
        self.roster.unacked -= old.len();
        for (spot, delivery) in old {
            self.put(spot, &Record::Deliver(delivery), delivery.key.sender)?;
        }
        Ok(())
    }

    /// The gateway acknowledged something over a connection.
    pub(super) fn heard(&mut self, spot: Spot, device: Device, epoch: u32) -> Result<(), Wrong> {
        let known = self.roster.acts(device, spot.file)?;
        begun(known, device, epoch)?;
        let (newest, there) = known.heard;
        if epoch >= newest {
            known.heard = (epoch, spot);
            return Ok(());
        }
        self.findings.broken(Rule::R7, || {
            let who = self.roster.name(device);
            let what = format!(
                "{who} was acknowledged over connection {epoch}, after it had been over {newest}"
            );
            (what, vec![there, spot])
        });
        Ok(())
    }

    pub(super) fn handled(&mut self, spot: Spot, it: &Handled) -> Result<(), Wrong> {
        let there = self.roster.acts(it.device, spot.file)?.heard.1;
        self.heard(spot, it.device, it.epoch)?;
        let known = self.roster.acts(it.device, spot.file)?;
        let (value, last, current) = (it.value, known.h, it.epoch == known.epoch);
        if current {
            known.h = last.max(value);
        }
        self.findings.judged(Rule::R6, 1);
        let wrong = if value > it.sent {
            format!("was told h {value} of {} stanzas", it.sent)
        } else if current && value < last {
            format!("was told h {value} after h {last}")
        } else {
            return Ok(());
        };
        self.findings.broken(Rule::R6, || {
            let who = self.roster.name(it.device);
            (format!("{who} {wrong}"), vec![there, spot])
        });
        Ok(())
    }

    pub(super) fn block(&mut self, spot: Spot, it: &Block) -> Result<(), Wrong> {
        self.roster.acts(it.by, spot.file)?;
        let spans = self.blocks.entry((it.by, it.peer)).or_default();
        if it.on {
            spans.push((spot.file, spot.line, u32::MAX));
        } else if let Some((_, _, until)) = spans.last_mut() {
            *until = spot.line.min(*until);
        }
        Ok(())
    }

    pub(super) fn drained(&mut self, spot: Spot, at: u64, it: &Drained) -> Result<(), Wrong> {
        let known = self.roster.acts(it.device, spot.file)?;
        if known.drained.is_some() {
            return Err(Wrong::Story(format!("device {} drained before", it.device)));
        }
        known.drained = Some(spot);
        self.counts.drained += 1;
        let healed = self.files.last().and_then(|facts| facts.healed);
        let Some((healed, line)) = healed else {
            return Ok(());
        };
        self.findings.judged(Rule::R9, 1);
        let took = std::time::Duration::from_nanos(at - healed);
        if took > self.options.drain_within {
            self.findings.broken(Rule::R9, || {
                let (who, took) = (self.roster.name(it.device), took.as_secs());
                let what = format!("{who} drained only {took} s after the heal");
                (what, vec![Spot { line, ..spot }, spot])
            });
        }
        Ok(())
    }

    /// Who was connected, and neither drained in the time since the heal.
    pub(super) fn undrained(&mut self) {
        let mut late = Vec::new();
        for (device, known) in self.roster.devices() {
            let file = known
                .owner
                .and_then(|owner| self.files.get(usize::from(owner)));
            let Some(facts) = file.filter(|facts| facts.whole()) else {
                continue;
            };
            let within = u64::try_from(self.options.drain_within.as_nanos()).unwrap_or(u64::MAX);
            let due = facts
                .healed
                .is_some_and(|(healed, _)| facts.last - healed > within);
            if due && known.drained.is_none() && known.epoch > 0 {
                late.push(device);
            }
        }
        late.sort_unstable();
        for device in late {
            self.findings.judged(Rule::R9, 1);
            self.findings.broken(Rule::R9, || {
                let known = self.roster.of(device);
                let file = known.and_then(|known| known.owner).unwrap_or_default();
                let line = known
                    .and_then(|known| known.began.last())
                    .map_or(0, |began| began.1);
                let what = format!("{} never drained after the heal", self.roster.name(device));
                (what, vec![Spot { file, line }])
            });
        }
    }
}

fn begun(known: &Known, device: Device, epoch: u32) -> Result<(), String> {
    if epoch > 0 && known.began(epoch).is_some() {
        return Ok(());
    }
    Err(format!("device {device} has no connection {epoch} yet"))
}
