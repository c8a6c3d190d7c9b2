//! What happens besides messages: seconds go by, users go away, connections are cut.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{sleep, sleep_until};

use crate::control::{Cut, Stage, micros};
use crate::device::Order;

use super::Worker;

const SECOND: u64 = 1_000_000;

/// Hands over what each second brought.
pub(super) async fn seconds(worker: Rc<Worker>) {
    let control = &worker.common.control;
    let mut next = 1;
    while worker.stage() != Stage::Close {
        tokio::select! {
            () = sleep_until(control.at(next * SECOND)) => {}
            _ = control.reach(Stage::Close) => {}
        }
        let now = worker.now();
        let mut tally = worker.tally.borrow_mut();
        // The stage that went on until now, also when another just began.
        tally.spend(control.stage_of(now.saturating_sub(SECOND / 2)), now);
        next = now / SECOND + 1;
        let second = tally.turn(next - 1);
        worker.common.seconds.lock().push(second);
    }
}

/// Sends a share of those who are written to away, and has them back.
pub(super) async fn absences(worker: Rc<Worker>) {
    let Some(offline) = worker.common.scenario.offline.clone() else {
        return;
    };
    let control = &worker.common.control;
    let start = control.reach(Stage::Load).await;
    if worker.stage() != Stage::Load {
        return;
    }
    let (away, stay) = (micros(offline.away), micros(offline.stay));
    let mut leaving: Vec<(u64, usize)> = worker
        .chosen(offline.share)
        .into_iter()
        .map(|index| (start + worker.within(offline.stay), index))
        .collect();
    while !leaving.is_empty() && worker.stage() == Stage::Load {
        leaving.sort_unstable();
        let now = worker.now();
        let mut later = Vec::new();
        for (at, index) in leaving.drain(..) {
            if at > now {
                later.push((at, index));
                continue;
            }
            let back = now + away + worker.within(offline.within);
            worker.order(index, Order::Leave(back));
            if stay > 0 {
                later.push((back + stay, index));
            }
        }
        leaving = later;
        let wait = leaving.iter().map(|(at, _)| *at).min().unwrap_or(now);
        tokio::select! {
            () = sleep_until(control.at(wait)) => {}
            _ = control.reach(Stage::Drain) => return,
        }
    }
}

/// Cuts a share of all connections, again and again.
pub(super) async fn cuts(worker: Rc<Worker>) {
    let Some(reconnect) = worker.common.scenario.reconnect.clone() else {
        return;
    };
    let control = &worker.common.control;
    let mut at = control.reach(Stage::Load).await;
    while worker.stage() == Stage::Load {
        at += micros(reconnect.every);
        tokio::select! {
            () = sleep_until(control.at(at)) => {}
            _ = control.reach(Stage::Drain) => return,
        }
        worker.cut(Cut {
            share: reconnect.share,
            within: reconnect.within,
            lingers: Duration::ZERO,
        });
    }
}

/// Cuts connections whenever it is asked for.
pub(super) async fn cuts_from_outside(worker: Rc<Worker>) {
    let mut cuts = worker.common.cuts.subscribe();
    loop {
        tokio::select! {
            changed = cuts.changed() => if changed.is_err() { return },
            _ = worker.common.control.reach(Stage::Close) => return,
        }
        let cut = *cuts.borrow_and_update();
        if let Some(cut) = cut {
            worker.cut(cut);
        }
    }
}

/// Has each session say that it is there, spread over the time between.
pub(super) async fn keep_alives(worker: Rc<Worker>) {
    let every = worker.common.scenario.sessions.keep_alive;
    if every.is_zero() {
        return;
    }
    let count = worker.devices.len();
    let each = every / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let (mut due, mut index) = (tokio::time::Instant::now(), 0);
    loop {
        while due <= tokio::time::Instant::now() {
            if let Some(device) = worker.device(index) {
                let mut device = device.borrow_mut();
                device.keep_alive = device.online;
                device.wake();
            }
            index = if index + 1 < count { index + 1 } else { 0 };
            due += each.max(Duration::from_micros(1));
        }
        tokio::select! {
            () = sleep(each.max(Duration::from_millis(1))) => {}
            _ = worker.common.control.reach(Stage::Close) => return,
        }
    }
}

impl Worker {
    /// Breaks a share of all connections, which come back within a span.
    fn cut(&self, cut: Cut) {
        for index in 0..self.devices.len() {
            if self.chance(cut.share) {
                let back = self.now() + self.within(cut.within);
                self.order(
                    index,
                    if cut.lingers.is_zero() {
                        Order::Cut(back)
                    } else {
                        Order::Linger(back, back + micros(cut.lingers))
                    },
                );
            }
        }
    }

    fn order(&self, index: usize, order: Order) {
        if let Some(device) = self.device(index) {
            let mut device = device.borrow_mut();
            if device.online {
                device.order = Some(order);
                device.wake();
            }
        }
    }

    /// A share of those who are written to.
    fn chosen(&self, share: f64) -> Vec<usize> {
        let chosen = |_: &usize| self.chance(share);
        self.receivers.iter().copied().filter(chosen).collect()
    }
}
