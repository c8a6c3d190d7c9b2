//! Reading and writing `result.json`.
//!
//! **Invariants**: a file appears whole or not at all (it is written beside its place and renamed);
//! a file of another version, a broken one or one that is too long is an error that says where.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use schemars::Schema;
use serde::Deserialize;

use crate::{RunResult, SCHEMA};

/// Longest file that is read: far over what a series of its greatest length takes.
const MOST_BYTES: u64 = 512 * 1024 * 1024;

/// Why a result cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be opened, read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is not a result; the error says line and column.
    #[error("{}: not a result: {error}", path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// It is longer than a result can be.
    #[error("{}: longer than {} MiB", path.display(), MOST_BYTES >> 20)]
    TooLong {
        /// Which file.
        path: PathBuf,
    },
    /// It was written by another version.
    #[error("{}: schema {found}, this program reads {SCHEMA}", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// The version it has.
        found: u32,
    },
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    schema: u32,
}

impl RunResult {
    /// Reads a result.
    ///
    /// # Errors
    /// If there is no such file, or it is no result of this version.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let io = |error| FileError::Io {
            path: path.to_owned(),
            error,
        };
        let shape = |error| FileError::Shape {
            path: path.to_owned(),
            error,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(io)?;
        file.take(MOST_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(io)?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MOST_BYTES) {
            let path = path.to_owned();
            return Err(FileError::TooLong { path });
        }
        let found = serde_json::from_str::<Versioned>(&text).map_err(shape)?;
        if found.schema != SCHEMA {
            return Err(FileError::Version {
                path: path.to_owned(),
                found: found.schema,
            });
        }
        serde_json::from_str(&text).map_err(shape)
    }

    /// Writes the result.
    ///
    /// # Errors
    /// If the folder cannot be written to; an earlier file of that name then stays as it was.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let mut text = serde_json::to_vec(self).map_err(|error| FileError::Shape {
            path: path.to_owned(),
            error,
        })?;
        text.push(b'\n');
        write_whole(path, &text)
    }

    /// The published schema, as JSON Schema 2020-12.
    pub fn json_schema() -> Schema {
        schemars::schema_for!(Self)
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// If the folder cannot be written to; an earlier file of that name then stays as it was.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let written = File::create(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        let _gone = fs::remove_file(&beside);
        FileError::Io {
            path: path.to_owned(),
            error,
        }
    })
}
