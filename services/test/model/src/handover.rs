//! Handover: who owns a shard when routers share the shards, as it is built.
//!
//! | in the model | the mechanism in words |
//! |---|---|
//! | `input` | the shard's partition of the input: messages of any router, and claims |
//! | `journal` | its partition of the journals: claims, and commits of rows with the offset that they cover |
//! | `Assign`, `Withdraw` | the group says what it likes: nobody, one, both, at any time |
//! | `TakeRows` | a router that is assigned the shard claims the journal; the rows that count are its own from then on |
//! | `Claim` | it replays the input and appends its claim of it |
//! | `ReadBack` | the first claim of an epoch wins; who lost begins anew |
//! | `Commit` | an owner appends a commit. It counts, and is known to, if nobody's claim lies since the owner's last record |
//! | `Raise` | input below what a commit covers goes, when that commit is known to count |
//! | `Notice` | an owner reads the input on; if somebody else's claim is there, it ends |
//! | `Die` | all memory of a process goes; what it had appended may land later: `Land` |
//!
//! What is abstracted, and why that loses nothing:
//! - Rows are the offset that they cover: they are the fold of the input below it, whoever writes them,
//!   for the fold is a function of the log. `takeover` has what is in rows.
//! - Two routers and one shard: shards share nothing, and a third router does what one of two does that
//!   died and came back.
//! - A commit is one record. Its parts count together or not at all (`entente_shard::Journal`), which
//!   its own tests show.
//! - The passes of the journal, which let go of its old records, are left out: what they may drop is what
//!   was written again.
//! - Time is left out: pauses and patience change what is likely, not what can happen.
//!
//! What the implementation relies on, found with this model:
//! - Input is let go up to what a commit covers that *counts*. Acknowledged is not enough: the commit of an
//!   owner whose rows were taken lands behind the claim, and counts for nobody.
//! - A claim that landed late, of a process that died, outruns one of its own time. Who loses to it
//!   claims again; to give up would leave the shard to nobody.

use stateright::{Model, Property};

use crate::Bug;
use crate::check::Seeded;

const ROUTERS: usize = 2;

/// The model and its bounds.
#[derive(Clone, Debug)]
pub struct Handover {
    bug: Bug,
    messages: usize,
    claims: usize,
    commits: usize,
}

/// A record of the input.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Input {
    /// Somebody appended something.
    Message,
    /// A claim: epoch, whose, and which of its lives.
    Claim(usize, Life),
}

/// A record of the journal.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Journal {
    /// A claim of this epoch.
    Claim(usize, Life),
    /// Rows up to this offset of the input, by an owner of this epoch of the journal.
    Commit(usize, usize),
}

/// A router, and how often it died before.
pub type Life = (usize, usize);

/// What a process knows.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Memory {
    /// Nothing of the shard.
    Idle,
    /// It has the rows by a claim of the journal: epoch, records known of it, what they cover.
    Rows(usize, usize, usize),
    /// It also appended a claim of the input, of this epoch.
    Claimed(usize, usize, usize, usize),
    /// It owns the shard. `commits` is none once it knows that its rows were taken.
    Owner {
        /// Of its claim of the input.
        epoch: usize,
        /// Of its claim of the journal, and the records that it knows of it.
        commits: Option<(usize, usize)>,
        /// What a commit covers that counts, as far as is known.
        covered: usize,
        /// How far it has read the input: what its next commit covers.
        read: usize,
    },
}

/// Both partitions and both processes.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct State {
    input: Vec<Input>,
    journal: Vec<Journal>,
    floor: usize,
    assigned: [bool; ROUTERS],
    memory: [Memory; ROUTERS],
    lives: [usize; ROUTERS],
    /// Appends of processes that died.
    late: Vec<Input>,
    /// Somebody owned the shard while it was assigned to nobody.
    kept: bool,
    /// A shard was claimed while its owner before still served.
    met: bool,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Somebody appends.
    Append,
    /// The group assigns the shard to this router.
    Assign(usize),
    /// It appends a claim of the input, of this epoch: the next one, or the newest if it read the input
    /// before somebody claimed that.
    Claim(usize, usize),
    /// It stores its rows.
    Commit(usize),
    /// It dies; with its claim of the input under way, if so.
    Die(usize, bool),
    /// An append of a process that died lands.
    Land,
    /// It reads the input on.
    Notice(usize),
    /// It lets go of input.
    Raise(usize),
    /// It reads its claim back.
    ReadBack(usize),
    /// It claims the journal.
    TakeRows(usize),
    /// The group takes the shard from this router.
    Withdraw(usize),
}

