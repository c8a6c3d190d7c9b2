//! What happens next: events in the order of their times, and of those at one time in that of their entry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Micros;

/// Events that are due.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<Due<E>>>,
    entered: u64,
    now: Micros,
}

#[derive(Debug)]
struct Due<E> {
    at: Micros,
    number: u64,
    event: E,
}

impl<E> Queue<E> {
    pub(crate) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            entered: 0,
            now: 0,
        }
    }

    /// Enters an event. What would be in the past happens now.
    pub(crate) fn at(&mut self, at: Micros, event: E) {
        let number = self.entered;
        self.entered += 1;
        let at = at.max(self.now);
        self.heap.push(Reverse(Due { at, number, event }));
    }

    /// The next event and its time.
    pub(crate) fn next(&mut self) -> Option<(Micros, E)> {
        let Reverse(due) = self.heap.pop()?;
        self.now = due.at;
        Some((due.at, due.event))
    }
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<E> Eq for Due<E> {}

impl<E> PartialOrd for Due<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Due<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_entry() {
        let mut queue = Queue::new();
        for (at, name) in [(5, 'b'), (3, 'a'), (5, 'c'), (9, 'd')] {
            queue.at(at, name);
        }
        assert_eq!(queue.next(), Some((3, 'a')));
        // Too late to happen when it should have.
        queue.at(1, 'x');
        let rest: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(rest, [(3, 'x'), (5, 'b'), (5, 'c'), (9, 'd')]);
    }
}
