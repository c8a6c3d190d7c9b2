//! Users of a cluster that runs already.

use std::fs;
use std::path::Path;

use anyhow::Context;
use entente_campaign::Cluster;
use entente_engine::account::Account;
use entente_engine::scenario::Scenario;
use entente_kit::cluster::Layout;
use entente_kit::http::HttpTarget;
use entente_kit::partner::Algorithm;
use entente_kit::trust::Trust;

use crate::ground::enlisted;
use crate::node::Host;
use crate::users::enlist;

/// Starts partners of whom the cluster is told, and enlists the users of a scenario.
///
/// # Errors
/// With what failed.
pub async fn enlist_at(
    layout: &Layout,
    scenario: &mut Scenario,
    folder: &Path,
    cluster: &Cluster,
) -> anyhow::Result<(Vec<Host>, Vec<Account>)> {
    let mut hosts = Vec::new();
    for offset in 0..scenario.sessions.partners {
        let number = scenario.target.partner_number + offset;
        hosts.push(Host::start(number, Algorithm::EdDsa, None, false).await?);
    }
    let records: String = hosts.iter().map(Host::record).collect();
    fs::write(folder.join("partners.toml"), records).context("partners.toml")?;
    cluster.reload().await?;
    let door = layout.enlistment().context("no door for enlistment")?;
    let door = HttpTarget::tls(door, &layout.domain, &Trust::Anyone)?;
    for host in &hosts {
        host.trust(door.clone(), &layout.domain).await?;
    }
    scenario.target.domain.clone_from(&layout.domain);
    // Names of their own for each run: the cluster remembers those of the last.
    let prefix = format!("load-{:08x}", rand::random::<u32>());
    let users = enlist(door, &hosts, &prefix, scenario.sessions.users).await;
    let users = users.context("enlisting users")?;
    let accounts = enlisted(&users, &hosts);
    Ok((hosts, accounts))
}
