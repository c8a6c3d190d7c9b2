//! What a fleet costs by its size alone, with nothing going on: no events, sums.

use crate::SECOND;
use crate::costs::Costs;
use crate::fleet::Fleet;
use crate::station::float;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Connections that a router's mesh listener has: every process calls every router.
    pub mesh: usize,
    /// Connections over the mesh to routers, of all processes together.
    pub mesh_all: usize,
    /// Seconds from a router's start until it has found the ends of all partitions, one after another.
    pub start: f64,
    /// Hours of replacing all routers one after another.
    pub rolling: f64,
}

impl Standing {
    /// Of a fleet whose group takes so many seconds for a rebalance.
    #[must_use]
    pub fn of(fleet: &Fleet, costs: &Costs, rebalance: f64) -> Self {
        let count = |number: usize| float(u64::try_from(number).unwrap_or(u64::MAX));
        let shards = count(fleet.shards);
        let start = shards * float(costs.start_shard) / float(SECOND);
        // Away, back, and a second rebalance in which shards move to it.
        let one = start + 3.0 * rebalance;
        Self {
            mesh: fleet.nodes - 1,
            mesh_all: fleet.routers * (fleet.nodes - 1),
            start,
            rolling: count(fleet.routers) * one / 3_600.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::tests::TEXT;

    #[test]
    fn sums_are_those_that_a_person_makes() {
        let costs = Costs::parse("f", TEXT).unwrap();
        let fleet = Fleet::of(100, 1).unwrap();
        assert_eq!((fleet.routers, fleet.shards, fleet.brokers), (40, 256, 5));
        let standing = Standing::of(&fleet, &costs, 2.4);
        assert_eq!((standing.mesh, standing.mesh_all), (99, 40 * 99));
        let near =
            |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 1e-9, "{found}");
        // 256 times 60 ms, and 40 times that with 7.2 s of rebalances.
        near(standing.start, 15.36);
        near(standing.rolling, 40.0 * 22.56 / 3600.0);
    }
}
