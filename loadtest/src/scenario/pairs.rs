//! Pairs of users in a closed loop: one sends, one receives, XEP-0198 on both sides.
//!
//! A sender has at most a window of messages under way. A message is done when its recipient has it
//! and the sender's `h` covers it; the recipient answers every `<r/>` at once. After each turn the
//! sender fills the window and asks for `h` once.
//!
//! **Invariants**
//! - The span that is measured begins after the warm-up, with every pair running.
//! - Every message that was sent is waited for after it, so losses are seen.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use entente_core::random_array;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Meter, costs, float};
use crate::line::{Door, Kind, Line, REQUEST, kind, number, value};
use crate::node::Node;
use crate::report::Row;
use crate::users::User;

/// How long what is under way at the end is waited for.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct PairsConfig {
    /// Pairs.
    pub pairs: usize,
    /// Messages under way in each.
    pub window: u32,
    /// Bytes of each body.
    pub body: usize,
    /// Time before it is measured.
    pub warm_up: Duration,
    /// Time that is measured.
    pub time: Duration,
    /// The cost that is aimed at, in µs a message.
    pub goal: Option<f64>,
}

#[derive(Debug, Default)]
struct Shared {
    done: AtomicU64,
    measuring: AtomicBool,
    stop: AtomicBool,
}

/// What one pair saw.
#[derive(Debug)]
struct Seen {
    sent: u32,
    received: u32,
    acked: u32,
    out_of_order: u32,
    latencies: Histogram<u32>,
}

/// Runs the pairs; users are taken two by two.
///
/// # Errors
/// If a connection is lost.
pub async fn run(node: &Node, users: &[User], config: PairsConfig) -> anyhow::Result<Row> {
    let door = node.door()?;
    let shared = Arc::new(Shared::default());
    let mut tasks = JoinSet::new();
    for both in users.chunks_exact(2).take(config.pairs) {
        let [from, to] = both else { continue };
        let pair = Pair::connect(&door, node, from, to, config).await?;
        let patience = config.warm_up + config.time + DRAIN_TIME;
        tasks.spawn(pair.run(Arc::clone(&shared), patience));
    }
    if tasks.len() < config.pairs {
        bail!("not enough users");
    }
    sleep_watching(&mut tasks, config.warm_up).await?;
    shared.measuring.store(true, Ordering::Relaxed);
    let (meter, before) = (
        Meter::begin(node.pid()?)?,
        shared.done.load(Ordering::Relaxed),
    );
    sleep_watching(&mut tasks, config.time).await?;
    let done = shared.done.load(Ordering::Relaxed) - before;
    let spent = meter.end()?;
    shared.measuring.store(false, Ordering::Relaxed);
    shared.stop.store(true, Ordering::Relaxed);

    let name = format!(
        "pairs {} × window {}, {} B",
        config.pairs, config.window, config.body
    );
    let mut row = Row::new(&name);
    costs(&mut row, "message", done, config.goal, &spent);
    let mut latencies = Histogram::<u32>::new_with_bounds(1, 60_000_000, 3)?;
    let (mut undelivered, mut unacked, mut disorder) = (0_u64, 0_u64, 0_u64);
    while let Some(seen) = tasks.join_next().await {
        let seen = seen??;
        latencies.add(&seen.latencies)?;
        undelivered += u64::from(seen.sent.saturating_sub(seen.received));
        unacked += u64::from(seen.sent.saturating_sub(seen.acked));
        disorder += u64::from(seen.out_of_order);
    }
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        row.add(
            name,
            float(latencies.value_at_quantile(quantile)) / 1e3,
            "ms",
        );
    }
    row.add("not delivered", float(undelivered), "");
    row.add("not acknowledged", float(unacked), "");
    row.add("out of order or twice", float(disorder), "");
    Ok(row)
}

/// The number behind the dash of one of our ids.
fn numbered(id: &[u8]) -> Option<u32> {
    let dash = id.iter().rposition(|byte| *byte == b'-')?;
    id.get(dash + 1..).and_then(number)
}

/// Sleeps, but fails as soon as one of the tasks does.
async fn sleep_watching<T: 'static>(
    tasks: &mut JoinSet<anyhow::Result<T>>,
    time: Duration,
) -> anyhow::Result<()> {
    tokio::select! {
        () = sleep(time) => Ok(()),
        Some(ended) = tasks.join_next() => {
            ended??;
            bail!("a connection ended before its time");
        }
    }
}

struct Pair {
    sender: Line,
    receiver: Line,
    window: u32,
    head: Vec<u8>,
    tail: Vec<u8>,
    under_way: VecDeque<Instant>,
    done: u32,
    seen: Seen,
}

