//! Hours and days of outage, on a clock that is paused.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use entente_core::Span;
use entente_egress::{EgressError, Http, Request, Response, StatusCode};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::rig::{World, account};

const HOUR: Duration = Duration::from_secs(3600);

/// A network on which everything answers alike, until a time.
#[derive(Clone)]
struct Network(Arc<Inner>);

struct Inner {
    heals: Instant,
    outage: Result<StatusCode, EgressError>,
    sent: Mutex<Vec<(Instant, bool)>>,
}

impl Network {
    fn down_for(time: Duration, outage: Result<StatusCode, EgressError>) -> Self {
        Self(Arc::new(Inner {
            heals: Instant::now() + time,
            outage,
            sent: Mutex::default(),
        }))
    }

    fn sent(&self, well: bool) -> Vec<Instant> {
        let sent = self.0.sent.lock();
        let alike = sent.iter().filter(|(_, was_well)| *was_well == well);
        alike.map(|(at, _)| *at).collect()
    }
}

#[async_trait]
impl Http for Network {
    async fn send(&self, _: Request) -> Result<Response, EgressError> {
        let now = Instant::now();
        let well = now >= self.0.heals;
        self.0.sent.lock().push((now, well));
        sleep(Duration::from_millis(20)).await;
        let status = if well {
            Ok(StatusCode::OK)
        } else {
            self.0.outage
        };
        status.map(Response::new)
    }
}

fn world() -> World {
    let mut world = World::new();
    world.config.first_retry = Span::secs(5);
    world.config.checkpoint = Span::secs(60);
    world
}

/// T126: a partner that is down for a day is asked a bounded number of times, not once for each
/// user and wait; when it is back, everybody is woken within minutes.
#[tokio::test(start_paused = true)]
async fn an_outage_costs_few_requests_and_is_caught_up_with() {
    let world = world();
    world.partners.set(1, "http://p.test/v1", true);
    for number in 0..500 {
        world.wake(account(1, number), number / 2 + 1).await;
    }
    let network = Network::down_for(24 * HOUR, Err(EgressError::Unreachable));
    let life = world.start_over(Arc::new(network.clone()));
    sleep(24 * HOUR).await;
    let failed = network.sent(false).len();
    // One probe in two and a half minutes on average is 576; 500 users with their own waits alone
    // would have made 6,000.
    assert!((100..1500).contains(&failed), "{failed}");
    sleep(Duration::from_secs(900)).await;
    assert_eq!(network.sent(true).len(), 500);
    life.finish().await;
    assert_eq!(world.rows(), 0);
}

/// T126: many partners that come back at the same moment are not all asked at that moment.
#[tokio::test(start_paused = true)]
async fn partners_that_heal_together_are_not_asked_together() {
    let world = world();
    for partner in 1..=500 {
        let base = format!("http://p{partner}.test/v1");
        world.partners.set(partner, &base, true);
        world.wake(account(partner, 7), u64::from(partner)).await;
    }
    let network = Network::down_for(HOUR, Ok(StatusCode::SERVICE_UNAVAILABLE));
    let life = world.start_over(Arc::new(network.clone()));
    sleep(20 * HOUR).await;
    let well = network.sent(true);
    assert_eq!(well.len(), 500);
    let mut seconds = std::collections::BTreeMap::<u64, usize>::new();
    for at in well {
        *seconds
            .entry(at.duration_since(network.0.heals).as_secs())
            .or_default() += 1;
    }
    let most = seconds.values().max().unwrap();
    assert!(*most < 15, "{most} requests in one second");
    life.finish().await;
}

/// After three days, and after the last allowed attempt, a wake-up is given up, and is gone.
#[tokio::test(start_paused = true)]
async fn a_wake_up_is_given_up_by_age_or_by_attempts() {
    for (attempts, days) in [(100, 4), (5, 1)] {
        let mut world = world();
        world.config.max_attempts = attempts;
        world.partners.set(1, "http://p.test/v1", true);
        world.wake(account(1, 7), 1).await;
        let network = Network::down_for(1000 * HOUR, Ok(StatusCode::INTERNAL_SERVER_ERROR));
        let life = world.start_over(Arc::new(network.clone()));
        sleep(24 * days * HOUR).await;
        let line = r#"entente_push_retired_total{partner="1",outcome="given_up"} 1"#;
        assert!(life.shows(line));
        let sent = network.sent(false);
        assert!(sent.len() <= usize::try_from(attempts).unwrap());
        if attempts == 5 {
            assert_eq!(sent.len(), 5);
        } else {
            let last = sent.last().unwrap().duration_since(sent[0]);
            assert!((60 * HOUR..=72 * HOUR).contains(&last), "{last:?}");
        }
        life.finish().await;
        assert_eq!(world.rows(), 0);
    }
}

/// A suspended partner's wake-ups wait without a request, and go out when it is active again.
#[tokio::test(start_paused = true)]
async fn an_inactive_partner_is_not_asked_until_it_is_active() {
    let world = world();
    world.partners.set(1, "http://p.test/v1", false);
    let network = Network::down_for(Duration::ZERO, Ok(StatusCode::OK));
    let life = world.start_over(Arc::new(network.clone()));
    world.wake(account(1, 7), 1).await;
    sleep(5 * HOUR).await;
    assert!(network.sent(true).is_empty());
    world.partners.set(1, "http://p.test/v1", true);
    sleep(Duration::from_secs(180)).await;
    assert_eq!(network.sent(true).len(), 1);
    life.finish().await;
}
