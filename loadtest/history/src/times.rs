//! How long clients wait for what a fault took from them: sessions until they flow again elsewhere,
//! recipients until what was sent to them comes.
//!
//! In: the events of each process, in their order; loads whose users stay online. Out: [`Times`], a
//! sorted sample of spans for each kind of fault.
//!
//! **What is measured**
//! - A fault begins with its line, which is written before the order that makes it, so a span holds the
//!   time that the order takes too. It is looked at until the next one begins, [`WINDOW`] at most. One that
//!   begins earlier than [`SETTLE`] after the end of another is left out, and that one with it if it is on.
//! - `back`: a device whose connection ended in that time, from the begin of the fault to the first
//!   thing that the gateway said over its next connection (a message, an `h`, a receipt).
//! - `stalled`: a recipient; the longest that a message for it was waited for: from its sending, or from the
//!   begin of the fault if that is later, to its delivery. Left out are recipients who waited no longer than
//!   twice the 99th percentile before the first fault, or [`FLOOR`]: the fault did not touch them.
//! - `longest`: the longest of those waits, once for each fault.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use serde::Serialize;

use crate::event::{Event, Fault};
use crate::id::{Device, Id};
use crate::read::{ReadError, Reader, files};

/// How long a fault is looked at.
const WINDOW: Duration = Duration::from_secs(60);
/// After the end of a fault everything may still be late by it; and messages of the last such span
/// before the next fault are not waited for.
const SETTLE: Duration = Duration::from_secs(10);
/// Waits that nobody calls a stall, whatever was before.
const FLOOR: Duration = Duration::from_millis(100);

/// What a run's faults cost its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// By the kind of the fault, as `kill-router`.
    pub faults: BTreeMap<String, OfFault>,
    /// Devices that had a session.
    pub sessions: usize,
    /// Connections that went on with the session of the one before, since the first fault.
    pub resumed: u64,
    /// Devices that had to begin a new session, since the first fault.
    pub anew: usize,
}

/// What faults of one kind cost. All spans are in nanoseconds, and sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OfFault {
    /// Faults that were looked at.
    pub counted: u64,
    /// Faults too near to others.
    pub overlapped: u64,
    /// See the module.
    pub back: Vec<u64>,
    /// Devices whose connection ended, and over whose next one nothing came in time.
    pub gone: u64,
    /// See the module.
    pub stalled: Vec<u64>,
    /// Recipients of messages that did not come in time.
    pub waiting: u64,
    /// See the module; of the faults after which everything came.
    pub longest: Vec<u64>,
}

/// Reads all files of a folder.
///
/// # Errors
/// [`ReadError`].
pub fn times(folder: &Path) -> Result<Times, ReadError> {
    let mut times = Times::default();
    for path in files(folder)? {
        let mut reader = Reader::open(&path)?;
        let mut seen = Seen::default();
        while let Some(line) = reader.next_event()? {
            seen.take(line.at, &line.event);
        }
        seen.finish(&mut times);
    }
    for of in times.faults.values_mut() {
        for spans in [&mut of.back, &mut of.stalled, &mut of.longest] {
            spans.sort_unstable();
        }
    }
    Ok(times)
}

/// The value of a sorted sample below or at which so many percent lie, by nearest rank.
pub fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// What the events of one process tell.
#[derive(Default)]
struct Seen {
    faults: Vec<Struck>,
    sent: HashMap<(Device, Id), (u64, Device)>,
    /// Of each sender, the message that it sent last for the first time.
    newest: HashMap<Device, u64>,
    messages: Vec<Message>,
    away: HashMap<Device, Away>,
    returns: Vec<Away>,
    /// Whether it began a new session since the first fault.
    sessions: HashMap<Device, bool>,
    resumed: u64,
}

struct Struck {
    name: (String, String),
    begun: u64,
    ended: Option<u64>,
}

struct Message {
    to: Device,
    sent: u64,
    came: Option<u64>,
}

/// A device from the end of a connection until something comes over the next.
#[derive(Clone, Copy, Default)]
struct Away {
    since: u64,
    /// The number of the next connection.
    epoch: Option<u32>,
    until: Option<u64>,
}

impl Seen {
    fn take(&mut self, at: u64, event: &Event) {
        let struck = !self.faults.is_empty();
        match event {
            Event::Bind(it) => {
                let anew = self.sessions.contains_key(&it.device) && struck;
                *self.sessions.entry(it.device).or_default() |= anew;
                self.connected(it.device, it.epoch);
            }
            Event::Resume(it) => {
                self.resumed += u64::from(struck);
                self.connected(it.device, it.epoch);
            }
            Event::Unbind(it) => {
                // A connection over which nothing came does not end the wait for one.
                let away = self.away.entry(it.device).or_insert(Away {
                    since: at,
                    ..Away::default()
                });
                away.epoch = None;
            }
            Event::Deliver(it) => {
                self.flows(at, it.to, it.epoch);
                if let Some((sent, to)) = self.sent.remove(&(it.from, it.id.clone())) {
                    let came = Some(at);
                    self.messages.push(Message { to, sent, came });
                }
            }
            Event::H(it) => self.flows(at, it.device, it.epoch),
            Event::Receipt(it) => self.flows(at, it.to, it.epoch),
            // What is sent again is waited for since the first time, and may be there already.
            Event::Invoke(it) if self.newest.get(&it.from).is_none_or(|n| *n < it.n) => {
                self.newest.insert(it.from, it.n);
                self.sent.insert((it.from, it.id.clone()), (at, it.to));
            }
            Event::Fail(it) => {
                self.sent.remove(&(it.from, it.id.clone()));
            }
            Event::Fault(it) => self.fault(at, it),
            _ => {}
        }
    }

