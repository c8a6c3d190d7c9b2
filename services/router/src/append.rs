//! append: from records to `Appended`, and what each outcome means.
//!
//! **Invariants**
//! - A stanza is done only when its batch is durable, or when its refusal is on the way to the edge.
//! - An unknown outcome is never told as accepted or refused: the session is closed, and the device
//!   sends again with the same id.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{AccountId, Counter, Fault, FaultKind, Position, SessionId};
use entente_log::LogError;
use entente_proto::edge::{CloseReason, EdgeId, ToEdge};
use entente_shard::{Command, Fenced, Output, OutputItem, Record, Target, WakeUp};
use tokio::time::Instant;

use crate::error::RouterError;
use crate::events::Step;
use crate::owner::{Busy, Owner};
use crate::twin::Refusal;

/// Outputs in one batch to one target.
const OUTPUT_BATCH: usize = 512;
/// Bytes of commands in one record: what comes at once from many callers must not outgrow a record.
const COMMAND_BYTES: usize = 256 * 1024;
/// Bytes in one batch for the log, beyond which another one follows: a turn may take more than a log
/// takes at once.
const BATCH_BYTES: usize = 1024 * 1024;
/// Bytes after which a batch of outputs takes no more: with the last one, far below what a log takes
/// as one record. A record that no log takes would be tried for ever.
const OUTPUT_BYTES: usize = 256 * 1024;

pub(crate) const FULL: Fault =
    Fault::new(FaultKind::Overloaded, "the gateway cannot store this now");
const UNAVAILABLE: Fault = Fault::new(
    FaultKind::Unavailable,
    "the gateway cannot store anything now",
);

/// For whom a record is appended.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// Commands of this owner, kept to be repeated if they were surely not appended.
    Commands(Vec<Command>),
    /// Outputs to a target.
    Outputs { target: Target, through: Counter },
    /// A device's stanza.
    Stanza {
        account: AccountId,
        serial: u64,
        position: Position,
        to: AccountId,
        id: Bytes,
    },
}

/// What became of one batch.
#[derive(Debug)]
pub(crate) struct Report {
    tickets: Vec<Ticket>,
    bytes: usize,
    took: Duration,
    outcome: Result<(), LogError>,
}

pub(crate) type Appending = Pin<Box<dyn Future<Output = Report> + Send>>;

impl Owner {
    /// Turns commands into one record of the own partition, if none is under way.
    pub(crate) fn flush_commands(&mut self) {
        if self.commanding || self.refused || self.settles_wait() {
            return;
        }
        self.flush_settles();
        let mut bytes = 0_usize;
        let fits = |command: &&Command| {
            bytes = bytes.saturating_add(size_of(command));
            bytes <= COMMAND_BYTES
        };
        let count = self.commands.iter().take_while(fits).count();
        // One that is too long alone goes alone.
        let count = count.max(1).min(self.commands.len());
        if count == 0 {
            return;
        }
        let rest = self.commands.split_off(count);
        let commands = std::mem::replace(&mut self.commands, rest);
        let fenced = Fenced {
            epoch: self.epoch,
            commands,
        };
        let record = Record::commands(self.shard.id(), &fenced, &self.ground.seal);
        let partition = self.shard.id().index();
        let ticket = Ticket::Commands(fenced.commands);
        self.commanding = true;
        self.outgoing
            .entry(partition)
            .or_default()
            .push((record, ticket));
    }

    /// Takes outputs that the fold emitted, one batch per target at a time, so that they reach the
    /// target in the order of their counters whatever fails.
    pub(crate) fn flush_outputs(&mut self) {
        for target in self.shard.pending_targets() {
            if self.busy.contains_key(&target) {
                continue;
            }
            let outputs = self.shard.take_outputs(target, OUTPUT_BATCH, OUTPUT_BYTES);
            let Some((through, _)) = outputs.last() else {
                continue;
            };
            let ticket = Ticket::Outputs {
                target,
                through: *through,
            };
            self.busy.insert(target, Busy::UnderWay);
            match target {
                Target::Shard(shard) => {
                    let source = self.shard.id();
                    let outputs = outputs
                        .into_iter()
                        .filter_map(|(counter, item)| match item {
                            OutputItem::Content { to, content } => Some(Output {
                                source,
                                counter,
                                to,
                                content,
                            }),
                            OutputItem::Wake { .. } => None,
                        });
                    let outputs: Vec<_> = outputs.collect();
                    let record = Record::outputs(shard, &outputs, &self.ground.seal);
                    self.outgoing
                        .entry(shard.index())
                        .or_default()
                        .push((record, ticket));
                }
                Target::Wake => self.append_wakes(outputs, ticket),
            }
        }
    }

    fn append_wakes(&mut self, outputs: Vec<(Counter, OutputItem)>, ticket: Ticket) {
        let source = self.shard.id();
        let records = outputs
            .into_iter()
            .filter_map(|(counter, item)| match item {
                OutputItem::Wake { account } => Some(
                    WakeUp {
                        source,
                        counter,
                        account,
                    }
                    .record(&self.ground.seal),
                ),
                OutputItem::Content { .. } => None,
            });
        let records: Vec<_> = records.collect();
        let partition = source.index() % self.ground.wake.partitions().max(1);
        let append = self.ground.wake.append(partition, records);
        self.watch(append, vec![ticket], 0);
    }

