//! The first reading: file by file, line by line. What one device's own order decides is judged here;
//! the rest goes to the partitions.
//!
//! Takes events, gives findings of R6, R7, R11, R12 and the drains of R9, and packed records.

mod session;

use std::io;
use std::path::{Path, PathBuf};

use foldhash::{HashMap, HashMapExt};

use super::findings::Findings;
use super::prekeys::Versions;
use super::record::{Delivery, Invocation, Key, Outcome, Record, Spot, hash};
use super::roster::{Known, Roster};
use super::spill::Spill;
use super::{CheckError, Options};
use crate::event::{Event, Fault, Invoke, Prekey, Push, ReceiptKind};
use crate::id::{Device, Id};
use crate::line::Line;
use crate::read::{Ending, ReadError, Reader};
use crate::verdict::{Counts, FileSeen, Rule};

/// A file, and the lines in it between which something is so.
pub(super) type Span = (u16, u32, u32);

/// What the first reading leaves.
pub(super) struct Scan<'a> {
    pub options: &'a Options,
    pub roster: Roster,
    pub spill: Spill,
    pub findings: Findings,
    pub counts: Counts,
    pub files: Vec<FileFacts>,
    /// By who blocks whom.
    pub blocks: HashMap<(Device, Device), Vec<Span>>,
    pub run: Option<String>,
    pub paths: Vec<PathBuf>,
    versions: Versions,
}

/// A file, and what happened to its process.
pub(super) struct FileFacts {
    pub seen: FileSeen,
    pub faults: Vec<FaultAt>,
    pub first_fault: Option<u64>,
    /// When the last heal was, and its line.
    pub healed: Option<(u64, u32)>,
    pub last: u64,
    active: u64,
}

/// A fault that started.
pub(super) struct FaultAt {
    pub line: u32,
    pub kills: bool,
    /// Messages of this file that had no outcome then.
    pub in_flight: u64,
    pub push: bool,
}

/// Deliveries waiting for their acknowledgement, over all devices: some hundred megabytes.
const UNACKED: usize = 4_000_000;

impl FileFacts {
    /// All that its process saw is in it.
    pub(super) fn whole(&self) -> bool {
        self.seen.ending == Ending::Closed
    }
}

