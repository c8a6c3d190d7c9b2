//! The log of a cluster: its URL, the topics that a deployment has, and the group of its routers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use entente_core::{SealKey, ShardId};
use entente_kafka::{Counts, Finding, Group, KafkaLog, Misrouted, Settings, TopicRules};
use entente_log::Log;
use entente_node::{Counters, Label, LabelValue, Metrics, MetricsError, Tasks};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{BackendError, Closes, Logs, Owning, Survey, Team};
use crate::config::Storage;

/// The topic of the stanzas, a partition a shard.
const INPUT: &str = "input";
/// The topic of the wake-ups.
const WAKE: &str = "wake";
/// The topic of the journals of the shards' rows, a partition a shard.
const STATE: &str = "state";
/// The topic of the journals of push's rows, a partition each of those of the wake-ups.
const WAKE_STATE: &str = "wake-state";
/// The group of the routers, which share the partitions of the input.
const ROUTERS: &str = "routers";
/// The group of the push services, which share the partitions of the wake-ups.
const PUSHERS: &str = "push";
/// How often what the logs count is published.
const PUBLISH: Duration = Duration::from_secs(2);

/// Which log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Topic(&'static str);

impl Label for Topic {
    const NAME: &'static str = "topic";

    fn value(&self) -> LabelValue {
        LabelValue::Word(self.0)
    }
}

/// What became of records, or why they are not ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct What(&'static str);

impl Label for What {
    const NAME: &'static str = "what";

    fn value(&self) -> LabelValue {
        LabelValue::Word(self.0)
    }
}

/// Whether the URL can be used.
pub(super) fn known(url: &str) -> Result<(), String> {
    Settings::from_url(url)
        .map(drop)
        .map_err(|error| format!("storage.log: {error}"))
}

/// Files of keys and passwords that the URL names.
pub(super) fn key_files(url: &str) -> Vec<PathBuf> {
    let settings = Settings::from_url(url).ok();
    let files = settings.iter().flat_map(Settings::key_files);
    files.map(Path::to_path_buf).collect()
}

/// Opens the topics.
pub(super) async fn logs(storage: &Storage, seal: &SealKey) -> Result<Logs, BackendError> {
    let settings = settings(storage)?;
    entente_kafka::claim(&settings, seal).await?;
    let open = async |suffix, partitions| {
        let rules = TopicRules::of_log(&settings, suffix, partitions);
        let log = KafkaLog::open(&settings, &rules, seal.clone()).await?;
        tracing::info!(topic = rules.name, partitions, "log opened");
        Ok::<_, BackendError>(Arc::new(log))
    };
    let input = open(INPUT, storage.shards).await?;
    let wake = open(WAKE, storage.wake_partitions).await?;
    let mut closes = vec![(INPUT, Arc::clone(&input)), (WAKE, Arc::clone(&wake))];
    let mut journals = None;
    if super::are_shared(storage) {
        let of_shards = open(STATE, storage.shards).await?;
        let of_push = open(WAKE_STATE, storage.wake_partitions).await?;
        closes.push((STATE, Arc::clone(&of_shards)));
        closes.push((WAKE_STATE, Arc::clone(&of_push)));
        journals = Some([of_shards as Arc<dyn Log>, of_push]);
    }
    Ok(Logs {
        closes: Closes::Kafka(closes),
        input: Some(input),
        wake: Some(wake),
        journals,
    })
}

