//! The state of the takeover model and what one step does to it.

use super::topic::{Entry, Loaded, Value, compact};
use super::{Bug, Fold, Message, OWNERS, Record};

/// What one of the two processes knows. A crash takes it all; a pause is a process whose steps the
/// search does not choose, which needs no step of its own.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Owner {
    /// Owns nothing.
    Idle,
    /// Has appended its claim and not yet read it back.
    Claiming {
        /// The epoch claimed.
        epoch: usize,
    },
    /// Believes to own the shard.
    Active(Box<Active>),
}

/// The memory of a process that believes to own the shard.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Active {
    /// The epoch it claimed.
    pub epoch: usize,
    /// The folded state.
    pub fold: Fold,
    /// Next input offset to fold.
    pub next: usize,
    /// Snapshots begun.
    pub flushes: usize,
    /// Records of the snapshot in progress already written.
    pub step: Option<usize>,
    /// Values to write again before anything else.
    pub repairs: Vec<Value>,
}

/// Everything, on every machine.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct State {
    /// All that was ever appended to the input log.
    pub input: Vec<Record>,
    /// Input below was deleted.
    pub floor: usize,
    /// The state topic.
    pub topic: Vec<Entry>,
    /// The processes.
    pub owners: [Owner; OWNERS],
    /// What the device's application got, in order, with the sequence of the first hand-over.
    pub app: Vec<(usize, Message)>,
    /// An id reached the device under two sequences.
    pub twice: bool,
    /// Receipts that the other shard took, in order; its `last` counter is their number.
    pub receipts: Vec<Message>,
}

impl State {
    /// The process, if it believes to own the shard.
    pub fn active(&self, owner: usize) -> Option<&Active> {
        match &self.owners[owner] {
            Owner::Active(active) => Some(active),
            _ => None,
        }
    }

    /// Runs `change` on the owner's memory.
    pub fn with(&mut self, owner: usize, change: impl FnOnce(&mut Active)) {
        if let Owner::Active(active) = &mut self.owners[owner] {
            change(active);
        }
    }

    /// Reads the claim back. The first claim of the newest epoch wins; a loser gives up.
    pub fn read_back(&mut self, owner: usize, claimed: usize, bug: Bug) {
        let loaded = Loaded::read(&self.topic, bug);
        if loaded.epoch != claimed || loaded.holder != owner {
            self.owners[owner] = Owner::Idle;
            return;
        }
        let repairs = if repairs_overwritten(bug) {
            loaded.repairs()
        } else {
            Vec::new()
        };
        let (fold, covered) = loaded.restore(bug);
        let active = Active {
            epoch: claimed,
            fold,
            // Deleted records cannot be read: replay begins at what is left.
            next: covered.max(self.floor),
            flushes: 0,
            step: None,
            repairs,
        };
        self.owners[owner] = Owner::Active(Box::new(active));
    }

    /// Reads the rest of the state topic: steps down below a higher claim, else notes what to
    /// repair. When there is nothing, the input that is covered may go, and what was read grows
    /// older than the compaction lag.
    pub fn tail(&mut self, owner: usize, bug: Bug) {
        let loaded = Loaded::read(&self.topic, bug);
        let Owner::Active(active) = &mut self.owners[owner] else {
            return;
        };
        if loaded.epoch > active.epoch {
            self.owners[owner] = Owner::Idle;
            return;
        }
        if repairs_overwritten(bug) {
            active.repairs = loaded.repairs();
        }
        if active.repairs.is_empty() {
            self.floor = self.floor.max(loaded.restore(bug).1);
            compact(&mut self.topic, bug);
        }
    }

    /// Every owner folds what is new in the input, but for one whose snapshot is under way: its
    /// values are fixed.
    pub fn fold(&mut self, bug: Bug) {
        for owner in &mut self.owners {
            if let Owner::Active(active) = owner
                && active.step.is_none()
            {
                active.fold.replay(&self.input, active.next, bug);
                active.next = self.input.len();
            }
        }
    }

    /// Writes the next value that a lower epoch overwrote.
    pub fn repair(&mut self, owner: usize) {
        let Owner::Active(active) = &mut self.owners[owner] else {
            return;
        };
        let value = active.repairs.remove(0);
        self.topic.push(Entry::State {
            epoch: active.epoch,
            value,
        });
    }

    /// The next step of a snapshot: receipts to the other shard, then window, mailbox, and the
    /// covered offset last.
    pub fn flush(&mut self, owner: usize, bug: Bug) {
        let Owner::Active(active) = &mut self.owners[owner] else {
            return;
        };
        let step = active.step.unwrap_or(0);
        let order = if bug == Bug::OffsetBeforeEffect {
            [2, 0, 1]
        } else {
            [0, 1, 2]
        };
        active.step = (step < order.len()).then_some(step + 1);
        let Some(slot) = step.checked_sub(1).map(|index| order[index]) else {
            active.flushes += 1;
            return self.emit(owner);
        };
        let value = match slot {
            0 => Value::Window(active.fold.window.clone()),
            1 => Value::Mailbox(active.fold.mailbox.clone()),
            _ => Value::Covered(active.next),
        };
        self.topic.push(Entry::State {
            epoch: active.epoch,
            value,
        });
        if active.step.is_none() && bug == Bug::TrimUnread {
            self.floor = self.floor.max(active.next);
        }
    }

    // The other shard takes its last counter + 1, ignores what is not above the last, and holds
    // what lies further up.
    fn emit(&mut self, owner: usize) {
        let Owner::Active(active) = &mut self.owners[owner] else {
            return;
        };
        for (counter, message) in active.fold.outbox.drain(..) {
            if counter == self.receipts.len() + 1 {
                self.receipts.push(message);
            }
        }
    }

    /// Hands the oldest `count` messages of the mailbox to the device, whose application drops an
    /// id that it has, and appends the settle command for its acknowledgement.
    pub fn settle(&mut self, owner: usize, count: usize) {
        let Owner::Active(active) = &self.owners[owner] else {
            return;
        };
        let handed: Vec<_> = active
            .fold
            .mailbox
            .entries
            .iter()
            .copied()
            .take(count)
            .collect();
        for (seq, message) in &handed {
            match self.app.iter().find(|(_, had)| had == message) {
                Some((first, _)) => self.twice |= first != seq,
                None => self.app.push((*seq, *message)),
            }
        }
        self.input
            .extend(handed.last().map(|(seq, _)| Record::Settle(*seq)));
    }

    /// What the next owner would rebuild at this moment.
    pub fn rebuilt(&self, bug: Bug) -> Fold {
        let (mut fold, covered) = Loaded::read(&self.topic, bug).restore(bug);
        fold.replay(&self.input, covered.max(self.floor), bug);
        fold
    }

    /// The fold of all that was ever appended.
    pub fn truth(&self) -> Fold {
        let mut fold = Fold::default();
        fold.replay(&self.input, 0, Bug::None);
        fold
    }
}

fn repairs_overwritten(bug: Bug) -> bool {
    bug != Bug::CompactionKeepsZombie
}