impl<'a> Scan<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        let place = options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
        Self {
            options,
            roster: Roster::new(),
            spill: Spill::new(options.memory_bytes, place),
            findings: Findings::new(options.findings_per_rule),
            counts: Counts::default(),
            files: Vec::new(),
            blocks: HashMap::new(),
            run: None,
            paths: Vec::new(),
            versions: Versions::default(),
        }
    }

    pub(super) fn file(&mut self, path: &Path) -> Result<(), CheckError> {
        let mut reader = Reader::open(path)?;
        let number =
            u16::try_from(self.files.len()).map_err(|_| reader.bad("more than 65,536 files"))?;
        self.begin(&reader)?;
        self.versions.clear();
        while let Some(line) = reader.next_event()? {
            let number = Spot {
                file: number,
                line: u32::try_from(reader.line())
                    .map_err(|_| reader.bad("more than 4,294,967,295 lines"))?,
            };
            match self.event(number, &line) {
                Ok(()) => {}
                Err(Wrong::Spill(source)) => return Err(CheckError::Spill(source)),
                Err(Wrong::Story(what)) => return Err(reader.bad(what).into()),
            }
        }
        let unwritten = Ending::Killed {
            unsealed: 0,
            half_line: false,
        };
        if let Some(facts) = self.files.last_mut() {
            facts.seen.lines = reader.line();
            facts.seen.ending = reader.ending().cloned().unwrap_or(unwritten);
        }
        Ok(())
    }

    fn begin(&mut self, reader: &Reader) -> Result<(), ReadError> {
        let header = reader.header();
        match &self.run {
            Some(run) if *run != header.run => {
                let what = format!("of run {:?}; the files before are of {run:?}", header.run);
                return Err(reader.bad(what));
            }
            Some(_) => {}
            None => self.run = Some(header.run.clone()),
        }
        let seen = FileSeen {
            process: header.process.clone(),
            lines: 0,
            ending: Ending::Closed,
        };
        if self
            .files
            .iter()
            .any(|facts| facts.seen.process == seen.process)
        {
            return Err(reader.bad("a second file of the same process"));
        }
        self.files.push(FileFacts {
            seen,
            faults: Vec::new(),
            first_fault: None,
            healed: None,
            last: 0,
            active: 0,
        });
        Ok(())
    }

    fn event(&mut self, spot: Spot, line: &Line) -> Result<(), Wrong> {
        let at = line.at;
        if let Some(facts) = self.files.last_mut() {
            facts.last = at;
        }
        match &line.event {
            Event::Bind(it) => self.bind(spot, at, it)?,
            Event::Block(it) => self.block(spot, it)?,
            Event::Deliver(it) => self.deliver(spot, at, it)?,
            Event::Devack(it) => self.devack(spot, it)?,
            Event::Device(it) => self.roster.declare(it, spot.file, at)?,
            Event::Drained(it) => self.drained(spot, at, it)?,
            Event::Fail(it) => self.settle(spot, at, (it.from, &it.id), Outcome::Fail)?,
            Event::Fault(it) => self.fault(spot, at, it),
            Event::H(it) => self.handled(spot, it)?,
            Event::Heal(_) => self.heal(spot, at),
            Event::IdentityChange(it) => drop(self.roster.acts(it.device, spot.file)?),
            Event::Info(it) => self.settle(spot, at, (it.from, &it.id), Outcome::Info)?,
            Event::Invoke(it) => self.invoke(spot, at, it)?,
            Event::Note(_) => {}
            Event::Notice(it) => {
                self.roster.acts(it.to, spot.file)?;
                let key = Key::new(&it.id, it.to);
                let (to, epoch) = (it.to, it.epoch);
                self.put(spot, &Record::Notice { key, to, epoch }, key.sender)?;
            }
            Event::Ok(it) => {
                self.heard(spot, it.from, it.epoch)?;
                self.settle(spot, at, (it.from, &it.id), Outcome::Ok)?;
            }
            Event::Prekey(it) => self.prekey(spot, at, it)?,
            Event::Push(it) => self.push(spot, it)?,
            Event::Receipt(it) => {
                self.roster.acts(it.to, spot.file)?;
                if it.kind == ReceiptKind::Delivered {
                    let key = Key::new(&it.id, it.to);
                    let (to, of, epoch) = (it.to, it.of, it.epoch);
                    self.put(spot, &Record::Receipt { key, to, of, epoch }, key.sender)?;
                }
            }
            Event::Resume(it) => self.resume(spot, it)?,
            Event::Unbind(it) => self.unbind(spot, at, it)?,
        }
        Ok(())
    }

    fn put(&mut self, spot: Spot, record: &Record, by: Device) -> Result<(), Wrong> {
        Ok(self.spill.add(u64::from(by), spot, record)?)
    }

    fn invoke(&mut self, spot: Spot, at: u64, it: &Invoke) -> Result<(), Wrong> {
        let epoch = self.roster.acts(it.from, spot.file)?.epoch;
        let key = own(it.from, &it.id)?;
        let under_fault = self.files.last().is_some_and(|facts| facts.active > 0);
        self.counts.sent_under_fault += u64::from(under_fault);
        let record = Record::Invoke(Invocation {
            key,
            to: it.to,
            digest: it.digest,
            at,
            epoch,
            quiet: it.quiet,
        });
        self.put(spot, &record, key.sender)
    }

    fn settle(
        &mut self,
        spot: Spot,
        at: u64,
        (from, id): (Device, &Id),
        outcome: Outcome,
    ) -> Result<(), Wrong> {
        self.roster.acts(from, spot.file)?;
        let key = own(from, id)?;
        self.put(spot, &Record::Settle { key, outcome, at }, key.sender)
    }

    fn fault(&mut self, spot: Spot, at: u64, it: &Fault) {
        let Some(facts) = self.files.last_mut() else {
            return;
        };
        if it.start {
            facts.active += 1;
            facts.first_fault.get_or_insert(at);
            facts.faults.push(FaultAt {
                line: spot.line,
                kills: it.kind.starts_with("kill"),
                in_flight: 0,
                push: it.kind.starts_with("push"),
            });
        } else {
            facts.active = facts.active.saturating_sub(1);
        }
    }

    fn heal(&mut self, spot: Spot, at: u64) {
        if let Some(facts) = self.files.last_mut() {
            facts.healed = Some((at, spot.line));
            facts.active = 0;
        }
    }

    fn prekey(&mut self, spot: Spot, at: u64, it: &Prekey) -> Result<(), Wrong> {
        self.roster.acts(it.by, spot.file)?;
        self.counts.prekeys += u64::from(it.key.is_some());
        self.findings.judged(Rule::R11, 1);
        if it.asked > at {
            return Err(Wrong::Story("the answer came before the question".into()));
        }
        let name = |roster: &Roster| roster.name(it.target);
        if !it.sig_ok {
            self.findings.broken(Rule::R11, || {
                let who = name(&self.roster);
                (format!("a bundle of {who} has a bad signature"), vec![spot])
            });
        }
        if let Some((newest, there)) = self.versions.answered(spot, at, it) {
            self.findings.broken(Rule::R11, || {
                let (who, old) = (name(&self.roster), it.version);
                let what = format!(
                    "the signed prekey of {who} went back to {old}, after {newest} was handed out"
                );
                (what, vec![there, spot])
            });
        }
        if let Some(key) = it.key {
            let target = it.target;
            self.put(spot, &Record::Prekey { target, key }, target)?;
        }
        Ok(())
    }

    fn push(&mut self, spot: Spot, it: &Push) -> Result<(), Wrong> {
        self.counts.pushes += 1;
        self.findings.judged(Rule::R12, 1);
        let name = self.roster.name(it.to);
        let Some(known) = self.roster.of_mut(it.to) else {
            return Err(Wrong::Story(format!("device {} was never declared", it.to)));
        };
        let wanted = known.endpoint.as_deref();
        let wrong = if !it.sig_ok {
            Some(format!("a call for {name} has a bad signature"))
        } else if wanted != Some(it.endpoint.as_str()) {
            let wanted = wanted.unwrap_or("none");
            Some(format!(
                "a call for {name} came to {}, its endpoint is {wanted}",
                it.endpoint
            ))
        } else {
            if known.lives_in(spot.file) {
                known.called_here();
            } else {
                known.called_elsewhere = true;
            }
            None
        };
        if let Some(what) = wrong {
            self.findings.broken(Rule::R12, || (what, vec![spot]));
        }
        let wake = hash(&it.wake);
        let record = Record::Push {
            wake,
            to: it.to,
            endpoint: hash(&it.endpoint),
            attempt: it.attempt,
        };
        Ok(self.spill.add(wake, spot, &record)?)
    }

    /// All files were read.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let mut left = Vec::new();
        for known in self.roster.everyone() {
            for stream in std::mem::take(&mut known.streams) {
                left.extend(stream.unacked);
            }
            for (spot, delivery) in left.drain(..) {
                let by = u64::from(delivery.key.sender);
                self.spill.add(by, spot, &Record::Deliver(delivery))?;
            }
        }
        self.counts.devices = self.roster.len();
        self.undrained();
        Ok(())
    }
}

/// Why an event cannot be taken.
enum Wrong {
    Spill(io::Error),
    /// It contradicts those before it.
    Story(String),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::Spill(error)
    }
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Self::Story(what)
    }
}

/// The key of a message by its sender's own word.
fn own(from: Device, id: &Id) -> Result<Key, String> {
    let key = Key::new(id, from);
    if key.sender == from {
        Ok(key)
    } else {
        Err(format!(
            "device {from} uses the id {id}, which names device {} as sender",
            key.sender
        ))
    }
}
