//! Submission: from a sender's stanza to its `h`, with lost reports, dead edges and lost twins.
//!
//! | in the model | the mechanism in words |
//! |---|---|
//! | `log` | the recipient shard's input, in any order that routers cause |
//! | `Copies` | copies of a message under way to the log: one the edge waits for, and stray ones that a router may still append, or not, after the edge, or the edge's patience, is gone |
//! | `Submit`, `Land`, `GiveUp`, `Drop` | append and its outcomes: reported, durable with the report lost, late, never |
//! | `Full` | the log surely did not take the copy: nothing is answered, the connection is closed, and the twin waits for a resume |
//! | `Refuse`, `unfit` | one message at most that no log takes (it is too large): an error without an attempt, each time it comes |
//! | `Session` | the edge's memory of one session: what came in and what became of it |
//! | `Twin` | the session's `h`, and the refusals below it, in the memory of the owner of the sender's shard |
//! | `Report`, `Ack` | the edge tells the twin, and only what the twin has goes out as `<a h=…/>`; errors are written before the `h` that covers them |
//! | `EdgeDies`, `Resume` | the client resumes on the other edge; the twin answers; what lies above `h` is sent again |
//! | `OwnerDies`, `Attach` | what the owner had under way goes astray, and what it had not told the edge is open again; the edge attaches to the new owner, reports what it was told, and submits the rest in order |
//! | `Rebind` | edge and owner dead: `<failed/>`, a fresh session, the client sends again with the same ids |
//!
//! What is abstracted, and why that loses nothing:
//! - The fold is computed from the log, not run by owners: `takeover` shows that a rebuilt fold
//!   equals the fold of the log.
//! - Edges are interchangeable, so a session's edge is only alive or dead. Two sessions die apart,
//!   which includes their dying together. A stale edge that still submits is a stray copy.
//! - A broken network between client and edge is a dead edge: the client cannot tell them apart.
//! - All messages go to one recipient; pairs are independent of each other, and so are their lanes.
//!
//! What the implementation relies on, found with this model:
//! - A message is submitted only when those before it of the same session and shard are durable or
//!   refused. Then the log never has a later one without the earlier, whatever is lost, and what is
//!   sent again needs no link to its predecessor.
//! - A message that the log did not take is not answered with an error. An attempt at the same id,
//!   by a session that nobody remembers, may be in the log or on its way there, and where the log
//!   takes no message it takes no verdict. So the connection closes and the client sends again.
//! - What is refused is refused by what it is, before any attempt: then each copy of it is refused.
//! - The twin keeps the refusals below its `h` until the client has acknowledged the errors. `h`
//!   alone would, in `<resumed/>`, turn an error that was lost with the edge into an acceptance.

mod fold;
mod properties;
mod state;

use stateright::{Model, Property};

pub use fold::Fold;
pub use state::{Client, Copies, Session, State, Twin, View};

use crate::Bug;
use crate::check::Seeded;

const MESSAGES: usize = 3;
const SENDERS: usize = 2;
/// Messages 0 and 1 are of one sender, 2 is of the other.
const SENDER_OF: [usize; MESSAGES] = [0, 0, 1];
/// The messages of each sender, as a range.
const RANGE: [(usize, usize); SENDERS] = [(0, 2), (2, 3)];

/// The model and its bounds.
#[derive(Clone, Debug)]
pub struct Submit {
    bug: Bug,
    attempts: usize,
    deaths: usize,
    fulls: usize,
    owners: usize,
    senders: usize,
}

/// A step; the number is a sender's or a message's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// `<a h=…/>` reaches the client, after the errors that it covers.
    Ack(usize),
    /// The edge attaches to a new owner and reports.
    Attach(usize),
    /// A copy vanishes.
    Drop(usize),
    /// The sender's edge dies.
    EdgeDies(usize),
    /// The log did not take the awaited copy.
    Full(usize),
    /// The edge waits for a report no longer.
    GiveUp(usize),
    /// The awaited copy is appended; whether the report arrives.
    Land(usize, bool),
    /// The owner of the sender's shard dies.
    OwnerDies(usize),
    /// The client, its session lost, binds afresh.
    Rebind(usize),
    /// A message that no log takes is refused.
    Refuse(usize),
    /// The edge reports to the twin.
    Report(usize),
    /// The client resumes on the other edge.
    Resume(usize),
    /// The client sends its next message.
    Send(usize),
    /// A stray copy is appended.
    Stray(usize),
    /// The edge submits a message.
    Submit(usize),
}

