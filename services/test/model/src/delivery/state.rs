//! The state of the delivery model and what one step does to it.

use super::{Bug, EDGES, OWNERS};

/// What takes a position of a session's outbound count.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Item {
    /// The message with this sequence.
    Message(usize),
    /// Something that the edge made: the result of an iq, presence, typing.
    Other,
}

/// The outbound positions of a session, as a twin and as an edge keep them.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Positions {
    /// The session epoch.
    pub epoch: usize,
    /// The first sequence that this session was to get.
    pub base: usize,
    /// What stands at each position.
    pub items: Vec<Item>,
}

impl Positions {
    /// The sequence behind the last message among the first `h` positions.
    pub fn up_to(&self, h: usize) -> usize {
        let messages = self
            .items
            .iter()
            .take(h)
            .filter(|item| **item != Item::Other);
        self.base + messages.count()
    }
}

/// The memory of an owner.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Owner {
    /// The twin of the device's session.
    pub twin: Option<Positions>,
}

/// An edge's memory of the device's session.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Edge {
    /// What it was given for the socket.
    pub positions: Positions,
    /// How much of it is written to the socket.
    pub written: usize,
    /// The device's last `<a h=…/>`.
    pub acked: usize,
    /// The owner to which it is attached; a higher number is a higher owner epoch.
    pub owner: usize,
}

/// The device.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Device {
    /// The edge at the other end of its socket.
    pub connection: Option<usize>,
    /// The epoch of its session.
    pub epoch: usize,
    /// Stanzas counted in its session.
    pub h: usize,
    /// Messages that its application has, in order.
    pub app: Vec<usize>,
    /// How many of them it acknowledged.
    pub acked: usize,
    /// How many of them it had when its session was bound afresh.
    pub had: usize,
}

/// Everything, on every machine.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct State {
    /// Messages in the log; their sequences are 0, 1, ..
    pub messages: usize,
    /// Fold: sequences below are settled and have their receipts.
    pub settled: usize,
    /// Fold: the newest session epoch.
    pub epoch: usize,
    /// The newest owner.
    pub newest: usize,
    /// Owners by owner epoch.
    pub owners: [Option<Owner>; OWNERS],
    /// The edges, where they have a session.
    pub edges: [Option<Edge>; EDGES],
    /// The device.
    pub device: Device,
    /// Edges that died and sockets that broke.
    pub breaks: usize,
    /// Stanzas made by the edge.
    pub others: usize,
    /// A message came twice in one session.
    pub repeated: bool,
    /// The application dropped a message that came again in another session.
    pub dropped: bool,
    /// An acknowledgement from an older session was not counted.
    pub ignored: bool,
    /// The session was resumed from the twin while messages were on their way.
    pub resumed: bool,
}

impl State {
    /// The device is bound through the first edge.
    pub fn start() -> Self {
        let mut state = Self {
            messages: 0,
            settled: 0,
            epoch: 0,
            newest: 0,
            owners: [Some(Owner::default()), None],
            edges: [None, None],
            device: Device::default(),
            breaks: 0,
            others: 0,
            repeated: false,
            dropped: false,
            ignored: false,
            resumed: false,
        };
        state.bind(0);
        state.dropped = false;
        state
    }

    fn settle(&mut self, epoch: usize, up_to: usize) {
        if epoch == self.epoch {
            self.settled = self.settled.max(up_to);
        } else {
            self.ignored = true;
        }
    }

    /// The owner gives the next message a position and hands it to the edge.
    pub fn deliver(&mut self, owner: usize, bug: Bug) {
        let Some(Owner { twin: Some(twin) }) = &mut self.owners[owner] else {
            return;
        };
        let next = twin.up_to(twin.items.len());
        if next >= self.messages {
            return;
        }
        let item = Item::Message(next);
        twin.items.push(item);
        for edge in self.edges.iter_mut().flatten() {
            let attached = edge.owner == owner || bug == Bug::EdgeIgnoresOwner;
            if edge.positions.epoch == twin.epoch && attached {
                edge.positions.items.push(item);
            }
        }
    }

    /// The edge makes a stanza of its own; the owner gives it a position first.
    pub fn other(&mut self, edge: usize, bug: Bug) {
        let Some(session) = &mut self.edges[edge] else {
            return;
        };
        if let Some(Owner { twin: Some(twin) }) = &mut self.owners[session.owner]
            && twin.epoch == session.positions.epoch
        {
            self.others += 1;
            session.positions.items.push(Item::Other);
            if bug != Bug::TwinMissesPositions {
                twin.items.push(Item::Other);
            }
        }
    }

