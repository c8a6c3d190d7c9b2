//! The suite of the port against real brokers.

use std::sync::Arc;

use async_trait::async_trait;
use entente_kafka::Settings;
use entente_log::Log;
use entente_log::conformance::Subject;
use tokio::sync::OnceCell;

use crate::broker;

/// One topic a test: opened empty, and opened again with what it has.
struct Brokers {
    producers: usize,
    /// The door at which it is opened.
    at: fn() -> Settings,
    settings: OnceCell<Settings>,
}

impl Brokers {
    fn with_producers(producers: usize) -> Self {
        Self::at(broker::settings, producers)
    }

    fn at(at: fn() -> Settings, producers: usize) -> Self {
        Self {
            producers,
            at,
            settings: OnceCell::new(),
        }
    }
}

#[async_trait]
impl Subject for Brokers {
    async fn open(&self) -> Arc<dyn Log> {
        let made = || async {
            let settings = (self.at)();
            Settings {
                producers: self.producers,
                ..settings
            }
        };
        Arc::new(broker::open(self.settings.get_or_init(made).await).await)
    }

    async fn reopen(&self, log: Arc<dyn Log>) -> Option<Arc<dyn Log>> {
        drop(log);
        Some(self.open().await)
    }
}

entente_log::conformance!(kafka, Brokers::with_producers(1), unless broker::missing());
entente_log::conformance!(kafka_three_producers, Brokers::with_producers(3), unless broker::missing());

#[cfg(feature = "tls")]
entente_log::conformance!(kafka_tls_scram, Brokers::at(crate::doors::scram, 1), unless crate::doors::missing());
#[cfg(feature = "tls")]
entente_log::conformance!(kafka_tls_certificate, Brokers::at(crate::doors::certificate, 1), unless crate::doors::missing());
