//! Connection nodes die, and all their sessions come back at once: TCP, TLS and token at a surviving node,
//! verification at an identity node, bind or resume at the router of the account's shard.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::costs::Costs;
use crate::fleet::Fleet;
use crate::places::{Places, quantile};
use crate::queue::Queue;
use crate::station::{Station, float, scale};
use crate::{Micros, SECOND};

/// How long a client waits for its handshake (`connection.deadlines.handshake`).
const HANDSHAKE: Micros = 10 * SECOND;
/// First pause of a client that was not let in; doubled each time, a random part of it on top.
const FIRST_PAUSE: Micros = SECOND;
const LONGEST_PAUSE: Micros = 60 * SECOND;
/// Connections of a node (`connection.limits.connections`).
const CONNECTIONS: usize = 50_000;
/// A client that was turned away so often stays away.
const TRIES: u32 = 20;

/// How many logins a connection node lets in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As many as come.
    None,
    /// So many a second; who would wait for longer than a handshake may take is turned away at once.
    Logins(f64),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Storm {
    /// Nodes that died.
    pub died: usize,
    /// Their sessions, those that are back, and those that found no room or gave up.
    pub sessions: [usize; 3],
    /// When half, 95 of 100 and all were back.
    pub back: [Micros; 3],
    /// Attempts beyond the first of each session.
    pub retries: u64,
    /// Work that came in the busiest second, over what the busiest process can do beside its ordinary load.
    pub connection_busiest: f64,
    /// The same of identity nodes.
    pub identity_busiest: f64,
    /// The same of routers.
    pub router_busiest: f64,
    /// The longest that anybody's work waited for a core, which live traffic waits for too.
    pub longest_wait: Micros,
}

enum Event {
    Comes {
        session: usize,
        tries: u32,
    },
    LetIn {
        session: usize,
        node: usize,
        tries: u32,
    },
    Known {
        session: usize,
        node: usize,
    },
    Seated,
}

struct Run<'a> {
    fleet: &'a Fleet,
    costs: &'a Costs,
    pace: Pace,
    random: StdRng,
    queue: Queue<Event>,
    nodes: Vec<Station>,
    /// When each node lets the next one in.
    next: Vec<Micros>,
    room: Vec<usize>,
    identities: Vec<Station>,
    routers: Vec<Station>,
    places: Places,
    back: Vec<(Micros, usize)>,
    retries: u64,
}

impl Storm {
    /// Kills so many connection nodes, whose clients come back within a time.
    ///
    /// # Panics
    /// If no connection node is left.
    #[must_use]
    pub fn of(
        fleet: &Fleet,
        costs: &Costs,
        died: usize,
        within: Micros,
        pace: Pace,
        seed: u64,
    ) -> Self {
        assert!(died < fleet.connections, "somebody must be left");
        let living = fleet.connections - died;
        let node = Station::new(fleet.cores, fleet.busy);
        let sessions = died * fleet.sessions;
        let mut run = Run {
            fleet,
            costs,
            pace,
            random: StdRng::seed_from_u64(seed),
            queue: Queue::new(),
            nodes: vec![node.clone(); living],
            next: vec![0; living],
            room: vec![CONNECTIONS.saturating_sub(fleet.sessions); living],
            identities: vec![node.clone(); fleet.identities],
            routers: vec![node; fleet.routers],
            places: Places::waiting(sessions),
            back: Vec::with_capacity(sessions),
            retries: 0,
        };
        for session in 0..sessions {
            let at = run.random.random_range(0..within.max(1));
            run.queue.at(at, Event::Comes { session, tries: 0 });
        }
        run.play();
        run.told(died)
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "nodes are drawn from the ranges of these lists"
)]
impl Run<'_> {
    fn play(&mut self) {
        while let Some((now, event)) = self.queue.next() {
            match event {
                Event::Comes { session, tries } => self.comes(now, session, tries),
                Event::LetIn {
                    session,
                    node,
                    tries,
                } => self.let_in(now, session, node, tries),
                Event::Known { session, node } => self.known(now, session, node),
                Event::Seated => {
                    self.places.came_back(1);
                    self.back.push((now, 1));
                }
            }
        }
    }

    fn comes(&mut self, now: Micros, session: usize, tries: u32) {
        let node = self.random.random_range(0..self.nodes.len());
        if self.room[node] == 0 {
            return self.turned_away(now, session, tries);
        }
        let at = match self.pace {
            Pace::None => now,
            Pace::Logins(rate) => {
                let at = now.max(self.next[node]);
                if at - now > HANDSHAKE {
                    return self.turned_away(now, session, tries);
                }
                self.next[node] = at + scale(SECOND, 1.0 / rate);
                at
            }
        };
        self.room[node] -= 1;
        self.queue.at(
            at,
            Event::LetIn {
                session,
                node,
                tries,
            },
        );
    }

    fn let_in(&mut self, now: Micros, session: usize, node: usize, tries: u32) {
        if self.nodes[node].begins(now) - now > HANDSHAKE {
            // Its deadline is over before anybody looks at it.
            self.room[node] += 1;
            return self.turned_away(now + HANDSHAKE, session, tries);
        }
        let done = self.nodes[node].take(now, self.costs.login_connection);
        self.queue
            .at(done + self.costs.network, Event::Known { session, node });
    }

    fn known(&mut self, now: Micros, session: usize, node: usize) {
        let identity = self.random.random_range(0..self.identities.len());
        let verified = self.identities[identity].take(now, self.costs.login_identity);
        // Accounts are spread over shards by a keyed hash, and so over routers.
        let router = (session * 31 + node) % self.fleet.routers;
        let seated = self.routers[router].take(now, self.costs.login_router);
        let at = verified.max(seated) + self.costs.append + 2 * self.costs.network;
        self.queue.at(at, Event::Seated);
    }

    fn turned_away(&mut self, now: Micros, session: usize, tries: u32) {
        if tries + 1 >= TRIES {
            return self.places.given_up(1);
        }
        self.retries += 1;
        let pause = (FIRST_PAUSE << tries.min(16)).min(LONGEST_PAUSE);
        let at = now + pause + self.random.random_range(0..=pause);
        self.queue.at(
            at,
            Event::Comes {
                session,
                tries: tries + 1,
            },
        );
    }

    fn told(mut self, died: usize) -> Storm {
        assert_eq!(self.places.waiting, 0, "sessions are nowhere");
        let of = |stations: &[Station]| {
            let each = stations.iter().map(Station::busiest);
            each.fold(0.0, f64::max)
        };
        let waits = [&self.nodes, &self.identities, &self.routers];
        let waits = waits.into_iter().flatten().map(Station::longest_wait);
        let all = self.places.back + self.places.lost;
        Storm {
            died,
            sessions: [all, self.places.back, self.places.lost],
            retries: self.retries,
            connection_busiest: of(&self.nodes),
            identity_busiest: of(&self.identities),
            router_busiest: of(&self.routers),
            longest_wait: waits.max().unwrap_or_default(),
            back: [0.5, 0.95, 1.0].map(|share| quantile(&mut self.back, share)),
        }
    }
}

