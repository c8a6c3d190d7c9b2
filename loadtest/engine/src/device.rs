//! One device: what it sent and has not heard of, and where its session stands.
//!
//! **Invariants**
//! - `queue` holds every stanza that no `h` covered, oldest first; the first `written` of them went
//!   out in this session. A resumed session writes again from what the server has; a fresh one from
//!   the first message, under the same ids.
//! - A message is over when it was delivered and covered, or refused; only then is it forgotten.

use std::collections::VecDeque;
use std::task::Waker;

use crate::account::Account;
use crate::seal::Sealer;

/// What is to be written.
#[derive(Clone, Debug)]
pub(crate) enum Out {
    /// An answer to a request of the server.
    Answer(Box<[u8]>),
    /// A request for the bundle of a user.
    Ask { target: u32, n: u32 },
    /// Message `n`.
    Message(u32),
    /// Initial presence.
    Presence,
    /// A receipt for a message of another.
    Receipt {
        to: u32,
        n: u32,
        at: u64,
        wrote: u64,
    },
    /// A typing notice to a peer.
    Typing(u16),
    /// One-time keys, so many.
    Upload(u32),
}

/// Somebody whom the device writes to.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its index.
    pub(crate) to: u32,
    /// The last that was delivered to it.
    last: Option<u32>,
    /// The last that was delivered over an earlier connection of it.
    earlier: Option<u32>,
    epoch: u32,
}

impl Peer {
    pub(crate) const fn new(to: u32) -> Self {
        Self {
            to,
            last: None,
            earlier: None,
            epoch: 0,
        }
    }
}

/// A message that is not over.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    /// When it was due.
    pub(crate) at: u64,
    /// When it was written; 0 before.
    pub(crate) wrote: u64,
    /// The sender asks for the gateway's delivered receipt.
    pub(crate) asks: bool,
    /// What travels, if it is encrypted: made when it is first written, and the same each time.
    pub(crate) sealed: Option<Box<[u8]>>,
    peer: u16,
    pub(crate) delivered: bool,
    pub(crate) acked: bool,
    failed: bool,
}

/// A question for a bundle that has no answer yet.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    n: u32,
    /// When it was due.
    pub(crate) at: u64,
    /// About whom.
    pub(crate) target: u32,
    /// When it was written, in the history's time.
    pub(crate) told: u64,
}

/// What a delivery was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The first; `ordered` unless a later one of the pair came before.
    First { at: u64, wrote: u64, ordered: bool },
    /// A copy over a later connection than the first: allowed.
    Copy,
    /// A copy over the same connection.
    Twice,
    /// Nobody sent it, or not to this device.
    Invented,
}

/// What a device's connection shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Break, and come back at a time.
    Cut(u64),
    /// Say goodbye, and come back at a time.
    Leave(u64),
    /// Be left open until the second time, while the device comes back over another one at the first.
    Linger(u64, u64),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Device {
    /// In ids and histories; the same in all threads and generators.
    pub(crate) number: u32,
    pub(crate) account: Account,
    pub(crate) peers: Vec<Peer>,
    /// Its half of the cipher, if bodies are encrypted.
    pub(crate) sealer: Option<Box<dyn Sealer>>,
    turn: usize,
    next: u32,
    base: u32,
    open: VecDeque<Open>,
    asks: VecDeque<Ask>,
    next_ask: u32,
    pub(crate) queue: VecDeque<Out>,
    pub(crate) written: usize,
    /// The server's `h`.
    pub(crate) covered: u32,
    /// Ours.
    pub(crate) handled: u32,
    /// Messages of the load that came over this connection.
    pub(crate) here: u64,
    /// When the last of them came.
    pub(crate) came: u64,
    /// An `<a/>` is due.
    pub(crate) asked: bool,
    /// A keep-alive is due.
    pub(crate) keep_alive: bool,
    pub(crate) online: bool,
    /// Counts connections, from 1.
    pub(crate) epoch: u32,
    /// It left, and has not come back yet.
    pub(crate) away: bool,
    /// When it came back after it had left.
    pub(crate) returned: u64,
    pub(crate) resumable: Option<Box<str>>,
    pub(crate) order: Option<Order>,
    pub(crate) slow: bool,
    /// Connected once, or given up.
    pub(crate) settled: bool,
    pub(crate) waker: Option<Waker>,
}

impl Device {
    pub(crate) fn new(number: u32, account: Account, peers: Vec<Peer>) -> Self {
        Self {
            number,
            account,
            peers,
            sealer: None,
            turn: 0,
            next: 0,
            base: 0,
            open: VecDeque::new(),
            asks: VecDeque::new(),
            next_ask: 0,
            queue: VecDeque::new(),
            written: 0,
            covered: 0,
            handled: 0,
            here: 0,
            came: 0,
            asked: false,
            keep_alive: false,
            online: false,
            epoch: 0,
            away: false,
            returned: 0,
            resumable: None,
            order: None,
            slow: false,
            settled: false,
            waker: None,
        }
    }

    /// Queues the next message, to the next peer in turn; `None` if there is nobody.
    pub(crate) fn send(&mut self, at: u64) -> Option<u16> {
        let turn = self.turn;
        self.turn = if turn + 1 < self.peers.len() {
            turn + 1
        } else {
            0
        };
        let peer = u16::try_from(turn)
            .ok()
            .filter(|_| turn < self.peers.len())?;
        self.open.push_back(Open {
            at,
            wrote: 0,
            asks: false,
            sealed: None,
            peer,
            delivered: false,
            acked: false,
            failed: false,
        });
        self.queue.push_back(Out::Message(self.next));
        self.next += 1;
        Some(peer)
    }

