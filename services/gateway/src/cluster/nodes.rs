//! The router nodes as one: each call goes to the node that owns the shard in question.
//!
//! **Invariants**
//! - A node that does not own a shard does nothing for it and says so. Then all are asked what they own,
//!   and the owner is called; a second wrong guess is a fault that is worth a later attempt.
//! - Many who look for owners at one time ask once.
//! - Shards of this process are never reached over the network.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{
    AccountFacts, AccountId, Bundle, Enlisted, Enlistment, Epoch, Fault, FaultKind, PartnerId,
    Placement, PrekeyCount, PrekeyUpload, ShardId, VisibleId,
};
use entente_proto::directory::BlockChange;
use entente_proto::edge::{EdgeId, EdgeStream, Router};
use entente_proto::inspect::{Inspect, Question};
use entente_proto::intake::{Ephemeral, Intake, Taken, Topic};
use entente_proto::owners::{ELSEWHERE, Owners};
use entente_proto::{
    Directory, DirectoryClient, InspectClient, IntakeClient, OwnersClient, RouterClient,
};
use entente_router::Service;
use futures::future::join_all;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::owners::OwnerMap;

const NO_OWNER: Fault = Fault::new(
    FaultKind::Unavailable,
    "the owner of the account is not available",
);

/// How long a router may take to say what it owns: who is slower is paused or away, and what it owns
/// others have or will have.
const SURVEY: Duration = Duration::from_millis(500);

/// How long a question to the directory waits while a shard has no owner: longer than it takes to hand
/// it over, and than brokers take to notice that its owner died, in a cluster set up for that.
const PATIENCE: Duration = Duration::from_secs(8);
/// First pause before such a question is repeated; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What one router node is called with.
#[derive(Clone, Debug)]
pub(super) struct Handles {
    pub(super) router: RouterClient,
    pub(super) directory: DirectoryClient,
    pub(super) inspect: InspectClient,
    pub(super) intake: IntakeClient,
    pub(super) owners: OwnersClient,
}

impl Handles {
    /// The router of this process.
    pub(super) fn local(router: &Arc<Service>) -> Self {
        let router = || Arc::<Service>::clone(router);
        Self {
            router: RouterClient::local(router()),
            directory: DirectoryClient::local(router()),
            inspect: InspectClient::local(router()),
            intake: IntakeClient::local(router()),
            owners: OwnersClient::local(Arc::new(Owned(Some(router())))),
        }
    }
}

/// What this process owns: nothing without a router.
#[derive(Debug)]
pub(super) struct Owned(pub(super) Option<Arc<Service>>);

