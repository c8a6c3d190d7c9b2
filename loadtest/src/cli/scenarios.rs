//! The scenarios that are built in.

/// Their names and texts, in the order in which one meets them.
pub const SCENARIOS: &[(&str, &str)] = &[
    ("mixed", include_str!("../../scenarios/mixed.toml")),
    ("pairs", include_str!("../../scenarios/pairs.toml")),
    ("fan-in", include_str!("../../scenarios/fan-in.toml")),
    ("fan-out", include_str!("../../scenarios/fan-out.toml")),
    (
        "offline-burst",
        include_str!("../../scenarios/offline-burst.toml"),
    ),
    (
        "login-storm",
        include_str!("../../scenarios/login-storm.toml"),
    ),
    (
        "login-spike",
        include_str!("../../scenarios/login-spike.toml"),
    ),
    (
        "reconnect-storm",
        include_str!("../../scenarios/reconnect-storm.toml"),
    ),
    ("idle", include_str!("../../scenarios/idle.toml")),
    ("prekeys", include_str!("../../scenarios/prekeys.toml")),
    (
        "slow-readers",
        include_str!("../../scenarios/slow-readers.toml"),
    ),
    (
        "noisy-partner",
        include_str!("../../scenarios/noisy-partner.toml"),
    ),
];

/// Scenarios that people ask for and that nothing can serve yet, with the reason.
pub(super) const UNSERVED: &[(&str, &str)] = &[(
    "media",
    "the gateway has no media role yet: nothing takes uploads, fetches or relays media, so there is \
     nothing to load. Stanzas of the size of a thumbnail are in `mixed` (load.sizes)",
)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_the_repository_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| {
                file.unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        names.sort();
        let mut known: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        assert_eq!(names, known);
    }
}
