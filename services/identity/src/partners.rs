//! The registry of partners: who they are, how their tokens are checked, what they may use.
//!
//! In: one TOML file, read again on [`Registry::reload`], and emergency revocations. Out: snapshots
//! that readers hold without a lock, and [`Revocation`]s for sessions that must end at once.
//!
//! **Invariants**
//! - A file that cannot be read whole changes nothing: the last good snapshot stays.
//! - A snapshot is in force before its revocations are sent, so a login that started later meets it.
//! - Partners are found by number or by a host name of the record, never by what a token says.

mod parse;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use entente_core::PartnerId;
use entente_egress::Policy;
use entente_proto::identity::{Grounds, Revocation};
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};
use tokio::sync::{broadcast, watch};

pub use parse::PartnersError;
pub use record::{Algorithm, Kid, Kind, Partner, Quotas, State, TokenType};

/// Revocations that a slow receiver may be behind; one that lags ends all its sessions.
const REVOCATIONS: usize = 1024;

/// Keys that may be revoked by call between two starts; a partner has a handful of keys.
const MAX_EMERGENCY: usize = 4096;

/// The partners of a deployment, as of now.
#[derive(Debug)]
pub struct Registry {
    path: PathBuf,
    policy: Policy,
    current: ArcSwap<Partners>,
    revocations: broadcast::Sender<Revocation>,
    changed: watch::Sender<()>,
    // Held by writers alone: reload and revoke must not undo each other.
    emergency: Mutex<BTreeSet<(PartnerId, Kid)>>,
}

/// One consistent state of the registry.
#[derive(Debug, Default)]
pub(crate) struct Partners {
    by_number: BTreeMap<PartnerId, Arc<Partner>>,
    by_host: BTreeMap<Box<str>, PartnerId>,
}

impl Registry {
    /// Reads the file; addresses in it are judged under `policy`.
    ///
    /// # Errors
    /// [`PartnersError`] names file, line and key.
    pub fn open(path: &Path, policy: Policy) -> Result<Self, PartnersError> {
        let text = read(path)?;
        Self::from_text(path, &text, policy)
    }

    /// Starts from text that stands for the file; a reload reads the file.
    ///
    /// # Errors
    /// [`PartnersError`] names file, line and key.
    pub fn from_text(path: &Path, text: &str, policy: Policy) -> Result<Self, PartnersError> {
        let partners = parse::partners(path, text, &policy)?;
        Ok(Self {
            path: path.to_owned(),
            policy,
            current: ArcSwap::from_pointee(partners),
            revocations: broadcast::Sender::new(REVOCATIONS),
            changed: watch::Sender::new(()),
            emergency: Mutex::default(),
        })
    }

    /// Reads the file again and puts it in force; says how many partners there are.
    ///
    /// Blocks for one small file: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`PartnersError`]; the partners stay as they were.
    pub fn reload(&self) -> Result<usize, PartnersError> {
        let text = read(&self.path)?;
        self.replace(&text)
    }

    /// Puts new text of the file in force, as [`Registry::reload`] does.
    ///
    /// # Errors
    /// [`PartnersError`]; the partners stay as they were.
    pub fn replace(&self, text: &str) -> Result<usize, PartnersError> {
        let partners = parse::partners(&self.path, text, &self.policy)?;
        let emergency = self.emergency.lock();
        Ok(self.enforce(partners, &emergency))
    }

    /// Refuses a key of a partner from now on and ends the sessions that rest on it.
    ///
    /// It holds in this process until it stops; `revoked_keys` in the file is the lasting way. Says
    /// whether the partner exists and there was room.
    pub fn revoke(&self, partner: PartnerId, kid: Kid) -> bool {
        let mut emergency = self.emergency.lock();
        if self.partner(partner).is_none() || emergency.len() >= MAX_EMERGENCY {
            return false;
        }
        emergency.insert((partner, kid));
        let now = self.current.load();
        let copy = Partners {
            by_number: now.by_number.clone(),
            by_host: now.by_host.clone(),
        };
        self.enforce(copy, &emergency);
        true
    }

    /// The record of a partner, in whatever state.
    pub fn partner(&self, number: PartnerId) -> Option<Arc<Partner>> {
        self.current.load().by_number.get(&number).cloned()
    }

    /// The record whose `enlist_hosts` names this host, in lower case and without a port.
    pub fn by_host(&self, host: &str) -> Option<Arc<Partner>> {
        let now = self.current.load();
        let number = now.by_host.get(host)?;
        now.by_number.get(number).cloned()
    }

    /// All records, by number.
    pub fn all(&self) -> Vec<Arc<Partner>> {
        self.current.load().by_number.values().cloned().collect()
    }

    /// Sessions that must end, from now on.
    pub fn revocations(&self) -> broadcast::Receiver<Revocation> {
        self.revocations.subscribe()
    }

    /// What logins rest on now: of each active partner a digest of its revoked keys.
    pub fn grounds(&self) -> Grounds {
        let now = self.current.load();
        let active = now.by_number.iter();
        let active = active.filter(|(_, record)| record.state == State::Active);
        active
            .map(|(number, record)| (*number, ground(&record.revoked_keys)))
            .collect()
    }

    /// Ticks after each change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn enforce(&self, mut next: Partners, emergency: &BTreeSet<(PartnerId, Kid)>) -> usize {
        for (number, kid) in emergency {
            if let Some(record) = next.by_number.get_mut(number) {
                Arc::make_mut(record).revoked_keys.insert(kid.clone());
            }
        }
        let count = next.by_number.len();
        let next = Arc::new(next);
        let before = self.current.swap(Arc::clone(&next));
        for revocation in differences(&before, &next) {
            // Without receivers there are no sessions to end.
            drop(self.revocations.send(revocation));
        }
        self.changed.send_replace(());
        count
    }
}

