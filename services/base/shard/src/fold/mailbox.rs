//! Mailboxes and sessions: what arrives, who receives, what is settled, what failed.

use bytes::Bytes;
use entente_core::{
    AccountId, Class, Content, Delivered, Envelope, Epoch, FailReason, Failed, Sequence, SessionId,
    TraceContext,
};

use crate::account::{Entry, Meta, Resume};
use crate::effect::{Effect, Ended};
use crate::outbox::{OutputItem, Target, size_of};
use crate::shard::{SILENCE, Shard};
use crate::store::StoreError;

/// What an entry without ids counts for, in bytes.
const MIN_STATED_BYTES: usize = 64;
/// How long gateway-made content waits.
const STATED_LIFE: std::time::Duration = SILENCE;

impl Shard {
    /// A user's stanza: once per id, into the mailbox of its recipient, or a failure notice back.
    pub(super) fn stanza(&mut self, envelope: Envelope) -> Result<(), StoreError> {
        if envelope.class != Class::Durable || !self.is_new(&envelope) {
            return Ok(());
        }
        let (from, to) = (envelope.from, envelope.to);
        let size = u32::try_from(envelope.payload.len()).unwrap_or(u32::MAX);
        let refused = match self.account(to)? {
            // The same answer for an unknown account and for one that does not want this sender.
            None => Some(FailReason::Undeliverable),
            Some(found) if found.row.blocked.contains(&from) => Some(FailReason::Undeliverable),
            Some(found) if !found.has_room(size) => Some(FailReason::MailboxFull),
            Some(_) => None,
        };
        if let Some(why) = refused {
            return self.emit(
                from,
                Content::Failed(Failed {
                    to,
                    id: copy(&envelope.id),
                    why,
                }),
            );
        }
        let meta = Meta {
            from: Some(from),
            id: envelope.id,
            wants_receipt: envelope.wants_receipt,
            admitted: envelope.admitted,
            expires: envelope.expires,
            size,
        };
        let now = self.row.time;
        if let Some(found) = self.account(to)? {
            found.meet(from, now);
        }
        self.arrive(to, meta, Content::Stanza(envelope.payload), envelope.trace)
    }

    fn is_new(&mut self, envelope: &Envelope) -> bool {
        // The recipient counts too: RFC 6120 8.1.3 lets a client use an id again in its next stream.
        let fingerprint = if envelope.id.is_empty() {
            // Without an id only the place in the sender's session tells a repetition.
            let epoch = envelope.epoch.value().to_be_bytes();
            let position = envelope.position.value().to_be_bytes();
            self.fingerprint(envelope.to, &[&epoch, &position, &envelope.payload])
        } else {
            self.fingerprint(envelope.to, &[&envelope.id])
        };
        let sender = (envelope.from, envelope.from_device);
        let is_new = self.dedupe.insert(sender, fingerprint, self.row.time);
        self.repeated += u64::from(!is_new);
        is_new
    }

    /// What is kept of a stanza for an account to know it again.
    pub(crate) fn fingerprint(&self, to: AccountId, parts: &[&[u8]]) -> u64 {
        let partner = to.partner().number().to_be_bytes();
        let number = to.number().to_be_bytes();
        let mut all: Vec<&[u8]> = vec![&partner, &number];
        all.extend(parts);
        self.dedupe.fingerprint(&all)
    }

    /// Gateway-made content for an account of this shard. Never causes a notice itself.
    pub(super) fn state_to(&mut self, to: AccountId, content: Content) -> Result<(), StoreError> {
        let size = size_of(&content).max(MIN_STATED_BYTES);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let now = self.row.time;
        let Some(found) = self.account(to)? else {
            return Ok(());
        };
        let fits = match &content {
            // Owed: the sender was told that the stanza was accepted.
            Content::Failed(_) => found.has_notice_room(size),
            _ => found.has_room(size),
        };
        if !fits {
            return Ok(());
        }
        if let Content::Delivered(delivered) = &content {
            found.meet(delivered.by, now);
        }
        let meta = Meta {
            from: None,
            id: Bytes::new(),
            wants_receipt: false,
            admitted: now,
            expires: now.plus(STATED_LIFE),
            size,
        };
        self.arrive(to, meta, content, None)
    }

    fn arrive(
        &mut self,
        to: AccountId,
        meta: Meta,
        content: Content,
        trace: Option<TraceContext>,
    ) -> Result<(), StoreError> {
        // A delivered receipt alone wakes nobody: it can wait for the next message.
        let worth_waking = !matches!(content, Content::Delivered(_));
        let Some(found) = self.account(to)? else {
            return Ok(());
        };
        found.dirty = true;
        let sequence = found.push(meta, content);
        let wake = found.row.session.is_none() && !found.row.waking && worth_waking;
        found.row.waking |= wake;
        if found.row.session.is_some() {
            self.effects.push(Effect::Arrived {
                account: to,
                sequence,
                trace,
            });
        }
        if wake {
            self.wake(to, trace);
        }
        Ok(())
    }

    fn wake(&mut self, account: AccountId, trace: Option<TraceContext>) {
        self.outboxes
            .entry(Target::Wake)
            .or_default()
            .push(OutputItem::Wake { account, trace });
        self.row_dirty = true;
    }

