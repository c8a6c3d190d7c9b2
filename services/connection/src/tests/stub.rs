//! The identity service that knows one token, and a host that stands on stubs.

use std::sync::Arc;

use async_trait::async_trait;
use entente_core::{
    AccountFacts, AccountId, Bundle, Fault, FaultKind, PartnerId, Placement, PrekeyCount,
    PrekeyUpload, SignedPrekey, Timestamp, VisibleId,
};
use entente_node::{AcceptMetrics, CallerLimits, Callers, Drain, Metrics, Readiness, Tasks};
use entente_proto::directory::BlockChange;
use entente_proto::identity::{Credential, FastToken, Grounds, Identity, LoggedIn, Revocation};
use entente_proto::{EdgeId, IdentityClient, RouterClient};
use entente_stanza::Jid;
use entente_trace::Tracer;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::router::StubRouter;
use crate::accept::Deps;
use crate::config::Config;
use crate::events::Meters;
use crate::links::Links;
use crate::negotiate::Host;
use crate::pace::Pace;
use crate::rebind::Rebinds;
use crate::revoke::Revocations;
use crate::session::Rules;

pub(crate) const DOMAIN: &str = "chat.example";
/// What the probe says when the certificate is over.
pub(crate) const EXPIRED: &str = "certificate expired";
/// The token that is good for everybody.
pub(crate) const TOKEN: &str = "good.token";
/// The proof that a FAST login shows.
pub(crate) const PROOF: [u8; 32] = [5; 32];

#[derive(Debug)]
pub(crate) struct StubIdentity {
    revocations: broadcast::Sender<Revocation>,
    blocked: Mutex<Vec<AccountId>>,
    /// Whether anything but a login was asked.
    pub(crate) logins: Mutex<usize>,
}

impl StubIdentity {
    pub(crate) fn new() -> Self {
        Self {
            revocations: broadcast::channel(16).0,
            blocked: Mutex::default(),
            logins: Mutex::default(),
        }
    }

    pub(crate) fn revoke(&self, revocation: Revocation) {
        self.revocations.send(revocation).unwrap();
    }
}

#[async_trait]
impl Identity for StubIdentity {
    async fn blocked(&self, _account: AccountId) -> Result<Vec<AccountId>, Fault> {
        Ok(self.blocked.lock().clone())
    }

    async fn bundle(&self, _requester: AccountId, target: AccountId) -> Result<Bundle, Fault> {
        if target.number() >= super::router::NOBODY {
            return Err(Fault::new(FaultKind::NotFound, "no bundle"));
        }
        Ok(Bundle {
            account: target,
            registration: 77,
            identity: [1; 32],
            signed: SignedPrekey {
                id: 2,
                key: [3; 32],
                signature: vec![4; 64].into(),
            },
            one_time: None,
            kyber: None,
            last_resort: false,
        })
    }

    async fn change_blocked(&self, _account: AccountId, change: BlockChange) -> Result<(), Fault> {
        let mut blocked = self.blocked.lock();
        if change.clear {
            blocked.clear();
        }
        blocked.extend(&change.add);
        blocked.retain(|account| !change.remove.contains(account));
        Ok(())
    }

    async fn issue_fast(&self, _account: AccountId) -> Result<FastToken, Fault> {
        Ok(FastToken {
            token: "fast-token".into(),
            expires: Timestamp::from_secs(4_000_000_000),
        })
    }

    async fn login(&self, account: AccountId, credential: Credential) -> Result<LoggedIn, Fault> {
        *self.logins.lock() += 1;
        let (good, responder) = match &credential {
            Credential::Token(token) => (token.expose() == TOKEN, None),
            Credential::Fast { proof, .. } => (**proof == PROOF, Some([6; 32].into())),
        };
        if !good {
            return Err(Fault::new(FaultKind::Unauthenticated, "not good"));
        }
        Ok(LoggedIn {
            facts: AccountFacts {
                account,
                visible: VisibleId::new("someone").unwrap(),
                identity: [1; 32],
                transport: [2; 32],
                generation: 1,
                enlisted: Timestamp::default(),
            },
            kid: "kid-1".into(),
            responder,
        })
    }

    async fn prekey_count(&self, _account: AccountId) -> Result<PrekeyCount, Fault> {
        Ok(PrekeyCount {
            one_time: 3,
            kyber: 4,
        })
    }

    fn grounds(&self) -> Grounds {
        Grounds::new()
    }

    fn revocations(&self) -> broadcast::Receiver<Revocation> {
        self.revocations.subscribe()
    }

    async fn unenlist(&self, _account: AccountId) -> Result<(), Fault> {
        Ok(())
    }

    async fn upload(&self, _account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault> {
        Ok(PrekeyCount {
            one_time: u32::try_from(keys.one_time.len()).unwrap(),
            kyber: u32::try_from(keys.kyber.len()).unwrap(),
        })
    }
}

/// A host with its neighbours.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) host: Arc<Host>,
    pub(crate) router: StubRouter,
    pub(crate) identity: Arc<StubIdentity>,
    pub(crate) tasks: Tasks,
    pub(crate) drain: Drain,
    pub(crate) readiness: Readiness,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        let drain = Drain::new();
        let tasks = Tasks::new(drain.clone());
        let (router, identity) = (StubRouter::default(), Arc::new(StubIdentity::new()));
        let meters = Meters::new(&Metrics::new()).unwrap();
        let links = Links::new(
            EdgeId(1),
            RouterClient::local(Arc::new(router.clone())),
            Placement::new(1, &[0; 16]),
            tasks.clone(),
            meters.clone(),
        );
        let limits = &config.limits;
        let host = Host {
            rebinds: Rebinds::new(limits.bind_burst, limits.bind_interval.get()),
            rules: Arc::new(Rules {
                domain: Jid::parse(DOMAIN).unwrap(),
                pace: Arc::new(Pace::new(&config.pacing, &Metrics::new()).unwrap()),
                config,
                tracer: Tracer::off(),
            }),
            identity: IdentityClient::local(Arc::<StubIdentity>::clone(&identity)),
            links: Arc::new(links),
            revocations: Arc::new(Revocations::default()),
            meters,
            drain: drain.clone(),
        };
        Self {
            host: Arc::new(host),
            router,
            identity,
            tasks,
            readiness: Readiness::new(drain.clone()),
            drain,
        }
    }

    /// What a service needs that is built whole.
    pub(crate) fn deps(&self) -> Deps {
        self.deps_with(CallerLimits::default())
    }

    pub(crate) fn deps_with(&self, callers: CallerLimits) -> Deps {
        let metrics = Metrics::new();
        Deps {
            router: RouterClient::local(Arc::new(self.router.clone())),
            identity: self.host.identity.clone(),
            placement: Placement::new(1, &[0; 16]),
            tasks: self.tasks.clone(),
            drain: self.drain.clone(),
            accepted: AcceptMetrics::new(&metrics).unwrap(),
            callers: Callers::new(callers, 1_000, &metrics).unwrap(),
            metrics,
            tracer: Tracer::off(),
            expired: self.readiness.note(EXPIRED),
        }
    }
}

pub(crate) fn config() -> Config {
    Config {
        domain: DOMAIN.to_owned(),
        ..Config::default()
    }
}

pub(crate) fn account(number: u64) -> AccountId {
    AccountId::new(PartnerId::new(1).unwrap(), number)
}
