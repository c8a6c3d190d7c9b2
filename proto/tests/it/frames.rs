//! Frames that no honest peer sends: each ends its stream, and nothing of it reaches the owner.

use std::time::Duration;

use bytes::Bytes;
use entente_core::{FaultKind, SessionId};
use entente_proto::edge::{BATCH_ITEMS, CloseReason, STREAM_BATCHES, ToEdge};
use entente_proto::wire::MESSAGE_BYTES;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::bench::{Bench, Way, router, soon};
use crate::services::{Attached, Owners};

/// A frame as this test writes it, with every field that a batch or an item may have.
#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(message, optional, tag = "1")]
    attach: Option<Attach>,
    #[prost(message, optional, tag = "2")]
    batch: Option<Batch>,
    #[prost(uint32, optional, tag = "3")]
    grant: Option<u32>,
    /// Of a later version.
    #[prost(bytes = "bytes", optional, tag = "99")]
    later: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Attach {
    #[prost(fixed64, tag = "1")]
    edge: u64,
    #[prost(uint32, tag = "2")]
    shard: u32,
    #[prost(string, tag = "99")]
    later: String,
}

#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Item>,
}

#[derive(Clone, PartialEq, Message)]
struct Item {
    #[prost(fixed64, tag = "1")]
    session: u64,
    #[prost(message, optional, tag = "3")]
    bind: Option<Account>,
    #[prost(message, optional, tag = "5")]
    detach: Option<Nothing>,
    #[prost(message, optional, tag = "10")]
    resume: Option<Resume>,
    #[prost(bytes = "bytes", optional, tag = "12")]
    submit: Option<Bytes>,
    /// Of a later version.
    #[prost(message, optional, tag = "99")]
    later: Option<Nothing>,
}

#[derive(Clone, PartialEq, Message)]
struct Account {
    #[prost(uint32, tag = "1")]
    partner: u32,
    #[prost(uint64, tag = "2")]
    number: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct Resume {
    #[prost(message, optional, tag = "1")]
    account: Option<Account>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    resume: Option<Bytes>,
}

/// What the server sends; what is in a batch is not looked at.
#[derive(Clone, PartialEq, Message)]
struct Heard {
    #[prost(message, optional, tag = "1")]
    batch: Option<Nothing>,
    #[prost(uint32, optional, tag = "2")]
    grant: Option<u32>,
}

fn hello() -> Frame {
    Frame {
        attach: Some(Attach {
            edge: 5,
            shard: 6,
            later: "unknown fields are skipped".to_owned(),
        }),
        ..Frame::default()
    }
}

fn detach() -> Item {
    Item {
        session: 1,
        detach: Some(Nothing {}),
        ..Item::default()
    }
}

fn batch(items: Vec<Item>) -> Frame {
    Frame {
        batch: Some(Batch { items }),
        ..Frame::default()
    }
}

fn one(item: Item) -> Frame {
    batch(vec![item])
}

fn grant(batches: u32) -> Frame {
    Frame {
        grant: Some(batches),
        ..Frame::default()
    }
}

struct Raw {
    frames: mpsc::Sender<Frame>,
    heard: Streaming<Heard>,
    owner: Attached,
    _bench: Bench,
}

async fn call(bench: &Bench, frames: mpsc::Receiver<Frame>) -> Result<Streaming<Heard>, Status> {
    let mut grpc = tonic::client::Grpc::new(bench.channel.clone());
    grpc.ready()
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/entente.v1.Router/Attach");
    let codec = tonic_prost::ProstCodec::<Frame, Heard>::default();
    let request = Request::new(ReceiverStream::new(frames));
    Ok(grpc.streaming(request, path, codec).await?.into_inner())
}

async fn raw() -> Raw {
    let (owners, mut handed) = Owners::new();
    let (_, bench) = router(Way::Wire, owners).await;
    let bench = bench.unwrap();
    let (frames, sent) = mpsc::channel(256);
    frames.send(hello()).await.unwrap();
    let heard = soon(call(&bench, sent)).await.unwrap();
    let owner = soon(handed.recv()).await.unwrap();
    Raw {
        frames,
        heard,
        owner,
        _bench: bench,
    }
}

impl Raw {
    /// The owner hears that the edge is gone, and nothing else; the peer hears why.
    async fn refused(mut self) -> Status {
        let (_, items) = soon(self.owner.inbox.recv()).await.unwrap();
        assert!(items.is_empty(), "{items:?}");
        let status = async {
            loop {
                match self.heard.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the stream ends with a status"),
                    Err(status) => return status,
                }
            }
        };
        soon(status).await
    }
}

fn label(status: &Status) -> Option<&str> {
    status.metadata().get("entente-fault")?.to_str().ok()
}

/// The twin of all that follows: what is well formed is taken.
#[tokio::test]
async fn well_formed_frames_are_taken() {
    let mut raw = raw().await;
    let first = soon(raw.heard.message()).await.unwrap().unwrap();
    assert_eq!(first.grant, Some(64));
    raw.frames.send(grant(64)).await.unwrap();
    let full = batch(vec![detach(); BATCH_ITEMS]);
    raw.frames.send(full).await.unwrap();
    let (stream, items) = soon(raw.owner.inbox.recv()).await.unwrap();
    assert_eq!((stream.edge.0, items.len()), (5, BATCH_ITEMS));
}