    fn fault(&mut self, at: u64, fault: &Fault) {
        let name = (fault.kind.clone(), fault.target.clone());
        if fault.start {
            let (begun, ended) = (at, None);
            self.faults.push(Struck { name, begun, ended });
            return;
        }
        let open = |it: &&mut Struck| it.ended.is_none() && it.name == name;
        if let Some(struck) = self.faults.iter_mut().find(open) {
            struck.ended = Some(at);
        }
    }

    fn connected(&mut self, device: Device, epoch: u32) {
        if let Some(away) = self.away.get_mut(&device) {
            away.epoch = Some(epoch);
        }
    }

    fn flows(&mut self, at: u64, device: Device, epoch: u32) {
        let is_next = |away: &Away| away.epoch == Some(epoch);
        if self.away.get(&device).is_some_and(is_next)
            && let Some(away) = self.away.remove(&device)
        {
            let until = Some(at);
            self.returns.push(Away { until, ..away });
        }
    }

    fn finish(mut self, times: &mut Times) {
        let left = self.sent.drain();
        let left = left.map(|(_, (sent, to))| Message {
            to,
            sent,
            came: None,
        });
        self.messages.extend(left);
        self.returns.extend(self.away.drain().map(|(_, away)| away));
        times.sessions += self.sessions.len();
        times.anew += self.sessions.values().filter(|anew| **anew).count();
        times.resumed += self.resumed;
        let first = self.faults.first().map_or(0, |fault| fault.begun);
        let before = self.messages.iter().filter_map(|message| {
            let came = message.came.filter(|came| *came <= first)?;
            Some(came - message.sent)
        });
        let mut before: Vec<u64> = before.collect();
        before.sort_unstable();
        let usual = percentile(&before, 99).unwrap_or_default();
        let floor = nanos(FLOOR).max(usual.saturating_mul(2));
        for (number, fault) in self.faults.iter().enumerate() {
            let of = times.faults.entry(fault.name.0.clone()).or_default();
            let earlier = self.faults.iter().take(number);
            let mut earlier = earlier.map(|it| it.ended.unwrap_or(u64::MAX));
            let next = self.faults.get(number + 1).map(|it| it.begun);
            let under = next.is_some_and(|next| fault.ended.is_none_or(|ended| next < ended));
            let late = |ended: u64| ended.saturating_add(nanos(SETTLE)) > fault.begun;
            if under || earlier.any(late) {
                of.overlapped += 1;
                continue;
            }
            of.counted += 1;
            let end = fault.begun + nanos(WINDOW);
            let window = (fault.begun, next.map_or(end, |next| next.min(end)));
            self.look(window, floor, of);
        }
    }

    /// What became of sessions and messages after a fault.
    fn look(&self, (begun, end): (u64, u64), floor: u64, of: &mut OfFault) {
        for away in &self.returns {
            if (begun..end).contains(&away.since) {
                match away.until.filter(|until| *until <= end) {
                    Some(until) => of.back.push(until - begun),
                    None => of.gone += 1,
                }
            }
        }
        let mut waits = HashMap::<Device, u64>::new();
        for message in &self.messages {
            let came = message.came.unwrap_or(u64::MAX);
            if came <= begun || message.sent >= end.saturating_sub(nanos(SETTLE)) {
                continue;
            }
            let wait = waits.entry(message.to).or_default();
            let this = if came > end {
                u64::MAX
            } else {
                came - message.sent.max(begun)
            };
            *wait = this.max(*wait);
        }
        let waiting = waits.values().filter(|wait| **wait == u64::MAX).count();
        of.waiting += u64::try_from(waiting).unwrap_or(u64::MAX);
        if waiting == 0 {
            of.longest.extend(waits.values().max());
        }
        let stalled = waits.into_values();
        of.stalled
            .extend(stalled.filter(|wait| *wait > floor && *wait < u64::MAX));
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Bind, Deliver, Handled, Invoke, Resume, Unbind};
    use crate::id::Digest;

    const S: u64 = 1_000_000_000;

    fn bind(device: Device, epoch: u32) -> Event {
        let node = String::new();
        Event::Bind(Bind {
            device,
            epoch,
            node,
        })
    }

    fn resume(device: Device, epoch: u32) -> Event {
        let (node, h) = (String::new(), 0);
        Event::Resume(Resume {
            device,
            epoch,
            node,
            h,
        })
    }

    fn h(device: Device, epoch: u32) -> Event {
        let (value, sent) = (1, 1);
        Event::H(Handled {
            device,
            epoch,
            value,
            sent,
        })
    }

