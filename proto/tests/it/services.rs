//! Scripted services: they note what they are asked and answer what the test says.

use std::sync::Arc;

use async_trait::async_trait;
use entente_core::{
    AccountFacts, AccountId, Bundle, Enlisted, Enlistment, Fault, PartnerId, PrekeyCount,
    PrekeyUpload, ShardId, VisibleId,
};
use entente_proto::directory::BlockChange;
use entente_proto::edge::{
    EdgeId, EdgeSender, EdgeStream, Inbound, Router, STREAM_BATCHES, StreamId, ToEdge,
};
use entente_proto::identity::{Credential, FastToken, Grounds, LoggedIn, Revocation};
use entente_proto::{Directory, Identity};
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};

/// What the owner of a shard holds of an edge that attached.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) edge: EdgeId,
    pub(crate) shard: ShardId,
    pub(crate) inbox: mpsc::Receiver<Inbound>,
    pub(crate) to_edge: mpsc::Sender<Vec<ToEdge>>,
}

/// A router that hands each attached edge to the test.
#[derive(Debug)]
pub(crate) struct Owners {
    attached: mpsc::Sender<Attached>,
    pub(crate) refuse: Mutex<Option<Fault>>,
}

impl Owners {
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<Attached>) {
        let (attached, handed) = mpsc::channel(16);
        let refuse = Mutex::default();
        (Arc::new(Self { attached, refuse }), handed)
    }
}

#[async_trait]
impl Router for Owners {
    async fn attach(&self, edge: EdgeId, shard: ShardId) -> Result<EdgeStream, Fault> {
        if let Some(fault) = *self.refuse.lock() {
            return Err(fault);
        }
        let (to_owner, inbox) = mpsc::channel(STREAM_BATCHES);
        let (to_edge, edge_inbox) = mpsc::channel(STREAM_BATCHES);
        let attached = Attached {
            edge,
            shard,
            inbox,
            to_edge,
        };
        self.attached.send(attached).await.unwrap();
        Ok(EdgeStream {
            to_router: EdgeSender::new(StreamId { edge, number: 0 }, to_owner),
            to_edge: edge_inbox,
        })
    }
}

/// What a call brought, and what it is answered.
#[derive(Debug)]
pub(crate) struct Script<T> {
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) answer: Mutex<Result<T, Fault>>,
    /// Calls that are waited for by nobody but the service.
    pub(crate) in_flight: Arc<()>,
    pub(crate) hang: bool,
    pub(crate) revoked: broadcast::Sender<Revocation>,
    pub(crate) grounds: Mutex<Grounds>,
}

/// All that a service may answer.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) facts: Option<AccountFacts>,
    pub(crate) blocked: Vec<AccountId>,
    pub(crate) enlisted: Enlisted,
    pub(crate) found: Option<AccountId>,
    pub(crate) count: PrekeyCount,
    pub(crate) bundle: Bundle,
    pub(crate) logged_in: LoggedIn,
    pub(crate) fast: FastToken,
}

impl Script<Answers> {
    pub(crate) fn new(answer: Result<Answers, Fault>, hang: bool) -> Arc<Self> {
        let (revoked, _) = broadcast::channel(8);
        Arc::new(Self {
            asked: Mutex::default(),
            answer: Mutex::new(answer),
            in_flight: Arc::default(),
            hang,
            revoked,
            grounds: Mutex::default(),
        })
    }

    /// The only question since the last time.
    pub(crate) fn question(&self) -> String {
        let mut asked = self.asked.lock();
        assert_eq!(asked.len(), 1, "asked once: {asked:?}");
        asked.pop().unwrap()
    }

    async fn answer(&self, question: String) -> Result<Answers, Fault> {
        let _in_flight = Arc::clone(&self.in_flight);
        self.asked.lock().push(question);
        if self.hang {
            std::future::pending::<()>().await;
        }
        self.answer.lock().clone()
    }
}

#[async_trait]
impl Directory for Script<Answers> {
    async fn account(&self, account: AccountId) -> Result<Option<AccountFacts>, Fault> {
        let answer = self.answer(format!("account {account}")).await;
        answer.map(|answers| answers.facts)
    }

    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault> {
        let answer = self.answer(format!("blocked {account}")).await;
        answer.map(|answers| answers.blocked)
    }

    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault> {
        let answer = self.answer(format!("change {account} {change:?}")).await;
        answer.map(drop)
    }

    async fn enlist(&self, enlistment: Enlistment) -> Result<Enlisted, Fault> {
        let visible = enlistment.visible.as_str().to_owned();
        let answer = self
            .answer(format!("enlist {visible} {enlistment:?}"))
            .await;
        answer.map(|answers| answers.enlisted)
    }

    async fn lookup(
        &self,
        partner: PartnerId,
        visible: &VisibleId,
    ) -> Result<Option<AccountId>, Fault> {
        let visible = visible.as_str();
        let answer = self.answer(format!("lookup {partner} {visible}")).await;
        answer.map(|answers| answers.found)
    }

    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault> {
        let answer = self.answer(format!("count {account}")).await;
        answer.map(|answers| answers.count)
    }

    async fn take_bundle(&self, target: AccountId) -> Result<Bundle, Fault> {
        let answer = self.answer(format!("take {target}")).await;
        answer.map(|answers| answers.bundle)
    }

    async fn unenlist(&self, account: AccountId) -> Result<(), Fault> {
        let answer = self.answer(format!("unenlist {account}")).await;
        answer.map(drop)
    }

    async fn upload(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault> {
        let answer = self.answer(format!("upload {account} {keys:?}")).await;
        answer.map(|answers| answers.count)
    }
}

#[async_trait]
impl Identity for Script<Answers> {
    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault> {
        Directory::blocked(self, account).await
    }

    async fn bundle(&self, requester: AccountId, target: AccountId) -> Result<Bundle, Fault> {
        let answer = self.answer(format!("bundle {requester} {target}")).await;
        answer.map(|answers| answers.bundle)
    }

    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault> {
        Directory::change_blocked(self, account, change).await
    }

    async fn issue_fast(&self, account: AccountId) -> Result<FastToken, Fault> {
        let answer = self.answer(format!("fast {account}")).await;
        answer.map(|answers| answers.fast)
    }

    async fn login(&self, account: AccountId, credential: Credential) -> Result<LoggedIn, Fault> {
        let shown = match credential {
            Credential::Fast { token, proof } => format!("{token} {proof:?}"),
            Credential::Token(token) => token.expose().clone(),
        };
        let answer = self.answer(format!("login {account} {shown}")).await;
        answer.map(|answers| answers.logged_in)
    }

    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault> {
        Directory::prekey_count(self, account).await
    }

    fn grounds(&self) -> Grounds {
        self.grounds.lock().clone()
    }

    fn revocations(&self) -> broadcast::Receiver<Revocation> {
        self.revoked.subscribe()
    }

    async fn unenlist(&self, account: AccountId) -> Result<(), Fault> {
        Directory::unenlist(self, account).await
    }

    async fn upload(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault> {
        Directory::upload(self, account, keys).await
    }
}
