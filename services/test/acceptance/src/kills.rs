//! The campaign: users exchange messages without a pause while the gateway is killed or restarted
//! again and again, and connections are cut at random. Then everything heals, drains, and
//! is counted.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use entente_kit::client::{Event, receipt_request};
use entente_kit::device::{Device, DeviceConfig, Sender};
use entente_stanza::{Element, ns};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::disk::{Rig, Struck};
use crate::history::{Findings, History};
use crate::stand::{Environment, Stand, User};

/// How long everything may take to arrive after the last fault.
const DRAIN: Duration = Duration::from_secs(60);

/// What happens at the end of each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every connection is cut at once; the gateway stays.
    Cut,
    /// The disk of the log fails, each round in another way.
    Disk,
    /// SIGKILL, and a start.
    Kill,
    /// SIGTERM, an orderly end with status 0, and a start.
    Terminate,
}

/// How long an orderly end may take: the drain's own budget and then some.
const ORDERLY: Duration = Duration::from_secs(30);

/// A campaign.
#[derive(Clone, Debug)]
pub struct Kills {
    /// What happens at the end of each round.
    pub fault: Fault,
    /// The gateway's program.
    pub program: PathBuf,
    /// Rounds; each ends with one fault.
    pub rounds: u32,
    /// Users.
    pub users: usize,
    /// From which every random choice of the campaign comes.
    pub seed: u64,
    /// Lines added to the gateway's configuration.
    pub config: String,
}

/// What a campaign came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// By the rules of the history.
    pub findings: Findings,
    /// Messages without an outcome at the moments of the kills.
    pub in_flight: usize,
    /// Kills at which at least one message was in flight.
    pub kills_in_flight: u32,
    /// Sessions resumed, over all devices.
    pub resumed: u64,
    /// Sessions bound afresh after a loss.
    pub rebound: u64,
    /// Messages that came over the wire again and were dropped by the application.
    pub copies: u64,
    /// Lines of the gateway's log at level ERROR.
    pub errors: usize,
    /// What was done to the disk of the log.
    pub struck: Struck,
}

impl Kills {
    /// Runs the campaign; tells of its progress on `out`.
    ///
    /// # Errors
    /// If the gateway does not start, or does not come back.
    pub async fn run(&self, out: &mut (dyn Write + Send)) -> anyhow::Result<Outcome> {
        ensure!(self.users >= 2, "a campaign needs two users");
        let mut rng = StdRng::seed_from_u64(self.seed);
        // The rig is dropped before the stand, whose folder it is mounted in.
        let (mut stand, mut rig) = self.set_up(out).await?;
        let users = Arc::new(stand.enlist(self.users).await?);
        let history = Arc::new(Mutex::new(History::default()));
        let mut collectors = JoinSet::new();
        let mut senders = Vec::new();
        for (index, user) in users.iter().enumerate() {
            let device = Device::start(DeviceConfig::new(stand.client(user)));
            senders.push(device.sender());
            collectors.spawn(collect(
                device,
                index,
                Arc::clone(&users),
                Arc::clone(&history),
            ));
        }
        let (stop, stopped) = watch::channel(false);
        let mut talkers = JoinSet::new();
        for (index, sender) in senders.iter().enumerate() {
            let rng = StdRng::seed_from_u64(rng.random());
            let talker = Talker {
                index,
                sender: sender.clone(),
                users: Arc::clone(&users),
                history: Arc::clone(&history),
            };
            talkers.spawn(talker.talk(rng, stopped.clone()));
        }
        let (mut in_flight, mut kills_in_flight) = (0, 0);
        for round in 1..=self.rounds {
            self.disturb(&mut rng, &senders).await;
            let unacked: usize = senders.iter().map(|sender| sender.tally().unacked).sum();
            in_flight += unacked;
            kills_in_flight += u32::from(unacked > 0);
            match &mut rig {
                Some(rig) => rig.strike(&mut stand).await?,
                None => self.strike(&mut stand, &senders).await?,
            }
            if round % 10 == 0 || round == self.rounds {
                writeln!(
                    out,
                    "round {round}/{}: {in_flight} in flight at kills",
                    self.rounds
                )?;
            }
        }
        stop.send_replace(true);
        while talkers.join_next().await.is_some() {}
        settle(&history).await;
        let mut outcome = Outcome {
            findings: history.lock().await.check(),
            in_flight,
            kills_in_flight,
            resumed: 0,
            rebound: 0,
            copies: 0,
            errors: stand.log()?.matches(" ERROR ").count(),
            struck: rig.as_ref().map(Rig::struck).unwrap_or_default(),
        };
        for sender in &senders {
            let counts = sender.tally().counts;
            outcome.resumed += counts.resumed;
            outcome.rebound += counts.rebound;
            outcome.copies += counts.copies;
        }
        collectors.shutdown().await;
        if !outcome.findings.is_clean() {
            writeln!(out, "kept for inspection: {}", stand.keep().display())?;
        }
        Ok(outcome)
    }

