//! A client that keeps its half of XEP-0198: counts, resends, drops what it has. Its edge is in it: what
//! a connection node reports of a session when it attaches again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use entente_core::{AccountId, Content, Epoch, Position, Sequence, SessionId};
use entente_proto::edge::{
    CloseReason, EdgeId, Management, Refusal, Report, ResumeKey, ToEdge, ToRouter, Unacked,
    credit_cost,
};
use rand::Rng;
use rand::rngs::StdRng;

use super::checker::Checker;
use crate::gateway::{Device, Gateway};

/// How far the connection is.
enum Link {
    Down,
    Asked {
        device: Device,
        steps: usize,
    },
    /// The edge has no stream to an owner.
    Lost(Held),
    Up(Device),
}

/// What an edge keeps of a session without a stream.
struct Held {
    edge: EdgeId,
    session: SessionId,
    epoch: Epoch,
    position: Position,
}

pub(crate) struct Client {
    me: usize,
    account: AccountId,
    link: Link,
    key: Option<ResumeKey>,
    /// Sent and not covered by any `h`, with their places.
    queue: VecDeque<Queued>,
    /// The highest `h` that was seen in this session.
    covered: Position,
    received: Position,
    acknowledged: Position,
    /// Deliveries of this session by place, to be acknowledged.
    unacked: VecDeque<(Position, usize)>,
    on_this: BTreeSet<usize>,
    /// As an edge keeps it.
    open: VecDeque<Unacked>,
    refusals: Vec<Refusal>,
    delivered: Sequence,
    settled: Sequence,
    users: Arc<Vec<AccountId>>,
}

struct Queued {
    position: Position,
    id: usize,
    to: usize,
    long: bool,
}

/// An answer that takes more steps than this will not come.
const PATIENCE: usize = 300;

impl Client {
    pub(crate) fn new(me: usize, users: &Arc<Vec<AccountId>>) -> Self {
        Self {
            me,
            account: users[me],
            link: Link::Down,
            key: None,
            queue: VecDeque::new(),
            covered: Position::default(),
            received: Position::default(),
            acknowledged: Position::default(),
            unacked: VecDeque::new(),
            on_this: BTreeSet::new(),
            open: VecDeque::new(),
            refusals: Vec::new(),
            delivered: Sequence::default(),
            settled: Sequence::default(),
            users: Arc::clone(users),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.link, Link::Down | Link::Lost(_))
    }

    /// The stream to the owner ends; the client does not hear of it.
    pub(crate) fn lose(&mut self) {
        self.link = match std::mem::replace(&mut self.link, Link::Down) {
            Link::Up(device) => Link::Lost(Held {
                edge: device.edge,
                session: device.session,
                epoch: device.epoch,
                position: device.position,
            }),
            Link::Lost(held) => Link::Lost(held),
            Link::Asked { .. } | Link::Down => Link::Down,
        };
    }

    pub(crate) fn owes_nothing(&self) -> bool {
        self.is_up() && self.queue.is_empty() && self.unacked.is_empty()
    }

    pub(crate) fn cut(&mut self) {
        self.link = Link::Down;
    }

    pub(crate) async fn detach(&mut self) {
        if let Link::Up(device) = &self.link {
            let session = device.session;
            device.try_tell(vec![ToRouter::Detach { session }]).await;
        }
        self.cut();
    }

    pub(crate) async fn connect(
        &mut self,
        gateway: &Gateway,
        rng: &mut StdRng,
        checker: &mut Checker,
    ) {
        if matches!(self.link, Link::Lost(_)) {
            self.reattach(gateway).await;
            return;
        }
        let Some(mut device) = gateway.try_connect(self.account).await else {
            return;
        };
        device.session = SessionId::new(rng.random());
        let (session, account) = (device.session, self.account);
        let ask = match self.key.clone() {
            Some(resume) => ToRouter::Resume {
                session,
                account,
                resume,
                h: u32::try_from(self.received.value()).unwrap(),
            },
            None => ToRouter::Bind { session, account },
        };
        if self.key.is_some() {
            // The `h` of a resume acknowledges, whatever the answer will be.
            for (_, id) in &self.unacked {
                checker.acknowledged(*id);
            }
        }
        if device.try_tell(vec![ask]).await {
            self.on_this.clear();
            self.link = Link::Asked { device, steps: 0 };
        }
    }

