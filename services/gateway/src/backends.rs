//! Backends by URL: the one place that maps a scheme to an implementation.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use entente_core::{SealKey, ShardId, Span};
use entente_log::{Fsync, Log, MemoryLog, OpenError, Recovered, SegmentConfig, SegmentLog};
use entente_node::{Metrics, MetricsError, Tasks};
use entente_shard::{FjallStore, MemoryStore, StateStore, StoreError, Stores};
use entente_table::{MemoryTable, Table};
#[cfg(feature = "kafka")]
use futures::future::join_all;
use tokio::sync::watch;

use crate::config::Storage;

#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "redis")]
mod redis;

const LOG_SCHEMES: &str =
    "storage.log must be `file:DIRECTORY`, `memory:` or `kafka://HOST:PORT/PREFIX`";
#[cfg(not(feature = "kafka"))]
const NO_KAFKA: &str =
    "storage.log names Kafka: this program was built without the feature `kafka`";
const STATE_SCHEMES: &str = "storage.state must be `fjall:DIRECTORY`, `journal:` or `memory:`";
const NO_JOURNAL: &str = "storage.state in a journal needs storage.log on Kafka: a log that is on one \
                          node has nobody to take over from";

const TABLE_SCHEMES: &str =
    "storage.table must be `memory:`, `redis://HOST:PORT/PREFIX` or `redis-cluster://…`";
#[cfg(not(feature = "redis"))]
const NO_REDIS: &str =
    "storage.table names Redis: this program was built without the feature `redis`";