impl State {
    fn start() -> Self {
        Self {
            input: Vec::new(),
            journal: Vec::new(),
            floor: 0,
            assigned: [false; ROUTERS],
            memory: [Memory::Idle, Memory::Idle],
            lives: [0; ROUTERS],
            late: Vec::new(),
            kept: false,
            met: false,
        }
    }

    /// The newest epoch of the input, and whose it is: the first claim of it.
    fn owner(&self) -> (usize, Option<Life>) {
        let mut newest = (0, None);
        for record in &self.input {
            if let Input::Claim(epoch, who) = record
                && *epoch > newest.0
            {
                newest = (*epoch, Some(*who));
            }
        }
        newest
    }

    /// The newest epoch of the journal, and what the last commit covers that counts.
    fn rows(&self, bug: Bug) -> (usize, usize) {
        let (mut epoch, mut covered) = (0, 0);
        for record in &self.journal {
            match *record {
                Journal::Claim(claimed, _) => epoch = epoch.max(claimed),
                Journal::Commit(by, offset) if by == epoch || bug == Bug::NoEpochCheck => {
                    covered = offset;
                }
                Journal::Commit(..) => {}
            }
        }
        (epoch, covered)
    }

    fn owners(&self) -> impl Iterator<Item = usize> {
        self.memory.iter().filter_map(|memory| match memory {
            Memory::Owner { epoch, .. } => Some(*epoch),
            _ => None,
        })
    }

    fn take_rows(&mut self, router: usize, bug: Bug) {
        let epoch = self.rows(bug).0 + 1;
        let life = (router, self.lives[router]);
        self.journal.push(Journal::Claim(epoch, life));
        let covered = self.rows(bug).1;
        self.memory[router] = Memory::Rows(epoch, self.journal.len(), covered);
    }

    fn claim(&mut self, router: usize, epoch: usize) {
        let Memory::Rows(rows, known, covered) = self.memory[router] else {
            return;
        };
        let life = (router, self.lives[router]);
        self.input.push(Input::Claim(epoch, life));
        self.memory[router] = Memory::Claimed(rows, known, covered, epoch);
    }

    fn read_back(&mut self, router: usize) {
        let Memory::Claimed(rows, known, covered, epoch) = self.memory[router] else {
            return;
        };
        let ours = self.owner() == (epoch, Some((router, self.lives[router])));
        self.memory[router] = if ours {
            let met = self.owners().next().is_some();
            self.met |= met;
            Memory::Owner {
                epoch,
                commits: Some((rows, known)),
                covered,
                read: self.input.len(),
            }
        } else {
            Memory::Idle
        };
    }

    fn commit(&mut self, router: usize, bug: Bug) {
        let Memory::Owner {
            commits,
            covered,
            read,
            ..
        } = &mut self.memory[router]
        else {
            return;
        };
        let Some((epoch, known)) = *commits else {
            return;
        };
        self.journal.push(Journal::Commit(epoch, *read));
        let since = self.journal[known..].iter();
        let mut claims = since.filter(|record| matches!(record, Journal::Claim(..)));
        if claims.next().is_some() && bug != Bug::TrimUnread {
            *commits = None;
        } else {
            *commits = Some((epoch, self.journal.len()));
            *covered = *read;
        }
    }
}

impl Handover {
    fn router(&self, state: &State, router: usize, actions: &mut Vec<Action>) {
        actions.push(if state.assigned[router] {
            Action::Withdraw(router)
        } else {
            Action::Assign(router)
        });
        let claims = |claims: usize| claims < self.claims;
        let of_input = state.input.iter();
        let of_input = of_input.filter(|record| matches!(record, Input::Claim(..)));
        let of_input = claims(of_input.count() + state.late.len());
        match &state.memory[router] {
            Memory::Idle => {
                let taken = state.journal.iter();
                let taken = taken.filter(|record| matches!(record, Journal::Claim(..)));
                if state.assigned[router] && claims(taken.count()) {
                    actions.push(Action::TakeRows(router));
                }
                return;
            }
            Memory::Rows(..) if of_input => {
                let newest = state.owner().0;
                if newest > 0 {
                    actions.push(Action::Claim(router, newest));
                }
                actions.extend([Action::Claim(router, newest + 1), Action::Die(router, true)]);
            }
            Memory::Rows(..) => {}
            Memory::Claimed(..) => actions.push(Action::ReadBack(router)),
            Memory::Owner { .. } => {
                let commits = state.journal.iter();
                let commits = commits.filter(|record| matches!(record, Journal::Commit(..)));
                if commits.count() < self.commits {
                    actions.push(Action::Commit(router));
                }
                actions.extend([Action::Notice(router), Action::Raise(router)]);
            }
        }
        actions.push(Action::Die(router, false));
    }
}

