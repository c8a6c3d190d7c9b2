//! What is wrong with a scenario, and where.

use std::io;

/// A value that does not make sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct Wrong {
    /// The key, such as `load.rate`.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

/// A scenario that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// An override that is none, or does not fit.
    #[error("--set {given}: {what}")]
    Override {
        /// As it was given.
        given: String,
        /// What is wrong.
        what: String,
    },
    /// The text is no TOML, or not the TOML of a scenario.
    #[error("{file}:{line}:{column}: {what}")]
    Toml {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong.
        what: String,
    },
    /// A scenario that servers cannot serve yet.
    #[error("{name}: {why}")]
    Unserved {
        /// Its name.
        name: String,
        /// What is missing.
        why: &'static str,
    },
    /// A value out of range, or two that do not go together.
    #[error("{file}{}: {wrong}", .line.map(|line| format!(":{line}")).unwrap_or_default())]
    Value {
        /// The file.
        file: String,
        /// The line that sets it, if one does.
        line: Option<usize>,
        /// Which, and why.
        wrong: Wrong,
    },
    /// It cannot be written as TOML.
    #[error("writing TOML: {0}")]
    Write(#[from] toml::ser::Error),
}

impl ScenarioError {
    /// What a parser of TOML says, with its place; `file` is for people.
    pub fn toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self::Toml {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            what: error.message().trim_end().replace('\n', "; "),
        }
    }

    /// A value of a file that does not make sense, with the line that sets it.
    pub fn value(file: &str, text: &str, wrong: Wrong) -> Self {
        Self::Value {
            file: file.to_owned(),
            line: line_of(text, &wrong.key),
            wrong,
        }
    }
}

/// The line on which a key of a table is set, if it is set in the plain way.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut inside = table.is_empty();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            inside = header.split(']').next() == Some(table);
        } else if inside && line.split('=').next().map(str::trim) == Some(name) {
            return Some(index + 1);
        }
    }
    None
}
