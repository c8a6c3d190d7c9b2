//! The lines of a file: a header, events, and seals over what came before.
//!
//! An event's line is `{"at":NANOSECONDS,"KIND":{..}}`; `at` counts from the header, never falls, and
//! means nothing outside its file. A seal tells how many lines and which bytes precede it, so that a
//! file cut or edited by hand is known for one.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::event::Event;

/// The version of the lines; a reader refuses others.
pub const SCHEMA: u32 = 1;

/// The first line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of the lines, [`SCHEMA`].
    pub history: u32,
    /// The process's name, unique in the run: letters, digits, `-` and `_`. It names the file.
    pub process: String,
    /// The operating system's number for it.
    pub pid: u32,
    /// What the run's randomness came from: given again, the run repeats its choices.
    pub seed: u64,
    /// Names the run. Files of two runs are not checked together.
    pub run: String,
    /// The wall clock when `at` was 0, in milliseconds since 1970. For people.
    pub wall_ms: u64,
}

impl Header {
    /// For this process, now.
    pub fn new(process: impl Into<String>, run: impl Into<String>, seed: u64) -> Self {
        Self {
            history: SCHEMA,
            process: process.into(),
            pid: std::process::id(),
            seed,
            run: run.into(),
            wall_ms: entente_core::Timestamp::now().millis(),
        }
    }
}

/// An event and when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Nanoseconds since the header, on the process's monotonic clock.
    pub at: u64,
    /// What happened.
    pub event: Event,
}

/// A line that vouches for what stands before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Seal {
    /// The process closed the file.
    End {
        /// Lines before this one.
        lines: u64,
        /// CRC-32C of their bytes.
        sum: u32,
    },
    /// A block of events was written.
    Mark {
        /// Lines before this one.
        lines: u64,
        /// CRC-32C of their bytes.
        sum: u32,
    },
    /// The file could not be written further.
    Truncated {
        /// Lines before this one.
        lines: u64,
        /// CRC-32C of their bytes.
        sum: u32,
        /// Events that were not written.
        lost: u64,
        /// What the system said.
        reason: String,
    },
}

/// How the line of an event begins.
pub(crate) const EVENT: &[u8] = b"{\"at\":";

impl Line {
    /// Reads a line of text.
    ///
    /// # Errors
    ///
    /// What is wrong with it, with the column.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// Its text, without the line feed.
    ///
    /// # Errors
    ///
    /// None that is known of: every event can be written.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        let event = serde_json::to_string(&self.event)?;
        let rest = event.strip_prefix('{').unwrap_or(&event);
        Ok(format!("{{\"at\":{},{rest}", self.at))
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Line;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an event with its time in front")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
                if map.next_key::<At>()?.is_none() {
                    return Err(de::Error::missing_field("at"));
                }
                let at = map.next_value()?;
                let event = Event::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Line { at, event })
            }
        }
        deserializer.deserialize_map(Parts)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum At {
    At,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Heal, Info};
    use crate::id::Id;

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        let events = [
            Event::Heal(Heal {}),
            Event::Info(Info {
                from: 3,
                id: Id::own(3, 9),
            }),
        ];
        for event in events {
            let line = Line { at: 17, event };
            let text = line.text().unwrap();
            assert_eq!(Line::parse(text.as_bytes()).unwrap(), line, "{text}");
        }
    }

    #[test]
    fn what_is_not_one_event_is_refused() {
        let wrong = [
            "",
            "{}",
            "{\"at\":1}",
            "{\"heal\":{}}",
            "{\"heal\":{},\"at\":1}",
            "{\"at\":-1,\"heal\":{}}",
            "{\"at\":1,\"heal\":{},\"heal\":{}}",
            "{\"at\":1,\"heal\":{},\"x\":1}",
            "{\"at\":1,\"heal\":{\"x\":1}}",
            "{\"at\":1,\"other\":{}}",
            "{\"at\":1,\"heal\":{}} x",
            "{\"at\":1,\"info\":{\"from\":1}}",
            "{\"at\":1,\"info\":{\"from\":1,\"id\":\"1.1\",\"from\":2}}",
        ];
        for text in wrong {
            assert!(Line::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    /// The lines of the page, all of them in one block.
    fn shown() -> impl Iterator<Item = &'static str> {
        let page = include_str!("../README.md");
        let (_, block) = page.split_once("```json\n").unwrap();
        block.split_once("```").unwrap().0.lines()
    }

    #[test]
    fn the_page_shows_every_kind_of_line_as_it_is_written() {
        let mut kinds = std::collections::BTreeSet::new();
        for text in shown() {
            let kind = if text.starts_with("{\"at\":") {
                let line =
                    Line::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert_eq!(line.text().unwrap(), text);
                text.split('"').nth(3).unwrap()
            } else if text.starts_with("{\"history\":") {
                let header: Header = serde_json::from_str(text).unwrap();
                assert_eq!(serde_json::to_string(&header).unwrap(), text);
                "header"
            } else {
                let seal: Seal = serde_json::from_str(text).unwrap();
                assert_eq!(serde_json::to_string(&seal).unwrap(), text);
                text.split('"').nth(1).unwrap()
            };
            kinds.insert(kind);
        }
        // What the reader says it expects is every kind there is.
        let error = Line::parse(b"{\"at\":1,\"?\":{}}").unwrap_err().to_string();
        let known: Vec<_> = error.split('`').skip(3).step_by(2).collect();
        assert!(known.len() > 20, "{error}");
        for kind in known.iter().chain(&["header", "mark", "end", "truncated"]) {
            assert!(kinds.contains(kind), "the page shows no {kind}");
        }
    }
}
