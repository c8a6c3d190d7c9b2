//! The models hold without a bug, get where they should, and notice every seeded bug.

#![expect(clippy::print_stdout, reason = "a run says how many states it visited")]

use std::fmt::Debug;
use std::hash::Hash;

use entente_model::check::{Seeded, broken, clean};
use entente_model::delivery::Delivery;
use entente_model::handover::Handover;
use entente_model::submit::Submit;
use entente_model::takeover::Takeover;
use stateright::Expectation;

/// Visits every state for each set of bounds: no property breaks, each set has at least the states
/// in `least`, and every `sometimes` has an example within one of the sets.
fn holds<M>(least: &[usize])
where
    M: Seeded + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let properties = M::seeded(entente_model::Bug::None, 0).properties();
    let mut missed: Vec<_> = properties
        .iter()
        .filter(|property| property.expectation == Expectation::Sometimes)
        .map(|property| property.name)
        .collect();
    assert!(!missed.is_empty(), "{} has no vacuity guard", M::NAME);
    assert_eq!(M::BOUNDS.len(), least.len());
    for (bounds, least) in least.iter().enumerate() {
        let finding = clean::<M>(bounds);
        println!(
            "{} ({}): {} states, depth {}",
            finding.model, finding.bounds, finding.states, finding.depth
        );
        assert!(finding.broken.is_empty(), "{finding:?}");
        assert!(finding.states >= *least, "too few states: {finding:?}");
        missed.retain(|name| finding.missed.contains(name));
    }
    assert!(missed.is_empty(), "{} never gets to: {missed:?}", M::NAME);
}

/// Each seeded bug leads to a counterexample of its property, and the same property has none
/// without the bug, which `holds` shows.
fn notices<M>()
where
    M: Seeded + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    for (bug, bounds, property) in M::BUGS {
        let finding = broken::<M>(*bug, *bounds, property);
        println!(
            "{} with {bug:?}: {} states, {:?}",
            M::NAME,
            finding.states,
            finding.path
        );
        assert!(
            finding.broken.contains(property),
            "{bug:?} went unnoticed: {finding:?}"
        );
        assert!(!finding.path.is_empty(), "no path to {bug:?}");
    }
}

#[test]
fn takeover_holds_in_every_state() {
    holds::<Takeover>(&[1_000_000, 300_000, 300_000, 40_000]);
}

#[test]
fn takeover_notices_every_seeded_bug() {
    notices::<Takeover>();
}

#[test]
fn handover_holds_in_every_state() {
    holds::<Handover>(&[150_000, 120_000]);
}

#[test]
fn handover_notices_every_seeded_bug() {
    notices::<Handover>();
}

#[test]
fn submission_holds_in_every_state() {
    holds::<Submit>(&[500_000, 300_000]);
}

#[test]
fn submission_notices_every_seeded_bug() {
    notices::<Submit>();
}

#[test]
fn delivery_holds_in_every_state() {
    holds::<Delivery>(&[300_000, 300_000]);
}

#[test]
fn delivery_notices_every_seeded_bug() {
    notices::<Delivery>();
}
