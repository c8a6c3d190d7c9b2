//! Campaign files: typed and strict, as scenario files are.

use std::path::Path;
use std::time::Duration;

use entente_engine::scenario::{ScenarioError, Wrong, span};
use entente_history::Minimums;
use serde::Deserialize;

use crate::faults::Faults;

/// The history's rule for the drain allows a minute after the heal; some of it is for goodbyes.
const AFTER_HEAL: Duration = Duration::from_secs(50);
/// More strikes than anybody waits for.
const MOST_ROUNDS: u32 = 100_000;

/// One campaign.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// What it models, for people.
    #[serde(default)]
    pub about: String,
    /// Where faults, load and payloads come from; 0 draws one, and the report names it.
    #[serde(default)]
    pub seed: u64,
    /// Rounds of faults; each ends healed.
    pub rounds: u32,
    /// Length of a round, beside what restarts take; where faults take turns, it is as long as they take.
    #[serde(with = "span")]
    pub round: Duration,
    /// Load before the first fault: ten seconds or more give latency something to come back to.
    #[serde(default = "calm", with = "span")]
    pub calm: Duration,
    /// Load after the last heal: twenty seconds or more show whether latency is back.
    #[serde(default = "recovery", with = "span")]
    pub recovery: Duration,
    /// How long what is under way at the end is waited for. The wait ends when nothing is.
    #[serde(default = "drain", with = "span")]
    pub drain: Duration,
    /// How soon who is away has to be called after a message for it was accepted. A cluster waits for the
    /// connections of an owner that died, and for a push node to take another's place.
    #[serde(default = "wake_within", with = "span")]
    pub wake_within: Duration,
    /// What load is made.
    pub load: Source,
    /// What happens to the process.
    pub faults: Faults,
    /// What must have happened for the campaign to prove anything.
    #[serde(default)]
    pub minimums: Minimums,
}

/// A scenario.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, or its file (from where the program runs).
    pub scenario: String,
    /// Keys that are set otherwise, as `load.rate=500`.
    #[serde(default)]
    pub set: Vec<String>,
}

const fn calm() -> Duration {
    Duration::from_secs(10)
}

const fn recovery() -> Duration {
    Duration::from_secs(20)
}

const fn drain() -> Duration {
    Duration::from_secs(30)
}

const fn wake_within() -> Duration {
    Duration::from_secs(10)
}

impl Campaign {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ScenarioError`], which names file, line and column.
    pub fn read(file: &Path) -> Result<Self, ScenarioError> {
        let name = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&name, &text),
            Err(source) => Err(ScenarioError::File { file: name, source }),
        }
    }

    /// The same from text; `file` is for errors.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let read = toml::from_str(text);
        let campaign: Self = read.map_err(|error| ScenarioError::toml(file, text, &error))?;
        match campaign.wrong() {
            Some(wrong) => Err(ScenarioError::value(file, text, wrong)),
            None => Ok(campaign),
        }
    }

    /// The first value that makes no sense.
    fn wrong(&self) -> Option<Wrong> {
        let faults = &self.faults;
        let checks = [
            (
                (1..=MOST_ROUNDS).contains(&self.rounds),
                "rounds",
                "must be 1 to 100000",
            ),
            (
                faults.gap.most() >= Duration::from_millis(1) && faults.gap.most() < self.round,
                "faults.gap",
                "must be at least 1ms and shorter than a round",
            ),
            (
                self.recovery + self.drain <= AFTER_HEAL,
                "drain",
                "must be at most 50s together with recovery: all has to drain within 60s of the heal",
            ),
        ];
        let told = |key: &str, what: &str| Wrong {
            key: key.to_owned(),
            what: what.to_owned(),
        };
        let failed = checks.iter().find(|(good, ..)| !good);
        let failed = failed.map(|(_, key, what)| told(key, what));
        failed.or_else(|| faults.wrong().map(|(key, what)| told(&key, what)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Kills;

    const GOOD: &str = "rounds = 2\nround = '5s'\n[load]\nscenario = 'pairs'\n[faults]\ngap = '1s'\n[faults.kill]\n";

    #[test]
    fn a_file_is_read_with_what_it_leaves_out() {
        let campaign = Campaign::parse("c.toml", GOOD).unwrap();
        assert_eq!(campaign.faults.kill, Some(Kills::default()));
        assert_eq!((campaign.faults.stop, campaign.seed), (None, 0));
        assert_eq!(campaign.calm, Duration::from_secs(10));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let cases = [
            (
                "rounds = 2",
                "runds = 2",
                "c.toml:1:1: unknown field `runds`",
            ),
            ("rounds = 2\n", "", "missing field `rounds`"),
            ("'5s'", "5", "c.toml:2:9: invalid type: integer"),
            (
                "'5s'",
                "'5 parsecs'",
                "c.toml:2:9: \"5 parsecs\" is no span",
            ),
            (
                "gap = '1s'",
                "gap = '2s..1s'",
                "c.toml:6:7: \"2s..1s\" is no span",
            ),
            ("gap = '1s'", "gap = '5s'", "c.toml:6: faults.gap: must be"),
            ("gap = '1s'", "gap = '0s'", "c.toml:6: faults.gap: must be"),
            (
                "[faults.kill]",
                "[faults.maim]",
                "c.toml:7:9: unknown field `maim`",
            ),
            (
                "[faults.kill]\n",
                "[faults.kill]\nsignal = 9\n",
                "c.toml:8:1: unknown field `signal`",
            ),
            ("[faults.kill]\n", "", "faults: name at least one kind"),
            (
                "[faults.kill]\n",
                "[faults.kill]\nweight = 0\n",
                "c.toml:8: faults.kill.weight: must be",
            ),
            (
                "[faults.kill]\n",
                "[faults.kill]\nweight = -1\n",
                "c.toml:8:10: invalid value",
            ),
            (
                "[faults.kill]\n",
                "[faults.cut]\nshare = 0.0\n",
                "c.toml:8: faults.cut.share: must be",
            ),
            (
                "[faults.kill]\n",
                "[faults.cut]\nshare = nan\n",
                "c.toml:8: faults.cut.share: must be",
            ),
            ("rounds = 2", "rounds = 0", "c.toml:1: rounds: must be"),
            (
                "rounds = 2",
                "rounds = 2\nrecovery = '40s'\ndrain = '20s'",
                "c.toml:3: drain: must be",
            ),
            (
                "[load]\n",
                "[minimums]\nkills = 3\n[load]\n",
                "c.toml:4:1: unknown field `kills`",
            ),
        ];
        for (old, new, wanted) in cases {
            assert!(GOOD.contains(old), "{old}");
            let said = Campaign::parse("c.toml", &GOOD.replacen(old, new, 1))
                .unwrap_err()
                .to_string();
            assert!(said.contains(wanted), "{new}: {said}");
        }
    }

    #[test]
    fn the_campaigns_of_the_repository_are_good() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../campaigns");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let campaign = Campaign::read(&file.unwrap().path()).unwrap();
            assert!(
                campaign.minimums != Minimums::default(),
                "{}",
                campaign.about
            );
            seen += 1;
        }
        assert_eq!(seen, 8);
    }
}
