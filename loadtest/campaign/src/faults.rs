//! The faults of a campaign file, kind by kind.

use std::collections::BTreeMap;
use std::time::Duration;

use entente_engine::scenario::span;
use serde::Deserialize;

use crate::between::Between;
use crate::cluster::{Act, Role};
use crate::parting::{Pair, Ways};
use crate::schedule::{Deed, Track};

/// What happens, and how often. A kind without a table does not happen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Faults {
    /// Time from the begin of a round, or the end of a fault, to the next fault.
    pub gap: Between,
    /// Each round takes a part of the kinds, drawn anew, and only those happen in it: what one kind
    /// hides, another round shows.
    #[serde(default)]
    pub swarm: bool,
    /// Faults of clients, network, machine and process happen beside each other, each of the four with
    /// gaps of its own; else one follows another.
    #[serde(default)]
    pub overlap: bool,
    /// Members of a cluster fail in this order in each round, and nothing is drawn but spans.
    #[serde(default)]
    pub turns: Vec<Turn>,
    /// Syncs fail, and the process has to end; then it is started again.
    pub broken_sync: Option<Kills>,
    /// Connections break.
    pub cut: Option<Cuts>,
    /// Bytes between clients and the process take time.
    pub delay: Option<Delays>,
    /// The disk of the log is full.
    pub full_disk: Option<Stops>,
    /// SIGKILL, and a start.
    pub kill: Option<Kills>,
    /// What happens to members of a cluster, instead of to one process.
    pub members: Option<Members>,
    /// No bytes pass between clients and the process.
    pub partition: Option<Stops>,
    /// SIGTERM, an end with status 0, and a start.
    pub restart: Option<Kills>,
    /// The wall clock of the process jumps ahead or back, and returns.
    pub skew: Option<Shifts>,
    /// Syncs take longer.
    pub slow_sync: Option<Shifts>,
    /// SIGSTOP, and SIGCONT.
    pub stop: Option<Stops>,
    /// Connections are left open by devices that come back over others.
    pub zombie: Option<Zombies>,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// How often, relative to the others.
    pub(crate) weight: u32,
    pub(crate) deed: Deed,
    /// How long it lasts.
    pub(crate) lasts: Between,
    /// By how much, if that is to be drawn.
    pub(crate) by: Option<Between>,
}

impl Faults {
    /// Whether the process has to be started with a [`Preload`](crate::Preload).
    pub fn needs_preload(&self) -> bool {
        let machine = |kind: &Kind| kind.deed.track() == Track::Machine;
        self.broken_sync.is_some() || self.kinds().iter().any(machine)
    }

    /// Whether clients have to connect through a [`Proxy`](crate::Proxy).
    pub fn needs_proxy(&self) -> bool {
        self.delay.is_some() || self.partition.is_some()
    }

