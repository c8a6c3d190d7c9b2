//! The log itself: opened on a topic, appended to and read through the port.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{Offset, SealKey};
use entente_log::{Append, Health, Log, LogError, Record};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use tokio::task::spawn_blocking;

use crate::admin::Admin;
use crate::assign::{ask_all_watermarks, assign};
use crate::client::{self, Context};
use crate::cursor::Reader;
use crate::error::OpenError;
use crate::producer::Producers;
use crate::routing::Routing;
use crate::settings::Settings;
use crate::shared::{Counts, Permit, Shared, Unwell};
use crate::survey;
use crate::topic::TopicRules;
use crate::watch::Watch;

/// A log on one topic. Dropping it purges what waits: those appends end with
/// [`LogError::UnknownOutcome`].
#[derive(Debug)]
pub struct KafkaLog {
    shared: Arc<Shared>,
    producers: Producers,
    reader: Reader,
    admin: Admin,
    delivery: Duration,
    max_record_bytes: usize,
    _watch: Watch,
}

impl KafkaLog {
    /// Opens a log on a topic that is made if it is not there, and held against `rules`. Records are
    /// sealed under `key`, which every node of the deployment shares.
    ///
    /// # Errors
    /// [`OpenError`]; a topic that differs from the rules is refused with every difference.
    pub async fn open(
        settings: &Settings,
        rules: &TopicRules,
        key: SealKey,
    ) -> Result<Self, OpenError> {
        let admin = asking(settings)?;
        if admin.cluster().await.is_none() {
            return Err(survey::unreachable(settings).await);
        }
        admin.ensure(rules).await?;
        Self::attach(settings, rules, key, admin).await
    }

    /// Opens a log on a topic that is there.
    async fn attach(
        settings: &Settings,
        rules: &TopicRules,
        key: SealKey,
        admin: Admin,
    ) -> Result<Self, OpenError> {
        let Some(cluster) = admin.cluster().await else {
            return Err(survey::unreachable(settings).await);
        };
        let routing = Routing::new(key, &cluster, &rules.name);
        let (topic, partitions) = (rules.name.clone(), rules.partitions);
        let consumer: BaseConsumer<Context> =
            client::consumer(settings)?.create_with_context(Context::asking())?;
        let consumer = Arc::new(consumer);
        let asked = Arc::clone(&consumer);
        let asked = spawn_blocking(move || {
            let marks = ask_all_watermarks(&asked, &topic, partitions)?;
            let ends: Vec<_> = marks.iter().map(|(_, high)| *high).collect();
            assign(&asked, &topic, &ends)?;
            Ok::<_, OpenError>(marks)
        });
        let marks = asked.await.unwrap_or(Err(KafkaError::Canceled.into()))?;
        // Until the last record that is ours is found, there is none.
        let known: Vec<_> = marks.iter().map(|(low, _)| (*low, *low)).collect();
        let shared = Arc::new(Shared::new(routing, &known, settings.queue.get()));
        let watch = Watch::start(Arc::clone(&shared), Arc::clone(&consumer))?;
        let reader = Reader::new(Arc::clone(&shared), consumer);
        let highs = marks.into_iter().map(|(_, high)| high).collect();
        reader
            .find_ends(highs)
            .await
            .map_err(|source| OpenError::End {
                topic: rules.name.clone(),
                source,
            })?;
        // From now on what is read here is fetched, and nothing else.
        reader.unfollow_all().await?;
        let config = client::producer(settings)?;
        Ok(Self {
            producers: Producers::new(Arc::clone(&shared), config, settings.producers)?,
            shared,
            reader,
            admin,
            delivery: settings.delivery.get(),
            max_record_bytes: settings.record.get(),
            _watch: watch,
        })
    }

    /// Refuses appends from now on, and waits until those under way have an outcome, for as long as
    /// the brokers may take. What is stored can still be read.
    pub async fn close(&self) {
        self.shared.set(Unwell::Closed);
        self.shared.wake_all();
        let ended = tokio::time::timeout(self.delivery, self.shared.emptied()).await;
        if ended.is_err() {
            tracing::warn!("the log was closed with appends under way");
        }
    }

