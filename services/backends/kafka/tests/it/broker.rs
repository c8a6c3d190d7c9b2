//! The brokers that the tests run against: those of `ENTENTE_KAFKA`, as `ops/kafka` starts them.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use entente_core::{SealKey, Timestamp};
use entente_kafka::{KafkaLog, Settings, TopicRules};

/// Longest that anything may take.
const DEADLINE: Duration = Duration::from_secs(90);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.unwrap()
}

/// Where brokers are, as `host:port,host:port`.
pub(crate) fn brokers() -> Option<String> {
    told("ENTENTE_KAFKA")
}

/// What the runner says of the brokers.
pub(crate) fn told(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test is told by its runner, not by a setting"
    )]
    std::env::var(name).ok().filter(|told| !told.is_empty())
}

/// Why there is nothing to test against, if so.
pub(crate) fn missing() -> Option<&'static str> {
    let why = "no broker: run `ops/kafka test`, or set ENTENTE_KAFKA to host:port of one";
    brokers().is_none().then_some(why)
}

/// Says aloud that a test does not run.
#[macro_export]
macro_rules! or_skip {
    ($missing:expr) => {
        if let Some(why) = $missing {
            println!("skipped: {why}");
            return;
        }
    };
}

/// Settings for topics that no other test and no earlier run has.
pub(crate) fn settings() -> Settings {
    settings_at("kafka", &brokers().unwrap(), "")
}

/// The same at a door of theirs, with more parameters.
pub(crate) fn settings_at(scheme: &str, brokers: &str, more: &str) -> Settings {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let copies = if brokers.split(',').count() < 3 {
        ""
    } else {
        "&replicas=3&min_insync=2"
    };
    let prefix = format!(
        "test-{}-{}-{}",
        Timestamp::now().millis(),
        std::process::id(),
        MADE.fetch_add(1, Ordering::Relaxed)
    );
    let url = format!("{scheme}://{brokers}/{prefix}?development=on{copies}{more}");
    Settings::from_url(&url).unwrap()
}

pub(crate) fn key() -> SealKey {
    SealKey::new(&[7; 32])
}

pub(crate) fn rules(settings: &Settings) -> TopicRules {
    TopicRules::of_log(settings, "input", 3)
}

pub(crate) async fn open(settings: &Settings) -> KafkaLog {
    soon(KafkaLog::open(settings, &rules(settings), key()))
        .await
        .unwrap()
}
