//! The second reading: all that is known of some senders' messages, judged together.
//!
//! Takes the records of one partition and gives findings of R1 to R5, R8, R10, R11 and R12. A
//! sender's records are in the order of its file; deliveries are brought into the order of theirs.
//! Lines of two files are never compared.

mod deliveries;
mod endings;

use foldhash::{HashMap, HashMapExt};

use super::CheckError;
use super::prekeys::Keys;
use super::record::{Delivery, Invocation, Key, Outcome, Record, Spot};
use super::recovery::Recovery;
use super::roster::Roster;
use super::scan::{FileFacts, Scan};
use super::wakes::Calls;
use crate::id::{Device, Digest};
use crate::verdict::Rule;

/// Some senders' messages.
pub(super) struct Partition<'a, 'b> {
    scan: &'a mut Scan<'b>,
    recovery: &'a mut Recovery,
    messages: Vec<Message>,
    index: HashMap<Key, u32>,
    deliveries: Vec<(Spot, Delivery)>,
    /// For each delivery the one of the same message before it, counted from 1.
    before: Vec<u32>,
    receipts: Vec<(Spot, Told)>,
    notices: Vec<(Spot, Told)>,
    pairs: HashMap<(Device, Device), Sending>,
}

/// A receipt or a notice.
#[derive(Clone, Copy)]
struct Told {
    key: Key,
    to: Device,
    of: Device,
    epoch: u32,
}

/// What is known of a message. Lines are in the sender's file, 0 if there is none.
struct Message {
    key: Key,
    to: Device,
    digest: Digest,
    file: u16,
    /// Where it was first sent.
    first_sent: u32,
    /// Where it may have its place among the others: later, if the client itself went back.
    last_place: u32,
    times: u32,
    at: u64,
    quiet: bool,
    outcome: Option<Outcome>,
    settled: u32,
    ok_at: u64,
    /// Some sending of it had no outcome.
    unsure: bool,
    /// Where the sending under way began.
    open: u32,
    notice: u32,
    notice_epoch: u32,
    receipt: u32,
    receipt_epoch: u32,
    /// Its first delivery to whom it was for, counted from 1.
    delivered: u32,
    /// Its last one.
    latest: u32,
    /// The first acknowledgement, a line of the recipient's file.
    acked: u32,
}

/// A pair, by its sender.
#[derive(Default)]
struct Sending {
    epoch: u32,
    /// The newest message sent over this connection, and the newest accepted over any.
    newest: u32,
    newest_ok: u32,
}

