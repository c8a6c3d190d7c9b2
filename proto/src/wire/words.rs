//! Identifiers and other small words of the messages.

use bytes::Bytes;
use entente_core::{AccountFacts, AccountId, Fault, PartnerId, Timestamp, VisibleId};
use tonic::{Request, Status};

use crate::directory::BlockChange;
use crate::wire::Malformed;
use crate::wire::fault::{BAD_ANSWER, BAD_REQUEST, status_of};
use crate::wire::generated as proto;

/// An answer that cannot be read is not the caller's doing.
pub(super) const fn bad_answer(_: Malformed) -> Fault {
    BAD_ANSWER
}

pub(super) fn bad_request(_: Malformed) -> Status {
    status_of(BAD_REQUEST)
}

/// The account that a call is about.
pub(super) fn subject(request: Request<proto::OfAccount>) -> Result<AccountId, Status> {
    read_account(request.into_inner().account).map_err(bad_request)
}

pub(super) const fn account(account: AccountId) -> proto::Account {
    proto::Account {
        partner: account.partner().number() as u32,
        number: account.number(),
    }
}

pub(super) fn read_account(account: Option<proto::Account>) -> Result<AccountId, Malformed> {
    let account = account.ok_or(Malformed)?;
    Ok(AccountId::new(
        read_partner(account.partner)?,
        account.number,
    ))
}

pub(super) const fn of_account(id: AccountId) -> proto::OfAccount {
    proto::OfAccount {
        account: Some(account(id)),
    }
}

pub(super) fn read_partner(number: u32) -> Result<PartnerId, Malformed> {
    let number = u16::try_from(number).map_err(|_| Malformed)?;
    PartnerId::new(number).ok_or(Malformed)
}

pub(super) fn read_visible(text: &str) -> Result<VisibleId, Malformed> {
    VisibleId::new(text).ok_or(Malformed)
}

/// Bytes of a fixed length, such as keys.
pub(super) fn exact<const N: usize>(bytes: &Bytes) -> Result<[u8; N], Malformed> {
    <[u8; N]>::try_from(&bytes[..]).map_err(|_| Malformed)
}

pub(super) fn blocked(accounts: Vec<AccountId>) -> proto::Blocked {
    proto::Blocked {
        accounts: accounts.into_iter().map(account).collect(),
    }
}

pub(super) fn read_accounts(accounts: Vec<proto::Account>) -> Result<Vec<AccountId>, Malformed> {
    accounts
        .into_iter()
        .map(|account| read_account(Some(account)))
        .collect()
}

pub(super) fn change(id: AccountId, change: BlockChange) -> proto::ChangeBlockedRequest {
    let change = proto::BlockChange {
        clear: change.clear,
        add: change.add.into_iter().map(account).collect(),
        remove: change.remove.into_iter().map(account).collect(),
    };
    proto::ChangeBlockedRequest {
        account: Some(account(id)),
        change: Some(change),
    }
}

pub(super) fn read_change(
    request: proto::ChangeBlockedRequest,
) -> Result<(AccountId, BlockChange), Malformed> {
    let change = request.change.ok_or(Malformed)?;
    let change = BlockChange {
        clear: change.clear,
        add: read_accounts(change.add)?,
        remove: read_accounts(change.remove)?,
    };
    Ok((read_account(request.account)?, change))
}

pub(super) fn facts(facts: &AccountFacts) -> proto::AccountFacts {
    proto::AccountFacts {
        account: Some(account(facts.account)),
        visible: facts.visible.as_str().to_owned(),
        identity: Bytes::copy_from_slice(&facts.identity),
        transport: Bytes::copy_from_slice(&facts.transport),
        generation: facts.generation,
        enlisted: facts.enlisted.millis(),
    }
}

pub(super) fn read_facts(facts: &proto::AccountFacts) -> Result<AccountFacts, Malformed> {
    Ok(AccountFacts {
        account: read_account(facts.account)?,
        visible: read_visible(&facts.visible)?,
        identity: exact(&facts.identity)?,
        transport: exact(&facts.transport)?,
        generation: facts.generation,
        enlisted: Timestamp::from_millis(facts.enlisted),
    })
}

macro_rules! says_its_name_alone {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for proto::$name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

says_its_name_alone!(FastProof, FastToken, LoggedIn, LoginRequest, ResumeKey);

#[cfg(test)]
mod tests {
    use super::*;

    /// T130: what a login and its answers carry is in no debug output.
    #[test]
    fn secrets_are_not_in_debug_output() {
        use proto::login_request::Credential;
        let fast = proto::FastProof {
            token: "tell-tale".to_owned(),
            proof: Bytes::from_static(b"tell-tale"),
        };
        let login = |credential| proto::LoginRequest {
            account: None,
            credential: Some(credential),
        };
        let printed = [
            format!("{:?}", login(Credential::Fast(fast.clone()))),
            format!("{:?}", login(Credential::Token("tell-tale".to_owned()))),
            format!("{fast:?}"),
            format!(
                "{:?}",
                proto::LoggedIn {
                    facts: None,
                    kid: String::new(),
                    responder: Some(Bytes::from_static(b"tell-tale")),
                }
            ),
            format!(
                "{:?}",
                proto::Resume {
                    account: None,
                    resume: Some(proto::ResumeKey {
                        key: Bytes::from_static(b"tell-tale"),
                    }),
                    h: 7,
                }
            ),
            format!(
                "{:?}",
                proto::FastToken {
                    token: "tell-tale".to_owned(),
                    expires: 7,
                }
            ),
        ];
        for text in &printed {
            assert!(!text.contains("tell-tale"), "{text}");
        }
        assert!(printed[4].contains("h: 7"), "the rest is there");
    }
}
