//! Requests that another service must answer first.
//!
//! **Invariants**
//! - The stanza counts as handled only when its answer is queued.
//! - What is asked holds nothing of the session, so that a slow answer blocks no other stanza.

use entente_core::{AccountId, Bundle, Fault, Position, PrekeyCount, PrekeyUpload};
use entente_proto::IdentityClient;
use entente_proto::directory::BlockChange;
use entente_stanza::{Element, Head, Iq, IqKind};
use smol_str::SmolStr;

use super::deliver::iq_error;
use super::{Effects, LocalKind, Session, hex};

/// What is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Blocked,
    Bundle(AccountId),
    ChangeBlocked(BlockChange),
    Count,
    Unenlist,
    Upload(Box<PrekeyUpload>),
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Question {
    pub(super) iq: Iq,
    pub(super) ask: Ask,
    pub(super) position: Position,
}

/// A request with its outcome.
#[derive(Debug)]
pub(crate) struct Answer {
    iq: Iq,
    position: Position,
    told: Result<Told, Fault>,
}

#[derive(Debug)]
enum Told {
    Blocked(Vec<AccountId>),
    Bundle(Box<Bundle>),
    Changed,
    Count(PrekeyCount),
    Gone,
}

/// Asks the identity service on behalf of an account. Dropping the future may waste keys of a bundle.
pub(crate) async fn answer(
    identity: IdentityClient,
    account: AccountId,
    question: Question,
) -> Answer {
    let told = match question.ask {
        Ask::Blocked => identity.blocked(account).await.map(Told::Blocked),
        Ask::Bundle(target) => identity
            .bundle(account, target)
            .await
            .map(|bundle| Told::Bundle(Box::new(bundle))),
        Ask::ChangeBlocked(change) => identity
            .change_blocked(account, change)
            .await
            .map(|()| Told::Changed),
        Ask::Count => identity.prekey_count(account).await.map(Told::Count),
        Ask::Unenlist => identity.unenlist(account).await.map(|()| Told::Gone),
        Ask::Upload(keys) => identity.upload(account, *keys).await.map(Told::Count),
    };
    Answer {
        iq: question.iq,
        position: question.position,
        told,
    }
}

impl Session {
    /// Takes an answer and hands it on.
    pub(crate) fn answered(&mut self, answer: Answer, fx: &mut Effects<'_>) {
        self.asked = self.asked.saturating_sub(1);
        let Answer { iq, position, told } = answer;
        let reply = match &told {
            Ok(told) => Some(iq.result(self.tell(told))),
            Err(fault) => {
                fx.tally.refused += 1;
                iq.error(&iq_error(*fault))
            }
        };
        let kind = match &told {
            Ok(Told::Gone) => LocalKind::Farewell,
            _ => LocalKind::Plain,
        };
        if let Some(reply) = reply {
            self.queue(reply.into_element().to_bytes(), kind, fx);
        }
        if let (Ok(Told::Changed), Some(change)) = (&told, iq.payload()) {
            self.push_change(change.clone(), fx);
        }
        self.handled_at(position, fx);
    }

    fn tell(&self, told: &Told) -> Option<Element> {
        match told {
            Told::Blocked(accounts) => Some(self.block_list(accounts)),
            Told::Bundle(bundle) => Some(self.bundle_element(bundle)),
            Told::Count(count) => Some(super::keys::count_element(*count)),
            Told::Changed | Told::Gone => None,
        }
    }

    /// XEP-0191 section 3.3: a change is pushed to all resources that know the list; here, the one.
    fn push_change(&mut self, change: Element, fx: &mut Effects<'_>) {
        let push = Iq {
            head: Head {
                from: Some(self.me.bare.clone()),
                to: Some(self.me.full.clone()),
                id: Some(SmolStr::from(hex(&entente_core::random_array::<16>()))),
                ..Head::default()
            },
            kind: IqKind::Set,
            payload: vec![change],
        };
        self.local(&push.into_element(), fx);
    }
}