impl<'a, 'b> Partition<'a, 'b> {
    pub(super) fn load(
        scan: &'a mut Scan<'b>,
        recovery: &'a mut Recovery,
        bytes: &[u8],
    ) -> Result<Self, CheckError> {
        let mut partition = Self {
            scan,
            recovery,
            messages: Vec::new(),
            index: HashMap::new(),
            deliveries: Vec::new(),
            before: Vec::new(),
            receipts: Vec::new(),
            notices: Vec::new(),
            pairs: HashMap::new(),
        };
        let (mut keys, mut calls) = (Keys::new(), Calls::new());
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let (spot, record) = Record::unpack(&mut bytes).ok_or(CheckError::Torn)?;
            match record {
                Record::Deliver(delivery) => partition.deliveries.push((spot, delivery)),
                Record::Invoke(invoked) => partition.invoke(spot, &invoked)?,
                Record::Notice { key, to, epoch } => {
                    let of = to;
                    partition.notices.push((spot, Told { key, to, of, epoch }));
                }
                Record::Prekey { target, key } => {
                    let scan = &mut *partition.scan;
                    keys.handed(spot, (target, key), (&scan.roster, &mut scan.findings));
                }
                Record::Push { .. } => calls.add(spot, &record),
                Record::Receipt { key, to, of, epoch } => {
                    partition.receipts.push((spot, Told { key, to, of, epoch }));
                }
                Record::Settle { key, outcome, at } => partition.settle(spot, key, outcome, at)?,
            }
        }
        calls.judge(partition.scan);
        partition.deliveries.sort_unstable_by_key(|(spot, _)| *spot);
        Ok(partition)
    }

    pub(super) fn judge(mut self) {
        self.receive_receipts();
        self.receive_notices();
        self.receive_deliveries();
        self.judge_receipts();
        self.judge_messages();
    }

    fn invoke(&mut self, spot: Spot, it: &Invocation) -> Result<(), CheckError> {
        if self.scan.roster.of(it.to).is_none() {
            return Err(self
                .scan
                .bad(spot, format!("device {} was never declared", it.to)));
        }
        let sending = self.pairs.entry((it.key.sender, it.to)).or_default();
        if sending.epoch != it.epoch {
            (sending.epoch, sending.newest) = (it.epoch, 0);
        }
        let Some(at) = self.index.get(&it.key) else {
            sending.newest = spot.line;
            let number = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
            self.index.insert(it.key, number);
            self.messages.push(Message::new(spot, it));
            return Ok(());
        };
        let at = usize::try_from(*at).unwrap_or(usize::MAX);
        let Some(message) = self.messages.get_mut(at) else {
            return Ok(());
        };
        if message.to != it.to || message.digest != it.digest {
            return Err(self
                .scan
                .bad(spot, "another message has the same id".into()));
        }
        self.scan.counts.resent += 1;
        message.times += 1;
        match message.outcome {
            None | Some(Outcome::Info) => {
                message.unsure = true;
                message.outcome = None;
            }
            Some(Outcome::Fail) => message.outcome = None,
            Some(Outcome::Ok) => {}
        }
        // The client sends it again after a later one that got through, or was sent over this very
        // connection: the place it had is not the only one it may have.
        if message.first_sent < sending.newest.max(sending.newest_ok) {
            message.last_place = spot.line;
        }
        sending.newest = sending.newest.max(message.first_sent);
        message.close(spot.line, self.scan.files.get_mut(usize::from(spot.file)));
        message.open = spot.line;
        Ok(())
    }

    fn settle(
        &mut self,
        spot: Spot,
        key: Key,
        outcome: Outcome,
        at: u64,
    ) -> Result<(), CheckError> {
        let number = self
            .index
            .get(&key)
            .map(|at| usize::try_from(*at).unwrap_or(usize::MAX));
        let Some(message) = number.and_then(|at| self.messages.get_mut(at)) else {
            return Err(self
                .scan
                .bad(spot, "the outcome of a message that was never sent".into()));
        };
        message.close(spot.line, self.scan.files.get_mut(usize::from(spot.file)));
        let before = message.outcome;
        match (before, outcome) {
            (Some(Outcome::Ok | Outcome::Fail), Outcome::Info)
            | (Some(Outcome::Ok), Outcome::Ok) => {
                return Ok(());
            }
            (_, Outcome::Info) => message.unsure = true,
            (_, Outcome::Ok) => message.ok_at = at,
            (_, Outcome::Fail) => {}
        }
        if outcome == Outcome::Ok {
            let sending = self.pairs.entry((key.sender, message.to)).or_default();
            sending.newest_ok = sending.newest_ok.max(message.first_sent);
        }
        let sent = Spot {
            file: message.file,
            line: message.first_sent,
        };
        let earlier = Spot {
            line: message.settled,
            ..sent
        };
        let broken = match (before, outcome) {
            (Some(Outcome::Ok), Outcome::Fail) => "was refused after the h that covered it",
            (Some(Outcome::Fail), Outcome::Ok) => "was accepted after it had been refused",
            _ => {
                message.outcome = Some(outcome);
                message.settled = spot.line;
                return Ok(());
            }
        };
        self.scan.findings.broken(Rule::R6, || {
            let who = self.scan.roster.name(key.sender);
            (
                format!("a message of {who} {broken}"),
                vec![sent, earlier, spot],
            )
        });
        Ok(())
    }

    fn message(&self, key: Key) -> Option<&Message> {
        let at = usize::try_from(*self.index.get(&key)?).ok()?;
        self.messages.get(at)
    }

    fn message_mut(&mut self, key: Key) -> Option<&mut Message> {
        let at = usize::try_from(*self.index.get(&key)?).ok()?;
        self.messages.get_mut(at)
    }

    /// A delivery by its number, counted from 1.
    fn delivery(&self, number: u32) -> Option<&(Spot, Delivery)> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.deliveries.get(at)
    }

    /// The file that tells all a device did; none if what it did is not, or not all, known.
    fn whole_file(&self, device: Device) -> Option<&FileFacts> {
        let owner = self.scan.roster.of(device)?.owner?;
        let facts = self.scan.files.get(usize::from(owner))?;
        facts.whole().then_some(facts)
    }

    const fn roster(&self) -> &Roster {
        &self.scan.roster
    }

    /// A finding about a message, with its own events and the deliveries of its pair around it.
    fn broken(
        &mut self,
        rule: Rule,
        key: Key,
        more: &[Spot],
        what: impl FnOnce(&Roster) -> String,
    ) {
        let mut findings =
            std::mem::replace(&mut self.scan.findings, super::findings::Findings::new(0));
        findings.broken(rule, || {
            let mut spots = self.spots(key);
            spots.extend_from_slice(more);
            (what(&self.scan.roster), spots)
        });
        self.scan.findings = findings;
    }

    fn spots(&self, key: Key) -> Vec<Spot> {
        let Some(message) = self.message(key) else {
            return Vec::new();
        };
        let lines = [
            message.first_sent,
            message.last_place,
            message.settled,
            message.notice,
            message.receipt,
        ];
        let file = message.file;
        let mut spots: Vec<_> = lines.into_iter().map(|line| Spot { file, line }).collect();
        let (mut earlier, mut later) = (None, None);
        for (spot, delivery) in &self.deliveries {
            if delivery.key == key {
                let file = spot.file;
                spots.extend([
                    *spot,
                    Spot {
                        file,
                        line: delivery.acked,
                    },
                ]);
                continue;
            }
            let near = (delivery.key.sender, delivery.to) == (key.sender, message.to);
            let Some(other) = self.message(delivery.key).filter(|_| near) else {
                continue;
            };
            let place = other.first_sent;
            if place < message.first_sent {
                earlier = earlier.max(Some((place, *spot)));
            } else if later.is_none_or(|(nearest, _)| place < nearest) {
                later = Some((place, *spot));
            }
        }
        spots.extend(earlier.into_iter().chain(later).map(|(_, spot)| spot));
        spots
    }
}

impl Message {
    const fn new(spot: Spot, it: &Invocation) -> Self {
        Self {
            key: it.key,
            to: it.to,
            digest: it.digest,
            file: spot.file,
            first_sent: spot.line,
            last_place: spot.line,
            times: 1,
            at: it.at,
            quiet: it.quiet,
            outcome: None,
            settled: 0,
            ok_at: 0,
            unsure: false,
            open: spot.line,
            notice: 0,
            notice_epoch: 0,
            receipt: 0,
            receipt_epoch: 0,
            delivered: 0,
            latest: 0,
            acked: 0,
        }
    }

    /// Its sending under way is over: it was in flight at the faults since.
    fn close(&mut self, line: u32, facts: Option<&mut FileFacts>) {
        let open = std::mem::take(&mut self.open);
        if let (true, Some(facts)) = (open > 0, facts) {
            let from = facts.faults.partition_point(|fault| fault.line < open);
            for fault in facts.faults.iter_mut().skip(from) {
                if fault.line >= line {
                    break;
                }
                fault.in_flight += 1;
            }
        }
    }
}
