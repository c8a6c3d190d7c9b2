//! What a start would find at the brokers: looked at, and nothing made.
//!
//! In: settings, and the rules of the topics. Out: everything that a person should hear before a node
//! says it, or the one thing that keeps others from being asked.

use std::time::Duration;

use entente_core::SealKey;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::claim::taken_by;
use crate::client::{self, Context};
use crate::error::OpenError;
use crate::log::asking;
use crate::settings::Settings;
use crate::topic::{Differences, TopicRules};

/// Longest that the reason is waited for why a connection fails.
const REASON: Duration = Duration::from_secs(3);
/// How long the client is asked at a time.
const POLL: Duration = Duration::from_millis(50);

/// Something that a start would meet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The topic is there, and a log on it could lose records.
    #[error("topic {topic} is not fit for a log: {differences}")]
    Differs {
        /// Its name.
        topic: String,
        /// Everything that is wrong.
        differences: Differences,
    },
    /// There are fewer brokers up than a record has copies, so no topic can be made.
    #[error("{up} brokers are up, and `replicas` is {wanted}: topics cannot be made")]
    FewBrokers {
        /// Brokers that are up.
        up: usize,
        /// Copies of each record.
        wanted: u16,
    },
    /// The topic is not there yet; the first start makes it.
    #[error("topic {topic} is not there, and is made by the first start")]
    Missing {
        /// Its name.
        topic: String,
    },
    /// A broker lets nobody into a group who is to be waited for that short.
    #[error(
        "`session` is {wanted} ms, and group.min.session.timeout.ms of broker {broker} is {least}: \
         no shard would be assigned"
    )]
    Session {
        /// Which broker.
        broker: i32,
        /// Its least.
        least: u64,
        /// As it is set here.
        wanted: u64,
    },
    /// Another deployment has its records under the same prefix.
    #[error("the topics are another deployment's, which has marked them by the topic {mark}")]
    Taken {
        /// The topic that is its mark.
        mark: String,
    },
}

impl Finding {
    /// Whether a start does not get beyond it, or gets no work.
    pub const fn prevents(&self) -> bool {
        !matches!(self, Self::Missing { .. })
    }
}

/// Asks the brokers for all that a start of the deployment with this key needs of them. Makes and
/// changes nothing.
///
/// # Errors
/// [`OpenError`] if no broker answers, or one refuses to tell.
pub async fn survey(
    settings: &Settings,
    rules: &[TopicRules],
    key: &SealKey,
) -> Result<Vec<Finding>, OpenError> {
    let admin = asking(settings)?;
    let Some(cluster) = admin.cluster().await else {
        return Err(unreachable(settings).await);
    };
    let mut findings = Vec::new();
    if let Some(mark) = taken_by(&admin, settings, key, &cluster).await? {
        findings.push(Finding::Taken { mark });
    }
    for rules in rules {
        let topic = rules.name.clone();
        match admin.look(rules).await? {
            Some(Ok(())) => {}
            Some(Err(differences)) => findings.push(Finding::Differs { topic, differences }),
            None => findings.push(Finding::Missing { topic }),
        }
    }
    let brokers = admin.brokers().await?;
    let makes = findings
        .iter()
        .any(|finding| matches!(finding, Finding::Missing { .. }));
    if makes && brokers.len() < usize::from(settings.replicas) {
        findings.push(Finding::FewBrokers {
            up: brokers.len(),
            wanted: settings.replicas,
        });
    }
    let wanted = u64::try_from(settings.session.get().as_millis()).unwrap_or(u64::MAX);
    for broker in brokers {
        let least = admin.broker_millis(broker, "group.min.session.timeout.ms");
        if let Some(least) = least.await.filter(|least| *least > wanted) {
            findings.push(Finding::Session {
                broker,
                least,
                wanted,
            });
        }
    }
    Ok(findings)
}

/// The error for brokers that did not answer, with the reason. A client that only asks does not hear
/// it; one that is polled does.
pub(crate) async fn unreachable(settings: &Settings) -> OpenError {
    let config = match client::consumer(settings) {
        Ok(config) => config,
        Err(error) => return error,
    };
    let consumer: BaseConsumer<Context> = match config.create_with_context(Context::asking()) {
        Ok(consumer) => consumer,
        Err(error) => return error.into(),
    };
    let asked = spawn_blocking(move || {
        let until = Instant::now() + REASON;
        loop {
            let _told_to_the_context = consumer.poll(POLL);
            let reason = consumer.context().reason().map(str::to_owned);
            if reason.is_some() || Instant::now() > until {
                return reason;
            }
        }
    });
    let reason = asked.await.ok().flatten();
    OpenError::Unreachable {
        brokers: settings.bootstrap(),
        reason: reason.unwrap_or_else(|| "no connection fails, and no answer comes".to_owned()),
    }
}
