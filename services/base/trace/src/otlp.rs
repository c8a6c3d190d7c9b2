//! Finished spans to a collector: OTLP over gRPC, in batches.
//!
//! A request that fails is not repeated: its spans are counted as dropped. The end of the process
//! waits for one timeout at most.

use std::time::{Duration, SystemTime};

use entente_core::TraceContext;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::{Dropped, Outcome, Settings, SettingsError, Span, Spans, Stage};

/// Sends what is finished until it is cancelled, and then what is left.
#[derive(Debug)]
pub struct Exporter {
    client: TraceServiceClient<Channel>,
    spans: Spans,
    dropped: Dropped,
    node: String,
    batch: usize,
    every: Duration,
    timeout: Duration,
}

impl Exporter {
    /// An exporter to the endpoint of the settings; `node` is what the operator calls this process.
    /// Connects when there is something to send, so a collector may come later.
    ///
    /// # Errors
    /// When there is no endpoint, or it is not one.
    pub fn new(
        settings: &Settings,
        node: String,
        spans: Spans,
        dropped: Dropped,
    ) -> Result<Self, SettingsError> {
        let endpoint = settings.endpoint.clone().unwrap_or_default();
        let wrong = |_| SettingsError::Endpoint(endpoint.clone());
        let timeout = settings.timeout.get();
        let channel = Endpoint::from_shared(endpoint.clone())
            .map_err(wrong)?
            .connect_timeout(timeout)
            .connect_lazy();
        Ok(Self {
            client: TraceServiceClient::new(channel),
            spans,
            dropped,
            node,
            batch: settings.batch.max(1),
            every: settings.every.get(),
            timeout,
        })
    }

    /// Runs until it is cancelled. It does not fail: what cannot be sent is counted.
    pub async fn run(mut self, ends: CancellationToken) {
        let mut away = false;
        loop {
            let last = tokio::select! {
                () = sleep(self.every) => false,
                () = ends.cancelled() => true,
            };
            let until = Instant::now() + self.timeout;
            loop {
                let batch = self.take();
                let count = batch.len();
                if count == 0 {
                    break;
                }
                let sent = timeout_at(until, self.client.export(self.request(batch))).await;
                let arrived = matches!(sent, Ok(Ok(_)));
                if !arrived {
                    self.dropped.add(count);
                }
                match (away, arrived) {
                    (false, false) => tracing::warn!("the collector of traces takes nothing"),
                    (true, true) => tracing::info!("the collector of traces takes spans again"),
                    _ => {}
                }
                away = !arrived;
                if count < self.batch || (away && !last) {
                    break;
                }
            }
            if last {
                return;
            }
        }
    }

    fn take(&mut self) -> Vec<Span> {
        let mut batch = Vec::new();
        while batch.len() < self.batch {
            match self.spans.try_recv() {
                Ok(span) => batch.push(span),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        batch
    }

    fn request(&self, batch: Vec<Span>) -> ExportTraceServiceRequest {
        let resource = Resource {
            attributes: vec![
                word("service.name", "entente"),
                word("service.instance.id", &self.node),
            ],
            ..Resource::default()
        };
        let scope = InstrumentationScope {
            name: "entente".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let spans = otlp::ScopeSpans {
            scope: Some(scope),
            spans: batch.into_iter().map(written).collect(),
            ..otlp::ScopeSpans::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![otlp::ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![spans],
                ..otlp::ResourceSpans::default()
            }],
        }
    }
}

fn written(span: Span) -> otlp::Span {
    let mut attributes = vec![
        word("entente.role", span.stage.role()),
        word("entente.outcome", span.outcome.word()),
    ];
    if let Some(shard) = span.shard {
        let value = Value::IntValue(i64::from(shard.index()));
        attributes.push(attribute("entente.shard", value));
    }
    if let Some((operation, log)) = span.stage.messaging() {
        attributes.push(word("messaging.system", "entente"));
        attributes.push(word("messaging.operation.type", operation));
        attributes.push(word("messaging.destination.name", log));
    }
    if span.stage == Stage::Request {
        attributes.push(word("http.request.method", "POST"));
    }
    if let Some(status) = span.status {
        let value = Value::IntValue(i64::from(status));
        attributes.push(attribute("http.response.status_code", value));
    }
    let code = match span.outcome {
        Outcome::Done => otlp::status::StatusCode::Unset,
        Outcome::Unfinished => otlp::status::StatusCode::Error,
    };
    otlp::Span {
        trace_id: span.trace_id.to_vec(),
        span_id: span.span_id.to_vec(),
        parent_span_id: span.parent.map(Vec::from).unwrap_or_default(),
        name: span.stage.name().to_owned(),
        kind: kind(span.stage).into(),
        start_time_unix_nano: nanos(span.began),
        end_time_unix_nano: nanos(span.ended),
        attributes,
        links: span.links.into_iter().map(link).collect(),
        status: Some(otlp::Status {
            code: code.into(),
            ..otlp::Status::default()
        }),
        ..otlp::Span::default()
    }
}

const fn kind(stage: Stage) -> otlp::span::SpanKind {
    use otlp::span::SpanKind;
    match stage {
        Stage::Append => SpanKind::Producer,
        Stage::Consume | Stage::Deliver => SpanKind::Consumer,
        Stage::Receive | Stage::Write => SpanKind::Internal,
        Stage::Request => SpanKind::Client,
    }
}

fn link(to: TraceContext) -> otlp::span::Link {
    otlp::span::Link {
        trace_id: to.trace_id.to_vec(),
        span_id: to.span_id.to_vec(),
        ..otlp::span::Link::default()
    }
}

fn word(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}
