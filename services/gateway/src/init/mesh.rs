//! The part of `entente init` for a deployment with a process for each role: the nodes, an authority
//! of their own, and a certificate for each node.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use entente_mesh::{Authority, Life, NameError, NodeName, Role};

use super::CERTIFICATE_DAYS;
use crate::cluster::{NodeConfig, Shards};

/// A node as the command line names it: `role=router,name=r1,address=127.0.0.1:9701`.
#[derive(Clone, Debug)]
pub struct MeshNode(NodeConfig);

/// Why the nodes cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MeshInitError {
    /// A certificate cannot be made.
    #[error("a certificate of the mesh cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A name is not one that a certificate can have.
    #[error("--mesh-node: {0}")]
    Name(#[from] NameError),
    /// A node has no name.
    #[error("--mesh-node: a node needs a name")]
    Nameless,
}

impl FromStr for MeshNode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut table = String::new();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` is not KEY=VALUE"))?;
            table += &format!("{key} = {value:?}\n");
        }
        let node = toml::from_str(&table).map_err(|error| error.message().to_owned())?;
        Ok(Self(node))
    }
}

/// A file of the folder: name, mode, text.
type File = (String, u32, String);

/// The section of the configuration; nothing without nodes. `listed` is the number of shards if the
/// list is to say who owns them.
pub(super) fn section(nodes: &[MeshNode], listed: Option<u32>) -> String {
    if nodes.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        r#"
[mesh]                          # processes of their own: entente run --role ROLE --node NAME
authority = "mesh/ca.crt"       # who signs the certificates below; keep its key from the nodes
certificate = "mesh/{node}.crt" # all three are read again when they change
key = "mesh/{node}.key"
"#,
    );
    let routers = nodes.iter().filter(|node| node.0.role == Role::Router);
    let routers = u32::try_from(routers.count()).unwrap_or(u32::MAX);
    let mut at = 0;
    for MeshNode(node) in nodes {
        let mut node = node.clone();
        if let Some(shards) = listed
            && node.role == Role::Router
            && node.shards.is_none()
        {
            node.shards = Some(Shards::part(shards, at, routers));
            at += 1;
        }
        // Only strings and addresses: it cannot fail, and what is missing would be noticed below.
        let table = toml::to_string(&node).unwrap_or_default();
        text += &format!("\n[[mesh.nodes]]\n{table}");
    }
    text
}

/// An authority, and a certificate for each node in all its roles.
pub(super) fn files(nodes: &[MeshNode], domain: &str) -> Result<Vec<File>, MeshInitError> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let mut named = BTreeMap::<&str, Vec<NodeName>>::new();
    for MeshNode(node) in nodes {
        let name = node.name.as_deref().ok_or(MeshInitError::Nameless)?;
        let full = NodeName::new(domain, node.role, name)?;
        named.entry(name).or_default().push(full);
    }
    let days = u64::try_from(CERTIFICATE_DAYS).unwrap_or_default();
    let life = Life::until(Duration::from_secs(days * 24 * 3600));
    let authority = Authority::new(life)?;
    let mut files = vec![
        ("mesh/ca.crt".to_owned(), 0o644, authority.pem()),
        ("mesh/ca.key".to_owned(), 0o600, authority.key_pem()),
    ];
    for (node, names) in named {
        let issued = authority.issue(&names, life)?;
        files.push((format!("mesh/{node}.crt"), 0o644, issued.certificate));
        files.push((format!("mesh/{node}.key"), 0o600, issued.key));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_from_one_argument() {
        let text = "role=router,name=r1,address=127.0.0.1:9701,shards=0-3,admin=127.0.0.1:1";
        let MeshNode(node) = text.parse().unwrap();
        assert_eq!(
            (node.role, node.name.as_deref()),
            (Role::Router, Some("r1"))
        );
        for (bad, said) in [
            ("router", "KEY=VALUE"),
            ("role=rooter,name=a,address=a:1", "rooter"),
            ("role=router,name=a", "address"),
            ("role=router,name=a,address=a", "host:port"),
            ("role=router,name=a,address=a:1,rank=1", "rank"),
        ] {
            let error = bad.parse::<MeshNode>().unwrap_err();
            assert!(error.contains(said), "{bad}: {error}");
        }
    }
}
