//! The events of a run, as the clients, the partner's endpoints and the campaign saw them.
//!
//! **When to record**: `invoke` before the stanza is written to the socket; `devack` before the
//! acknowledgement is; everything that arrives, when it has been read and before it is acted upon.
//! So a line that comes after another in one file really came after it.

use serde::{Deserialize, Serialize};

use crate::id::{Device, Digest, Id};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A device has a new session.
    Bind(Bind),
    /// A device blocks another, or takes the block back.
    Block(Block),
    /// A message reached a device.
    Deliver(Deliver),
    /// A device acknowledged deliveries.
    Devack(Devack),
    /// Who a number is.
    Device(DeviceIs),
    /// A device has nothing outstanding any more.
    Drained(Drained),
    /// A message was refused.
    Fail(Fail),
    /// A fault starts or stops.
    Fault(Fault),
    /// The gateway acknowledged stanzas of a device.
    H(Handled),
    /// All faults are over.
    Heal(Heal),
    /// A device has new identity keys.
    IdentityChange(IdentityChange),
    /// Nothing tells what became of a message.
    Info(Info),
    /// A message is about to be sent, or sent again.
    Invoke(Invoke),
    /// Words for people.
    Note(Note),
    /// An accepted message could not be delivered after all.
    Notice(Notice),
    /// A message was accepted.
    Ok(Passed),
    /// A one-time prekey was handed out.
    Prekey(Prekey),
    /// A partner's endpoint was called to wake a device.
    Push(Push),
    /// A sender was told of its message.
    Receipt(Receipt),
    /// A session goes on over a new connection.
    Resume(Resume),
    /// A connection is over.
    Unbind(Unbind),
}

/// Who a device number is. Before any other event of the device; the process whose file has the
/// device's own events tells them all, others may declare it too, in the same words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceIs {
    /// Its number, the same in all files of a run.
    pub device: Device,
    /// The number of its partner.
    pub partner: u16,
    /// Its account, as people would write it.
    pub account: String,
    /// Where its wake-ups go, as [`Push::endpoint`] names it; none if it asked for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// A message is about to be sent. Sent again with the same id, it is recorded again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoke {
    /// The device that sends.
    pub from: Device,
    /// The device that shall receive.
    pub to: Device,
    /// The stanza's id.
    pub id: Id,
    /// Counts the messages of the sender.
    pub n: u64,
    /// Of the body.
    pub digest: Digest,
    /// It need not wake anybody (a receipt between users, say).
    #[serde(default, skip_serializing_if = "is_false")]
    pub quiet: bool,
}

/// A message was accepted: an `h` covered it, or the answer was `accepted`, and no error came before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passed {
    /// The device that sent it.
    pub from: Device,
    /// Its id.
    pub id: Id,
    /// The connection over which the acceptance came.
    pub epoch: u32,
}

/// A message was refused by an error stanza before any `h` that covers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    /// The device that sent it.
    pub from: Device,
    /// Its id.
    pub id: Id,
    /// The condition of the error.
    pub reason: String,
}

/// The connection went and the message's outcome with it. Sent again it may still become ok.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Info {
    /// The device that sent it.
    pub from: Device,
    /// Its id.
    pub id: Id,
}

/// A message reached a device over its connection: copies too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deliver {
    /// The device that received it.
    pub to: Device,
    /// Who sent it, by the address that the gateway put on it.
    pub from: Device,
    /// Its id.
    pub id: Id,
    /// Of the body as it arrived.
    pub digest: Digest,
    /// The connection it came over.
    pub epoch: u32,
    /// It bore a mark of having waited (`<delay/>`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub delayed: bool,
    /// The client knew the id already and kept it from its application.
    #[serde(default, skip_serializing_if = "is_false")]
    pub copy: bool,
    /// The device's sequence, where the protocol shows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// A device acknowledged the first `count` deliveries (counted in `deliver` events) of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Devack {
    /// The device.
    pub device: Device,
    /// The connection whose deliveries these are. What a `<resume/>` acknowledges of the connection
    /// before is recorded with that one's number, before the [`Resume`].
    pub epoch: u32,
    /// How many of its deliveries are covered in all; never falls.
    pub count: u64,
}

