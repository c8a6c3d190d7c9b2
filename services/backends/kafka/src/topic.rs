//! What a topic must be like, and how one that is there differs from it.
//!
//! In: what the cluster says of a topic. Out: nothing, or every difference with found and wanted.

use std::collections::BTreeMap;
use std::fmt;

use crate::Settings;

/// Room in a request beside its records, for whatever framing a protocol version adds.
const FRAMING_BYTES: usize = 16 * 1024;

/// What a topic must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRules {
    /// Its name.
    pub name: String,
    /// How many partitions, fixed when it is made: records are placed by their number.
    pub partitions: u32,
    /// Copies of each.
    pub replicas: u16,
    settings: Vec<(&'static str, Wanted)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    AtLeast(u64),
    Exactly(String),
}

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What.
    pub setting: &'static str,
    /// As it is; `nothing` if the cluster does not say.
    pub found: String,
    /// As it must be.
    pub wanted: String,
}

/// All that is not as it must be; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differences(pub Vec<Difference>);

impl TopicRules {
    /// The rules for a log: nothing goes but by a raised floor, and the brokers stamp the time.
    pub fn of_log(settings: &Settings, suffix: &str, partitions: u32) -> Self {
        let exactly = |value: &str| Wanted::Exactly(value.to_owned());
        let largest = u64::try_from(request_bytes(settings)).unwrap_or(u64::MAX);
        let rules = vec![
            ("cleanup.policy", exactly("delete")),
            ("compression.type", exactly("producer")),
            ("max.message.bytes", Wanted::AtLeast(largest)),
            ("message.timestamp.type", exactly("LogAppendTime")),
            (
                "min.insync.replicas",
                exactly(&settings.min_insync.to_string()),
            ),
            ("retention.bytes", exactly("-1")),
            ("retention.ms", exactly("-1")),
            ("unclean.leader.election.enable", exactly("false")),
        ];
        Self {
            name: format!("{}.{suffix}", settings.prefix),
            partitions,
            replicas: settings.replicas,
            settings: rules,
        }
    }

    /// The settings to make the topic with.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.settings
            .iter()
            .map(|(name, wanted)| (*name, wanted.value()))
    }

    /// Holds a topic against the rules. `replicas` is the least number of copies of any partition.
    ///
    /// # Errors
    /// Every [`Difference`].
    pub fn compare(
        &self,
        partitions: usize,
        replicas: usize,
        found: &BTreeMap<String, String>,
    ) -> Result<(), Differences> {
        let mut differences = Vec::new();
        let mut differ = |setting, found: String, wanted: String| {
            differences.push(Difference {
                setting,
                found,
                wanted,
            });
        };
        if u32::try_from(partitions) != Ok(self.partitions) {
            differ(
                "partitions",
                partitions.to_string(),
                self.partitions.to_string(),
            );
        }
        if replicas < usize::from(self.replicas) {
            let wanted = format!("at least {}", self.replicas);
            differ("replication.factor", replicas.to_string(), wanted);
        }
        for (name, wanted) in &self.settings {
            let value = found.get(*name);
            if !value.is_some_and(|value| wanted.holds(value)) {
                let found = value.map_or_else(|| "nothing".to_owned(), Clone::clone);
                differ(name, found, wanted.to_string());
            }
        }
        if differences.is_empty() {
            Ok(())
        } else {
            Err(Differences(differences))
        }
    }
}

/// Bytes of a request with the longest record that a log takes. A producer may go one record beyond
/// what it was told.
pub(crate) fn request_bytes(settings: &Settings) -> usize {
    2 * message_bytes(settings)
}

/// Bytes that a producer is told a message may have.
pub(crate) fn message_bytes(settings: &Settings) -> usize {
    settings.record.get() + FRAMING_BYTES
}

impl Wanted {
    fn value(&self) -> String {
        match self {
            Self::AtLeast(value) => value.to_string(),
            Self::Exactly(value) => value.clone(),
        }
    }

    fn holds(&self, found: &str) -> bool {
        match self {
            Self::AtLeast(value) => found.parse::<u64>().is_ok_and(|found| found >= *value),
            Self::Exactly(value) => found == value,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(value) => write!(f, "at least {value}"),
            Self::Exactly(value) => f.write_str(value),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            found,
            wanted,
        } = self;
        write!(f, "{setting} is {found}, wanted {wanted}")
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, difference) in self.0.iter().enumerate() {
            write!(f, "{}{difference}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> TopicRules {
        TopicRules::of_log(&Settings::from_url("kafka://b:1/p").unwrap(), "input", 8)
    }

    fn made(rules: &TopicRules) -> BTreeMap<String, String> {
        rules
            .settings()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    #[test]
    fn a_topic_made_by_the_rules_keeps_them() {
        let rules = rules();
        assert_eq!(rules.name, "p.input");
        rules.compare(8, 3, &made(&rules)).unwrap();
        let mut larger = made(&rules);
        larger.insert("max.message.bytes".to_owned(), "99999999".to_owned());
        rules.compare(8, 5, &larger).unwrap();
    }

    /// T147: a topic that could lose what it acknowledged is refused, with every setting named.
    #[test]
    fn each_difference_is_named_with_found_and_wanted() {
        let rules = rules();
        for (name, value) in rules.settings() {
            let mut found = made(&rules);
            found.insert(name.to_owned(), "1".to_owned());
            let said = rules.compare(8, 3, &found).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{name} is 1, wanted ")), "{said}");
            assert!(said.ends_with(&value), "{said}");
        }
        let said = rules.compare(4, 1, &BTreeMap::new()).unwrap_err();
        assert_eq!(said.0.len(), 2 + rules.settings().count());
        let said = said.to_string();
        assert!(said.starts_with("partitions is 4, wanted 8; replication.factor is 1, wanted at "));
        assert!(
            said.contains("; retention.ms is nothing, wanted -1; "),
            "{said}"
        );
    }
}
