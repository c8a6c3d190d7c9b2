//! The loud part: everybody writes to everybody near, while the gateway is killed and connections
//! are cut.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::book::{Book, Totals};
use crate::cast::Users;
use crate::error::{DemoError, check};
use crate::message::Plain;
use crate::scene::Scene;
use crate::screen::Screen;
use crate::user::User;

/// Neighbours on either side to whom a user writes.
const REACH: usize = 2;
/// One connection is cut for so many messages delivered.
const MESSAGES_A_CUT: u64 = 100;
/// Messages a second of all users together: a lively evening, well below what a laptop carries, so
/// that latencies are those of the gateway and not of a queue in front of it.
const RATE: u32 = 800;
/// Without any message arriving for so long, what is missing is lost. Longer than a restart.
const SILENCE: Duration = Duration::from_secs(30);

/// How hard it blows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) messages: u32,
    pub(crate) kills: u32,
}

/// What the storm left.
#[derive(Clone, Debug)]
pub(crate) struct Weathered {
    pub(crate) totals: Totals,
    pub(crate) took: Duration,
    pub(crate) cuts: u64,
    pub(crate) kills: u32,
    pub(crate) longest_outage: Duration,
    pub(crate) refused: u64,
}

/// Sends the messages and waits until all arrived, or none does any more.
pub(crate) async fn weather(
    scene: &mut Scene,
    users: &Users,
    plan: Plan,
    rng: &mut StdRng,
    screen: &mut Screen<'_>,
) -> Result<Weathered, DemoError> {
    screen.begin("Signal sessions are opened between neighbours (PQXDH)")?;
    let circles = circles(users.all());
    let mut sessions = 0;
    for (user, peers) in users.all().iter().zip(&circles) {
        for peer in peers {
            user.meet(peer).await?;
            sessions += 1;
        }
    }
    screen.end(&format!("{sessions} sessions"))?;

    screen.begin(&format!(
        "{} messages, {} kills of the gateway, connections cut at random",
        plan.messages, plan.kills
    ))?;
    let began = Instant::now();
    let mut writers = JoinSet::new();
    let count = u32::try_from(users.len()).unwrap_or(u32::MAX);
    for (at, (user, peers)) in (0..count).zip(users.all().iter().zip(circles)) {
        // The first ones take what does not divide.
        let share = plan.messages / count + u32::from(at < plan.messages % count);
        let rng = StdRng::seed_from_u64(rng.random());
        let pause = Duration::from_secs(1) * count / RATE;
        writers.spawn(write(Arc::clone(user), peers, (share, pause), rng));
    }
    let mut left = chaos(scene, users, plan, rng, screen).await?;
    while let Some(written) = writers.join_next().await {
        match written {
            Ok(outcome) => outcome?,
            Err(error) => check(false, "every writer finishes", &error.to_string())?,
        }
    }
    left.took = began.elapsed();
    left.totals = users.book().totals();
    left.refused = users.all().iter().map(|user| user.refused()).sum();
    screen.clear_progress()?;
    screen.end(&format!("{} delivered", left.totals.delivered))?;
    Ok(left)
}

/// Each user's peers: its neighbours on a ring, so that every pair writes both ways.
fn circles(users: &[Arc<User>]) -> Vec<Vec<Arc<User>>> {
    let near = |at: usize| {
        let mut peers: Vec<usize> = (1..=REACH)
            .flat_map(|step| [at + step, at + users.len() - step])
            .map(|place| place % users.len())
            .filter(|place| *place != at)
            .collect();
        peers.sort_unstable();
        peers.dedup();
        peers
            .into_iter()
            .filter_map(|place| users.get(place).cloned())
            .collect()
    };
    (0..users.len()).map(near).collect()
}

async fn write(
    user: Arc<User>,
    peers: Vec<Arc<User>>,
    (share, pause): (u32, Duration),
    mut rng: StdRng,
) -> Result<(), DemoError> {
    let mut ticks = interval(pause);
    // After an outage what is late follows at once: the rate holds on the average.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..share {
        ticks.tick().await;
        let Some(peer) = peers.get(rng.random_range(0..peers.len())) else {
            continue;
        };
        let plain = Plain::Storm {
            number: user.book.send(user.account, peer.account),
            micros: user.book.micros(),
        };
        user.say(peer, &plain).await?;
    }
    Ok(())
}

/// Kills and cuts at levels of delivery, until all is delivered or silence falls.
async fn chaos(
    scene: &mut Scene,
    users: &Users,
    plan: Plan,
    rng: &mut StdRng,
    screen: &mut Screen<'_>,
) -> Result<Weathered, DemoError> {
    let book: &Book = users.book();
    let mut left = Weathered {
        totals: book.totals(),
        took: Duration::ZERO,
        cuts: 0,
        kills: 0,
        longest_outage: Duration::ZERO,
        refused: 0,
    };
    let all = u64::from(plan.messages);
    let mut delivered = book.delivered();
    loop {
        let now = *delivered.borrow_and_update();
        screen.progress(&format!("{now} of {all}, {} kills", left.kills))?;
        if now >= all {
            return Ok(left);
        }
        let next_kill = all * u64::from(left.kills + 1) / u64::from(plan.kills + 1);
        if left.kills < plan.kills && now >= next_kill {
            left.longest_outage = left.longest_outage.max(scene.kill().await?);
            left.kills += 1;
        } else if now >= (left.cuts + 1) * MESSAGES_A_CUT {
            if let Some(user) = users.all().get(rng.random_range(0..users.len())) {
                user.sender.cut();
            }
            left.cuts += 1;
        } else if !matches!(timeout(SILENCE, delivered.changed()).await, Ok(Ok(()))) {
            // What is missing now shows as lost in the report.
            return Ok(left);
        }
    }
}
