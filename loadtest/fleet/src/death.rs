//! A router is killed: its group assigns its shards anew, others take them over, and whoever needs them finds
//! out where they are.
//!
//! The process dies, not its machine: calls to it are refused and do not hang. All sessions of the lost shards
//! report to the new owners (decision 0011); who finds none within 30 s is lost to it and logs in again.

#![expect(
    clippy::indexing_slicing,
    reason = "processes and shards are numbered here, and their lists are as long as their counts"
)]

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::costs::Costs;
use crate::fleet::Fleet;
use crate::group::{Rebalance, stick};
use crate::places::{Places, quantile};
use crate::queue::Queue;
use crate::station::{Station, float, scale};
use crate::survey::{Asker, Kind, Step};
use crate::{Micros, SECOND};

/// How long brokers wait for a sign of life, as `session` in `storage.log` comes.
const SESSION: Micros = 6 * SECOND;
/// How long sessions wait for an owner (`REATTACH_TIME` in `services/connection/src/links.rs`).
const REATTACH: Micros = 30 * SECOND;
/// The first attempt comes a pause after the stream ended.
const FIRST_ATTEMPT: Micros = 20_000;
/// A journal is a few times its rows.
const JOURNAL: f64 = 3.0;
/// The router that is killed.
const DEAD: usize = 0;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Death {
    /// Shards that had no owner.
    pub orphans: usize,
    /// When the last of them was served again.
    pub served: Micros,
    /// When half, and when 95 of 100, of the sessions had an owner again.
    pub back: [Micros; 2],
    /// Sessions that had one of these shards, those that found its owner, and those that did not in time.
    pub sessions: [usize; 3],
    /// Surveys of all processes together.
    pub surveys: u64,
    /// Questions to routers in them.
    pub questions: u64,
    /// What the busiest of the living routers was asked in its busiest second, over what it can do.
    pub router_busiest: f64,
    /// The same of processes that ask.
    pub asker_busiest: f64,
    /// What the group did.
    pub rebalance: Rebalance,
}

enum Event {
    /// A process tries to reach the owner of a shard.
    Attempt { asker: usize, shard: usize },
    /// Its questions arrive at the routers.
    Asked { asker: usize },
    /// It has all answers; with when each router gave its own.
    Surveyed { asker: usize, answered: Vec<Micros> },
    /// Its call for a shard arrives at a router.
    Called { asker: usize, shard: usize },
    /// A router begins to take a shard over.
    Told { shard: usize },
    /// A shard is served.
    Served { shard: usize },
}

/// One orphaned shard.
struct Orphan {
    heir: usize,
    told: Option<Micros>,
    served: Option<Micros>,
    callers: Vec<usize>,
}

struct Run<'a> {
    fleet: &'a Fleet,
    costs: &'a Costs,
    queue: Queue<Event>,
    orphans: Vec<Orphan>,
    askers: Vec<Asker>,
    /// Cores of the processes that ask; those of routers are in `routers`.
    connections: Vec<Station>,
    routers: Vec<Station>,
    readers: Vec<Station>,
    questions: u64,
    places: Places,
    back: Vec<(Micros, usize)>,
}

impl Death {
    /// Kills a router.
    #[must_use]
    pub fn of(fleet: &Fleet, costs: &Costs, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut owners: Vec<usize> = (0..fleet.shards)
            .map(|shard| shard % fleet.routers)
            .collect();
        let orphans = stick(&mut owners, DEAD, fleet.routers);
        let rebalance = Rebalance::after_death(
            fleet.routers,
            DEAD,
            fleet.shards,
            SESSION,
            costs,
            &mut random,
        );
        let heirs = orphans
            .iter()
            .filter_map(|shard| owners.get(*shard).copied());
        let mut run = Run::new(fleet, costs, heirs.collect());
        for (shard, orphan) in run.orphans.iter().enumerate() {
            let told = rebalance.told.get(orphan.heir).copied().flatten();
            run.queue
                .at(told.unwrap_or(rebalance.joined), Event::Told { shard });
        }
        for asker in 0..run.askers.len() {
            for shard in 0..orphans.len() {
                run.queue.at(FIRST_ATTEMPT, Event::Attempt { asker, shard });
            }
        }
        run.play();
        run.told(rebalance)
    }
}