    /// The kinds that may happen. New ones come last: so a seed keeps giving what it gave.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let zombie = |it: &Zombies| Deed::Zombie {
            share: it.share,
            lingers: it.lingers,
        };
        let (delay, zombies) = (self.delay.as_ref(), self.zombie.as_ref());
        let kills = |it: &Option<Kills>, deed| {
            let it = it.as_ref()?;
            Some(Kind::new(it.weight, deed, it.down))
        };
        let stops = |it: &Option<Stops>, deed| {
            let it = it.as_ref()?;
            Some(Kind::new(it.weight, deed, it.time))
        };
        let shifts = |it: &Option<Shifts>, deed| {
            let it = it.as_ref()?;
            Some(Kind::new(it.weight, deed, it.time).by(it.by))
        };
        let cut = |it: &Cuts| Kind::new(it.weight, Deed::Cut(it.share), it.within);
        [
            self.cut.as_ref().map(cut),
            kills(&self.kill, Deed::Kill),
            kills(&self.restart, Deed::Restart),
            stops(&self.stop, Deed::Stop),
            zombies.map(|it| Kind::new(it.weight, zombie(it), it.within)),
            kills(&self.broken_sync, Deed::BrokenSync),
            delay.map(|it| Kind::new(it.weight, Deed::Delay(it.loss), it.time).by(it.by)),
            stops(&self.full_disk, Deed::FullDisk),
            stops(&self.partition, Deed::Partition),
            shifts(&self.skew, Deed::Skew),
            shifts(&self.slow_sync, Deed::SlowSync),
        ]
        .into_iter()
        .flatten()
        .chain(self.members.iter().flat_map(Members::kinds))
        .collect()
    }

    /// Whether there has to be a cluster.
    pub const fn needs_cluster(&self) -> bool {
        self.members.is_some() || !self.turns.is_empty()
    }

    /// Leaves out what takes a network that can be cut; whether there was any of it.
    pub fn keep_whole(&mut self) -> bool {
        let Some(members) = &mut self.members else {
            return false;
        };
        let some = !(members.partition.is_empty() && members.one_way.is_empty());
        members.partition.clear();
        members.one_way.clear();
        some
    }

    /// Whether there has to be one process.
    pub fn needs_process(&self) -> bool {
        let process = |kind: &Kind| matches!(kind.deed.track(), Track::Machine | Track::Process);
        self.kinds().iter().any(process)
    }

    /// The first value that makes no sense, and why.
    pub(crate) fn wrong(&self) -> Option<(String, &'static str)> {
        let kinds = self.kinds();
        if !self.turns.is_empty() {
            let what = "take their turns, or are drawn by kind: not both";
            let both = !kinds.is_empty();
            let idle = self.turns.iter().any(|turn| turn.times == 0);
            let idle = idle.then_some("times: must be at least 1");
            let wrong = both.then_some(what).or(idle);
            return wrong.map(|what| ("faults.turns".to_owned(), what));
        }
        if kinds.is_empty() {
            let what = "name at least one kind, as faults.kill";
            return Some(("faults".to_owned(), what));
        }
        kinds.into_iter().find_map(|kind| {
            let key = |key: &str| format!("faults.{}.{key}", kind.deed.name());
            if kind.weight == 0 {
                let what = "must be at least 1; leave the table out instead";
                return Some((key("weight"), what));
            }
            match kind.deed {
                Deed::Cut(share) | Deed::Zombie { share, .. } if !(share > 0.0 && share <= 1.0) => {
                    Some((key("share"), "must be above 0, and at most 1"))
                }
                Deed::Zombie { lingers, .. } if lingers.is_zero() => {
                    Some((key("lingers"), "must be longer than 0s; or take faults.cut"))
                }
                Deed::Delay(loss) if !(0.0..1.0).contains(&loss) => {
                    Some((key("loss"), "must be at least 0, and below 1"))
                }
                _ => None,
            }
        })
    }
}

/// What happens to members of a cluster, by role: `[faults.members.kill.router]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Members {
    /// Redis forgets everything.
    pub flush: Option<Stops>,
    /// SIGKILL, and a start.
    pub kill: BTreeMap<Role, Kills>,
    /// No bytes pass from one of two to the other, or from the other to the one.
    pub one_way: BTreeMap<Pair, Stops>,
    /// No bytes pass between two.
    pub partition: BTreeMap<Pair, Stops>,
    /// SIGSTOP, and SIGCONT.
    pub pause: BTreeMap<Role, Stops>,
    /// SIGTERM, an orderly end, and a start.
    pub restart: BTreeMap<Role, Kills>,
}

impl Members {
    fn kinds(&self) -> Vec<Kind> {
        let kills = |act, of: &BTreeMap<Role, Kills>| -> Vec<Kind> {
            let kind = |(role, it): (&Role, &Kills)| {
                Kind::new(it.weight, Deed::Member(act, *role), it.down)
            };
            of.iter().map(kind).collect()
        };
        let pauses = self
            .pause
            .iter()
            .map(|(role, it)| Kind::new(it.weight, Deed::Member(Act::Pause, *role), it.time));
        let flush = self.flush.iter();
        let flush =
            flush.map(|it| Kind::new(it.weight, Deed::Member(Act::Flush, Role::Redis), it.time));
        let parted = |ways, of: &BTreeMap<Pair, Stops>| -> Vec<Kind> {
            let kind = |(pair, it): (&Pair, &Stops)| {
                Kind::new(it.weight, Deed::Parted(*pair, ways), it.time)
            };
            of.iter().map(kind).collect()
        };
        let parted = [
            parted(Ways::Both, &self.partition),
            parted(Ways::One, &self.one_way),
        ];
        let ends = [
            kills(Act::Kill, &self.kill),
            kills(Act::Restart, &self.restart),
        ];
        ends.into_iter()
            .flatten()
            .chain(pauses)
            .chain(flush)
            .chain(parted.into_iter().flatten())
            .collect()
    }
}

