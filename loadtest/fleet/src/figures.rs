//! All figures of one fleet, and fleets beside one another.

use std::fmt::Write;

use crate::costs::{ASSUMED, Costs};
use crate::death::Death;
use crate::fleet::{Fleet, MOST_SHARDS};
use crate::standing::Standing;
use crate::station::float;
use crate::storm::{Pace, Storm};
use crate::{MILLI, Micros, SECOND};

/// Clients come back within so long, as phones do that notice the end of their connection.
const WITHIN: Micros = 2 * SECOND;
/// Connections of a mesh listener (`CONNECTIONS` in `services/base/mesh/src/listen.rs`).
const MESH: f64 = 4_096.0;
/// An upgrade of all routers should be over in a night.
const NIGHT: f64 = 8.0;
/// Time within which a router should be back after a restart, and within which its sessions wait.
const REATTACH: f64 = 30.0;

/// What is simulated besides a fleet.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Where chance begins.
    pub seed: u64,
    /// How logins are let in after a connection node died.
    pub pace: Pace,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The fleet.
    pub fleet: Fleet,
    /// A router that is killed.
    pub death: Death,
    /// A connection node that is killed, with logins as they come, and let in at the pace.
    pub storm: [Storm; 2],
    /// A tenth of the connection nodes, at the pace.
    pub zone: Storm,
    /// What its size costs.
    pub standing: Standing,
}

/// Something that has a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Wall {
    /// What.
    pub what: &'static str,
    /// How much of it is taken; from 1 on it is full.
    pub taken: f64,
}

impl Figures {
    /// Simulates a fleet.
    #[must_use]
    pub fn of(fleet: Fleet, costs: &Costs, load: Load) -> Self {
        let death = Death::of(&fleet, costs, load.seed);
        let storm = [Pace::None, load.pace]
            .map(|pace| Storm::of(&fleet, costs, 1, WITHIN, pace, load.seed));
        let tenth = (fleet.connections / 10).max(1);
        let zone = Storm::of(&fleet, costs, tenth, WITHIN, load.pace, load.seed);
        let rebalance = death.rebalance.millis() / float(MILLI);
        Self {
            standing: Standing::of(&fleet, costs, rebalance),
            fleet,
            death,
            storm,
            zone,
        }
    }

    /// Everything that has a limit, the fullest first.
    #[must_use]
    pub fn walls(&self) -> Vec<Wall> {
        let count = |number: usize| float(u64::try_from(number).unwrap_or(u64::MAX));
        let [free, _] = &self.storm;
        let all = [
            (
                "shards for the routers",
                count(self.fleet.wanted_shards()) / count(MOST_SHARDS),
            ),
            ("a router's mesh listener", count(self.standing.mesh) / MESH),
            (
                "a router's start within 30 s",
                self.standing.start / REATTACH,
            ),
            (
                "an upgrade of all routers in a night",
                self.standing.rolling / NIGHT,
            ),
            ("routers, a router's death", self.death.router_busiest),
            (
                "connection nodes, a router's death",
                self.death.asker_busiest,
            ),
            (
                "the group's coordinator",
                self.death.rebalance.coordinator.busiest(),
            ),
            (
                "connection nodes, one of them dies",
                free.connection_busiest,
            ),
            (
                "identity nodes, a connection node dies",
                free.identity_busiest,
            ),
            ("routers, a connection node dies", free.router_busiest),
        ];
        let mut walls: Vec<_> = all.map(|(what, taken)| Wall { what, taken }).into();
        walls.sort_by(|one, other| other.taken.total_cmp(&one.taken));
        walls
    }

    /// When half, most and all are back.
    fn back(storm: &Storm) -> String {
        let [half, most, all] = storm.back.map(in_seconds);
        let lost = match storm.sessions[2] {
            0 => String::new(),
            lost => format!(", {lost} find no room"),
        };
        format!("{half}, {most}, {all}{lost}")
    }

