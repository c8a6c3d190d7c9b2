//! The pace as a login meets it, on paused time.

use entente_core::{PartnerId, Span};
use tokio::task::JoinSet;

use super::*;

fn pace(change: impl FnOnce(&mut PacingConfig)) -> Arc<Pace> {
    let mut config = PacingConfig {
        logins: 10,
        burst: 1,
        ..PacingConfig::default()
    };
    change(&mut config);
    Arc::new(Pace::new(&config, &Metrics::new()).unwrap())
}

fn account(number: u64) -> AccountId {
    AccountId::new(PartnerId::new(1).unwrap(), number)
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_is_held_and_a_long_one_is_refused() {
    let pace = pace(|_| {});
    let begun = Instant::now();
    let mut held = JoinSet::new();
    for number in 0..40 {
        let pace = Arc::clone(&pace);
        held.spawn(async move { pace.admit(account(number), Errand::Fresh).await.map(drop) });
    }
    let mut admitted = 0;
    for one in held.join_all().await {
        match one {
            Ok(()) => admitted += 1,
            Err(Retry(after)) => assert!(after > Duration::from_secs(2), "{after:?}"),
        }
    }
    // One at once, and those of two seconds.
    assert_eq!(admitted, 21);
    assert!(begun.elapsed() <= Duration::from_millis(2_001));
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_when_it_was_told_to_is_let_in() {
    let pace = pace(|config| config.hold = Span::secs(0));
    pace.admit(account(0), Errand::Fresh).await.unwrap();
    let Err(retry) = pace.admit(account(1), Errand::Fresh).await else {
        panic!("admitted without a token");
    };
    let element = retry.element();
    let after: u64 = element.attribute("after").unwrap().parse().unwrap();
    tokio::time::advance(Duration::from_secs(after)).await;
    pace.admit(account(1), Errand::Fresh).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pass_counts_until_it_is_dropped() {
    let pace = pace(|config| (config.at_once, config.hold) = (1, Span::secs(0)));
    let first = pace.admit(account(0), Errand::Fresh).await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    pace.admit(account(1), Errand::Fresh).await.unwrap_err();
    drop(first);
    let bind = pace.begin();
    tokio::time::advance(Duration::from_secs(10)).await;
    pace.admit(account(1), Errand::Fresh).await.unwrap_err();
    drop(bind);
    tokio::time::advance(Duration::from_secs(1)).await;
    pace.admit(account(1), Errand::Fresh).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waits_long_makes_it_slow_and_what_waits_short_ends_it() {
    let pace = pace(|_| {});
    pace.hear(Duration::from_millis(300));
    tokio::time::advance(Duration::from_millis(500)).await;
    pace.hear(Duration::from_millis(300));
    assert!(pace.is_slow());
    let begin = Instant::now();
    pace.admit(account(1), Errand::Resume).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    pace.admit(account(2), Errand::Fresh).await.unwrap();
    assert!(
        begin.elapsed() > Duration::ZERO,
        "it had to wait for its number"
    );
    pace.hear(Duration::from_millis(1));
    assert!(!pace.is_slow());
}
