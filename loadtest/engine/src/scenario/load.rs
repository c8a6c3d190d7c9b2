//! Who is connected, who writes what to whom, and what else happens.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::span;

/// Who is connected.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// Users, one session each.
    pub users: usize,
    /// Logins under way at once while all connect.
    pub at_once: usize,
    /// Whether XEP-0198 is on. Without it no send is ever known to be accepted.
    pub manage: bool,
    /// Whether XEP-0198 sessions are resumed after a cut.
    pub resume: bool,
    /// Time between keep-alives (a space) of an idle session; 0s for none.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub keep_alive: Duration,
    /// Partners among which users are spread in turn (`start` and `entente` only).
    pub partners: u16,
    /// Source addresses, 127.0.0.1 and on, over which connections to loopback are spread: one has
    /// about 28,000 ports.
    pub sources: u8,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            users: 100,
            at_once: 32,
            manage: true,
            resume: true,
            keep_alive: Duration::ZERO,
            partners: 1,
            sources: 64,
        }
    }
}

/// Who writes what to whom, and when.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Who writes to whom.
    pub pattern: Pattern,
    /// When messages are due.
    pub arrivals: Arrivals,
    /// Messages a second of all users together (`constant` and `poisson`).
    pub rate: f64,
    /// Messages under way for each sender (`closed`).
    pub window: u32,
    /// Receivers of `fan-in`, senders of `fan-out`.
    pub hubs: usize,
    /// Contacts that a user of `any` writes to.
    pub contacts: usize,
    /// Sizes of message bodies with their weights; of `signal` payloads, before they are encrypted.
    pub sizes: Vec<Size>,
    /// How bodies travel: as they are, or with `signal` encrypted by the sender and decrypted by the
    /// receiver through libsignal, in a session for each pair that is opened before load.
    pub payload: Payload,
    /// Share of messages that the recipient answers with a receipt (XEP-0184).
    pub receipts: f64,
    /// Share of messages for which the sender asks for the gateway's own receipt, which says that the
    /// recipient's device acknowledged them (`start` and `entente` only).
    pub delivered_receipts: f64,
    /// Share of messages before which a typing notice (XEP-0085) goes.
    pub typing: f64,
    /// Factors of the rate over the run, each for an equal part of it: a day in a minute.
    pub curve: Vec<f64>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            pattern: Pattern::Pairs,
            arrivals: Arrivals::Closed,
            rate: 1_000.0,
            window: 1,
            hubs: 1,
            contacts: 8,
            sizes: vec![Size {
                bytes: 512,
                weight: 1.0,
            }],
            payload: Payload::Plain,
            receipts: 0.0,
            delivered_receipts: 0.0,
            typing: 0.0,
            curve: Vec::new(),
        }
    }
}

/// Who writes to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Everybody writes to some contacts of theirs.
    Any,
    /// Many write to a few.
    FanIn,
    /// A few write to many.
    FanOut,
    /// Nobody writes.
    None,
    /// Of each two users, the first writes to the second.
    #[default]
    Pairs,
}

/// How bodies travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// As they are.
    #[default]
    Plain,
    /// As Signal messages.
    Signal,
}

/// When messages are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// When one before is done: a window. Its latencies leave out what would have come meanwhile.
    #[default]
    Closed,
    /// At equal distances, whatever the server does.
    Constant,
    /// At random distances (exponential), whatever the server does.
    Poisson,
}

/// One size of message bodies.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Bytes of the body.
    pub bytes: usize,
    /// How often, relative to the others.
    #[serde(default = "one")]
    pub weight: f64,
}

const fn one() -> f64 {
    1.0
}

/// Some users go away and come back.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Offline {
    /// Share of those who are written to that goes away.
    pub share: f64,
    /// How long each is away.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub away: Duration,
    /// How long each stays; 0s: it stays once it is back.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub stay: Duration,
    /// Over how long they come back when they come at once; 0s: each at its own time.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub within: Duration,
}

impl Default for Offline {
    fn default() -> Self {
        Self {
            share: 0.5,
            away: Duration::from_secs(10),
            stay: Duration::ZERO,
            within: Duration::from_secs(1),
        }
    }
}

/// Users log in and out.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Logins {
    /// Logins a second, whatever the server does; 0: each user logs in again as soon as it is out.
    pub rate: f64,
}

impl Default for Logins {
    fn default() -> Self {
        Self { rate: 0.0 }
    }
}

/// Connections are cut.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reconnect {
    /// Share of the sessions.
    pub share: f64,
    /// Time from the start of the measured span to the first cut, and between cuts.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub every: Duration,
    /// Over how long they come back.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub within: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            share: 1.0,
            every: Duration::from_secs(10),
            within: Duration::from_secs(2),
        }
    }
}

/// Requests for key bundles.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prekeys {
    /// Requests a second of all users together.
    pub rate: f64,
    /// One-time keys that each user uploads at its login; when they are used up, bundles come without.
    pub one_time: u32,
}

impl Default for Prekeys {
    fn default() -> Self {
        Self {
            rate: 100.0,
            one_time: 50,
        }
    }
}

/// Some users read slowly.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slow {
    /// Share of those who are written to.
    pub share: f64,
    /// Pause after each read, of at most `bytes`.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub pause: Duration,
    /// Bytes of a read.
    pub bytes: usize,
}

impl Default for Slow {
    fn default() -> Self {
        Self {
            share: 0.1,
            pause: Duration::from_millis(200),
            bytes: 1_024,
        }
    }
}

/// One partner sends more than its share; latencies are those of the others.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Noisy {
    /// How many times as much as the users of another partner its users send. It comes on top of `load.rate`.
    pub factor: f64,
}

impl Default for Noisy {
    fn default() -> Self {
        Self { factor: 20.0 }
    }
}
