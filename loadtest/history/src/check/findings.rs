//! Broken rules: all counted, the first of each kept and told with their lines.

use std::collections::BTreeMap;

use super::record::Spot;
use crate::event::Event;
use crate::line::Line;
use crate::read::{ReadError, Reader};
use crate::verdict::{Finding, RULES, Rule, Tally, Witness};

pub(super) struct Findings {
    most: usize,
    tallies: [Tally; RULES.len()],
    kept: Vec<Kept>,
}

struct Kept {
    rule: Rule,
    what: String,
    spots: Vec<Spot>,
}

/// Lines shown with one finding.
const SPOTS: usize = 16;

impl Findings {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            tallies: [Tally::default(); RULES.len()],
            kept: Vec::new(),
        }
    }

    fn tally(&mut self, rule: Rule) -> Option<&mut Tally> {
        self.tallies.get_mut(rule as usize)
    }

    /// A case was judged.
    pub(super) fn judged(&mut self, rule: Rule, cases: u64) {
        if let Some(tally) = self.tally(rule) {
            tally.judged += cases;
        }
    }

    /// A case could not be judged.
    pub(super) fn unjudged(&mut self, rule: Rule) {
        if let Some(tally) = self.tally(rule) {
            tally.unjudged += 1;
        }
    }

    /// A case broke the rule. Its story is made only if it is kept.
    pub(super) fn broken(&mut self, rule: Rule, story: impl FnOnce() -> (String, Vec<Spot>)) {
        let most = self.most;
        let Some(tally) = self.tally(rule) else {
            return;
        };
        tally.broken += 1;
        if tally.broken <= u64::try_from(most).unwrap_or(u64::MAX) {
            let (what, mut spots) = story();
            spots.retain(|spot| spot.line > 0);
            spots.sort_unstable();
            spots.dedup();
            spots.truncate(SPOTS);
            self.kept.push(Kept { rule, what, spots });
        }
    }

    pub(super) fn tallies(&self) -> BTreeMap<Rule, Tally> {
        RULES.into_iter().zip(self.tallies).collect()
    }

    /// Looks the lines up and tells the stories. Reads the files that have any once more.
    pub(super) fn tell(mut self, files: &[std::path::PathBuf]) -> Result<Vec<Finding>, ReadError> {
        self.kept
            .sort_by(|a, b| (a.rule, &a.spots, &a.what).cmp(&(b.rule, &b.spots, &b.what)));
        let mut wanted: Vec<_> = self
            .kept
            .iter()
            .flat_map(|kept| &kept.spots)
            .copied()
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut texts = BTreeMap::new();
        let mut sources = BTreeMap::new();
        for (number, path) in (0_u16..).zip(files) {
            let lines: Vec<_> = wanted
                .iter()
                .filter(|spot| spot.file == number)
                .map(|spot| spot.line)
                .collect();
            let mut reader = Reader::open(path)?;
            let header = reader.header();
            sources.insert(number, (header.process.clone(), header.seed));
            let mut lines = lines.into_iter().peekable();
            while lines.peek().is_some() && reader.next_event()?.is_some() {
                if lines
                    .next_if(|line| u64::from(*line) == reader.line())
                    .is_some()
                {
                    let line = u32::try_from(reader.line()).unwrap_or(u32::MAX);
                    let text = String::from_utf8_lossy(reader.text()).into_owned();
                    texts.insert(Spot { file: number, line }, text);
                }
            }
        }
        let tell = |kept: Kept| {
            let source = |file| sources.get(&file).cloned().unwrap_or_default();
            let events: Vec<_> = kept
                .spots
                .iter()
                .map(|spot| Witness {
                    process: source(spot.file).0,
                    line: u64::from(spot.line),
                    text: texts.get(spot).cloned().unwrap_or_default(),
                })
                .collect();
            Finding {
                rule: kept.rule,
                what: kept.what,
                ids: ids(&events),
                events,
                seed: source(kept.spots.first().map_or(0, |spot| spot.file)).1,
            }
        };
        Ok(self.kept.into_iter().map(tell).collect())
    }
}

/// The ids in some lines, each once.
fn ids(events: &[Witness]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for witness in events {
        let Ok(line) = Line::parse(witness.text.as_bytes()) else {
            continue;
        };
        let id = match &line.event {
            Event::Deliver(it) => &it.id,
            Event::Fail(it) => &it.id,
            Event::Info(it) => &it.id,
            Event::Invoke(it) => &it.id,
            Event::Notice(it) => &it.id,
            Event::Ok(it) => &it.id,
            Event::Receipt(it) => &it.id,
            _ => continue,
        };
        let id = id.to_string();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}
