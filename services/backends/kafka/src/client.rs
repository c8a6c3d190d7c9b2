//! librdkafka as this log uses it: its settings, and what its callbacks are for.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entente_core::Timestamp;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, Timestamp as Stamp};
use rdkafka::producer::{DeliveryResult, ProducerContext};

use crate::batch::Batch;
use crate::error::OpenError;
use crate::outcome::{self, Report};
use crate::settings::{Compression, Mechanism, Settings};
use crate::shared::{Shared, Unwell};
use crate::topic::{message_bytes, request_bytes};

/// Longest wait between attempts to connect: librdkafka's own 10 s is long after a broker is back.
const RECONNECT_MS: u64 = 250;
/// Time for an answer before a connection counts as dead.
const SOCKET: Duration = Duration::from_secs(15);
/// Time that a broker may wait for its followers before it answers.
const REQUEST: Duration = Duration::from_secs(10);
/// Requests under way on a connection: the most with which brokers keep the order of retries.
const IN_FLIGHT: u32 = 5;
/// Longest that a fetch waits for records. What moves to another offset waits for the fetch before it.
const FETCH_WAIT_MS: u32 = 100;
/// Records fetched ahead of a partition's reader.
const AHEAD_KIB: usize = 2 * 1024;
/// Time until a fetch is tried again when the reader was slow, or a broker failed it.
const FETCH_AGAIN_MS: u32 = 20;

/// What librdkafka calls.
#[derive(Debug)]
pub(crate) struct Context {
    shared: Option<Arc<Shared>>,
    broken: AtomicBool,
    /// The first reason that librdkafka gave for a connection that failed.
    reason: OnceLock<String>,
}

impl Context {
    /// For a client that only asks.
    pub(crate) const fn asking() -> Self {
        Self {
            shared: None,
            broken: AtomicBool::new(false),
            reason: OnceLock::new(),
        }
    }

    pub(crate) const fn of(shared: Arc<Shared>) -> Self {
        Self {
            shared: Some(shared),
            broken: AtomicBool::new(false),
            reason: OnceLock::new(),
        }
    }

    /// Why the first connection failed that did.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// Whether the producer cannot go on.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(crate) fn break_down(&self) {
        self.broken.store(true, Ordering::Release);
    }

    fn set(&self, unwell: Unwell) {
        if let Some(shared) = &self.shared {
            shared.set(unwell);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.set(Unwell::Down),
            Some(code) if outcome::ends_the_producer(code) => self.break_down(),
            Some(code) if outcome::is_refusal(code) => self.set(Unwell::Refused),
            _ => {}
        }
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.reason.get_or_init(|| reason.to_owned());
        }
        tracing::debug!(%error, reason, "librdkafka");
    }
}

/// A line of librdkafka's own log.
pub(crate) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
            tracing::debug!(facility, line, "librdkafka");
        }
        // Not errors of ours: it goes on by itself, and what it cannot do is reported elsewhere.
        _ => tracing::warn!(facility, line, "librdkafka"),
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, report: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match report {
            Ok(message) => match u64::try_from(message.offset()) {
                Ok(offset) => batch.stored(offset, stamp(message.timestamp())),
                Err(_) => batch.unknown(1),
            },
            Err((error, _)) => {
                match outcome::report(error) {
                    Report::Fatal => self.break_down(),
                    Report::Refused => self.set(Unwell::Refused),
                    Report::TimedOut => self.set(Unwell::Stalled),
                    Report::Purged | Report::Unclear => {}
                }
                tracing::debug!(%error, "a record has no good report");
                batch.unknown(1);
            }
        }
    }
}

/// When a broker says that it took a record.
pub(crate) fn stamp(stamp: Stamp) -> Timestamp {
    let millis = stamp
        .to_millis()
        .and_then(|millis| u64::try_from(millis).ok());
    Timestamp::from_millis(millis.unwrap_or_default())
}

/// What every client of the cluster is told.
pub(crate) fn base(settings: &Settings) -> Result<ClientConfig, OpenError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", settings.bootstrap())
        .set("client.id", "entente")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", RECONNECT_MS.to_string())
        .set("socket.timeout.ms", SOCKET.as_millis().to_string())
        .set("socket.keepalive.enable", "true")
        .set("message.max.bytes", message_bytes(settings).to_string())
        .set("allow.auto.create.topics", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    if let Some(tls) = &settings.tls {
        config.set("ssl.endpoint.identification.algorithm", "https");
        if let Some(ca) = &tls.ca {
            config.set("ssl.ca.location", ca.display().to_string());
        }
        if let Some(identity) = &tls.identity {
            config
                .set(
                    "ssl.certificate.location",
                    identity.certificate.display().to_string(),
                )
                .set("ssl.key.location", identity.key.display().to_string());
        }
    }
    if let Some(sasl) = &settings.sasl {
        let read = std::fs::read_to_string(&sasl.password_file);
        let text = read.map_err(|source| OpenError::Secret {
            file: sasl.password_file.display().to_string(),
            source,
        })?;
        config
            .set("sasl.mechanism", mechanism(sasl.mechanism))
            .set("sasl.username", &sasl.user)
            .set("sasl.password", text.lines().next().unwrap_or_default());
    }
    let protocol = match (settings.tls.is_some(), settings.sasl.is_some()) {
        (false, false) => "plaintext",
        (false, true) => "sasl_plaintext",
        (true, false) => "ssl",
        (true, true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    Ok(config)
}

const fn mechanism(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plain => "PLAIN",
        Mechanism::ScramSha256 => "SCRAM-SHA-256",
        Mechanism::ScramSha512 => "SCRAM-SHA-512",
    }
}

/// What a producer is told.
pub(crate) fn producer(settings: &Settings) -> Result<ClientConfig, OpenError> {
    let mut config = base(settings)?;
    let request = REQUEST.min(settings.delivery.get());
    let compression = match settings.compression {
        Compression::None => "none",
        Compression::Zstd => "zstd",
    };
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set(
            "max.in.flight.requests.per.connection",
            IN_FLIGHT.to_string(),
        )
        .set("linger.ms", settings.linger.get().as_millis().to_string())
        .set("batch.size", settings.record.get().to_string())
        .set("compression.type", compression)
        .set(
            "message.timeout.ms",
            settings.delivery.get().as_millis().to_string(),
        )
        .set("request.timeout.ms", request.as_millis().to_string())
        // The room for what waits is counted before a record is handed over; these only stand behind.
        .set("queue.buffering.max.messages", "0")
        .set(
            "queue.buffering.max.kbytes",
            (settings.queue.get() / 512).to_string(),
        );
    #[cfg(feature = "mutants")]
    if entente_core::mutant::is(entente_core::mutant::Mutant::AckBeforeDurable) {
        // Time to die before what was told of is sent.
        config.set("linger.ms", "300");
    }
    Ok(config)
}

/// What the consumer is told.
pub(crate) fn consumer(settings: &Settings) -> Result<ClientConfig, OpenError> {
    let mut config = base(settings)?;
    config
        // It joins no group and stores no offset; librdkafka assigns nothing without a name for one.
        .set("group.id", format!("{}.none", settings.prefix))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", FETCH_WAIT_MS.to_string())
        .set("fetch.error.backoff.ms", FETCH_AGAIN_MS.to_string())
        .set("fetch.queue.backoff.ms", FETCH_AGAIN_MS.to_string())
        .set(
            "max.partition.fetch.bytes",
            request_bytes(settings).to_string(),
        )
        .set("queued.max.messages.kbytes", AHEAD_KIB.to_string());
    Ok(config)
}
