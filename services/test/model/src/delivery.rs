//! Delivery: from the mailbox to the device's acknowledgement, with resumes, stale edges, zombies.
//!
//! | in the model | the mechanism in words |
//! |---|---|
//! | `messages`, `settled`, `epoch` | the fold: what the mailbox got, what is settled and receipted, the newest session epoch |
//! | `Positions` | the map from outbound `h` positions to delivery sequences; the owner's copy is the twin |
//! | `Deliver`, `Other`, `Write` | everything that the device counts gets its position from the owner before it is written to the socket |
//! | `Ack`, `Report` | the device's `<a h=…/>`; the owner looks the position up and appends "settle this epoch up to n" |
//! | `Break` | the socket breaks and the edge does not know: it goes on writing to nobody, and reports late |
//! | `EdgeDies`, `Resume` | the twin answers exactly, cuts the map at the device's `h`, a new session epoch goes into the log |
//! | `OwnerDies`, `TakeOver`, `Attach` | a new owner knows no positions until the edge attaches and reports them; without the death the old owner is a zombie with a twin |
//! | `Bind` | owner and edge dead, or a client that forgot its session: a fresh one, everything unsettled comes again, the application drops what it has |
//!
//! What is abstracted, and why that loses nothing:
//! - The log is only its fold, and owners know it at once, but for session epochs, which a zombie
//!   knows from its own twin. `takeover` shows that a rebuilt fold equals the fold of the log.
//! - Messages enter the mailbox in the order of their sequences; which sender a message has does
//!   not matter here, so order over all of them stands for order per sender. `submit` has senders.
//! - Two owners, one take-over: what an owner does depends on being the newest, not on how many were
//!   before. An edge's stream to its owner is in order or broken, and broken means attaching anew.
//!
//! What the implementation relies on, found with this model:
//! - An acknowledgement is looked up in the map of *its* session. A late `h` of the old session,
//!   read in the map of the new one, settles what the device never saw.
//! - An edge takes deliveries from the owner it is attached to and from no other; attaching to a
//!   higher owner epoch is for good.
//! - An owner answers a resume only after it has read its state partition to the end, past the time
//!   of the request. A zombie's map has the right length and the wrong positions: being fenced at
//!   the state topic alone does not stop it from settling.

mod properties;
mod state;

use stateright::{Model, Property};

pub use state::{Device, Edge, Item, Owner, Positions, State};

use crate::Bug;
use crate::check::Seeded;

const MESSAGES: usize = 3;
const EDGES: usize = 2;
const OWNERS: usize = 2;

/// The model and its bounds.
#[derive(Clone, Debug)]
pub struct Delivery {
    bug: Bug,
    breaks: usize,
    others: usize,
}

/// A step; the number is an edge's or an owner's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// The device acknowledges.
    Ack,
    /// A message is appended.
    Append,
    /// The edge attaches to the newest owner.
    Attach(usize),
    /// The device binds afresh through this edge.
    Bind(usize),
    /// The device's socket breaks; the edge does not notice.
    Break,
    /// The owner hands over the next message.
    Deliver(usize),
    /// The edge dies.
    EdgeDies(usize),
    /// The edge makes a stanza of its own.
    Other(usize),
    /// The owner dies.
    OwnerDies(usize),
    /// The edge reports the device's acknowledgement.
    Report(usize),
    /// The device resumes through this edge, answered by this owner.
    Resume(usize, usize),
    /// The second owner takes over.
    TakeOver,
    /// The edge writes to its socket.
    Write(usize),
}

impl Seeded for Delivery {
    const NAME: &'static str = "delivery";
    const BOUNDS: &'static [&'static str] = &["one break", "two breaks"];
    const BUGS: &'static [(Bug, usize, &'static str)] = &[
        (Bug::EdgeIgnoresOwner, 0, "no acknowledged loss"),
        (Bug::NoSessionCheck, 0, "no acknowledged loss"),
        (Bug::SettleBySocketWrite, 0, "receipt only after device ack"),
        (Bug::TwinMissesPositions, 0, "no acknowledged loss"),
        (Bug::ZombieAnswersResume, 0, "no acknowledged loss"),
    ];

    fn seeded(bug: Bug, bounds: usize) -> Self {
        match bounds {
            0 => Self {
                bug,
                breaks: 1,
                others: 1,
            },
            _ => Self {
                bug,
                breaks: 2,
                others: 0,
            },
        }
    }
}

impl Delivery {
    fn edge(&self, state: &State, edge: usize, session: &Edge, actions: &mut Vec<Action>) {
        actions.push(Action::Write(edge));
        actions.push(Action::Report(edge));
        if state.others < self.others {
            actions.push(Action::Other(edge));
        }
        if session.owner < state.newest || session.positions.epoch < state.epoch {
            actions.push(Action::Attach(edge));
        }
        if state.breaks < self.breaks {
            actions.push(Action::EdgeDies(edge));
        }
    }

    fn reconnect(&self, state: &State, actions: &mut Vec<Action>) {
        let twin = state.twin_for_resume(self.bug);
        for edge in 0..EDGES {
            actions.extend(twin.map(|owner| Action::Resume(edge, owner)));
            // A client that was restarted has forgotten its session and does not ask.
            if state.owners[state.newest].is_some() {
                actions.push(Action::Bind(edge));
            }
        }
    }
}

impl Model for Delivery {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.messages < MESSAGES {
            actions.push(Action::Append);
        }
        match state.device.connection {
            Some(_) if state.breaks < self.breaks => actions.extend([Action::Ack, Action::Break]),
            Some(_) => actions.push(Action::Ack),
            None => self.reconnect(state, actions),
        }
        for (edge, session) in state.edges.iter().enumerate() {
            if let Some(session) = session {
                self.edge(state, edge, session, actions);
            }
        }
        for (owner, memory) in state.owners.iter().enumerate() {
            if memory.is_some() {
                actions.push(Action::Deliver(owner));
            }
        }
        if state.newest == 0 {
            actions.push(Action::TakeOver);
        }
        if state.owners[0].is_some() && state.newest > 0 {
            actions.push(Action::OwnerDies(0));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Ack => state.ack(),
            Action::Append => state.messages += 1,
            Action::Attach(edge) => state.attach(edge),
            Action::Bind(edge) => state.bind(edge),
            Action::Break => {
                state.breaks += 1;
                state.device.connection = None;
            }
            Action::Deliver(owner) => state.deliver(owner, self.bug),
            Action::EdgeDies(edge) => state.edge_dies(edge),
            Action::Other(edge) => state.other(edge, self.bug),
            Action::OwnerDies(owner) => state.owners[owner] = None,
            Action::Report(edge) => state.report(edge, self.bug),
            Action::Resume(edge, owner) => state.resume(edge, owner),
            Action::TakeOver => {
                state.newest = 1;
                state.owners[1] = Some(Owner::default());
            }
            Action::Write(edge) => state.write(edge, self.bug),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