    async fn set_up(&self, out: &mut (dyn Write + Send)) -> anyhow::Result<(Stand, Option<Rig>)> {
        let mut rig = None;
        let prepare = |node: &Path| {
            if self.fault != Fault::Disk {
                return Ok(Environment::new());
            }
            let made = Rig::new(node, self.seed, out)?;
            let environment = made.environment();
            rig = Some(made);
            Ok(environment)
        };
        let stand = Stand::start(&self.program, &self.config, prepare).await?;
        Ok((stand, rig))
    }

    async fn strike(&self, stand: &mut Stand, senders: &[Sender]) -> anyhow::Result<()> {
        match self.fault {
            Fault::Cut | Fault::Disk => senders.iter().for_each(Sender::cut),
            Fault::Kill => {
                stand.process.kill().await?;
                stand.process.restart().await?;
            }
            Fault::Terminate => {
                let status = stand.process.stop(ORDERLY).await?;
                ensure!(
                    status.success(),
                    "the gateway did not end in order: {status}"
                );
                stand.process.restart().await?;
            }
        }
        Ok(())
    }

    /// Lets a moment of load pass, with some connections cut in it.
    async fn disturb(&self, rng: &mut StdRng, senders: &[Sender]) {
        for _ in 0..rng.random_range(1..5) {
            sleep(Duration::from_millis(rng.random_range(40..160))).await;
            if let Some(sender) = senders.get(rng.random_range(0..senders.len())) {
                sender.cut();
            }
        }
        sleep(Duration::from_millis(rng.random_range(50..300))).await;
    }
}

pub(crate) async fn settle(history: &Mutex<History>) {
    let deadline = Instant::now() + DRAIN;
    while !history.lock().await.is_settled() && Instant::now() < deadline {
        sleep(Duration::from_millis(200)).await;
    }
}

/// A user who writes to the others.
pub(crate) struct Talker {
    pub(crate) index: usize,
    pub(crate) sender: Sender,
    pub(crate) users: Arc<Vec<User>>,
    pub(crate) history: Arc<Mutex<History>>,
}

impl Talker {
    /// Sends bursts to random peers until told to stop.
    pub(crate) async fn talk(self, mut rng: StdRng, mut stopped: watch::Receiver<bool>) {
        loop {
            for _ in 0..rng.random_range(1..12) {
                let peer = (self.index + rng.random_range(1..self.users.len())) % self.users.len();
                let Some(to) = self.users.get(peer) else {
                    return;
                };
                let body = Element::new("body", ns::CLIENT).with_text("from a campaign");
                let children = vec![body, receipt_request()];
                // Under the lock, so that the order of the history is the order of sending.
                let mut history = self.history.lock().await;
                let address = to.address();
                let send = self.sender.send(&address, children);
                let Ok(sent) = tokio::time::timeout(Duration::from_millis(5), send).await else {
                    break;
                };
                let Ok(id) = sent else { return };
                history.sent((self.index, peer), id);
            }
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                () = sleep(Duration::from_millis(rng.random_range(2..30))) => {}
            }
        }
    }
}

/// Writes what a device tells into the history.
pub(crate) async fn collect(
    mut device: Device,
    index: usize,
    users: Arc<Vec<User>>,
    history: Arc<Mutex<History>>,
) {
    let by_address: HashMap<String, usize> = users
        .iter()
        .enumerate()
        .map(|(index, user)| (user.address(), index))
        .collect();
    let peer = |address: &str| {
        let bare = address.split_once('/').map_or(address, |(bare, _)| bare);
        by_address.get(bare).copied().unwrap_or(usize::MAX)
    };
    while let Some(event) = device.next().await {
        let mut history = history.lock().await;
        match event {
            Event::Accepted { to, id, .. } => history.accepted((index, peer(&to)), id),
            Event::Delivered { by, ids } => {
                ids.into_iter()
                    .for_each(|id| history.receipt((index, peer(&by)), id));
            }
            Event::Message(message) => history.delivered((peer(&message.from), index), message.id),
            Event::Refused { to, id, .. } => history.refused((index, peer(&to)), id),
            Event::Answer { .. } | Event::IdentityChanged { .. } | Event::Waiting(_) => {}
        }
    }
}
