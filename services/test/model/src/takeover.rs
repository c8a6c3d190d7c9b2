//! Takeover: claims, the state topic and its compaction, zombies, snapshots, replay, counters.
//!
//! | in the model | the mechanism in words |
//! |---|---|
//! | `input` | one partition of the input log: any router appends at any time, a message may be in it twice |
//! | `topic` | the state partition: claims (epoch, nonce) and values of keys with the writer's epoch in the header |
//! | `Claim`, `ReadBack` | an owner appends a claim to the epoch above the newest it knows, reads back; the first claim of an epoch wins; with races, a process claims without having seen the other's claim |
//! | `Tail`, `Repair` | the owner reads its own state partition, steps down below a higher claim, writes again each key that a lower epoch overwrote; a take-over does the same before anything else |
//! | deletion in `Tail` | input below the covered offset goes when that offset was read back, with no margin |
//! | compaction in `Tail` | what an owner has read and repaired grows older than the lag and is compacted to the last record of each key |
//! | `Flush` | receipts to the other shard under a dense counter, then the snapshot record by record: window and counters, mailbox, covered offset; a crash or a take-over may fall between any two |
//! | `Settle` | hand-over of some messages to a device that acknowledges at once, and the settle command through the log |
//! | `Crash` | all memory of a process goes; a *pause* is a process that takes no steps while the other one does, a *zombie* one that wakes up after |
//!
//! What is abstracted, and why that loses nothing:
//! - Sessions, positions and `h` are left out: they do not touch the state topic. `delivery` has
//!   them. Acknowledgement of senders is left out the other way round: *every* appended message is
//!   treated as acknowledged, which is stricter. `submit` has the acknowledgement.
//! - Messages are numbered in the order of their first records, and the application must get them in
//!   that order. Whichever sender each of them has, that includes order per sender.
//! - One recipient, two slices of state, one target shard: keys are independent of each other but
//!   for the covered offset, and two slices are the least that can be of different age.
//! - An owner folds what is in the input at once, unless a snapshot is under way, whose values are
//!   fixed when it begins. Folding is memory alone: an owner that lags is one whose snapshot began
//!   earlier, or which settles only some of its mailbox. Its own steps commute with the writes of its
//!   snapshot; those of everybody else do not, and are interleaved.
//! - Compaction and deletion go as far as they may as soon as they may. Less of either leaves more
//!   records, and what they leave reads the same.
//! - The first owner, and one that was followed already, pauses instead of dying: memory that is
//!   never used again is memory lost. The last owner needs no death: what its successor would
//!   rebuild is checked in every state.
//! - Bounds differ in sets: `wide` has more messages and duplicates, `deep` one more take-over,
//!   `race` rival claims, `counters` two settles. One flush per ownership in all.
//!
//! What the implementation relies on, found with this model:
//! - A slice carries the offset that it reflects, and replay skips slice by slice. The snapshot
//!   writes counters and windows *before* the mailbox, the covered offset last, and begins only
//!   when the outputs of all that it covers are durable in their shards.
//! - The window knows where it saw an id first (an offset per block is enough when a block never
//!   spans a snapshot); else a mailbox older than the window drops a message as its own duplicate.
//! - The key of a claim is (epoch, nonce). Were it the epoch alone, compaction would leave the loser
//!   of a race, and a slow loser would read itself back as the winner.
//! - Input is deleted up to a covered offset that was *read back* from the state partition, not one
//!   whose write was merely acknowledged: a zombie's writes are acknowledged too.
//! - The compaction lag is longer than a shard is ever without an owner while a zombie may still
//!   write. Repair and compaction race otherwise, and repair can lose.

mod fold;
mod state;
mod topic;

use stateright::{Model, Property};

pub use fold::{Fold, Mailbox, Message, Record, Window};
pub use state::{Active, Owner, State};
pub use topic::{Entry, Loaded, Value};

use crate::Bug;
use crate::check::Seeded;

const MESSAGES: usize = 3;
const OWNERS: usize = 2;

/// The model and its bounds.
#[derive(Clone, Debug)]
pub struct Takeover {
    bug: Bug,
    messages: usize,
    duplicates: usize,
    settles: usize,
    epochs: usize,
    flushes: usize,
    races: bool,
}

/// A step of one process, of a router, or of the broker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// A router appends a message, for the first or the second time.
    Append(usize),
    /// The process appends its claim to an epoch.
    Claim(usize, usize),
    /// The broker compacts the state topic.
    Compact,
    /// The process dies.
    Crash(usize),
    /// The owner writes one record of a snapshot.
    Flush(usize),
    /// The process reads its claim back.
    ReadBack(usize),
    /// The owner writes one overwritten key again.
    Repair(usize),
    /// The owner hands so many messages to the device and appends the settle command.
    Settle(usize, usize),
    /// The owner reads the rest of its state partition.
    Tail(usize),
}

