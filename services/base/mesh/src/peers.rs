//! Whether the others answer: one question for a person who checks, and a watch for a node that
//! runs.

use std::time::Duration;

use entente_node::{Condition, Note, Tasks};
use futures::future::join_all;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::mesh::{Mesh, Target};
use crate::name::Role;

/// How long an answer may take, with the connection that it may need.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the others are asked.
const EVERY: Duration = Duration::from_secs(2);
/// How often until all were reached once: a start waits for it.
const FIRST_EVERY: Duration = Duration::from_millis(200);

/// How a peer was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answers, and is not ready yet or not any more.
    NotReady,
    /// It is ready.
    Ready,
    /// It does not answer, and why.
    Unreachable(String),
}

/// Asks a peer how it is.
pub async fn reach(channel: Channel) -> Reach {
    let mut health = HealthClient::new(channel);
    let request = HealthCheckRequest::default();
    match timeout(PATIENCE, health.check(request)).await {
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => Reach::Ready,
        Ok(Ok(_)) => Reach::NotReady,
        Ok(Err(status)) => Reach::Unreachable(reason(&status)),
        Err(_) => Reach::Unreachable("it does not answer in time".to_owned()),
    }
}

/// The deepest cause that a status carries: the transport's own words say nothing.
fn reason(status: &tonic::Status) -> String {
    let mut said = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        said = error.to_string();
        cause = error.source();
    }
    said
}

impl Mesh {
    /// Watches roles until the tasks end. `reached` holds from when a node of each role has
    /// answered; `lost` is shown while one that is known does not answer. This node itself is not asked.
    pub fn watch(
        &self,
        roles: Vec<Role>,
        endpoint: Endpoint,
        (reached, lost): (Option<Condition>, Note),
        tasks: &Tasks,
    ) {
        let (mesh, cancelled) = (self.clone(), tasks.cancelled());
        tasks.spawn("mesh-watch", async move {
            let watch = mesh.keep_watch(roles, endpoint, reached.as_ref(), &lost);
            cancelled.run_until_cancelled(watch).await;
            // A condition that is dropped holds no more.
            drop(reached);
        });
    }

    async fn keep_watch(
        &self,
        roles: Vec<Role>,
        endpoint: Endpoint,
        reached: Option<&Condition>,
        lost: &Note,
    ) {
        let mut channels: Vec<(Target, Channel)> = Vec::new();
        let mut ticks = interval(FIRST_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = false;
        loop {
            ticks.tick().await;
            let (mut all, mut some) = (true, true);
            for &role in &roles {
                let mut answers = Vec::new();
                for target in self.targets(role).await {
                    let known = channels.iter().find(|(known, _)| *known == target);
                    let channel = match known {
                        Some((_, channel)) => channel.clone(),
                        None => {
                            let channel = self.channel(target.clone(), &endpoint);
                            channels.push((target, channel.clone()));
                            channel
                        }
                    };
                    answers.push(reach(channel));
                }
                let answers = join_all(answers).await;
                let away = |reach: &&Reach| matches!(reach, Reach::Unreachable(_));
                let unreachable = answers.iter().filter(away).count();
                self.events()
                    .peers(role, answers.len() - unreachable, unreachable);
                all &= unreachable == 0;
                some &= unreachable < answers.len();
            }
            lost.set(!all);
            if some && !told {
                told = true;
                if let Some(reached) = reached {
                    reached.set(true);
                }
                ticks = interval(EVERY);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            }
        }
    }

    /// The nodes of a role that have names, and the role as a whole if some have none.
    async fn targets(&self, role: Role) -> Vec<Target> {
        let nodes = self.membership().nodes(role).await;
        let is_own = |name: &str| self.is_own(role, name);
        let others = nodes
            .into_iter()
            .filter(|node| !node.name.as_deref().is_some_and(is_own));
        let mut targets: Vec<Target> = others
            .map(|node| Target {
                role,
                node: node.name,
            })
            .collect();
        targets.dedup();
        targets
    }
}
