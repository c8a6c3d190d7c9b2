//! Models of how Entente keeps its promise, small enough that a search visits every state.
//!
//! Four models, because the joint space would be far too large, and because the parts meet in one
//! narrow place: the fold of a shard's log is a pure function of the log.
//!
//! - [`takeover`]: claims, state topic, compaction, zombies, snapshots, replay, output counters. It
//!   shows that what a new owner rebuilds *equals the fold of the log*, whatever died, paused,
//!   overwrote or was compacted. `submit` and `delivery` stand on this and compute the fold from the log.
//! - [`handover`]: who owns a shard when routers share the shards: a group that may say anything, claims
//!   of rows and of input, commits that come too late, and the floor of the input.
//! - [`submit`]: from a sender's stanza to the `h` that covers it: lost reports, stray copies, a full
//!   log, refusals, the twin of the inbound count.
//! - [`delivery`]: from the mailbox to the receipt: session epochs, stale edges, zombies, resume, the
//!   twin of the outbound positions.
//!
//! Each file says what every element stands for, what is abstracted and why, and what the
//! implementation relies on. Three kinds of statement are checked: `always` in every reachable
//! state; `sometimes` in at least one, so that a model that cannot get anywhere does not pass; and
//! that each [`Bug`] breaks the property it must, so that a property that cannot fail does not pass.
//! `cargo run -p entente-model` prints the table.
//!
//! | promise | property | models |
//! |---|---|---|
//! | no acknowledged loss | "no acknowledged loss" | all |
//! | effectively once | "effectively once", "a session hands nothing over twice" | all |
//! | first in, first out | "fifo per sender" | all |
//! | one outcome | "never both accepted and refused", "h never goes back" | submit |
//! | honest receipts | "receipt only after device ack", "each settled message has one receipt" | takeover, delivery |
//! | one epoch counts | "an epoch has one holder", "replay equals the fold of the log", "one edge holds the newest session" | takeover, delivery |
//!
//! Not modelled: time (dedupe windows that end, expiry, sweeps), Redis (no step reads it), more than
//! one recipient, loss of the log itself.

// A model counts with indices that range over its own small constants, and a slip has to stop the
// search loudly instead of being skipped.
#![expect(
    clippy::indexing_slicing,
    reason = "indices range over the models' own constants"
)]

pub mod check;
pub mod delivery;
pub mod handover;
pub mod submit;
pub mod takeover;

/// A mistake seeded into a model, to show that the properties would notice it.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Bug {
    /// No mistake.
    None,
    /// The edge counts a message as handled when it submits it.
    AckBeforeAppend,
    /// The client is told an `h` that the twin does not have.
    AckBeforeTwin,
    /// The key of a claim is its epoch, without the nonce.
    ClaimsShareKey,
    /// The owner does not write again what a lower epoch overwrote.
    CompactionKeepsZombie,
    /// The compaction lag is shorter than repair takes.
    CompactionOutrunsRepair,
    /// A new owner numbers its outputs from one.
    CountersReset,
    /// An edge writes what any owner sends, not only the one it is attached to.
    EdgeIgnoresOwner,
    /// The fold accepts an id again.
    NoDedupe,
    /// A reader of the state topic takes the last value, whoever wrote it.
    NoEpochCheck,
    /// The owner reads an old session's acknowledgement in the new session's map.
    NoSessionCheck,
    /// The covered offset is written before the values that it covers.
    OffsetBeforeEffect,
    /// An edge whose owner died submits the last stanza again before those before it.
    ReattachAhead,
    /// An edge whose owner died takes for appended what was submitted.
    ReattachForgets,
    /// What the log did not take is answered with an error, whatever became of earlier copies.
    RefuseWithoutVerdict,
    /// Replay applies every record to every slice, whatever the slice reflects already.
    ReplayWithoutStamps,
    /// The settle command follows the write to the socket, not the device's acknowledgement.
    SettleBySocketWrite,
    /// A message is submitted while the one before it has no outcome.
    SubmitAhead,
    /// Input is deleted up to a covered offset that was written, but not read back.
    TrimUnread,
    /// The twin keeps `h` without the refusals below it.
    TwinForgetsErrors,
    /// What the edge makes itself takes no position in the twin.
    TwinMissesPositions,
    /// An owner answers a resume without reading its state partition to the end.
    ZombieAnswersResume,
}
