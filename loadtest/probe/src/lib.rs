//! What the processes under test cost: their CPU time, memory and descriptors, and what they publish.
//!
//! In: pids with the names that a report calls them by, and addresses of Prometheus pages. Out:
//! samples at a period, in bounded memory, with the times at which they were taken.
//!
//! **Invariants**: a counter in the samples of one process never falls; a process that ends is said
//! to have ended, and its last samples stay; nothing read from a peer or from `/proc` panics.
//!
//! It does not judge: what a message costs is worked out in `entente-report`.

mod host;
mod kept;
mod page;
mod sample;
mod sampler;
mod text;
mod watched;

pub use host::Host;
pub use page::{Page, PageError};
pub use sample::{Clock, MachineSample, Metric, Process, ProcessSample, Reading, Role};
pub use sampler::{Config, Glance, Probe, Sampler, Seen, Stopped};
pub use text::TextError;
pub use watched::Watch;
