//! Kafka's consumer group by the classic protocol with the assignor cooperative-sticky, as routers use it.
//!
//! A member that is dead is noticed when its session is over. The members hear of it by the answers to
//! their own heartbeats, four in a session, and join again, each with what it owns; when all have, one of them, the
//! leader, gets what all said, assigns, and everybody fetches what is its. Sticky: what has an owner keeps it.

use rand::Rng;
use rand::rngs::StdRng;

use crate::costs::Costs;
use crate::station::{Station, float, scale};
use crate::{MILLI, Micros};

/// Heartbeats in a session.
const HEARTBEATS: u64 = 4;
/// Bytes of a member in the answer to the leader: its id, the topic, what is around; and of one partition.
const MEMBER_BYTES: usize = 160;
const PARTITION_BYTES: usize = 4;
/// Bytes that the coordinator and the leader handle in a microsecond: one gigabyte a second.
const BYTES_A_MICRO: usize = 1_000;

/// One rebalance after the death of a member.
#[derive(Clone, Debug)]
pub struct Rebalance {
    /// When the session of the dead one was over.
    pub noticed: Micros,
    /// When the last member had joined.
    pub joined: Micros,
    /// When each of the others heard what is its; nothing for the dead one.
    pub told: Vec<Option<Micros>>,
    /// Bytes of the answer to the leader.
    pub leader_bytes: usize,
    /// Work of the coordinator.
    pub coordinator: Station,
}

impl Rebalance {
    /// After the death of a member at time 0.
    pub(crate) fn after_death(
        members: usize,
        dead: usize,
        shards: usize,
        session: Micros,
        costs: &Costs,
        random: &mut StdRng,
    ) -> Self {
        let every = session / HEARTBEATS;
        // It died somewhere between two heartbeats.
        let noticed = session - random.random_range(0..=every);
        let living: Vec<usize> = (0..members).filter(|member| *member != dead).collect();
        let mut coordinator = Station::new(1, 0.0);
        let owned = shards / members.max(1);
        let said = MEMBER_BYTES + PARTITION_BYTES * owned;
        let handling =
            |bytes: usize| Micros::try_from(bytes / BYTES_A_MICRO).unwrap_or(Micros::MAX);
        let mut hear: Vec<Micros> = living
            .iter()
            .map(|_| noticed + random.random_range(0..every.max(1)))
            .collect();
        hear.sort_unstable();
        // Its heartbeat and the answer to it, and then the join.
        let joins = hear.into_iter().map(|at| at + 3 * costs.network);
        let joined = joins
            .map(|at| coordinator.take(at, costs.join + handling(said)))
            .max()
            .unwrap_or(noticed);
        let leader_bytes = said * living.len();
        let doublings = float(u64::from(members.max(2).ilog2()));
        let shards = Micros::try_from(shards).unwrap_or(Micros::MAX);
        let assigned = joined
            + 2 * costs.network
            + 2 * handling(leader_bytes)
            + scale(shards, costs.assign * doublings);
        let mut told = vec![None; members];
        for member in living {
            let done = coordinator.take(assigned, costs.join);
            if let Some(told) = told.get_mut(member) {
                *told = Some(done + costs.network);
            }
        }
        Self {
            noticed,
            joined,
            told,
            leader_bytes,
            coordinator,
        }
    }

    /// When the last member knew what is its.
    #[must_use]
    pub fn over(&self) -> Micros {
        let told = self.told.iter().flatten().copied();
        told.max().unwrap_or(self.joined)
    }

    /// From the notice to the end, in milliseconds.
    #[must_use]
    pub fn millis(&self) -> f64 {
        float(self.over() - self.noticed) / float(MILLI)
    }
}

/// Gives what nobody owns to whoever has least, and moves nothing else.
pub(crate) fn stick(owners: &mut [usize], dead: usize, members: usize) -> Vec<usize> {
    let mut counts = vec![0_usize; members];
    for owner in owners.iter() {
        if let Some(count) = counts.get_mut(*owner) {
            *count += 1;
        }
    }
    let mut moved = Vec::new();
    for (shard, owner) in owners.iter_mut().enumerate() {
        if *owner != dead {
            continue;
        }
        let living = (0..members).filter(|member| *member != dead);
        let least = living.min_by_key(|member| (counts.get(*member).copied(), *member));
        if let Some(least) = least {
            if let Some(count) = counts.get_mut(least) {
                *count += 1;
            }
            *owner = least;
            moved.push(shard);
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::SECOND;
    use crate::costs::tests::TEXT;

    fn after(members: usize, seed: u64) -> Rebalance {
        let costs = Costs::parse("f", TEXT).unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        Rebalance::after_death(members, 0, 4 * members, 6 * SECOND, &costs, &mut random)
    }

    #[test]
    fn the_dead_are_noticed_within_a_session_and_all_others_are_told() {
        for seed in 0..50 {
            let rebalance = after(20, seed);
            assert!((4_500 * MILLI..=6_000 * MILLI).contains(&rebalance.noticed));
            // The last heartbeat comes within a quarter of a session.
            assert!(rebalance.joined - rebalance.noticed <= 1_502 * MILLI);
            assert_eq!(rebalance.told.iter().flatten().count(), 19);
            assert_eq!(rebalance.told.first(), Some(&None));
            assert!(
                rebalance
                    .told
                    .iter()
                    .flatten()
                    .all(|told| *told > rebalance.joined)
            );
        }
    }

    #[test]
    fn what_the_leader_gets_grows_with_the_members() {
        assert_eq!(after(11, 1).leader_bytes, 10 * (160 + 16));
        assert_eq!(after(101, 1).leader_bytes, 100 * (160 + 16));
        let mean = |members| {
            (0..50)
                .map(|seed| after(members, seed).millis())
                .sum::<f64>()
        };
        assert!(mean(1000) > mean(100) && mean(100) > mean(10));
    }

    #[test]
    fn only_what_has_no_owner_moves_and_nobody_gets_more_than_the_rest() {
        let (members, shards) = (7, 64);
        let before: Vec<usize> = (0..shards).map(|shard| shard % members).collect();
        let mut after = before.clone();
        let moved = stick(&mut after, 2, members);
        let orphans: Vec<usize> = (0..shards).filter(|shard| shard % members == 2).collect();
        assert_eq!(moved, orphans);
        for shard in (0..shards).filter(|shard| !orphans.contains(shard)) {
            assert_eq!(before[shard], after[shard]);
        }
        let counts =
            (0..members).map(|member| after.iter().filter(|owner| **owner == member).count());
        let counts: Vec<usize> = counts.collect();
        assert_eq!(counts[2], 0);
        let living = counts.iter().enumerate().filter(|(member, _)| *member != 2);
        let (least, most) = living.fold((shards, 0), |(least, most), (_, count)| {
            (least.min(*count), most.max(*count))
        });
        assert!(most - least <= 1, "{counts:?}");
    }
}
