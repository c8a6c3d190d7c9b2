//! Who logs in, and with what.

use std::sync::Arc;

use entente_kit::partner::Partner;

/// A user of the load.
#[derive(Clone, Debug)]
pub struct Account {
    /// What stands before the @.
    pub localpart: Arc<str>,
    /// The number of its partner; 0 where there are none.
    pub partner: u16,
    /// How it proves that it is this user.
    pub secret: Secret,
}

/// What a user proves itself with.
#[derive(Clone)]
pub enum Secret {
    /// The same each time.
    Password(Arc<str>),
    /// A fresh token for this visible id, each time.
    Token(Arc<Partner>, Arc<str>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password",
            Self::Token(..) => "Token",
        })
    }
}

impl Secret {
    /// The password, or a token made now; `None` if the partner's key does not sign.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Password(password) => Some(password.to_string()),
            Self::Token(partner, visible) => partner.mint(visible).ok(),
        }
    }
}
