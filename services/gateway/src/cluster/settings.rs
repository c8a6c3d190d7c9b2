//! The `[mesh]` section: every node of the deployment, in a file that all of them share.
//!
//! In: the section, and what the command line says of this process. Out: its [`Place`]: which
//! node it is, and where it listens. `{node}` in a path stands for the name of the node.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use entente_core::Span;
use entente_mesh::{Address, Role};
use serde::{Deserialize, Serialize};

use super::shards::Shards;
use crate::config::Config;

/// What stands for the name of the node in a path.
const NODE: &str = "{node}";
/// What it becomes in a process that has every role.
const ALONE: &str = "all";

/// The `[mesh]` section.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MeshConfig {
    /// Where this process listens for other nodes; by default, where they look for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// The authorities whose certificates are taken.
    #[serde(default = "authority")]
    pub authority: PathBuf,
    /// The chain that this process shows.
    #[serde(default = "certificate")]
    pub certificate: PathBuf,
    /// Its key.
    #[serde(default = "key")]
    pub key: PathBuf,
    /// How often these files are looked at.
    #[serde(default = "poll")]
    pub poll: Span,
    /// Every node.
    #[serde(default)]
    pub nodes: Vec<NodeConfig>,
}

/// One role of one node.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// What it does.
    pub role: Role,
    /// Its name. Without one, the address stands for any number of nodes of the role behind a DNS
    /// name; routers have names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where other nodes reach it.
    pub address: Address,
    /// For a router: what it owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<Shards>,
    /// Instead of `admin.bind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// Instead of `connection.listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmpp: Option<SocketAddr>,
    /// Instead of `connection.websocket.listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<SocketAddr>,
    /// Instead of `http.listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
}

/// Which of the nodes a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it does.
    pub roles: BTreeSet<Role>,
    /// Its name.
    pub node: String,
    /// Where it listens for other nodes.
    pub listen: SocketAddr,
}

/// Why a process has no place among the nodes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No node has these roles.
    #[error("mesh.nodes: no node {node} has the role {role}")]
    Missing {
        /// Which role.
        role: Role,
        /// The node that was asked for.
        node: String,
    },
    /// No node has all of these roles.
    #[error("mesh.nodes: no node has the role {0}")]
    Nobody(String),
    /// There is no section of the mesh.
    #[error("--role needs the section [mesh] in the configuration")]
    NoMesh,
    /// The address is a name, and nothing says where to listen.
    #[error("mesh.listen: {0} is not an address to listen on")]
    NoListen(Address),
    /// Several nodes have the roles.
    #[error("--node: say which of {0} this is")]
    Several(String),
}

impl MeshConfig {
    /// Makes paths those of a folder.
    pub(crate) fn resolve(&mut self, folder: &Path) {
        for path in [&mut self.authority, &mut self.certificate, &mut self.key] {
            *path = folder.join(&*path);
        }
    }

    fn named(&self, role: Role) -> impl Iterator<Item = &str> {
        let of_role = self.nodes.iter().filter(move |node| node.role == role);
        of_role.filter_map(|node| node.name.as_deref())
    }

    /// The node that a process with these roles is.
    fn node_of(&self, roles: &BTreeSet<Role>, node: Option<&str>) -> Result<String, PlaceError> {
        if let Some(node) = node {
            return Ok(node.to_owned());
        }
        let mut candidates: Option<BTreeSet<&str>> = None;
        for role in roles {
            let named = self.named(*role).collect();
            candidates = Some(match candidates {
                Some(before) => &before & &named,
                None => named,
            });
        }
        let candidates = candidates.unwrap_or_default();
        let mut names = candidates.iter();
        match (names.next(), names.next()) {
            (Some(one), None) => Ok((*one).to_owned()),
            (None, _) => {
                let roles: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
                Err(PlaceError::Nobody(roles.join(" and ")))
            }
            _ => {
                let names: Vec<_> = candidates.into_iter().collect();
                Err(PlaceError::Several(names.join(", ")))
            }
        }
    }

    fn entry(&self, role: Role, node: &str) -> Option<&NodeConfig> {
        let mut of_role = self.nodes.iter().filter(|entry| entry.role == role);
        let unnamed = of_role.clone().find(|entry| entry.name.is_none());
        let named = of_role.find(|entry| entry.name.as_deref() == Some(node));
        named.or(unnamed)
    }
}

