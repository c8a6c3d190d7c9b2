//! Users of different nodes exchange messages without a pause while one node after another is killed,
//! or ended in order, and started again. Then everything heals and is counted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use entente_kit::device::{Device, DeviceConfig};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::history::{Findings, History};
use crate::kills::{Talker, collect, settle};
use crate::nodes::Deployment;

/// How long an orderly end may take: the drain's own budget and then some.
const ORDERLY: Duration = Duration::from_secs(30);

/// A campaign over the nodes of a deployment.
#[derive(Clone, Debug)]
pub struct Rolling {
    /// The gateway's program.
    pub program: PathBuf,
    /// The log on Kafka, if that is where it is.
    pub log: Option<String>,
    /// Whom to kill, in this order.
    pub victims: Vec<&'static str>,
    /// Whether they end in order instead.
    pub orderly: bool,
    /// Users of each router.
    pub users: usize,
    /// How long messages flow before each kill.
    pub between: Duration,
    /// From which the talkers' choices come.
    pub seed: u64,
}

/// What it came to.
#[derive(Clone, Debug)]
pub struct Rolled {
    /// By the rules of the history.
    pub findings: Findings,
    /// Messages without an outcome at the moments of the kills.
    pub in_flight: usize,
    /// Sessions resumed, over all devices.
    pub resumed: u64,
    /// Sessions bound afresh after a loss.
    pub rebound: u64,
    /// Lines of level ERROR.
    pub errors: Vec<String>,
}

impl Rolling {
    /// Runs the campaign.
    ///
    /// # Errors
    /// If a node does not start, or does not come back.
    pub async fn run(&self) -> anyhow::Result<Rolled> {
        let mut deployment = Deployment::start_over(&self.program, self.log.as_deref()).await?;
        let users = Arc::new(deployment.enlist(self.users).await?.concat());
        let history = Arc::new(Mutex::new(History::default()));
        let (stop, stopped) = watch::channel(false);
        let (mut collectors, mut talkers) = (JoinSet::new(), JoinSet::new());
        let mut senders = Vec::new();
        for (index, user) in users.iter().enumerate() {
            let config = deployment.client(user, index);
            let device = Device::start(DeviceConfig::new(config));
            let talker = Talker {
                index,
                sender: device.sender(),
                users: Arc::clone(&users),
                history: Arc::clone(&history),
            };
            senders.push(device.sender());
            let (users, history) = (Arc::clone(&users), Arc::clone(&history));
            collectors.spawn(collect(device, index, users, history));
            let seed = self.seed.wrapping_add(u64::try_from(index)?);
            talkers.spawn(talker.talk(StdRng::seed_from_u64(seed), stopped.clone()));
        }
        let mut in_flight = 0;
        for victim in &self.victims {
            sleep(self.between).await;
            in_flight += senders
                .iter()
                .map(|sender| sender.tally().unacked)
                .sum::<usize>();
            let node = deployment.node(victim)?;
            if self.orderly {
                let status = node.stop(ORDERLY).await?;
                ensure!(status.success(), "{victim} ended with {status}");
            } else {
                node.kill().await?;
            }
            node.restart().await?;
        }
        sleep(self.between).await;
        stop.send_replace(true);
        while talkers.join_next().await.is_some() {}
        settle(&history).await;
        let mut rolled = Rolled {
            findings: history.lock().await.check(),
            in_flight,
            resumed: 0,
            rebound: 0,
            errors: deployment.errors()?,
        };
        for sender in &senders {
            let counts = sender.tally().counts;
            rolled.resumed += counts.resumed;
            rolled.rebound += counts.rebound;
        }
        collectors.shutdown().await;
        Ok(rolled)
    }
}
