//! Users who log in and out, again and again: as often as it goes, or when logins are due.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::control::Stage;
use crate::login::log_in;
use crate::tally::{Count, span};
use crate::wire::LineError;

use super::Worker;
use super::live::LOGIN_WITHIN;

/// Logins that are due and not begun.
#[derive(Debug, Default)]
pub(super) struct Dues {
    waiting: RefCell<VecDeque<u64>>,
    added: Notify,
}

impl Dues {
    pub(super) fn add(&self, due: u64) {
        self.waiting.borrow_mut().push_back(due);
        self.added.notify_one();
    }

    async fn next(&self) -> u64 {
        loop {
            if let Some(due) = self.waiting.borrow_mut().pop_front() {
                return due;
            }
            self.added.notified().await;
        }
    }
}

/// One user's logins, until the load is over.
pub(super) async fn again(worker: Rc<Worker>, me: usize) {
    worker.settled(me, false);
    let control = &worker.common.control;
    control.reach(Stage::WarmUp).await;
    let open = worker
        .common
        .scenario
        .logins
        .as_ref()
        .is_some_and(|logins| logins.rate > 0.0);
    while worker.stage().sends() {
        let due = if open {
            tokio::select! {
                due = worker.dues.next() => due,
                _ = control.reach(Stage::Drain) => return,
            }
        } else {
            worker.now()
        };
        worker.once(me, due).await;
    }
}

impl Worker {
    async fn once(&self, me: usize, due: u64) {
        let begun = self.now();
        let login = timeout(LOGIN_WITHIN, self.in_and_out(me, due, begun)).await;
        if let Err(error) = login.unwrap_or(Err(LineError::Deadline(LOGIN_WITHIN.as_secs()))) {
            if error.is_final() {
                self.common
                    .fatal
                    .lock()
                    .get_or_insert_with(|| error.to_string());
            }
            let later = match error {
                LineError::Later(after) => Some(after),
                _ => None,
            };
            self.tally
                .borrow_mut()
                .login_failure(self.stage(), error.kind());
            // What refuses at once must not be asked without end.
            let later = match later {
                Some(after) => Duration::from_secs(after.into()),
                None => Duration::from_millis(50),
            };
            tokio::time::sleep(later).await;
        }
    }

    async fn in_and_out(&self, me: usize, due: u64, begun: u64) -> Result<(), LineError> {
        let account = self
            .device(me)
            .ok_or(LineError::Closed)?
            .borrow()
            .account
            .clone();
        let mut line = self.door.connect(me).await?;
        log_in(&self.door, &mut line, &account, self.how, None).await?;
        self.logged_in(due, begun);
        line.close().await
    }

    fn logged_in(&self, due: u64, begun: u64) {
        let now = self.now();
        let stage = self.stage();
        let mut tally = self.tally.borrow_mut();
        tally.count(stage, Count::Login);
        let counted = tally.at(stage);
        counted.counters.binds += 1;
        // A login counts where it was due.
        let counted = tally.at(self.common.control.stage_of(due));
        let took = (now.saturating_sub(due), now.saturating_sub(begun));
        counted.latencies.login.record(span(took.0), span(took.1));
    }
}
