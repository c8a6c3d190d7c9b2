//! What things cost: measured constants of `ops/capacity/costs.json`, and what nobody measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::Micros;
use crate::station::scale;

/// The format of the file that is read.
const FORMAT: u32 = 1;

/// See the module. Times are in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    /// When it was measured, and on what.
    pub measured: String,
    /// CPU time of a full login at a connection node.
    pub login_connection: Micros,
    /// The same at an identity node.
    pub login_identity: Micros,
    /// The same at a router. A report of a session that lost its owner is taken to cost as much.
    pub login_router: Micros,
    /// Memory of a session at its router.
    pub session_bytes: f64,
    /// Memory of an account at its router.
    pub account_bytes: f64,
    /// Assumed: time that a router's start takes for each shard, of both topics together.
    pub start_shard: Micros,
    /// Assumed: CPU time of a call over the mesh, at either end.
    pub call: Micros,
    /// Assumed: one way between two machines.
    pub network: Micros,
    /// Assumed: a record is acknowledged by all copies.
    pub append: Micros,
    /// Assumed: a reader goes to another place. A fetch that waits holds it up for 100 ms at most.
    pub seek: Micros,
    /// Assumed: bytes of a journal that a router reads and applies in a second.
    pub journal_rate: f64,
    /// Assumed: CPU time of the group's coordinator for a request of a member.
    pub join: Micros,
    /// Assumed: CPU time of the group's leader, for a partition and doubling of the members.
    pub assign: f64,
}

/// What is assumed, with its value and unit, for whoever reads figures.
pub(crate) const ASSUMED: &[(&str, &str)] = &[
    ("a call over the mesh", "50 µs of CPU at either end"),
    ("one way between two machines", "250 µs"),
    ("an append to all copies", "5 ms"),
    (
        "a reader that goes to another place",
        "50 ms, half of the longest fetch",
    ),
    ("reading a journal back", "50 MB/s a router"),
    (
        "the start of a router",
        "60 ms a shard: half a second for eight (decision 0007)",
    ),
    ("the coordinator, a request of a member", "100 µs of CPU"),
    (
        "the group's leader",
        "2 µs a partition and doubling of the members",
    ),
    ("a reported session", "what a login costs the router"),
    ("ordinary load", "60 % of 8 cores of every node"),
];

/// Why there are no costs.
#[derive(Debug, thiserror::Error)]
pub enum CostsError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    File {
        /// Which.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no JSON, or not what is expected.
    #[error("{file}: {source}")]
    Json {
        /// Which.
        file: String,
        /// Why.
        source: serde_json::Error,
    },
    /// It is of another format.
    #[error("format {0}, and {FORMAT} is known")]
    Format(u32),
    /// A constant is not there.
    #[error("there is no constant {0}: ops/capacity/measure has to measure it")]
    Missing(&'static str),
    /// A constant makes no sense.
    #[error("{name} is {value}")]
    Value {
        /// Which.
        name: &'static str,
        /// As it is there.
        value: f64,
    },
}

#[derive(Deserialize)]
struct File {
    format: u32,
    date: String,
    machine: Machine,
    constants: BTreeMap<String, Constant>,
}

#[derive(Deserialize)]
struct Machine {
    cores: u32,
    model: String,
}

#[derive(Deserialize)]
struct Constant {
    value: f64,
}

impl Costs {
    /// Reads a file that `ops/capacity/measure` wrote.
    ///
    /// # Errors
    /// [`CostsError`], naming the file or the constant.
    pub fn read(path: &Path) -> Result<Self, CostsError> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| CostsError::File {
            file: file.clone(),
            source,
        })?;
        Self::parse(&file, &text)
    }

    /// Takes the text of such a file.
    ///
    /// # Errors
    /// [`CostsError`].
    pub fn parse(file: &str, text: &str) -> Result<Self, CostsError> {
        let read: File = serde_json::from_str(text).map_err(|source| CostsError::Json {
            file: file.to_owned(),
            source,
        })?;
        if read.format != FORMAT {
            return Err(CostsError::Format(read.format));
        }
        let value = |name| {
            let constant = read.constants.get(name).ok_or(CostsError::Missing(name))?;
            match constant.value {
                value if value.is_finite() && value >= 0.0 => Ok(value),
                value => Err(CostsError::Value { name, value }),
            }
        };
        let time = |name| value(name).map(|micros| scale(1, micros));
        Ok(Self {
            measured: format!(
                "{} on {} cores ({})",
                read.date, read.machine.cores, read.machine.model
            ),
            login_connection: time("cpu.login.connection")?,
            login_identity: time("cpu.login.identity")?,
            login_router: time("cpu.login.router")?,
            session_bytes: value("memory.session.router")?,
            account_bytes: value("memory.account.router")?,
            start_shard: 60_000,
            call: 50,
            network: 250,
            append: 5_000,
            seek: 50_000,
            journal_rate: 50e6,
            join: 100,
            assign: 2.0,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const TEXT: &str = r#"{
        "format": 1, "date": "a day", "machine": {"cores": 2, "model": "m"},
        "constants": {
            "cpu.login.connection": {"value": 400.0}, "cpu.login.identity": {"value": 200.0},
            "cpu.login.router": {"value": 100.0}, "memory.session.router": {"value": 1000.0},
            "memory.account.router": {"value": 500.0}
        }
    }"#;

    #[test]
    fn what_is_missing_or_makes_no_sense_is_named() {
        let costs = Costs::parse("f", TEXT).unwrap();
        assert_eq!((costs.login_connection, costs.login_router), (400, 100));
        assert_eq!(costs.measured, "a day on 2 cores (m)");
        let cases = [
            (
                TEXT.replace("cpu.login.identity", "x"),
                "no constant cpu.login.identity",
            ),
            (TEXT.replace("500.0", "-1"), "memory.account.router is -1"),
            (TEXT.replace("\"format\": 1", "\"format\": 2"), "format 2"),
            (TEXT.replace('}', ""), "f: "),
        ];
        for (text, says) in cases {
            let error = Costs::parse("f", &text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let error = Costs::read(Path::new("nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("nowhere: "), "{error}");
    }
}
