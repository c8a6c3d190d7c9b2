//! A shard whose rows are lost begins anew, from what its input still holds.
//!
//! In: the input and the journals of all shards. Out: what would be left, and, if somebody accepts that,
//! a commit of rows from which owners go on. Everything that only the lost rows knew is gone: accounts,
//! keys, block lists, mailboxes. Rows of an older copy are kept, and what happened since is gone. What
//! other shards know of this one is read from them, so that outputs between them go on where they
//! stood and neither side waits for one that never comes.
//!
//! **Invariants**
//! - Rows that can be read, and rows that somebody writes, are never touched.
//! - Looking writes nothing.
//! - No lost account comes back as another one: numbers are drawn, and an old one finds nobody.
//!
//! What it does not do: find rows in copies of the journal. Look for those first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use entente_core::{Content, Counter, Epoch, Offset, ShardId, Timestamp, random_array};
use entente_log::{Log, LogError, Tail};
use tokio::time::sleep;

use crate::cells::{decode, encode, key};
use crate::journal::{Journal, JournalError};
use crate::outbox::{OutputItem, Target};
use crate::record::{Command, Record};
use crate::shard::{Inbox, Shard, ShardConfig, ShardRow};
use crate::store::{MemoryStore, Rows, StateStore, StoreError};

/// Numbers of wake-ups between two milliseconds: more than any shard gives. Push takes any number that
/// it has not seen, and this puts the first one above all that were ever given.
const WAKES_A_MILLI: u64 = 1_024;

/// A deployment of which one shard has lost its rows.
#[derive(Clone, Debug)]
pub struct Anew {
    /// The shard.
    pub config: ShardConfig,
    /// The input of all shards.
    pub input: Arc<dyn Log>,
    /// The journals of their rows.
    pub journals: Arc<dyn Log>,
}

/// Why a shard does not begin anew.
#[derive(Debug, thiserror::Error)]
pub enum AnewError {
    /// Its rows are there, and reach back to what the input still has.
    #[error("nothing is lost: the rows of the shard can be read, as of offset {0} of its log")]
    Readable(Offset),
    /// The input is there from its beginning: an owner makes the rows from it.
    #[error("nothing is lost: the log of the shard has everything from its beginning")]
    Fresh,
    /// Somebody has the rows in memory and writes them.
    #[error(
        "an owner writes rows of the shard: it has them, or did not see yet that they are lost"
    )]
    Owned,
    /// Another shard has outputs for this one that are not in its log.
    #[error("shard {0} has something for the shard that is not in its log: its owner must run")]
    Unsent(ShardId),
    /// A journal cannot be used now.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The input failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Rows cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is left of a shard without its rows.
#[derive(Debug)]
pub struct Remains {
    /// Why the rows that there are cannot be read, and will be let go; none if there are none, or older ones.
    pub damage: Option<StoreError>,
    /// How far rows of an older copy reach, if there are any.
    pub covered: Option<Offset>,
    /// The first offset of the log that is there: what came before it is lost.
    pub floor: Offset,
    /// Where the log ends.
    pub end: Offset,
    /// Stanzas of users that are there.
    pub stanzas: u64,
    /// Accounts that are there: those of an older copy, and those that enlisted so late that the log has it.
    pub accounts: usize,
    /// Stanzas and notices that wait for them.
    pub waiting: usize,
    /// Failure notices that go out: of stanzas for whoever is lost.
    pub notices: usize,
    /// Other shards whose rows cannot be read: with them, some notices are lost or come twice.
    pub unreadable: Vec<ShardId>,
    first: Rows,
}

/// What the input of a shard says without any rows.
#[derive(Debug, Default)]
struct Scan {
    stanzas: u64,
    /// The lowest and highest output of each source.
    outputs: BTreeMap<ShardId, (Counter, Counter)>,
    /// The epoch of the commands before the first claim, or that claim's less one.
    epoch: Option<Epoch>,
    claimed: bool,
}