/// Asks the brokers for what a start needs of them.
pub(super) async fn survey(storage: &Storage, seal: &SealKey, told: &mut Survey) {
    let settings = match settings(storage) {
        Ok(settings) => settings,
        Err(error) => return told.faults.push(error.to_string()),
    };
    let wakes = storage.wake_partitions;
    let mut topics = vec![(INPUT, storage.shards), (WAKE, wakes)];
    if super::are_shared(storage) {
        topics.extend([(STATE, storage.shards), (WAKE_STATE, wakes)]);
    }
    let rules = topics.into_iter();
    let rules: Vec<_> = rules
        .map(|(suffix, partitions)| TopicRules::of_log(&settings, suffix, partitions))
        .collect();
    match entente_kafka::survey(&settings, &rules, seal).await {
        Ok(findings) => {
            let shared = super::are_shared(storage);
            for finding in findings {
                // Who shares nothing joins no group.
                let counts = shared || !matches!(finding, Finding::Session { .. });
                let line = format!("storage.log: {finding}");
                match finding.prevents() && counts {
                    true => told.faults.push(line),
                    false => told.warnings.push(line),
                }
            }
        }
        Err(error) => told.faults.push(format!("storage.log: {error}")),
    }
}

fn settings(storage: &Storage) -> Result<Settings, BackendError> {
    let scheme = |error| BackendError::Scheme(format!("storage.log: {error}"));
    Settings::from_url(&storage.log).map_err(scheme)
}

/// Joins the group of a team.
pub(super) fn join(
    storage: &Storage,
    team: Team,
    node: &str,
    tasks: &Tasks,
) -> Result<Owning, BackendError> {
    let (name, topic) = match team {
        Team::Push => (PUSHERS, WAKE),
        Team::Routers => (ROUTERS, INPUT),
    };
    let group = Group::join(&settings(storage)?, name, topic, node)?;
    let mut told = group.assigned();
    let (tell, assigned) = watch::channel(None);
    let ends = tasks.cancelled();
    tasks.spawn("assigned shards", async move {
        let follow = async {
            loop {
                let now = told.borrow_and_update().clone();
                let now = now.map(|shards| shards.into_iter().map(ShardId::new).collect());
                let shards = now.as_ref().map_or(0, BTreeSet::len);
                tracing::info!(group = name, shards, "shards assigned");
                tell.send_replace(now);
                if told.changed().await.is_err() {
                    return;
                }
            }
        };
        ends.run_until_cancelled(follow).await;
    });
    Ok(Owning { assigned, group })
}

/// Publishes what the logs count, until the tasks end.
pub(super) fn publish(
    logs: &[(&'static str, Arc<KafkaLog>)],
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<(), MetricsError> {
    let published = Published {
        records: metrics.counters(
            "entente_kafka_records",
            "Records handed to brokers, by outcome",
        )?,
        misrouted: metrics.counters(
            "entente_kafka_records_misrouted",
            "Records found where they do not belong, not handed out",
        )?,
        replaced: metrics.counters(
            "entente_kafka_producers_replaced",
            "Producers that ended by a fatal error",
        )?,
    };
    let logs = logs.to_vec();
    let ends = tasks.cancelled();
    tasks.spawn("log counts", async move {
        let mut told = vec![Counts::default(); logs.len()];
        let mut ticks = interval(PUBLISH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = ends.cancelled() => return,
                _ = ticks.tick() => {}
            }
            for ((topic, log), told) in logs.iter().zip(&mut told) {
                let now = log.counts();
                published.tell(topic, told, &now);
                *told = now;
            }
        }
    });
    Ok(())
}

struct Published {
    records: Counters<(Topic, What)>,
    misrouted: Counters<(Topic, What)>,
    replaced: Counters<(Topic,)>,
}

impl Published {
    /// Adds what came since.
    fn tell(&self, topic: &'static str, before: &Counts, now: &Counts) {
        let label = |what| (Topic(topic), What(what));
        let records = [
            ("acknowledged", now.acknowledged - before.acknowledged),
            ("unknown", now.unknown - before.unknown),
        ];
        for (what, more) in records {
            self.records.add(label(what), more);
        }
        for why in Misrouted::ALL {
            let of = |counts: &Counts| {
                let found = counts.misrouted.iter().find(|(each, _)| *each == why);
                found.map_or(0, |(_, count)| *count)
            };
            self.misrouted.add(label(why.label()), of(now) - of(before));
        }
        self.replaced
            .add((Topic(topic),), now.replaced - before.replaced);
    }
}
