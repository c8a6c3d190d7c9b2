//! The faults of a campaign file, kind by kind.

use std::time::Duration;

use entente_engine::scenario::span;
use serde::Deserialize;

use crate::between::Between;
use crate::schedule::Deed;

/// What happens, and how often. A kind without a table does not happen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// Time from the begin of a round, or the end of a fault, to the next fault.
    pub gap: Between,
    /// Each round takes a part of the kinds, drawn anew, and only those happen in it: what one kind
    /// hides, another round shows.
    #[serde(default)]
    pub swarm: bool,
    /// Connections break.
    pub cut: Option<Cuts>,
    /// SIGKILL, and a start.
    pub kill: Option<Kills>,
    /// SIGTERM, an end with status 0, and a start.
    pub restart: Option<Kills>,
    /// SIGSTOP, and SIGCONT.
    pub stop: Option<Stops>,
    /// Connections are left open by devices that come back over others.
    pub zombie: Option<Zombies>,
}

/// A kind of fault: how often, what is done, and how long it lasts.
pub(crate) type Kind = (u32, Deed, Between);

impl Faults {
    /// The kinds that may happen.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let zombie = |it: &Zombies| Deed::Zombie {
            share: it.share,
            lingers: it.lingers,
        };
        let (cut, kill) = (self.cut.as_ref(), self.kill.as_ref());
        let (restart, stop) = (self.restart.as_ref(), self.stop.as_ref());
        [
            cut.map(|it| (it.weight, Deed::Cut(it.share), it.within)),
            kill.map(|it| (it.weight, Deed::Kill, it.down)),
            restart.map(|it| (it.weight, Deed::Restart, it.down)),
            stop.map(|it| (it.weight, Deed::Stop, it.time)),
            (self.zombie.as_ref()).map(|it| (it.weight, zombie(it), it.within)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The first value that makes no sense, and why.
    pub(crate) fn wrong(&self) -> Option<(String, &'static str)> {
        let kinds = self.kinds();
        if kinds.is_empty() {
            let what = "name at least one kind: cut, kill, restart, stop or zombie";
            return Some(("faults".to_owned(), what));
        }
        kinds.into_iter().find_map(|(weight, deed, _)| {
            let key = |key: &str| format!("faults.{}.{key}", deed.name());
            if weight == 0 {
                let what = "must be at least 1; leave the table out instead";
                return Some((key("weight"), what));
            }
            let (share, lingers) = match deed {
                Deed::Cut(share) => (share, None),
                Deed::Zombie { share, lingers } => (share, Some(lingers)),
                Deed::Kill | Deed::Restart | Deed::Stop => return None,
            };
            if !(share > 0.0 && share <= 1.0) {
                return Some((key("share"), "must be above 0, and at most 1"));
            }
            let none = lingers.is_some_and(|lingers| lingers.is_zero());
            none.then(|| (key("lingers"), "must be longer than 0s; or take faults.cut"))
        })
    }
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
