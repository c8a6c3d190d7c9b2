//! Slows down an account that binds again and again, as two clients with one account do that
//! throw each other out (T37).
//!
//! **Invariants**
//! - The first binds of an account pass at once; afterwards one in an interval, the others wait.
//! - What is remembered is bounded by [`ACCOUNTS`]; the oldest knowledge goes first.

use std::collections::HashMap;
use std::time::Duration;

use entente_core::AccountId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Accounts that are remembered: those that bound within some tens of seconds.
const ACCOUNTS: usize = 100_000;

/// When each account may bind next, as the generic cell rate algorithm keeps it (ITU-T I.371).
#[derive(Debug)]
pub(crate) struct Rebinds {
    burst: u32,
    interval: Duration,
    due: Mutex<HashMap<AccountId, Instant>>,
}

impl Rebinds {
    pub(crate) fn new(burst: u32, interval: Duration) -> Self {
        Self {
            burst,
            interval,
            due: Mutex::default(),
        }
    }

    /// Counts a bind and returns how long it has to wait.
    pub(crate) fn delay(&self, account: AccountId) -> Duration {
        let now = Instant::now();
        let mut due = self.due.lock();
        if due.len() >= ACCOUNTS {
            due.retain(|_, due| *due > now);
        }
        if due.len() >= ACCOUNTS {
            return self.interval;
        }
        let next = due.entry(account).or_insert(now);
        *next = (*next).max(now) + self.interval;
        let allowance = self.interval * self.burst;
        next.saturating_duration_since(now)
            .saturating_sub(allowance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use entente_core::PartnerId;

    /// T37: a storm of binds is stretched to one in an interval; another account does not feel it.
    #[tokio::test(start_paused = true)]
    async fn a_storm_of_one_account_is_stretched() {
        let rebinds = Rebinds::new(3, Duration::from_secs(10));
        let account = |number| AccountId::new(PartnerId::new(1).unwrap(), number);
        for _ in 0..3 {
            assert_eq!(rebinds.delay(account(1)), Duration::ZERO);
        }
        assert_eq!(rebinds.delay(account(1)), Duration::from_secs(10));
        assert_eq!(rebinds.delay(account(1)), Duration::from_secs(20));
        assert_eq!(rebinds.delay(account(2)), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(rebinds.delay(account(1)), Duration::ZERO);
    }
}
