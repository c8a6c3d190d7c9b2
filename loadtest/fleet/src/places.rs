//! Where sessions are: conserved, whatever happens to nodes.

/// Sessions that wait, that came back and that were given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) waiting: usize,
    pub(crate) back: usize,
    pub(crate) lost: usize,
}

impl Places {
    pub(crate) const fn waiting(sessions: usize) -> Self {
        Self {
            waiting: sessions,
            back: 0,
            lost: 0,
        }
    }

    /// So many came back.
    pub(crate) fn came_back(&mut self, sessions: usize) {
        assert!(sessions <= self.waiting, "more came back than waited");
        self.waiting -= sessions;
        self.back += sessions;
    }

    /// So many were given up.
    pub(crate) fn given_up(&mut self, sessions: usize) {
        assert!(sessions <= self.waiting, "more were given up than waited");
        self.waiting -= sessions;
        self.lost += sessions;
    }
}

/// The time that a share of weighted times do not exceed; 0 without any.
pub(crate) fn quantile(times: &mut [(u64, usize)], share: f64) -> u64 {
    times.sort_unstable();
    let all: usize = times.iter().map(|(_, weight)| weight).sum();
    let mut seen = 0;
    for (time, weight) in times.iter() {
        seen += weight;
        if crate::station::float(u64::try_from(seen).unwrap_or(u64::MAX))
            >= share * crate::station::float(u64::try_from(all).unwrap_or(u64::MAX))
        {
            return *time;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_go_by_weight() {
        let mut times = [(30, 1), (10, 8), (20, 1)];
        assert_eq!(quantile(&mut times, 0.5), 10);
        assert_eq!(quantile(&mut times, 0.8), 10);
        assert_eq!(quantile(&mut times, 0.9), 20);
        assert_eq!(quantile(&mut times, 0.95), 30);
        assert_eq!(quantile(&mut [], 0.5), 0);
    }

    #[test]
    #[should_panic(expected = "more came back than waited")]
    fn nobody_comes_back_twice() {
        let mut places = Places::waiting(3);
        places.came_back(2);
        places.came_back(2);
    }
}
