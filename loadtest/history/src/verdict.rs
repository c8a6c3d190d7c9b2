//! What a check came to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::read::Ending;

/// The rules of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// Each accepted message is delivered, or has one failure notice.
    R1,
    /// Each delivery is of a message that was sent so, to there, and not refused.
    R2,
    /// No message is handed to an application twice; copies come only while unacknowledged or over
    /// another connection.
    R3,
    /// Deliveries of a sender to a recipient are in the order of sending.
    R4,
    /// No hole that a recipient has acknowledged past is filled, and none is left by an accepted message.
    R5,
    /// `h` never falls, never passes what was sent, and no refusal comes after the `h` that covers it.
    R6,
    /// Nothing happens over a connection once a later one has been acknowledged over.
    R7,
    /// The partner of the sender is who it is said to be; no delivery crosses a block.
    R8,
    /// After the heal all is drained, and latency is back, in time.
    R9,
    /// A receipt comes once, and after the acknowledgement it speaks of.
    R10,
    /// One-time prekeys are handed out once, well signed, and signed prekeys never go back.
    R11,
    /// Who has messages waiting is woken, at the right endpoint, with a valid signature.
    R12,
}

/// All rules, in order.
pub const RULES: [Rule; 12] = [
    Rule::R1,
    Rule::R2,
    Rule::R3,
    Rule::R4,
    Rule::R5,
    Rule::R6,
    Rule::R7,
    Rule::R8,
    Rule::R9,
    Rule::R10,
    Rule::R11,
    Rule::R12,
];

/// Whether the promises held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Some rule was broken.
    Broken,
    /// None was, and the run was good enough to tell.
    Held,
    /// None was, but the run proves nothing: it missed a minimum, or parts of it are not known.
    Vacuous,
}

/// A line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The process whose file it is in.
    pub process: String,
    /// The line, from 1.
    pub line: u64,
    /// Its text.
    pub text: String,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which.
    pub rule: Rule,
    /// How.
    pub what: String,
    /// The ids of the messages that the witnesses speak of.
    pub ids: Vec<String>,
    /// The events it follows from and those around them, by process and line.
    pub events: Vec<Witness>,
    /// The seed that the run is repeated with.
    pub seed: u64,
}

/// How a rule fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Cases that it was applied to.
    pub judged: u64,
    /// Cases that it could not be applied to: what would tell is not in the files.
    pub unjudged: u64,
    /// Cases that broke it, all of them.
    pub broken: u64,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSeen {
    /// Its process.
    pub process: String,
    /// Its lines.
    pub lines: u64,
    /// How it ends.
    pub ending: Ending,
}

/// What happened, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Devices.
    pub devices: u64,
    /// Messages sent, each once however often it was sent again.
    pub invoke: u64,
    /// Sendings of a message again.
    pub resent: u64,
    /// Messages that ended accepted.
    pub ok: u64,
    /// Messages that ended refused.
    pub fail: u64,
    /// Messages of which nobody knows.
    pub info: u64,
    /// Messages without any outcome in the files.
    pub open: u64,
    /// Deliveries, copies too.
    pub deliver: u64,
    /// Messages that were delivered.
    pub delivered: u64,
    /// Deliveries of a message that the device had been given before.
    pub wire_duplicates: u64,
    /// Those of them that reached the application.
    pub app_duplicates: u64,
    /// Messages that were sent more than once and delivered once at most.
    pub suppressed: u64,
    /// Delivered receipts.
    pub receipts: u64,
    /// Failure notices.
    pub notices: u64,
    /// Fresh sessions.
    pub binds: u64,
    /// Resumed sessions.
    pub resumes: u64,
    /// Those of them that went on at another node.
    pub takeovers: u64,
    /// Faults that started.
    pub faults: u64,
    /// Those of them that killed.
    pub kills: u64,
    /// Kills while messages were on their way.
    pub kills_in_flight: u64,
    /// Messages that were on their way when a fault started, one count a fault.
    pub in_flight_at_faults: u64,
    /// Messages first sent while a fault was on.
    pub sent_under_fault: u64,
    /// One-time prekeys handed out.
    pub prekeys: u64,
    /// Calls of endpoints.
    pub pushes: u64,
    /// Times that a device was due to be woken.
    pub wakes_due: u64,
    /// Devices that drained.
    pub drained: u64,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The version of this, 1.
    pub verdict: u32,
    /// The run.
    pub run: String,
    /// Whether the promises held.
    pub outcome: Outcome,
    /// Every rule's tally.
    pub rules: BTreeMap<Rule, Tally>,
    /// The first findings of each rule.
    pub findings: Vec<Finding>,
    /// Why the run proves nothing; empty if it does.
    pub vacuous: Vec<String>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
    /// What happened, counted.
    pub counts: Counts,
    /// The files.
    pub files: Vec<FileSeen>,
    /// Bytes that the check put into temporary files.
    pub spilled_bytes: u64,
}

/// What a run must contain to prove anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Minimums {
    /// Accepted messages.
    pub ok: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Faults.
    pub faults: u64,
    /// Kills while messages were on their way.
    pub kills_in_flight: u64,
    /// Resumed sessions.
    pub resumes: u64,
    /// Sessions resumed at another node.
    pub takeovers: u64,
    /// Messages sent again and delivered once.
    pub suppressed: u64,
    /// Receipts.
    pub receipts: u64,
    /// One-time prekeys.
    pub prekeys: u64,
    /// Wake-ups that were due.
    pub wakes_due: u64,
}

impl Minimums {
    /// What is missing, in words.
    pub(crate) fn missed(&self, counts: &Counts) -> Vec<String> {
        [
            ("accepted messages", self.ok, counts.ok),
            ("delivered messages", self.delivered, counts.delivered),
            ("faults", self.faults, counts.faults),
            (
                "kills while messages were on their way",
                self.kills_in_flight,
                counts.kills_in_flight,
            ),
            ("resumed sessions", self.resumes, counts.resumes),
            (
                "sessions resumed at another node",
                self.takeovers,
                counts.takeovers,
            ),
            (
                "messages sent again and delivered once",
                self.suppressed,
                counts.suppressed,
            ),
            ("receipts", self.receipts, counts.receipts),
            ("one-time prekeys", self.prekeys, counts.prekeys),
            ("wake-ups that were due", self.wakes_due, counts.wakes_due),
        ]
        .into_iter()
        .filter(|(_, least, seen)| seen < least)
        .map(|(what, least, seen)| format!("{what}: {seen}, at least {least} were asked for"))
        .collect()
    }
}