impl Seeded for Handover {
    const NAME: &'static str = "handover";
    const BOUNDS: &'static [&'static str] = &["claims", "commits"];
    const BUGS: &'static [(Bug, usize, &'static str)] = &[
        (Bug::ClaimsShareKey, 0, "an epoch has one owner"),
        (Bug::NoEpochCheck, 1, "rows reach the floor"),
        (Bug::TrimUnread, 1, "rows reach the floor"),
    ];

    fn seeded(bug: Bug, bounds: usize) -> Self {
        match bounds {
            0 => Self {
                bug,
                messages: 0,
                claims: 3,
                commits: 1,
            },
            _ => Self {
                bug,
                messages: 1,
                claims: 2,
                commits: 3,
            },
        }
    }
}

impl Model for Handover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let messages = state.input.iter();
        let messages = messages.filter(|record| **record == Input::Message);
        if messages.count() < self.messages {
            actions.push(Action::Append);
        }
        if !state.late.is_empty() {
            actions.push(Action::Land);
        }
        for router in 0..ROUTERS {
            self.router(state, router, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Append => state.input.push(Input::Message),
            Action::Assign(router) => state.assigned[router] = true,
            Action::Claim(router, epoch) => state.claim(router, epoch),
            Action::Commit(router) => state.commit(router, self.bug),
            Action::Die(router, claiming) => {
                if claiming {
                    let claim = Input::Claim(state.owner().0 + 1, (router, state.lives[router]));
                    state.late.push(claim);
                }
                state.memory[router] = Memory::Idle;
                state.lives[router] += 1;
            }
            Action::Land => {
                let landed = state.late.remove(0);
                state.input.push(landed);
            }
            Action::Notice(router) => {
                let (newest, end) = (state.owner().0, state.input.len());
                if let Memory::Owner { epoch, read, .. } = &mut state.memory[router] {
                    *read = end;
                    if newest > *epoch {
                        state.memory[router] = Memory::Idle;
                    }
                }
            }
            Action::Raise(router) => {
                if let Memory::Owner { covered, .. } = state.memory[router] {
                    state.floor = state.floor.max(covered);
                }
            }
            Action::ReadBack(router) if self.bug == Bug::ClaimsShareKey => {
                // Whoever finds a claim of its epoch takes it for its own.
                if let Memory::Claimed(rows, known, covered, epoch) = state.memory[router] {
                    state.memory[router] = Memory::Owner {
                        epoch,
                        commits: Some((rows, known)),
                        covered,
                        read: state.input.len(),
                    };
                }
            }
            Action::ReadBack(router) => state.read_back(router),
            Action::TakeRows(router) => state.take_rows(router, self.bug),
            Action::Withdraw(router) => state.assigned[router] = false,
        }
        let owned = state.owners().next().is_some();
        state.kept |= owned && !state.assigned.iter().any(|assigned| *assigned);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("rows reach the floor", |model: &Self, state: &State| {
                state.rows(model.bug).1 >= state.floor
            }),
            Property::always("an epoch has one owner", |_, state: &State| {
                let owners: Vec<_> = state.owners().collect();
                owners.len() < 2 || owners[0] != owners[1]
            }),
            Property::always(
                "only the newest claim's commands count",
                |_, state: &State| {
                    let (newest, holder) = state.owner();
                    let of = |router: usize| match state.memory[router] {
                        Memory::Owner { epoch, .. } if epoch == newest => {
                            holder == Some((router, state.lives[router]))
                        }
                        _ => true,
                    };
                    (0..ROUTERS).all(of)
                },
            ),
            Property::sometimes(
                "a shard is handed over while it is served",
                |_, state: &State| state.met,
            ),
            Property::sometimes(
                "a shard is served that nobody is assigned",
                |_, state: &State| state.kept,
            ),
            Property::sometimes(
                "an owner serves whose rows were taken",
                |_, state: &State| {
                    state
                        .memory
                        .iter()
                        .any(|memory| matches!(memory, Memory::Owner { commits: None, .. }))
                },
            ),
            Property::sometimes("a claim of a dead process outruns", |_, state: &State| {
                let (_, holder) = state.owner();
                holder.is_some_and(|(router, life)| state.lives[router] > life)
            }),
        ]
    }
}