    /// The edge writes the next stanza to its socket, at whose other end may be nobody.
    pub fn write(&mut self, edge: usize, bug: Bug) {
        let Some(session) = &mut self.edges[edge] else {
            return;
        };
        let Some(item) = session.positions.items.get(session.written).copied() else {
            return;
        };
        session.written += 1;
        let (epoch, written) = (
            session.positions.epoch,
            session.positions.up_to(session.written),
        );
        if self.device.connection == Some(edge) && self.device.epoch == epoch {
            self.device.h += 1;
            if let Item::Message(sequence) = item {
                match self.device.app.iter().position(|had| *had == sequence) {
                    Some(at) if at >= self.device.had => self.repeated = true,
                    Some(_) => self.dropped = true,
                    None => self.device.app.push(sequence),
                }
            }
        }
        if bug == Bug::SettleBySocketWrite {
            self.settle(epoch, written);
        }
    }

    /// The device acknowledges all that it counted.
    pub fn ack(&mut self) {
        let Some(edge) = self.device.connection else {
            return;
        };
        if let Some(session) = &mut self.edges[edge] {
            session.acked = self.device.h;
            self.device.acked = self.device.app.len();
        }
    }

    /// The edge reports the acknowledgement; the owner looks the position up and appends a settle
    /// command with the session epoch.
    pub fn report(&mut self, edge: usize, bug: Bug) {
        let Some(session) = &self.edges[edge] else {
            return;
        };
        let Some(Owner { twin: Some(twin) }) = &self.owners[session.owner] else {
            return;
        };
        let (epoch, acked) = (session.positions.epoch, session.acked);
        if twin.epoch == epoch || bug == Bug::NoSessionCheck {
            let (epoch, up_to) = (twin.epoch, twin.up_to(acked));
            self.settle(epoch, up_to);
        } else {
            self.ignored |= acked > 0;
        }
    }

    /// The edge attaches to the newest owner and reports its positions, or closes an old session.
    pub fn attach(&mut self, edge: usize) {
        let Some(session) = &mut self.edges[edge] else {
            return;
        };
        let Some(owner) = &mut self.owners[self.newest] else {
            return;
        };
        if session.positions.epoch < self.epoch {
            self.edges[edge] = None;
            return;
        }
        session.owner = self.newest;
        owner.twin = Some(session.positions.clone());
    }

    /// The edge's memory goes, and with it the device's socket.
    pub fn edge_dies(&mut self, edge: usize) {
        self.breaks += 1;
        self.edges[edge] = None;
        if self.device.connection == Some(edge) {
            self.device.connection = None;
        }
    }

    /// An owner that can tell the device exactly where its session stands.
    pub fn twin_for_resume(&self, bug: Bug) -> Option<usize> {
        let knows = |owner: &usize| match &self.owners[*owner] {
            Some(Owner { twin: Some(twin) }) => {
                twin.epoch == self.device.epoch && twin.items.len() >= self.device.h
            }
            _ => false,
        };
        // Before it answers, an owner reads its state partition to the end: only the newest does.
        match bug {
            Bug::ZombieAnswersResume => (0..OWNERS).find(knows),
            _ => Some(self.newest).filter(knows),
        }
    }

    /// The twin answers `<resumed/>`; the device's `h` settles, the rest comes again.
    pub fn resume(&mut self, edge: usize, owner: usize) {
        let Some(Owner { twin: Some(twin) }) = &mut self.owners[owner] else {
            return;
        };
        let h = self.device.h;
        self.resumed |= twin.items.len() > h;
        self.epoch += 1;
        twin.epoch = self.epoch;
        twin.items.truncate(h);
        let (positions, up_to) = (twin.clone(), twin.up_to(h));
        self.edges[edge] = Some(Edge {
            positions,
            written: h,
            acked: h,
            owner,
        });
        self.device.connection = Some(edge);
        self.device.epoch = self.epoch;
        self.device.acked = self.device.app.len();
        self.settle(self.epoch, up_to);
    }

    /// A fresh session through the newest owner: positions begin anew, unsettled messages come again.
    pub fn bind(&mut self, edge: usize) {
        self.epoch += 1;
        let Some(owner) = &mut self.owners[self.newest] else {
            return;
        };
        let positions = Positions {
            epoch: self.epoch,
            base: self.settled,
            items: Vec::new(),
        };
        owner.twin = Some(positions.clone());
        self.edges[edge] = Some(Edge {
            positions,
            written: 0,
            acked: 0,
            owner: self.newest,
        });
        let had = self.device.app.len();
        let device = &mut self.device;
        (device.connection, device.epoch, device.h, device.had) = (Some(edge), self.epoch, 0, had);
    }
}
