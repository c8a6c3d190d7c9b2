//! What a process needs around its services: tasks, signals, readiness, logs, metrics, admin port.
//!
//! In: the operating system (signals, environment, `/proc`, sockets). Out: handles that services
//! are built with. A service starts no task, reads no variable and binds no metric but through here,
//! so that a drain can wait for all of it.
//!
//! The order of a drain is the program's; this crate only tells when it begins ([`Drain`]), who is
//! still at work ([`Tasks`]) and what load balancers see meanwhile ([`Readiness`]).

mod accept;
mod admin;
mod callers;
mod descriptors;
mod drain;
mod environment;
mod http_server;
mod labels;
mod logging;
mod metrics;
mod network;
mod process;
mod readiness;
mod signals;
mod tasks;

pub use accept::{AcceptLoop, AcceptMetrics, Listener, accept_loop};
pub use admin::{Admin, AdminSettings, Answering, Page, Pages};
pub use callers::{CallerLimits, CallerLimitsError, CallerRefusal, Callers, Stranger};
pub use descriptors::raise_descriptors;
pub use drain::{Drain, Phase};
pub use environment::{EnvironmentError, env};
pub use http_server::{HttpLimits, serve_http};
pub use labels::{Label, LabelValue, Labels};
pub use logging::{LogError, LogFormat, LogHandle, LogSettings, init_logging};
pub use metrics::{Buckets, Counters, Gauges, Histograms, Metrics, MetricsError};
pub use network::{Network, NetworkError};
pub use readiness::{Condition, Note, Readiness};
pub use signals::{Signal, Signals};
pub use tasks::{Straggler, Tasks};
