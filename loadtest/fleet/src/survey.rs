//! Who looks for owners, as `services/gateway/src/cluster/nodes.rs` has it: a process that knows no owner asks
//! all routers what they own, once for all of its own that look at that time, and tries again after a pause.

use crate::{MILLI, Micros};

/// First pause between attempts, and the longest of a connection node's streams and of a router's appends.
const FIRST_PAUSE: Micros = 20 * MILLI;
const STREAM_PAUSE_MAX: Micros = 1_000 * MILLI;
const APPEND_PAUSE_MAX: Micros = 500 * MILLI;

/// What a process does that lost an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A connection node: its sessions wait.
    Connection,
    /// A router with records for the shard.
    Router,
}

/// One process that looks for the owners of some shards.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) kind: Kind,
    looks: Vec<Look>,
    /// Shards that wait for the survey under way.
    waiting: Option<Vec<usize>>,
    pub(crate) surveys: u64,
}

#[derive(Clone, Debug)]
struct Look {
    known: Option<usize>,
    pause: Micros,
}

/// What an attempt leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A router is called.
    Call(usize),
    /// A survey begins.
    Survey,
    /// One is under way, and its end is waited for.
    Wait,
}

impl Asker {
    /// A process that believes of so many shards that `dead` owns them.
    pub(crate) fn new(kind: Kind, shards: usize, dead: usize) -> Self {
        let look = Look {
            known: Some(dead),
            pause: FIRST_PAUSE,
        };
        Self {
            kind,
            looks: vec![look; shards],
            waiting: None,
            surveys: 0,
        }
    }

    /// Tries to reach the owner of a shard.
    pub(crate) fn attempt(&mut self, shard: usize) -> Step {
        if let Some(router) = self.looks.get(shard).and_then(|look| look.known) {
            return Step::Call(router);
        }
        if let Some(waiting) = &mut self.waiting {
            waiting.push(shard);
            return Step::Wait;
        }
        self.waiting = Some(vec![shard]);
        self.surveys += 1;
        Step::Survey
    }

    /// Who is believed to own a shard.
    pub(crate) fn knows(&self, shard: usize) -> Option<usize> {
        self.looks.get(shard)?.known
    }

    /// Nobody was there: forgets who was believed to be, and says how long to wait.
    pub(crate) fn failed(&mut self, shard: usize) -> Micros {
        let longest = match self.kind {
            Kind::Connection => STREAM_PAUSE_MAX,
            Kind::Router => APPEND_PAUSE_MAX,
        };
        let Some(look) = self.looks.get_mut(shard) else {
            return longest;
        };
        look.known = None;
        let pause = look.pause;
        look.pause = (pause * 2).min(longest);
        pause
    }

    /// A survey is over: takes what it found and gives the shards that waited for it.
    pub(crate) fn surveyed(&mut self, found: impl Fn(usize) -> Option<usize>) -> Vec<usize> {
        for (shard, look) in self.looks.iter_mut().enumerate() {
            look.known = found(shard);
        }
        self.waiting.take().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_shards_ask_once_and_pauses_double_up_to_a_second() {
        let mut asker = Asker::new(Kind::Connection, 3, 7);
        assert_eq!(asker.attempt(0), Step::Call(7));
        assert_eq!(asker.failed(0), 20 * MILLI);
        assert_eq!(asker.attempt(0), Step::Survey);
        asker.failed(1);
        assert_eq!(asker.attempt(1), Step::Wait);
        assert_eq!(asker.surveyed(|shard| (shard == 1).then_some(4)), [0, 1]);
        assert_eq!(asker.attempt(1), Step::Call(4));
        assert_eq!(asker.attempt(0), Step::Survey);
        assert_eq!(asker.surveys, 2);
        let pauses: Vec<_> = (0..7).map(|_| asker.failed(0) / MILLI).collect();
        assert_eq!(pauses, [40, 80, 160, 320, 640, 1000, 1000]);
        let mut router = Asker::new(Kind::Router, 1, 0);
        assert_eq!((0..7).map(|_| router.failed(0)).max(), Some(500 * MILLI));
    }
}
