//! What the operating system allows: open files, and cores.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Descriptors beside connections: files, epoll, timers, standard streams, the partner's server.
const OTHERS: u64 = 256;

/// More connections than the system allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{sessions} sessions need {needed} open files and the hard limit is {hard}: \
     raise it (ulimit -Hn {needed}, as root, or LimitNOFILE=) or use several generators"
)]
pub struct TooFewFiles {
    /// Sessions that are wanted.
    pub sessions: u64,
    /// Descriptors that they need.
    pub needed: u64,
    /// What a process may have at most.
    pub hard: u64,
}

/// Raises the soft limit on open files as far as so many sessions need.
///
/// # Errors
/// If the hard limit is below that.
pub fn raise_files(sessions: u64) -> Result<(), TooFewFiles> {
    let limit = getrlimit(Resource::Nofile);
    let needed = sessions.saturating_add(OTHERS);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    if needed > hard {
        return Err(TooFewFiles {
            sessions,
            needed,
            hard,
        });
    }
    if limit.current.is_some_and(|soft| soft < needed) {
        let raised = Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        };
        return setrlimit(Resource::Nofile, raised).map_err(|_| TooFewFiles {
            sessions,
            needed,
            hard,
        });
    }
    Ok(())
}

/// Keeps this thread, and threads that it starts, on one core. False if there is no such core.
pub fn pin(core: usize) -> bool {
    let mut cores = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return false;
    }
    cores.set(core);
    sched_setaffinity(None, &cores).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hard_limit_does_not_allow_is_said_with_the_number_needed() {
        let Some(hard) = getrlimit(Resource::Nofile).maximum else {
            return;
        };
        let error = raise_files(hard).unwrap_err();
        assert_eq!(error.needed, hard + OTHERS);
        assert!(
            error
                .to_string()
                .contains(&format!("ulimit -Hn {}", hard + OTHERS))
        );
        assert_eq!(raise_files(hard.min(2_000) - OTHERS), Ok(()));
    }
}
