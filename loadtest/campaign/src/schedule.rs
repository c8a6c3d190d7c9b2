//! What happens when: drawn from a campaign and its seed, before anything happens.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::between::Between;
use crate::cluster::{self, Act, Role};
use crate::faults::{Faults, Kind, Turn};
use crate::file::Campaign;
use crate::parting::{Pair, Ways};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deed {
    /// Syncs fail until the process has ended; a start when it is over.
    BrokenSync,
    /// This share of the connections breaks.
    Cut(f64),
    /// Bytes take the drawn time each way, and this share of them is lost and sent again.
    Delay(f64),
    /// The disk of the log is full.
    FullDisk,
    /// SIGKILL; a start when it is over.
    Kill,
    /// Something is done to a member of a cluster.
    Member(Act, Role),
    /// Nothing passes between two members of a cluster.
    Parted(Pair, Ways),
    /// Nothing passes between clients and the process.
    Partition,
    /// SIGTERM and an orderly end; a start when it is over.
    Restart,
    /// The process's wall clock is ahead by the drawn time, or behind.
    Skew,
    /// Each sync takes the drawn time longer.
    SlowSync,
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

/// What a fault happens to: faults of one follow each other, those of two may be on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Track {
    Clients,
    Machine,
    Network,
    Process,
    Edges,
    Routers,
    Services,
    Brokers,
    Hints,
    Links,
}

const TRACKS: [Track; 10] = [
    Track::Clients,
    Track::Machine,
    Track::Network,
    Track::Process,
    Track::Edges,
    Track::Routers,
    Track::Services,
    Track::Brokers,
    Track::Hints,
    Track::Links,
];

impl Deed {
    /// As a campaign file and a history call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BrokenSync => "broken-sync",
            Self::Cut(_) => "cut",
            Self::Delay(_) => "delay",
            Self::FullDisk => "full-disk",
            Self::Kill => "kill",
            Self::Member(act, role) => cluster::name(act, role),
            Self::Parted(pair, ways) => pair.name(ways),
            Self::Partition => "partition",
            Self::Restart => "restart",
            Self::Skew => "skew",
            Self::SlowSync => "slow-sync",
            Self::Stop => "stop",
            Self::Zombie { .. } => "zombie",
        }
    }

    pub(crate) const fn track(self) -> Track {
        match self {
            Self::Cut(_) | Self::Zombie { .. } => Track::Clients,
            Self::FullDisk | Self::Skew | Self::SlowSync => Track::Machine,
            Self::Delay(_) | Self::Partition => Track::Network,
            Self::BrokenSync | Self::Kill | Self::Restart | Self::Stop => Track::Process,
            Self::Member(_, Role::Connection) => Track::Edges,
            Self::Member(_, Role::Router) => Track::Routers,
            Self::Member(_, Role::Identity | Role::Push) => Track::Services,
            Self::Member(_, Role::Broker) => Track::Brokers,
            Self::Member(_, Role::Redis) => Track::Hints,
            Self::Parted(..) => Track::Links,
        }
    }

    /// What it takes beyond the time that it lasts.
    const fn lingers(self) -> Duration {
        match self {
            Self::Zombie { lingers, .. } => lingers,
            _ => Duration::ZERO,
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
    /// By how much, if the deed has a measure; else zero.
    pub by: Duration,
    /// Whether a clock is behind by that, and not ahead.
    pub behind: bool,
    /// Which of the members of a role, counted around, or which two; else zero.
    pub member: u32,
}

/// A round: sequences of faults that happen beside each other; one, unless they may overlap.
pub type Round = Vec<Vec<Strike>>;

/// Draws the faults of each round. A round has at least one.
pub fn schedule(campaign: &Campaign, seed: u64) -> Vec<Round> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..campaign.rounds)
        .map(|number| match &*campaign.faults.turns {
            [] => round(campaign, &mut rng),
            turns => vec![in_turn(turns, campaign.faults.gap, number, &mut rng)],
        })
        .collect()
}

/// Everybody's turn; in each round at other members.
fn in_turn(turns: &[Turn], gap: Between, round: u32, rng: &mut StdRng) -> Vec<Strike> {
    let times = turns
        .iter()
        .flat_map(|turn| (0..turn.times).map(move |time| (turn, time)));
    let strike = |(turn, time): (&Turn, u32)| Strike {
        gap: gap.draw(rng),
        deed: Deed::Member(turn.act, turn.role),
        lasts: turn.time.draw(rng),
        by: Duration::ZERO,
        behind: false,
        member: round.wrapping_mul(turn.times).wrapping_add(time),
    };
    times.map(strike).collect()
}

fn round(campaign: &Campaign, rng: &mut StdRng) -> Round {
    let kinds = kinds(&campaign.faults, rng);
    if !campaign.faults.overlap {
        return vec![sequence(campaign, &kinds, rng)];
    }
    let of = |track| {
        let kinds = kinds.iter().copied();
        kinds.filter(move |kind: &Kind| kind.deed.track() == track)
    };
    TRACKS
        .into_iter()
        .map(|track| of(track).collect::<Vec<_>>())
        .filter(|kinds| !kinds.is_empty())
        .map(|kinds| sequence(campaign, &kinds, rng))
        .collect()
}

