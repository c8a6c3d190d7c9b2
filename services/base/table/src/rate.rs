//! The arithmetic of token buckets, shared by every table: one number per bucket.
//!
//! In: the moment up to which a bucket's tokens are spent. Out: whether another may go, and the new
//! moment. This is the generic cell rate algorithm (ITU-T I.371) with the spare tokens as tolerance:
//! it needs no timer and one stored number, which is also the moment when the bucket may be forgotten.

use std::time::Duration;

/// So many tokens at once, and so many again over each `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    burst: u32,
    per: Duration,
}

impl Rate {
    /// A bucket of `burst` tokens that fills from empty in `per`. A burst of zero allows nothing.
    pub const fn new(burst: u32, per: Duration) -> Self {
        Self { burst, per }
    }

    /// The tokens of a full bucket.
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// The time in which an empty bucket fills.
    pub const fn per(self) -> Duration {
        self.per
    }

    /// The time in which one token comes back.
    pub fn interval(self) -> Duration {
        self.per.checked_div(self.burst).unwrap_or(self.per)
    }

    /// Decides on one more token when `spent` of the bucket's time is used up already.
    ///
    /// `Ok` carries the new used-up time, `Err` how long until a token is there.
    pub fn spend(self, spent: Duration) -> Result<Duration, Duration> {
        if self.burst == 0 {
            return Err(self.per);
        }
        // Whole intervals, so that rounding of `per / burst` never costs a token of the burst.
        let room = self.interval().saturating_mul(self.burst);
        let after = spent.saturating_add(self.interval());
        match after.checked_sub(room) {
            Some(missing) if !missing.is_zero() => Err(missing),
            _ => Ok(after),
        }
    }
}

/// What a bucket said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A token was there and is gone now.
    Allowed,
    /// None was there.
    Denied {
        /// When one will be, if nobody else takes it.
        retry_after: Duration,
    },
}

impl Taken {
    /// Whether a token was taken.
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(3, Duration::from_secs(1));

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_says_how_long() {
        let mut spent = Duration::ZERO;
        for _ in 0..3 {
            spent = RATE.spend(spent).unwrap();
        }
        assert_eq!(RATE.spend(spent), Err(RATE.interval()));
        let later = spent - RATE.interval();
        assert_eq!(RATE.spend(later), Ok(spent));
    }

    #[test]
    fn a_burst_of_zero_allows_nothing() {
        let none = Rate::new(0, Duration::from_secs(7));
        assert_eq!(none.spend(Duration::ZERO), Err(Duration::from_secs(7)));
    }
}
