//! A client that keeps its half of XEP-0198: counts, resends, drops what it has.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use entente_core::{AccountId, Content, Epoch, Position, SessionId};
use entente_proto::edge::{CloseReason, ResumeKey, ToEdge, ToRouter};
use rand::Rng;
use rand::rngs::StdRng;

use super::checker::Checker;
use crate::gateway::{Device, Gateway};

/// How far the connection is.
enum Link {
    Down,
    Asked { device: Device, steps: usize },
    Up(Device),
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
            users: Arc::clone(users),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.link, Link::Down)
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
        if !device.try_tell(vec![item]).await {
            self.cut();
        }
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
        if !device
            .try_tell(vec![ToRouter::Acked { session, through }])
            .await
        {
            self.cut();
        }
    }

    /// Takes what came.
    pub(crate) async fn step(&mut self, rng: &mut StdRng, checker: &mut Checker) {
        let (items, open) = match &mut self.link {
            Link::Down => return,
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
            self.cut();
        }
    }

    async fn take(&mut self, item: ToEdge, rng: &mut StdRng, checker: &mut Checker) {
        let asked = match &self.link {
            Link::Down => return,
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
            ToEdge::Refused { position, id, .. } => {
                self.place(position);
                let id = number(&id);
                self.queue.retain(|queued| queued.id != id);
                checker.refused(id);
            }
            ToEdge::Deliver {
                position, content, ..
            } => {
                self.place(position);
                self.content(position, content, checker);
            }
            ToEdge::Slot { position, .. } => self.place(position),
            ToEdge::Enabled { .. } => {}
        }
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