/// Faults that follow each other for as long as a round lasts.
fn sequence(campaign: &Campaign, kinds: &[Kind], rng: &mut StdRng) -> Vec<Strike> {
    let mut strikes = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        let gap = campaign.faults.gap.draw(rng);
        at += gap;
        if at >= campaign.round {
            return strikes;
        }
        let Some(kind) = pick(kinds, rng) else {
            return strikes;
        };
        let (deed, lasts) = (kind.deed, kind.lasts.draw(rng));
        let by = kind.by.map_or(Duration::ZERO, |by| by.draw(rng));
        at += lasts + deed.lingers();
        strikes.push(Strike {
            gap,
            deed,
            lasts,
            by,
            behind: deed == Deed::Skew && rng.random(),
            member: match deed {
                Deed::Member(..) | Deed::Parted(..) => rng.random(),
                _ => 0,
            },
        });
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

fn pick(kinds: &[Kind], rng: &mut StdRng) -> Option<Kind> {
    let total: u64 = kinds.iter().map(|kind| u64::from(kind.weight)).sum();
    let mut left = rng.random_range(0..total.max(1));
    for kind in kinds {
        match left.checked_sub(kind.weight.into()) {
            Some(rest) => left = rest,
            None => return Some(*kind),
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
        for strikes in &rounds.concat() {
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
    fn what_overlaps_happens_to_different_things() {
        let text = "rounds = 30\nround = '5s'\n[load]\nscenario = 'pairs'\n[faults]\ngap = '100ms..1s'\noverlap = true\n\
             [faults.cut]\n[faults.kill]\n[faults.stop]\n[faults.partition]\n[faults.delay]\n\
             [faults.full-disk]\n[faults.skew]\nby = '5s..9s'\ntime = '1s'\n";
        let campaign = Campaign::parse("overlap", text).unwrap();
        assert!(campaign.faults.needs_preload() && campaign.faults.needs_proxy());
        let (mut ahead, mut behind) = (0, 0);
        for round in schedule(&campaign, 7) {
            assert_eq!(round.len(), 4, "clients, machine, network, process");
            for strikes in round {
                let tracks: Vec<_> = strikes.iter().map(|it| it.deed.track()).collect();
                assert!(tracks.iter().all(|track| Some(track) == tracks.first()));
                for strike in strikes {
                    let drawn = matches!(strike.deed, Deed::Delay(_) | Deed::Skew);
                    assert_eq!(drawn, strike.by > Duration::ZERO, "{strike:?}");
                    let skew = strike.deed == Deed::Skew;
                    ahead += u32::from(skew && !strike.behind);
                    behind += u32::from(strike.behind);
                }
            }
        }
        assert!(ahead > 10 && behind > 10, "{ahead} ahead, {behind} behind");
    }

    #[test]
    fn turns_come_in_order_and_go_through_the_members() {
        let text = "rounds = 2\nround = '5s'\n[load]\nscenario = 'pairs'\n[faults]\ngap = '1s'\n\
             [[faults.turns]]\nact = 'restart'\nrole = 'router'\ntimes = 3\ntime = '0s'\n\
             [[faults.turns]]\nact = 'kill'\nrole = 'broker'\ntime = '2s'\n";
        let campaign = Campaign::parse("turns", text).unwrap();
        assert!(campaign.faults.needs_cluster() && !campaign.faults.needs_process());
        let told = |strikes: &[Strike]| -> Vec<_> {
            let one = |it: &Strike| (it.deed.name(), it.member, it.lasts.as_secs());
            strikes.iter().map(one).collect()
        };
        let rounds = schedule(&campaign, 1);
        let wanted = [
            [
                ("restart-router", 0, 0),
                ("restart-router", 1, 0),
                ("restart-router", 2, 0),
                ("kill-broker", 0, 2),
            ],
            [
                ("restart-router", 3, 0),
                ("restart-router", 4, 0),
                ("restart-router", 5, 0),
                ("kill-broker", 1, 2),
            ],
        ];
        for (round, wanted) in rounds.iter().zip(wanted) {
            assert_eq!(round.len(), 1);
            assert_eq!(told(&round[0]), wanted);
        }
        for (wrong, said) in [
            ("times = 3", "must be at least 1"),
            ("[faults]\n", "not both"),
        ] {
            let with = match said {
                "not both" => "[faults]\ncut = {}\n",
                _ => "times = 0",
            };
            let error = Campaign::parse("turns", &text.replace(wrong, with)).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn weights_tell_how_often() {
        let mut campaign = swarm(60);
        campaign.faults.swarm = false;
        let all: Vec<Strike> = schedule(&campaign, 7).concat().concat();
        let cuts = all
            .iter()
            .filter(|strike| strike.deed.name() == "cut")
            .count();
        // Four of eight.
        let share = cuts * 100 / all.len();
        assert!((43..58).contains(&share), "{cuts} of {}", all.len());
    }
}
