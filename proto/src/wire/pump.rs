//! Moves batches between a local stream and a wire stream, the same way at both ends.
//!
//! In: what the local side wants to send, frames of the peer. Out: frames to the peer, batches to
//! the local side, and how it ended.
//!
//! **Invariants**
//! - At most [`STREAM_BATCHES`] batches are granted to the peer and not yet used, and as many wait
//!   here for a local side that is slow; a peer that sends without a grant ends the stream.
//! - Neither direction waits for the other: while the local side takes nothing, frames are still
//!   read, so grants for what is sent keep coming.
//! - Order within a direction is kept; batches are split, never joined.

use std::collections::VecDeque;
use std::time::Duration;

use entente_core::Fault;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::edge::{BATCH_ITEMS, STREAM_BATCHES};
use crate::wire::MESSAGE_BYTES;
use crate::wire::fault::{BAD_REQUEST, LOST, NO_CREDIT, TOO_LARGE, fault_of};

/// Frames between the pump and the connection; they count as sent.
pub(super) const OUT_FRAMES: usize = 4;
/// How long last words may take once one side ended.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);
/// Bytes of items that one frame carries, unless a single item has more. Well below the limit of a
/// message, so that one stream's frames do not hold up the others on a connection.
const FRAME_BYTES: usize = 128 * 1024;
/// What framing adds to an item at most: tag and length of the item, of the batch and of the frame.
const FRAMING: usize = 64;
/// Batches that are handed on before the peer is told so: an eighth of the window, so that a busy
/// stream carries few grants and an idle one is never starved.
const GRANT_EVERY: u32 = WINDOW / 8;
#[expect(
    clippy::cast_possible_truncation,
    reason = "a window of batches fits in 32 bits"
)]
const WINDOW: u32 = STREAM_BATCHES as u32;

/// One end of the stream: what it sends, what it takes, and how that looks in frames.
pub(super) trait End: Send + 'static {
    /// What the local side gives.
    type Source: Send;
    /// What the local side takes.
    type Sink: Send;
    /// An item in a frame.
    type Item: Message;
    /// A frame to send.
    type Out: Send;
    /// A frame that arrives.
    type In: Send;
    /// Whether the stream is over when the source is.
    const ENDS_WITH_SOURCE: bool;

    fn items(&self, source: Self::Source) -> Vec<Self::Item>;
    fn batch(items: Vec<Self::Item>) -> Self::Out;
    fn grant(batches: u32) -> Self::Out;
    /// Reads a frame of the peer.
    fn read(&self, frame: Self::In) -> Result<Event<Self::Sink>, Fault>;
}

/// A frame of the peer.
#[derive(Debug)]
pub(super) enum Event<T> {
    Batch(T),
    Grant(u32),
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The local side ended it; what it said before is sent.
    Local,
    /// The peer ended it or is gone.
    Peer,
    /// This end cannot go on; the peer is owed the fault.
    Fault(Fault),
}

/// The two directions of one stream.
pub(super) struct Pump<E: End> {
    pub(super) end: E,
    pub(super) source: mpsc::Receiver<E::Source>,
    pub(super) sink: mpsc::Sender<E::Sink>,
    pub(super) out: mpsc::Sender<E::Out>,
    /// Fires when this end is to stop, with the fault that the peer is told.
    pub(super) stop: (CancellationToken, Fault),
    state: State<E>,
}

struct State<E: End> {
    /// Batches that the peer granted.
    credit: u32,
    /// Batches that the peer may still send.
    granted: u32,
    /// Batches to grant.
    owed: u32,
    /// Frames that wait for credit: one batch of the source at most.
    outgoing: VecDeque<E::Out>,
    /// Batches that wait for the local side.
    incoming: VecDeque<E::Sink>,
    /// Whether the source can give more.
    open: bool,
    /// Set once the local side ended: until when its last words may be sent.
    leaving: Option<Instant>,
}

impl<E: End> Pump<E> {
    pub(super) const fn new(
        end: E,
        source: mpsc::Receiver<E::Source>,
        sink: mpsc::Sender<E::Sink>,
        out: mpsc::Sender<E::Out>,
        stop: (CancellationToken, Fault),
    ) -> Self {
        let state = State {
            credit: 0,
            granted: 0,
            owed: WINDOW,
            outgoing: VecDeque::new(),
            incoming: VecDeque::new(),
            open: true,
            leaving: None,
        };
        Self {
            end,
            source,
            sink,
            out,
            stop,
            state,
        }
    }

