//! Sets of shards as people write them: `0-3,7`.

use std::collections::BTreeSet;
use std::fmt;

use entente_core::ShardId;
use serde::{Deserialize, Serialize};

/// Shards that a router node owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shards(BTreeSet<u32>);

/// Text that names no shards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no shards: numbers and ranges such as `0-3,7`")]
pub struct ShardsError(String);

/// Above any number of shards that a deployment may have.
const MOST: u32 = 1_024;

impl Shards {
    /// Each of them, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = ShardId> {
        self.0.iter().copied().map(ShardId::new)
    }

    /// The shards of the part `at` of `parts` equal ones.
    pub fn part(shards: u32, at: u32, parts: u32) -> Self {
        let parts = parts.max(1);
        Self((0..shards).filter(|shard| shard % parts == at).collect())
    }
}

impl TryFrom<String> for Shards {
    type Error = ShardsError;

    fn try_from(text: String) -> Result<Self, ShardsError> {
        let number = |text: &str| -> Option<u32> {
            let number: u32 = text.trim().parse().ok()?;
            (number < MOST).then_some(number)
        };
        let mut shards = BTreeSet::new();
        for part in text.split(',') {
            let range = match part.split_once('-') {
                Some((first, last)) => number(first).zip(number(last)),
                None => number(part).map(|one| (one, one)),
            };
            match range {
                Some((first, last)) if first <= last => shards.extend(first..=last),
                _ => return Err(ShardsError(text)),
            }
        }
        Ok(Self(shards))
    }
}

impl From<Shards> for String {
    fn from(shards: Shards) -> Self {
        shards.to_string()
    }
}

impl fmt::Display for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shards = self.0.iter().copied().peekable();
        let mut between = "";
        while let Some(first) = shards.next() {
            let mut last = first;
            while let Some(next) = shards.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last {
                last if last == first => write!(f, "{between}{first}")?,
                last => write!(f, "{between}{first}-{last}")?,
            }
            between = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_are_read_and_written() {
        for (text, wanted) in [
            ("0", "0"),
            ("0-3,7", "0-3,7"),
            ("7,2,1, 0", "0-2,7"),
            ("4-4,5", "4-5"),
        ] {
            let shards = Shards::try_from(text.to_owned()).unwrap();
            assert_eq!(shards.to_string(), wanted);
        }
        for bad in ["", "a", "3-1", "1-", "-1", "1024", "0-9999999"] {
            assert!(Shards::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_are_of_one_size_and_cover_everything() {
        let parts: Vec<_> = (0..3).map(|at| Shards::part(8, at, 3)).collect();
        let texts: Vec<_> = parts.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["0,3,6", "1,4,7", "2,5"]);
    }
}