    pub(super) fn open(
        &mut self,
        account: AccountId,
        session: SessionId,
    ) -> Result<(), StoreError> {
        let now = self.row.time;
        let Some(found) = self.account(account)? else {
            self.effects.push(Effect::Unknown { session });
            return Ok(());
        };
        // The command again, or asked again by who saw no answer: it is open.
        let again = found.row.session == Some(session);
        if !again {
            found.dirty = true;
            found.row.epoch = found.row.epoch.next();
            found.row.seen = now;
            found.row.waking = false;
        }
        let opened = Effect::Opened {
            account,
            session,
            epoch: found.row.epoch,
            waiting: u32::try_from(found.mailbox.len()).unwrap_or(u32::MAX),
            last: found.row.last,
        };
        let replaced = found.row.session.replace(session);
        if replaced.is_some() && !again {
            self.effects.push(Effect::Closed {
                account,
                session: replaced,
                why: Ended::Replaced,
            });
        }
        self.effects.push(opened);
        Ok(())
    }

    pub(super) fn leave(&mut self, account: AccountId, epoch: Epoch) -> Result<(), StoreError> {
        let now = self.row.time;
        let Some(found) = self
            .account(account)?
            .filter(|found| found.row.epoch == epoch)
        else {
            return Ok(());
        };
        if found.row.session.take().is_none() {
            return Ok(());
        }
        found.dirty = true;
        found.row.seen = now;
        let waits = |entry: &Entry| entry.meta.from.is_some();
        let wake = found.mailbox.iter().any(waits);
        found.row.waking = wake;
        if wake {
            // What waits keeps no trace.
            self.wake(account, None);
        }
        Ok(())
    }

    pub(super) fn rejoin(
        &mut self,
        account: AccountId,
        session: SessionId,
        epoch: Epoch,
    ) -> Result<(), StoreError> {
        let now = self.row.time;
        if let Some(found) = self
            .account(account)?
            .filter(|found| found.row.epoch == epoch && found.row.session.is_none())
        {
            found.row.session = Some(session);
            found.row.seen = now;
            found.row.waking = false;
            found.dirty = true;
            // Of what came meanwhile nobody was told.
            if let Some(newest) = found.mailbox.back() {
                let sequence = newest.sequence;
                let trace = None;
                self.effects.push(Effect::Arrived {
                    account,
                    sequence,
                    trace,
                });
            }
        }
        Ok(())
    }

    pub(super) fn resumable(
        &mut self,
        account: AccountId,
        epoch: Epoch,
        digest: [u8; 16],
    ) -> Result<(), StoreError> {
        if let Some(found) = self
            .account(account)?
            .filter(|found| found.row.epoch == epoch)
        {
            let handled = match found.row.resume {
                Some(resume) if resume.digest == digest => resume.handled,
                _ => 0,
            };
            found.row.resume = Some(Resume {
                epoch,
                digest,
                handled,
            });
            found.dirty = true;
        }
        Ok(())
    }

    /// The device has everything up to a sequence: the mailbox lets go, and senders who asked are
    /// told. This is the only place where a delivered receipt is made.
    pub(super) fn settle(
        &mut self,
        account: AccountId,
        epoch: Epoch,
        through: Sequence,
        handled: u32,
    ) -> Result<(), StoreError> {
        let at = self.row.time;
        let Some(found) = self
            .account(account)?
            .filter(|found| found.row.epoch == epoch)
        else {
            return Ok(());
        };
        if let Some(resume) = found
            .row
            .resume
            .as_mut()
            .filter(|resume| resume.epoch == epoch)
        {
            resume.handled = handled;
        }
        found.dirty = true;
        let mut receipts: Vec<(AccountId, Vec<Bytes>)> = Vec::new();
        for entry in found.settle(through) {
            let Some(from) = entry.meta.from.filter(|_| entry.meta.wants_receipt) else {
                continue;
            };
            match receipts.iter_mut().find(|(sender, _)| *sender == from) {
                Some((_, ids)) => ids.push(copy(&entry.meta.id)),
                None => receipts.push((from, vec![copy(&entry.meta.id)])),
            }
        }
        for (sender, ids) in receipts {
            self.emit(
                sender,
                Content::Delivered(Delivered {
                    by: account,
                    ids,
                    at,
                }),
            )?;
        }
        Ok(())
    }

    /// Fails the entries of an account whose time is over, if there are any by the log's time.
    pub(super) fn expire(&mut self, account: AccountId) -> Result<(), StoreError> {
        let now = self.row.time;
        let Some(found) = self.account(account)? else {
            return Ok(());
        };
        let ends = found.row.expires;
        let over = found.expire(now);
        found.dirty |= !over.is_empty() || found.row.expires != ends;
        self.fail(account, over, FailReason::Expired)
    }

    pub(super) fn fail(
        &mut self,
        to: AccountId,
        entries: Vec<Entry>,
        why: FailReason,
    ) -> Result<(), StoreError> {
        for entry in entries {
            if let Some(from) = entry.meta.from {
                let id = copy(&entry.meta.id);
                self.emit(from, Content::Failed(Failed { to, id, why }))?;
            }
        }
        Ok(())
    }
}

/// A slice shares the whole record; what outlives the record is copied out of it.
fn copy(id: &Bytes) -> Bytes {
    Bytes::copy_from_slice(id)
}
