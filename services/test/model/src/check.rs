//! Runs a model to exhaustion, or until a seeded bug shows itself, and says what was found.
//!
//! **Invariants**
//! - A clean run visits every reachable state: it ends early only when every property has a
//!   discovery, which no sound model gives.
//! - A run with a seeded bug ends at the first counterexample of the property that the bug must
//!   break, so its number of states says how deep the bug lies.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::Bug;

/// Threads per search: what the smallest build machine has.
const THREADS: usize = 2;

/// A model with a name and a list of the bugs that it must find.
pub trait Seeded: Model {
    /// The name in the table of results.
    const NAME: &'static str;

    /// The names of its sets of bounds.
    const BOUNDS: &'static [&'static str];

    /// Each seeded bug with the set of bounds that is enough for it, and the property that it must
    /// break.
    const BUGS: &'static [(Bug, usize, &'static str)];

    /// The model with one set of bounds and this bug.
    fn seeded(bug: Bug, bounds: usize) -> Self;
}

/// What one search found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The model's name.
    pub model: &'static str,
    /// The set of bounds.
    pub bounds: &'static str,
    /// The seeded bug.
    pub bug: Bug,
    /// Different states visited.
    pub states: usize,
    /// Steps from the start to the deepest state visited.
    pub depth: usize,
    /// `always` properties with a counterexample, in the model's order.
    pub broken: Vec<&'static str>,
    /// `sometimes` properties without an example, in the model's order.
    pub missed: Vec<&'static str>,
    /// The steps to the counterexample of the property that the bug must break.
    pub path: Vec<String>,
}

/// Visits every reachable state of the model without a bug.
pub fn clean<M>(bounds: usize) -> Finding
where
    M: Seeded + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    search::<M>(Bug::None, bounds, None)
}

/// Searches the model with `bug` until `property` has a counterexample.
pub fn broken<M>(bug: Bug, bounds: usize, property: &'static str) -> Finding
where
    M: Seeded + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    search::<M>(bug, bounds, Some(property))
}

fn search<M>(bug: Bug, bounds: usize, until: Option<&'static str>) -> Finding
where
    M: Seeded + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let finish = match until {
        Some(property) => HasDiscoveries::AllOf(BTreeSet::from([property])),
        None => HasDiscoveries::All,
    };
    let checker = M::seeded(bug, bounds)
        .checker()
        .threads(THREADS)
        .finish_when(finish)
        .spawn_bfs()
        .join();
    let mut found = checker.discoveries();
    let properties = checker.model().properties();
    let names = |wanted: Expectation, discovered: bool| {
        properties
            .iter()
            .filter(|property| property.expectation == wanted)
            .map(|property| property.name)
            .filter(|name| found.contains_key(name) == discovered)
            .collect()
    };
    let (broken, missed) = (
        names(Expectation::Always, true),
        names(Expectation::Sometimes, false),
    );
    let path = until
        .and_then(|property| found.remove(property))
        .map(|path| path.into_actions());
    Finding {
        model: M::NAME,
        bounds: M::BOUNDS.get(bounds).copied().unwrap_or_default(),
        bug,
        states: checker.unique_state_count(),
        depth: checker.max_depth().saturating_sub(1),
        broken,
        missed,
        path: path
            .unwrap_or_default()
            .iter()
            .map(|action| format!("{action:?}"))
            .collect(),
    }
}
