//! The router nodes as one: each call goes to the node that owns the shard in question.
//!
//! **Invariants**
//! - A node that does not own a shard does nothing for it and says so. The caller asks it who does,
//!   and calls that one; a second wrong guess is a fault that is worth a later attempt.
//! - Shards of this process are never reached over the network.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{
    AccountFacts, AccountId, Bundle, Enlisted, Enlistment, Fault, FaultKind, PartnerId, Placement,
    PrekeyCount, PrekeyUpload, ShardId, VisibleId,
};
use entente_proto::directory::BlockChange;
use entente_proto::edge::{EdgeId, EdgeStream, Router};
use entente_proto::intake::{Ephemeral, Intake, Taken, Topic};
use entente_proto::owners::ELSEWHERE;
use entente_proto::{Directory, DirectoryClient, IntakeClient, OwnersClient, RouterClient};
use entente_router::Service;

use super::owners::OwnerMap;

const NO_OWNER: Fault = Fault::new(
    FaultKind::Unavailable,
    "the owner of the account is not available",
);

/// What one router node is called with.
#[derive(Clone, Debug)]
pub(super) struct Handles {
    pub(super) router: RouterClient,
    pub(super) directory: DirectoryClient,
    pub(super) intake: IntakeClient,
    pub(super) owners: OwnersClient,
}

impl Handles {
    /// The router of this process.
    pub(super) fn local(router: &Arc<Service>, owners: &Arc<OwnerMap>) -> Self {
        let router = || Arc::<Service>::clone(router);
        Self {
            router: RouterClient::local(router()),
            directory: DirectoryClient::local(router()),
            intake: IntakeClient::local(router()),
            owners: OwnersClient::local(Arc::<OwnerMap>::clone(owners)),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Nodes {
    owners: Arc<OwnerMap>,
    placement: Placement,
    far: BTreeMap<Box<str>, Handles>,
    home: OnceLock<(Box<str>, Handles)>,
}

/// One call on its way.
struct Attempt {
    shard: ShardId,
    handles: Handles,
    redirected: bool,
}

/// Calls the owner of a shard, and whoever it is redirected to.
macro_rules! of_owner {
    ($nodes:expr, $shard:expr, $handles:ident => $call:expr) => {{
        let mut attempt = $nodes.attempt($shard)?;
        loop {
            let $handles = &attempt.handles;
            let outcome = $call.await;
            match outcome {
                Err(fault) if fault == ELSEWHERE => attempt = $nodes.redirected(attempt).await?,
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

    fn attempt(&self, shard: ShardId) -> Result<Attempt, Fault> {
        let node = self.owners.guess(shard).ok_or(NO_OWNER)?;
        Ok(Attempt {
            shard,
            handles: self.named(&node).ok_or(NO_OWNER)?,
            redirected: false,
        })
    }

    async fn redirected(&self, attempt: Attempt) -> Result<Attempt, Fault> {
        let Attempt {
            shard,
            handles,
            redirected,
        } = attempt;
        if redirected {
            return Err(NO_OWNER);
        }
        let owner = handles.owners.owner(shard).await?.ok_or(NO_OWNER)?;
        let Some(handles) = self.named(&owner) else {
            tracing::error!(%shard, %owner, "a shard is said to be owned by a node that is not known");
            return Err(NO_OWNER);
        };
        self.owners.learn(shard, owner);
        Ok(Attempt {
            shard,
            handles,
            redirected: true,
        })
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
impl Directory for Nodes {
    async fn account(&self, account: AccountId) -> Result<Option<AccountFacts>, Fault> {
        of_owner!(self, self.home_of(account), owner => owner.directory.account(account))
    }

    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault> {
        of_owner!(self, self.home_of(account), owner => owner.directory.blocked(account))
    }

    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault> {
        of_owner!(self, self.home_of(account), owner => {
            owner.directory.change_blocked(account, change.clone())
        })
    }

    async fn enlist(&self, enlistment: Enlistment) -> Result<Enlisted, Fault> {
        let visible = enlistment.visible.as_str();
        let shard = self.placement.of_visible(enlistment.partner, visible);
        of_owner!(self, shard, owner => owner.directory.enlist(enlistment.clone()))
    }

    async fn lookup(
        &self,
        partner: PartnerId,
        visible: &VisibleId,
    ) -> Result<Option<AccountId>, Fault> {
        let shard = self.placement.of_visible(partner, visible.as_str());
        of_owner!(self, shard, owner => owner.directory.lookup(partner, visible))
    }

    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault> {
        of_owner!(self, self.home_of(account), owner => owner.directory.prekey_count(account))
    }

    async fn take_bundle(&self, target: AccountId) -> Result<Bundle, Fault> {
        of_owner!(self, self.home_of(target), owner => owner.directory.take_bundle(target))
    }

    async fn unenlist(&self, account: AccountId) -> Result<(), Fault> {
        of_owner!(self, self.home_of(account), owner => owner.directory.unenlist(account))
    }

    async fn upload(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault> {
        of_owner!(self, self.home_of(account), owner => {
            owner.directory.upload(account, keys.clone())
        })
    }
}

#[cfg(test)]
mod tests;