impl Kind {
    const fn new(weight: u32, deed: Deed, lasts: Between) -> Self {
        Self {
            weight,
            deed,
            lasts,
            by: None,
        }
    }

    const fn by(self, by: Between) -> Self {
        Self {
            by: Some(by),
            ..self
        }
    }
}

/// A fault that has its turn.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// What is done.
    pub act: Act,
    /// To a member of which role: another one each time.
    pub role: Role,
    /// How often, one after the other.
    #[serde(default = "one")]
    pub times: u32,
    /// From an end to the start, or for how long it is so.
    pub time: Between,
}

/// Connections break at the clients, without a goodbye.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cuts {
    /// How often, relative to the others.
    pub weight: u32,
    /// Share of the connections, above 0 to 1.
    pub share: f64,
    /// Over how long they come back.
    pub within: Between,
}

impl Default for Cuts {
    fn default() -> Self {
        Self {
            weight: 1,
            share: 0.5,
            within: Between::millis(0, 500),
        }
    }
}

/// The process ends and is started again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kills {
    /// How often, relative to the others.
    pub weight: u32,
    /// From its end to its start.
    pub down: Between,
}

impl Default for Kills {
    fn default() -> Self {
        Self {
            weight: 1,
            down: Between::millis(0, 500),
        }
    }
}

/// The process stands still: to its peers it is silent, not gone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stops {
    /// How often, relative to the others.
    pub weight: u32,
    /// For how long.
    pub time: Between,
}

impl Default for Stops {
    fn default() -> Self {
        Self {
            weight: 1,
            time: Between::millis(100, 2_000),
        }
    }
}

/// Devices come back over another connection while the old one is still open, and goes on writing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Zombies {
    /// How often, relative to the others.
    pub weight: u32,
    /// Share of the connections, above 0 to 1.
    pub share: f64,
    /// Over how long their devices come back.
    pub within: Between,
    /// How long an old connection stays open after that.
    #[serde(with = "span")]
    pub lingers: Duration,
}

impl Default for Zombies {
    fn default() -> Self {
        Self {
            weight: 1,
            share: 0.5,
            within: Between::millis(0, 500),
            lingers: Duration::from_secs(1),
        }
    }
}

/// Bytes take time, each way.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delays {
    /// How often, relative to the others.
    pub weight: u32,
    /// How long bytes take.
    pub by: Between,
    /// Share of what is sent at once that is lost, and comes when TCP sends it again.
    pub loss: f64,
    /// For how long it is so.
    pub time: Between,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            weight: 1,
            by: Between::millis(10, 100),
            loss: 0.0,
            time: Between::millis(500, 3_000),
        }
    }
}

/// Something is shifted by a span, and comes back.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shifts {
    /// How often, relative to the others.
    #[serde(default = "one")]
    pub weight: u32,
    /// By how much.
    pub by: Between,
    /// For how long.
    pub time: Between,
}

const fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use crate::file::Campaign;

    #[test]
    fn a_measure_that_makes_no_sense_is_told_with_its_place() {
        let cases = [
            (
                "[faults.zombie]\nshare = 2.0",
                "8: faults.zombie.share: must be above 0",
            ),
            (
                "[faults.zombie]\nlingers = '0s'",
                "8: faults.zombie.lingers: must be longer",
            ),
            (
                "[faults.delay]\nloss = 1.0",
                "8: faults.delay.loss: must be at least 0",
            ),
            (
                "[faults.full-disk]\nweight = 0",
                "8: faults.full-disk.weight: must be at least 1",
            ),
            ("[faults.slow-sync]\ntime = '1s'", "7:1: missing field `by`"),
        ];
        for (table, wanted) in cases {
            let text = format!(
                "rounds = 2\nround = '5s'\n[load]\nscenario = 'pairs'\n[faults]\ngap = '1s'\n{table}\n"
            );
            let said = Campaign::parse("c.toml", &text).unwrap_err().to_string();
            assert!(said.contains(wanted), "{table}: {said}");
        }
    }
}