impl Pair {
    async fn connect(
        door: &Door,
        node: &Node,
        from: &User,
        to: &User,
        config: PairsConfig,
    ) -> anyhow::Result<Self> {
        let mut lines = Vec::new();
        for user in [from, to] {
            let mut line = door.connect(0).await?;
            let token = node.mint(&user.visible)?;
            line.log_in(&user.localpart, &token).await?;
            line.enable().await?;
            line.queue(b"<presence/>");
            line.flush().await?;
            lines.push(line);
        }
        let (Some(receiver), Some(sender)) = (lines.pop(), lines.pop()) else {
            bail!("two connections were made");
        };
        let body = "x".repeat(config.body);
        // The gateway drops a second message of the same id, also when a run before made the first.
        let run = u64::from_be_bytes(random_array());
        Ok(Self {
            sender,
            receiver,
            window: config.window,
            head: format!("<message to='{}' type='chat' id='{run:x}-", to.address()).into_bytes(),
            tail: format!("'><body>{body}</body></message>").into_bytes(),
            under_way: VecDeque::new(),
            done: 0,
            seen: Seen {
                sent: 0,
                received: 0,
                acked: 0,
                out_of_order: 0,
                latencies: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            },
        })
    }

    /// Runs until it is told to stop and all is done, or for as long as there is patience.
    async fn run(mut self, shared: Arc<Shared>, patience: Duration) -> anyhow::Result<Seen> {
        let mut given_up = pin!(sleep(patience));
        loop {
            self.take_sender()?;
            self.take_receiver()?;
            self.complete(&shared)?;
            if shared.stop.load(Ordering::Relaxed) {
                if self.done >= self.seen.sent {
                    return Ok(self.seen);
                }
            } else {
                self.send();
            }
            self.sender.flush().await?;
            self.receiver.flush().await?;
            tokio::select! {
                biased;
                filled = self.receiver.fill() => filled?,
                filled = self.sender.fill() => filled?,
                () = &mut given_up => return Ok(self.seen),
            }
        }
    }

    fn take_sender(&mut self) -> anyhow::Result<()> {
        while let Some(element) = self.sender.next_element()? {
            match kind(&element) {
                // The presence came first.
                Kind::Acknowledged(h) => self.seen.acked = self.seen.acked.max(h.saturating_sub(1)),
                Kind::Requested => self.sender.acknowledge(),
                Kind::Message if value(&element, b" type='") == Some(b"error") => {
                    bail!("refused: {}", String::from_utf8_lossy(&element));
                }
                Kind::Message | Kind::Stanza => self.sender.handle(),
                Kind::Other => {}
            }
        }
        Ok(())
    }

    fn take_receiver(&mut self) -> anyhow::Result<()> {
        while let Some(element) = self.receiver.next_element()? {
            match kind(&element) {
                Kind::Requested => self.receiver.acknowledge(),
                Kind::Message => {
                    self.receiver.handle();
                    // Words of the gateway itself have no number.
                    if let Some(id) = value(&element, b" id='").and_then(numbered) {
                        if id == self.seen.received {
                            self.seen.received += 1;
                        } else {
                            self.seen.out_of_order += 1;
                        }
                    }
                }
                Kind::Stanza => self.receiver.handle(),
                Kind::Acknowledged(_) | Kind::Other => {}
            }
        }
        Ok(())
    }

    /// Counts what both sides have confirmed.
    fn complete(&mut self, shared: &Shared) -> anyhow::Result<()> {
        let through = self.seen.acked.min(self.seen.received);
        if through <= self.done {
            return Ok(());
        }
        let (now, measuring) = (Instant::now(), shared.measuring.load(Ordering::Relaxed));
        for _ in self.done..through {
            let begun = self.under_way.pop_front().context("h is too high")?;
            if measuring {
                let micros = u64::try_from((now - begun).as_micros())?;
                self.seen.latencies.saturating_record(micros);
            }
        }
        shared
            .done
            .fetch_add(u64::from(through - self.done), Ordering::Relaxed);
        self.done = through;
        Ok(())
    }

    fn send(&mut self) {
        let mut any = false;
        while self.seen.sent - self.done < self.window {
            self.sender.queue(&self.head);
            self.sender.queue(self.seen.sent.to_string().as_bytes());
            self.sender.queue(&self.tail);
            self.under_way.push_back(Instant::now());
            self.seen.sent += 1;
            any = true;
        }
        if any {
            self.sender.queue(REQUEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_load_end_in_a_number() {
        assert_eq!(numbered(b"7f3a-12"), Some(12));
        assert_eq!(numbered(b"5e1b9c"), None);
        assert_eq!(numbered(b"7f3a-1x"), None);
    }
}
