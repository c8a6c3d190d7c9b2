//! Where a cluster that runs already takes users: read from the configuration of its nodes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use entente_campaign::Cluster;
use entente_engine::account::Account;
use entente_engine::scenario::Scenario;
use entente_kit::http::HttpTarget;
use entente_kit::partner::Algorithm;
use entente_kit::trust::Trust;
use serde::Deserialize;

use crate::ground::enlisted;
use crate::node::Host;
use crate::users::enlist;

/// What is read of the configuration.
#[derive(Debug, Deserialize)]
struct File {
    domain: String,
    mesh: Mesh,
}

#[derive(Debug, Deserialize)]
struct Mesh {
    nodes: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    role: String,
    xmpp: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

/// See the module.
#[derive(Debug)]
pub struct Doors {
    /// What stands behind the `@`.
    pub domain: String,
    /// The XMPP doors, one of each connection node.
    pub xmpp: Vec<SocketAddr>,
    /// Where users enlist.
    pub https: SocketAddr,
}

impl Doors {
    /// Reads the configuration in the cluster's folder.
    ///
    /// # Errors
    /// If it cannot be read, or has no such doors.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("entente.toml");
        let place = || path.display().to_string();
        let text = fs::read_to_string(&path).with_context(place)?;
        let file: File = toml::from_str(&text).with_context(place)?;
        let nodes = file.mesh.nodes;
        let xmpp: Vec<_> = nodes.iter().filter_map(|node| node.xmpp).collect();
        let of_identity = nodes.iter().filter(|node| node.role == "identity");
        let https = of_identity.filter_map(|node| node.http).next();
        let none = || format!("{}: no identity node has `http`", place());
        anyhow::ensure!(!xmpp.is_empty(), "{}: no node has `xmpp`", place());
        Ok(Self {
            domain: file.domain,
            xmpp,
            https: https.with_context(none)?,
        })
    }

    /// Starts partners of whom the cluster is told, and enlists the users of a scenario.
    ///
    /// # Errors
    /// With what failed.
    pub async fn enlist(
        &self,
        scenario: &mut Scenario,
        folder: &Path,
        cluster: &Cluster,
        accounts: &mut Vec<Account>,
    ) -> anyhow::Result<Vec<Host>> {
        let mut hosts = Vec::new();
        for offset in 0..scenario.sessions.partners {
            let number = scenario.target.partner_number + offset;
            hosts.push(Host::start(number, Algorithm::EdDsa, None, false).await?);
        }
        let records: String = hosts.iter().map(Host::record).collect();
        fs::write(folder.join("partners.toml"), records).context("partners.toml")?;
        cluster.reload().await?;
        let door = HttpTarget::tls(self.https, &self.domain, &Trust::Anyone)?;
        for host in &hosts {
            host.trust(door.clone(), &self.domain).await?;
        }
        scenario.target.domain.clone_from(&self.domain);
        // Names of their own for each run: the cluster remembers those of the last.
        let prefix = format!("load-{:08x}", rand::random::<u32>());
        let users = enlist(door, &hosts, &prefix, scenario.sessions.users).await;
        let users = users.context("enlisting users")?;
        accounts.extend(enlisted(&users, &hosts));
        Ok(hosts)
    }
}
