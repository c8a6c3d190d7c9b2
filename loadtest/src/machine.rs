//! What the operating system knows: CPU time, memory and switches of a process, and the disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::time::Instant;

/// Bytes of one record when the disk is measured: a message of 512 bytes with its envelope.
const RECORD_BYTES: usize = 768;
/// How long the disk is measured.
const DISK_TIME: Duration = Duration::from_secs(1);

/// Counters of a process and the machine at a moment.
#[derive(Clone, Debug)]
pub struct Sample {
    at: Instant,
    user: Duration,
    system: Duration,
    switches: u64,
    forced: u64,
    steal: Duration,
    threads: BTreeMap<String, Duration>,
}

/// The difference of two samples.
#[derive(Clone, Debug)]
pub struct Spent {
    /// Wall time.
    pub wall: Duration,
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Switches because a thread waited.
    pub switches: u64,
    /// Switches because its time was up.
    pub forced: u64,
    /// Time that the hypervisor took from all cores.
    pub steal: Duration,
    /// CPU time by name of thread.
    pub threads: BTreeMap<String, Duration>,
}

impl Sample {
    /// Takes a sample of a process.
    ///
    /// # Errors
    /// If it is gone.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let at = Instant::now();
        let (user, system) = times(&format!("/proc/{pid}/stat"))?;
        let mut sample = Self {
            at,
            user,
            system,
            switches: 0,
            forced: 0,
            steal: steal()?,
            threads: BTreeMap::new(),
        };
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            let (Ok(status), Ok(ran), Ok(name)) = (
                fs::read_to_string(task.join("status")),
                fs::read_to_string(task.join("schedstat")),
                fs::read_to_string(task.join("comm")),
            ) else {
                // The thread ended between the listing and the look.
                continue;
            };
            sample.switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            sample.forced += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
            let ran = ran.split(' ').next().and_then(|text| text.parse().ok());
            let name = name.trim().trim_end_matches(|c: char| c.is_ascii_digit());
            *sample.threads.entry(name.to_owned()).or_default() +=
                Duration::from_nanos(ran.unwrap_or(0));
        }
        Ok(sample)
    }

    /// What was spent since an earlier sample of the same process.
    pub fn since(&self, earlier: &Self) -> Spent {
        let before = |name: &str| earlier.threads.get(name).copied().unwrap_or_default();
        Spent {
            wall: self.at - earlier.at,
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            switches: self.switches.saturating_sub(earlier.switches),
            forced: self.forced.saturating_sub(earlier.forced),
            steal: self.steal.saturating_sub(earlier.steal),
            threads: self
                .threads
                .iter()
                .map(|(name, ran)| (name.clone(), ran.saturating_sub(before(name))))
                .collect(),
        }
    }
}

impl Spent {
    /// CPU time in both modes.
    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }

    /// CPU time over wall time, in per cent of one core.
    pub fn load(&self) -> f64 {
        100.0 * self.cpu().as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// User memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// All resident pages.
    pub rss: u64,
    /// Resident pages, shared ones in part.
    pub pss: u64,
    /// Pages that are no file's.
    pub anonymous: u64,
}

/// Reads the memory of a process.
///
/// # Errors
/// If it is gone.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = |name| field(&text, name).map(|kib| kib * 1024).context(name);
    Ok(Memory {
        rss: kib("Rss:")?,
        pss: kib("Pss:")?,
        anonymous: kib("Anonymous:")?,
    })
}

/// Keeps this thread, and threads that it starts, on one core.
///
/// # Errors
/// If there is no such core.
pub fn pin(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).context("the generator's core")
}

/// Appends with fdatasync after each, for a second; returns how many a second.
///
/// # Errors
/// Of the file.
pub fn syncs_per_second(folder: &Path) -> anyhow::Result<f64> {
    let path = folder.join("sync.probe");
    let mut file = File::create_new(&path)?;
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < DISK_TIME {
        file.write_all(&[b'x'; RECORD_BYTES])?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

/// `utime` and `stime` of a stat file.
fn times(path: &str) -> anyhow::Result<(Duration, Duration)> {
    let text = fs::read_to_string(path)?;
    // The name in brackets may hold spaces.
    let (_, rest) = text.rsplit_once(')').context("stat")?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || {
        let ticks = fields.next().and_then(|ticks| ticks.parse().ok());
        ticks.map(from_ticks).context("stat")
    };
    Ok((next()?, next()?))
}

fn steal() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = text.lines().next().and_then(|line| {
        let ticks = line.split_ascii_whitespace().nth(8)?;
        ticks.parse().ok()
    });
    Ok(from_ticks(ticks.unwrap_or(0)))
}

/// A tick of `/proc` is 1/100 s on every Linux that we run on (`sysconf(_SC_CLK_TCK)`).
const fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_working() {
        let pid = std::process::id();
        let before = Sample::of(pid).unwrap();
        let mut spent = before.since(&before);
        assert_eq!(spent.cpu(), Duration::ZERO);
        while spent.cpu() < Duration::from_millis(20) {
            spent = Sample::of(pid).unwrap().since(&before);
        }
        assert!(spent.load() > 0.0 && !spent.threads.is_empty());
        let memory = memory(pid).unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 0 && memory.anonymous > 0);
    }

    #[test]
    fn the_disk_syncs_and_the_probe_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(syncs_per_second(folder.path()).unwrap() > 0.0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