    fn fault(kind: &str, start: bool) -> Event {
        let (kind, target) = (kind.to_owned(), "one".to_owned());
        Event::Fault(Fault {
            kind,
            target,
            start,
        })
    }

    fn invoke(n: u64) -> Event {
        let (id, digest) = (Id::own(1, n), Digest(1));
        let (from, to, quiet) = (1, 2, false);
        Event::Invoke(Invoke {
            from,
            to,
            id,
            n,
            digest,
            quiet,
        })
    }

    fn deliver(n: u64) -> Event {
        Event::Deliver(Deliver {
            to: 2,
            from: 1,
            id: Id::own(1, n),
            digest: Digest(1),
            epoch: 1,
            delayed: false,
            copy: false,
            seq: None,
        })
    }

    fn told(events: &[(u64, Event)]) -> Times {
        let mut seen = Seen::default();
        for (at, event) in events {
            seen.take(*at, event);
        }
        let mut times = Times::default();
        seen.finish(&mut times);
        times
    }

    #[test]
    fn a_session_is_back_when_something_comes_over_its_next_connection() {
        let unbind = |device, epoch| Event::Unbind(Unbind { device, epoch });
        let times = told(&[
            (0, bind(1, 1)),
            (0, bind(2, 1)),
            (0, bind(3, 1)),
            (S, fault("kill-connection", true)),
            (2 * S, unbind(1, 1)),
            (2 * S, unbind(2, 1)),
            (2 * S, unbind(3, 1)),
            (3 * S, resume(1, 2)),
            (3 * S, bind(2, 2)),
            // That connection ends before anything came.
            (4 * S, unbind(2, 2)),
            (5 * S, fault("kill-connection", false)),
            (6 * S, h(1, 2)),
            (7 * S, resume(2, 3)),
            (8 * S, h(2, 3)),
        ]);
        let of = &times.faults["kill-connection"];
        assert_eq!((of.counted, of.gone), (1, 1));
        assert_eq!(of.back, [5 * S, 7 * S]);
        assert_eq!((times.sessions, times.resumed, times.anew), (3, 2, 1));
    }

    #[test]
    fn a_recipient_waits_from_the_fault_on_and_what_never_comes_is_counted_apart() {
        let mut events = vec![
            (0, bind(1, 1)),
            (0, bind(2, 1)),
            (S, invoke(1)),
            (2 * S, fault("kill-router", true)),
            (3 * S, invoke(2)),
            (4 * S, fault("kill-router", false)),
            (6 * S, deliver(1)),
            (6 * S, deliver(2)),
            (7 * S, invoke(1)),
        ];
        let of = &told(&events).faults["kill-router"];
        assert_eq!((&*of.stalled, &*of.longest), (&[4 * S][..], &[4 * S][..]));
        events.push((8 * S, invoke(3)));
        let of = &told(&events).faults["kill-router"];
        assert_eq!((of.waiting, of.stalled.len(), of.longest.len()), (1, 0, 0));
    }

    #[test]
    fn who_waits_as_long_as_before_the_fault_has_no_stall() {
        let mut events = vec![
            (0, bind(1, 1)),
            (0, bind(2, 1)),
            (S, invoke(1)),
            (2 * S, deliver(1)),
        ];
        events.extend([
            (3 * S, fault("kill-broker", true)),
            (4 * S, fault("kill-broker", false)),
        ]);
        events.extend([(5 * S, invoke(2)), (6 * S, deliver(2))]);
        let of = &told(&events).faults["kill-broker"];
        assert_eq!((of.stalled.len(), &*of.longest), (0, &[S][..]));
    }

    #[test]
    fn faults_that_are_near_to_each_other_are_left_out() {
        let events = |ends: u64, next: u64| {
            vec![
                (S, fault("a", true)),
                (ends, fault("a", false)),
                (next, fault("b", true)),
                (next + S, fault("b", false)),
            ]
        };
        let mut near = events(2 * S, 5 * S);
        near.sort_by_key(|(at, _)| *at);
        let counted = |times: &Times, of: &str| {
            let of = &times.faults[of];
            (of.counted, of.overlapped)
        };
        let times = told(&near);
        assert_eq!(
            (counted(&times, "a"), counted(&times, "b")),
            ((1, 0), (0, 1))
        );
        let mut over = events(20 * S, 15 * S);
        over.sort_by_key(|(at, _)| *at);
        let times = told(&over);
        assert_eq!(
            (counted(&times, "a"), counted(&times, "b")),
            ((0, 1), (0, 1))
        );
        let times = told(&events(2 * S, 20 * S));
        assert_eq!(
            (counted(&times, "a"), counted(&times, "b")),
            ((1, 0), (1, 0))
        );
    }

    #[test]
    fn percentiles_are_values_of_the_sample() {
        let sample: Vec<u64> = (1..=20).collect();
        let of = |percent| percentile(&sample, percent).unwrap();
        assert_eq!((of(0), of(50), of(95), of(100)), (1, 10, 19, 20));
        assert_eq!(percentile(&[7], 95), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }
}
