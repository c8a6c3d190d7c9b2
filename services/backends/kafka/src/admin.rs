//! The topic of a log: made if it is not there, and held against its rules in any case.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset as Place, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::client::Context;
use crate::error::OpenError;
use crate::topic::{Differences, TopicRules};

/// Longest that a request waits for its answer.
const ANSWER: Duration = Duration::from_secs(15);
/// The same of a request to let records go. Short: see below.
const FLOOR_ANSWER: Duration = Duration::from_secs(2);
/// Between such a request that failed and the next. While a broker is away, librdkafka spends a core on
/// waiting for it, without any pause between attempts to connect, for as long as a request waits.
const FLOOR_AGAIN: Duration = Duration::from_secs(60);
/// Longest that a topic is waited for to be as it was made: brokers learn of it one by one.
const SETTLE: Duration = Duration::from_secs(15);
/// The same of one that was there: another program may have made it a moment ago.
const SETTLED: Duration = Duration::from_secs(5);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What asks the cluster for more than records.
pub(crate) struct Admin {
    client: Arc<AdminClient<Context>>,
    /// Held by the one request for a floor that may be under way; before when there is none after a
    /// failure.
    floors: Mutex<Option<Instant>>,
}

/// What the cluster says of a topic.
struct Found {
    partitions: usize,
    /// The least number of copies of any partition.
    replicas: usize,
    led: bool,
}

impl Admin {
    pub(crate) fn new(client: AdminClient<Context>) -> Self {
        Self {
            client: Arc::new(client),
            floors: Mutex::new(None),
        }
    }

    /// Makes the topic if it is not there, and compares it with the rules.
    pub(crate) async fn ensure(&self, rules: &TopicRules) -> Result<(), OpenError> {
        let patience = if self.find(rules).await?.is_some() {
            SETTLED
        } else {
            self.create(rules).await?;
            SETTLE
        };
        let until = Instant::now() + patience;
        // A topic that was made a moment ago, by this program or another, is told of differently until
        // every broker knows it. One that is wrong stays so.
        loop {
            let differences = match self.compare(rules).await? {
                Ok(()) => return Ok(()),
                Err(differences) => differences,
            };
            if Instant::now() > until {
                let topic = rules.name.clone();
                return Err(OpenError::Differs { topic, differences });
            }
            sleep(LOOK).await;
        }
    }

    /// Looks at the topic as it is, and makes nothing: none if it is not there.
    pub(crate) async fn look(
        &self,
        rules: &TopicRules,
    ) -> Result<Option<Result<(), Differences>>, OpenError> {
        match self.find(rules).await? {
            Some(_) => Ok(Some(self.compare(rules).await?)),
            None => Ok(None),
        }
    }

    async fn compare(&self, rules: &TopicRules) -> Result<Result<(), Differences>, OpenError> {
        let Some(found) = self.find(rules).await? else {
            return Ok(rules.compare(0, 0, &BTreeMap::new()));
        };
        let partitions = if found.led { found.partitions } else { 0 };
        let settings = self.settings(&rules.name).await?;
        Ok(rules.compare(partitions, found.replicas, &settings))
    }