/// Why a backend does not open.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The URL's scheme is not known.
    #[error("{0}")]
    Scheme(String),
    /// The folder cannot be made.
    #[error("{0}")]
    Folder(#[from] std::io::Error),
    /// The log in a cluster does not open.
    #[cfg(feature = "kafka")]
    #[error("the log does not open: {0}")]
    Kafka(#[from] entente_kafka::OpenError),
    /// The log does not open.
    #[error("the log does not open: {0}")]
    Log(#[from] OpenError),
    /// The table in Redis cannot be used.
    #[cfg(feature = "redis")]
    #[error("storage.table: {0}")]
    Redis(#[from] entente_redis::OpenError),
    /// The store does not open.
    #[error("the shard store does not open: {0}")]
    Store(#[from] StoreError),
}

/// The logs that a process keeps.
#[derive(Debug, Default)]
pub struct Logs {
    /// The input: one partition a shard.
    pub input: Option<Arc<dyn Log>>,
    /// The wake-ups.
    pub wake: Option<Arc<dyn Log>>,
    /// The journals of the shards' rows, and of push's, if that is where they are.
    pub journals: Option<[Arc<dyn Log>; 2]>,
    closes: Closes,
}

/// Logs that are more than memory.
#[derive(Debug, Default)]
enum Closes {
    #[cfg(feature = "kafka")]
    Kafka(Vec<(&'static str, Arc<entente_kafka::KafkaLog>)>),
    #[default]
    Nothing,
    Segments(Vec<Arc<SegmentLog>>),
}

/// What a process keeps.
#[derive(Clone, Debug)]
pub struct Keeps {
    /// The shards whose input and rows it has.
    pub shards: BTreeSet<ShardId>,
    /// Whether it has the wake-ups.
    pub wake: bool,
}

impl Keeps {
    /// Everything, as a process with all roles does.
    pub fn all(shards: u32) -> Self {
        Self {
            shards: (0..shards).map(ShardId::new).collect(),
            wake: true,
        }
    }
}

impl Logs {
    /// Publishes what the logs count, if they do, for as long as the tasks run.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn publish(&self, metrics: &Metrics, tasks: &Tasks) -> Result<(), MetricsError> {
        match &self.closes {
            #[cfg(feature = "kafka")]
            Closes::Kafka(logs) => kafka::publish(logs, metrics, tasks),
            Closes::Nothing | Closes::Segments(_) => {
                let _nothing_to_count = (metrics, tasks);
                Ok(())
            }
        }
    }

    /// Stores what is under way, and closes.
    pub async fn close(&self) {
        match &self.closes {
            #[cfg(feature = "kafka")]
            Closes::Kafka(logs) => {
                join_all(logs.iter().map(|(_, log)| log.close())).await;
            }
            Closes::Nothing => {}
            Closes::Segments(logs) => {
                for log in logs {
                    log.close().await;
                }
            }
        }
    }
}

/// Reads `always`, `never` or an interval.
///
/// # Errors
/// What is wrong, naming the key.
pub fn fsync(text: &str) -> Result<Fsync, &'static str> {
    match text {
        "always" => Ok(Fsync::Always),
        "never" => Ok(Fsync::Never),
        interval => match interval.parse::<Span>() {
            Ok(span) if span.get() > Duration::ZERO => Ok(Fsync::Interval(span.get())),
            _ => Err("storage.fsync must be `always`, `never` or an interval such as `5ms`"),
        },
    }
}

/// Whether each URL names something that is there to be opened.
///
/// # Errors
/// What is wrong, naming the key.
pub fn known(storage: &Storage) -> Result<(), String> {
    match storage.log.split_once(':') {
        Some(("memory", _)) => {}
        Some(("file", folder)) if !folder.is_empty() => {}
        Some(("kafka" | "kafka+tls", _)) => kafka_known(&storage.log)?,
        _ => return Err(LOG_SCHEMES.to_owned()),
    }
    match storage.state.split_once(':') {
        Some(("memory", _)) => {}
        Some(("fjall", folder)) if !folder.is_empty() => {}
        Some(("journal", "")) if is_remote(storage) => {}
        Some(("journal", "")) => return Err(NO_JOURNAL.to_owned()),
        _ => return Err(STATE_SCHEMES.to_owned()),
    }
    match storage.table.split_once(':') {
        Some(("memory", _)) => Ok(()),
        Some((scheme, _)) if scheme.starts_with("redis") => redis_known(&storage.table),
        _ => Err(TABLE_SCHEMES.to_owned()),
    }
}

/// Whether the log is one that other machines have too, so that what belongs to it has no folder.
pub(crate) fn is_remote(storage: &Storage) -> bool {
    let scheme = storage.log.split_once(':').map(|(scheme, _)| scheme);
    matches!(scheme, Some("kafka" | "kafka+tls"))
}

/// Whether routers share the shards: any of them can take any shard over.
pub(crate) fn are_shared(storage: &Storage) -> bool {
    is_remote(storage) && storage.state.starts_with("journal:")
}

/// Files that hold keys or passwords for a backend.
pub(crate) fn key_files(storage: &Storage) -> Vec<PathBuf> {
    let mut files = Vec::new();
    #[cfg(feature = "kafka")]
    if is_remote(storage) {
        files.extend(kafka::key_files(&storage.log));
    }
    #[cfg(feature = "redis")]
    files.extend(redis::key_files(&storage.table));
    let _others_have_none = (storage, &mut files);
    files
}

#[cfg(feature = "redis")]
use redis::known as redis_known;

#[cfg(not(feature = "redis"))]
fn redis_known(_: &str) -> Result<(), String> {
    Err(NO_REDIS.to_owned())
}

/// Opens the table of hints. One in Redis connects with its first use, so Redis may come later.
///
/// # Errors
/// [`BackendError`].
pub fn table(storage: &Storage) -> Result<Arc<dyn Table>, BackendError> {
    match storage.table.split_once(':') {
        Some(("memory", _)) => Ok(Arc::new(MemoryTable::default())),
        #[cfg(feature = "redis")]
        Some((scheme, _)) if scheme.starts_with("redis") => redis::table(&storage.table),
        _ => {
            known(storage).map_err(BackendError::Scheme)?;
            Err(BackendError::Scheme(TABLE_SCHEMES.to_owned()))
        }
    }
}

/// What servers of a backend say when they are asked.
#[derive(Debug, Default)]
pub struct Survey {
    /// Why a start would fail, or would come to nothing.
    pub faults: Vec<String>,
    /// What should be otherwise, or may be soon.
    pub warnings: Vec<String>,
}

/// Asks Kafka and Redis, where the URLs name them, for what a node needs of them, and makes nothing.
/// `seal` is the deployment's key, if the node keeps a log: the doors and identity do without.
pub async fn survey(storage: &Storage, seal: Option<&SealKey>) -> Survey {
    let mut survey = Survey::default();
    #[cfg(feature = "kafka")]
    if let Some(seal) = seal.filter(|_| is_remote(storage)) {
        kafka::survey(storage, seal, &mut survey).await;
    }
    // A node starts without Redis, and hints are sought elsewhere until it comes.
    #[cfg(feature = "redis")]
    if storage.table.starts_with("redis") {
        survey.warnings.extend(redis::survey(&storage.table).await);
    }
    let _nothing_more_to_ask = (storage, seal, &mut survey);
    survey
}

#[cfg(feature = "kafka")]
fn kafka_known(url: &str) -> Result<(), String> {
    kafka::known(url)
}

#[cfg(not(feature = "kafka"))]
fn kafka_known(_: &str) -> Result<(), String> {
    Err(NO_KAFKA.to_owned())
}

/// Makes a folder that other users cannot look into: what is kept says who writes to whom.
pub(crate) fn private_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Where the input lies in the folder of a log.
pub(crate) fn input(folder: &Path) -> PathBuf {
    folder.join("input")
}

/// Opens the logs. What goes to a cluster is sealed under `seal`.
///
/// # Errors
/// [`BackendError`].
pub async fn logs(storage: &Storage, keeps: &Keeps, seal: &SealKey) -> Result<Logs, BackendError> {
    let mut logs = Logs::default();
    if keeps.shards.is_empty() && !keeps.wake {
        return Ok(logs);
    }
    match storage.log.split_once(':') {
        Some(("memory", _)) => {
            let memory = |partitions| Arc::new(MemoryLog::new(partitions)) as Arc<dyn Log>;
            logs.input = (!keeps.shards.is_empty()).then(|| memory(storage.shards));
            logs.wake = keeps.wake.then(|| memory(storage.wake_partitions));
        }
        Some(("file", folder)) => {
            let folder = Path::new(folder);
            let mut segments = Vec::new();
            if !keeps.shards.is_empty() {
                let log = segment_log(storage, &input(folder), storage.shards)?;
                segments.push(Arc::clone(&log));
                logs.input = Some(log);
            }
            if keeps.wake {
                let partitions = storage.wake_partitions;
                let log = segment_log(storage, &folder.join("wake"), partitions)?;
                segments.push(Arc::clone(&log));
                logs.wake = Some(log);
            }
            logs.closes = Closes::Segments(segments);
        }
        #[cfg(feature = "kafka")]
        Some(("kafka" | "kafka+tls", _)) => return kafka::logs(storage, seal).await,
        _ => {
            // Its only use is a cluster's.
            let _unsealed = seal;
            known(storage).map_err(BackendError::Scheme)?;
            return Err(BackendError::Scheme(LOG_SCHEMES.to_owned()));
        }
    }
    Ok(logs)
}

fn segment_log(
    storage: &Storage,
    folder: &Path,
    partitions: u32,
) -> Result<Arc<SegmentLog>, BackendError> {
    private_folder(folder)?;
    let config = SegmentConfig {
        segment_bytes: storage.segment,
        fsync: fsync(&storage.fsync).unwrap_or(Fsync::Always),
        ..SegmentConfig::new(partitions)
    };
    let (log, found) = SegmentLog::open(folder, &config)?;
    let Recovered {
        segments,
        records,
        torn_bytes,
    } = found;
    tracing::info!(segments, records, torn_bytes, partitions, "log opened");
    Ok(Arc::new(log))
}

/// Opens the rows of the shards, and of push.
///
/// # Errors
/// [`BackendError`].
pub fn stores(
    storage: &Storage,
    keeps: &Keeps,
    logs: &Logs,
    seal: &SealKey,
) -> Result<RowStores, BackendError> {
    let mut rows = RowStores::default();
    match storage.state.split_once(':') {
        _ if keeps.shards.is_empty() && !keeps.wake => {}
        Some(("memory", _)) => {
            let store = || Arc::new(MemoryStore::default()) as Arc<dyn StateStore>;
            let shards = keeps.shards.iter().map(|shard| (*shard, store()));
            rows.shards = Stores::Kept(shards.collect());
            let wakes = (0..storage.wake_partitions).map(ShardId::new);
            rows.push = Stores::Kept(wakes.map(|each| (each, store())).collect());
        }
        Some(("fjall", folder)) => {
            private_folder(Path::new(folder))?;
            let database = FjallStore::database(Path::new(folder))?;
            let open = |shard: &ShardId| -> Result<_, StoreError> {
                let store = FjallStore::open(&database, *shard)?;
                Ok((*shard, Arc::new(store) as Arc<dyn StateStore>))
            };
            let shards = keeps.shards.iter().map(open);
            rows.shards = Stores::Kept(shards.collect::<Result<_, _>>()?);
            if keeps.wake {
                let open = |partition: u32| -> Result<_, StoreError> {
                    let store = FjallStore::named(&database, &push_rows(partition))?;
                    Ok((
                        ShardId::new(partition),
                        Arc::new(store) as Arc<dyn StateStore>,
                    ))
                };
                let wakes = (0..storage.wake_partitions).map(open);
                rows.push = Stores::Kept(wakes.collect::<Result<_, _>>()?);
            }
        }
        Some(("journal", _)) => {
            let [shards, push] = logs.journals.as_ref().ok_or_else(no_journal)?;
            let journals = |log, whole| Stores::Journals {
                log: Arc::clone(log),
                key: seal.clone(),
                whole,
            };
            rows.shards = journals(shards, true);
            // Wake-ups that are lost with rows come with the next message: nobody would wait for a person.
            rows.push = journals(push, false);
        }
        _ => return Err(BackendError::Scheme(STATE_SCHEMES.to_owned())),
    }
    Ok(rows)
}

fn no_journal() -> BackendError {
    BackendError::Scheme(NO_JOURNAL.to_owned())
}

/// The name of push's rows of a partition.
fn push_rows(partition: u32) -> String {
    match partition {
        0 => "push".to_owned(),
        other => format!("push-{other}"),
    }
}

/// Rows of a process.
#[derive(Debug, Default)]
pub struct RowStores {
    /// Of the shards that it owns.
    pub shards: Stores,
    /// Of the push service.
    pub push: Stores,
}

/// Who share something among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Team {
    /// The push services: one of them works.
    Push,
    /// The routers: each owns some of the shards.
    Routers,
}

/// What is assigned to a process, as those who share it agree.
#[derive(Debug)]
pub struct Owning {
    /// None before it was agreed.
    pub assigned: watch::Receiver<Option<BTreeSet<ShardId>>>,
    #[cfg(feature = "kafka")]
    group: entente_kafka::Group,
}

impl Owning {
    /// Takes part in the agreement, under the name of a node.
    ///
    /// # Errors
    /// [`BackendError`].
    pub fn join(
        storage: &Storage,
        team: Team,
        node: &str,
        tasks: &Tasks,
    ) -> Result<Self, BackendError> {
        #[cfg(feature = "kafka")]
        return kafka::join(storage, team, node, tasks);
        #[cfg(not(feature = "kafka"))]
        {
            let _nothing_to_join = (storage, team, node, tasks);
            Err(BackendError::Scheme(NO_KAFKA.to_owned()))
        }
    }

    /// Begins to leave: the others share what was assigned here.
    pub fn leave(&self) {
        #[cfg(feature = "kafka")]
        self.group.leave();
    }
}
