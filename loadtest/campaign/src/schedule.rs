//! What happens when: drawn from a campaign and its seed, before anything happens.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::between::Between;
use crate::faults::{Faults, Kind};
use crate::file::Campaign;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deed {
    /// This share of the connections breaks.
    Cut(f64),
    /// SIGKILL; a start when it is over.
    Kill,
    /// SIGTERM and an orderly end; a start when it is over.
    Restart,
    /// SIGSTOP; SIGCONT when it is over.
    Stop,
    /// This share of the connections is left open for so long while their devices come back.
    Zombie {
        /// Share of the connections.
        share: f64,
        /// From the return of a device to the end of its old connection.
        lingers: Duration,
    },
}

impl Deed {
    /// As a campaign file and a history call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Zombie { .. } => "zombie",
        }
    }

    /// What it takes beyond the time that it lasts.
    const fn lingers(self) -> Duration {
        match self {
            Self::Zombie { lingers, .. } => lingers,
            Self::Cut(_) | Self::Kill | Self::Restart | Self::Stop => Duration::ZERO,
        }
    }
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strike {
    /// Time since the begin of the round, or since the fault before was over.
    pub gap: Duration,
    /// What is done.
    pub deed: Deed,
    /// How long until it is undone; for a cut, over how long connections come back.
    pub lasts: Duration,
}

/// Draws the faults of each round. A round has at least one.
pub fn schedule(campaign: &Campaign, seed: u64) -> Vec<Vec<Strike>> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..campaign.rounds)
        .map(|_| round(campaign, &mut rng))
        .collect()
}

fn round(campaign: &Campaign, rng: &mut StdRng) -> Vec<Strike> {
    let faults = &campaign.faults;
    let kinds = kinds(faults, rng);
    let mut strikes = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        let gap = faults.gap.draw(rng);
        at += gap;
        if at >= campaign.round {
            return strikes;
        }
        let Some((deed, between)) = pick(&kinds, rng) else {
            return strikes;
        };
        let lasts = between.draw(rng);
        at += lasts + deed.lingers();
        strikes.push(Strike { gap, deed, lasts });
    }
}

/// The kinds that may happen in a round.
fn kinds(faults: &Faults, rng: &mut StdRng) -> Vec<Kind> {
    let all = faults.kinds();
    if !faults.swarm || all.is_empty() {
        return all;
    }
    loop {
        let some: Vec<Kind> = all.iter().copied().filter(|_| rng.random()).collect();
        if !some.is_empty() {
            return some;
        }
    }
}

fn pick(kinds: &[Kind], rng: &mut StdRng) -> Option<(Deed, Between)> {
    let total: u64 = kinds.iter().map(|(weight, ..)| u64::from(*weight)).sum();
    let mut left = rng.random_range(0..total.max(1));
    for (weight, deed, between) in kinds {
        match left.checked_sub((*weight).into()) {
            Some(rest) => left = rest,
            None => return Some((*deed, *between)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn swarm(rounds: u32) -> Campaign {
        let text = format!(
            "rounds = {rounds}\nround = '20s'\n[load]\nscenario = 'pairs'\n[faults]\ngap = '200ms..2s'\nswarm = true\n\
             [faults.cut]\nweight = 4\n[faults.kill]\n[faults.restart]\n[faults.stop]\n[faults.zombie]\n"
        );
        Campaign::parse("swarm", &text).unwrap()
    }

    #[test]
    fn a_seed_gives_the_same_faults_again_and_another_one_others() {
        for seed in [1, 2, 0x5eed] {
            let first = schedule(&swarm(20), seed);
            assert_eq!(first, schedule(&swarm(20), seed), "seed {seed}");
            assert_ne!(first, schedule(&swarm(20), seed + 1), "seed {seed}");
            // More rounds begin with the same ones.
            assert_eq!(first, schedule(&swarm(30), seed)[..20], "seed {seed}");
        }
    }

    #[test]
    fn rounds_keep_their_length_and_a_swarm_takes_parts_of_the_kinds() {
        let rounds = schedule(&swarm(60), 7);
        let mut parts = BTreeSet::new();
        for strikes in &rounds {
            assert!(!strikes.is_empty());
            let begun: Duration = strikes.iter().map(|strike| strike.gap + strike.lasts).sum();
            assert!(begun < Duration::from_secs(23), "{begun:?}");
            for strike in strikes {
                assert!(
                    (200..=2_000).contains(&strike.gap.as_millis()),
                    "{strike:?}"
                );
            }
            let names: BTreeSet<_> = strikes.iter().map(|strike| strike.deed.name()).collect();
            parts.insert(names);
        }
        assert!(parts.len() >= 8, "{parts:?}");
    }

    #[test]
    fn weights_tell_how_often() {
        let mut campaign = swarm(60);
        campaign.faults.swarm = false;
        let all: Vec<Strike> = schedule(&campaign, 7).concat();
        let cuts = all
            .iter()
            .filter(|strike| strike.deed.name() == "cut")
            .count();
        // Four of eight.
        let share = cuts * 100 / all.len();
        assert!((43..58).contains(&share), "{cuts} of {}", all.len());
    }
}
