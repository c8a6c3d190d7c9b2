//! append: from records to `Appended`, and what each outcome means.
//!
//! **Invariants**
//! - A stanza is done only when its batch is durable.
//! - Neither an unknown outcome nor a full log is told as accepted or refused: what was to be stored is
//!   tried again, in order, and in the end the connection is closed, and the device sends again with
//!   the same id.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{Counter, Fault, FaultKind, SessionId};
use entente_log::LogError;
use entente_proto::edge::{EdgeId, Refusal, ToEdge};
use entente_shard::{Command, Fenced, Output, OutputItem, Record, Target, WakeUp};
use tokio::time::Instant;

use crate::error::RouterError;
use crate::lane::{Kept, LaneId};
use crate::owner::{Busy, Owner};

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

/// For whom a record is appended.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// Commands of this owner, kept to be repeated if they were surely not appended.
    Commands(Vec<Command>),
    /// Outputs to a target.
    Outputs { target: Target, through: Counter },
    /// Stanzas of one session for one partition, kept to be repeated like commands.
    Stanzas { lane: LaneId, kept: Vec<Kept> },
}

/// Records that are stored together or not at all, and for whom.
pub(crate) type Parcel = (Vec<Bytes>, Ticket);

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
            .push((vec![record], ticket));
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
                        .push((vec![record], ticket));
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
                OutputItem::Wake { account, trace } => Some(
                    WakeUp {
                        source,
                        counter,
                        account,
                        trace,
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

    /// Hands each partition's parcels to the log. The calls themselves fix the order.
    pub(crate) fn flush_appends(&mut self) {
        for (partition, parcels) in std::mem::take(&mut self.outgoing) {
            let (mut batch, mut tickets, mut bytes) = (Vec::new(), Vec::new(), 0);
            for (records, ticket) in parcels {
                let more: usize = records.iter().map(Bytes::len).sum();
                if bytes + more > BATCH_BYTES && !batch.is_empty() {
                    let append = self
                        .ground
                        .log
                        .append(partition, std::mem::take(&mut batch));
                    self.watch(append, std::mem::take(&mut tickets), bytes);
                    bytes = 0;
                }
                bytes += more;
                batch.extend(records);
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
                    self.outputs_reported(target, through, report.outcome)?;
                }
                Ticket::Stanzas { lane, kept } => {
                    self.stanzas_reported(lane, kept, report.outcome)?;
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
    ) -> Result<(), RouterError> {
        match outcome {
            Ok(()) => {
                self.busy.remove(&target);
                self.sent.insert(target, through);
            }
            // The batch may be there: the target ignores what it has. The next tick tries again.
            Err(error) => {
                if error == LogError::Unavailable
                    && let Some(failure) = self.ground.failure()
                {
                    return Err(failure);
                }
                self.shard.untake_outputs(target);
                self.busy.insert(target, Busy::Failed);
            }
        }
        Ok(())
    }

    pub(crate) fn tell_refused(&mut self, edge: EdgeId, session: SessionId, refusal: Refusal) {
        self.tell(edge, ToEdge::Refused { session, refusal });
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
