//! Connections that their devices have left without closing them: each waits until its device is back
//! over another one, and goes on writing, as what was cut off from the rest and does not know of it.
//!
//! What it writes are typing notices: a server that heeds them counts them in an `h` of a session that
//! never sent them. What it reads is thrown away: nobody is there who would acknowledge it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::control::Stage;
use crate::device::Out;
use crate::wire::{Line, READ_BYTES};

use super::Worker;

/// Between two looks at those that linger: some notices while the device's own first stanzas are
/// under way.
const LOOK: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    left: RefCell<Vec<Left>>,
    added: Notify,
}

#[derive(Debug)]
struct Left {
    /// The index of its device.
    me: usize,
    /// The number of the connection.
    epoch: u32,
    line: Line,
    /// When it is closed.
    until: u64,
}

impl Lingering {
    pub(super) fn add(&self, me: usize, epoch: u32, line: Line, until: u64) {
        let left = Left {
            me,
            epoch,
            line,
            until,
        };
        self.left.borrow_mut().push(left);
        self.added.notify_one();
    }
}

/// Has those that linger write until they are closed or the run is over.
pub(super) async fn lingering(worker: Rc<Worker>) {
    let write = async {
        loop {
            if worker.lingering.left.borrow().is_empty() {
                worker.lingering.added.notified().await;
            }
            sleep(LOOK).await;
            let mut left = worker.lingering.left.take();
            left.retain_mut(|left| worker.goes_on(left));
            worker.lingering.left.borrow_mut().append(&mut left);
        }
    };
    tokio::select! {
        () = write => {}
        _ = worker.common.control.reach(Stage::Close) => {}
    }
    worker.lingering.left.take();
}

impl Worker {
    /// Leaves the connection of a device behind.
    pub(super) fn linger(&self, me: usize, line: Line, until: u64) {
        if let Some(device) = self.device(me) {
            let epoch = device.borrow().epoch;
            self.lingering.add(me, epoch, line, until);
        }
    }

    /// Writes if the device is back; false if the connection is over.
    fn goes_on(&self, left: &mut Left) -> bool {
        let Some(device) = self.device(left.me) else {
            return false;
        };
        if self.now() >= left.until {
            return false;
        }
        if device.borrow().epoch == left.epoch {
            return true;
        }
        // Looked at again and again, so nothing needs to wake it.
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            match left.line.poll_fill(READ_BYTES, cx) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => return false,
                Poll::Ready(Ok(_)) => {}
            }
            loop {
                match left.line.next_element() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return false,
                }
            }
        }
        if left.line.has_room() {
            let mut text = self.text.borrow_mut();
            text.clear();
            let websocket = left.line.is_websocket();
            self.write(
                &mut device.borrow_mut(),
                &Out::Typing(0),
                websocket,
                &mut text,
            );
            left.line.queue(&text);
        }
        !matches!(left.line.poll_flush(cx), Poll::Ready(Err(_)))
    }
}