impl<'a> Run<'a> {
    fn new(fleet: &'a Fleet, costs: &'a Costs, heirs: Vec<usize>) -> Self {
        let orphans: Vec<_> = heirs
            .into_iter()
            .map(|heir| Orphan {
                heir,
                told: None,
                served: None,
                callers: Vec::new(),
            })
            .collect();
        let connections = (0..fleet.connections).map(|_| Kind::Connection);
        let kinds = connections.chain((1..fleet.routers).map(|_| Kind::Router));
        let askers = kinds
            .map(|kind| Asker::new(kind, orphans.len(), DEAD))
            .collect();
        let node = Station::new(fleet.cores, fleet.busy);
        let mut run = Self {
            fleet,
            costs,
            queue: Queue::new(),
            askers,
            connections: vec![node.clone(); fleet.connections],
            routers: vec![node; fleet.routers],
            readers: vec![Station::new(1, 0.0); fleet.routers],
            questions: 0,
            places: Places::default(),
            back: Vec::new(),
            orphans,
        };
        let of_node: usize = (0..run.orphans.len())
            .map(|shard| run.sessions(shard))
            .sum();
        run.places = Places::waiting(of_node * fleet.connections);
        run
    }

    /// Sessions that a connection node has of a shard.
    const fn sessions(&self, shard: usize) -> usize {
        let (all, shards) = (self.fleet.sessions, self.fleet.shards);
        all / shards + if shard < all % shards { 1 } else { 0 }
    }

    fn play(&mut self) {
        while let Some((now, event)) = self.queue.next() {
            match event {
                Event::Attempt { asker, shard } => self.attempt(now, asker, shard),
                Event::Asked { asker } => self.asked(now, asker),
                Event::Surveyed { asker, answered } => self.surveyed(now, asker, &answered),
                Event::Called { asker, shard } => self.called(now, asker, shard),
                Event::Told { shard } => self.takes(now, shard),
                Event::Served { shard } => self.serves(now, shard),
            }
        }
    }

    fn attempt(&mut self, now: Micros, asker: usize, shard: usize) {
        let asking = &mut self.askers[asker];
        if now > REATTACH {
            if asking.kind == Kind::Connection {
                self.places.given_up(self.sessions(shard));
            }
            return;
        }
        match asking.attempt(shard) {
            Step::Call(DEAD) => {
                let again = now + 2 * self.costs.network + asking.failed(shard);
                self.queue.at(again, Event::Attempt { asker, shard });
            }
            Step::Call(_) => self.call(now, asker, shard),
            Step::Survey => {
                let others = self.asked_by(asker);
                let work = others * self.costs.call;
                let sent = self.station(asker).take(now, work);
                self.queue
                    .at(sent + self.costs.network, Event::Asked { asker });
            }
            Step::Wait => {}
        }
    }

    /// How many living routers a process asks over the network.
    fn asked_by(&self, asker: usize) -> u64 {
        let own = usize::from(self.askers[asker].kind == Kind::Router);
        let others = self.fleet.routers - 1 - own;
        u64::try_from(others).unwrap_or(u64::MAX)
    }

    fn station(&mut self, asker: usize) -> &mut Station {
        match self.askers[asker].kind {
            Kind::Connection => &mut self.connections[asker],
            // Router 0 is dead, so the first asker of this kind is router 1.
            Kind::Router => &mut self.routers[asker - self.fleet.connections + 1],
        }
    }

    fn asked(&mut self, now: Micros, asker: usize) {
        self.questions += self.asked_by(asker);
        let own =
            (self.askers[asker].kind == Kind::Router).then(|| asker - self.fleet.connections + 1);
        let mut answered = vec![now; self.fleet.routers];
        for (router, station) in self.routers.iter_mut().enumerate() {
            if router != DEAD && Some(router) != own {
                answered[router] = station.take(now, self.costs.call);
            }
        }
        let last = answered.iter().copied().max().unwrap_or(now);
        let over = last + self.costs.network;
        self.queue.at(over, Event::Surveyed { asker, answered });
    }