    /// Attaches again, reports, and sends again what has no outcome, in order.
    async fn reattach(&mut self, gateway: &Gateway) {
        let Link::Lost(held) = &self.link else { return };
        let Some(mut device) = gateway.try_attach(held.edge, self.account).await else {
            return;
        };
        (device.session, device.epoch) = (held.session, held.epoch);
        let (session, last) = (held.session, held.position);
        let report = Report {
            account: self.account,
            epoch: held.epoch,
            management: Some(Management {
                inbound: Position::default(),
                outbound: Position::default(),
                resume: self.key.clone(),
            }),
            started: true,
            credit: 1 << 20,
            handled: self.covered,
            sent: self.received,
            acked: self.acknowledged,
            delivered: self.delivered,
            settled: self.settled,
            unacked: self.open.iter().copied().collect(),
            refusals: self.refusals.clone(),
        };
        let report = Box::new(report);
        let mut items = vec![ToRouter::Reattach { session, report }];
        device.position = self.covered;
        let mut queued = self.queue.iter().peekable();
        while device.position < last {
            let position = device.position.next();
            let open = queued.next_if(|queued| queued.position == position);
            items.push(if let Some(open) = open {
                write(&mut device, self.users[open.to], open.id, open.long)
            } else {
                // It was refused.
                device.position = position;
                ToRouter::Handled { session, position }
            });
        }
        if device.try_tell(items).await {
            self.link = Link::Up(device);
        }
    }

    /// Sends the next stanza; a long one is more than any log takes.
    pub(crate) async fn send(&mut self, to: usize, long: bool, checker: &mut Checker) {
        let Link::Up(device) = &mut self.link else {
            return;
        };
        let id = checker.invoke(self.me, to);
        let item = write(device, self.users[to], id, long);
        let position = device.position;
        self.queue.push_back(Queued {
            position,
            id,
            to,
            long,
        });
        // Whether it arrives is for the next step to see.
        device.try_tell(vec![item]).await;
    }

    pub(crate) async fn acknowledge(&mut self, checker: &mut Checker) {
        let Link::Up(device) = &self.link else { return };
        if self.received == self.acknowledged {
            return;
        }
        let (session, through) = (device.session, self.received);
        while let Some((_, id)) = self.unacked.pop_front() {
            checker.acknowledged(id);
        }
        self.acknowledged = through;
        device
            .try_tell(vec![ToRouter::Acked { session, through }])
            .await;
        while let Some(front) = self.open.front()
            && front.position <= through
        {
            self.settled = front.sequence;
            self.open.pop_front();
        }
        self.refusals.retain(|refusal| refusal.position > through);
    }

    /// Takes what came.
    pub(crate) async fn step(&mut self, rng: &mut StdRng, checker: &mut Checker) {
        let (items, open) = match &mut self.link {
            Link::Down | Link::Lost(_) => return,
            Link::Asked { device, steps } => {
                *steps += 1;
                let (items, open) = device.ready();
                (items, open && *steps < PATIENCE)
            }
            Link::Up(device) => device.ready(),
        };
        for item in items {
            self.take(item, rng, checker).await;
        }
        if !open {
            self.lose();
        }
    }

    async fn take(&mut self, item: ToEdge, rng: &mut StdRng, checker: &mut Checker) {
        let asked = match &self.link {
            Link::Down | Link::Lost(_) => return,
            Link::Asked { device, .. } | Link::Up(device) => device.session,
        };
        if item.session() != asked {
            return;
        }
        match item {
            ToEdge::Bound { epoch, .. } => self.bound(epoch, rng).await,
            ToEdge::Resumed {
                epoch,
                handled,
                acked,
                ..
            } => {
                assert!(handled >= self.covered, "R6: h went back at a resume");
                assert_eq!(acked, self.received, "the twin has our count");
                checker.resumes += 1;
                self.cover(handled, true, checker);
                self.unacked.clear();
                self.acknowledged = self.received;
                // At an edge that knows nothing of the session.
                self.open.clear();
                (self.delivered, self.settled) = (Sequence::default(), Sequence::default());
                self.refusals.clear();
                self.go_up(epoch, handled).await;
            }
            ToEdge::Unresumable { h, .. } => {
                if let Some(h) = h {
                    self.cover(Position::new(u64::from(h)), false, checker);
                }
                self.key = None;
                self.rebind(rng).await;
            }
            ToEdge::Closed { why, .. } => {
                checker.parked += usize::from(why == CloseReason::Full);
                self.cut();
            }
            ToEdge::Handled { through, .. } => {
                assert!(through >= self.covered, "R6: h went back");
                self.cover(through, false, checker);
            }
            ToEdge::Refused { refusal, .. } => {
                self.place(refusal.position);
                checker.refused(number(&refusal.id));
                self.refused(refusal);
            }
            ToEdge::Deliver {
                position,
                sequence,
                content,
                ..
            } => {
                self.place(position);
                self.note_entry(position, sequence, &content);
                self.content(position, content, checker);
            }
            ToEdge::Slot { position, .. } => self.place(position),
            ToEdge::Reattached { .. } => checker.reattached += 1,
            ToEdge::Enabled { .. } => {}
        }
    }

