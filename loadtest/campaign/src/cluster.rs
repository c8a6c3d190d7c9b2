//! A cluster that runs already: its members, and the program that kills and starts them.
//!
//! In: the program, whose arguments say what is to be done to whom: `kill ROLE NAME`, `stop`, `start`
//! (which waits until it is ready), `pause`, `resume`, `flush`, `partition A B [one-way]`, `heal [A B]`,
//! and `status`, a line for each member: role, name, process id or `down`. Out: members struck, and whatever was struck well again.
//!
//! **Invariants**
//! - Members of one role fail one at a time; what is to be left alone is not in the status.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use entente_kit::cluster::Control;
use serde::Deserialize;

/// How a status begins the line of the process that carries what nodes send each other.
const LINKS: &str = "links ";

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Keeps the log.
    Broker,
    /// Talks to clients.
    Connection,
    /// Knows who users are.
    Identity,
    /// Wakes users.
    Push,
    /// Keeps hints.
    Redis,
    /// Owns shards.
    Router,
}

/// What is done to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// It forgets everything and goes on.
    Flush,
    /// SIGKILL; a start when it is over.
    Kill,
    /// SIGSTOP; SIGCONT when it is over.
    Pause,
    /// SIGTERM and an orderly end; a start when it is over.
    Restart,
}

impl Role {
    /// As the program is told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Connection => "connection",
            Self::Identity => "identity",
            Self::Push => "push",
            Self::Redis => "redis",
            Self::Router => "router",
        }
    }
}

/// As a history calls it.
pub(crate) const fn name(act: Act, role: Role) -> &'static str {
    match (act, role) {
        (Act::Flush, _) => "flush-redis",
        (Act::Kill, Role::Broker) => "kill-broker",
        (Act::Kill, Role::Connection) => "kill-connection",
        (Act::Kill, Role::Identity) => "kill-identity",
        (Act::Kill, Role::Push) => "kill-push",
        (Act::Kill, Role::Redis) => "kill-redis",
        (Act::Kill, Role::Router) => "kill-router",
        (Act::Pause, Role::Broker) => "pause-broker",
        (Act::Pause, Role::Connection) => "pause-connection",
        (Act::Pause, Role::Identity) => "pause-identity",
        (Act::Pause, Role::Push) => "pause-push",
        (Act::Pause, Role::Redis) => "pause-redis",
        (Act::Pause, Role::Router) => "pause-router",
        (Act::Restart, Role::Broker) => "restart-broker",
        (Act::Restart, Role::Connection) => "restart-connection",
        (Act::Restart, Role::Identity) => "restart-identity",
        (Act::Restart, Role::Push) => "restart-push",
        (Act::Restart, Role::Redis) => "restart-redis",
        (Act::Restart, Role::Router) => "restart-router",
    }
}

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    control: Control,
    members: BTreeMap<&'static str, Vec<String>>,
    linked: bool,
}

impl Cluster {
    /// Asks the program who is there.
    ///
    /// # Errors
    /// If it cannot be run, or fails.
    pub async fn find(control: PathBuf) -> anyhow::Result<Self> {
        let mut cluster = Self {
            control: Control::new(control),
            members: BTreeMap::new(),
            linked: false,
        };
        let said = cluster.control.order(&["status"]).await?;
        cluster.linked = said.lines().any(|line| line.starts_with(LINKS));
        for (role, name, _) in members(&said) {
            cluster.members.entry(role).or_default().push(name);
        }
        Ok(cluster)
    }