    fn surveyed(&mut self, now: Micros, asker: usize, answered: &[Micros]) {
        let orphans = &self.orphans;
        let found = |shard: usize| {
            let orphan: &Orphan = orphans.get(shard)?;
            // It says that it has the shard from when it was told on.
            let said = answered.get(orphan.heir)?;
            orphan.told.filter(|told| told <= said).map(|_| orphan.heir)
        };
        let asking = &mut self.askers[asker];
        let waited = asking.surveyed(found);
        for shard in waited {
            if let Step::Call(_) = self.knows(asker, shard) {
                self.call(now, asker, shard);
            } else {
                let pause = self.askers[asker].failed(shard);
                self.queue.at(now + pause, Event::Attempt { asker, shard });
            }
        }
    }

    /// What it would do next, without beginning it.
    fn knows(&self, asker: usize, shard: usize) -> Step {
        self.askers[asker]
            .knows(shard)
            .map_or(Step::Wait, Step::Call)
    }

    fn call(&mut self, now: Micros, asker: usize, shard: usize) {
        let work = self.costs.call;
        let sent = self.station(asker).take(now, work);
        self.queue
            .at(sent + self.costs.network, Event::Called { asker, shard });
    }

    fn called(&mut self, now: Micros, asker: usize, shard: usize) {
        let heir = self.orphans[shard].heir;
        self.routers[heir].take(now, self.costs.call);
        if self.orphans[shard].served.is_some() {
            self.attached(now, asker, shard);
        } else {
            self.orphans[shard].callers.push(asker);
        }
    }

    /// Reads the rows, claims them, replays the input, claims it.
    fn takes(&mut self, now: Micros, shard: usize) {
        let costs = self.costs;
        let orphan = &mut self.orphans[shard];
        orphan.told = Some(now);
        let bytes = self.fleet.rows(costs) * JOURNAL;
        let reading = scale(SECOND, bytes / costs.journal_rate);
        let read = self.readers[orphan.heir].take(now, reading);
        let claims = 3 * costs.seek + 2 * costs.append + 8 * costs.network;
        self.queue.at(read + claims, Event::Served { shard });
    }

    fn serves(&mut self, now: Micros, shard: usize) {
        self.orphans[shard].served = Some(now);
        for asker in std::mem::take(&mut self.orphans[shard].callers) {
            self.attached(now, asker, shard);
        }
    }

    fn attached(&mut self, now: Micros, asker: usize, shard: usize) {
        if self.askers[asker].kind == Kind::Router {
            return;
        }
        let sessions = self.sessions(shard);
        if now > REATTACH {
            self.places.given_up(sessions);
            return;
        }
        // Every one reports. The owner of a shard takes them one after another.
        let reports = u64::try_from(sessions).unwrap_or(u64::MAX) * self.costs.login_router;
        let heir = self.orphans[shard].heir;
        let done = self.routers[heir].take(now, reports);
        self.places.came_back(sessions);
        self.back.push((done + self.costs.network, sessions));
    }

    fn told(mut self, rebalance: Rebalance) -> Death {
        assert_eq!(self.places.waiting, 0, "sessions are nowhere");
        let served = self.orphans.iter().filter_map(|orphan| orphan.served);
        let busiest = |stations: &[Station]| {
            let each = stations.iter().map(Station::busiest);
            each.fold(0.0, f64::max)
        };
        let all = self.places.back + self.places.lost;
        Death {
            orphans: self.orphans.len(),
            served: served.max().unwrap_or_default(),
            back: [0.5, 0.95].map(|share| quantile(&mut self.back, share)),
            sessions: [all, self.places.back, self.places.lost],
            surveys: self.askers.iter().map(|asker| asker.surveys).sum(),
            questions: self.questions,
            router_busiest: busiest(&self.routers),
            asker_busiest: busiest(&self.connections),
            rebalance,
        }
    }
}

