//! What was sent, acknowledged and delivered, and whether the promises held.
//!
//! **Rules** (per pair of sender and recipient): every acknowledged message is delivered or failed;
//! none is delivered to the application twice; none out of order; none that was never sent.

use std::collections::{HashMap, HashSet};

type Pair = (usize, usize);

/// Events of one campaign, by the indexes of the users.
#[derive(Debug, Default)]
pub struct History {
    sent: HashMap<Pair, Vec<Box<str>>>,
    accepted: HashMap<Pair, HashSet<Box<str>>>,
    refused: HashMap<Pair, HashSet<Box<str>>>,
    delivered: HashMap<Pair, Vec<Box<str>>>,
    receipts: HashMap<Pair, HashSet<Box<str>>>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Messages given to devices.
    pub sent: usize,
    /// Covered by an `h`.
    pub accepted: usize,
    /// Answered with an error.
    pub refused: usize,
    /// Handed to applications.
    pub delivered: usize,
    /// Delivered receipts that came back.
    pub receipts: usize,
    /// Accepted, and neither delivered nor failed.
    pub lost: usize,
    /// Handed to the application more than once.
    pub duplicated: usize,
    /// Delivered after a later one of the same pair.
    pub out_of_order: usize,
    /// Delivered and never sent.
    pub invented: usize,
    /// Receipts for what the recipient's application does not have.
    pub dishonest: usize,
    /// The first few broken rules, with the messages around them.
    pub examples: Vec<String>,
}

/// Broken rules that are told in full.
const EXAMPLES: usize = 5;

impl Findings {
    /// Whether every promise held.
    pub const fn is_clean(&self) -> bool {
        let bad = self.lost + self.duplicated + self.out_of_order + self.invented + self.dishonest;
        bad == 0
    }

    fn example(&mut self, pair: Pair, rule: &str, id: &str, ids: &[Box<str>]) {
        if self.examples.len() < EXAMPLES {
            let at = ids
                .iter()
                .position(|other| **other == *id)
                .unwrap_or_default();
            let around: Vec<_> = ids.iter().skip(at.saturating_sub(6)).take(12).collect();
            self.examples.push(format!(
                "{rule}: {id} of {pair:?}, delivered around it {around:?}"
            ));
        }
    }
}

impl History {
    /// A message was given to a device.
    pub fn sent(&mut self, pair: Pair, id: Box<str>) {
        self.sent.entry(pair).or_default().push(id);
    }

    /// An `h` covered it.
    pub fn accepted(&mut self, pair: Pair, id: Box<str>) {
        self.accepted.entry(pair).or_default().insert(id);
    }

    /// An error or a failure notice came for it.
    pub fn refused(&mut self, pair: Pair, id: Box<str>) {
        self.refused.entry(pair).or_default().insert(id);
    }

    /// It was handed to the application.
    pub fn delivered(&mut self, pair: Pair, id: Box<str>) {
        self.delivered.entry(pair).or_default().push(id);
    }

    /// The gateway said that it reached the device.
    pub fn receipt(&mut self, pair: Pair, id: Box<str>) {
        self.receipts.entry(pair).or_default().insert(id);
    }

    /// Whether everything sent has come to its end: accepted or refused, and delivered if accepted.
    pub fn is_settled(&self) -> bool {
        self.sent.iter().all(|(pair, ids)| {
            let has = |map: &HashMap<Pair, HashSet<Box<str>>>, id| {
                map.get(pair).is_some_and(|ids| ids.contains(id))
            };
            let delivered: HashSet<_> = self.delivered.get(pair).into_iter().flatten().collect();
            ids.iter().all(|id| {
                has(&self.refused, id) || (has(&self.accepted, id) && delivered.contains(id))
            })
        })
    }

    /// Applies the rules.
    pub fn check(&self) -> Findings {
        let mut found = Findings::default();
        let none = HashSet::new();
        for (pair, ids) in &self.sent {
            let accepted = self.accepted.get(pair).unwrap_or(&none);
            let refused = self.refused.get(pair).unwrap_or(&none);
            let delivered: HashSet<_> = self.delivered.get(pair).into_iter().flatten().collect();
            found.sent += ids.len();
            found.accepted += accepted.len();
            found.refused += refused.len();
            for id in accepted {
                if !delivered.contains(id) && !refused.contains(id) {
                    found.lost += 1;
                    found.example(*pair, "lost", id, ids);
                }
            }
        }
        for (pair, ids) in &self.delivered {
            let place: HashMap<_, _> = self
                .sent
                .get(pair)
                .into_iter()
                .flatten()
                .enumerate()
                .map(|(place, id)| (id, place))
                .collect();
            let (mut seen, mut newest) = (HashSet::new(), None);
            for id in ids {
                found.delivered += 1;
                if !seen.insert(id) {
                    found.duplicated += 1;
                    continue;
                }
                match place.get(id) {
                    None => found.invented += 1,
                    Some(place) if newest.is_some_and(|newest| *place < newest) => {
                        found.out_of_order += 1;
                        found.example(*pair, "out of order", id, ids);
                    }
                    Some(place) => newest = Some(*place),
                }
            }
            let receipts = self.receipts.get(pair).unwrap_or(&none);
            found.dishonest += receipts.iter().filter(|id| !seen.contains(id)).count();
        }
        found.receipts = self.receipts.values().map(HashSet::len).sum();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Pair = (0, 1);

    fn clean() -> History {
        let mut history = History::default();
        for id in ["a", "b", "c"] {
            history.sent(PAIR, id.into());
            history.accepted(PAIR, id.into());
            history.delivered(PAIR, id.into());
            history.receipt(PAIR, id.into());
        }
        history
    }

    #[test]
    fn a_clean_history_is_clean() {
        let found = clean().check();
        assert!(found.is_clean() && clean().is_settled(), "{found:?}");
        assert_eq!((found.sent, found.accepted, found.delivered), (3, 3, 3));
    }

    #[test]
    fn each_fault_is_found_by_its_rule() {
        let mut lost = clean();
        lost.sent(PAIR, "d".into());
        lost.accepted(PAIR, "d".into());
        assert_eq!(lost.check().lost, 1);
        assert!(!lost.is_settled());
        lost.refused(PAIR, "d".into());
        assert_eq!(lost.check().lost, 0, "a failure notice is an end too");
        let mut doubled = clean();
        doubled.delivered(PAIR, "a".into());
        assert_eq!(doubled.check().duplicated, 1);
        let mut invented = clean();
        invented.delivered(PAIR, "x".into());
        assert_eq!(invented.check().invented, 1);
        let mut swapped = History::default();
        for id in ["a", "b"] {
            swapped.sent(PAIR, id.into());
        }
        for id in ["b", "a"] {
            swapped.delivered(PAIR, id.into());
        }
        assert_eq!(swapped.check().out_of_order, 1);
        let mut early = clean();
        early.sent(PAIR, "e".into());
        early.receipt(PAIR, "e".into());
        assert_eq!(early.check().dishonest, 1);
    }
}
