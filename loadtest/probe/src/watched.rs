//! One process under watch, with its children if they were asked for.
//!
//! CPU time is what the scheduler counted for each thread, in nanoseconds. A thread that ends
//! between two looks takes its last stretch along, but the process's ticks keep it; so the larger of
//! both is taken. A kernel without `schedstat` leaves the ticks alone, and the clock says so.
//!
//! **Invariants**: totals never fall, also when threads and children end; a pid that was given to
//! another process is not followed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::text::{Stat, bytes, number, pids, ran_ns};
use crate::{Clock, Process, ProcessSample, Role};

/// Children that are followed at most.
const MOST_CHILDREN: usize = 1_024;

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// What a report calls it.
    pub name: String,
    /// What it is in the run.
    pub role: Role,
    /// Its process id.
    pub pid: u32,
    /// Whether its children, and theirs, are added to it.
    pub children: bool,
}

/// Where the kernel's texts are, and the length of its ticks.
#[derive(Clone, Debug)]
pub(crate) struct Proc {
    pub(crate) root: PathBuf,
    pub(crate) tick_us: u64,
}

/// A process under watch and what was seen of it.
#[derive(Debug)]
pub(crate) struct Watched {
    watch: Watch,
    started: u64,
    clock: Clock,
    members: BTreeMap<u32, Member>,
    /// Totals of children that ended.
    gone: ProcessSample,
    last: ProcessSample,
    pub(crate) ended_us: Option<u64>,
}

/// One process of a family.
#[derive(Debug, Default)]
struct Member {
    started: u64,
    threads: BTreeMap<u32, Thread>,
    /// Totals of threads that ended.
    gone: Thread,
    last: ProcessSample,
}

#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    ran_ns: u64,
    waits: u64,
    preemptions: u64,
}

impl Proc {
    /// The kernel's own.
    pub(crate) fn system() -> Self {
        Self {
            root: PathBuf::from("/proc"),
            tick_us: 1_000_000 / rustix::param::clock_ticks_per_second().max(1),
        }
    }

