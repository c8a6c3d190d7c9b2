//! The fold: one record in, changed state and effects out.
//!
//! Pure: the same state and the same record give the same result on every machine. Time is the
//! newest append time of the log; ids and nonces come in the records.

mod accounts;
mod mailbox;
mod prekeys;

use entente_core::{Content, Counter, Epoch, Fault, FaultKind, ShardId};
use entente_log::Record as LogRecord;

use crate::effect::{Effect, Reply};
use crate::outbox::{OutputItem, Target};
use crate::record::{Command, Fenced, Output, Record, RecordError};
use crate::shard::Shard;
use crate::store::StoreError;

pub(crate) use self::prekeys::count;

/// Outputs of one source that may be held back for a missing one; an honest source re-sends from the
/// missing one on, so what is beyond may be dropped.
const MAX_HELD: usize = 1_024;

/// Records set aside that are kept, each in the slot of its offset: for a person who looks at the
/// newest, not an archive that anyone who can write to the log may fill.
pub(crate) const MAX_QUARANTINE: u64 = 256;

const UNKNOWN: Fault = Fault::new(FaultKind::NotFound, "the account is not enlisted");

impl Shard {
    /// Applies the next record.
    ///
    /// A record that is not ours or cannot be read is set aside with an [`Effect::Quarantined`]; the
    /// shard goes on. Records below [`Shard::next`] were applied before and are passed over.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read: the record is then half applied and the shard must be
    /// loaded anew.
    pub fn apply(&mut self, record: &LogRecord) -> Result<(), StoreError> {
        if record.offset < self.next {
            return Ok(());
        }
        self.next = record.offset.next();
        if record.appended > self.row.time {
            self.row.time = record.appended;
            self.row_dirty = true;
        }
        match Record::open(self.id(), &record.payload, &self.config.seal) {
            Ok(Record::Envelope(envelope)) => {
                // Whoever is here belongs here; only a stranger's place has to be worked out.
                let here = self.accounts.contains_key(&envelope.to)
                    || self.config.placement.of_account(envelope.to) == self.id();
                if here {
                    return self.stanza(envelope);
                }
                self.quarantine(record, RecordError::Misrouted);
            }
            Ok(Record::Commands(commands)) => return self.commands(commands),
            Ok(Record::Outputs(outputs)) => return self.outputs(outputs),
            Err(why) => self.quarantine(record, why),
        }
        Ok(())
    }

    fn quarantine(&mut self, record: &LogRecord, why: RecordError) {
        let slot = record.offset.value() % MAX_QUARANTINE;
        let row = (record.offset, &record.payload[..]);
        self.cells.write(crate::cells::key::quarantine(slot), &row);
        self.set_aside.insert(slot);
        self.effects.push(Effect::Quarantined {
            offset: record.offset,
            why,
        });
    }

    fn commands(&mut self, fenced: Fenced) -> Result<(), StoreError> {
        for command in fenced.commands {
            if let Command::Claim { nonce } = command {
                self.claim(fenced.epoch, nonce);
            } else if fenced.epoch == self.row.epoch {
                self.command(command)?;
            }
        }
        Ok(())
    }

    /// The first claim of an epoch wins; lower and equal ones change nothing.
    fn claim(&mut self, epoch: Epoch, nonce: [u8; 16]) {
        if epoch <= self.row.epoch {
            return;
        }
        self.row.epoch = epoch;
        #[cfg(feature = "mutants")]
        self.dedupe.forget();
        if self.row.dedupe_key.is_none() {
            self.row.dedupe_key = Some(nonce);
            self.dedupe.set_key(nonce);
        }
        self.row_dirty = true;
        self.effects.push(Effect::Claimed { epoch, nonce });
    }

    fn command(&mut self, command: Command) -> Result<(), StoreError> {
        match command {
            Command::Claim { .. } => Ok(()),
            Command::Open { account, session } => self.open(account, session),
            Command::Leave { account, epoch } => self.leave(account, epoch),
            Command::Rejoin {
                account,
                session,
                epoch,
            } => self.rejoin(account, session, epoch),
            Command::Resumable {
                account,
                epoch,
                digest,
            } => self.resumable(account, epoch, digest),
            Command::Settle {
                account,
                epoch,
                through,
                handled,
            } => self.settle(account, epoch, through, handled),
            Command::Enlist {
                request,
                number,
                enlistment,
            } => {
                let reply = self.enlist(number, *enlistment)?;
                self.answer(request, reply.map(Reply::Enlisted));
                Ok(())
            }
            Command::Unenlist { request, account } => {
                self.erase(account)?;
                self.answer(request, Ok(Reply::Done));
                Ok(())
            }
            Command::Upload {
                request,
                account,
                keys,
            } => {
                let reply = self.upload(account, *keys)?;
                self.answer(request, reply.map(Reply::Count));
                Ok(())
            }
            Command::Take { request, target } => {
                let reply = self.take(target)?;
                self.answer(request, reply.map(|bundle| Reply::Bundle(Box::new(bundle))));
                Ok(())
            }
            Command::Block {
                request,
                account,
                clear,
                add,
                remove,
            } => {
                let reply = self.block(account, clear, &add, &remove)?;
                self.answer(request, reply.map(|()| Reply::Done));
                Ok(())
            }
            Command::Contacted { account, peers } => {
                let now = self.row.time;
                if let Some(found) = self.account(account)? {
                    peers.into_iter().for_each(|peer| found.meet(peer, now));
                }
                Ok(())
            }
            Command::Expire { account } => self.expire(account),
            Command::Silent { account } => self.silent(account),
            Command::Sent { target, through } => {
                self.sent(target, through);
                Ok(())
            }
        }
    }

    fn answer(&mut self, request: u64, reply: Result<Reply, Fault>) {
        self.effects.push(Effect::Answer { request, reply });
    }

    fn sent(&mut self, target: Target, through: Counter) {
        if let Some(outbox) = self.outboxes.get_mut(&target) {
            outbox.sent(through);
        }
    }

    /// Takes the next output of each source; ignores what came before; holds what came too early.
    fn outputs(&mut self, outputs: Vec<Output>) -> Result<(), StoreError> {
        for output in outputs {
            let source = output.source;
            let inbox = self.inboxes.entry(source).or_default();
            if output.counter <= inbox.last {
                continue;
            }
            if inbox.held.len() < MAX_HELD {
                inbox.held.insert(output.counter, output);
                inbox.dirty = true;
            } else if output.counter == inbox.last.next() {
                inbox.held.insert(output.counter, output);
            }
            self.take_held(source)?;
        }
        Ok(())
    }

    fn take_held(&mut self, source: ShardId) -> Result<(), StoreError> {
        loop {
            let Some(inbox) = self.inboxes.get_mut(&source) else {
                return Ok(());
            };
            let Some(output) = inbox.held.remove(&inbox.last.next()) else {
                return Ok(());
            };
            inbox.last = output.counter;
            inbox.dirty = true;
            self.state_to(output.to, output.content)?;
        }
    }

    /// Sends gateway-made content to an account, here or in its own shard.
    fn emit(&mut self, to: entente_core::AccountId, content: Content) -> Result<(), StoreError> {
        let shard = self.config.placement.of_account(to);
        if shard == self.id() {
            return self.state_to(to, content);
        }
        let outbox = self.outboxes.entry(Target::Shard(shard)).or_default();
        outbox.push(OutputItem::Content { to, content });
        self.row_dirty = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
