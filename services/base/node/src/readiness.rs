//! Whether this node should get new work: a set of named conditions.
//!
//! **Invariants**
//! - Ready only while every condition holds and no drain has begun.
//! - A condition whose holder was dropped does not hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::{Drain, Phase};

type States = BTreeMap<&'static str, bool>;

/// The conditions of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Readiness {
    states: Arc<watch::Sender<States>>,
    drain: Drain,
}

impl Readiness {
    /// No conditions yet: ready until there are some, or the drain begins.
    pub fn new(drain: Drain) -> Self {
        Self {
            states: Arc::new(watch::Sender::new(States::new())),
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
    fn a_drain_ends_readiness() {
        let drain = Drain::new();
        let readiness = Readiness::new(drain.clone());
        assert!(readiness.is_ready());
        drain.begin();
        assert!(!readiness.is_ready());
        assert!(readiness.missing().is_empty());
    }
}
