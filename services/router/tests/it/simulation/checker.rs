//! What happened in one run, and whether the promises held.

use std::collections::{BTreeMap, BTreeSet};

/// What became of one stanza.
#[derive(Debug, Default)]
struct Stanza {
    from: usize,
    to: usize,
    accepted: bool,
    /// The `h` that covered it was that of a resume, behind which lost errors come again.
    by_resume: bool,
    refused: bool,
    delivered: bool,
    acknowledged: bool,
    notices: usize,
    receipts: usize,
}

/// The history of one run. Stanzas are numbered in the order in which they were first sent.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    stanzas: Vec<Stanza>,
    /// The last stanza delivered for the first time, for each pair.
    newest: BTreeMap<(usize, usize), usize>,
    pub(crate) kills: usize,
    pub(crate) resumes: usize,
    pub(crate) repeats: usize,
    /// Sessions that another owner, or the same one, took from a report.
    pub(crate) reattached: usize,
    /// Connections that the gateway closed since the log was full.
    pub(crate) parked: usize,
}

impl Checker {
    pub(crate) fn invoke(&mut self, from: usize, to: usize) -> usize {
        self.stanzas.push(Stanza {
            from,
            to,
            ..Stanza::default()
        });
        self.stanzas.len() - 1
    }

    pub(crate) fn accepted(&mut self, id: usize, by_resume: bool) {
        let stanza = &mut self.stanzas[id];
        assert!(!stanza.refused, "R2: {id} was refused and accepted");
        stanza.by_resume = by_resume;
        stanza.accepted = true;
    }

    pub(crate) fn refused(&mut self, id: usize) {
        let stanza = &mut self.stanzas[id];
        let in_time = !stanza.accepted || stanza.by_resume;
        assert!(in_time, "R2: the error of {id} came after its h");
        assert!(!stanza.delivered, "R2: {id} was refused and delivered");
        stanza.refused = true;
    }

    /// A stanza reached a device; `on_this` are those that this connection brought before.
    pub(crate) fn delivered(&mut self, to: usize, id: usize, on_this: &mut BTreeSet<usize>) {
        let stanza = &mut self.stanzas[id];
        assert_eq!(stanza.to, to, "R2: {id} went astray");
        assert!(!stanza.refused, "R2: {id} was refused and delivered");
        assert!(on_this.insert(id), "R3: {id} twice on one connection");
        if stanza.delivered {
            self.repeats += 1;
            return;
        }
        stanza.delivered = true;
        let newest = self.newest.entry((stanza.from, to)).or_insert(id);
        assert!(*newest <= id, "R4: {id} came after {newest}");
        *newest = (*newest).max(id);
    }

    pub(crate) fn acknowledged(&mut self, id: usize) {
        self.stanzas[id].acknowledged = true;
    }

    pub(crate) fn receipt(&mut self, of: usize, id: usize) {
        let stanza = &mut self.stanzas[id];
        assert_eq!(stanza.from, of, "R10: the receipt of {id} went astray");
        assert!(stanza.acknowledged, "R10: {id} was not acknowledged");
        stanza.receipts += 1;
    }

    pub(crate) fn notice(&mut self, id: usize) {
        self.stanzas[id].notices += 1;
    }

    /// How many were refused.
    pub(crate) fn refusals(&self) -> usize {
        self.stanzas.iter().filter(|stanza| stanza.refused).count()
    }

    /// What is accepted and not yet where it belongs.
    pub(crate) fn missing(&self) -> Vec<usize> {
        let missing = |stanza: &Stanza| {
            let owed = stanza.accepted && !stanza.refused;
            owed && !stanza.delivered && stanza.notices == 0
        };
        let all = self.stanzas.iter().enumerate();
        all.filter(|(_, s)| missing(s)).map(|(id, _)| id).collect()
    }

    /// R1, and what must hold at the end.
    pub(crate) fn finish(&self) {
        assert_eq!(self.missing(), [0; 0], "R1: accepted and lost");
        for (id, stanza) in self.stanzas.iter().enumerate() {
            assert!(
                stanza.accepted || stanza.refused,
                "{id} has no outcome at all"
            );
            assert!(stanza.notices <= 1, "R1: {id} failed twice");
        }
    }
}