/// What a receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiptKind {
    /// The gateway's word that the device acknowledged it.
    Delivered,
    /// The recipient's word that it was read.
    Read,
}

/// A receipt reached the sender of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The device that sent the message and now hears of it.
    pub to: Device,
    /// The device that the receipt speaks of.
    pub of: Device,
    /// The message's id.
    pub id: Id,
    /// What it says.
    pub kind: ReceiptKind,
    /// The connection it came over.
    pub epoch: u32,
}

/// A failure notice: the message had been accepted, and will not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// The device that sent the message.
    pub to: Device,
    /// The message's id.
    pub id: Id,
    /// Why it was given up.
    pub reason: String,
    /// The connection it came over.
    pub epoch: u32,
}

/// A device has a fresh session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// The device.
    pub device: Device,
    /// Counts the device's connections, resumed ones too; the client counts, from 1.
    pub epoch: u32,
    /// The node it is on, where the client can tell; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
}

/// A session was resumed over a new connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// The device.
    pub device: Device,
    /// The new connection's number.
    pub epoch: u32,
    /// The node it is on, where the client can tell; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The `h` of the gateway's `<resumed/>`, unwrapped to 64 bits.
    pub h: u64,
}

/// A connection is over, however it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unbind {
    /// The device.
    pub device: Device,
    /// The connection's number.
    pub epoch: u32,
}

/// An `<a h=…/>` of the gateway, each or a sample of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handled {
    /// The device.
    pub device: Device,
    /// The connection it came over.
    pub epoch: u32,
    /// The value, unwrapped to 64 bits; it counts on over resumes and starts at 0 with a bind.
    pub value: u64,
    /// Stanzas that the client had written when it read this, counted as `value` is.
    pub sent: u64,
}

/// A key bundle with a one-time prekey was handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prekey {
    /// The device that asked.
    pub by: Device,
    /// The device whose keys they are.
    pub target: Device,
    /// The one-time key; none when the target has run out. A run never gives one target the same
    /// number twice, new identity or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
    /// The signature over the signed prekey is that of the target's identity key.
    pub sig_ok: bool,
    /// The number of the signed prekey; grows with each that the target uploads.
    pub version: u64,
    /// When the question was sent, as [`Recorder::now`](crate::Recorder::now) says: answers that
    /// cross on their way prove nothing about each other.
    pub asked: u64,
}

/// A partner's endpoint was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// The endpoint that was called.
    pub endpoint: String,
    /// The device to wake.
    pub to: Device,
    /// The id of the call; the same on every attempt.
    pub wake: String,
    /// Counts the attempts of a call, from 1.
    pub attempt: u32,
    /// The gateway's signature over the call holds.
    pub sig_ok: bool,
}

/// A device blocks another. Recorded when the gateway has confirmed a block, and before it is asked
/// to lift one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The device that blocks.
    pub by: Device,
    /// The one that is blocked.
    pub peer: Device,
    /// Whether from now on, or no longer.
    pub on: bool,
}

/// A fault of the campaign starts or stops. Every process records it when it hears of it: only there
/// is it known which messages were on their way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which, as the campaign names it: `kill`, `stop`, `cut`, `disk-full`, `push-slow`, ...
    pub kind: String,
    /// What it hits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Starts (true) or stops.
    pub start: bool,
}

/// All faults are over. Every process records it when it hears of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heal {}

/// A device is connected, nothing of its own is unanswered and nothing came for as long as the run
/// demands. Once a device; no delivery after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drained {
    /// The device.
    pub device: Device,
}

/// A device has new identity keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityChange {
    /// The device.
    pub device: Device,
}

/// Words for people; no rule reads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// The words.
    pub text: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}
