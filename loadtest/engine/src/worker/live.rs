//! The life of a device: connects, talks, breaks off, comes back.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use entente_history::{Bind, Devack, Drained, Event, Info, Resume, Unbind};
use tokio::time::{sleep, sleep_until, timeout};

use crate::control::{Stage, micros};
use crate::device::{Device, Order, Out};
use crate::login::{Session, log_in};
use crate::tally::{Count, span};
use crate::wire::{Line, LineError};

use super::Worker;
use super::talk::{End, Pace, Talk};

/// How long a login may take, all of it.
pub(super) const LOGIN_WITHIN: Duration = Duration::from_secs(30);
/// Logins that may fail before a device that was never connected is given up.
const TRIES: u32 = 5;
/// Between tries, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// And never longer.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long the server may take to end a stream in order.
const GOODBYE: Duration = Duration::from_secs(5);
/// A device to which nothing came for this long, while others wait for their messages, has all of its own.
const QUIET: Duration = Duration::from_secs(1);

/// Lives until the run is over.
pub(super) async fn live(worker: Rc<Worker>, me: usize) {
    tokio::select! {
        biased;
        () = worker.days(me) => {}
        // Whoever talks ends in order; who waits or connects just ends.
        _ = async {
            worker.common.control.reach(Stage::Close).await;
            sleep(super::FAREWELL).await;
        } => {}
    }
    worker.settled(me, false);
}

impl Worker {
    async fn days(&self, me: usize) {
        let mut failures = 0;
        loop {
            let (line, session, begun) = match self.connect(me).await {
                Ok(connected) => connected,
                Err(error) => {
                    failures += 1;
                    if self.stage() == Stage::Close || !self.again(me, &error, failures).await {
                        return;
                    }
                    continue;
                }
            };
            failures = 0;
            let ended = self.hold(me, line, session, begun).await;
            let back = match ended {
                Ok(End::Over) => return,
                Ok(End::Ordered(
                    Order::Cut(back) | Order::Leave(back) | Order::Linger(back, _),
                )) => back,
                Err(error) => {
                    if self.stage() == Stage::Close {
                        return;
                    }
                    self.tally.borrow_mut().error(self.stage(), error.kind());
                    0
                }
            };
            tokio::select! {
                () = sleep_until(self.common.control.at(back)) => {}
                _ = self.common.control.reach(Stage::Close) => return,
            }
        }
    }

    /// Connects and logs in, or resumes.
    async fn connect(&self, me: usize) -> Result<(Line, Session, u64), LineError> {
        let Ok(_permit) = self.logins.acquire().await else {
            return Err(LineError::Closed);
        };
        let begun = self.now();
        let (account, before) = {
            let device = self.device(me).ok_or(LineError::Closed)?.borrow();
            let before = device.resumable.clone().map(|id| (id, device.handled));
            (device.account.clone(), before)
        };
        let login = async {
            let mut line = self.door.connect(me).await?;
            let before = before.as_ref().map(|(id, h)| (&**id, *h));
            self.resuming(me, before.is_some());
            let session = log_in(&self.door, &mut line, &account, self.how, before).await?;
            Ok((line, session, begun))
        };
        timeout(LOGIN_WITHIN, login)
            .await
            .unwrap_or(Err(LineError::Deadline(LOGIN_WITHIN.as_secs())))
    }

    /// Whether to try again after a failed login; waits before.
    async fn again(&self, me: usize, error: &LineError, failures: u32) -> bool {
        self.tally
            .borrow_mut()
            .login_failure(self.stage(), error.kind());
        let known = self
            .device(me)
            .is_some_and(|device| device.borrow().epoch > 0);
        let later = match error {
            LineError::Later(after) => Some(*after),
            _ => None,
        };
        if !known && later.is_none() && (error.is_final() || failures >= TRIES) {
            self.common
                .fatal
                .lock()
                .get_or_insert_with(|| error.to_string());
            self.settled(me, true);
            return false;
        }
        let wait = FIRST_WAIT
            .saturating_mul(1 << failures.min(10))
            .min(LONGEST_WAIT);
        let told = Duration::from_secs(later.unwrap_or_default().into());
        sleep(told + wait / 2 + span(self.within(wait / 2))).await;
        true
    }

    /// A session, from its begin to its end.
    async fn hold(
        &self,
        me: usize,
        mut line: Line,
        session: Session,
        begun: u64,
    ) -> Result<End, LineError> {
        self.begin(me, session, begun);
        line.rest();
        let slow = self.common.scenario.slow.as_ref();
        let slow = slow.filter(|_| self.device(me).is_some_and(|device| device.borrow().slow));
        let pace = slow.map(|slow| Pace {
            pause: slow.pause,
            bytes: slow.bytes,
        });
        let ended = Talk {
            worker: self,
            me,
            line: &mut line,
            pace,
            pause: None,
        }
        .await;
        if matches!(ended, Ok(End::Over | End::Ordered(Order::Leave(_)))) {
            // XEP-0198 4: a last answer, or what was taken comes again.
            self.last_answer(me, &mut line);
        }
        self.end(me, &ended);
        match ended {
            Ok(End::Over | End::Ordered(Order::Leave(_))) => {
                // The server may be gone; nothing is owed to it.
                let _goodbye = timeout(GOODBYE, line.close()).await;
            }
            Ok(End::Ordered(Order::Linger(_, until))) => self.linger(me, line, until),
            Ok(End::Ordered(Order::Cut(_))) | Err(_) => drop(line),
        }
        ended
    }

