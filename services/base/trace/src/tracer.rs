//! The handle of the services: decides, draws ids, queues what is finished.

use std::sync::Arc;
use std::time::SystemTime;

use entente_core::{ShardId, TraceContext};
use entente_node::{Counters, Metrics, MetricsError};
use tokio::sync::mpsc;

use crate::{Outcome, Settings, Span, Stage};

/// Bit 0 of the flags of a W3C trace context.
const SAMPLED: u8 = 1;

/// Begins spans. Clones share the queue; one that is off costs a comparison.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    one_in: u32,
    queue: mpsc::Sender<Span>,
    dropped: Dropped,
}

/// Finished spans, for who sends them on.
pub type Spans = mpsc::Receiver<Span>;

/// The count of spans that no collector got.
#[derive(Clone, Debug)]
pub struct Dropped(Counters<()>);

impl Dropped {
    /// Counts.
    pub fn add(&self, spans: usize) {
        self.0.add((), u64::try_from(spans).unwrap_or(u64::MAX));
    }

    /// How many so far.
    pub fn value(&self) -> u64 {
        self.0.value(())
    }
}

impl Tracer {
    /// One that traces nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// One that traces, with its queue and the count of what is lost.
    ///
    /// # Errors
    /// When the metric is registered already.
    pub fn new(
        settings: &Settings,
        metrics: &Metrics,
    ) -> Result<(Self, Spans, Dropped), MetricsError> {
        let dropped = Dropped(metrics.counters(
            "entente_trace_spans_dropped",
            "Spans that found the queue full or the collector away",
        )?);
        let (queue, spans) = mpsc::channel(settings.queue.max(1));
        let inner = Inner {
            one_in: settings.one_in.max(1),
            queue,
            dropped: dropped.clone(),
        };
        Ok((Self(Some(Arc::new(inner))), spans, dropped))
    }

    /// Decides whether a message that enters is traced, and if so begins the first span.
    pub fn root(&self, stage: Stage) -> Option<Open> {
        let inner = self.0.as_ref()?;
        if inner.one_in > 1 && !rand::random::<u32>().is_multiple_of(inner.one_in) {
            return None;
        }
        Some(Open::new(inner, rand::random(), None, stage, None))
    }

    /// Begins a span of a message that is traced.
    pub fn child(
        &self,
        of: Option<TraceContext>,
        stage: Stage,
        shard: Option<ShardId>,
    ) -> Option<Open> {
        let of = of.filter(|of| of.flags & SAMPLED != 0)?;
        let inner = self.0.as_ref()?;
        Some(Open::new(
            inner,
            of.trace_id,
            Some(of.span_id),
            stage,
            shard,
        ))
    }
}

/// A span under way. Dropped, it ends as unfinished.
#[derive(Debug)]
pub struct Open {
    span: Span,
    inner: Arc<Inner>,
}

impl Open {
    fn new(
        inner: &Arc<Inner>,
        trace_id: [u8; 16],
        parent: Option<[u8; 8]>,
        stage: Stage,
        shard: Option<ShardId>,
    ) -> Self {
        let now = now();
        Self {
            span: Span {
                trace_id,
                span_id: rand::random(),
                parent,
                links: Vec::new(),
                stage,
                shard,
                status: None,
                outcome: Outcome::Unfinished,
                began: now,
                ended: now,
            },
            inner: Arc::clone(inner),
        }
    }

    /// What the message carries on, so that the next span is a child of this one.
    pub const fn context(&self) -> TraceContext {
        TraceContext {
            trace_id: self.span.trace_id,
            span_id: self.span.span_id,
            flags: SAMPLED,
        }
    }

    /// Notes what else caused it.
    pub fn link(&mut self, to: impl IntoIterator<Item = TraceContext>) {
        self.span.links.extend(to);
    }

    /// Notes the HTTP status that a peer answered with.
    pub const fn status(&mut self, code: u16) {
        self.span.status = Some(code);
    }

    /// Ends it as it should end.
    pub fn done(mut self) {
        self.span.outcome = Outcome::Done;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.span.ended = now().max(self.span.began);
        if self.inner.queue.try_send(self.span.clone()).is_err() {
            self.inner.dropped.add(1);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a stage takes microseconds, a Timestamp counts milliseconds, and nothing is decided by it"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(one_in: u32, queue: usize) -> (Tracer, Spans, Dropped) {
        let settings = Settings {
            one_in,
            queue,
            ..Settings::default()
        };
        Tracer::new(&settings, &Metrics::new()).unwrap()
    }

    #[test]
    fn a_child_has_the_trace_and_the_parent_of_its_context() {
        let (tracer, mut spans, _) = tracer(1, 8);
        let root = tracer.root(Stage::Receive).unwrap();
        let context = root.context();
        root.done();
        let shard = Some(ShardId::new(3));
        drop(tracer.child(Some(context), Stage::Append, shard).unwrap());
        let (first, second) = (spans.try_recv().unwrap(), spans.try_recv().unwrap());
        assert_eq!((first.parent, first.outcome), (None, Outcome::Done));
        assert_eq!(second.trace_id, first.trace_id);
        assert_eq!(second.parent, Some(first.span_id));
        assert_eq!(
            (second.shard, second.outcome),
            (shard, Outcome::Unfinished),
            "dropped before its end"
        );
    }

    #[test]
    fn what_is_not_sampled_begins_nothing() {
        let off = Tracer::off();
        assert!(off.root(Stage::Receive).is_none());
        let (on, _spans, _) = tracer(1, 8);
        let context = on.root(Stage::Receive).unwrap().context();
        assert!(off.child(Some(context), Stage::Append, None).is_none());
        assert!(on.child(None, Stage::Append, None).is_none());
        let unsampled = TraceContext {
            flags: 0,
            ..context
        };
        assert!(on.child(Some(unsampled), Stage::Append, None).is_none());
    }

    #[test]
    fn about_one_in_so_many_is_sampled() {
        let (tracer, _spans, _) = tracer(100, 8);
        let sampled = (0..100_000).filter(|_| tracer.root(Stage::Receive).is_some());
        // Seven standard deviations of 31.5 around 1,000.
        assert!((780..1_220).contains(&sampled.count()));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (tracer, mut spans, dropped) = tracer(1, 2);
        for _ in 0..5 {
            tracer.root(Stage::Receive).unwrap().done();
        }
        assert_eq!(dropped.value(), 3);
        assert!(spans.try_recv().is_ok() && spans.try_recv().is_ok());
        assert!(spans.try_recv().is_err());
    }
}
