//! One stream: order, back-pressure, and all the ways in which it ends.

use std::time::Duration;

use bytes::Bytes;
use entente_core::{
    Class, Content, Envelope, Epoch, Fault, FaultKind, Position, SealKey, SessionId, ShardId,
    Timestamp,
};
use entente_proto::RouterClient;
use entente_proto::edge::{EdgeId, EdgeStream, STREAM_BATCHES, ToEdge, ToRouter};
use entente_proto::wire::MESSAGE_BYTES;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE, WAYS, Way, account, router, soon};
use crate::services::{Attached, Owners};

const EDGE: EdgeId = EdgeId(1);
const SHARD: ShardId = ShardId::new(5);
/// Longer than anything that is under way takes on a busy machine.
const QUIET: Duration = Duration::from_secs(1);
/// Batches between a sender and a receiver that takes nothing: what each side keeps for its local
/// neighbour, what is granted, and what is in the frames' hands.
const MOST_UNDER_WAY: u64 = 4 * STREAM_BATCHES as u64;

struct Ends {
    stream: EdgeStream,
    owner: Attached,
    handed: mpsc::Receiver<Attached>,
    router: RouterClient,
    bench: Option<Bench>,
}

async fn attached(way: Way) -> Ends {
    let (owners, mut handed) = Owners::new();
    let (router, bench) = router(way, owners).await;
    let stream = soon(router.attach(EDGE, SHARD)).await.unwrap();
    let owner = soon(handed.recv()).await.unwrap();
    Ends {
        stream,
        owner,
        handed,
        router,
        bench,
    }
}

fn up(session: u64, position: u64) -> ToRouter {
    ToRouter::Handled {
        session: SessionId::new(session),
        position: Position::new(position),
    }
}

fn down(session: u64, position: u64) -> ToEdge {
    ToEdge::Handled {
        session: SessionId::new(session),
        through: Position::new(position),
    }
}

fn submit(payload: usize) -> ToRouter {
    let envelope = Envelope {
        from: account(1, 2),
        from_device: 1,
        to: account(3, 4),
        epoch: Epoch::new(1),
        position: Position::new(1),
        class: Class::Durable,
        id: Bytes::from_static(b"id"),
        wants_receipt: false,
        trace: None,
        admitted: Timestamp::from_millis(1),
        expires: Timestamp::from_millis(2),
        payload: vec![b'x'; payload].into(),
    };
    ToRouter::Submit {
        session: SessionId::new(1),
        envelope: Arc::new(envelope),
    }
}

/// The owner's next batch; none once its inbox is closed.
async fn heard(owner: &mut Attached) -> Option<Vec<ToRouter>> {
    soon(owner.inbox.recv()).await.map(|(_, items)| items)
}

#[tokio::test]
async fn items_of_a_session_keep_their_order() {
    for way in WAYS {
        let mut ends = attached(way).await;
        let to_router = ends.stream.to_router.clone();
        let to_edge = ends.owner.to_edge.clone();
        let send = async {
            for batch in 0..300 {
                let run = 0..7;
                let items = run.clone().map(|at| up(at % 3, batch * 7 + at)).collect();
                to_router.send(items).await.unwrap();
                let items = run.map(|at| down(at % 3, batch * 7 + at)).collect();
                to_edge.send(items).await.unwrap();
            }
        };
        let hear = async {
            let mut next = 0;
            while next < 2100 {
                for item in heard(&mut ends.owner).await.unwrap() {
                    assert_eq!(item, up(next % 7 % 3, next), "{way:?}");
                    next += 1;
                }
            }
        };
        let read = async {
            let mut next = 0;
            while next < 2100 {
                for item in ends.stream.to_edge.recv().await.unwrap() {
                    assert_eq!(item, down(next % 7 % 3, next), "{way:?}");
                    next += 1;
                }
            }
        };
        soon(async { tokio::join!(send, hear, read) }).await;
    }
}

