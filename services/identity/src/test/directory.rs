//! A directory in memory: the contract of `Directory` without durability.

use std::collections::BTreeMap;

use async_trait::async_trait;
use entente_core::{
    AccountFacts, AccountId, Bundle, EnlistChange, Enlisted, Enlistment, Fault, FaultKind,
    KyberPrekey, OneTimePrekey, PartnerId, PrekeyCount, PrekeyUpload, SignedPrekey, Timestamp,
    VisibleId,
};
use entente_proto::Directory;
use entente_proto::directory::BlockChange;
use parking_lot::Mutex;

/// Accounts of a test.
#[derive(Debug, Default)]
pub struct MemoryDirectory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    accounts: BTreeMap<AccountId, Account>,
    drawn: u64,
    writes: usize,
    down: bool,
}

#[derive(Debug)]
struct Account {
    facts: AccountFacts,
    registration: u32,
    signed: SignedPrekey,
    one_time: Vec<OneTimePrekey>,
    kyber: Vec<KyberPrekey>,
    last_resort: Option<KyberPrekey>,
    blocked: Vec<AccountId>,
}

impl MemoryDirectory {
    /// How many enlistments and uploads were taken.
    pub fn writes(&self) -> usize {
        self.0.lock().writes
    }

    /// Makes every call fail as an ownerless shard does, or stop failing.
    pub fn set_down(&self, down: bool) {
        self.0.lock().down = down;
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut state = self.0.lock();
        if state.down {
            return Err(Fault::new(FaultKind::Unavailable, "shard has no owner"));
        }
        act(&mut state)
    }
}

impl State {
    fn account(&mut self, account: AccountId) -> Result<&mut Account, Fault> {
        let missing = Fault::new(FaultKind::NotFound, "no such account");
        self.accounts.get_mut(&account).ok_or(missing)
    }

    fn find(&self, partner: PartnerId, visible: &VisibleId) -> Option<AccountId> {
        let mut all = self.accounts.iter();
        all.find(|(id, account)| id.partner() == partner && account.facts.visible == *visible)
            .map(|(id, _)| *id)
    }

    fn enlist(&mut self, enlistment: Enlistment) -> Enlisted {
        self.writes += 1;
        if let Some(account) = self.find(enlistment.partner, &enlistment.visible) {
            let change = self.refresh(account, enlistment);
            return Enlisted { account, change };
        }
        self.drawn += 1;
        let account = AccountId::new(enlistment.partner, 1000 + self.drawn);
        let facts = AccountFacts {
            account,
            visible: enlistment.visible,
            identity: enlistment.identity,
            transport: enlistment.transport,
            generation: 1,
            enlisted: Timestamp::default(),
        };
        let entry = Account {
            facts,
            registration: enlistment.registration,
            signed: enlistment.signed,
            one_time: Vec::new(),
            kyber: Vec::new(),
            last_resort: None,
            blocked: Vec::new(),
        };
        self.accounts.insert(account, entry);
        let change = EnlistChange::Created;
        Enlisted { account, change }
    }

    fn refresh(&mut self, account: AccountId, enlistment: Enlistment) -> EnlistChange {
        let Some(entry) = self.accounts.get_mut(&account) else {
            return EnlistChange::Same;
        };
        entry.facts.transport = enlistment.transport;
        entry.registration = enlistment.registration;
        entry.signed = enlistment.signed;
        if entry.facts.identity == enlistment.identity {
            return EnlistChange::Same;
        }
        entry.facts.identity = enlistment.identity;
        entry.facts.generation += 1;
        entry.one_time.clear();
        entry.kyber.clear();
        entry.last_resort = None;
        EnlistChange::Replaced
    }
}

impl Account {
    fn count(&self) -> PrekeyCount {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        PrekeyCount {
            one_time: count(self.one_time.len()),
            kyber: count(self.kyber.len()),
        }
    }
}

#[async_trait]
impl Directory for MemoryDirectory {
    async fn account(&self, account: AccountId) -> Result<Option<AccountFacts>, Fault> {
        self.with(|state| {
            let entry = state.accounts.get(&account);
            Ok(entry.map(|entry| entry.facts.clone()))
        })
    }

    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault> {
        self.with(|state| Ok(state.account(account)?.blocked.clone()))
    }

    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault> {
        self.with(|state| {
            let blocked = &mut state.account(account)?.blocked;
            if change.clear {
                blocked.clear();
            }
            blocked.extend(change.add);
            blocked.retain(|account| !change.remove.contains(account));
            blocked.sort_unstable();
            blocked.dedup();
            Ok(())
        })
    }

    async fn enlist(&self, enlistment: Enlistment) -> Result<Enlisted, Fault> {
        self.with(|state| Ok(state.enlist(enlistment)))
    }

    async fn lookup(
        &self,
        partner: PartnerId,
        visible: &VisibleId,
    ) -> Result<Option<AccountId>, Fault> {
        self.with(|state| Ok(state.find(partner, visible)))
    }

    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault> {
        self.with(|state| Ok(state.account(account)?.count()))
    }

    async fn take_bundle(&self, target: AccountId) -> Result<Bundle, Fault> {
        self.with(|state| {
            let account = state.account(target)?;
            let kyber = account.kyber.pop();
            let last_resort = kyber.is_none();
            Ok(Bundle {
                account: target,
                registration: account.registration,
                identity: account.facts.identity,
                signed: account.signed.clone(),
                one_time: account.one_time.pop(),
                kyber: kyber.or_else(|| account.last_resort.clone()),
                last_resort,
            })
        })
    }

    async fn unenlist(&self, account: AccountId) -> Result<(), Fault> {
        self.with(|state| {
            state.accounts.remove(&account);
            Ok(())
        })
    }

    async fn upload(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault> {
        self.with(|state| {
            state.writes += 1;
            let entry = state.account(account)?;
            if let Some(signed) = keys.signed {
                entry.signed = signed;
            }
            entry.one_time.extend(keys.one_time);
            entry.kyber.extend(keys.kyber);
            if keys.last_resort.is_some() {
                entry.last_resort = keys.last_resort;
            }
            Ok(entry.count())
        })
    }
}
