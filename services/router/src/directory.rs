//! The directory: accounts and keys, read from the state and changed through the fold.

use async_trait::async_trait;
use entente_core::{
    AccountFacts, AccountId, Bundle, Enlisted, Enlistment, Fault, FaultKind, PartnerId,
    PrekeyCount, PrekeyUpload, ShardId, VisibleId, random_array,
};
use entente_proto::Directory;
use entente_proto::directory::BlockChange;
use entente_shard::{Command, Reply};
use tokio::sync::oneshot;

use crate::deliver::NO_OWNER;
use crate::error::RouterError;
use crate::owner::{Call, Owner};
use crate::service::Service;

/// How often a new account's number may be taken by another before something is wrong.
const DRAWS: usize = 8;

pub(crate) const UNKNOWN: Fault = Fault::new(FaultKind::NotFound, "the account is not enlisted");
const MIXED_UP: Fault = Fault::new(
    FaultKind::Internal,
    "the fold gave another answer than asked",
);

/// A question that the owner answers from its state.
#[derive(Debug)]
pub(crate) enum Read {
    Account(AccountId, oneshot::Sender<Option<AccountFacts>>),
    Blocked(AccountId, oneshot::Sender<Option<Vec<AccountId>>>),
    Count(AccountId, oneshot::Sender<Option<PrekeyCount>>),
    Lookup(PartnerId, VisibleId, oneshot::Sender<Option<AccountId>>),
}

impl Owner {
    pub(crate) fn read(&mut self, read: Read) -> Result<(), RouterError> {
        match read {
            Read::Account(account, reply) => answer(reply, self.shard.facts(account)?),
            Read::Blocked(account, reply) => answer(reply, self.shard.blocked(account)?),
            Read::Count(account, reply) => answer(reply, self.shard.prekey_count(account)?),
            Read::Lookup(partner, visible, reply) => {
                answer(reply, self.shard.lookup(partner, &visible)?);
            }
        }
        Ok(())
    }
}

fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _caller_left = reply.send(value);
}

impl Service {
    async fn ask<T>(
        &self,
        shard: ShardId,
        read: impl FnOnce(oneshot::Sender<T>) -> Read,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        self.call(shard, Call::Read(read(reply))).await?;
        answer.await.map_err(|_| NO_OWNER)
    }

    async fn change(
        &self,
        shard: ShardId,
        command: impl FnOnce(u64) -> Command,
    ) -> Result<Reply, Fault> {
        let request = u64::from_ne_bytes(random_array());
        let (reply, answer) = oneshot::channel();
        let command = command(request);
        self.call(
            shard,
            Call::Change {
                request,
                command,
                reply,
            },
        )
        .await?;
        answer.await.map_err(|_| NO_OWNER)?
    }

    /// Draws a number whose account falls into a shard.
    fn draw(&self, partner: PartnerId, shard: ShardId) -> u64 {
        loop {
            // 53 bits, so that every client language can hold it; about one draw in `shards` fits.
            let number = u64::from_ne_bytes(random_array()) >> 11;
            let account = AccountId::new(partner, number);
            if number > 0 && self.placement().of_account(account) == shard {
                return number;
            }
        }
    }

    fn home(&self, account: AccountId) -> ShardId {
        self.placement().of_account(account)
    }
}

#[async_trait]
impl Directory for Service {
    async fn account(&self, account: AccountId) -> Result<Option<AccountFacts>, Fault> {
        self.ask(self.home(account), |reply| Read::Account(account, reply))
            .await
    }

    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault> {
        let read = |reply| Read::Blocked(account, reply);
        self.ask(self.home(account), read).await?.ok_or(UNKNOWN)
    }

    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault> {
        let BlockChange { clear, add, remove } = change;
        let command = |request| Command::Block {
            request,
            account,
            clear,
            add,
            remove,
        };
        match self.change(self.home(account), command).await? {
            Reply::Done => Ok(()),
            _ => Err(MIXED_UP),
        }
    }

    async fn enlist(&self, enlistment: Enlistment) -> Result<Enlisted, Fault> {
        let shard = self
            .placement()
            .of_visible(enlistment.partner, enlistment.visible.as_str());
        for _ in 0..DRAWS {
            let number = self.draw(enlistment.partner, shard);
            let enlistment = Box::new(enlistment.clone());
            let command = |request| Command::Enlist {
                request,
                number,
                enlistment,
            };
            match self.change(shard, command).await {
                Ok(Reply::Enlisted(enlisted)) => return Ok(enlisted),
                Ok(_) => return Err(MIXED_UP),
                Err(fault) if fault.kind() == FaultKind::Conflict => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(NO_OWNER)
    }

    async fn lookup(
        &self,
        partner: PartnerId,
        visible: &VisibleId,
    ) -> Result<Option<AccountId>, Fault> {
        let shard = self.placement().of_visible(partner, visible.as_str());
        self.ask(shard, |reply| Read::Lookup(partner, visible.clone(), reply))
            .await
    }

    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault> {
        let read = |reply| Read::Count(account, reply);
        self.ask(self.home(account), read).await?.ok_or(UNKNOWN)
    }

    async fn take_bundle(&self, target: AccountId) -> Result<Bundle, Fault> {
        let command = |request| Command::Take { request, target };
        match self.change(self.home(target), command).await? {
            Reply::Bundle(bundle) => Ok(*bundle),
            _ => Err(MIXED_UP),
        }
    }

    async fn unenlist(&self, account: AccountId) -> Result<(), Fault> {
        let command = |request| Command::Unenlist { request, account };
        match self.change(self.home(account), command).await? {
            Reply::Done => Ok(()),
            _ => Err(MIXED_UP),
        }
    }

    async fn upload(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault> {
        let keys = Box::new(keys);
        let command = |request| Command::Upload {
            request,
            account,
            keys,
        };
        match self.change(self.home(account), command).await? {
            Reply::Count(count) => Ok(count),
            _ => Err(MIXED_UP),
        }
    }
}
