//! A gateway that is there already: the processes of a cluster, which a program starts and kills.
//!
//! In: the folder that `entente init` wrote for them, and the program. Out: where clients connect, and
//! a node that is killed when it is asked for. What the program does is said by its arguments: `kill
//! ROLE NAME`, `start ROLE NAME`, which waits until the node is ready, and `reload`, after which the
//! nodes read the file of partners.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::Instant;

use crate::error::DemoError;

/// Who is killed, one after the other: roles, and which of the nodes of a role.
const VICTIMS: [(&str, usize); 3] = [("connection", 0), ("router", 0), ("broker", 1)];

/// What is read of the configuration.
#[derive(Debug, Deserialize)]
struct File {
    mesh: Mesh,
}

#[derive(Debug, Deserialize)]
struct Mesh {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    role: String,
    name: String,
    xmpp: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cluster {
    control: PathBuf,
    nodes: Vec<Node>,
    kills: usize,
}

impl Cluster {
    /// Reads where the nodes of a folder listen.
    pub(crate) fn read(folder: &Path, control: PathBuf) -> Result<Self, DemoError> {
        let text = fs::read_to_string(folder.join("entente.toml"));
        let text = text.map_err(DemoError::file("entente.toml of the cluster"))?;
        let file: File = toml::from_str(&text)
            .map_err(|error| DemoError::Cluster(format!("entente.toml: {}", error.message())))?;
        Ok(Self {
            control,
            nodes: file.mesh.nodes,
            kills: 0,
        })
    }

    /// The doors for clients, one of each connection node.
    pub(crate) fn xmpp(&self) -> Vec<SocketAddr> {
        self.nodes.iter().filter_map(|node| node.xmpp).collect()
    }

    /// The HTTPS door of an identity node.
    pub(crate) fn https(&self) -> Result<SocketAddr, DemoError> {
        let of_identity = self.nodes.iter().filter(|node| node.role == "identity");
        let mut doors = of_identity.filter_map(|node| node.http);
        let none = || DemoError::Cluster("no identity node has `http`".to_owned());
        doors.next().ok_or_else(none)
    }

    /// Lets the nodes read the file of partners.
    pub(crate) async fn reload(&self) -> Result<(), DemoError> {
        self.order(&["reload"]).await
    }

    /// Kills the next victim with SIGKILL and starts it again; returns how long that took.
    pub(crate) async fn kill(&mut self) -> Result<Duration, DemoError> {
        let turn = self.kills;
        self.kills += 1;
        let Some(&(role, at)) = VICTIMS.iter().cycle().nth(turn) else {
            return Ok(Duration::ZERO);
        };
        let name = match role {
            "broker" => (at + 1).to_string(),
            role => self.named(role, at + turn / VICTIMS.len())?,
        };
        let since = Instant::now();
        self.order(&["kill", role, &name]).await?;
        self.order(&["start", role, &name]).await?;
        Ok(since.elapsed())
    }

    fn named(&self, role: &str, at: usize) -> Result<String, DemoError> {
        let nodes: Vec<_> = self.nodes.iter().filter(|node| node.role == role).collect();
        let node = nodes.get(at % nodes.len().max(1));
        let none = || DemoError::Cluster(format!("there is no {role}"));
        Ok(node.ok_or_else(none)?.name.clone())
    }

    async fn order(&self, arguments: &[&str]) -> Result<(), DemoError> {
        let output = Command::new(&self.control).args(arguments).output().await;
        let output = output.map_err(DemoError::file("the program that controls the cluster"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let order = arguments.join(" ");
        Err(DemoError::Cluster(format!("{order}: {}", said.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn victims_take_turns_and_a_refused_order_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let node = |role: &str, name: &str, more: &str| {
            format!(
                "[[mesh.nodes]]\nrole = \"{role}\"\nname = \"{name}\"\naddress = \"a:1\"\n{more}\n"
            )
        };
        let text = [
            node("connection", "c1", "xmpp = \"127.0.0.1:1\""),
            node("connection", "c2", "xmpp = \"127.0.0.1:2\""),
            node("router", "r1", ""),
            node("identity", "i1", "http = \"127.0.0.1:3\""),
        ];
        fs::write(folder.path().join("entente.toml"), text.concat()).unwrap();
        let control = PathBuf::from("/bin/false");
        let mut cluster = Cluster::read(folder.path(), control).unwrap();
        assert_eq!(cluster.xmpp().len(), 2);
        assert_eq!(cluster.https().unwrap().port(), 3);
        let wanted = ["connection c1", "router r1", "broker 2", "connection c2"];
        for order in wanted {
            let error = cluster.kill().await.unwrap_err().to_string();
            assert!(error.contains(&format!("kill {order}")), "{error}");
        }
        let error = Cluster::read(&folder.path().join("none"), PathBuf::new()).unwrap_err();
        assert!(error.to_string().contains("entente.toml"), "{error}");
    }
}
