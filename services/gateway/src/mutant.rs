//! A build that can be broken on purpose: says so wherever it says what it is, and breaks itself once.

use anyhow::Context;
use entente_core::mutant::{Mutant, choose, names};

/// Names the way in which the gateway is to be broken; without it the gateway keeps its promises.
const VARIABLE: &str = "ENTENTE_MUTANT";

/// What `entente --version` says.
pub(crate) const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " MUTANT BUILD, for tests only: ENTENTE_MUTANT breaks its promises"
);

/// What `entente version` says besides: the names of all mutants.
pub(crate) fn told() -> String {
    format!("mutants: {}", names())
}

/// Breaks this process as the environment says.
///
/// # Errors
/// If the environment names no mutant that there is.
pub(crate) fn break_by_environment() -> anyhow::Result<()> {
    let Some(name) = entente_node::env(VARIABLE)? else {
        tracing::warn!("MUTANT BUILD, for tests only: no mutant was chosen");
        return Ok(());
    };
    let mutant: Mutant = name.parse().with_context(|| VARIABLE.to_owned())?;
    choose(mutant)?;
    tracing::warn!(%mutant, "MUTANT BUILD: THIS GATEWAY BREAKS ITS PROMISES ON PURPOSE");
    Ok(())
}
