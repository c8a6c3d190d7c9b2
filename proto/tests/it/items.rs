//! Every item arrives as it was sent.

use std::sync::Arc;

use bytes::Bytes;
use entente_core::{
    AccountId, Class, Content, Delivered, Envelope, Epoch, FailReason, Failed, Fault, FaultKind,
    PartnerId, Position, Sequence, SessionId, ShardId, Timestamp, TraceContext,
};
use entente_proto::edge::{
    BATCH_ITEMS, CloseReason, EdgeId, Management, Refusal, Report, ResumeKey, ToEdge, ToRouter,
    Unacked, Unresumable,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::bench::{Way, router, soon};
use crate::services::Owners;

fn account() -> impl Strategy<Value = AccountId> {
    (1..=u16::MAX, any::<u64>()).prop_map(|(partner, number)| {
        AccountId::new(PartnerId::new(partner).expect("not zero"), number)
    })
}

fn session() -> impl Strategy<Value = SessionId> {
    any::<u64>().prop_map(SessionId::new)
}

fn position() -> impl Strategy<Value = Position> {
    any::<u64>().prop_map(Position::new)
}

fn text(longest: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..longest).prop_map(Bytes::from)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_millis)
}

fn key() -> impl Strategy<Value = ResumeKey> {
    any::<[u8; 16]>().prop_map(ResumeKey)
}

fn trace() -> impl Strategy<Value = TraceContext> {
    (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u8>()).prop_map(|(trace_id, span_id, flags)| {
        TraceContext {
            trace_id,
            span_id,
            flags,
        }
    })
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let stamps = (account(), any::<u16>(), account(), any::<u64>(), position());
    let class = prop_oneof![Just(Class::Durable), Just(Class::Ephemeral)];
    let rest = (class, text(256), any::<bool>(), option::of(trace()));
    (stamps, rest, time(), time(), text(2000)).prop_map(
        |(stamps, rest, admitted, expires, payload)| Envelope {
            from: stamps.0,
            from_device: stamps.1,
            to: stamps.2,
            epoch: Epoch::new(stamps.3),
            position: stamps.4,
            class: rest.0,
            id: rest.1,
            wants_receipt: rest.2,
            trace: rest.3,
            admitted,
            expires,
            payload,
        },
    )
}

fn sequence() -> impl Strategy<Value = Sequence> {
    any::<u64>().prop_map(Sequence::new)
}

fn refusal() -> impl Strategy<Value = Refusal> {
    (position(), position(), text(256), account(), fault()).prop_map(
        |(position, inbound, id, to, fault)| Refusal {
            position,
            inbound,
            id,
            to,
            fault,
        },
    )
}

fn report() -> impl Strategy<Value = Report> {
    let management =
        (position(), position(), option::of(key())).prop_map(|(inbound, outbound, resume)| {
            Management {
                inbound,
                outbound,
                resume,
            }
        });
    let unacked =
        (position(), sequence(), any::<u32>()).prop_map(|(position, sequence, cost)| Unacked {
            position,
            sequence,
            cost,
        });
    let who = (account(), any::<u64>(), option::of(management));
    let flow = (any::<bool>(), any::<u32>(), sequence(), sequence());
    let counts = [position(), position(), position()];
    let open = (vec(unacked, 0..20), vec(refusal(), 0..4));
    (who, flow, counts, open).prop_map(|(who, flow, [handled, sent, acked], open)| Report {
        account: who.0,
        epoch: Epoch::new(who.1),
        management: who.2,
        started: flow.0,
        credit: flow.1,
        handled,
        sent,
        acked,
        delivered: flow.2,
        settled: flow.3,
        unacked: open.0,
        refusals: open.1,
    })
}

fn to_router() -> impl Strategy<Value = ToRouter> {
    prop_oneof![
        (session(), position()).prop_map(|(session, through)| ToRouter::Acked { session, through }),
        (session(), account()).prop_map(|(session, account)| ToRouter::Bind { session, account }),
        (session(), any::<u32>()).prop_map(|(session, bytes)| ToRouter::Credit { session, bytes }),
        session().prop_map(|session| ToRouter::Detach { session }),
        (session(), position(), option::of(key())).prop_map(|(session, inbound, resume)| {
            ToRouter::Enable {
                session,
                inbound,
                resume,
            }
        }),
        session().prop_map(|session| ToRouter::End { session }),
        (session(), position())
            .prop_map(|(session, position)| ToRouter::Handled { session, position }),
        session().prop_map(|session| ToRouter::Local { session }),
        (session(), report()).prop_map(|(session, report)| ToRouter::Reattach {
            session,
            report: Box::new(report)
        }),
        (session(), account(), key(), any::<u32>()).prop_map(|(session, account, resume, h)| {
            ToRouter::Resume {
                session,
                account,
                resume,
                h,
            }
        }),
        session().prop_map(|session| ToRouter::Start { session }),
        (session(), envelope()).prop_map(|(session, envelope)| ToRouter::Submit {
            session,
            envelope: Arc::new(envelope)
        }),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    let why = prop_oneof![
        Just(FailReason::Expired),
        Just(FailReason::MailboxFull),
        Just(FailReason::Undeliverable)
    ];
    prop_oneof![
        (account(), vec(text(256), 0..20), time())
            .prop_map(|(by, ids, at)| Content::Delivered(Delivered { by, ids, at })),
        (account(), text(256), why).prop_map(|(to, id, why)| Content::Failed(Failed {
            to,
            id,
            why
        })),
        account().prop_map(|of| Content::IdentityChanged { of }),
        text(2000).prop_map(Content::Stanza),
    ]
}

/// Texts that both sides know.
fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::new(
            FaultKind::NotFound,
            "the account is not enlisted"
        )),
        Just(Fault::new(
            FaultKind::Overloaded,
            "the gateway cannot store this now"
        )),
        Just(Fault::new(
            FaultKind::Unavailable,
            "the owner of the account is not available"
        )),
    ]
}

