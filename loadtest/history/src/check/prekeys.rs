//! R11: one-time prekeys are handed out once, and signed prekeys never go back.

use foldhash::{HashMap, HashMapExt};

use super::findings::Findings;
use super::record::Spot;
use super::roster::Roster;
use crate::event::Prekey;
use crate::id::Device;
use crate::verdict::Rule;

/// The signed prekeys that one process was given, as they grew.
#[derive(Default)]
pub(super) struct Versions {
    /// By target: when an answer came that was newer than all before, and with what.
    grown: HashMap<Device, Vec<(u64, u64, Spot)>>,
}

impl Versions {
    /// Another process's clock begins.
    pub(super) fn clear(&mut self) {
        self.grown.clear();
    }

    /// Takes an answer in; gives the newer version that had been answered before this was asked for.
    pub(super) fn answered(&mut self, spot: Spot, at: u64, it: &Prekey) -> Option<(u64, Spot)> {
        let grown = self.grown.entry(it.target).or_default();
        let known = grown.partition_point(|(answered, _, _)| *answered < it.asked);
        let older = known.checked_sub(1).and_then(|at| grown.get(at)).copied();
        if grown
            .last()
            .is_none_or(|(_, newest, _)| *newest < it.version)
        {
            grown.push((at, it.version, spot));
        }
        older
            .filter(|(_, version, _)| it.version < *version)
            .map(|(_, version, there)| (version, there))
    }
}

/// One-time keys of a partition.
#[derive(Default)]
pub(super) struct Keys {
    seen: HashMap<(Device, u64), Spot>,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            seen: HashMap::new(),
        }
    }

    pub(super) fn handed(
        &mut self,
        spot: Spot,
        (target, key): (Device, u64),
        (roster, findings): (&Roster, &mut Findings),
    ) {
        let first = *self.seen.entry((target, key)).or_insert(spot);
        if first != spot {
            findings.broken(Rule::R11, || {
                let who = roster.name(target);
                let what = format!("the one-time prekey {key} of {who} was handed out again");
                (what, vec![first, spot])
            });
        }
    }
}