    pub(crate) fn read(&self, path: &str) -> io::Result<String> {
        // A name of a process need not be UTF-8.
        let bytes = fs::read(self.root.join(path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn stat(&self, pid: u32) -> io::Result<Stat> {
        let text = self.read(&format!("{pid}/stat"))?;
        Stat::parse(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn threads(&self, pid: u32) -> io::Result<Vec<u32>> {
        let tasks = fs::read_dir(self.root.join(format!("{pid}/task")))?;
        let tid = |task: io::Result<fs::DirEntry>| task.ok()?.file_name().to_str()?.parse().ok();
        Ok(tasks.filter_map(tid).collect())
    }

    fn descriptors(&self, pid: u32) -> Option<u64> {
        let path = self.root.join(format!("{pid}/fd"));
        // Since Linux 6.2 the folder's size is the count; a look through it costs by descriptor.
        let size = fs::metadata(&path).ok()?.len();
        if size > 0 && self.root == Path::new("/proc") {
            return Some(size);
        }
        u64::try_from(fs::read_dir(path).ok()?.count()).ok()
    }

    fn children(&self, pid: u32) -> Vec<u32> {
        let threads = self.threads(pid).unwrap_or_default();
        let list = |tid: &u32| self.read(&format!("{pid}/task/{tid}/children")).ok();
        threads
            .iter()
            .filter_map(list)
            .flat_map(|text| pids(&text))
            .collect()
    }
}

impl Watched {
    /// Begins to watch a process.
    ///
    /// # Errors
    /// If there is none of that pid.
    pub(crate) fn new(proc: &Proc, watch: Watch) -> io::Result<Self> {
        let stat = proc.stat(watch.pid)?;
        let clock = if proc.read(&format!("{}/schedstat", watch.pid)).is_ok() {
            Clock::Schedstat
        } else {
            Clock::Ticks
        };
        Ok(Self {
            watch,
            started: stat.started,
            clock,
            members: BTreeMap::new(),
            gone: ProcessSample::default(),
            last: ProcessSample::default(),
            ended_us: None,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.watch.name
    }

    pub(crate) const fn role(&self) -> Role {
        self.watch.role
    }

    pub(crate) const fn last(&self) -> &ProcessSample {
        &self.last
    }

    /// Looks at the process; `None` when it has ended, with the time noted.
    pub(crate) fn look(
        &mut self,
        proc: &Proc,
        at_us: u64,
        with_pss: bool,
    ) -> Option<ProcessSample> {
        if self.ended_us.is_some() {
            return None;
        }
        let root = proc.stat(self.watch.pid).ok();
        let root = root.filter(|stat| stat.started == self.started);
        let alive = root.is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'));
        if !alive {
            self.ended_us = Some(at_us);
        }
        // One that was not waited for still shows its last ticks.
        root?;
        let family = self.family(proc);
        let members = std::mem::take(&mut self.members);
        for (pid, member) in members {
            if family.contains(&pid) {
                self.members.insert(pid, member);
            } else {
                add_totals(&mut self.gone, &member.last);
            }
        }
        let mut sum = ProcessSample {
            at_us,
            ..ProcessSample::default()
        };
        let mut pss = with_pss.then_some(0_u64);
        for pid in family {
            let member = self.members.entry(pid).or_default();
            let Some(seen) = member.look(proc, pid, self.clock, &mut self.gone) else {
                add_totals(&mut sum, &member.last);
                continue;
            };
            add_totals(&mut sum, &seen);
            sum.rss = sum.rss.saturating_add(seen.rss);
            sum.threads = sum.threads.saturating_add(seen.threads);
            sum.descriptors = match (sum.descriptors, seen.descriptors) {
                (Some(one), Some(other)) => Some(one.saturating_add(other)),
                (one, other) => one.or(other),
            };
            pss = pss.and_then(|sum| {
                let text = proc.read(&format!("{pid}/smaps_rollup")).ok()?;
                Some(sum.saturating_add(bytes(&text, "Pss:")?))
            });
        }
        add_totals(&mut sum, &self.gone);
        sum.pss = pss;
        if !alive {
            // Its memory is gone; what it held last is what is known.
            (sum.rss, sum.pss) = (self.last.rss, None);
            (sum.threads, sum.descriptors) = (self.last.threads, self.last.descriptors);
        }
        rise(&mut sum, &self.last);
        self.last = sum;
        Some(sum)
    }

    /// The process and, if asked for, all that descend from it.
    fn family(&self, proc: &Proc) -> Vec<u32> {
        let mut family = vec![self.watch.pid];
        let mut place = 0;
        while self.watch.children && family.len() < MOST_CHILDREN {
            let Some(pid) = family.get(place).copied() else {
                break;
            };
            place += 1;
            for child in proc.children(pid) {
                if !family.contains(&child) && family.len() < MOST_CHILDREN {
                    family.push(child);
                }
            }
        }
        family
    }

    /// What was seen, with samples that were kept elsewhere.
    pub(crate) fn into_process(self, machine: &str, samples: Vec<ProcessSample>) -> Process {
        Process {
            name: self.watch.name,
            role: self.watch.role,
            machine: machine.to_owned(),
            pid: self.watch.pid,
            started: self.started,
            children: self.watch.children,
            clock: self.clock,
            ended_us: self.ended_us,
            samples,
        }
    }
}

impl Member {
    fn look(
        &mut self,
        proc: &Proc,
        pid: u32,
        clock: Clock,
        gone: &mut ProcessSample,
    ) -> Option<ProcessSample> {
        let stat = proc.stat(pid).ok()?;
        if self.started != 0 && self.started != stat.started {
            // The pid is another child's now.
            add_totals(gone, &self.last);
            *self = Self::default();
        }
        self.started = stat.started;
        self.look_at_threads(proc, pid);
        let status = proc.read(&format!("{pid}/status")).ok()?;
        let user_us = stat.user_ticks.saturating_mul(proc.tick_us);
        let system_us = stat.system_ticks.saturating_mul(proc.tick_us);
        let ticks_us = user_us.saturating_add(system_us);
        let all = self.threads.values().fold(self.gone, Thread::plus);
        let mut sample = ProcessSample {
            at_us: 0,
            cpu_us: match clock {
                Clock::Schedstat => ticks_us.max(all.ran_ns / 1_000),
                Clock::Ticks => ticks_us,
            },
            user_us,
            system_us,
            // Kernel threads and zombies have no memory.
            rss: bytes(&status, "VmRSS:").unwrap_or(0),
            pss: None,
            threads: stat.threads,
            descriptors: proc.descriptors(pid),
            waits: all.waits,
            preemptions: all.preemptions,
        };
        rise(&mut sample, &self.last);
        self.last = sample;
        Some(sample)
    }

    fn look_at_threads(&mut self, proc: &Proc, pid: u32) {
        let mut seen = BTreeMap::new();
        for tid in proc.threads(pid).unwrap_or_default() {
            let status = proc.read(&format!("{pid}/task/{tid}/status"));
            let ran = proc.read(&format!("{pid}/task/{tid}/schedstat"));
            // Either may be gone by now; the thread then counts as ended.
            let Ok(status) = status else { continue };
            let now = Thread {
                ran_ns: ran.ok().and_then(|text| ran_ns(&text)).unwrap_or(0),
                waits: number(&status, "voluntary_ctxt_switches:").unwrap_or(0),
                preemptions: number(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0),
            };
            if let Some(before) = self.threads.remove(&tid)
                && now.ran_ns < before.ran_ns
            {
                // The number is another thread's now.
                self.gone = self.gone.plus(&before);
            }
            seen.insert(tid, now);
        }
        self.gone = self.threads.values().fold(self.gone, Thread::plus);
        self.threads = seen;
    }
}

impl Thread {
    const fn plus(self, other: &Self) -> Self {
        Self {
            ran_ns: self.ran_ns.saturating_add(other.ran_ns),
            waits: self.waits.saturating_add(other.waits),
            preemptions: self.preemptions.saturating_add(other.preemptions),
        }
    }
}

/// Adds what is counted, not what is held.
const fn add_totals(sum: &mut ProcessSample, more: &ProcessSample) {
    sum.cpu_us = sum.cpu_us.saturating_add(more.cpu_us);
    sum.user_us = sum.user_us.saturating_add(more.user_us);
    sum.system_us = sum.system_us.saturating_add(more.system_us);
    sum.waits = sum.waits.saturating_add(more.waits);
    sum.preemptions = sum.preemptions.saturating_add(more.preemptions);
}

/// Lifts totals to those of an earlier sample.
fn rise(sample: &mut ProcessSample, earlier: &ProcessSample) {
    sample.cpu_us = sample.cpu_us.max(earlier.cpu_us);
    sample.user_us = sample.user_us.max(earlier.user_us);
    sample.system_us = sample.system_us.max(earlier.system_us);
    sample.waits = sample.waits.max(earlier.waits);
    sample.preemptions = sample.preemptions.max(earlier.preemptions);
}

#[cfg(test)]
mod tests;