    fn note_entry(&mut self, position: Position, sequence: Option<Sequence>, content: &Content) {
        if let Some(sequence) = sequence {
            self.delivered = sequence;
            self.open.push_back(Unacked {
                position,
                sequence,
                cost: credit_cost(content),
            });
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        let id = number(&refusal.id);
        self.queue.retain(|queued| queued.id != id);
        self.refusals.push(refusal);
    }

    fn place(&mut self, position: Position) {
        assert_eq!(position, self.received.next(), "positions are dense");
        self.received = position;
    }

    fn content(&mut self, position: Position, content: Content, checker: &mut Checker) {
        match content {
            Content::Stanza(payload) => {
                let text = String::from_utf8(payload.to_vec()).unwrap();
                let id = text.split('\'').nth(1).unwrap().parse().unwrap();
                checker.delivered(self.me, id, &mut self.on_this);
                self.unacked.push_back((position, id));
            }
            Content::Failed(failed) => checker.notice(number(&failed.id)),
            Content::Delivered(delivered) => {
                for id in &delivered.ids {
                    checker.receipt(self.me, number(id));
                }
            }
            Content::IdentityChanged { .. } => {}
        }
    }

    fn cover(&mut self, through: Position, by_resume: bool, checker: &mut Checker) {
        self.covered = self.covered.max(through);
        while let Some(queued) = self.queue.front()
            && queued.position <= through
        {
            checker.accepted(queued.id, by_resume);
            self.queue.pop_front();
        }
    }

    async fn rebind(&mut self, rng: &mut StdRng) {
        let Link::Asked { device, steps } = &mut self.link else {
            return;
        };
        *steps = 0;
        device.session = SessionId::new(rng.random());
        let (session, account) = (device.session, self.account);
        if !device
            .try_tell(vec![ToRouter::Bind { session, account }])
            .await
        {
            self.cut();
        }
    }

    async fn bound(&mut self, epoch: Epoch, rng: &mut StdRng) {
        let key = ResumeKey(rng.random());
        self.key = Some(key.clone());
        (self.covered, self.received) = (Position::default(), Position::default());
        self.acknowledged = Position::default();
        self.unacked.clear();
        self.open.clear();
        self.refusals.clear();
        (self.delivered, self.settled) = (Sequence::default(), Sequence::default());
        if let Link::Asked { device, .. } = &self.link {
            let (session, inbound) = (device.session, Position::default());
            let resume = Some(key);
            device
                .try_tell(vec![ToRouter::Enable {
                    session,
                    inbound,
                    resume,
                }])
                .await;
        }
        self.go_up(epoch, Position::default()).await;
    }

    /// Sends again what no `h` covers, in order, and takes what waits.
    async fn go_up(&mut self, epoch: Epoch, handled: Position) {
        let Link::Asked { mut device, .. } = std::mem::replace(&mut self.link, Link::Down) else {
            return;
        };
        (device.epoch, device.position) = (epoch, handled);
        let mut items = Vec::new();
        for queued in &mut self.queue {
            let to = self.users[queued.to];
            items.push(write(&mut device, to, queued.id, queued.long));
            queued.position = device.position;
        }
        let session = device.session;
        items.push(ToRouter::Credit {
            session,
            bytes: 1 << 20,
        });
        items.push(ToRouter::Start { session });
        if device.try_tell(items).await {
            self.link = Link::Up(device);
        }
    }
}

fn write(device: &mut Device, to: AccountId, id: usize, long: bool) -> ToRouter {
    if long {
        device.long_message(to, &id.to_string())
    } else {
        device.message(to, &id.to_string())
    }
}

fn number(id: &[u8]) -> usize {
    std::str::from_utf8(id).unwrap().parse().unwrap()
}
