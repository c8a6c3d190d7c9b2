//! Ways to break a gateway on purpose, each in one promise: who checks the promises must find each.
//!
//! Built with the feature `mutants` only, which no program that serves anybody has. A process is broken
//! in at most one way, chosen once at its start; without a choice it keeps its promises.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A sender is acknowledged while its stanza is in memory only.
    AckBeforeDurable,
    /// After a restart no stanza id is known to have been seen.
    DedupeInMemory,
    /// A session that was replaced goes on writing.
    NoFencing,
    /// The store covers records whose effects are not in it yet.
    OffsetBeforeEffect,
    /// One-time keys are served without a record that says so.
    ServedPrekeyNotPersisted,
}

/// All of them.
pub const MUTANTS: [Mutant; 5] = [
    Mutant::AckBeforeDurable,
    Mutant::DedupeInMemory,
    Mutant::NoFencing,
    Mutant::OffsetBeforeEffect,
    Mutant::ServedPrekeyNotPersisted,
];

/// There is no such mutant, or another one was chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mutant is one of these, and chosen once: {}", names())]
pub struct MutantError;

static CHOSEN: OnceLock<Mutant> = OnceLock::new();

/// Breaks this process from now on.
///
/// # Errors
/// [`MutantError`] if it is broken already.
pub fn choose(mutant: Mutant) -> Result<(), MutantError> {
    CHOSEN.set(mutant).map_err(|_| MutantError)
}

/// Whether this process is broken so.
pub fn is(mutant: Mutant) -> bool {
    CHOSEN.get() == Some(&mutant)
}

/// The names of all, with a space between.
pub fn names() -> String {
    MUTANTS.map(|mutant| mutant.to_string()).join(" ")
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AckBeforeDurable => "ack-before-durable",
            Self::DedupeInMemory => "dedupe-in-memory",
            Self::NoFencing => "no-fencing",
            Self::OffsetBeforeEffect => "offset-before-effect",
            Self::ServedPrekeyNotPersisted => "served-prekey-not-persisted",
        })
    }
}

impl FromStr for Mutant {
    type Err = MutantError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mutant = MUTANTS
            .into_iter()
            .find(|mutant| mutant.to_string() == name);
        mutant.ok_or(MutantError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_broken_in_the_one_way_that_was_chosen() {
        assert!(MUTANTS.into_iter().all(|mutant| !is(mutant)));
        for mutant in MUTANTS {
            assert_eq!(mutant.to_string().parse(), Ok(mutant));
        }
        assert_eq!("no-acks".parse::<Mutant>(), Err(MutantError));
        choose(Mutant::NoFencing).unwrap();
        assert_eq!(choose(Mutant::DedupeInMemory), Err(MutantError));
        assert!(is(Mutant::NoFencing) && !is(Mutant::DedupeInMemory));
    }
}