impl Seeded for Takeover {
    const NAME: &'static str = "takeover";
    const BOUNDS: &'static [&'static str] = &["wide", "deep", "race", "counters"];
    const BUGS: &'static [(Bug, usize, &'static str)] = &[
        (Bug::ClaimsShareKey, 2, "an epoch has one holder"),
        (
            Bug::CompactionKeepsZombie,
            1,
            "replay equals the fold of the log",
        ),
        (
            Bug::CompactionOutrunsRepair,
            1,
            "replay equals the fold of the log",
        ),
        (
            Bug::CountersReset,
            3,
            "each settled message has one receipt",
        ),
        (Bug::NoEpochCheck, 0, "no acknowledged loss"),
        (Bug::OffsetBeforeEffect, 0, "no acknowledged loss"),
        (
            Bug::ReplayWithoutStamps,
            0,
            "each settled message has one receipt",
        ),
        (Bug::TrimUnread, 0, "no acknowledged loss"),
    ];

    fn seeded(bug: Bug, bounds: usize) -> Self {
        let wide = Self {
            bug,
            messages: MESSAGES,
            duplicates: 1,
            settles: 1,
            epochs: 2,
            flushes: 1,
            races: false,
        };
        match bounds {
            0 => wide,
            1 => Self {
                messages: 2,
                duplicates: 0,
                settles: 0,
                epochs: 3,
                ..wide
            },
            2 => Self {
                messages: 1,
                duplicates: 0,
                settles: 0,
                epochs: 3,
                races: true,
                ..wide
            },
            _ => Self {
                messages: 2,
                duplicates: 0,
                settles: 2,
                ..wide
            },
        }
    }
}

impl Takeover {
    fn routers(&self, state: &State, actions: &mut Vec<Action>) {
        let sent = |id| state.input.contains(&Record::Message(Message(id)));
        let records = state
            .input
            .iter()
            .filter(|record| matches!(record, Record::Message(_)));
        let (records, fresh) = (records.count(), (0..self.messages).find(|id| !sent(*id)));
        actions.extend(fresh.map(Action::Append));
        let duplicates = records - fresh.unwrap_or(self.messages);
        if duplicates < self.duplicates {
            actions.extend((0..fresh.unwrap_or(self.messages)).map(Action::Append));
        }
    }

    // The next epoch, or the newest one by a process that had not yet seen the other's claim to it.
    fn claims(&self, state: &State, owner: usize, actions: &mut Vec<Action>) {
        let newest = Loaded::read(&state.topic, self.bug).epoch;
        let late = Entry::Claim {
            epoch: newest,
            nonce: owner,
        };
        if self.races && newest > 1 && !state.topic.contains(&late) {
            actions.push(Action::Claim(owner, newest));
        }
        if newest < self.epochs {
            actions.push(Action::Claim(owner, newest + 1));
        }
    }

    fn owner(&self, state: &State, owner: usize, active: &Active, actions: &mut Vec<Action>) {
        // A process that nobody follows need not die: the rebuilt state is checked at every step. One
        // that was followed already is a zombie until it reads so; dead, it is one that stays paused.
        let newest = Loaded::read(&state.topic, self.bug).epoch;
        if active.epoch == newest && newest > 1 && newest < self.epochs {
            actions.push(Action::Crash(owner));
        }
        if !active.repairs.is_empty() {
            actions.push(Action::Repair(owner));
            return;
        }
        if active.step.is_some() {
            actions.push(Action::Flush(owner));
            return;
        }
        let settles = state
            .input
            .iter()
            .filter(|record| matches!(record, Record::Settle(_)));
        if settles.count() < self.settles {
            let waiting = active.fold.mailbox.entries.len();
            actions.extend((1..=waiting).map(|count| Action::Settle(owner, count)));
        }
        if active.next > 0 && active.flushes < self.flushes {
            actions.push(Action::Flush(owner));
        }
        actions.push(Action::Tail(owner));
    }
}

impl Model for Takeover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            input: Vec::new(),
            floor: 0,
            topic: vec![Entry::Claim { epoch: 1, nonce: 0 }],
            owners: [Owner::Claiming { epoch: 1 }, Owner::Idle],
            app: Vec::new(),
            twice: false,
            receipts: Vec::new(),
        };
        state.read_back(0, 1, self.bug);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.routers(state, actions);
        for (owner, memory) in state.owners.iter().enumerate() {
            match memory {
                Owner::Idle => self.claims(state, owner, actions),
                Owner::Claiming { .. } => actions.push(Action::ReadBack(owner)),
                Owner::Active(active) => self.owner(state, owner, active, actions),
            }
        }
        if self.bug == Bug::CompactionOutrunsRepair {
            actions.push(Action::Compact);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Append(id) => state.input.push(Record::Message(Message(id))),
            Action::Claim(owner, epoch) => {
                state.topic.push(Entry::Claim {
                    epoch,
                    nonce: owner,
                });
                state.owners[owner] = Owner::Claiming { epoch };
            }
            Action::Compact => topic::compact(&mut state.topic, self.bug),
            Action::Crash(owner) => state.owners[owner] = Owner::Idle,
            Action::Flush(owner) => state.flush(owner, self.bug),
            Action::ReadBack(owner) => {
                let Owner::Claiming { epoch } = state.owners[owner] else {
                    return None;
                };
                state.read_back(owner, epoch, self.bug);
            }
            Action::Repair(owner) => state.repair(owner),
            Action::Settle(owner, count) => state.settle(owner, count),
            Action::Tail(owner) => state.tail(owner, self.bug),
        }
        state.fold(self.bug);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

mod properties;
