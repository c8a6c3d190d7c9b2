//! One message is one trace, from the sender's connection to the recipient's.

use entente_kit::partner::GatewayTrust;
use entente_stanza::{Element, ns};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::time::timeout;

use crate::collector::Collector;
use crate::stand::{DOMAIN, PATIENCE, Stand, heard};

/// Sends a message between two users who are there, and waits until it is.
async fn message(stand: &Stand) {
    let mut ada = stand.websocket("ada@partner.example").await;
    let mut eve = stand.websocket("eve@partner.example").await;
    let to = eve.bound().unwrap().to_bare().to_string();
    let body = Element::new("body", ns::CLIENT).with_text("hi");
    ada.send_message(&to, "one", [body]).unwrap();
    ada.flush().await.unwrap();
    assert_eq!(heard(&mut eve).await, "one");
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span {name}"));
    assert!(found.next().is_none(), "{name} is there twice");
    span
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_one_trace() {
    let collector = Collector::start().await;
    let change = |config: String| format!("{config}\n{}", collector.section(1));
    let stand = Stand::start(change, None).await;
    Box::pin(message(&stand)).await;
    let spans = collector.until(4).await;
    assert_eq!(spans.len(), 4, "{}", collector.shown());
    let path = [
        ("connection receive", SpanKind::Internal),
        ("router append", SpanKind::Producer),
        ("router deliver", SpanKind::Consumer),
        ("connection write", SpanKind::Internal),
    ];
    is_path(&spans, &path);
}

/// The trace of a message for somebody who is away goes on to the partner that wakes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_somebody_away_is_one_trace_to_the_wake_up() {
    let collector = Collector::start().await;
    let change = |config: String| format!("{config}\n{}", collector.section(1));
    let stand = Stand::start(change, None).await;
    stand.partner.push().set_trust(GatewayTrust {
        target: stand.https.clone(),
        path: "/.well-known/jwks".to_owned(),
        issuer: format!("https://{DOMAIN}"),
        audience: stand.partner.base_url("127.0.0.1"),
    });
    let eve = stand.enlist("eve@partner.example").await;
    let mut ada = stand.websocket("ada@partner.example").await;
    let body = Element::new("body", ns::CLIENT).with_text("hi");
    ada.send_message(&format!("{eve}@{DOMAIN}"), "one", [body])
        .unwrap();
    ada.flush().await.unwrap();
    let spans = collector.until(4).await;
    assert_eq!(spans.len(), 4, "{}", collector.shown());
    let path = [
        ("connection receive", SpanKind::Internal),
        ("router append", SpanKind::Producer),
        ("push consume", SpanKind::Consumer),
        ("push request", SpanKind::Client),
    ];
    is_path(&spans, &path);
    let request = named(&spans, "push request");
    let status = request
        .attributes
        .iter()
        .find(|each| each.key == "http.response.status_code");
    let status = status.unwrap().value.as_ref().unwrap().value.as_ref();
    assert_eq!(status, Some(&Value::IntValue(200)));
}

/// Checks that each span is the child of the one before it, all are of one trace, and all ended well.
fn is_path(spans: &[Span], path: &[(&str, SpanKind)]) {
    let mut before: Option<&Span> = None;
    for (name, kind) in path {
        let span = named(spans, name);
        assert_eq!(span.kind(), *kind, "{name}");
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        match before {
            None => assert!(span.parent_span_id.is_empty(), "{name}"),
            Some(before) => {
                assert_eq!(span.trace_id, before.trace_id, "{name}");
                assert_eq!(span.parent_span_id, before.span_id, "{name}");
            }
        }
        let status = span.status.as_ref().unwrap();
        assert_eq!(status.code, 0, "{name} ended as it should");
        before = Some(span);
    }
}

/// A collector that is away takes nothing from the message; what it misses is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_not_waited_for() {
    let collector = Collector::start().await;
    let section = collector.section(1);
    drop(collector);
    let change = |config: String| format!("{config}\n{section}");
    let stand = Stand::start(change, None).await;
    Box::pin(message(&stand)).await;
    let mut last = String::new();
    let counted = async {
        loop {
            let metrics = stand.admin.fetch("/metrics").await.unwrap();
            let metrics = String::from_utf8(metrics.body().to_vec()).unwrap();
            let name = "entente_trace_spans_dropped_total";
            let line = metrics.lines().find(|line| line.starts_with(name));
            line.unwrap_or_default().clone_into(&mut last);
            if last.ends_with(" 4") {
                return;
            }
            tokio::time::sleep(crate::stand::LOOK).await;
        }
    };
    let counted = timeout(PATIENCE, counted).await;
    counted.unwrap_or_else(|_| panic!("all four are counted: {last}\n{}", stand.log()));
}
