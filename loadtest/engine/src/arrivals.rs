//! A timer that is exact to microseconds; the runtime's own counts milliseconds.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Shorter waits cost more than they are worth: whatever is due is made at once.
const SHORTEST: u64 = 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Clock {
    timer: AsyncFd<OwnedFd>,
}

impl Clock {
    /// Must be called within a runtime.
    #[expect(
        deprecated,
        reason = "its successor is unsafe; the descriptor is owned here and never replaced"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            timer: AsyncFd::new(timer)?,
        })
    }

    /// Waits so many microseconds.
    pub(crate) async fn wait(&mut self, micros: u64) {
        if micros < SHORTEST {
            tokio::task::yield_now().await;
            return;
        }
        let span = Duration::from_micros(micros);
        let time = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: span.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: span.subsec_nanos().into(),
            },
        };
        let set = timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &time);
        if set.is_err() {
            // Cannot happen with a span in range; the coarse timer is still right.
            tokio::time::sleep(span).await;
            return;
        }
        if let Ok(mut ready) = self.timer.readable().await {
            let mut count = [0; 8];
            let _expirations = rustix::io::read(self.timer.get_ref(), &mut count);
            ready.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_are_never_shorter_than_asked() {
        let mut clock = Clock::new().unwrap();
        for micros in [0, 50, 300, 2_500] {
            let begun = tokio::time::Instant::now();
            clock.wait(micros).await;
            let waited = begun.elapsed();
            assert!(
                micros < SHORTEST || waited >= Duration::from_micros(micros),
                "{waited:?}"
            );
        }
    }
}
