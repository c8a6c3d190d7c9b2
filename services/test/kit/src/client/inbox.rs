//! The application's own check of what arrives: each (sender, id) once, and in order per sender.
//!
//! The promise is effectively once for a device; a copy may still come over the wire after a lost
//! acknowledgement, so a client drops ids that it has seen. Both are counted apart.

use std::collections::{HashMap, HashSet, VecDeque};

/// Ids remembered for one sender: the gateway's own window is as long.
const WINDOW: usize = 10_000;
/// Senders remembered; one more and the memory starts anew.
const MAX_SENDERS: usize = 100_000;

/// What an id means to the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Seen before: drop it.
    Copy,
    /// New.
    New,
    /// New, but a later one of the same numbered series came before it.
    OutOfOrder,
}

#[derive(Debug, Default)]
struct Sender {
    seen: HashSet<Box<str>>,
    order: VecDeque<Box<str>>,
    series: HashMap<Box<str>, u64>,
}

/// Remembers what arrived.
#[derive(Debug, Default)]
pub struct Inbox {
    senders: HashMap<Box<str>, Sender>,
}

impl Inbox {
    /// Notes an arrival.
    pub fn note(&mut self, from: &str, id: &str) -> Arrival {
        if !self.senders.contains_key(from) {
            if self.senders.len() >= MAX_SENDERS {
                self.senders.clear();
            }
            self.senders.insert(from.into(), Sender::default());
        }
        match self.senders.get_mut(from) {
            Some(sender) => sender.note(id),
            None => Arrival::New,
        }
    }
}

impl Sender {
    fn note(&mut self, id: &str) -> Arrival {
        if !self.seen.insert(id.into()) {
            return Arrival::Copy;
        }
        self.order.push_back(id.into());
        if self.order.len() > WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        let Some((series, number)) = numbered(id) else {
            return Arrival::New;
        };
        match self.series.get_mut(series) {
            Some(last) if *last > number => Arrival::OutOfOrder,
            Some(last) => {
                *last = number;
                Arrival::New
            }
            None => {
                if self.series.len() >= WINDOW {
                    self.series.clear();
                }
                self.series.insert(series.into(), number);
                Arrival::New
            }
        }
    }
}

/// Splits an id that ends in a number: `series-17`.
fn numbered(id: &str) -> Option<(&str, u64)> {
    let (series, number) = id.rsplit_once('-')?;
    Some((series, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_id_is_new_once_for_each_sender() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.note("7-1", "x"), Arrival::New);
        assert_eq!(inbox.note("7-2", "x"), Arrival::New);
        assert_eq!(inbox.note("7-1", "x"), Arrival::Copy);
    }

    #[test]
    fn a_numbered_series_must_rise() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.note("7-1", "s-1"), Arrival::New);
        assert_eq!(inbox.note("7-1", "s-3"), Arrival::New);
        assert_eq!(inbox.note("7-1", "s-2"), Arrival::OutOfOrder);
        assert_eq!(inbox.note("7-1", "t-1"), Arrival::New);
        assert_eq!(inbox.note("7-1", "s-2"), Arrival::Copy);
    }

    #[test]
    fn the_window_forgets_the_oldest_id_first() {
        let mut inbox = Inbox::default();
        for number in 0..=WINDOW {
            assert_eq!(inbox.note("7-1", &format!("n{number}")), Arrival::New);
        }
        assert_eq!(inbox.note("7-1", "n1"), Arrival::Copy);
        assert_eq!(inbox.note("7-1", "n0"), Arrival::New);
    }
}