#[async_trait]
impl Owners for Owned {
    async fn owned(&self) -> Result<Vec<(ShardId, Epoch)>, Fault> {
        Ok(self.0.iter().flat_map(|router| router.owned()).collect())
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Nodes {
    owners: Arc<OwnerMap>,
    placement: Placement,
    far: BTreeMap<Box<str>, Handles>,
    home: OnceLock<(Box<str>, Handles)>,
    /// When the last survey ended.
    surveyed: Mutex<Option<Instant>>,
}

/// One call on its way.
struct Attempt {
    shard: ShardId,
    node: Box<str>,
    handles: Handles,
    redirected: bool,
}

/// Calls the owner of a shard, and whoever it is redirected to.
macro_rules! of_owner {
    ($nodes:expr, $shard:expr, $handles:ident => $call:expr) => {{
        let mut attempt = $nodes.attempt($shard).await?;
        loop {
            let $handles = &attempt.handles;
            let outcome = $call.await;
            match outcome {
                Err(fault) if fault == ELSEWHERE => attempt = $nodes.redirected(attempt).await?,
                Err(fault) if fault.kind() == FaultKind::Unavailable => {
                    $nodes.owners.forget(attempt.shard, &attempt.node);
                    return Err(fault);
                }
                outcome => return outcome,
            }
        }
    }};
}

/// Repeats a call of the directory while nobody owns the shard. What was asked may then happen twice,
/// which the fold knows: an enlistment changes nothing the second time, and a bundle is another one.
macro_rules! patiently {
    ($call:expr) => {{
        let until = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = async { $call }.await;
            match outcome {
                Err(fault)
                    if fault.kind() == FaultKind::Unavailable && Instant::now() + pause < until =>
                {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                outcome => return outcome,
            }
        }
    }};
}

impl Nodes {
    pub(super) const fn new(
        owners: Arc<OwnerMap>,
        placement: Placement,
        far: BTreeMap<Box<str>, Handles>,
    ) -> Self {
        Self {
            owners,
            placement,
            far,
            home: OnceLock::new(),
            surveyed: Mutex::const_new(None),
        }
    }

    /// The router of this process answers from now on, under the name of its node.
    pub(super) fn at_home(&self, node: &str, handles: Handles) {
        let _first_stays = self.home.set((node.into(), handles));
    }

    /// The intake of the router of this process.
    pub(super) fn home(&self) -> Option<IntakeClient> {
        let home = self.home.get();
        home.map(|(_, handles)| handles.intake.clone())
    }

    fn named(&self, node: &str) -> Option<Handles> {
        match self.home.get() {
            Some((home, handles)) if **home == *node => Some(handles.clone()),
            _ => self.far.get(node).cloned(),
        }
    }

    async fn attempt(&self, shard: ShardId) -> Result<Attempt, Fault> {
        if self.owners.guess(shard).is_none() {
            self.survey().await;
        }
        self.guessed(shard, false)
    }

    fn guessed(&self, shard: ShardId, redirected: bool) -> Result<Attempt, Fault> {
        let node = self.owners.guess(shard).ok_or(NO_OWNER)?;
        Ok(Attempt {
            shard,
            handles: self.named(&node).ok_or(NO_OWNER)?,
            node,
            redirected,
        })
    }

    async fn redirected(&self, attempt: Attempt) -> Result<Attempt, Fault> {
        if attempt.redirected {
            return Err(NO_OWNER);
        }
        self.survey().await;
        self.guessed(attempt.shard, true)
    }

    /// Asks all nodes what they own, unless somebody else asks meanwhile.
    async fn survey(&self) {
        let since = Instant::now();
        let mut surveyed = self.surveyed.lock().await;
        if surveyed.is_some_and(|at| at >= since) {
            return;
        }
        let home = self.home.get();
        let others = self.far.iter();
        let others = others.filter(|(node, _)| home.is_none_or(|(home, _)| home != *node));
        let all = others.chain(home.map(|(home, handles)| (home, handles)));
        let asked = all.map(async |(node, handles)| {
            let owned = timeout(SURVEY, handles.owners.owned()).await.ok()?;
            Some((node.clone(), owned.ok()?))
        });
        let said = join_all(asked).await;
        let said: Vec<_> = said.into_iter().flatten().collect();
        self.owners.learn(&said);
        *surveyed = Some(Instant::now());
    }

    /// The node that has a shard, as its routers say now.
    pub(super) async fn owner_of(&self, shard: ShardId) -> Option<Box<str>> {
        self.survey().await;
        self.owners.guess(shard)
    }

    /// The node that had a shard when it was asked for last.
    pub(super) fn guess(&self, shard: ShardId) -> Option<Box<str>> {
        self.owners.guess(shard)
    }

    fn home_of(&self, account: AccountId) -> ShardId {
        self.placement.of_account(account)
    }
}

#[async_trait]
impl Router for Nodes {
    async fn attach(&self, edge: EdgeId, shard: ShardId) -> Result<EdgeStream, Fault> {
        of_owner!(self, shard, owner => owner.router.attach(edge, shard))
    }
}

#[async_trait]
impl Intake for Nodes {
    async fn append(
        &self,
        topic: Topic,
        partition: u32,
        records: Vec<Bytes>,
    ) -> Result<Taken, Fault> {
        let shard = ShardId::new(partition);
        of_owner!(self, shard, owner => owner.intake.append(topic, partition, records.clone()))
    }

    async fn pass(&self, shard: ShardId, stanzas: Vec<Ephemeral>) -> Result<(), Fault> {
        of_owner!(self, shard, owner => owner.intake.pass(shard, stanzas.clone()))
    }
}

#[async_trait]
impl Inspect for Nodes {
    async fn inspect(&self, question: Question) -> Result<String, Fault> {
        let shard = question.shard(&self.placement);
        of_owner!(self, shard, owner => owner.inspect.inspect(question.clone()))
    }
}

#[async_trait]
impl Directory for Nodes {
    async fn account(&self, account: AccountId) -> Result<Option<AccountFacts>, Fault> {
        patiently!(
            of_owner!(self, self.home_of(account), owner => owner.directory.account(account))
        )
    }

    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault> {
        patiently!(
            of_owner!(self, self.home_of(account), owner => owner.directory.blocked(account))
        )
    }

    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault> {
        patiently!(of_owner!(self, self.home_of(account), owner => {
            owner.directory.change_blocked(account, change.clone())
        }))
    }

    async fn enlist(&self, enlistment: Enlistment) -> Result<Enlisted, Fault> {
        let visible = enlistment.visible.as_str();
        let shard = self.placement.of_visible(enlistment.partner, visible);
        patiently!(of_owner!(self, shard, owner => owner.directory.enlist(enlistment.clone())))
    }

    async fn lookup(
        &self,
        partner: PartnerId,
        visible: &VisibleId,
    ) -> Result<Option<AccountId>, Fault> {
        let shard = self.placement.of_visible(partner, visible.as_str());
        patiently!(of_owner!(self, shard, owner => owner.directory.lookup(partner, visible)))
    }

    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault> {
        patiently!(
            of_owner!(self, self.home_of(account), owner => owner.directory.prekey_count(account))
        )
    }

    async fn take_bundle(&self, target: AccountId) -> Result<Bundle, Fault> {
        patiently!(
            of_owner!(self, self.home_of(target), owner => owner.directory.take_bundle(target))
        )
    }

    async fn unenlist(&self, account: AccountId) -> Result<(), Fault> {
        patiently!(
            of_owner!(self, self.home_of(account), owner => owner.directory.unenlist(account))
        )
    }

    async fn upload(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault> {
        patiently!(of_owner!(self, self.home_of(account), owner => {
            owner.directory.upload(account, keys.clone())
        }))
    }
}

#[cfg(test)]
mod tests;
