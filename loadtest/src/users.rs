//! Users of the partner: enlisted with keys of their own before a scenario begins.

use std::sync::Arc;

use anyhow::Context;
use entente_core::{AccountId, SignedPrekey, random_array};
use entente_keys::test::SigningKey;
use entente_kit::enlist::EnlistForm;
use tokio::task::JoinSet;

use crate::node::{DOMAIN, Node};

/// Enlistments under way at once.
const AT_ONCE: usize = 32;
/// Whatever a client drew: it is only kept.
const REGISTRATION: u32 = 0x1234;

/// An enlisted user.
#[derive(Clone, Debug)]
pub struct User {
    /// What the partner calls it.
    pub visible: Arc<str>,
    /// The localpart of its address.
    pub localpart: Arc<str>,
}

impl User {
    fn new(visible: String, account: &AccountId) -> Self {
        Self {
            visible: visible.into(),
            localpart: account.to_string().into(),
        }
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("{}@{DOMAIN}", self.localpart)
    }
}

/// Enlists so many users.
///
/// # Errors
/// At the first that is refused.
pub async fn enlist(node: &Node, count: usize) -> anyhow::Result<Vec<User>> {
    let target = Arc::new(node.enlistment()?);
    let (partner, number) = node.partner();
    let mut users = Vec::with_capacity(count);
    let mut under_way: JoinSet<anyhow::Result<User>> = JoinSet::new();
    for index in 0..count {
        while under_way.len() >= AT_ONCE {
            let user = under_way.join_next().await.context("enlistments")?;
            users.push(user??);
        }
        let visible = format!("load-{index}");
        let token = partner.mint(&visible)?;
        let target = Arc::clone(&target);
        under_way.spawn(async move {
            let account = form()?.send(&target, number, &token).await?;
            Ok(User::new(visible, &account))
        });
    }
    while let Some(user) = under_way.join_next().await {
        users.push(user??);
    }
    Ok(users)
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
