//! The task of a device: connect, serve, connect again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use entente_stanza::Element;
use rand::Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::tally::{Tally, record};
use super::{DeviceConfig, Phase};
use crate::client::{Client, ClientError, Event, Resumption};

/// How long closing in order may take before the connection is simply dropped.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Answers that a device waits for at once.
const MAX_REQUESTS: usize = 256;

/// What the application wants done.
#[derive(Debug)]
pub(super) enum Command {
    Request {
        kind: &'static str,
        to: Option<Box<str>>,
        payload: Element,
        reply: oneshot::Sender<Element>,
    },
    Send {
        to: Box<str>,
        id: Box<str>,
        children: Vec<Element>,
    },
}

/// What the application wants of the connection. Levels, not edges: the last word counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control {
    pub(super) away: bool,
    pub(super) cuts: u64,
    pub(super) stop: bool,
}

/// The device's ends of its channels.
pub(super) struct Ends {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) control: watch::Receiver<Control>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) tally: Arc<Tally>,
}

pub(super) struct Runner {
    config: DeviceConfig,
    client: Client,
    ends: Ends,
    requests: HashMap<Box<str>, oneshot::Sender<Element>>,
    attempts: u32,
    cuts: u64,
}

impl Runner {
    pub(super) fn new(config: DeviceConfig, ends: Ends) -> Self {
        Self {
            client: Client::new(config.client.clone()),
            config,
            ends,
            requests: HashMap::new(),
            attempts: 0,
            cuts: 0,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let control = *self.ends.control.borrow_and_update();
            if control.stop {
                break;
            }
            if control.cuts != self.cuts {
                self.cuts = control.cuts;
                self.client.cut();
            }
            if control.away {
                self.close().await;
                self.enter(Phase::Offline);
                if self.ends.control.changed().await.is_err() {
                    break;
                }
            } else if self.client.is_connected() {
                self.enter(Phase::Online);
                self.serve().await;
            } else {
                self.enter(Phase::Connecting);
                self.connect().await;
            }
            self.count();
        }
        self.close().await;
        self.count();
        self.enter(Phase::Stopped);
    }

    /// One attempt, and the pause after it if it failed. Ends early when the application wants
    /// something else.
    async fn connect(&mut self) {
        let outcome = tokio::select! {
            outcome = self.client.resume() => outcome,
            _ = self.ends.control.changed() => {
                self.ends.control.mark_changed();
                return;
            }
        };
        match outcome {
            Ok(how) => {
                self.attempts = 0;
                if how == Resumption::Rebound {
                    // Their answers were owed by the session that is gone.
                    self.requests.clear();
                }
            }
            Err(error) => {
                let pause = self.pause(&error);
                self.ends.tally.change(|tally| {
                    tally.failures += 1;
                    tally.last_error = Some(error.to_string());
                });
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = self.ends.control.changed() => self.ends.control.mark_changed(),
                }
            }
        }
    }

    /// Doubles from attempt to attempt, shortened by chance so that a crowd spreads out.
    fn pause(&mut self, error: &ClientError) -> Duration {
        let grown = self.config.first_pause * 2_u32.saturating_pow(self.attempts.min(16));
        self.attempts += 1;
        let most = self.config.longest_pause;
        let pause = if error.is_passing() {
            grown.min(most)
        } else {
            most
        };
        pause.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Serves the connection until it is lost or the application wants something else.
    async fn serve(&mut self) {
        let events = self.ends.events.clone();
        while self.client.is_connected() {
            let is_open =
                self.client.unacked() < self.config.window && self.requests.len() < MAX_REQUESTS;
            tokio::select! {
                _ = self.ends.control.changed() => {
                    self.ends.control.mark_changed();
                    return;
                }
                next = next_event(&mut self.client, &events) => match next {
                    Ok((permit, event)) => {
                        if let Some(event) = deliver(event, &mut self.requests, &self.ends.tally) {
                            permit.send(event);
                        }
                    }
                    Err(error) => self.lost(&error),
                },
                Some(command) = self.ends.commands.recv(), if is_open => {
                    self.obey(command);
                    if self.ends.commands.is_empty() {
                        // Nothing follows that would ask; somebody may wait for the answer.
                        self.client.ask();
                    }
                }
            }
            self.count();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Send { to, id, children } => {
                // The window is below the client's own limit, so it is never full here.
                if let Err(error) = self.client.send_message(&to, &id, children) {
                    self.lost(&error);
                }
            }
            Command::Request {
                kind,
                to,
                payload,
                reply,
            } => {
                let id = self.client.request(kind, to.as_deref(), payload);
                self.requests.insert(id, reply);
            }
        }
    }

    fn lost(&self, error: &ClientError) {
        let conflict = matches!(error, ClientError::Stream(condition) if condition == "conflict");
        self.ends.tally.change(|tally| {
            tally.conflicts += u64::from(conflict);
            tally.last_error = Some(error.to_string());
        });
    }

    /// Waits for what the server still owes, then ends the stream.
    async fn close(&mut self) {
        self.client.ask();
        let settled = async {
            while self.client.unacked() > 0 && self.client.is_connected() {
                match self.client.recv().await {
                    Ok(event) => {
                        let event = deliver(event, &mut self.requests, &self.ends.tally);
                        if let Some(event) = event {
                            // Full or closed: the application is leaving as well.
                            drop(self.ends.events.try_send(event));
                        }
                    }
                    Err(error) => self.lost(&error),
                }
            }
        };
        // The borrow of the whole runner ends here, timed out or not.
        drop(timeout(CLOSE_WITHIN, settled).await);
        // A peer that does not read any more is left without a goodbye.
        if timeout(CLOSE_WITHIN, self.client.close()).await.is_err() {
            self.client.cut();
        }
    }

    fn count(&self) {
        let (counts, unacked) = (self.client.counts(), self.client.unacked());
        self.ends.tally.change(|tally| {
            tally.counts = counts;
            tally.unacked = unacked;
        });
    }

    fn enter(&self, phase: Phase) {
        self.ends.phase.send_if_modified(|now| {
            let changed = *now != phase;
            *now = phase;
            changed
        });
    }
}

/// Room for an event first, then the event: nothing is read that could not be handed on.
async fn next_event<'a>(
    client: &mut Client,
    events: &'a mpsc::Sender<Event>,
) -> Result<(mpsc::Permit<'a, Event>, Event), ClientError> {
    let permit = match events.reserve().await {
        Ok(permit) => permit,
        // The application stopped listening; the control says so next.
        Err(_) => std::future::pending().await,
    };
    Ok((permit, client.recv().await?))
}

/// Counts an event and gives answers to those who asked; the rest is for the application.
fn deliver(
    event: Event,
    requests: &mut HashMap<Box<str>, oneshot::Sender<Element>>,
    tally: &Tally,
) -> Option<Event> {
    match event {
        Event::Answer { id, element } => match requests.remove(&id) {
            Some(reply) => {
                // Who asked may have gone.
                drop(reply.send(element));
                None
            }
            None => Some(Event::Answer { id, element }),
        },
        Event::Accepted { took, .. } => {
            tally.change(|tally| record(&mut tally.accepted_micros, took));
            Some(event)
        }
        other => Some(other),
    }
}
