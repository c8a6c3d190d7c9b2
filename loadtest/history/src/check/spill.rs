//! Records sorted into partitions by sender, in memory while they fit and else in temporary files.
//!
//! **Invariants**: what is held in memory is bounded by the budget while records are added, and by
//! the largest partition while they are read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::record::{Record, Spot, hash_number};

/// So that a partition of 100 million messages is some tens of megabytes.
const PARTITIONS: usize = 256;

pub(super) struct Spill {
    partitions: Vec<Partition>,
    held: usize,
    budget: usize,
    place: PathBuf,
    spilled: u64,
}

#[derive(Default)]
struct Partition {
    held: Vec<u8>,
    file: Option<File>,
}

impl Spill {
    pub(super) fn new(budget: usize, place: PathBuf) -> Self {
        Self {
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            held: 0,
            budget,
            place,
            spilled: 0,
        }
    }

    /// Bytes that went to temporary files.
    pub(super) const fn spilled(&self) -> u64 {
        self.spilled
    }

    pub(super) fn add(&mut self, by: u64, spot: Spot, record: &Record) -> io::Result<()> {
        let at = usize::try_from(hash_number(by) % 256).unwrap_or_default();
        if let Some(partition) = self.partitions.get_mut(at) {
            let before = partition.held.len();
            record.pack(spot, &mut partition.held);
            self.held += partition.held.len() - before;
        }
        if self.held > self.budget {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        for partition in &mut self.partitions {
            let file = match &mut partition.file {
                Some(file) => file,
                // Without a name: whatever ends this process, the room is given back.
                None => partition.file.insert(tempfile::tempfile_in(&self.place)?),
            };
            file.write_all(&partition.held)?;
            self.spilled += u64::try_from(partition.held.len()).unwrap_or(u64::MAX);
            partition.held.clear();
        }
        self.held = 0;
        Ok(())
    }

    /// Takes the partitions out, each one's records in the order in which they were added.
    pub(super) fn into_partitions(self) -> impl Iterator<Item = io::Result<Vec<u8>>> {
        self.partitions.into_iter().map(|partition| {
            let Some(mut file) = partition.file else {
                return Ok(partition.held);
            };
            file.seek(SeekFrom::Start(0))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            bytes.extend_from_slice(&partition.held);
            Ok(bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_budget_changes_nothing_but_where_records_wait() {
        let read = |budget| {
            let mut spill = Spill::new(budget, std::env::temp_dir());
            for n in 0..5000_u32 {
                let record = Record::Prekey {
                    target: n % 40,
                    key: u64::from(n),
                };
                let spot = Spot { file: 1, line: n };
                spill.add(u64::from(n % 40), spot, &record).unwrap();
            }
            assert_eq!(spill.spilled() > 0, budget < 10_000);
            spill
                .into_partitions()
                .collect::<io::Result<Vec<_>>>()
                .unwrap()
        };
        let (large, small) = (read(1 << 30), read(1000));
        assert_eq!(large, small);
        assert!(large.iter().filter(|bytes| !bytes.is_empty()).count() > 20);
    }
}