/// An owner that takes nothing stops the edge, loses nothing, and does not
/// stop what goes the other way.
#[tokio::test]
async fn an_owner_that_takes_nothing_stops_the_edge() {
    for way in WAYS {
        let mut ends = attached(way).await;
        let mut sent = 0;
        while timeout(QUIET, ends.stream.to_router.send(vec![up(1, sent)]))
            .await
            .is_ok()
        {
            sent += 1;
            assert!(sent <= MOST_UNDER_WAY, "{way:?}");
        }
        assert!(sent >= 64, "{way:?}: the window is used: {sent}");
        for at in 0..500 {
            soon(ends.owner.to_edge.send(vec![down(1, at)]))
                .await
                .unwrap();
            let items = soon(ends.stream.to_edge.recv()).await.unwrap();
            assert_eq!(items, [down(1, at)], "{way:?}");
        }
        for at in 0..sent {
            assert_eq!(
                heard(&mut ends.owner).await,
                Some(vec![up(1, at)]),
                "{way:?}"
            );
        }
        soon(ends.stream.to_router.send(vec![up(2, 0)]))
            .await
            .unwrap();
        assert_eq!(
            heard(&mut ends.owner).await,
            Some(vec![up(2, 0)]),
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn an_edge_that_takes_nothing_stops_the_owner() {
    for way in WAYS {
        let mut ends = attached(way).await;
        let mut sent = 0;
        while timeout(QUIET, ends.owner.to_edge.send(vec![down(1, sent)]))
            .await
            .is_ok()
        {
            sent += 1;
            assert!(sent <= MOST_UNDER_WAY, "{way:?}");
        }
        assert!(sent >= 64, "{way:?}: the window is used: {sent}");
        for at in 0..500 {
            soon(ends.stream.to_router.send(vec![up(1, at)]))
                .await
                .unwrap();
            assert_eq!(
                heard(&mut ends.owner).await,
                Some(vec![up(1, at)]),
                "{way:?}"
            );
        }
        for at in 0..sent {
            let items = soon(ends.stream.to_edge.recv()).await.unwrap();
            assert_eq!(items, [down(1, at)], "{way:?}");
        }
    }
}

#[tokio::test]
async fn an_attach_that_is_refused_says_why() {
    for way in WAYS {
        let (owners, mut handed) = Owners::new();
        let (router, _bench) = router(way, owners.clone()).await;
        let fault = Fault::new(
            FaultKind::Unavailable,
            "the owner of the account is not available",
        );
        *owners.refuse.lock() = Some(fault);
        let refused = soon(router.attach(EDGE, SHARD)).await;
        assert_eq!(refused.err(), Some(fault), "{way:?}");
        *owners.refuse.lock() = None;
        soon(router.attach(EDGE, SHARD)).await.unwrap();
        assert_eq!(soon(handed.recv()).await.unwrap().shard, SHARD);
    }
}

#[tokio::test]
async fn an_owner_that_lets_go_is_heard_to_the_end() {
    for way in WAYS {
        let Ends {
            mut stream,
            owner,
            bench: _bench,
            ..
        } = attached(way).await;
        for at in 0..20 {
            owner.to_edge.send(vec![down(1, at)]).await.unwrap();
        }
        drop(owner);
        for at in 0..20 {
            let items = soon(stream.to_edge.recv()).await;
            assert_eq!(items, Some(vec![down(1, at)]), "{way:?}");
        }
        assert_eq!(soon(stream.to_edge.recv()).await, None, "{way:?}");
        let sending = async { while stream.to_router.send(vec![up(1, 1)]).await.is_ok() {} };
        soon(sending).await;
    }
}

#[tokio::test]
async fn the_last_words_of_an_edge_arrive() {
    for way in WAYS {
        let mut ends = attached(way).await;
        for at in 0..40 {
            let said = ends.stream.to_router.send(vec![up(1, at)]).await;
            said.unwrap();
        }
        drop(ends.stream);
        for at in 0..40 {
            assert_eq!(
                heard(&mut ends.owner).await,
                Some(vec![up(1, at)]),
                "{way:?}"
            );
        }
        if way == Way::Wire {
            assert_eq!(
                heard(&mut ends.owner).await,
                Some(vec![]),
                "the edge is gone"
            );
        } else {
            soon(ends.owner.to_edge.closed()).await;
        }
    }
}

#[tokio::test]
async fn a_cut_connection_is_told_to_both_ends_and_can_be_mended() {
    let mut ends = attached(Way::Wire).await;
    ends.bench.as_ref().unwrap().cut();
    assert_eq!(soon(ends.stream.to_edge.recv()).await, None);
    assert!(ends.stream.to_router.send(vec![up(1, 1)]).await.is_err());
    assert_eq!(heard(&mut ends.owner).await, Some(vec![]));
    drop(ends.owner);
    let again = async {
        loop {
            if let Ok(stream) = ends.router.attach(EDGE, SHARD).await {
                return stream;
            }
        }
    };
    let stream = soon(again).await;
    let mut owner = soon(ends.handed.recv()).await.unwrap();
    stream.to_router.send(vec![up(2, 2)]).await.unwrap();
    assert_eq!(heard(&mut owner).await, Some(vec![up(2, 2)]));
}

#[tokio::test]
async fn a_server_that_ends_tells_both_ends() {
    let mut ends = attached(Way::Wire).await;
    let bench = ends.bench.unwrap();
    let finished = bench.server.finish(Duration::ZERO);
    // The listener itself does not end by this; its streams do.
    assert!(finished.await.is_err());
    assert_eq!(soon(ends.stream.to_edge.recv()).await, None);
    soon(ends.owner.to_edge.closed()).await;
}

#[tokio::test]
async fn a_client_that_ends_tells_both_ends() {
    let mut ends = attached(Way::Wire).await;
    let bench = ends.bench.unwrap();
    bench.client.finish(PATIENCE).await.unwrap();
    assert_eq!(ends.stream.to_edge.recv().await, None);
    assert_eq!(heard(&mut ends.owner).await, Some(vec![]));
}

/// The owner's farewell to the old stream must not be taken for one to the new stream.
#[tokio::test]
async fn a_new_stream_of_the_same_edge_begins_after_the_old_one() {
    let mut ends = attached(Way::Wire).await;
    let router = ends.router.clone();
    let attaching = tokio::join!(
        async { soon(router.attach(EDGE, SHARD)).await.unwrap() },
        async {
            assert_eq!(heard(&mut ends.owner).await, Some(vec![]));
            let early = ends.handed.try_recv();
            assert!(early.is_err(), "the old owner's end still stands");
            drop(ends.owner);
            soon(ends.handed.recv()).await.unwrap()
        }
    );
    let (stream, mut owner) = attaching;
    assert_eq!(soon(ends.stream.to_edge.recv()).await, None);
    stream.to_router.send(vec![up(2, 2)]).await.unwrap();
    assert_eq!(heard(&mut owner).await, Some(vec![up(2, 2)]));
}

/// T142: an envelope that another key sealed ends the stream before anything of its batch is taken.
#[tokio::test]
async fn an_envelope_under_another_seal_is_refused() {
    let mut ends = attached(Way::Wire).await;
    ends.stream.to_router.send(vec![submit(10)]).await.unwrap();
    assert_eq!(heard(&mut ends.owner).await, Some(vec![submit(10)]));
    let bench = ends.bench.as_ref().unwrap();
    let forger = SealKey::new(&[8; 32]);
    let forger = RouterClient::remote(bench.channel.clone(), forger, bench.client.clone());
    let mut stream = soon(forger.attach(EdgeId(2), SHARD)).await.unwrap();
    let mut owner = soon(ends.handed.recv()).await.unwrap();
    let batch = vec![up(1, 1), submit(10)];
    stream.to_router.send(batch).await.unwrap();
    assert_eq!(heard(&mut owner).await, Some(vec![]));
    assert_eq!(soon(stream.to_edge.recv()).await, None);
}

/// T134: large stanzas are carried, one each frame if need be; what no message may hold ends the
/// stream at its sender.
#[tokio::test]
async fn what_no_message_may_hold_is_not_sent() {
    let mut ends = attached(Way::Wire).await;
    let large = vec![submit(256 * 1024); 20];
    ends.stream.to_router.send(large.clone()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < large.len() {
        seen.extend(heard(&mut ends.owner).await.unwrap());
    }
    assert_eq!(seen, large);
    let content = Content::Stanza(vec![b'x'; 256 * 1024].into());
    let large = ToEdge::Deliver {
        session: SessionId::new(1),
        position: Position::new(1),
        sequence: None,
        content,
        delayed: None,
        trace: None,
    };
    ends.owner
        .to_edge
        .send(vec![large.clone(); 9])
        .await
        .unwrap();
    let mut seen = Vec::new();
    while seen.len() < 9 {
        seen.extend(soon(ends.stream.to_edge.recv()).await.unwrap());
    }
    assert_eq!(seen, vec![large; 9]);
    let larger = vec![submit(MESSAGE_BYTES)];
    ends.stream.to_router.send(larger).await.unwrap();
    assert_eq!(heard(&mut ends.owner).await, Some(vec![]));
    assert_eq!(soon(ends.stream.to_edge.recv()).await, None);
}

/// An edge that gives up while its stream is opened leaves nothing behind at the owner.
#[tokio::test]
async fn an_opening_that_is_given_up_is_ended_at_the_owner() {
    let mut ends = attached(Way::Wire).await;
    let router = ends.router.clone();
    // The first stream is not let go of yet, so this waits.
    let opening = router.attach(EDGE, SHARD);
    let farewell = heard(&mut ends.owner);
    tokio::select! {
        _ = opening => panic!("the old stream still stands"),
        items = farewell => assert_eq!(items, Some(vec![])),
    }
    drop(ends.owner);
    let mut owner = soon(ends.handed.recv()).await.unwrap();
    assert_eq!(heard(&mut owner).await, Some(vec![]));
}
