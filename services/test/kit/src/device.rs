//! A device that stays connected by itself: it reconnects until it is told to stop.
//!
//! One task owns the `Client`; a [`Sender`] hands it messages, [`Device::next`] gives what came.
//! Message ids are made here, a numbered series for each recipient, so that the receiving inbox can
//! see a gap in the order.
//!
//! **Invariants**
//! - What [`Sender::send`] returned an id for is sent until the server accepts or refuses it.
//! - Both queues are bounded: a slow application slows the device, a slow server slows the sender.

mod run;
mod tally;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use entente_core::random_array;
use entente_stanza::Element;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::client::{ClientConfig, Event};

pub use tally::{DeviceTally, histogram, record};

use run::{Command, Control, Runner};
use tally::Tally;

/// Messages that may wait for the device's task.
const COMMANDS: usize = 64;
/// Events that may wait for the application.
const EVENTS: usize = 1024;

/// How a device behaves.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// Where and as whom it connects.
    pub client: ClientConfig,
    /// The pause before the second attempt to connect; it doubles from there.
    pub first_pause: Duration,
    /// The longest pause. Each pause is shortened by chance to between a half and all of it.
    pub longest_pause: Duration,
    /// Stanzas that may wait for an acknowledgement before no more is taken from the application.
    pub window: usize,
}

impl DeviceConfig {
    /// The pauses and window of a phone on a good network.
    pub const fn new(client: ClientConfig) -> Self {
        Self {
            client,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
            window: 256,
        }
    }
}

/// Where a device is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It wants a session and has none.
    Connecting,
    /// It was told to stay away.
    Offline,
    /// It has a session.
    Online,
    /// It is over.
    Stopped,
}

/// The device was stopped, or it lost the session on which a request went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device does not answer any more")]
pub struct DeviceGone;

/// See the module.
#[derive(Debug)]
pub struct Device {
    sender: Sender,
    events: mpsc::Receiver<Event>,
    task: JoinSet<()>,
}

/// Hands messages and requests to a device; cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    commands: mpsc::Sender<Command>,
    control: watch::Sender<Control>,
    phase: watch::Receiver<Phase>,
    tally: Arc<Tally>,
    series: Arc<Mutex<Series>>,
}

/// The numbered ids of one device.
#[derive(Debug)]
struct Series {
    run: String,
    peers: HashMap<Box<str>, (usize, u64)>,
}

impl Series {
    fn next(&mut self, to: &str) -> Box<str> {
        let peers = self.peers.len();
        let run = &self.run;
        let (peer, number) = match self.peers.get_mut(to) {
            Some(entry) => entry,
            None => self.peers.entry(to.into()).or_insert((peers, 0)),
        };
        *number += 1;
        format!("{run}.{peer}-{number}").into()
    }
}

impl Device {
    /// Starts the device; it connects at once.
    pub fn start(config: DeviceConfig) -> Self {
        let (commands, command_inbox) = mpsc::channel(COMMANDS);
        let (outbox, events) = mpsc::channel(EVENTS);
        let control = watch::Sender::new(Control::default());
        let (phase_is, phase) = watch::channel(Phase::Connecting);
        let tally = Arc::new(Tally::default());
        let run: String = random_array::<4>()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let sender = Sender {
            commands,
            control: control.clone(),
            phase,
            tally: Arc::clone(&tally),
            series: Arc::new(Mutex::new(Series {
                run,
                peers: HashMap::new(),
            })),
        };
        let runner = Runner::new(
            config,
            run::Ends {
                commands: command_inbox,
                control: control.subscribe(),
                events: outbox,
                phase: phase_is,
                tally,
            },
        );
        let mut task = JoinSet::new();
        task.spawn(runner.run());
        Self {
            sender,
            events,
            task,
        }
    }

    /// A handle to send with.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Waits for the next event; `None` once the device has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Closes the stream in order and ends the device; returns what it counted.
    pub async fn stop(mut self) -> DeviceTally {
        self.sender
            .control
            .send_modify(|control| control.stop = true);
        self.events.close();
        while self.task.join_next().await.is_some() {}
        self.sender.tally()
    }
}

impl Sender {
    /// Hands a message over, waiting while the device's window is full; returns its stanza id.
    ///
    /// # Errors
    /// [`DeviceGone`]. Dropping the future sends nothing.
    pub async fn send(&self, to: &str, children: Vec<Element>) -> Result<Box<str>, DeviceGone> {
        let permit = self.commands.reserve().await.map_err(|_| DeviceGone)?;
        // Under one lock, so that the order of the numbers is the order of the queue.
        let mut series = self.series.lock();
        let id = series.next(to);
        permit.send(Command::Send {
            to: to.into(),
            id: id.clone(),
            children,
        });
        drop(series);
        Ok(id)
    }

    /// Sends a request and waits for its answer, of type `result` or `error`.
    ///
    /// # Errors
    /// [`DeviceGone`] also if the session was lost meanwhile; the request may or may not have had
    /// its effect.
    pub async fn iq(
        &self,
        kind: &'static str,
        to: Option<&str>,
        payload: Element,
    ) -> Result<Element, DeviceGone> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Request {
            kind,
            to: to.map(Box::from),
            payload,
            reply,
        };
        self.commands.send(command).await.map_err(|_| DeviceGone)?;
        answer.await.map_err(|_| DeviceGone)
    }

    /// Lets the connection go without a word; the device comes back by itself.
    pub fn cut(&self) {
        self.control.send_modify(|control| control.cuts += 1);
    }

    /// Closes the stream and stays away until [`Sender::come_online`].
    pub fn go_offline(&self) {
        self.control.send_modify(|control| control.away = true);
    }

    /// Ends [`Sender::go_offline`].
    pub fn come_online(&self) {
        self.control.send_modify(|control| control.away = false);
    }

    /// Waits for a phase.
    ///
    /// # Errors
    /// [`DeviceGone`] if the device ended in another one.
    pub async fn wait_for(&self, phase: Phase) -> Result<(), DeviceGone> {
        let mut now = self.phase.clone();
        now.wait_for(|now| *now == phase)
            .await
            .map_err(|_| DeviceGone)?;
        Ok(())
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// What was counted so far.
    pub fn tally(&self) -> DeviceTally {
        self.tally.read()
    }
}

#[cfg(test)]
mod tests;
