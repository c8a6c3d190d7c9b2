//! What load generators saw, event by event, and whether the promises held.
//!
//! Each process of a run writes one file of [`Event`]s through a [`Writer`]: one JSON line an event,
//! in the order in which they happened to that process.
//!
//! **Invariants**: the order of a file is the order of its process, and nothing else orders events:
//! the wall clock in a header is for people. An event that could not be written is an error of the
//! run, and the file says so. What a device did is told by one process.

mod check;
mod event;
mod id;
mod line;
mod read;
mod render;
mod times;
mod verdict;
mod write;

pub use check::{CheckError, Options, check, check_files};
pub use event::{
    Bind, Block, Deliver, Devack, DeviceIs, Drained, Event, Fail, Fault, Handled, Heal,
    IdentityChange, Info, Invoke, Note, Notice, Passed, Prekey, Push, Receipt, ReceiptKind, Resume,
    Unbind,
};
pub use id::{Device, Digest, Id};
pub use line::{Header, Line, SCHEMA};
pub use read::{Ending, ReadError, Reader, files};
pub use render::render;
pub use times::{OfFault, Times, percentile, times};
pub use verdict::{
    Counts, FileSeen, Finding, Minimums, Outcome, RULES, Rule, Tally, Verdict, Witness,
};
pub use write::{Recorder, WriteError, Writer, WriterOptions, write_whole};