impl Storm {
    /// The shortest in which the work can be done at all: all of it over the cores that are left.
    #[must_use]
    pub fn least(fleet: &Fleet, costs: &Costs, died: usize) -> f64 {
        let count = |number: usize| float(u64::try_from(number).unwrap_or(u64::MAX));
        let room = |nodes: usize| count(nodes) * f64::from(fleet.cores) * (1.0 - fleet.busy);
        let logins = count(died * fleet.sessions);
        let each = [
            (costs.login_connection, fleet.connections - died),
            (costs.login_identity, fleet.identities),
            (costs.login_router, fleet.routers),
        ];
        let each = each.map(|(work, nodes)| logins * float(work) / float(SECOND) / room(nodes));
        each.into_iter().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::tests::TEXT;

    fn costs() -> Costs {
        Costs::parse("f", TEXT).unwrap()
    }

    fn storm(nodes: usize, sessions: usize, died: usize, pace: Pace, seed: u64) -> Storm {
        let fleet = Fleet::of(nodes, sessions).unwrap();
        Storm::of(&fleet, &costs(), died, 2 * SECOND, pace, seed)
    }

    #[test]
    fn every_session_comes_back_once_or_is_counted_as_lost() {
        for (pace, seed) in [
            (Pace::None, 1),
            (Pace::Logins(500.0), 2),
            (Pace::Logins(50.0), 3),
        ] {
            let storm = storm(20, 2_000, 1, pace, seed);
            let [all, back, lost] = storm.sessions;
            assert_eq!((all, back + lost), (2_000, 2_000), "{pace:?}");
            assert_eq!(lost, 0, "{pace:?}");
        }
    }

    #[test]
    fn where_there_is_no_room_some_are_lost_and_none_twice() {
        // Of four nodes with 40,000 sessions each, three have room for 30,000 more.
        let storm = storm(10, 40_000, 1, Pace::None, 1);
        assert_eq!(storm.sessions, [40_000, 30_000, 10_000]);
        assert!(storm.retries >= 10_000 * u64::from(TRIES - 1));
    }

    #[test]
    fn the_same_seed_gives_the_same_and_another_one_another() {
        let [one, same, other] = [5, 5, 6].map(|seed| storm(20, 1_000, 2, Pace::None, seed));
        assert_eq!(one, same);
        assert_ne!(one.back, other.back);
    }

    #[test]
    fn more_sessions_take_longer_and_no_storm_is_quicker_than_its_work() {
        let mut before = 0;
        for sessions in [1_000, 5_000, 20_000] {
            let fleet = Fleet::of(10, sessions).unwrap();
            let storm = Storm::of(&fleet, &costs(), 1, 2 * SECOND, Pace::None, 1);
            assert!(storm.back[2] >= before);
            before = storm.back[2];
            let least = Storm::least(&fleet, &costs(), 1);
            assert!(
                float(storm.back[2]) / float(SECOND) >= least,
                "{storm:?} in {least}"
            );
        }
    }

    /// One node, one core's worth of work at once and a pace: the last is let in after exactly that many paces.
    #[test]
    fn paced_logins_end_when_the_pace_says() {
        let mut fleet = Fleet::of(10, 100).unwrap();
        (fleet.connections, fleet.busy) = (2, 0.0);
        // All at time 0.
        let storm = Storm::of(&fleet, &costs(), 1, 1, Pace::Logins(20.0), 1);
        let costs = costs();
        let work = costs.login_connection + costs.login_identity.max(costs.login_router);
        let rest = costs.append + 3 * costs.network + work;
        assert_eq!(storm.back[2], 99 * SECOND / 20 + rest);
        assert_eq!(storm.retries, 0);
    }

    #[test]
    fn a_pace_spares_the_cores_and_costs_time() {
        let [free, paced] =
            [Pace::None, Pace::Logins(1_000.0)].map(|pace| storm(10, 20_000, 1, pace, 1));
        assert!(paced.connection_busiest < free.connection_busiest);
        assert!(paced.longest_wait <= free.longest_wait);
        assert!(paced.back[1] >= free.back[1]);
    }
}
