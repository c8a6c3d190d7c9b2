//! Reads the file of one process, line by line, and says how it ended.
//!
//! **Invariants**: lines under a seal are those that were written; a line that is no event, times
//! that fall, bytes behind the end and lines that a seal does not vouch for are errors with file and
//! line. Only what a killed process leaves is let pass: no end, and half a last line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::line::{EVENT, Header, Line, SCHEMA, Seal};

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Its process closed it.
    Closed,
    /// There is no end: the process was killed, or the file was cut behind some line.
    Killed {
        /// Events behind the last seal.
        unsealed: u64,
        /// The last line was cut in the middle, and left out.
        half_line: bool,
    },
    /// Its process could not write all.
    Truncated {
        /// Events that are not there.
        lost: u64,
        /// What the system said.
        reason: String,
    },
}

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The text is not that of a history, or not as it was written.
    #[error("{}:{line}: {what}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// A directory without files of a history.
    #[error("no events-*.jsonl or events-*.jsonl.zst in {}", .0.display())]
    Empty(PathBuf),
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// The file of one process.
pub struct Reader {
    path: PathBuf,
    header: Header,
    input: Box<dyn BufRead + Send>,
    text: Vec<u8>,
    line: u64,
    sum: u32,
    at: u64,
    sealed: u64,
    unsealed: u64,
    ending: Option<Ending>,
}

/// No event is as long; a file without line feeds is not read into memory.
const LONGEST: u64 = 1 << 20;

/// The files of a history, in the order of their names.
///
/// # Errors
///
/// A directory that cannot be read or has none.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let io = |source| ReadError::Io {
        path: dir.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if process(&path).is_some() {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(ReadError::Empty(dir.to_owned()));
    }
    Ok(found)
}

/// The process that a file's name speaks of.
fn process(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_prefix("events-")?;
    name.strip_suffix(".jsonl")
        .or_else(|| name.strip_suffix(".jsonl.zst"))
}

/// What is wrong with a line, without the line's number in itself.
fn plain(error: &serde_json::Error) -> String {
    error
        .to_string()
        .replace(" at line 1 column ", " at column ")
}

impl Reader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, and one that is no history or another version's.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let packed = path.extension().is_some_and(|ending| ending == "zst");
        let input: Box<dyn BufRead + Send> = if packed {
            let decoder = zstd::Decoder::new(file).map_err(io)?;
            Box::new(BufReader::with_capacity(1 << 16, decoder))
        } else {
            Box::new(BufReader::with_capacity(1 << 16, file))
        };
        let mut reader = Self {
            path: path.to_owned(),
            header: Header {
                history: SCHEMA,
                process: String::new(),
                pid: 0,
                seed: 0,
                run: String::new(),
                wall_ms: 0,
            },
            input,
            text: Vec::new(),
            line: 0,
            sum: 0,
            at: 0,
            sealed: 0,
            unsealed: 0,
            ending: None,
        };
        reader.read_header()?;
        Ok(reader)
    }

    /// The first line.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the line read last.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// The text of the line read last.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// How the file ended; none before it was read to the end.
    pub const fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// The next event; none at the end.
    ///
    /// # Errors
    ///
    /// See [`ReadError`]; the line is [`line`](Self::line).
    pub fn next_event(&mut self) -> Result<Option<Line>, ReadError> {
        while self.ending.is_none() {
            let before = self.sum;
            if !self.next_line()? {
                break;
            }
            if self.text.starts_with(EVENT) {
                let line = Line::parse(&self.text).map_err(|error| self.bad(plain(&error)))?;
                if line.at < self.at {
                    let what = format!("the time goes back from {} to {}", self.at, line.at);
                    return Err(self.bad(what));
                }
                self.at = line.at;
                self.unsealed += 1;
                return Ok(Some(line));
            }
            self.seal(before)?;
        }
        Ok(None)
    }

    /// An error at the line read last.
    pub(crate) fn bad(&self, what: impl ToString) -> ReadError {
        ReadError::Bad {
            path: self.path.clone(),
            line: self.line,
            what: what.to_string(),
        }
    }

    fn read_header(&mut self) -> Result<(), ReadError> {
        if !self.next_line()? {
            self.line = 1;
            return Err(self.bad("the file has no header"));
        }
        self.header = serde_json::from_slice(&self.text)
            .map_err(|error| self.bad(format!("no header of a history: {}", plain(&error))))?;
        if self.header.history != SCHEMA {
            let what = format!("version {}, this reads {SCHEMA}", self.header.history);
            return Err(self.bad(what));
        }
        if process(&self.path).is_some_and(|name| name != self.header.process) {
            let what = format!("the file of {:?} under another name", self.header.process);
            return Err(self.bad(what));
        }
        Ok(())
    }

    /// Takes the next line into `text`; false at the end of the file.
    fn next_line(&mut self) -> Result<bool, ReadError> {
        self.text.clear();
        let mut input = (&mut self.input).take(LONGEST);
        let cut = match input.read_until(b'\n', &mut self.text) {
            Ok(_) => false,
            // What a killed process leaves of a compressed block.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => true,
            Err(source) => {
                self.line += 1;
                return Err(self.bad(format!("cannot be read: {source}")));
            }
        };
        if self.text.last() == Some(&b'\n') && !cut {
            self.line += 1;
            self.sum = crc32c::crc32c_append(self.sum, &self.text);
            self.text.pop();
            return Ok(true);
        }
        if self.text.len() as u64 == LONGEST {
            self.line += 1;
            return Err(self.bad("a line of a mebibyte"));
        }
        let half_line = cut || !self.text.is_empty();
        self.text.clear();
        self.ending = Some(Ending::Killed {
            unsealed: self.unsealed,
            half_line,
        });
        Ok(false)
    }

    fn seal(&mut self, sum_before: u32) -> Result<(), ReadError> {
        let seal: Seal = serde_json::from_slice(&self.text)
            .map_err(|error| self.bad(format!("no event: {}", plain(&error))))?;
        let (lines, sum, ending) = match seal {
            Seal::End { lines, sum } => (lines, sum, Some(Ending::Closed)),
            Seal::Mark { lines, sum } => (lines, sum, None),
            Seal::Truncated {
                lines,
                sum,
                lost,
                reason,
            } => (lines, sum, Some(Ending::Truncated { lost, reason })),
        };
        let before = self.line - 1;
        if lines != before {
            let from = self.sealed + 1;
            let what = format!(
                "{lines} lines stood before this one, now {before}: \
                 some from line {from} on were taken out or put in"
            );
            return Err(self.bad(what));
        }
        if sum != sum_before {
            let what = format!(
                "lines {} to {before} are not as they were written",
                self.sealed + 1
            );
            return Err(self.bad(what));
        }
        self.sealed = self.line;
        self.unsealed = 0;
        if ending.is_some() {
            if self.next_line()? || !self.text.is_empty() {
                return Err(self.bad("the file goes on behind its end"));
            }
            if let Some(Ending::Killed {
                half_line: true, ..
            }) = self.ending
            {
                self.line += 1;
                return Err(self.bad("the file goes on behind its end"));
            }
            self.ending = ending;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Reader")
            .field("path", &self.path)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