impl Seeded for Submit {
    const NAME: &'static str = "submit";
    const BOUNDS: &'static [&'static str] = &["two senders", "one sender"];
    const BUGS: &'static [(Bug, usize, &'static str)] = &[
        (Bug::AckBeforeAppend, 1, "no acknowledged loss"),
        (Bug::AckBeforeTwin, 1, "h never goes back"),
        (Bug::NoDedupe, 1, "effectively once"),
        (Bug::ReattachAhead, 1, "fifo per sender"),
        (Bug::ReattachForgets, 1, "no acknowledged loss"),
        (
            Bug::RefuseWithoutVerdict,
            1,
            "never both accepted and refused",
        ),
        (Bug::RefuseWithoutVerdict, 1, "fifo per sender"),
        (Bug::SubmitAhead, 1, "fifo per sender"),
        (Bug::TwinForgetsErrors, 1, "no acknowledged loss"),
    ];

    fn seeded(bug: Bug, bounds: usize) -> Self {
        match bounds {
            0 => Self {
                bug,
                attempts: 1,
                deaths: 1,
                fulls: 1,
                owners: 0,
                senders: 2,
            },
            _ => Self {
                bug,
                attempts: 2,
                deaths: 2,
                fulls: 2,
                owners: 2,
                senders: 1,
            },
        }
    }
}

impl Submit {
    fn sender(&self, state: &State, sender: usize, actions: &mut Vec<Action>) {
        let (client, twin) = (&state.clients[sender], state.twins[sender].is_some());
        let Some(session) = &state.sessions[sender] else {
            actions.push(if twin {
                Action::Resume(sender)
            } else {
                Action::Rebind(sender)
            });
            if twin && state.owner_deaths < self.owners {
                actions.push(Action::OwnerDies(sender));
            }
            return;
        };
        let (first, end) = RANGE[sender];
        if session.received < end - first {
            actions.push(Action::Send(sender));
        }
        actions.push(if twin {
            Action::Report(sender)
        } else {
            Action::Attach(sender)
        });
        if client.h < session.told || self.bug == Bug::AckBeforeTwin {
            actions.push(Action::Ack(sender));
        }
        if state.edge_deaths < self.deaths {
            actions.push(Action::EdgeDies(sender));
        }
        if twin && state.owner_deaths < self.owners {
            actions.push(Action::OwnerDies(sender));
        }
        // In order: nothing goes to the log before what came earlier is there.
        let ahead = self.bug == Bug::SubmitAhead;
        let is_next = |id: &usize| match session.views[*id] {
            View::Open => true,
            View::Waiting => !ahead,
            View::Appended | View::Refused => false,
        };
        let mut received = first..first + session.received;
        let next = if self.bug == Bug::ReattachAhead && state.owner_deaths > 0 {
            received.rfind(is_next)
        } else {
            received.find(is_next)
        };
        let Some(id) = next.filter(|id| session.views[*id] == View::Open) else {
            return;
        };
        if state.unfit == Some(id) {
            actions.push(Action::Refuse(id));
            return;
        }
        let deaths = [state.edge_deaths, state.owner_deaths];
        let again = deaths.iter().filter(|deaths| **deaths > 0).count() + state.fulls;
        if state.attempts[id] < self.attempts + again {
            actions.push(Action::Submit(id));
        }
    }

    fn copies(&self, state: &State, actions: &mut Vec<Action>) {
        for (id, copies) in state.copies.iter().enumerate() {
            if copies.awaited {
                actions.extend([
                    Action::Land(id, true),
                    Action::Land(id, false),
                    Action::GiveUp(id),
                ]);
                // An edge that died learns of nothing: that is `Drop`.
                if state.fulls < self.fulls {
                    actions.push(Action::Full(id));
                }
            }
            if copies.stray > 0 {
                actions.push(Action::Stray(id));
            }
            if copies.awaited || copies.stray > 0 {
                actions.push(Action::Drop(id));
            }
        }
    }
}

impl Model for Submit {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        [None, Some(0), Some(1)].map(State::start).into()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for sender in 0..self.senders {
            self.sender(state, sender, actions);
        }
        self.copies(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Ack(sender) => state.ack(sender, self.bug),
            Action::Attach(sender) | Action::Report(sender) => state.report(sender, self.bug),
            Action::Drop(id) => state.drop_copy(id),
            Action::EdgeDies(sender) => state.edge_dies(sender),
            Action::Full(id) => state.full(id, self.bug),
            Action::GiveUp(id) => state.give_up(id),
            Action::Land(id, reported) => state.land(id, reported),
            Action::OwnerDies(sender) => state.owner_dies(sender, self.bug),
            Action::Rebind(sender) => state.rebind(sender),
            Action::Refuse(id) => state.refuse(id),
            Action::Resume(sender) => state.resume(sender),
            Action::Send(sender) => state.send(sender),
            Action::Stray(id) => {
                state.copies[id].stray -= 1;
                state.log.push(id);
            }
            Action::Submit(id) => state.submit(id),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