    /// (name, value) of each row of the table.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let seconds = in_seconds;
        let (fleet, death, standing) = (&self.fleet, &self.death, &self.standing);
        let [free, paced] = &self.storm;
        vec![
            (
                "connection nodes, routers, identity, push",
                format!(
                    "{}, {}, {}, {}",
                    fleet.connections, fleet.routers, fleet.identities, fleet.pushes
                ),
            ),
            (
                "brokers, shards",
                format!("{}, {}", fleet.brokers, fleet.shards),
            ),
            ("sessions", fleet.all_sessions().to_string()),
            (
                "**a router is killed**: shards without an owner",
                death.orphans.to_string(),
            ),
            (
                "noticed; rebalance over",
                format!(
                    "{}; {}",
                    seconds(death.rebalance.noticed),
                    seconds(death.rebalance.over())
                ),
            ),
            (
                "what the group's leader is told",
                format!("{} bytes", death.rebalance.leader_bytes),
            ),
            ("all shards served", seconds(death.served)),
            (
                "sessions with an owner again, p50, p95",
                death.back.map(seconds).join(", "),
            ),
            (
                "sessions concerned, lost",
                format!("{}, {}", death.sessions[0], death.sessions[2]),
            ),
            (
                "surveys, questions in them",
                format!("{}, {}", death.surveys, death.questions),
            ),
            (
                "questions to each router",
                format!("{:.0}", death.questions_a_router(fleet)),
            ),
            (
                "**a connection node is killed**, as they come: back p50, p95, all",
                Self::back(free),
            ),
            ("the same, paced", Self::back(paced)),
            (
                "longest wait for a core, as they come; paced",
                format!(
                    "{}; {}",
                    seconds(free.longest_wait),
                    seconds(paced.longest_wait)
                ),
            ),
            (
                "a tenth of the connection nodes, paced",
                Self::back(&self.zone),
            ),
            (
                "**by its size**: connections of a router's mesh listener; of all",
                format!("{}; {}", standing.mesh, standing.mesh_all),
            ),
            ("a router's start", format!("{:.1} s", standing.start)),
            (
                "all routers replaced, one after another",
                format!("{:.2} h", standing.rolling),
            ),
        ]
    }
}

fn in_seconds(time: Micros) -> String {
    format!("{:.1} s", float(time) / float(SECOND))
}

/// Fleets beside one another, as Markdown.
#[must_use]
pub fn table(all: &[Figures], costs: &Costs, load: Load) -> String {
    let mut text = format!("Costs measured {}; seed {}; ", costs.measured, load.seed);
    let pace = match load.pace {
        Pace::None => "logins are not paced".to_owned(),
        Pace::Logins(rate) => format!("paced: {rate} logins a second and connection node"),
    };
    writeln!(
        text,
        "{pace}. Clients come back within {} s.\n",
        WITHIN / SECOND
    )
    .ok();
    let columns = all
        .iter()
        .map(|each| format!(" {} nodes |", each.fleet.nodes));
    writeln!(text, "| |{}", columns.collect::<String>()).ok();
    writeln!(text, "|---|{}", "---|".repeat(all.len())).ok();
    let rows: Vec<_> = all.iter().map(Figures::rows).collect();
    let names = rows.first().into_iter().flatten().map(|(name, _)| *name);
    for (at, name) in names.enumerate() {
        let values = rows.iter().filter_map(|rows| rows.get(at));
        let values: String = values.map(|(_, value)| format!(" {value} |")).collect();
        writeln!(text, "| {name} |{values}").ok();
    }
    for (place, name) in ["full first", "full next", "full third"].iter().enumerate() {
        let walls = all
            .iter()
            .filter_map(|each| each.walls().into_iter().nth(place));
        let walls: String = walls
            .map(|wall| format!(" {}: {:.2} |", wall.what, wall.taken))
            .collect();
        writeln!(text, "| {name} (1: no more fits) |{walls}").ok();
    }
    text.push_str("\nAssumed, not measured: ");
    let assumed: Vec<_> = ASSUMED
        .iter()
        .map(|(what, value)| format!("{what}, {value}"))
        .collect();
    text.push_str(&assumed.join("; "));
    text.push_str(".\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::tests::TEXT;

    fn figures(nodes: usize) -> Figures {
        let load = Load {
            seed: 1,
            pace: Pace::Logins(500.0),
        };
        let costs = Costs::parse("f", TEXT).unwrap();
        Figures::of(Fleet::of(nodes, 300).unwrap(), &costs, load)
    }

    #[test]
    fn the_fullest_is_named_first_and_more_nodes_fill_what_grows_with_them() {
        let [small, large] = [10, 200].map(figures);
        let walls = large.walls();
        assert!(walls.is_sorted_by(|one, next| one.taken >= next.taken));
        let taken = |figures: &Figures, what: &str| {
            let walls = figures.walls();
            walls.iter().find(|wall| wall.what == what).unwrap().taken
        };
        for what in [
            "shards for the routers",
            "a router's mesh listener",
            "a router's start within 30 s",
            "the group's coordinator",
            "connection nodes, a router's death",
        ] {
            assert!(taken(&large, what) > taken(&small, what), "{what}");
        }
    }

    #[test]
    fn every_fleet_has_a_value_in_every_row() {
        let costs = Costs::parse("f", TEXT).unwrap();
        let load = Load {
            seed: 1,
            pace: Pace::None,
        };
        let text = table(&[figures(10), figures(20)], &costs, load);
        let rows = text.lines().filter(|line| line.starts_with('|'));
        assert!(rows.clone().count() > 20);
        for row in rows {
            assert_eq!(row.matches('|').count(), 4, "{row}");
        }
        assert!(text.contains("seed 1") && text.contains("Assumed, not measured"));
    }
}