    /// The message that was queued last asks for a delivered receipt.
    pub(crate) fn ask_receipt(&mut self) {
        if let Some(open) = self.open.back_mut() {
            open.asks = true;
        }
    }

    /// The peer to whom the next message goes.
    pub(crate) fn next_peer(&self) -> u16 {
        u16::try_from(self.turn).unwrap_or(0)
    }

    /// A message that is not forgotten, and the index of its recipient.
    pub(crate) fn message(&mut self, n: u32) -> Option<(&mut Open, u32)> {
        let at = usize::try_from(n.checked_sub(self.base)?).ok()?;
        let open = self.open.get_mut(at)?;
        let to = self.peers.get(usize::from(open.peer))?.to;
        Some((open, to))
    }

    /// A message reached the device `to`, over its connection `epoch`.
    pub(crate) fn deliver(&mut self, n: u32, to: u32, epoch: u32) -> Delivered {
        if n >= self.next {
            return Delivered::Invented;
        }
        let peer = match self.message(n) {
            Some((open, wanted)) if wanted == to => Some(usize::from(open.peer)),
            Some(_) => return Delivered::Invented,
            None => self.peers.iter().position(|peer| peer.to == to),
        };
        let Some(peer) = peer.and_then(|at| self.peers.get_mut(at)) else {
            return Delivered::Invented;
        };
        if peer.epoch != epoch {
            (peer.epoch, peer.earlier) = (epoch, peer.last);
        }
        let copy = if peer.earlier.is_some_and(|last| n <= last) {
            Delivered::Copy
        } else {
            Delivered::Twice
        };
        let ordered = peer.last.is_none_or(|last| n > last);
        let at = n
            .checked_sub(self.base)
            .and_then(|at| usize::try_from(at).ok());
        let Some(open) = at.and_then(|at| self.open.get_mut(at)) else {
            return copy;
        };
        if open.delivered {
            return copy;
        }
        open.delivered = true;
        let first = Delivered::First {
            at: open.at,
            wrote: open.wrote,
            ordered,
        };
        peer.last = peer.last.max(Some(n));
        first
    }

    /// A message was covered by `h`; says when it was due and written if it is news.
    pub(crate) fn acknowledge(&mut self, n: u32) -> Option<(u64, u64)> {
        let (open, _) = self.message(n)?;
        let news = !open.acked;
        open.acked = true;
        news.then_some((open.at, open.wrote))
    }

    /// Whether a message was covered by `h`; one that was forgotten was.
    pub(crate) fn was_acknowledged(&mut self, n: u32) -> bool {
        self.message(n).is_none_or(|(open, _)| open.acked)
    }

    /// Asks for the bundle of a user.
    pub(crate) fn ask(&mut self, target: u32, at: u64) {
        let n = self.next_ask;
        self.asks.push_back(Ask {
            n,
            at,
            target,
            told: 0,
        });
        self.queue.push_back(Out::Ask { target, n });
        self.next_ask += 1;
    }

    /// How many questions it had so far.
    pub(crate) fn asks_made(&self) -> usize {
        usize::try_from(self.next_ask).unwrap_or(0)
    }

    /// A question was written, at a time of the history.
    pub(crate) fn asked(&mut self, n: u32, told: u64) {
        if let Some(ask) = self.asks.iter_mut().find(|ask| ask.n == n) {
            ask.told = told;
        }
    }

    /// An answer came: to what.
    pub(crate) fn answered(&mut self, n: u32) -> Option<Ask> {
        let at = self.asks.iter().position(|ask| ask.n == n)?;
        self.asks.remove(at)
    }

    /// A message was refused; true if it is news.
    pub(crate) fn fail(&mut self, n: u32) -> bool {
        self.message(n)
            .is_some_and(|(open, _)| !std::mem::replace(&mut open.failed, true))
    }

    /// Whether a message is over (or was forgotten after it was).
    pub(crate) fn is_over(&mut self, n: u32) -> bool {
        self.message(n).is_none_or(|(open, _)| open.is_over())
    }

    /// Forgets what is over.
    pub(crate) fn forget(&mut self) {
        while self.open.front().is_some_and(Open::is_over) {
            self.open.pop_front();
            self.base += 1;
        }
    }

    /// The session is a fresh one: all that was not covered goes out again, as far as it is ours
    /// to repeat.
    pub(crate) fn begin(&mut self) {
        self.queue
            .retain(|out| matches!(out, Out::Message(_) | Out::Receipt { .. } | Out::Ask { .. }));
        self.queue.push_front(Out::Presence);
        (self.written, self.covered, self.handled, self.here) = (0, 0, 0, 0);
    }

    /// Wakes the task of its connection.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Messages that are not over, with the indexes of their recipients.
    pub(crate) fn left(&self) -> impl Iterator<Item = (&Open, u32)> {
        let not_over = self.open.iter().filter(|open| !open.is_over());
        not_over.filter_map(|open| Some((open, self.peers.get(usize::from(open.peer))?.to)))
    }

    /// Messages at the end: accepted and not delivered, and those of which nothing is known.
    /// Where nobody acknowledges, nothing is known to be accepted.
    pub(crate) fn missing(&self, managed: bool) -> (u64, u64) {
        let (mut lost, mut unknown) = (0, 0);
        for open in &self.open {
            match (open.delivered || open.failed, open.acked) {
                (true, _) => {}
                (false, true) if managed => lost += 1,
                (false, _) => unknown += 1,
            }
        }
        unknown += u64::try_from(self.asks.len()).unwrap_or(0);
        (lost, unknown)
    }
}

impl Open {
    const fn is_over(&self) -> bool {
        self.failed || (self.delivered && self.acked)
    }
}

#[cfg(test)]
mod tests;
