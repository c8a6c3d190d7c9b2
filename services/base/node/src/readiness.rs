//! Whether this node should get new work: a set of named conditions.
//!
//! **Invariants**
//! - Ready only while every condition holds and no drain has begun.
//! - A condition whose holder was dropped does not hold.
//! - A note is told beside the answer and never changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{Drain, Phase};

type States = BTreeMap<&'static str, bool>;
type Notes = Arc<Mutex<BTreeSet<&'static str>>>;

/// The conditions of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Readiness {
    states: Arc<watch::Sender<States>>,
    notes: Notes,
    drain: Drain,
}

impl Readiness {
    /// No conditions yet: ready until there are some, or the drain begins.
    pub fn new(drain: Drain) -> Self {
        Self {
            states: Arc::new(watch::Sender::new(States::new())),
            notes: Notes::default(),
            drain,
        }
    }

    /// Adds a condition that does not hold yet. One holder per name: a second takes the name over.
    pub fn condition(&self, name: &'static str) -> Condition {
        let condition = Condition {
            name,
            states: Arc::clone(&self.states),
        };
        condition.set(false);
        condition
    }

    /// Makes a note that is not shown yet: something that a person should see to, for which taking
    /// work away from the node would be no cure.
    pub fn note(&self, text: &'static str) -> Note {
        Note {
            text,
            notes: Arc::clone(&self.notes),
        }
    }

    /// The notes that are shown, in order.
    pub fn notes(&self) -> Vec<&'static str> {
        self.notes.lock().iter().copied().collect()
    }

    /// Whether the node should get new work.
    pub fn is_ready(&self) -> bool {
        self.drain.phase() == Phase::Running && all_hold(&self.states.borrow())
    }

    /// Waits until every condition holds. A drain is not looked at.
    pub async fn hold(&self) {
        let mut states = self.states.subscribe();
        // The sender lives as long as `self`.
        let _held = states.wait_for(all_hold).await;
    }

    /// The names of the conditions that do not hold, in order.
    pub fn missing(&self) -> Vec<&'static str> {
        let states = self.states.borrow();
        let missing = states.iter().filter(|(_, holds)| !**holds);
        missing.map(|(name, _)| *name).collect()
    }
}

/// The right to say whether one condition holds.
#[derive(Debug)]
pub struct Condition {
    name: &'static str,
    states: Arc<watch::Sender<States>>,
}

impl Condition {
    /// Says whether it holds now.
    pub fn set(&self, holds: bool) {
        self.states
            .send_if_modified(|states| states.insert(self.name, holds) != Some(holds));
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// The right to show one note. Clones share it.
#[derive(Clone, Debug)]
pub struct Note {
    text: &'static str,
    notes: Notes,
}

impl Note {
    /// Shows it, or takes it back.
    pub fn set(&self, shown: bool) {
        let mut notes = self.notes.lock();
        if shown {
            notes.insert(self.text);
        } else {
            notes.remove(self.text);
        }
    }
}

fn all_hold(states: &States) -> bool {
    states.values().all(|holds| *holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_only_while_every_condition_holds() {
        let readiness = Readiness::new(Drain::new());
        let (log, keys) = (readiness.condition("log"), readiness.condition("keys"));
        assert_eq!(readiness.missing(), ["keys", "log"]);
        log.set(true);
        assert!(!readiness.is_ready());
        keys.set(true);
        assert!(readiness.is_ready());
        readiness.hold().await;
        drop(log);
        assert_eq!(readiness.missing(), ["log"]);
        assert!(!readiness.is_ready());
    }

    #[test]
    fn notes_are_shown_and_change_nothing() {
        let readiness = Readiness::new(Drain::new());
        let note = readiness.note("certificate expired");
        assert!(readiness.notes().is_empty());
        note.set(true);
        note.clone().set(true);
        assert_eq!(readiness.notes(), ["certificate expired"]);
        assert!(readiness.is_ready());
        note.set(false);
        assert!(readiness.notes().is_empty());
    }

    #[test]
    fn a_drain_ends_readiness() {
        let drain = Drain::new();
        let readiness = Readiness::new(drain.clone());
        assert!(readiness.is_ready());
        drain.begin();
        assert!(!readiness.is_ready());
        assert!(readiness.missing().is_empty());
    }
}
