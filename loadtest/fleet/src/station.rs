//! The cores of one process: jobs in the order of their arrival, each on the core that is free first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::{Micros, SECOND};

/// See the module. Jobs have to come in the order of time.
#[derive(Clone, Debug)]
pub struct Station {
    free: BinaryHeap<Reverse<Micros>>,
    cores: u32,
    /// What one microsecond of work takes while the rest of the load goes on.
    slow: f64,
    /// Work that arrived, by second.
    offered: Vec<Micros>,
    longest: Micros,
}

impl Station {
    /// So many cores, of which a share is busy with other things.
    #[must_use]
    pub fn new(cores: u32, busy: f64) -> Self {
        Self {
            free: (0..cores.max(1)).map(|_| Reverse(0)).collect(),
            cores: cores.max(1),
            slow: 1.0 / (1.0 - busy.clamp(0.0, 0.99)),
            offered: Vec::new(),
            longest: 0,
        }
    }

    /// When a job would begin that comes now.
    #[must_use]
    pub fn begins(&self, now: Micros) -> Micros {
        self.free.peek().map_or(now, |Reverse(free)| now.max(*free))
    }

    /// Takes a job and says when it is done.
    pub fn take(&mut self, now: Micros, work: Micros) -> Micros {
        let begins = self.begins(now);
        let done = begins + scale(work, self.slow);
        self.free.pop();
        self.free.push(Reverse(done));
        self.longest = self.longest.max(begins - now);
        let second = usize::try_from(now / SECOND).unwrap_or(usize::MAX);
        if self.offered.len() <= second {
            self.offered.resize(second + 1, 0);
        }
        if let Some(offered) = self.offered.get_mut(second) {
            *offered += work;
        }
        done
    }

    /// Work that came in the second in which most came, over what the cores can do beside the other load.
    #[must_use]
    pub fn busiest(&self) -> f64 {
        let most = self.offered.iter().copied().max().unwrap_or_default();
        float(most) * self.slow / (f64::from(self.cores) * float(SECOND))
    }

    /// All work that came.
    #[must_use]
    pub fn work(&self) -> Micros {
        self.offered.iter().sum()
    }

    /// The longest that a job waited for a core.
    #[must_use]
    pub const fn longest_wait(&self) -> Micros {
        self.longest
    }
}

/// A count as a number to reckon with: exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and times here are far below 2^53"
)]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// A time that is so many times as long.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest time; what is negative or no number becomes 0"
)]
pub(crate) fn scale(time: Micros, factor: f64) -> Micros {
    (float(time) * factor).round() as Micros
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn jobs_that_come_at_once_take_their_sum_over_the_cores() {
        let mut station = Station::new(4, 0.0);
        let done = (0..1000).map(|_| station.take(0, 500)).max().unwrap();
        assert_eq!(done, 1000 / 4 * 500);
        assert_eq!(station.longest_wait(), 249 * 500);
        assert_eq!(station.work(), 500_000);
        // Half of the cores are somebody else's: twice the time.
        let mut station = Station::new(4, 0.5);
        let done = (0..1000).map(|_| station.take(0, 500)).max().unwrap();
        assert_eq!(done, 1000 / 4 * 1000);
        assert!((station.busiest() - 0.25).abs() < 1e-9);
    }

    /// Khinchin and Pollaczek: with Poisson arrivals and equal jobs the mean wait is ρ/(2μ(1−ρ)).
    #[test]
    fn one_core_waits_as_long_as_the_formula_says() {
        for (seed, load) in [(1, 0.3), (2, 0.5), (3, 0.8)] {
            let mut random = StdRng::seed_from_u64(seed);
            let mut station = Station::new(1, 0.0);
            let (work, jobs) = (1000, 400_000_u32);
            let (mut now, mut waited) = (0.0, 0.0);
            for _ in 0..jobs {
                now += -(1.0 - random.random::<f64>()).ln() * float(work) / load;
                let at = scale(1, now);
                waited += float(station.take(at, work) - at - work);
            }
            let wanted = load * float(work) / (2.0 * (1.0 - load));
            let found = waited / f64::from(jobs);
            assert!(
                (found / wanted - 1.0).abs() < 0.03,
                "{load}: {found} for {wanted}"
            );
        }
    }
}
