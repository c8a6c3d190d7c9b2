//! Whom a partition parts in a cluster, and which ways.

use anyhow::Context;
use serde::Deserialize;

use crate::cluster::{Cluster, Role};

/// In an order, who stands for all others.
pub(crate) const ALL: &str = "all";

/// Two who reach each other over the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pair {
    /// A connection node, and all that it reaches.
    ConnectionAll,
    /// A connection node and an identity node.
    ConnectionIdentity,
    /// A connection node and a router.
    ConnectionRouter,
    /// An identity node and Redis.
    IdentityRedis,
    /// An identity node and a router.
    IdentityRouter,
    /// A push node and a broker.
    PushBroker,
    /// A push node and a router.
    PushRouter,
    /// A router, and all that it reaches.
    RouterAll,
    /// A router and a broker.
    RouterBroker,
    /// Two routers.
    RouterRouter,
}

/// Which ways are closed between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Both.
    Both,
    /// One, which is drawn.
    One,
}

impl Pair {
    const fn roles(self) -> (Role, Option<Role>) {
        match self {
            Self::ConnectionAll => (Role::Connection, None),
            Self::ConnectionIdentity => (Role::Connection, Some(Role::Identity)),
            Self::ConnectionRouter => (Role::Connection, Some(Role::Router)),
            Self::IdentityRedis => (Role::Identity, Some(Role::Redis)),
            Self::IdentityRouter => (Role::Identity, Some(Role::Router)),
            Self::PushBroker => (Role::Push, Some(Role::Broker)),
            Self::PushRouter => (Role::Push, Some(Role::Router)),
            Self::RouterAll => (Role::Router, None),
            Self::RouterBroker => (Role::Router, Some(Role::Broker)),
            Self::RouterRouter => (Role::Router, Some(Role::Router)),
        }
    }

    /// As a campaign file and a history call it.
    pub(crate) const fn name(self, ways: Ways) -> &'static str {
        match (self, ways) {
            (Self::ConnectionAll, Ways::Both) => "partition-connection-all",
            (Self::ConnectionAll, Ways::One) => "one-way-connection-all",
            (Self::ConnectionIdentity, Ways::Both) => "partition-connection-identity",
            (Self::ConnectionIdentity, Ways::One) => "one-way-connection-identity",
            (Self::ConnectionRouter, Ways::Both) => "partition-connection-router",
            (Self::ConnectionRouter, Ways::One) => "one-way-connection-router",
            (Self::IdentityRedis, Ways::Both) => "partition-identity-redis",
            (Self::IdentityRedis, Ways::One) => "one-way-identity-redis",
            (Self::IdentityRouter, Ways::Both) => "partition-identity-router",
            (Self::IdentityRouter, Ways::One) => "one-way-identity-router",
            (Self::PushBroker, Ways::Both) => "partition-push-broker",
            (Self::PushBroker, Ways::One) => "one-way-push-broker",
            (Self::PushRouter, Ways::Both) => "partition-push-router",
            (Self::PushRouter, Ways::One) => "one-way-push-router",
            (Self::RouterAll, Ways::Both) => "partition-router-all",
            (Self::RouterAll, Ways::One) => "one-way-router-all",
            (Self::RouterBroker, Ways::Both) => "partition-router-broker",
            (Self::RouterBroker, Ways::One) => "one-way-router-broker",
            (Self::RouterRouter, Ways::Both) => "partition-router-router",
            (Self::RouterRouter, Ways::One) => "one-way-router-router",
        }
    }
}

/// The orders that begin and end a partition, as the program that controls the cluster takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parting {
    /// Between whom.
    pub(crate) begin: Vec<String>,
    pub(crate) end: Vec<String>,
    /// As a history calls it.
    pub(crate) target: String,
}

impl Parting {
    /// The one that a draw says.
    ///
    /// # Errors
    /// If the cluster has no such two.
    pub(crate) fn draw(
        (pair, ways): (Pair, Ways),
        draw: u32,
        cluster: &Cluster,
    ) -> anyhow::Result<Self> {
        let (near, far) = pair.roles();
        // The lowest bit says which way, where one is closed; the rest who.
        let turned = draw % 2 == 1 && ways == Ways::One;
        let nears = cluster.members(near)?;
        let (at, draw) = chosen(nears.len(), usize::try_from(draw / 2)?);
        let near_name = nears.get(at).context("a member")?;
        let far_name = match far {
            None => ALL.to_owned(),
            Some(role) => {
                let mut fars = cluster.members(role)?.to_vec();
                if role == near {
                    fars.remove(at);
                }
                let (at, _) = chosen(fars.len(), draw);
                let name = fars.get(at).context("the cluster has only one of them")?;
                link_name(role, name)
            }
        };
        let (from, to) = (link_name(near, near_name), far_name);
        let (from, to) = if turned { (to, from) } else { (from, to) };
        let order = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let (mut begin, end) = (
            vec!["partition".to_owned(), from.clone(), to.clone()],
            order(&["heal", &from, &to]),
        );
        let sign = if ways == Ways::One { ">" } else { "-" };
        if ways == Ways::One {
            begin.push("one-way".to_owned());
        }
        Ok(Self {
            begin,
            end,
            target: format!("{from}{sign}{to}"),
        })
    }
}

/// One of so many, and what is left of the draw.
const fn chosen(of: usize, draw: usize) -> (usize, usize) {
    match of {
        0 => (0, draw),
        of => (draw % of, draw / of),
    }
}

/// What the end of a link is called: brokers and Redis have no names of nodes.
fn link_name(role: Role, name: &str) -> String {
    match role {
        Role::Broker => format!("b{name}"),
        Role::Redis => "redis".to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn draws_reach_each_two_and_each_way_and_nobody_is_parted_from_itself() {
        let cluster = Cluster::of(&[
            (Role::Broker, &["1", "2", "3"]),
            (Role::Push, &["p1"]),
            (Role::Redis, &["redis"]),
            (Role::Router, &["r1", "r2", "r3"]),
        ]);
        let all = |pair, ways| -> BTreeSet<String> {
            let drawn = (0..1_000).map(|draw| Parting::draw((pair, ways), draw, &cluster).unwrap());
            drawn.map(|parting| parting.target).collect()
        };
        assert_eq!(all(Pair::RouterRouter, Ways::Both).len(), 6);
        let ways = all(Pair::RouterRouter, Ways::One);
        assert_eq!(ways.len(), 6, "{ways:?}");
        assert!(ways.contains("r1>r3") && ways.contains("r3>r1"));
        assert_eq!(all(Pair::RouterBroker, Ways::Both).len(), 9);
        assert_eq!(all(Pair::RouterBroker, Ways::One).len(), 18);
        let alone = all(Pair::RouterAll, Ways::One);
        assert!(
            alone.contains("r1>all") && alone.contains("all>r1"),
            "{alone:?}"
        );
        let parting = Parting::draw((Pair::PushBroker, Ways::One), 1, &cluster).unwrap();
        assert_eq!(parting.begin, ["partition", "b1", "p1", "one-way"]);
        assert_eq!(parting.end, ["heal", "b1", "p1"]);
        for pair in [Pair::IdentityRedis, Pair::ConnectionAll] {
            assert!(Parting::draw((pair, Ways::Both), 0, &cluster).is_err());
        }
        let two = Cluster::of(&[(Role::Router, &["r1"])]);
        assert!(Parting::draw((Pair::RouterRouter, Ways::Both), 0, &two).is_err());
    }
}