#[tokio::test]
async fn malformed_frames_end_the_stream() {
    let account = |partner| Account { partner, number: 1 };
    let bind = |partner| Item {
        bind: Some(account(partner)),
        ..Item::default()
    };
    // The key is a message of one field of bytes: tag 1, length, bytes.
    let short_key = Bytes::from_static(b"\x0a\x03abc");
    let bad = [
        hello(),
        batch(Vec::new()),
        batch(vec![detach(); BATCH_ITEMS + 1]),
        one(Item::default()),
        one(bind(0)),
        one(bind(65_536)),
        one(Item {
            resume: Some(Resume {
                account: Some(account(1)),
                resume: Some(short_key),
            }),
            ..Item::default()
        }),
        one(Item {
            resume: Some(Resume {
                account: Some(account(1)),
                resume: None,
            }),
            ..Item::default()
        }),
        one(Item {
            later: Some(Nothing {}),
            ..Item::default()
        }),
        batch(vec![detach(), Item::default()]),
        Frame {
            later: Some(Bytes::from_static(b"later")),
            ..Frame::default()
        },
    ];
    for frame in bad {
        let mut raw = raw().await;
        // After the first grant, so that the frame alone is at fault.
        soon(raw.heard.message()).await.unwrap().unwrap();
        raw.frames.send(frame.clone()).await.unwrap();
        let status = raw.refused().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{frame:?}");
        let kind = FaultKind::PeerMisbehaved.label();
        assert_eq!(label(&status), Some(kind), "{frame:?}");
    }
}

/// T142: garbage, an empty record and a record without a seal.
#[tokio::test]
async fn envelopes_without_a_seal_end_the_stream() {
    for record in [&b""[..], b"garbage", &[1; 200]] {
        let mut raw = raw().await;
        soon(raw.heard.message()).await.unwrap().unwrap();
        let item = Item {
            submit: Some(Bytes::copy_from_slice(record)),
            ..Item::default()
        };
        raw.frames.send(batch(vec![detach(), item])).await.unwrap();
        let status = raw.refused().await;
        assert_eq!(label(&status), Some(FaultKind::Unauthenticated.label()));
    }
}

#[tokio::test]
async fn a_stream_that_does_not_begin_with_attach_is_refused() {
    for first in [grant(1), one(detach()), Frame::default()] {
        let (owners, mut handed) = Owners::new();
        let (_, bench) = router(Way::Wire, owners).await;
        let (frames, sent) = mpsc::channel(4);
        frames.send(first).await.unwrap();
        let status = soon(call(bench.as_ref().unwrap(), sent)).await.unwrap_err();
        assert_eq!(label(&status), Some(FaultKind::PeerMisbehaved.label()));
        assert!(handed.try_recv().is_err(), "the owner was not asked");
    }
}

/// A sender that does not wait for grants is cut off; the owner has what was granted.
#[tokio::test]
async fn overdrawn_credit_ends_the_stream() {
    let mut raw = raw().await;
    for _ in 0..=4 * STREAM_BATCHES {
        // The stream may end while this still sends.
        let _ended = raw.frames.send(one(detach())).await;
    }
    let mut taken = 0;
    while let Some((_, items)) = soon(raw.owner.inbox.recv()).await {
        if items.is_empty() {
            break;
        }
        taken += items.len();
    }
    assert!(taken <= 3 * STREAM_BATCHES, "{taken}");
    let status = async {
        loop {
            if let Err(status) = raw.heard.message().await {
                return status;
            }
        }
    };
    let status = soon(status).await;
    assert_eq!(label(&status), Some(FaultKind::PeerMisbehaved.label()));
}

/// The owner's side sends what was granted and not one batch more.
#[tokio::test]
async fn nothing_is_sent_without_a_grant() {
    let mut raw = raw().await;
    soon(raw.heard.message()).await.unwrap().unwrap();
    for at in 0..60 {
        let session = SessionId::new(at);
        let item = ToEdge::Closed {
            session,
            why: CloseReason::Stalled,
        };
        soon(raw.owner.to_edge.send(vec![item])).await.unwrap();
    }
    for batches in [0, 1, 10, 49] {
        raw.frames.send(grant(batches)).await.unwrap();
        for _ in 0..batches {
            let frame = soon(raw.heard.message()).await.unwrap().unwrap();
            assert!(frame.batch.is_some());
        }
        let more = timeout(Duration::from_millis(300), raw.heard.message()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

#[tokio::test]
async fn a_grant_beyond_the_window_ends_the_stream() {
    for grants in [vec![65], vec![64, 1], vec![u32::MAX], vec![1, u32::MAX]] {
        let raw = raw().await;
        for batches in grants {
            raw.frames.send(grant(batches)).await.unwrap();
        }
        let status = raw.refused().await;
        assert_eq!(label(&status), Some(FaultKind::PeerMisbehaved.label()));
    }
}

/// T134: a message beyond the limit is refused by its length, before it is read.
#[tokio::test]
async fn an_oversized_message_ends_the_stream() {
    let mut raw = raw().await;
    soon(raw.heard.message()).await.unwrap().unwrap();
    let item = Item {
        submit: Some(vec![0; MESSAGE_BYTES].into()),
        ..Item::default()
    };
    raw.frames.send(one(item)).await.unwrap();
    let (_, items) = soon(raw.owner.inbox.recv()).await.unwrap();
    assert!(items.is_empty());
}
