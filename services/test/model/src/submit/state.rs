//! The state of the submission model and what one step does to it.

use super::{Bug, MESSAGES, RANGE, SENDER_OF, SENDERS};

/// What the edge knows of a message of a session.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum View {
    /// Appended.
    Appended,
    /// Not submitted, or the outcome is unknown.
    Open,
    /// Refused; the error is on the stream.
    Refused,
    /// Submitted, no report yet.
    Waiting,
}

/// The sender's client. Its own queue outlives all sessions.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Client {
    /// Its messages below this are acknowledged.
    pub h: usize,
    /// An `h` came that was lower than one before.
    pub went_back: bool,
}

/// The edge's memory of a session. Counters run over all of a sender's messages, whatever session.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Session {
    /// Messages that came in.
    pub received: usize,
    /// What became of each.
    pub views: [View; MESSAGES],
    /// The `h` that the twin is known to have.
    pub told: usize,
}

/// The owner's memory of a session.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Twin {
    /// Messages handled.
    pub h: usize,
    /// Those below `h` that were refused.
    pub refused: [bool; MESSAGES],
}

/// Copies of a message on their way to the log.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Copies {
    /// One for which an edge waits.
    pub awaited: bool,
    /// Others, whose report nobody hears.
    pub stray: usize,
}

/// Everything, on every machine.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct State {
    /// The recipient shard's input.
    pub log: Vec<usize>,
    /// The message that no log takes.
    pub unfit: Option<usize>,
    /// Per sender.
    pub clients: [Client; SENDERS],
    /// Errors that reached their client.
    pub errors: [bool; MESSAGES],
    /// Per sender, while its edge lives.
    pub sessions: [Option<Session>; SENDERS],
    /// Per sender, while the owner of its shard lives.
    pub twins: [Option<Twin>; SENDERS],
    /// Per message.
    pub copies: [Copies; MESSAGES],
    /// Submissions of each message.
    pub attempts: [usize; MESSAGES],
    /// Edges that died.
    pub edge_deaths: usize,
    /// Owners that died.
    pub owner_deaths: usize,
    /// Copies that the log did not take.
    pub fulls: usize,
    /// The last session came by `<resumed/>`.
    pub resumed: bool,
    /// The last session came by `<failed/>` and a fresh bind.
    pub rebound: bool,
}

impl State {
    /// Both senders bound, nothing sent.
    pub fn start(unfit: Option<usize>) -> Self {
        let session = Session {
            received: 0,
            views: [View::Open; MESSAGES],
            told: 0,
        };
        Self {
            log: Vec::new(),
            unfit,
            clients: Default::default(),
            errors: [false; MESSAGES],
            sessions: [Some(session.clone()), Some(session)],
            twins: [Some(Twin::default()), Some(Twin::default())],
            copies: Default::default(),
            attempts: [0; MESSAGES],
            edge_deaths: 0,
            owner_deaths: 0,
            fulls: 0,
            resumed: false,
            rebound: false,
        }
    }

    fn view(&mut self, id: usize, view: View) {
        if let Some(session) = &mut self.sessions[SENDER_OF[id]] {
            session.views[id] = view;
        }
    }

    /// The client writes its next message.
    pub fn send(&mut self, sender: usize) {
        if let Some(session) = &mut self.sessions[sender] {
            session.received += 1;
        }
    }

    /// The edge submits a message and waits.
    pub fn submit(&mut self, id: usize) {
        self.attempts[id] += 1;
        self.copies[id].awaited = true;
        self.view(id, View::Waiting);
    }

    /// The awaited copy becomes durable.
    pub fn land(&mut self, id: usize, reported: bool) {
        self.copies[id].awaited = false;
        self.log.push(id);
        self.view(id, if reported { View::Appended } else { View::Open });
    }

    /// The awaited copy goes astray: it may still land.
    pub fn give_up(&mut self, id: usize) {
        self.copies[id].awaited = false;
        self.copies[id].stray += 1;
        self.view(id, View::Open);
    }

    /// A copy never becomes durable.
    pub fn drop_copy(&mut self, id: usize) {
        if self.copies[id].stray > 0 {
            self.copies[id].stray -= 1;
        } else {
            self.copies[id].awaited = false;
            self.view(id, View::Open);
        }
    }

    /// The log surely did not take the awaited copy. The client hears nothing of it but the end of
    /// its connection; the twin stays.
    pub fn full(&mut self, id: usize, bug: Bug) {
        self.fulls += 1;
        self.copies[id].awaited = false;
        if bug == Bug::RefuseWithoutVerdict {
            self.view(id, View::Refused);
        } else {
            self.sessions[SENDER_OF[id]] = None;
        }
    }