    /// What the log has seen.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    fn permit(&self, partition: u32, batch: &[Bytes]) -> Result<Permit, LogError> {
        self.shared.partition(partition)?;
        if self.shared.is(Unwell::Closed) {
            return Err(LogError::Closed);
        }
        if batch.is_empty() {
            return Err(LogError::EmptyBatch);
        }
        if batch
            .iter()
            .any(|payload| payload.len() > self.max_record_bytes)
        {
            return Err(LogError::TooLarge);
        }
        self.shared.room(batch.iter().map(Bytes::len))
    }
}

#[cfg(feature = "mutants")]
impl KafkaLog {
    /// Whether appends are told of while librdkafka holds them: those of stanzas, the rest would not start.
    fn is_early(&self) -> bool {
        use entente_core::mutant::{Mutant, is};
        is(Mutant::AckBeforeDurable) && self.shared.routing.topic().ends_with("input")
    }
}

/// A client that asks the cluster for more than records.
pub(crate) fn asking(settings: &Settings) -> Result<Admin, OpenError> {
    let client = client::base(settings)?.create_with_context(Context::asking())?;
    Ok(Admin::new(client))
}

#[async_trait]
impl Log for KafkaLog {
    fn partitions(&self) -> u32 {
        self.shared.count()
    }

    fn append(&self, partition: u32, batch: Vec<Bytes>) -> Append {
        let permit = self.permit(partition, &batch);
        match permit.and_then(|permit| self.producers.submit(partition, &batch, permit)) {
            #[cfg(feature = "mutants")]
            Ok(_) if self.is_early() => {
                let first = self.end(partition);
                let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                let last = Offset::new(first.value().saturating_add(count.saturating_sub(1)));
                let at = entente_core::Timestamp::now();
                let early = entente_log::Appended::new(partition, first, last, at);
                Box::pin(ready(Ok(early)))
            }
            // Every record is reported, also when its producer goes: a lost report is a lost process.
            Ok(outcome) => {
                Box::pin(async move { outcome.await.unwrap_or(Err(LogError::UnknownOutcome)) })
            }
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    async fn read(
        &self,
        partition: u32,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.reader.read(partition, from, max_bytes).await
    }

    async fn readable(&self, partition: u32, from: Offset) -> Result<(), LogError> {
        self.reader.readable(partition, from).await
    }

    async fn refresh(&self, partition: u32) -> Result<(), LogError> {
        self.reader.refresh(partition).await
    }

    fn unfollow(&self, partition: u32) {
        self.reader.unfollow(partition);
    }

    async fn latest(&self, partition: u32) -> Result<Offset, LogError> {
        self.reader.latest(partition).await
    }

    fn end(&self, partition: u32) -> Offset {
        self.shared
            .partition(partition)
            .map_or(Offset::default(), |known| known.end())
    }

    fn floor(&self, partition: u32) -> Offset {
        self.shared
            .partition(partition)
            .map_or(Offset::default(), |known| known.floor())
    }

    async fn raise_floor(&self, partition: u32, floor: Offset) -> Result<(), LogError> {
        let known = self.shared.partition(partition)?;
        let floor = floor.min(known.end());
        if floor <= known.floor() {
            return Ok(());
        }
        if self.shared.is(Unwell::Down) {
            return Err(LogError::Unavailable);
        }
        let number = i32::try_from(partition).map_err(|_| LogError::UnknownPartition)?;
        let wanted = i64::try_from(floor.value()).map_err(|_| LogError::Unavailable)?;
        let topic = self.shared.routing.topic();
        let raised = self.admin.delete_below(topic, number, wanted).await;
        let raised = raised.map_err(|_told| LogError::Unavailable)?;
        let raised = raised.and_then(|raised| u64::try_from(raised).ok());
        known.begins(raised.unwrap_or_default().max(floor.value()));
        Ok(())
    }

    fn health(&self) -> Health {
        self.shared.health()
    }
}

#[cfg(test)]
mod tests;