    /// Runs until either side ends, and hands on what had arrived by then.
    pub(super) async fn run(&mut self, inbound: &mut Streaming<E::In>) -> Over {
        let over = match self.go(inbound).await {
            Ok(over) | Err(over) => over,
        };
        // Batches that were taken over are the local side's, unless it is gone or does not listen.
        let until = Instant::now() + LAST_WORDS;
        while let Some(batch) = self.state.incoming.pop_front() {
            let handed = tokio::time::timeout_at(until, self.sink.send(batch)).await;
            if !matches!(handed, Ok(Ok(()))) {
                break;
            }
        }
        over
    }

    async fn go(&mut self, inbound: &mut Streaming<E::In>) -> Result<Over, Over> {
        loop {
            let state = &mut self.state;
            if state.leaving.is_some() && !state.open && state.outgoing.is_empty() {
                return Ok(Over::Local);
            }
            let may_send = state.credit > 0 && !state.outgoing.is_empty();
            let must_grant = state.owed >= GRANT_EVERY;
            let deadline = state.leaving;
            // No bias: no direction may starve the other. Every branch is cancel safe.
            tokio::select! {
                () = self.stop.0.cancelled() => return Err(Over::Fault(self.stop.1)),
                () = self.sink.closed(), if deadline.is_none() => {
                    state.leaving = Some(Instant::now() + LAST_WORDS);
                    // What is in the source already is still taken out of it.
                    self.source.close();
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return Ok(Over::Local);
                }
                taken = self.source.recv(), if state.open && state.outgoing.is_empty() => {
                    match taken {
                        Some(batch) => state.outgoing = split::<E>(self.end.items(batch))?,
                        None => state.source_ended(),
                    }
                }
                permit = self.out.reserve(), if may_send || must_grant => {
                    let permit = permit.map_err(|_| Over::Peer)?;
                    if let Some(frame) = state.next_frame(must_grant) {
                        permit.send(frame);
                    }
                }
                permit = self.sink.reserve(), if !state.incoming.is_empty() => {
                    // A sink that closed meanwhile is seen by the branch above.
                    if let (Ok(permit), Some(batch)) = (permit, state.incoming.pop_front()) {
                        permit.send(batch);
                        state.owed += 1;
                    }
                }
                frame = inbound.message() => {
                    let frame = frame.map_err(|status| died(&status))?.ok_or(Over::Peer)?;
                    let event = self.end.read(frame).map_err(Over::Fault)?;
                    state.take(event).map_err(Over::Fault)?;
                }
            }
        }
    }
}

impl<E: End> State<E> {
    fn source_ended(&mut self) {
        self.open = false;
        if E::ENDS_WITH_SOURCE && self.leaving.is_none() {
            self.leaving = Some(Instant::now() + LAST_WORDS);
        }
    }

    fn next_frame(&mut self, grant: bool) -> Option<E::Out> {
        if grant {
            let batches = std::mem::take(&mut self.owed);
            self.granted += batches;
            return Some(E::grant(batches));
        }
        self.credit -= 1;
        self.outgoing.pop_front()
    }

    fn take(&mut self, event: Event<E::Sink>) -> Result<(), Fault> {
        match event {
            Event::Batch(batch) => {
                self.granted = self.granted.checked_sub(1).ok_or(NO_CREDIT)?;
                // A local side that is leaving takes nothing more.
                if self.leaving.is_none() {
                    self.incoming.push_back(batch);
                }
            }
            Event::Grant(batches) => {
                let credit = self.credit.saturating_add(batches);
                if credit > WINDOW {
                    return Err(NO_CREDIT);
                }
                self.credit = credit;
            }
        }
        Ok(())
    }
}

/// A stream that broke, as seen by its reader. What the peer sent beyond a limit, or what is no
/// message, is the peer's fault and it is told so.
fn died(status: &tonic::Status) -> Over {
    match status.code() {
        tonic::Code::OutOfRange => Over::Fault(TOO_LARGE),
        _ if fault_of(status) == LOST && status.code() == tonic::Code::Internal => {
            Over::Fault(BAD_REQUEST)
        }
        _ => Over::Peer,
    }
}

/// Splits a batch into frames of at most [`BATCH_ITEMS`] items and about [`FRAME_BYTES`].
fn split<E: End>(items: Vec<E::Item>) -> Result<VecDeque<E::Out>, Over> {
    let mut frames = VecDeque::new();
    let (mut frame, mut bytes) = (Vec::new(), 0_usize);
    for item in items {
        let len = item.encoded_len();
        if len > MESSAGE_BYTES - FRAMING {
            return Err(Over::Fault(TOO_LARGE));
        }
        if frame.len() >= BATCH_ITEMS || (!frame.is_empty() && bytes + len > FRAME_BYTES) {
            frames.push_back(E::batch(std::mem::take(&mut frame)));
            bytes = 0;
        }
        bytes += len + FRAMING;
        frame.push(item);
    }
    if !frame.is_empty() {
        frames.push_back(E::batch(frame));
    }
    Ok(frames)
}