    /// The members of a role.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn members(&self, role: Role) -> anyhow::Result<&[String]> {
        let members = self.members.get(role.name());
        let members = members.filter(|members| !members.is_empty());
        let members = members.with_context(|| format!("the cluster has no {}", role.name()))?;
        Ok(members)
    }

    /// Whether its network can be cut: it says so where it has a process for that.
    pub const fn is_linked(&self) -> bool {
        self.linked
    }

    /// The member of a role that a draw says.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn member(&self, role: Role, draw: u32) -> anyhow::Result<&str> {
        let members = self.members(role)?;
        let at = usize::try_from(draw)? % members.len();
        members.get(at).map(String::as_str).context("a member")
    }

    /// Has the program do something to a member.
    ///
    /// # Errors
    /// If it fails, with what it said.
    pub(crate) async fn tell(&self, what: &str, role: Role, name: &str) -> anyhow::Result<()> {
        self.control.order(&[what, role.name(), name]).await?;
        Ok(())
    }

    /// Gives an order that concerns more than one member.
    ///
    /// # Errors
    /// If it fails, with what it said.
    pub(crate) async fn order(&self, words: &[String]) -> anyhow::Result<()> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.control.order(&words).await?;
        Ok(())
    }

    /// Lets the members read the file of partners.
    ///
    /// # Errors
    /// If the program fails.
    pub async fn reload(&self) -> anyhow::Result<()> {
        self.control.order(&["reload"]).await?;
        Ok(())
    }

    /// Heals the network, starts whoever is down and lets whoever is paused go on; says who was down.
    ///
    /// # Errors
    /// If somebody does not come back.
    pub(crate) async fn mend(&self) -> anyhow::Result<Vec<String>> {
        if self.linked {
            self.control.order(&["heal"]).await?;
        }
        let mut down = Vec::new();
        for (role, name, pid) in members(&self.control.order(&["status"]).await?) {
            if pid.is_some() {
                self.control.order(&["resume", role, &name]).await?;
            } else {
                self.control.order(&["start", role, &name]).await?;
                down.push(format!("{role} {name}"));
            }
        }
        Ok(down)
    }
}

/// Role, name and process id, if it runs, of each member of a status.
fn members(said: &str) -> Vec<(&'static str, String, Option<u32>)> {
    let roles = [
        Role::Broker,
        Role::Connection,
        Role::Identity,
        Role::Push,
        Role::Redis,
        Role::Router,
    ];
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (role, name, pid) = (words.next()?, words.next()?, words.next()?);
        let role = roles.into_iter().find(|each| each.name() == role)?;
        Some((role.name(), name.to_owned(), pid.parse().ok()))
    };
    said.lines().filter_map(line).collect()
}

#[cfg(test)]
impl Cluster {
    /// One whose program obeys and does nothing.
    pub(crate) fn of(members: &[(Role, &[&str])]) -> Self {
        let named = |(role, names): &(Role, &[&str])| {
            let names = names.iter().map(|name| (*name).to_owned());
            (role.name(), names.collect())
        };
        Self {
            control: Control::new(PathBuf::from("/bin/true")),
            members: members.iter().map(named).collect(),
            linked: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn members_are_found_struck_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        let (control, told) = (folder.path().join("control"), folder.path().join("told"));
        let script = format!(
            "#!/bin/sh\necho \"$@\" >>{}\n[ \"$1\" != kill ] || {{ echo 'not that one' >&2; exit 1; }}\n\
             [ \"$1\" = status ] || exit 0\n\
             echo 'broker 1 17 127.0.0.1:1'\necho 'router r1 18 ready'\necho 'router r2 down not ready'\n\
             echo 'links links 19 ready'\necho 'nothing of this'\n",
            told.display()
        );
        fs::write(&control, script).unwrap();
        fs::set_permissions(&control, fs::Permissions::from_mode(0o700)).unwrap();
        let cluster = Cluster::find(control).await.unwrap();
        let members = (0..3).map(|draw| cluster.member(Role::Router, draw).unwrap());
        assert_eq!(members.collect::<Vec<_>>(), ["r1", "r2", "r1"]);
        assert!(cluster.member(Role::Push, 0).is_err());
        assert!(cluster.is_linked());
        cluster.tell("pause", Role::Broker, "1").await.unwrap();
        let refused = cluster.tell("kill", Role::Broker, "1").await.unwrap_err();
        assert!(refused.to_string().contains("kill broker 1: not that one"));
        assert_eq!(cluster.mend().await.unwrap(), ["router r2"]);
        let told = fs::read_to_string(told).unwrap();
        let wanted = "status\npause broker 1\nkill broker 1\nheal\nstatus\nresume broker 1\nresume router r1\n\
                      start router r2\n";
        assert_eq!(told, wanted);
    }
}
