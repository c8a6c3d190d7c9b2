//! Which nodes of a cluster are killed, one after the other.

use std::path::PathBuf;
use std::time::Duration;

use entente_kit::cluster::{ClusterError, Control, Layout};
use tokio::time::Instant;

use crate::error::{DemoError, check};

/// Whose turn it is: roles. Of each role another node with each round.
const VICTIMS: [&str; 3] = ["connection", "router", "broker"];
/// Brokers are not in the configuration of the nodes; with the second one, neither the first nor the
/// last of them is special.
const BROKER: &str = "2";

/// The nodes of a cluster, and the program that kills and starts them.
#[derive(Debug)]
pub(crate) struct Cluster {
    layout: Layout,
    control: Control,
    kills: usize,
}

impl Cluster {
    pub(crate) const fn new(layout: Layout, control: PathBuf) -> Self {
        Self {
            layout,
            control: Control::new(control),
            kills: 0,
        }
    }

    /// Lets the nodes read the file of partners.
    pub(crate) async fn reload(&self) -> Result<(), ClusterError> {
        self.control.order(&["reload"]).await.map(drop)
    }

    /// Kills the next victim with SIGKILL and starts it again; returns how long that took.
    pub(crate) async fn kill(&mut self) -> Result<Duration, DemoError> {
        let (round, turn) = (self.kills / VICTIMS.len(), self.kills % VICTIMS.len());
        self.kills += 1;
        let role = VICTIMS.get(turn).copied().unwrap_or_default();
        let name = if role == "broker" {
            Some(BROKER)
        } else {
            self.layout.names(role).into_iter().cycle().nth(round)
        };
        let Some(name) = name else {
            check(false, "the cluster has a node of each role", role)?;
            return Ok(Duration::ZERO);
        };
        let since = Instant::now();
        self.control.order(&["kill", role, name]).await?;
        self.control.order(&["start", role, name]).await?;
        Ok(since.elapsed())
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
            "domain = \"a.test\"\n".to_owned(),
            node("connection", "c1", "xmpp = \"127.0.0.1:1\""),
            node("connection", "c2", "xmpp = \"127.0.0.1:2\""),
            node("router", "r1", ""),
            node("identity", "i1", "http = \"127.0.0.1:3\""),
        ];
        std::fs::write(folder.path().join("entente.toml"), text.concat()).unwrap();
        let layout = Layout::read(folder.path()).unwrap();
        let mut cluster = Cluster::new(layout, PathBuf::from("/bin/false"));
        let wanted = ["connection c1", "router r1", "broker 2", "connection c2"];
        for order in wanted {
            let error = cluster.kill().await.unwrap_err().to_string();
            assert!(error.contains(&format!("kill {order}")), "{error}");
        }
    }
}