/// What sessions may not outlive when one state follows another.
fn differences(before: &Partners, after: &Partners) -> Vec<Revocation> {
    let mut ended = Vec::new();
    for (number, old) in &before.by_number {
        let partner = *number;
        let new = after.by_number.get(number);
        let Some(new) = new.filter(|new| new.state == State::Active) else {
            if old.state == State::Active {
                ended.push(Revocation::Partner(partner));
            }
            continue;
        };
        let fresh = new.revoked_keys.difference(&old.revoked_keys);
        let kids: Vec<Box<str>> = fresh.map(|kid| kid.as_str().into()).collect();
        if kids.is_empty() {
            continue;
        }
        ended.extend(kids.into_iter().map(|kid| Revocation::Key { partner, kid }));
        // FAST logins carry no key id but may go back to a login under that key.
        ended.push(Revocation::Key {
            partner,
            kid: "".into(),
        });
    }
    ended
}

fn ground(revoked: &BTreeSet<Kid>) -> Box<[u8]> {
    let mut digest = Context::new(&SHA256);
    for kid in revoked {
        digest.update(&kid.as_str().len().to_be_bytes());
        digest.update(kid.as_str().as_bytes());
    }
    digest.finish().as_ref().into()
}

fn read(path: &Path) -> Result<String, PartnersError> {
    std::fs::read_to_string(path).map_err(|source| PartnersError::Read {
        file: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(state: &str, revoked: &str) -> String {
        format!(
            r#"
            [[partner]]
            number = 7
            name = "seven"
            kind = "partner"
            state = "{state}"
            issuer = "https://id.seven.example"
            audience = "https://gateway.example"
            jwks = "https://id.seven.example/.well-known/oauth/openid/jwks"
            algorithms = ["ES256"]
            enlist_hosts = ["seven.gateway.example"]
            revoked_keys = {revoked}
            "#
        )
    }

    fn registry() -> Registry {
        let text = text("active", "[]");
        Registry::from_text(Path::new("partners.toml"), &text, Policy::production()).unwrap()
    }

    fn seven() -> PartnerId {
        PartnerId::new(7).unwrap()
    }

    #[test]
    fn finds_by_number_and_host() {
        let registry = registry();
        assert_eq!(registry.partner(seven()).unwrap().name, "seven");
        let by_host = registry.by_host("seven.gateway.example").unwrap();
        assert_eq!(by_host.number, seven());
        assert!(registry.by_host("gateway.example").is_none());
        assert!(registry.partner(PartnerId::new(8).unwrap()).is_none());
    }

    #[test]
    fn suspension_and_removal_end_sessions() {
        for after in [
            text("suspended", "[]"),
            text("removed", "[]"),
            String::new(),
        ] {
            let registry = registry();
            let mut ended = registry.revocations();
            registry.replace(&after).unwrap();
            assert_eq!(ended.try_recv(), Ok(Revocation::Partner(seven())));
            assert!(ended.try_recv().is_err());
        }
        let registry = registry();
        let mut ended = registry.revocations();
        registry.replace(&text("active", "[]")).unwrap();
        assert!(ended.try_recv().is_err());
    }

    /// T55: an emergency revocation is in force at once, ends sessions, and a reload keeps it.
    #[test]
    fn revoked_keys_stay_revoked() {
        let registry = registry();
        let mut ended = registry.revocations();
        let kid = Kid::new("k1").unwrap();
        assert!(registry.revoke(seven(), kid.clone()));
        let first = ended.try_recv().unwrap();
        let named = |kid: &str| Revocation::Key {
            partner: seven(),
            kid: kid.into(),
        };
        assert_eq!(first, named("k1"));
        assert_eq!(ended.try_recv(), Ok(named("")));
        registry.replace(&text("active", "[]")).unwrap();
        assert!(
            registry
                .partner(seven())
                .unwrap()
                .revoked_keys
                .contains(&kid)
        );
        registry
            .replace(&text("active", r#"["k1", "k2"]"#))
            .unwrap();
        assert_eq!(ended.try_recv(), Ok(named("k2")));
        assert!(!registry.revoke(PartnerId::new(9).unwrap(), kid));
    }

    #[test]
    fn grounds_change_with_what_ends_sessions_and_with_nothing_else() {
        let registry = registry();
        let first = registry.grounds();
        assert_eq!(first.keys().collect::<Vec<_>>(), [&seven()]);
        registry.replace(&text("active", "[]")).unwrap();
        assert_eq!(registry.grounds(), first);
        let mut all = vec![first.clone()];
        for revoked in [r#"["k1"]"#, r#"["k1", "k2"]"#, r#"["k1k2"]"#] {
            registry.replace(&text("active", revoked)).unwrap();
            all.push(registry.grounds());
        }
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
        registry.replace(&text("suspended", "[]")).unwrap();
        assert!(registry.grounds().is_empty());
        registry.replace(&text("active", "[]")).unwrap();
        assert_eq!(registry.grounds(), first);
        assert!(registry.revoke(seven(), Kid::new("k1").unwrap()));
        assert_eq!(Some(&registry.grounds()), all.get(1));
    }

    #[test]
    fn a_bad_file_changes_nothing() {
        let registry = registry();
        let mut ended = registry.revocations();
        assert!(registry.replace("[[partner]]\nnumber = 0").is_err());
        assert!(registry.reload().is_err(), "there is no such file");
        assert!(registry.partner(seven()).is_some());
        assert!(ended.try_recv().is_err());
    }
}
