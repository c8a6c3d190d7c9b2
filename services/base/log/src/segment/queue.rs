//! What waits for the writer, and whether the log takes more.
//!
//! **Invariants**
//! - Requests leave in the order in which they came.
//! - The status is under the same lock as the queue: once it says no, nothing more comes in, so a
//!   writer that takes what is left and ends strands nobody.

use std::time::Duration;

use bytes::Bytes;
use entente_core::Offset;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::frame::FRAME_BYTES;
use crate::{Appended, LogError};

/// One thing for the writer to do.
#[derive(Debug)]
pub(crate) enum Request {
    Append {
        partition: u32,
        batch: Vec<Bytes>,
        done: oneshot::Sender<Result<Appended, LogError>>,
    },
    Floor {
        partition: u32,
        floor: Offset,
        done: oneshot::Sender<Result<(), LogError>>,
    },
}

/// Whether the log takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Closed,
    /// No more requests; those that wait are still written.
    Closing,
    /// For good: until the log is opened anew.
    Failed(&'static str),
    /// The disk is full: no appends, but floors, which free space.
    Full,
    Open,
}

/// What is worth a short wait. A sync costs the same for one append and for hundreds; while a crowd
/// appends, it is better spent on more of them, and who was just told appends again at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gather {
    /// How many came the last time; up to twice as many are waited for.
    pub(crate) requests: usize,
    /// For how long in all.
    pub(crate) patience: Duration,
}

/// Part of the patience after which the wait ends if nobody came in it.
const QUIET_PART: u32 = 4;

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    max_bytes: usize,
    max_requests: usize,
}

#[derive(Debug)]
struct State {
    requests: Vec<Request>,
    bytes: usize,
    status: Status,
    /// The writer sleeps until so many requests wait; 0 when it does not sleep.
    awaited: usize,
}

impl Request {
    /// Bytes that the request takes in a segment.
    pub(crate) fn written_bytes(&self) -> u64 {
        match self {
            Self::Append { batch, .. } => batch
                .iter()
                .map(|payload| (FRAME_BYTES + payload.len()) as u64)
                .sum(),
            Self::Floor { .. } => FRAME_BYTES as u64,
        }
    }

    pub(crate) fn refuse(self, error: LogError) {
        match self {
            Self::Append { done, .. } => {
                done.send(Err(error)).ok();
            }
            Self::Floor { done, .. } => {
                done.send(Err(error)).ok();
            }
        }
    }
}

impl Queue {
    pub(crate) const fn new(max_bytes: usize, max_requests: usize) -> Self {
        let state = State {
            requests: Vec::new(),
            bytes: 0,
            status: Status::Open,
            awaited: 0,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            max_bytes,
            max_requests,
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.state.lock().status
    }

    /// Adds a request with so many payload bytes.
    pub(crate) fn push(&self, request: Request, bytes: usize) -> Result<(), LogError> {
        let mut state = self.state.lock();
        match (state.status, &request) {
            (Status::Open, _) | (Status::Full, Request::Floor { .. }) => {}
            (Status::Full, Request::Append { .. }) => return Err(LogError::Full),
            (Status::Closed | Status::Closing, _) => return Err(LogError::Closed),
            (Status::Failed(_), _) => return Err(LogError::Unavailable),
        }
        if state.requests.len() >= self.max_requests || state.bytes + bytes > self.max_bytes {
            return Err(LogError::Busy);
        }
        state.bytes += bytes;
        state.requests.push(request);
        let wake = state.awaited > 0 && state.requests.len() >= state.awaited;
        if wake {
            state.awaited = 0;
        }
        drop(state);
        if wake {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Waits for requests, at most `patience`, and moves all into `into`, which is empty.
    /// Returns their payload bytes and the status; without requests, time is up or the log ends.
    pub(crate) fn take(
        &self,
        into: &mut Vec<Request>,
        gather: Gather,
        patience: Option<Duration>,
    ) -> (usize, Status) {
        let mut state = self.state.lock();
        let lacks = |count: usize| {
            move |state: &mut State| {
                state.requests.len() < count && matches!(state.status, Status::Open | Status::Full)
            }
        };
        let (wanted, until) = (gather.requests * 2, Instant::now() + gather.patience);
        while gather.requests > 1 && lacks(wanted)(&mut state) && Instant::now() < until {
            let before = state.requests.len();
            state.awaited = wanted;
            let quiet = gather.patience / QUIET_PART;
            self.work.wait_while_for(&mut state, lacks(wanted), quiet);
            if state.requests.len() == before {
                break;
            }
        }
        if lacks(1)(&mut state) {
            state.awaited = 1;
            match patience {
                None => self.work.wait_while(&mut state, lacks(1)),
                Some(patience) => {
                    self.work.wait_while_for(&mut state, lacks(1), patience);
                }
            }
        }
        state.awaited = 0;
        std::mem::swap(&mut state.requests, into);
        (std::mem::take(&mut state.bytes), state.status)
    }

    /// Changes the status, unless the log has ended.
    pub(crate) fn set(&self, status: Status) {
        let mut state = self.state.lock();
        match state.status {
            Status::Closed | Status::Failed(_) => {}
            // A full disk must not undo the closing.
            Status::Closing if matches!(status, Status::Full | Status::Open) => {}
            _ => state.status = status,
        }
        state.awaited = 0;
        drop(state);
        self.work.notify_one();
    }
}
