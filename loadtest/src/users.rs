//! Users of the partners: enlisted with keys of their own before a scenario begins.

use std::sync::Arc;

use anyhow::Context;
use entente_core::{AccountId, PartnerId, SignedPrekey, random_array};
use entente_keys::test::SigningKey;
use entente_kit::enlist::{EnlistError, EnlistForm};
use entente_kit::http::{HttpError, HttpTarget};
use entente_kit::partner::Partner;
use tokio::task::JoinSet;

use crate::node::{DOMAIN, Host};

/// Enlistments under way at once.
const AT_ONCE: usize = 32;
/// Tries of an enlistment that gets no answer: a gateway that was up before the partner could not fetch its
/// keys, and lets who comes wait until it tries again, after ten seconds or more.
const TRIES: u32 = 4;
/// Whatever a client drew: it is only kept.
const REGISTRATION: u32 = 0x1234;

/// An enlisted user.
#[derive(Clone, Debug)]
pub struct User {
    /// What the partner calls it.
    pub visible: Arc<str>,
    /// The localpart of its address.
    pub localpart: Arc<str>,
    /// The place of its partner among those given.
    pub partner: usize,
}

impl User {
    /// Its address.
    pub fn address(&self) -> String {
        format!("{}@{DOMAIN}", self.localpart)
    }
}

/// Enlists so many users, spread over the partners in turn, in the order of their numbers.
///
/// # Errors
/// At the first that is refused.
pub async fn enlist(
    target: HttpTarget,
    partners: &[Host],
    prefix: &str,
    count: usize,
) -> anyhow::Result<Vec<User>> {
    let target = Arc::new(target);
    let mut users = Vec::with_capacity(count);
    let mut under_way: JoinSet<anyhow::Result<(usize, User)>> = JoinSet::new();
    for (index, (partner, host)) in partners.iter().enumerate().cycle().take(count).enumerate() {
        while under_way.len() >= AT_ONCE {
            users.push(under_way.join_next().await.context("enlistments")???);
        }
        let visible: Arc<str> = format!("{prefix}-{index}").into();
        let (target, number) = (Arc::clone(&target), host.number);
        let server = Arc::clone(&host.partner);
        under_way.spawn(async move {
            let account = patient(&target, number, &server, &visible).await?;
            let user = User {
                visible,
                localpart: account.to_string().into(),
                partner,
            };
            Ok((index, user))
        });
    }
    while let Some(user) = under_way.join_next().await {
        users.push(user??);
    }
    users.sort_unstable_by_key(|(index, _)| *index);
    Ok(users.into_iter().map(|(_, user)| user).collect())
}

/// Enlists one user, with a token of its own for each try.
async fn patient(
    target: &HttpTarget,
    number: PartnerId,
    partner: &Partner,
    visible: &str,
) -> anyhow::Result<AccountId> {
    let form = form()?;
    let mut tries = 1;
    loop {
        let token = partner.mint(visible)?;
        match form.send(target, number, &token).await {
            Err(EnlistError::Http(HttpError::Deadline)) if tries < TRIES => tries += 1,
            answer => return Ok(answer?),
        }
    }
}

fn form() -> anyhow::Result<EnlistForm> {
    let identity = SigningKey::new(random_array());
    let prekey = SigningKey::new(random_array()).public()?;
    let transport = SigningKey::new(random_array()).public()?;
    let signature = identity.sign(&prekey.serialized());
    Ok(EnlistForm {
        transport: *transport.bytes(),
        registration: REGISTRATION,
        identity: *identity.public()?.bytes(),
        signed: SignedPrekey {
            id: 1,
            key: *prekey.bytes(),
            signature: signature.bytes().to_vec().into(),
        },
    })
}