fn to_edge() -> impl Strategy<Value = ToEdge> {
    let close = prop_oneof![
        Just(CloseReason::Conflict),
        Just(CloseReason::Full),
        Just(CloseReason::Revoked),
        Just(CloseReason::Stalled),
        Just(CloseReason::Unavailable)
    ];
    let why = prop_oneof![Just(Unresumable::BadCount), Just(Unresumable::Unknown)];
    let epoch = any::<u64>().prop_map(Epoch::new);
    prop_oneof![
        (session(), any::<u64>(), any::<u32>()).prop_map(|(session, epoch, waiting)| {
            ToEdge::Bound {
                session,
                epoch: Epoch::new(epoch),
                waiting,
            }
        }),
        (session(), close).prop_map(|(session, why)| ToEdge::Closed { session, why }),
        (
            session(),
            position(),
            option::of(sequence()),
            content(),
            option::of(time()),
            option::of(trace())
        )
            .prop_map(|(session, position, sequence, content, delayed, trace)| {
                ToEdge::Deliver {
                    session,
                    position,
                    sequence,
                    content,
                    delayed,
                    trace,
                }
            }),
        (session(), position(), position()).prop_map(|(session, inbound, outbound)| {
            ToEdge::Enabled {
                session,
                inbound,
                outbound,
            }
        }),
        (session(), position()).prop_map(|(session, through)| ToEdge::Handled { session, through }),
        session().prop_map(|session| ToEdge::Reattached { session }),
        (session(), refusal()).prop_map(|(session, refusal)| ToEdge::Refused { session, refusal }),
        (
            session(),
            epoch,
            [position(), position(), position(), position()]
        )
            .prop_map(|(session, epoch, [handled, inbound, outbound, acked])| {
                ToEdge::Resumed {
                    session,
                    epoch,
                    handled,
                    inbound,
                    outbound,
                    acked,
                }
            }),
        (session(), position()).prop_map(|(session, position)| ToEdge::Slot { session, position }),
        (session(), option::of(any::<u32>()), why)
            .prop_map(|(session, h, why)| ToEdge::Unresumable { session, h, why }),
    ]
}

const EDGE: EdgeId = EdgeId(0xfedc_ba98_7654_3210);

/// Batches may be split on the way; nothing else may happen to them.
fn all_arrive(way: Way) {
    let runtime = Runtime::new().unwrap();
    let (owners, mut handed) = Owners::new();
    let (router, bench) = runtime.block_on(router(way, owners));
    let stream = runtime.block_on(soon(router.attach(EDGE, ShardId::new(3))));
    let (to_router, edge_inbox) = stream.map(|s| (s.to_router, s.to_edge)).unwrap();
    let owner = handed.try_recv().unwrap();
    assert_eq!((owner.edge, owner.shard), (EDGE, ShardId::new(3)));
    let to_edge_sender = owner.to_edge;
    let inboxes = Mutex::new((owner.inbox, edge_inbox));
    let cases = ProptestConfig::with_cases(48);
    let mut runner = proptest::test_runner::TestRunner::new(cases);
    let up = vec(to_router_or_many(), 1..20).prop_map(|lists| lists.concat());
    let down = vec(to_edge(), 1..2 * BATCH_ITEMS);
    runner
        .run(&(up, down), |(up, down)| {
            runtime.block_on(soon(async {
                let (owner_inbox, edge_inbox) = &mut *inboxes.lock().await;
                to_router.send(up.clone()).await.unwrap();
                to_edge_sender.send(down.clone()).await.unwrap();
                let mut seen = Vec::new();
                while seen.len() < up.len() {
                    let (stream, items) = owner_inbox.recv().await.unwrap();
                    assert_eq!(stream.edge, EDGE);
                    assert!(way == Way::Local || items.len() <= BATCH_ITEMS);
                    seen.extend(items);
                }
                assert_eq!(seen, up);
                let mut seen = Vec::new();
                while seen.len() < down.len() {
                    let items = edge_inbox.recv().await.unwrap();
                    assert!(way == Way::Local || items.len() <= BATCH_ITEMS);
                    seen.extend(items);
                }
                assert_eq!(seen, down);
            }));
            Ok(())
        })
        .unwrap();
    drop(bench);
}

fn to_router_or_many() -> impl Strategy<Value = Vec<ToRouter>> {
    prop_oneof![
        3 => vec(to_router(), 1..4),
        1 => (to_router(), 1..BATCH_ITEMS).prop_map(|(item, times)| vec![item; times]),
    ]
}

#[test]
fn every_item_arrives_as_it_was_sent_local() {
    all_arrive(Way::Local);
}

#[test]
fn every_item_arrives_as_it_was_sent_over_the_wire() {
    all_arrive(Way::Wire);
}
