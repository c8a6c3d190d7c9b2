//! Trace contexts that clients send: none becomes ours, and none decides what is traced.

use bytes::Bytes;
use entente_kit::enlist::ENLIST_PATH;
use entente_stanza::{Element, ns};
use http_body_util::Full;
use opentelemetry_proto::tonic::trace::v1::Span;

use crate::collector::Collector;
use crate::stand::{PATIENCE, Stand, heard};

/// Ids that nobody draws by chance.
const TRACE: [u8; 16] = [0xab; 16];
const PARENT: [u8; 8] = [0xcd; 8];
/// A word in what the client calls its baggage.
const WORD: &str = "foreign5e11";
/// So rare that no message of a test is drawn.
const NEVER: u32 = u32::MAX;

fn traceparent(flags: &str) -> String {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(String::new(), |all, each| format!("{all}{each:02x}"))
    };
    format!("00-{}-{}-{flags}", hex(&TRACE), hex(&PARENT))
}

fn baggage(entries: usize) -> String {
    let entries = (0..entries).map(|each| format!("{WORD}{each}=1"));
    entries.collect::<Vec<_>>().join(",")
}

/// Asks to enlist without a form, with headers or none; the status and the answer, if there is one.
async fn ask(stand: &Stand, headers: &[(&str, &str)]) -> Option<(u16, Bytes)> {
    let mut request = stand
        .https
        .request("POST", &format!("{ENLIST_PATH}?partner=1"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = stand.https.send(request.body(Full::default()).unwrap());
    let answer = answer.await.ok()?;
    Some((answer.status().as_u16(), answer.into_body()))
}

async fn enlist(stand: &Stand, headers: &[(&str, &str)]) -> (u16, Bytes) {
    ask(stand, headers).await.unwrap()
}

/// Two users who are there; one sends the other a message that brings a context in every place where
/// one could look for it.
async fn message(stand: &Stand, flags: &str) {
    let mut ada = stand.websocket("ada@partner.example").await;
    let mut eve = stand.websocket("eve@partner.example").await;
    let to = eve.bound().unwrap().to_bare().to_string();
    let context = |name| {
        Element::new(name, ns::CLIENT)
            .with_attribute("traceparent", traceparent(flags))
            .with_attribute("tracestate", "ot=th:0")
            .with_attribute("baggage", baggage(20))
    };
    let stanza = context("message")
        .with_attribute("type", "chat")
        .with_attribute("to", to)
        .with_attribute("id", "one")
        .with_child(Element::new("body", ns::CLIENT).with_text(&traceparent(flags)))
        .with_child(context("traceparent"));
    ada.send_stanza(&stanza);
    ada.flush().await.unwrap();
    assert_eq!(heard(&mut eve).await, "one");
}

async fn started(one_in: u32) -> (Collector, Stand) {
    let collector = Collector::start().await;
    let change = |config: String| format!("{config}\n{}", collector.section(one_in));
    let stand = Stand::start(change, None).await;
    (collector, stand)
}

fn is_foreign(span: &Span) -> bool {
    let links = span.links.iter().map(|link| &link.trace_id);
    links.chain([&span.trace_id]).any(|id| *id == TRACE)
        || span.parent_span_id == PARENT
        || span.span_id == PARENT
}

/// T140: a context and 10,000 entries of baggage in headers change no answer, and those of a stanza
/// are in no span: the message's trace begins at the gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a_context_from_outside_is_dropped() {
    let (collector, stand) = started(1).await;
    let plain = enlist(&stand, &[]).await;
    let (parent, many) = (traceparent("01"), baggage(10_000));
    let context = [
        ("traceparent", parent.as_str()),
        ("tracestate", "ot=th:0"),
        ("baggage", "foreign5e11=1"),
    ];
    assert_eq!(enlist(&stand, &context).await, plain);
    // Longer than a request's head may be. Who is still writing may find the connection closed.
    let refused = ask(&stand, &[("baggage", &many)]).await;
    assert!(
        refused.as_ref().is_none_or(|(status, _)| *status == 431),
        "{refused:?}"
    );
    assert_eq!(
        enlist(&stand, &[]).await,
        plain,
        "who asks well is served as before"
    );
    Box::pin(message(&stand, "01")).await;
    let spans = collector.until(4).await;
    assert_eq!(spans.len(), 4, "the message alone: {}", collector.shown());
    assert!(!spans.iter().any(is_foreign), "{}", collector.shown());
    let roots = spans.iter().filter(|span| span.parent_span_id.is_empty());
    assert_eq!(roots.count(), 1);
    assert!(!collector.shown().contains(WORD));
}

/// T168: a client that calls its message sampled has it traced no more than another, and one that
/// calls it not sampled no less.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_decide_what_is_traced() {
    let (collector, mut stand) = started(NEVER).await;
    Box::pin(message(&stand, "01")).await;
    // The end of the process sends what is left.
    assert!(stand.process.stop(PATIENCE).await.unwrap().success());
    assert!(collector.spans().is_empty(), "{}", collector.shown());
    let (collector, stand) = started(1).await;
    Box::pin(message(&stand, "00")).await;
    assert!(!collector.until(4).await.iter().any(is_foreign));
}