    /// Hands each partition's records to the log. The calls themselves fix the order.
    pub(crate) fn flush_appends(&mut self) {
        for (partition, records) in std::mem::take(&mut self.outgoing) {
            let (mut batch, mut tickets, mut bytes) = (Vec::new(), Vec::new(), 0);
            for (record, ticket) in records {
                if bytes + record.len() > BATCH_BYTES && !batch.is_empty() {
                    let append = self
                        .ground
                        .log
                        .append(partition, std::mem::take(&mut batch));
                    self.watch(append, std::mem::take(&mut tickets), bytes);
                    bytes = 0;
                }
                bytes += record.len();
                batch.push(record);
                tickets.push(ticket);
            }
            let append = self.ground.log.append(partition, batch);
            self.watch(append, tickets, bytes);
        }
    }

    fn watch(&mut self, append: entente_log::Append, tickets: Vec<Ticket>, bytes: usize) {
        self.appending_bytes += bytes;
        let started = Instant::now();
        self.appending.push(Box::pin(async move {
            let outcome = append.await.map(|_durable| ());
            Report {
                tickets,
                bytes,
                took: started.elapsed(),
                outcome,
            }
        }));
    }

    pub(crate) fn appended(&mut self, report: Report) -> Result<(), RouterError> {
        self.appending_bytes = self.appending_bytes.saturating_sub(report.bytes);
        self.ground.events.appended(report.took);
        for ticket in report.tickets {
            match ticket {
                Ticket::Commands(commands) => self.commands_reported(commands, report.outcome)?,
                Ticket::Outputs { target, through } => {
                    self.outputs_reported(target, through, report.outcome);
                }
                Ticket::Stanza {
                    account,
                    serial,
                    position,
                    to,
                    id,
                } => {
                    let twin = self
                        .twins
                        .get(&account)
                        .filter(|twin| twin.serial == serial);
                    if twin.is_some() {
                        let stanza = (position, to, id);
                        self.stanza_reported(account, stanza, report.outcome)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn commands_reported(
        &mut self,
        commands: Vec<Command>,
        outcome: Result<(), LogError>,
    ) -> Result<(), RouterError> {
        self.commanding = false;
        match outcome {
            Ok(()) => Ok(()),
            Err(LogError::UnknownOutcome) => Err(RouterError::UnknownOutcome),
            // Surely not in the log: they go first next time. What they settle stays owed till then.
            Err(LogError::Busy | LogError::Full) => {
                self.commands.splice(0..0, commands);
                self.refused = true;
                Ok(())
            }
            Err(error) => Err(RouterError::Log(error)),
        }
    }

    fn outputs_reported(
        &mut self,
        target: Target,
        through: Counter,
        outcome: Result<(), LogError>,
    ) {
        if outcome.is_ok() {
            self.busy.remove(&target);
            self.sent.insert(target, through);
        } else {
            // The batch may be there: the target ignores what it has. The next tick tries again.
            self.shard.untake_outputs(target);
            self.busy.insert(target, Busy::Failed);
        }
    }

    fn stanza_reported(
        &mut self,
        account: AccountId,
        (position, to, id): (Position, AccountId, Bytes),
        outcome: Result<(), LogError>,
    ) -> Result<(), RouterError> {
        let Some(twin) = self.twins.get_mut(&account) else {
            return Ok(());
        };
        twin.appending = twin.appending.saturating_sub(1);
        let (session, edge, attached) = (twin.session, twin.edge, twin.detached.is_none());
        match outcome {
            Ok(()) => {
                twin.done(position);
                self.ground.events.count(Step::Appended, 1);
                self.note_peer(account, to)?;
            }
            Err(LogError::UnknownOutcome) => self.close(session, CloseReason::Unavailable),
            // Kept also for a device that is away: were the stanza sent again instead, it would come
            // after those that were accepted behind it.
            Err(error) => {
                let fault = match error {
                    LogError::Busy | LogError::Full | LogError::TooLarge => FULL,
                    _ => UNAVAILABLE,
                };
                let inbound = position;
                let refusal = twin.refuse(Refusal {
                    position,
                    inbound,
                    id,
                    to,
                    fault,
                });
                let too_many = twin.owes(self.ground.config.window_stanzas);
                self.ground.events.count(Step::Refused, 1);
                if attached {
                    self.tell_refused(edge, session, refusal);
                }
                if too_many {
                    self.close(session, CloseReason::Stalled);
                }
            }
        }
        self.tell_handled(account);
        self.resume_when_quiet(account)
    }

    pub(crate) fn tell_refused(&mut self, edge: EdgeId, session: SessionId, refusal: Refusal) {
        let Refusal {
            position,
            id,
            to,
            fault,
            ..
        } = refusal;
        let item = ToEdge::Refused {
            session,
            position,
            id,
            to,
            fault,
        };
        self.tell(edge, item);
    }
}

/// About how many bytes a record spends on a command.
fn size_of(command: &Command) -> usize {
    const FIXED: usize = 128;
    const ACCOUNT: usize = 16;
    const KEY: usize = 48;
    let more = match command {
        Command::Block { add, remove, .. } => (add.len() + remove.len()) * ACCOUNT,
        Command::Contacted { peers, .. } => peers.len() * ACCOUNT,
        Command::Enlist { enlistment, .. } => {
            enlistment.visible.as_str().len() + enlistment.signed.signature.len() + 4 * KEY
        }
        Command::Upload { keys, .. } => {
            let kyber = keys.kyber.iter().chain(&keys.last_resort);
            let kyber = kyber.map(|key| key.key.len() + key.signature.len() + KEY);
            kyber.sum::<usize>() + (keys.one_time.len() + 4) * KEY
        }
        _ => 0,
    };
    FIXED + more
}
