//! The checker: the files of a run in, a verdict out.
//!
//! Every file is read once, line by line; what needs more than one device's own order goes, packed,
//! to partitions by sender, and each partition is judged by itself. Time is linear in the number of
//! events; memory is bounded by the budget, the largest partition, and what is kept of each device
//! and connection.
//!
//! **Order**: lines of one file are in the order in which they happened, so acknowledgements, connections
//! and places are compared within a file. Between files nothing is, but that a delivery comes after its
//! sending. Where only another file's clock could tell, the case counts as unjudged.

mod findings;
mod partition;
mod prekeys;
mod record;
mod recovery;
mod roster;
mod scan;
mod spill;
mod wakes;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::read::{Ending, ReadError, files};
use crate::verdict::{Counts, Minimums, Outcome, Rule, Verdict};
use partition::Partition;
use record::Spot;
use recovery::Recovery;
use scan::Scan;

/// How strictly a history is judged.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the run must contain to prove anything; nothing by default.
    pub minimums: Minimums,
    /// Findings told in full, for each rule; 10 by default. All are counted.
    pub findings_per_rule: usize,
    /// Bytes of records held before they go to temporary files; 128 MiB by default.
    pub memory_bytes: usize,
    /// Where temporary files are made; the system's place by default.
    pub temp_dir: Option<PathBuf>,
    /// A file without an end, or with events missing, does not make the run prove nothing: a
    /// campaign that kills generators has such.
    pub allow_unfinished: bool,
    /// A receipt proves that the acknowledgement is durable, so that a copy over a connection begun
    /// after it is one too many (R3); on by default.
    pub receipt_settles: bool,
    /// A device drains in this time after the heal; 60 s by default.
    pub drain_within: Duration,
    /// Latency is back in this time after the heal; 120 s by default.
    pub recover_within: Duration,
    /// A device that is away is called in this time after a message for it was accepted; 10 s by default.
    pub wake_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            minimums: Minimums::default(),
            findings_per_rule: 10,
            memory_bytes: 128 << 20,
            temp_dir: None,
            allow_unfinished: false,
            receipt_settles: true,
            drain_within: Duration::from_secs(60),
            recover_within: Duration::from_secs(120),
            wake_within: Duration::from_secs(10),
        }
    }
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The history cannot be read, or contradicts itself.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Temporary files cannot be written or read.
    #[error("temporary files of the check: {0}")]
    Spill(io::Error),
    /// A temporary file is not what was written.
    #[error("a temporary file of the check was changed")]
    Torn,
}

/// Checks the history in a directory.
///
/// # Errors
///
/// A history that cannot be read to its end, with file and line. What a killed process leaves is
/// no error, but makes the verdict vacuous unless the options allow it.
pub fn check(dir: &Path, options: &Options) -> Result<Verdict, CheckError> {
    check_files(&files(dir)?, options)
}

/// Checks some files of a history: those of processes whose devices write to nobody else's.
///
/// # Errors
///
/// As [`check`].
pub fn check_files(paths: &[PathBuf], options: &Options) -> Result<Verdict, CheckError> {
    let mut scan = Scan::new(options);
    for path in paths {
        scan.file(path)?;
    }
    scan.paths = paths.to_vec();
    scan.finish().map_err(CheckError::Spill)?;
    let spilled_bytes = scan.spill.spilled();
    let mut recovery = Recovery::default();
    let none = spill::Spill::new(0, PathBuf::new());
    let spill = std::mem::replace(&mut scan.spill, none);
    for bytes in spill.into_partitions() {
        let bytes = bytes.map_err(CheckError::Spill)?;
        let partition = Partition::load(&mut scan, &mut recovery, &bytes)?;
        drop(bytes);
        partition.judge();
    }
    recovery.judge(&mut scan);
    count_faults(&mut scan);
    conclude(scan, paths, spilled_bytes)
}

/// Faults are told of in every file whose process heard of them, and counted once.
fn count_faults(scan: &mut Scan<'_>) {
    let counts = &mut scan.counts;
    for facts in &scan.files {
        let (mut faults, mut kills, mut hits) = (0, 0, 0);
        for fault in &facts.faults {
            faults += 1;
            kills += u64::from(fault.kills);
            hits += u64::from(fault.kills && fault.in_flight > 0);
            counts.in_flight_at_faults += fault.in_flight;
        }
        counts.faults = counts.faults.max(faults);
        counts.kills = counts.kills.max(kills);
        counts.kills_in_flight = counts.kills_in_flight.max(hits);
    }
}

fn conclude(scan: Scan<'_>, paths: &[PathBuf], spilled_bytes: u64) -> Result<Verdict, CheckError> {
    let rules = scan.findings.tallies();
    let mut vacuous = scan.options.minimums.missed(&scan.counts);
    let mut notes = Vec::new();
    for facts in &scan.files {
        let process = &facts.seen.process;
        let said = match &facts.seen.ending {
            Ending::Closed => continue,
            Ending::Killed { half_line, .. } => {
                let half = if *half_line {
                    " and half a line, which was left out"
                } else {
                    ""
                };
                format!(
                    "{process}: the file has no end{half}: its process was killed, or it was cut"
                )
            }
            Ending::Truncated { lost, reason } => {
                format!("{process}: {lost} events are missing: {reason}")
            }
        };
        let list = if scan.options.allow_unfinished {
            &mut notes
        } else {
            &mut vacuous
        };
        list.push(said);
    }
    let unjudged = rules.get(&Rule::R1).map_or(0, |tally| tally.unjudged);
    if unjudged > 0 {
        vacuous.push(format!(
            "{unjudged} accepted messages were not delivered by the end, and their recipients had not drained"
        ));
    }
    if scan.counts
        == (Counts {
            devices: scan.counts.devices,
            ..Counts::default()
        })
    {
        vacuous.push("nothing happened".into());
    }
    let idle: Vec<String> = rules
        .iter()
        .filter(|(_, tally)| tally.judged == 0 && tally.unjudged == 0)
        .map(|(rule, _)| format!("{rule:?}"))
        .collect();
    if !idle.is_empty() {
        notes.push(format!(
            "nothing happened that these rules judge: {}",
            idle.join(", ")
        ));
    }
    let broken = rules.values().any(|tally| tally.broken > 0);
    let outcome = if broken {
        Outcome::Broken
    } else if vacuous.is_empty() {
        Outcome::Held
    } else {
        Outcome::Vacuous
    };
    Ok(Verdict {
        verdict: 1,
        run: scan.run.unwrap_or_default(),
        outcome,
        rules,
        findings: scan.findings.tell(paths)?,
        vacuous,
        notes,
        counts: scan.counts,
        files: scan.files.into_iter().map(|facts| facts.seen).collect(),
        spilled_bytes,
    })
}

impl Scan<'_> {
    /// An error at a line that was read before.
    fn bad(&self, spot: Spot, what: String) -> CheckError {
        let path = self.paths.get(usize::from(spot.file)).cloned();
        CheckError::Read(ReadError::Bad {
            path: path.unwrap_or_default(),
            line: u64::from(spot.line),
            what,
        })
    }
}
