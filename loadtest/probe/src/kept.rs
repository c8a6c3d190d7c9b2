//! Samples in bounded memory: when there are too many, every other one goes.
//!
//! Counters are totals, so what is left still adds up; of what is held at a moment, peaks between
//! the samples that stay are lost.

/// Samples that are kept at most.
const MOST: usize = 7_200;

/// A list that thins itself out.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    items: Vec<(T, bool)>,
    /// Of how many offered ones one is kept.
    stride: u64,
    offered: u64,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            stride: 1,
            offered: 0,
        }
    }
}

impl<T> Kept<T> {
    /// Offers the next sample; one at an edge stays as long as there is room for edges alone.
    pub(crate) fn offer(&mut self, item: T, edge: bool) {
        self.offered += 1;
        if !edge && !self.offered.is_multiple_of(self.stride) {
            return;
        }
        if self.items.len() >= MOST {
            self.thin();
        }
        self.items.push((item, edge));
    }

    fn thin(&mut self) {
        let mut number = 0_u64;
        self.items.retain(|(_, edge)| {
            number += 1;
            *edge || number.is_multiple_of(2)
        });
        if self.items.len() > MOST / 4 * 3 {
            number = 0;
            self.items.retain(|_| {
                number += 1;
                number.is_multiple_of(2)
            });
        }
        self.stride *= 2;
    }

    pub(crate) fn into_items(self) -> Vec<T> {
        self.items.into_iter().map(|(item, _)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_whole_time_is_covered() {
        let mut kept = Kept::default();
        for at in 0..100_000_u32 {
            kept.offer(at, at % 10_000 == 7);
            assert!(kept.items.len() <= MOST);
        }
        let items = kept.into_items();
        assert!(items.len() > MOST / 4);
        assert!(items.is_sorted());
        assert!(items[0] < 32 && items[items.len() - 1] > 99_900);
        assert!(
            (0..10).all(|edge| items.contains(&(edge * 10_000 + 7))),
            "edges stay"
        );
    }

    #[test]
    fn edges_alone_cannot_fill_memory() {
        let mut kept = Kept::default();
        for at in 0..100_000_u32 {
            kept.offer(at, true);
        }
        assert!(kept.into_items().len() <= MOST);
    }
}
