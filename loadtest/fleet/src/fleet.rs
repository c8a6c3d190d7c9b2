//! How large a fleet is.

use crate::Costs;

/// Most shards of a deployment: `storage.shards` is 1 to 1,024.
pub(crate) const MOST_SHARDS: usize = 1_024;
/// Shards that a router should have at least: with fewer, one has much more than the next.
const SHARDS_A_ROUTER: usize = 4;
/// Nodes of the gateway for each broker, and the least of these.
const NODES_A_BROKER: usize = 20;
const LEAST_BROKERS: usize = 3;

/// Processes, shards, sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Nodes of the gateway, all roles together.
    pub nodes: usize,
    /// Connection nodes.
    pub connections: usize,
    /// Routers.
    pub routers: usize,
    /// Identity nodes.
    pub identities: usize,
    /// Push nodes.
    pub pushes: usize,
    /// Brokers.
    pub brokers: usize,
    /// Shards.
    pub shards: usize,
    /// Sessions of each connection node.
    pub sessions: usize,
    /// Cores of a node.
    pub cores: u32,
    /// Share of them that the ordinary load takes.
    pub busy: f64,
}

/// A fleet that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// No node could take over from another.
    #[error("{0} nodes: from 10 on there are two of each role")]
    Few(usize),
    /// More than one machine's memory.
    #[error("{0} nodes: 10,000 at most")]
    Many(usize),
}

impl Fleet {
    /// Four of ten nodes hold connections, four are routers, one of twenty pushes, the rest is identity.
    ///
    /// # Errors
    /// [`FleetError`] for fewer than 10 or more than 10,000 nodes.
    pub fn of(nodes: usize, sessions: usize) -> Result<Self, FleetError> {
        if nodes < 10 {
            return Err(FleetError::Few(nodes));
        }
        if nodes > 10_000 {
            return Err(FleetError::Many(nodes));
        }
        let connections = nodes * 4 / 10;
        let routers = nodes * 4 / 10;
        let pushes = (nodes / 20).max(1);
        let wanted = (routers * SHARDS_A_ROUTER).next_power_of_two();
        Ok(Self {
            nodes,
            connections,
            routers,
            identities: nodes - connections - routers - pushes,
            pushes,
            brokers: (nodes / NODES_A_BROKER).max(LEAST_BROKERS),
            shards: wanted.min(MOST_SHARDS),
            sessions,
            cores: 8,
            busy: 0.6,
        })
    }

    /// Shards that so many routers should have.
    #[must_use]
    pub const fn wanted_shards(&self) -> usize {
        self.routers * SHARDS_A_ROUTER
    }

    /// Sessions of all connection nodes.
    #[must_use]
    pub const fn all_sessions(&self) -> usize {
        self.sessions * self.connections
    }

    /// Bytes of the rows of one shard: what its accounts and sessions are in a router's memory.
    #[must_use]
    pub fn rows(&self, costs: &Costs) -> f64 {
        let sessions = u32::try_from(self.all_sessions() / self.shards.max(1)).unwrap_or(u32::MAX);
        f64::from(sessions) * (costs.account_bytes + costs.session_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nodes_have_a_role_and_shards_end_at_their_limit() {
        for nodes in [10, 11, 99, 100, 1000, 10_000] {
            let fleet = Fleet::of(nodes, 20_000).unwrap();
            let roles = [
                fleet.connections,
                fleet.routers,
                fleet.identities,
                fleet.pushes,
            ];
            assert_eq!(roles.iter().sum::<usize>(), nodes);
            assert!(roles.iter().all(|count| *count >= 1));
            assert!(fleet.shards <= MOST_SHARDS);
        }
        let [small, large] = [10, 1000].map(|nodes| Fleet::of(nodes, 1).unwrap());
        assert_eq!((small.shards, small.brokers), (16, 3));
        assert_eq!((large.shards, large.wanted_shards()), (1024, 1600));
        assert_eq!(Fleet::of(9, 1), Err(FleetError::Few(9)));
        assert_eq!(Fleet::of(10_001, 1), Err(FleetError::Many(10_001)));
    }
}
