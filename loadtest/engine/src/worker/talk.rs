//! A session while it lasts: reads all there is, takes it, writes once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::control::Stage;
use crate::device::Order;
use crate::wire::{Line, LineError, READ_BYTES};

use super::Worker;

/// Reads before other connections have their turn.
const READS: usize = 16;

/// How a session ended, if not with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it was told.
    Ordered(Order),
    /// The run is over.
    Over,
}

/// How a slow reader reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) pause: Duration,
    pub(super) bytes: usize,
}

/// The future of a session.
pub(super) struct Talk<'a> {
    pub(super) worker: &'a Worker,
    pub(super) me: usize,
    pub(super) line: &'a mut Line,
    pub(super) pace: Option<Pace>,
    pub(super) pause: Option<Pin<Box<Sleep>>>,
}

impl Future for Talk<'_> {
    type Output = Result<End, LineError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(end) = this.told(cx) {
            return Poll::Ready(Ok(end));
        }
        if let Err(error) = this.read(cx) {
            return Poll::Ready(Err(error));
        }
        loop {
            let any = this.worker.fill(this.me, this.line);
            match this.line.poll_flush(cx) {
                Poll::Ready(Ok(())) if any => {}
                Poll::Ready(Ok(())) | Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Talk<'_> {
    fn told(&self, cx: &Context<'_>) -> Option<End> {
        let mut device = self.worker.device(self.me)?.borrow_mut();
        if self.worker.stage() == Stage::Close {
            return Some(End::Over);
        }
        if let Some(order) = device.order.take() {
            return Some(End::Ordered(order));
        }
        if !device
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            device.waker = Some(cx.waker().clone());
        }
        None
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), LineError> {
        let most = self.pace.map_or(READ_BYTES, |pace| pace.bytes);
        // What came in one flight with the end of the login is there already.
        self.take()?;
        for _ in 0..READS {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return Ok(());
                }
                self.pause = None;
            }
            match self.line.poll_fill(most, cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(read) => read?,
            };
            self.take()?;
            if let Some(pace) = self.pace {
                self.pause = Some(Box::pin(sleep(pace.pause)));
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn take(&mut self) -> Result<(), LineError> {
        let now = self.worker.now();
        while let Some(element) = self.line.next_element()? {
            self.worker.take(self.me, &element, now);
        }
        Ok(())
    }
}