    /// No log takes the message: it is answered without an attempt.
    pub fn refuse(&mut self, id: usize) {
        self.view(id, View::Refused);
    }

    fn handled(&self, sender: usize, bug: Bug) -> usize {
        let Some(session) = &self.sessions[sender] else {
            return 0;
        };
        let first = RANGE[sender].0;
        let settled = |id: &usize| match session.views[*id] {
            View::Appended | View::Refused => true,
            View::Waiting => bug == Bug::AckBeforeAppend,
            View::Open => false,
        };
        (first..first + session.received)
            .take_while(settled)
            .count()
    }

    /// The edge tells the twin, a new one too, its `h` and the refusals below.
    pub fn report(&mut self, sender: usize, bug: Bug) {
        let h = self.handled(sender, bug);
        let first = RANGE[sender].0;
        let Some(session) = &mut self.sessions[sender] else {
            return;
        };
        session.told = h;
        let mut twin = self.twins[sender].take().unwrap_or_default();
        twin.h = h;
        for id in first..first + h {
            twin.refused[id] = session.views[id] == View::Refused && bug != Bug::TwinForgetsErrors;
        }
        self.twins[sender] = Some(twin);
    }

    /// The client reads errors and then the `h` that covers them.
    pub fn ack(&mut self, sender: usize, bug: Bug) {
        let Some(session) = &self.sessions[sender] else {
            return;
        };
        let h = match bug {
            Bug::AckBeforeTwin => self.handled(sender, bug),
            _ => session.told,
        };
        let first = RANGE[sender].0;
        for id in first..first + h {
            self.errors[id] |= session.views[id] == View::Refused;
        }
        self.told(sender, h);
    }

    fn told(&mut self, sender: usize, h: usize) {
        let client = &mut self.clients[sender];
        client.went_back |= h < client.h;
        client.h = h;
    }

    /// The edge's memory goes; what it waited for may still land.
    pub fn edge_dies(&mut self, sender: usize) {
        self.edge_deaths += 1;
        self.sessions[sender] = None;
        for id in RANGE[sender].0..RANGE[sender].1 {
            let copies = &mut self.copies[id];
            copies.stray += usize::from(copies.awaited);
            copies.awaited = false;
        }
    }

    /// The owner's memory goes. Of what it did not tell the edge, nobody knows what became of it.
    pub fn owner_dies(&mut self, sender: usize, bug: Bug) {
        self.owner_deaths += 1;
        self.twins[sender] = None;
        let (first, end) = RANGE[sender];
        let Some(session) = &mut self.sessions[sender] else {
            return;
        };
        for id in first..end {
            let copies = &mut self.copies[id];
            copies.stray += usize::from(copies.awaited);
            copies.awaited = false;
        }
        let views = session.views[first..first + session.received].iter_mut();
        let untold = views.skip(session.told);
        match bug {
            // Each of them was submitted once: that is taken for enough.
            Bug::ReattachForgets => untold
                .filter(|view| **view != View::Open)
                .for_each(|view| *view = View::Appended),
            _ => untold.for_each(|view| *view = View::Open),
        }
    }

    /// The twin answers with its `h`, after the errors below it.
    pub fn resume(&mut self, sender: usize) {
        let Some(twin) = self.twins[sender].clone() else {
            return;
        };
        let first = RANGE[sender].0;
        let mut views = [View::Open; MESSAGES];
        let known = views.iter_mut().enumerate().skip(first).take(twin.h);
        for (id, view) in known {
            *view = if twin.refused[id] {
                View::Refused
            } else {
                View::Appended
            };
            self.errors[id] |= twin.refused[id];
        }
        self.sessions[sender] = Some(Session {
            received: twin.h,
            views,
            told: twin.h,
        });
        self.told(sender, twin.h);
        (self.resumed, self.rebound) = (true, false);
    }

    /// The client sends again all that no `h` covered, in a session of its own.
    pub fn rebind(&mut self, sender: usize) {
        let (first, h) = (RANGE[sender].0, self.clients[sender].h);
        let mut views = [View::Open; MESSAGES];
        for (id, view) in views.iter_mut().enumerate().skip(first).take(h) {
            *view = if self.errors[id] {
                View::Refused
            } else {
                View::Appended
            };
        }
        self.sessions[sender] = Some(Session {
            received: h,
            views,
            told: h,
        });
        let mut refused = self.errors;
        refused
            .iter_mut()
            .enumerate()
            .for_each(|(id, r)| *r &= (first..first + h).contains(&id));
        self.twins[sender] = Some(Twin { h, refused });
        (self.resumed, self.rebound) = (false, true);
    }
}
