//! A member of a consumer group, for what the group is best at: to say which partitions are whose.
//!
//! In: joins and ends of members, as the brokers see them. Out: the partitions that are assigned to
//! this one. Nothing is read through it and no offset is committed: the owner of a partition reads from
//! where its own state says, and what makes an owner safe is its claim in the log.
//!
//! **Invariants**
//! - Partitions are told as soon as they are assigned, and as soon as they are not.
//! - A member that the brokers do not hear of for [`Settings::session`] has none; its own side of it
//!   learns that when it hears of the brokers again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::watch;

use crate::client;
use crate::error::OpenError;
use crate::settings::Settings;

/// Longest that the thread waits for an event, and so that leaving takes to begin.
const POLL: Duration = Duration::from_millis(50);
/// Heartbeats in a session: with four, three may be lost.
const HEARTBEATS: u128 = 4;

/// Partitions that are assigned; none before the group has said something.
pub type Assigned = Option<BTreeSet<u32>>;

/// A member. Dropping it leaves the group.
#[derive(Debug)]
pub struct Group {
    assigned: watch::Receiver<Assigned>,
    leaves: Arc<AtomicBool>,
}

impl Group {
    /// Joins the group `PREFIX.name`, whose members share the partitions of the topic `PREFIX.topic`.
    /// A name of one's own, if it is shown to people who look at the group, is `member`.
    ///
    /// # Errors
    /// [`OpenError`] for settings that librdkafka does not take. Brokers that are away are waited for.
    pub fn join(
        settings: &Settings,
        name: &str,
        topic: &str,
        member: &str,
    ) -> Result<Self, OpenError> {
        let (told, assigned) = watch::channel(None);
        let session = settings.session.get().as_millis();
        let mut config = client::base(settings)?;
        config
            .set("client.id", member)
            .set("group.id", format!("{}.{name}", settings.prefix))
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.to_string())
            .set("heartbeat.interval.ms", (session / HEARTBEATS).to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "latest");
        let consumer: BaseConsumer<Member> = config.create_with_context(Member(told))?;
        let topic = format!("{}.{topic}", settings.prefix);
        consumer.subscribe(&[&topic])?;
        let leaves = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&leaves);
        std::thread::Builder::new()
            .name("log-group".to_owned())
            .spawn(move || take_part(&consumer, &asked))
            .map_err(OpenError::Thread)?;
        Ok(Self { assigned, leaves })
    }

    /// The partitions that are assigned to this member, from now on.
    pub fn assigned(&self) -> watch::Receiver<Assigned> {
        self.assigned.clone()
    }

    /// Begins to leave: soon nothing is assigned any more.
    pub fn leave(&self) {
        self.leaves.store(true, Ordering::Relaxed);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.leave();
    }
}

fn take_part(consumer: &BaseConsumer<Member>, leaves: &AtomicBool) {
    let mut told = None;
    while !leaves.load(Ordering::Relaxed) {
        match consumer.poll(POLL) {
            // Fetched before the partition was paused.
            None | Some(Ok(_)) => {}
            Some(Err(error)) => {
                // It goes on by itself; a broker that refuses says the same each time.
                if told.as_ref() != Some(&error) {
                    tracing::warn!(%error, "the group of owners");
                    told = Some(error);
                }
            }
        }
    }
    consumer.unsubscribe();
    consumer.context().0.send_replace(Some(BTreeSet::new()));
    // The drop says goodbye to the brokers, and waits for their answer.
}

/// What librdkafka calls.
struct Member(watch::Sender<Assigned>);

impl Member {
    fn change(&self, change: impl FnOnce(&mut BTreeSet<u32>)) {
        self.0.send_modify(|assigned| {
            change(assigned.get_or_insert_default());
        });
    }
}

fn numbers(list: &TopicPartitionList) -> impl Iterator<Item = u32> {
    let elements = list.elements();
    let numbers = elements.into_iter().map(|element| element.partition());
    numbers.filter_map(|number| u32::try_from(number).ok())
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            let revoked: BTreeSet<u32> = numbers(list).collect();
            self.change(|assigned| assigned.retain(|number| !revoked.contains(number)));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                if let Err(error) = consumer.pause(list) {
                    tracing::warn!(%error, "partitions of the group are read although nobody wants it");
                }
                self.change(|assigned| assigned.extend(numbers(list)));
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "the group of owners"),
        }
    }
}
