//! Wake-ups for sampled messages: what spans say of them, and whose they are.

use entente_core::TraceContext;
use entente_trace::{Outcome, Span, Stage};

use crate::receiver::{Receiver, Reply};
use crate::rig::{Life, World, account};

fn message(number: u8) -> TraceContext {
    TraceContext {
        trace_id: [number; 16],
        span_id: [number; 8],
        flags: 1,
    }
}

/// The next spans of the service, in the order in which they ended.
async fn spans<const N: usize>(life: &mut Life) -> [Span; N] {
    let mut spans = Vec::new();
    while spans.len() < N {
        spans.push(life.spans.recv().await.unwrap());
    }
    spans.try_into().unwrap()
}

fn is_child(span: &Span, of: &Span) -> bool {
    span.trace_id == of.trace_id && span.parent == Some(of.span_id)
}

/// Each attempt is a span of the message's trace, with the status that the partner answered with.
/// The partner learns nothing of the trace.
#[tokio::test]
async fn a_wake_up_for_a_sampled_message_goes_on_with_its_trace() {
    let (world, partner) = (World::new(), Receiver::start().await);
    world.partners.set(1, &partner.base("v1"), true);
    partner.script([Reply::Status(500)]);
    let mut life = world.start();
    world.wake_for(account(1, 6), 1, Some(message(7))).await;
    let [consume, first, second] = spans(&mut life).await;
    assert_eq!(
        (consume.stage, consume.outcome),
        (Stage::Consume, Outcome::Done)
    );
    assert_eq!((consume.trace_id, consume.parent), ([7; 16], Some([7; 8])));
    for request in [&first, &second] {
        assert_eq!(request.stage, Stage::Request);
        assert!(is_child(request, &consume) && request.links.is_empty());
    }
    assert_eq!(
        (first.status, first.outcome),
        (Some(500), Outcome::Unfinished)
    );
    assert_eq!((second.status, second.outcome), (Some(200), Outcome::Done));
    world.wake(account(1, 4), 2).await;
    let calls = partner.until_calls(3).await;
    for header in ["traceparent", "tracestate", "baggage"] {
        assert!(calls.iter().all(|call| !call.headers.contains_key(header)));
    }
    assert!(life.spans.try_recv().is_err(), "the second was not sampled");
    life.finish().await;
}

/// Of several sampled messages, one wake-up is for all: a child of the first, linked to the others.
#[tokio::test]
async fn one_wake_up_for_several_messages_links_them() {
    let (world, partner) = (World::new(), Receiver::start().await);
    world.partners.set(1, &partner.base("v1"), true);
    for number in 1..=3 {
        let trace = Some(message(number));
        world
            .wake_for(account(1, 6), u64::from(number), trace)
            .await;
    }
    let mut life = world.start();
    let [first, second, third, request] = spans(&mut life).await;
    let traces = [&first, &second, &third].map(|span| span.trace_id);
    assert_eq!(traces, [[1; 16], [2; 16], [3; 16]]);
    assert!(is_child(&request, &first));
    let links: Vec<_> = request.links.iter().map(|link| link.span_id).collect();
    assert_eq!(links, [second.span_id, third.span_id]);
    assert_eq!(request.outcome, Outcome::Done);
    life.finish().await;
    assert_eq!(partner.calls().len(), 1);
}