    fn begin(&self, me: usize, session: Session, begun: u64) {
        let Some(cell) = self.device(me) else {
            return;
        };
        let (now, stage) = (self.now(), self.stage());
        let mut device = cell.borrow_mut();
        let first = device.epoch == 0;
        device.epoch += 1;
        device.here = 0;
        device.online = true;
        device.away = false;
        device.asked = false;
        let resumed = session.resumed;
        if resumed.is_none() {
            device.begin();
            device.resumable = session.resumable;
        }
        // Once, and after what begins the session anew: that keeps only what may be sent twice.
        if first && let Some(prekeys) = &self.common.scenario.prekeys {
            device.queue.push_back(Out::Upload(prekeys.one_time));
        }
        let (number, epoch) = (device.number, device.epoch);
        if let Some(history) = &self.common.history {
            let node = String::new();
            history.record(&match resumed {
                Some(h) => Event::Resume(Resume {
                    device: number,
                    epoch,
                    node,
                    h: h.into(),
                }),
                None => Event::Bind(Bind {
                    device: number,
                    epoch,
                    node,
                }),
            });
        }
        drop(device);
        let mut tally = self.tally.borrow_mut();
        tally.spend(stage, now);
        tally.sessions += 1;
        tally.count(stage, Count::Login);
        let took = span(now.saturating_sub(begun));
        let at = tally.at(stage);
        at.latencies.login.record(took, took);
        if resumed.is_some() {
            at.counters.resumes += 1;
        } else {
            at.counters.binds += 1;
        }
        drop(tally);
        if let Some(h) = resumed {
            // All that the server has is covered; the rest goes out again, in order.
            self.cover(me, h, now);
            cell.borrow_mut().written = 0;
        }
        for element in session.early {
            self.take(me, &element, now);
        }
        self.settled(me, false);
    }

    fn end(&self, me: usize, ended: &Result<End, LineError>) {
        let Some(device) = self.device(me) else {
            return;
        };
        let mut device = device.borrow_mut();
        device.online = false;
        device.waker = None;
        if let Ok(End::Ordered(Order::Leave(back))) = ended {
            device.returned = *back;
            device.away = true;
            // A stream that was ended in order cannot be resumed.
            device.resumable = None;
        }
        if let Some(history) = &self.common.history {
            let waits = device
                .queue
                .iter()
                .any(|out| matches!(out, Out::Message(_)));
            if matches!(ended, Ok(End::Over)) && !waits && self.is_quiet(&device) {
                history.record(&Event::Drained(Drained {
                    device: device.number,
                }));
            }
            history.record(&Event::Unbind(Unbind {
                device: device.number,
                epoch: device.epoch,
            }));
            for out in device.queue.iter().take(device.written) {
                if let Out::Message(n) = out {
                    history.record(&Event::Info(Info {
                        from: device.number,
                        id: entente_history::Id::own(device.number, (*n).into()),
                    }));
                }
            }
        }
        let mut tally = self.tally.borrow_mut();
        tally.spend(self.stage(), self.now());
        tally.sessions = tally.sessions.saturating_sub(1);
    }

    /// Whether nothing more is to come to a device, as far as it can know: either all that was sent is
    /// over, or nothing came for a while. One that reads slowly may have a backlog at the server.
    fn is_quiet(&self, device: &Device) -> bool {
        let pause = self
            .common
            .scenario
            .slow
            .as_ref()
            .map_or(0, |slow| micros(slow.pause));
        let quiet = micros(QUIET).max(pause.saturating_mul(2));
        self.common.under_way.load(Ordering::Relaxed) == 0
            || self.now().saturating_sub(device.came) >= quiet
    }

    /// What a `<resume/>` acknowledges is recorded before it is sent.
    fn resuming(&self, me: usize, resumes: bool) {
        if let (true, Some(history), Some(device)) =
            (resumes, &self.common.history, self.device(me))
        {
            let device = device.borrow();
            history.record(&Event::Devack(Devack {
                device: device.number,
                epoch: device.epoch,
                count: device.here,
            }));
        }
    }

    /// The device is connected for the first time, or will not be.
    pub(super) fn settled(&self, me: usize, given_up: bool) {
        let Some(device) = self.device(me) else {
            return;
        };
        let mut device = device.borrow_mut();
        if !std::mem::replace(&mut device.settled, true) {
            self.common.settled.fetch_add(1, Ordering::Relaxed);
            if given_up {
                self.common.given_up.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
