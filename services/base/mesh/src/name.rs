//! What a node is called, and how a certificate says so.
//!
//! A name is a URI in the certificate's subject alternative names (RFC 5280 4.2.1.6):
//! `entente://DEPLOYMENT/ROLE/NODE`. A process with several roles has one URI for each.

use std::fmt;
use std::str::FromStr;

use entente_node::{Label, LabelValue};
use serde::{Deserialize, Serialize};

const SCHEME: &str = "entente://";
/// Longest part of a name, in bytes: that of a DNS label, so that a pod's name fits.
const PART_BYTES: usize = 63;
/// Longest name of a deployment, in bytes: that of a DNS name.
const DEPLOYMENT_BYTES: usize = 253;

/// What a process does for the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Clients connect to it.
    Connection,
    /// Judges logins, enlists.
    Identity,
    /// Wakes users through their partners.
    Push,
    /// Owns shards.
    Router,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Connection, Self::Identity, Self::Push, Self::Router];

    /// The word for it, in names and settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Identity => "identity",
            Self::Push => "push",
            Self::Router => "router",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No role has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role: connection, identity, push or router")]
pub struct RoleError(String);

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| RoleError(text.to_owned()))
    }
}

impl Label for Role {
    const NAME: &'static str = "role";

    fn value(&self) -> LabelValue {
        LabelValue::Word(self.as_str())
    }
}

/// One role of one node of one deployment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    deployment: Box<str>,
    role: Role,
    node: Box<str>,
}

/// Text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The deployment's name is not of the form of a DNS name.
    #[error("`{0}` is no name of a deployment: lower case letters, digits, `-` and `.`")]
    Deployment(String),
    /// The node's name is not of the form of a DNS label.
    #[error("`{0}` is no name of a node: 1 to 63 lower case letters, digits and `-`")]
    Node(String),
    /// It has another form altogether.
    #[error("`{0}` is not entente://DEPLOYMENT/ROLE/NODE")]
    Uri(String),
}

impl NodeName {
    /// Makes a name.
    ///
    /// # Errors
    /// [`NameError`] for text that would not come back from a URI as it was.
    pub fn new(deployment: &str, role: Role, node: &str) -> Result<Self, NameError> {
        let fits = |text: &str, most: usize, dot: bool| {
            let letter = |byte: u8| {
                byte.is_ascii_lowercase()
                    || byte.is_ascii_digit()
                    || byte == b'-'
                    || (dot && byte == b'.')
            };
            !text.is_empty() && text.len() <= most && text.bytes().all(letter)
        };
        if !fits(deployment, DEPLOYMENT_BYTES, true) {
            return Err(NameError::Deployment(deployment.to_owned()));
        }
        if !fits(node, PART_BYTES, false) {
            return Err(NameError::Node(node.to_owned()));
        }
        Ok(Self {
            deployment: deployment.into(),
            role,
            node: node.into(),
        })
    }

    /// The deployment.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// What it does.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Which of those that do so.
    pub fn node(&self) -> &str {
        &self.node
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (deployment, role, node) = (&self.deployment, self.role, &self.node);
        write!(f, "{SCHEME}{deployment}/{role}/{node}")
    }
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let malformed = || NameError::Uri(text.to_owned());
        let path = text.strip_prefix(SCHEME).ok_or_else(malformed)?;
        let mut parts = path.split('/');
        let (Some(deployment), Some(role), Some(node), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let role = role.parse().map_err(|_| malformed())?;
        Self::new(deployment, role, node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_their_uri() {
        for role in Role::ALL {
            let name = NodeName::new("interop.example", role, "a-0").unwrap();
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "https://a/router/b",
            "entente://a/router",
            "entente://a/router/b/c",
            "entente://a/gate/b",
            "entente:///router/b",
            "entente://a/router/",
            "entente://A/router/b",
            "entente://a/router/b.c",
            "entente://a/Router/b",
        ] {
            assert!(text.parse::<NodeName>().is_err(), "{text}");
        }
        let long = "n".repeat(64);
        assert_eq!(
            NodeName::new("a", Role::Push, &long),
            Err(NameError::Node(long.clone()))
        );
    }
}