impl Config {
    /// Takes a place among the nodes: what the list says of this node replaces what the rest of the
    /// file says of all.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn take_place(
        &mut self,
        roles: &[Role],
        node: Option<&str>,
    ) -> Result<Option<Place>, PlaceError> {
        if roles.is_empty() {
            self.name_paths(ALONE);
            return Ok(None);
        }
        let mesh = self.mesh.clone().ok_or(PlaceError::NoMesh)?;
        let roles: BTreeSet<Role> = roles.iter().copied().collect();
        let node = mesh.node_of(&roles, node)?;
        let mut listen = mesh.listen;
        for role in &roles {
            let entry = mesh.entry(*role, &node);
            let entry = entry.ok_or_else(|| PlaceError::Missing {
                role: *role,
                node: node.clone(),
            })?;
            let at = listen.or_else(|| entry.address.literal());
            listen = Some(at.ok_or_else(|| PlaceError::NoListen(entry.address.clone()))?);
            self.listen_as(entry);
        }
        self.name_paths(&node);
        let Some(listen) = listen else {
            return Err(PlaceError::NoMesh);
        };
        Ok(Some(Place {
            roles,
            node,
            listen,
        }))
    }

    fn listen_as(&mut self, entry: &NodeConfig) {
        if let Some(admin) = entry.admin {
            self.admin.bind = admin;
        }
        if let Some(http) = entry.http {
            self.http.listen = http;
        }
        if let Some(xmpp) = entry.xmpp {
            self.connection.listen = vec![xmpp];
        }
        if let Some(websocket) = entry.websocket {
            self.connection.websocket.listen = vec![websocket];
        }
    }

    fn name_paths(&mut self, node: &str) {
        for url in [&mut self.storage.log, &mut self.storage.state] {
            *url = url.replace(NODE, node);
        }
        let Some(mesh) = &mut self.mesh else { return };
        for path in [&mut mesh.certificate, &mut mesh.key] {
            let text = path.to_string_lossy().replace(NODE, node);
            *path = PathBuf::from(text);
        }
    }
}

fn authority() -> PathBuf {
    PathBuf::from("mesh/ca.crt")
}

fn certificate() -> PathBuf {
    PathBuf::from("mesh/{node}.crt")
}

fn key() -> PathBuf {
    PathBuf::from("mesh/{node}.key")
}

const fn poll() -> Span {
    Span::secs(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = r#"
domain = "interop.example"
[storage]
log = "file:data/{node}/log"
[mesh]
[[mesh.nodes]]
role = "router"
name = "r1"
address = "127.0.0.1:9701"
shards = "0-3"
admin = "127.0.0.1:9601"
[[mesh.nodes]]
role = "router"
name = "r2"
address = "127.0.0.1:9702"
shards = "4-7"
[[mesh.nodes]]
role = "push"
name = "r2"
address = "127.0.0.1:9702"
[[mesh.nodes]]
role = "identity"
address = "identity.example:9700"
"#;

    fn config() -> Config {
        Config::from_text("entente.toml", Path::new("/etc/entente"), NODES).unwrap()
    }

    #[test]
    fn a_node_is_found_by_its_roles_and_its_name() {
        let mut first = config();
        let place = first
            .take_place(&[Role::Router], Some("r1"))
            .unwrap()
            .unwrap();
        assert_eq!(place.listen.port(), 9701);
        assert_eq!(first.admin.bind.port(), 9601);
        assert_eq!(first.storage.log, "file:/etc/entente/data/r1/log");
        let mesh = first.mesh.unwrap();
        assert_eq!(mesh.key, Path::new("/etc/entente/mesh/r1.key"));
        // Only one has both.
        let both = config().take_place(&[Role::Push, Role::Router], None);
        assert_eq!(both.unwrap().unwrap().node, "r2");
        let alone = config().take_place(&[], None).unwrap();
        assert_eq!(alone, None);
    }

    #[test]
    fn what_is_not_in_the_list_is_named() {
        let said = |roles: &[Role], node| {
            let refused = config().take_place(roles, node).unwrap_err();
            refused.to_string()
        };
        assert!(said(&[Role::Router], None).contains("r1, r2"));
        assert!(said(&[Role::Router], Some("r3")).contains("no node r3"));
        assert!(said(&[Role::Connection], None).contains("the role connection"));
        let listen = said(&[Role::Identity], Some("i1"));
        assert!(listen.contains("identity.example:9700"), "{listen}");
        let mut without = config();
        without.mesh = None;
        let refused = without.take_place(&[Role::Router], None);
        assert_eq!(refused, Err(PlaceError::NoMesh));
    }
}