    async fn find(&self, rules: &TopicRules) -> Result<Option<Found>, OpenError> {
        let (client, name) = (Arc::clone(&self.client), rules.name.clone());
        let asked = spawn_blocking(move || {
            let metadata = client.inner().fetch_metadata(Some(&name), ANSWER)?;
            let topics = metadata.topics().iter();
            let topic = topics.into_iter().find(|topic| topic.name() == name);
            match topic.map(|topic| (topic, topic.error())) {
                None | Some((_, Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART))) => {
                    Ok(None)
                }
                Some((_, Some(error))) => Err(KafkaError::MetadataFetch(error.into())),
                Some((topic, None)) => {
                    let copies = topic.partitions().iter().map(|each| each.replicas().len());
                    Ok(Some(Found {
                        partitions: topic.partitions().len(),
                        replicas: copies.min().unwrap_or_default(),
                        led: topic.partitions().iter().all(|each| each.leader() >= 0),
                    }))
                }
            }
        });
        let found = asked.await.unwrap_or(Err(KafkaError::Canceled));
        found.map_err(|source| OpenError::Look {
            topic: rules.name.clone(),
            source,
        })
    }

    async fn create(&self, rules: &TopicRules) -> Result<(), OpenError> {
        let (Ok(partitions), replicas) = (i32::try_from(rules.partitions), rules.replicas) else {
            return Err(refused(rules, Code::InvalidPartitions));
        };
        let settings: Vec<_> = rules.settings().collect();
        let copies = TopicReplication::Fixed(i32::from(replicas));
        let topic = NewTopic::new(&rules.name, partitions, copies);
        let topic = settings
            .iter()
            .fold(topic, |topic, (name, value)| topic.set(name, value));
        let results = self.client.create_topics([&topic], &options()).await?;
        match results.into_iter().next() {
            Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(refused(rules, code)),
            None => Err(refused(rules, Code::NoError)),
        }
    }

    /// The numbers of the brokers that are up.
    pub(crate) async fn brokers(&self) -> Result<Vec<i32>, OpenError> {
        let client = Arc::clone(&self.client);
        // The metadata of all topics would be long; one that cannot be there has the brokers too.
        let asked = spawn_blocking(move || {
            let metadata = client.inner().fetch_metadata(Some("-"), ANSWER)?;
            Ok(metadata.brokers().iter().map(|each| each.id()).collect())
        });
        Ok(asked.await.unwrap_or(Err(KafkaError::Canceled))?)
    }

    /// The names of all topics that this program may know of.
    pub(crate) async fn topics(&self) -> Result<Vec<String>, OpenError> {
        let client = Arc::clone(&self.client);
        let asked = spawn_blocking(move || {
            let metadata = client.inner().fetch_metadata(None, ANSWER)?;
            let topics = metadata.topics().iter();
            Ok(topics.map(|each| each.name().to_owned()).collect())
        });
        Ok(asked.await.unwrap_or(Err(KafkaError::Canceled))?)
    }

    /// A setting of a broker, in milliseconds; none if the broker does not tell.
    pub(crate) async fn broker_millis(&self, broker: i32, name: &str) -> Option<u64> {
        let told = self.described(ResourceSpecifier::Broker(broker)).await;
        told.ok()?.get(name)?.parse().ok()
    }

    async fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>, OpenError> {
        self.described(ResourceSpecifier::Topic(topic)).await
    }

    async fn described(
        &self,
        resource: ResourceSpecifier<'_>,
    ) -> Result<BTreeMap<String, String>, OpenError> {
        let asked = [resource];
        let results = self.client.describe_configs(&asked, &options()).await?;
        let mut settings = BTreeMap::new();
        for result in results {
            let resource = result.map_err(KafkaError::AdminOp)?;
            for entry in resource.entries {
                settings.extend(entry.value.map(|value| (entry.name, value)));
            }
        }
        Ok(settings)
    }

    /// Lets records below `floor` go. Returns the floor that the cluster has now.
    pub(crate) async fn delete_below(
        &self,
        topic: &str,
        partition: i32,
        floor: i64,
    ) -> Result<Option<i64>, KafkaError> {
        let mut not_before = self.floors.lock().await;
        if not_before.is_some_and(|at| Instant::now() < at) {
            return Err(KafkaError::AdminOp(Code::OperationTimedOut));
        }
        let done = self.delete(topic, partition, floor).await;
        *not_before = done.is_err().then(|| Instant::now() + FLOOR_AGAIN);
        if let Err(error) = &done {
            tracing::warn!(partition, %error, "no floor of the log is raised for a minute");
        }
        done
    }

    /// librdkafka sends the request to whom it believes to lead, for as long as its metadata may be old,
    /// which is a quarter of an hour: no answer to such a request makes it ask anew.
    async fn delete(
        &self,
        topic: &str,
        partition: i32,
        floor: i64,
    ) -> Result<Option<i64>, KafkaError> {
        let done = self.ask_to_delete(topic, partition, floor).await;
        let Err(error) = &done else { return done };
        // Also if the broker was silent: then for the next request, in a minute.
        let learned = self.learn_leaders(topic).await;
        if learned && error.rdkafka_error_code().is_some_and(is_elsewhere) {
            return self.ask_to_delete(topic, partition, floor).await;
        }
        done
    }

    /// Asks who leads the partitions of a topic, for the requests that follow. Whether somebody told.
    async fn learn_leaders(&self, topic: &str) -> bool {
        let (client, topic) = (Arc::clone(&self.client), topic.to_owned());
        let asked = spawn_blocking(move || {
            client
                .inner()
                .fetch_metadata(Some(&topic), FLOOR_ANSWER)
                .is_ok()
        });
        asked.await.unwrap_or_default()
    }

    async fn ask_to_delete(
        &self,
        topic: &str,
        partition: i32,
        floor: i64,
    ) -> Result<Option<i64>, KafkaError> {
        let options = AdminOptions::new()
            .request_timeout(Some(FLOOR_ANSWER))
            .operation_timeout(Some(FLOOR_ANSWER));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Place::Offset(floor))?;
        let done = self.client.delete_records(&list, &options).await?;
        let Some(done) = done.find_partition(topic, partition) else {
            return Ok(None);
        };
        done.error()?;
        Ok(done.offset().to_raw())
    }

    /// The name that the cluster gave itself.
    pub(crate) async fn cluster(&self) -> Option<String> {
        let client = Arc::clone(&self.client);
        let asked = spawn_blocking(move || client.inner().fetch_cluster_id(ANSWER));
        asked.await.unwrap_or_default()
    }
}

/// Whether a broker says that another one is to be asked.
fn is_elsewhere(code: Code) -> bool {
    matches!(
        code,
        Code::FencedLeaderEpoch
            | Code::NotLeaderForPartition
            | Code::ReplicaNotAvailable
            | Code::UnknownTopicOrPartition
    )
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ANSWER))
        .operation_timeout(Some(ANSWER))
}

fn refused(rules: &TopicRules, code: Code) -> OpenError {
    OpenError::Create {
        topic: rules.name.clone(),
        code,
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin")
    }
}