impl Anew {
    /// Looks what would be left. `quiet` is how long nobody may write rows that cannot be read: longer
    /// than owners take between two commits.
    ///
    /// # Errors
    /// [`AnewError`]; of a shard that has lost nothing, above all.
    pub async fn look(&self, quiet: Duration) -> Result<Remains, AnewError> {
        let shard = self.config.shard;
        let partition = shard.index();
        self.input.refresh(partition).await?;
        let journal = self.journal(shard);
        let looked = journal.look(empty).await?;
        let floor = self.input.floor(partition);
        let (older, damage) = match looked.rows {
            Ok(Some(rows)) => (Some(rows), None),
            Ok(None) if floor == Offset::default() => return Err(AnewError::Fresh),
            Ok(None) => (None, None),
            Err(error) => (None, Some(error)),
        };
        let covered = older.as_ref().map(|rows| rows.replay_from()).transpose()?;
        if let Some(covered) = covered.filter(|covered| *covered >= floor) {
            return Err(AnewError::Readable(covered));
        }
        let store = older.unwrap_or_else(empty);
        sleep(quiet).await;
        if journal.is_written_since(looked.end).await? {
            return Err(AnewError::Owned);
        }
        let told = self.told_by_others().await?;
        // After the others: what they have sent by now is in it.
        let scan = self.scan(shard).await?;
        let first = first_rows(&*store, &told, &scan)?;
        // The shard as its next owner will have it.
        store.commit(floor, &first)?;
        let mut left = self.replayed(shard, store).await?;
        let (accounts, waiting) = count(&mut left)?;
        let outputs = left.outboxes.values().flat_map(|outbox| &outbox.items);
        let is_notice = |item: &OutputItem| {
            let OutputItem::Content { content, .. } = item else {
                return false;
            };
            matches!(content, Content::Failed(_))
        };
        Ok(Remains {
            damage,
            covered,
            floor,
            end: left.next(),
            stanzas: scan.stanzas,
            accounts,
            waiting,
            notices: outputs.filter(|held| is_notice(&held.item)).count(),
            unreadable: told.unreadable,
            first,
        })
    }

    /// Begins the rows anew. What cannot be read of the old ones is let go first.
    ///
    /// # Errors
    /// [`AnewError::Readable`] if somebody wrote rows meanwhile; else what failed. It may be tried again:
    /// until it succeeds the shard is as it was.
    pub async fn begin(&self, remains: &Remains) -> Result<(), AnewError> {
        let partition = self.config.shard.index();
        if remains.damage.is_some() {
            self.journals.refresh(partition).await?;
            let end = self.journals.end(partition);
            self.journals.raise_floor(partition, end).await?;
        }
        let journal = self.journal(self.config.shard);
        let store = journal.take_over(random_array(), empty).await?;
        let covered = store.replay_from()?;
        if covered != remains.covered.unwrap_or_default() {
            return Err(AnewError::Readable(covered));
        }
        let (floor, rows) = (remains.floor, remains.first.clone());
        let committed = tokio::task::spawn_blocking(move || store.commit(floor, &rows)).await;
        let failed = |_| StoreError::Failed("the commit did not end".into());
        Ok(committed.map_err(failed)??)
    }

    fn journal(&self, shard: ShardId) -> Journal {
        Journal {
            log: Arc::clone(&self.journals),
            shard,
            key: self.config.seal.clone(),
            whole: true,
        }
    }

    /// How far outputs are, in both directions, as the other shards know it; and those that do not.
    async fn told_by_others(&self) -> Result<Told, AnewError> {
        let own = self.config.shard;
        let mut told = Told::default();
        let shards = (0..self.config.placement.shards()).map(ShardId::new);
        for other in shards.filter(|other| *other != own) {
            let next = match self.other(other).await? {
                Some(found) => {
                    let outbox = found.outboxes.get(&Target::Shard(own));
                    let outward = outbox.map(|outbox| Outward {
                        next: outbox.next,
                        is_unsent: !outbox.items.is_empty(),
                    });
                    told.sources.extend(outward.map(|outward| (other, outward)));
                    found.inboxes.get(&own).map(|inbox| inbox.last)
                }
                None => {
                    told.unreadable.push(other);
                    let found = self.scan(other).await?.outputs;
                    found.get(&own).map(|(_, last)| *last)
                }
            };
            told.taken.extend(next.map(|next| (other, next)));
        }
        Ok(told)
    }

    /// Another shard as it is by now; none if its rows cannot be read.
    async fn other(&self, shard: ShardId) -> Result<Option<Shard>, AnewError> {
        loop {
            match self.other_now(shard).await {
                // Its owner has stored newer rows, and let its input go below them.
                Err(AnewError::Log(LogError::Truncated { .. })) => {}
                found => return found,
            }
        }
    }

    async fn other_now(&self, shard: ShardId) -> Result<Option<Shard>, AnewError> {
        self.input.refresh(shard.index()).await?;
        let floor = self.input.floor(shard.index());
        let rows = match self.journal(shard).look(empty).await?.rows {
            Ok(Some(rows)) => rows,
            Ok(None) => empty(),
            Err(_) => return Ok(None),
        };
        if rows.replay_from()? < floor {
            return Ok(None);
        }
        Ok(Some(self.replayed(shard, rows).await?))
    }

    async fn replayed(
        &self,
        shard: ShardId,
        rows: Arc<dyn StateStore>,
    ) -> Result<Shard, AnewError> {
        let config = ShardConfig {
            shard,
            ..self.config.clone()
        };
        let mut found = Shard::load(config, rows)?;
        let mut tail = Tail::new(Arc::clone(&self.input), shard.index(), found.next());
        while tail.next() < self.input.end(shard.index()) {
            for record in tail.next_batch().await? {
                found.apply(&record)?;
            }
            drop(found.take_effects());
        }
        Ok(found)
    }