impl Death {
    /// Questions that a router was asked, in the mean.
    #[must_use]
    pub fn questions_a_router(&self, fleet: &Fleet) -> f64 {
        let routers = u64::try_from(fleet.routers - 1).unwrap_or(u64::MAX);
        float(self.questions) / float(routers.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::tests::TEXT;

    fn costs() -> Costs {
        Costs::parse("f", TEXT).unwrap()
    }

    fn fleet(nodes: usize, sessions: usize) -> Fleet {
        Fleet::of(nodes, sessions).unwrap()
    }

    #[test]
    fn every_session_of_the_lost_shards_has_an_owner_again_or_is_counted_as_lost() {
        for (nodes, seed) in [(10, 1), (25, 2), (40, 3), (100, 4)] {
            let fleet = fleet(nodes, 1_003);
            let death = Death::of(&fleet, &costs(), seed);
            let orphans = (0..fleet.shards)
                .filter(|shard| shard % fleet.routers == DEAD)
                .count();
            assert_eq!(death.orphans, orphans);
            let [all, back, lost] = death.sessions;
            // A session is of one shard, and each node spreads its own evenly.
            assert!(all >= fleet.connections * orphans * (1_003 / fleet.shards));
            assert!(all <= fleet.connections * orphans * (1_003 / fleet.shards + 1));
            assert_eq!((back, lost), (all, 0));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_and_another_one_another() {
        let fleet = fleet(50, 500);
        let [one, same, other] = [7, 7, 8].map(|seed| Death::of(&fleet, &costs(), seed));
        assert_eq!(format!("{one:?}"), format!("{same:?}"));
        assert_ne!(one.served, other.served);
    }

    #[test]
    fn more_nodes_ask_more_and_more_rows_take_longer() {
        let mut before = (0, 0.0);
        for nodes in [10, 20, 50, 100, 200] {
            let fleet = fleet(nodes, 200);
            let death = Death::of(&fleet, &costs(), 1);
            let now = (death.questions, death.questions_a_router(&fleet));
            assert!(
                now.0 > before.0 && now.1 > before.1,
                "{nodes}: {now:?} after {before:?}"
            );
            before = now;
        }
        let mut slow = costs();
        slow.journal_rate /= 1000.0;
        let fleet = fleet(50, 500);
        let [quick, slow] = [costs(), slow].map(|costs| Death::of(&fleet, &costs, 1));
        assert!(slow.served > quick.served && slow.back[0] > quick.back[0]);
        assert!(slow.surveys >= quick.surveys);
    }

    /// Once the heirs know that they have the shard, each process finds out with one more survey; before, it asks
    /// in vain after each of its pauses.
    #[test]
    fn one_shard_is_asked_for_once_after_each_pause() {
        let mut fleet = fleet(10, 100);
        (fleet.shards, fleet.routers) = (4, 4);
        let death = Death::of(&fleet, &costs(), 3);
        assert_eq!(death.orphans, 1);
        let told = death.rebalance.told.iter().flatten().min().unwrap();
        // Pauses of 40, 80, .. ms after the first attempt at 20 ms, which is refused.
        let tries = |longest: Micros| {
            let (mut at, mut pause, mut tries) = (40_000, 40_000, 1);
            while at < *told {
                at += pause;
                pause = (pause * 2).min(longest);
                tries += 1;
            }
            tries
        };
        let [nodes, routers] =
            [(4, 1_000_000), (3, 500_000)].map(|(count, longest)| count * tries(longest));
        // What calls and answers take moves an attempt over the moment at most once.
        assert!(
            death.surveys.abs_diff(nodes + routers) <= 7,
            "{} for {nodes} and {routers}",
            death.surveys
        );
        assert_eq!(death.surveys >= 7, death.questions >= 7 * 2);
    }

    #[test]
    fn who_finds_no_owner_in_time_is_lost_and_not_doubled() {
        let mut slow = costs();
        slow.journal_rate = 1.0;
        let fleet = fleet(20, 400);
        let death = Death::of(&fleet, &slow, 1);
        let [all, back, lost] = death.sessions;
        assert!(all > 0);
        assert_eq!((back, lost), (0, all));
    }
}
