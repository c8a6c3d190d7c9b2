//! Who serves which role, and where.
//!
//! In: a role. Out: the nodes that may be tried for it, as of now. Nothing is known here of their
//! health; whoever dials finds out.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::name::Role;

/// How long a name may take to be resolved.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(5);

/// Where a node listens: `host:port`. A host name is resolved anew for each connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Box<str>);

/// Text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not `host:port`")]
pub struct AddressError(String);

impl Address {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The socket address that it says, if it needs no resolving.
    pub fn literal(&self) -> Option<SocketAddr> {
        self.0.parse().ok()
    }

    /// Every socket address that it stands for now.
    ///
    /// # Errors
    /// When the name cannot be resolved, or not in time.
    pub async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        if let Some(literal) = self.literal() {
            return Ok(vec![literal]);
        }
        let found = timeout(RESOLVE_PATIENCE, lookup_host(self.as_str()));
        let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        Ok(found.await.map_err(late)??.collect())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let good = text.rsplit_once(':').is_some_and(|(host, port)| {
            let port = port.parse::<u16>().is_ok_and(|port| port > 0);
            port && !host.is_empty() && !host.contains(['/', ' ', '@'])
        });
        if good {
            Ok(Self(text.into()))
        } else {
            Err(AddressError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0.into()
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string().into())
    }
}

/// A node that serves a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The role.
    pub role: Role,
    /// Its name; none if any node of the role may answer there.
    pub name: Option<Box<str>>,
    /// Where.
    pub address: Address,
}

/// Says who serves a role.
#[async_trait]
pub trait Membership: Send + Sync + fmt::Debug {
    /// The nodes of a role as far as is known now, in a lasting order. Never fails: what cannot be
    /// learned now is as it was last time. Cancel safe.
    async fn nodes(&self, role: Role) -> Vec<Node>;
}

/// Nobody else: every role is in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

#[async_trait]
impl Membership for Solo {
    async fn nodes(&self, _: Role) -> Vec<Node> {
        Vec::new()
    }
}

/// A list that does not change while the process runs.
#[derive(Clone, Debug, Default)]
pub struct Fixed(Vec<Node>);

impl Fixed {
    /// Takes the list.
    pub const fn new(nodes: Vec<Node>) -> Self {
        Self(nodes)
    }
}

#[async_trait]
impl Membership for Fixed {
    async fn nodes(&self, role: Role) -> Vec<Node> {
        let of_role = self.0.iter().filter(|node| node.role == role);
        of_role.cloned().collect()
    }
}

/// A list in which a node without a name stands for all addresses behind a DNS name, as a headless
/// service of Kubernetes has them. It is resolved whenever it is asked for.
#[derive(Debug)]
pub struct Dns {
    entries: Vec<(Node, Mutex<Vec<SocketAddr>>)>,
}

impl Dns {
    /// Takes the list. Nodes with a name are passed on as they are.
    pub fn new(nodes: Vec<Node>) -> Self {
        let entries = nodes.into_iter().map(|node| (node, Mutex::default()));
        Self {
            entries: entries.collect(),
        }
    }
}

#[async_trait]
impl Membership for Dns {
    async fn nodes(&self, role: Role) -> Vec<Node> {
        let mut nodes = Vec::new();
        for (node, known) in self.entries.iter().filter(|(node, _)| node.role == role) {
            if node.name.is_some() {
                nodes.push(node.clone());
                continue;
            }
            // A resolver that is away says nothing of the nodes: the last answer stands.
            if let Ok(mut found) = node.address.resolve().await
                && !found.is_empty()
            {
                found.sort_unstable();
                found.dedup();
                *known.lock() = found;
            }
            let known = known.lock().clone();
            nodes.extend(known.into_iter().map(|address| Node {
                role,
                name: None,
                address: address.into(),
            }));
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(role: Role, name: Option<&str>, address: &str) -> Node {
        Node {
            role,
            name: name.map(Into::into),
            address: address.parse().unwrap(),
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:1", "[::1]:9700", "router-0.router.svc:9700"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in ["", "a", ":1", "a:0", "a:65536", "http://a:1", "a b:1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_list_says_who_serves_a_role_and_solo_says_nobody() {
        let nodes = vec![
            node(Role::Router, Some("r1"), "127.0.0.1:1"),
            node(Role::Push, Some("p1"), "127.0.0.1:2"),
            node(Role::Router, Some("r2"), "127.0.0.1:3"),
        ];
        let fixed = Fixed::new(nodes.clone());
        let routers = fixed.nodes(Role::Router).await;
        assert_eq!(routers, [nodes[0].clone(), nodes[2].clone()]);
        assert!(fixed.nodes(Role::Identity).await.is_empty());
        assert!(Solo.nodes(Role::Router).await.is_empty());
    }

    #[tokio::test]
    async fn a_name_stands_for_its_addresses_and_the_last_answer_stands() {
        let named = node(Role::Identity, Some("i1"), "127.0.0.1:1");
        let dns = Dns::new(vec![
            named.clone(),
            node(Role::Identity, None, "localhost:7"),
        ]);
        let found = dns.nodes(Role::Identity).await;
        assert_eq!(found[0], named);
        assert!(found.len() > 1, "{found:?}");
        assert!(
            found[1..].iter().all(|node| node.name.is_none()
                && node.address.literal().is_some_and(|at| at.port() == 7))
        );
        // The same list, whose name nobody resolves any more.
        let gone = Dns::new(vec![node(Role::Identity, None, "gone.invalid:7")]);
        *gone.entries[0].1.lock() = vec!["192.0.2.1:7".parse().unwrap()];
        let kept = gone.nodes(Role::Identity).await;
        assert_eq!(kept[0].address.as_str(), "192.0.2.1:7");
    }
}