    async fn scan(&self, shard: ShardId) -> Result<Scan, AnewError> {
        let partition = shard.index();
        self.input.refresh(partition).await?;
        let floor = self.input.floor(partition);
        let mut tail = Tail::new(Arc::clone(&self.input), partition, floor);
        let mut scan = Scan::default();
        while tail.next() < self.input.end(partition) {
            for record in tail.next_batch().await? {
                // What is not ours or cannot be read is set aside by the fold.
                if let Ok(record) = Record::open(shard, &record.payload, &self.config.seal) {
                    scan.take(record);
                }
            }
        }
        Ok(scan)
    }
}

/// The rows that are written over those of an older copy, or over none.
fn first_rows(older: &dyn StateStore, told: &Told, scan: &Scan) -> Result<Rows, AnewError> {
    let now = Timestamp::now();
    let row = older.row(key::SHARD)?;
    let mut row: ShardRow = row.map(|row| decode(&row)).transpose()?.unwrap_or_default();
    // Without any record of an owner: above all epochs that there were, one a take-over.
    let epoch = scan.epoch.unwrap_or(Epoch::new(now.secs()));
    row.epoch = row.epoch.max(epoch);
    row.dedupe_key.get_or_insert_with(random_array);
    let wakes = Counter::new(now.millis().saturating_mul(WAKES_A_MILLI));
    row.outboxes.insert(Target::Wake, wakes);
    for (target, taken) in &told.taken {
        let next = row.outboxes.entry(Target::Shard(*target)).or_default();
        *next = (*next).max(*taken);
    }
    let mut rows = Rows::from([(key::SHARD.to_vec(), Some(encode(&row)))]);
    let mut inbox = |source: ShardId, last: u64| {
        let inbox = Inbox {
            last: Counter::new(last),
            ..Inbox::default()
        };
        rows.insert(key::inbox(source), Some(encode(&(source, &inbox))));
    };
    for (source, (first, _)) in &scan.outputs {
        // What is below the floor came, and is lost with the rows.
        inbox(*source, first.value().saturating_sub(1));
    }
    let unseen = told.sources.iter();
    for (source, outward) in unseen.filter(|(source, _)| !scan.outputs.contains_key(source)) {
        if outward.is_unsent {
            // Nobody could say whether it is below the floor or on its way.
            return Err(AnewError::Unsent(*source));
        }
        inbox(*source, outward.next.value());
    }
    Ok(rows)
}

/// How many accounts a shard has, and how much waits for them.
fn count(shard: &mut Shard) -> Result<(usize, usize), StoreError> {
    let stored = shard.cells.rows(key::ACCOUNTS)?;
    let stored = stored.iter().filter_map(|(row, _)| key::account_of(row));
    let accounts: BTreeSet<_> = stored.chain(shard.accounts.keys().copied()).collect();
    let mut waiting = 0;
    for account in &accounts {
        waiting += shard.mailbox(*account)?.map_or(0, |found| found.entries);
    }
    Ok((accounts.len(), waiting))
}

/// What other shards say of the one that is lost.
#[derive(Debug, Default)]
struct Told {
    /// The newest output of its that each has taken.
    taken: BTreeMap<ShardId, Counter>,
    /// What each has for it.
    sources: BTreeMap<ShardId, Outward>,
    /// Those that cannot say.
    unreadable: Vec<ShardId>,
}

/// What a shard has for the lost one.
#[derive(Clone, Copy, Debug)]
struct Outward {
    /// The counter of the newest output.
    next: Counter,
    is_unsent: bool,
}

impl Scan {
    fn take(&mut self, record: Record) {
        match record {
            Record::Envelope(_) => self.stanzas += 1,
            Record::Outputs(outputs) => {
                for output in outputs {
                    let first = (output.counter, output.counter);
                    let (low, high) = self.outputs.entry(output.source).or_insert(first);
                    *low = (*low).min(output.counter);
                    *high = (*high).max(output.counter);
                }
            }
            Record::Commands(fenced) if !self.claimed => {
                let is_claim = |command: &Command| matches!(command, Command::Claim { .. });
                self.claimed = fenced.commands.iter().any(is_claim);
                // Whoever owned at the floor claimed below it: its commands count, as they did.
                let before = fenced.epoch.value() - u64::from(self.claimed);
                if !self.claimed || self.epoch.is_none() {
                    self.epoch = self.epoch.max(Some(Epoch::new(before)));
                }
            }
            Record::Commands(_) => {}
        }
    }
}

fn empty() -> Arc<dyn StateStore> {
    Arc::new(MemoryStore::default())
}

#[cfg(test)]
mod tests;
