//! The router over gRPC: one bidirectional stream for each edge and shard.
//!
//! The edge's side answers [`Router::attach`] with an ordinary [`EdgeStream`] and pumps it over the
//! wire; the owner's side attaches to a local router and pumps back.
//!
//! **Invariants**
//! - An attach is answered after the owner has taken the edge, or with the owner's fault.
//! - However a stream ends, the owner is told by the empty batch, unless it was the owner who ended
//!   it; and the edge's `to_edge` ends.

use std::time::Duration;

use async_trait::async_trait;
use entente_core::{Fault, SealKey, ShardId};
use entente_node::Tasks;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::RouterClient;
use crate::edge::{
    BATCH_ITEMS, EdgeId, EdgeSender, EdgeStream, Inbound, Router, STREAM_BATCHES, StreamId, ToEdge,
};
use crate::wire::fault::{BAD_ANSWER, BAD_REQUEST, ENDING, LATE, NOT_TAKEN, fault_of, status_of};
use crate::wire::generated as proto;
use crate::wire::generated::router_client::RouterClient as Generated;
use crate::wire::pump::{End, Event, LAST_WORDS, OUT_FRAMES, Over, Pump};
use crate::wire::seats::{Seat, Seats};
use crate::wire::{CALL_DEADLINE, MESSAGE_BYTES, items};

/// How long a caller may take to say who it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// How long an owner may take to let go of an edge that is gone: it reads its inbox many times a
/// second, and an attach of the same edge waits for this.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(5);

// === The edge's side ===

/// A router behind a channel.
#[derive(Debug)]
pub(super) struct Remote {
    client: Generated<Channel>,
    seal: SealKey,
    tasks: Tasks,
}

impl Remote {
    pub(super) fn new(channel: Channel, seal: SealKey, tasks: Tasks) -> Self {
        let client = Generated::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        Self {
            client,
            seal,
            tasks,
        }
    }
}

#[async_trait]
impl Router for Remote {
    async fn attach(&self, edge: EdgeId, shard: ShardId) -> Result<EdgeStream, Fault> {
        let (out, frames) = mpsc::channel(OUT_FRAMES);
        let hello = proto::Attach {
            edge: edge.0,
            shard: shard.index(),
        };
        let first = edge_frame(proto::edge_frame::Frame::Attach(hello));
        out.try_send(first).map_err(|_| ENDING)?;
        let mut client = self.client.clone();
        let opening = client.attach(ReceiverStream::new(frames));
        // Attaching twice does no harm, so a late answer is one to try again after.
        let mut inbound = timeout(CALL_DEADLINE, opening)
            .await
            .map_err(|_| NOT_TAKEN)?
            .map_err(|status| fault_of(&status))?
            .into_inner();
        let (to_router, source) = mpsc::channel(STREAM_BATCHES);
        let (sink, to_edge) = mpsc::channel(STREAM_BATCHES);
        let end = EdgeEnd {
            seal: self.seal.clone(),
        };
        let stop = (self.tasks.cancelled(), ENDING);
        let mut pump = Pump::new(end, source, sink, out, stop);
        self.tasks.spawn("router stream, edge side", async move {
            let over = pump.run(&mut inbound).await;
            // Without a sender the request ends, and without the rest the edge knows.
            drop(pump);
            if over == Over::Local {
                // Dropping the response resets the stream, and last words with it: the other side
                // ends it when it has them.
                let rest = async { while let Ok(Some(_)) = inbound.message().await {} };
                let _ended_or_late = timeout(LAST_WORDS, rest).await;
            }
        });
        Ok(EdgeStream {
            to_router: EdgeSender::new(StreamId { edge, number: 0 }, to_router),
            to_edge,
        })
    }
}

struct EdgeEnd {
    seal: SealKey,
}

impl End for EdgeEnd {
    type Source = Inbound;
    type Sink = Vec<ToEdge>;
    type Item = proto::ToRouter;
    type Out = proto::EdgeFrame;
    type In = proto::OwnerFrame;
    /// As with a local stream: an edge that has nothing to say may still listen.
    const ENDS_WITH_SOURCE: bool = false;

    fn items(&self, (_, batch): Inbound) -> Vec<proto::ToRouter> {
        let write = |item| items::to_router(item, &self.seal);
        batch.into_iter().map(write).collect()
    }

    fn batch(items: Vec<proto::ToRouter>) -> proto::EdgeFrame {
        edge_frame(proto::edge_frame::Frame::Batch(proto::ToRouterBatch {
            items,
        }))
    }

    fn grant(batches: u32) -> proto::EdgeFrame {
        edge_frame(proto::edge_frame::Frame::Grant(batches))
    }

    fn read(&self, frame: proto::OwnerFrame) -> Result<Event<Vec<ToEdge>>, Fault> {
        match frame.frame.ok_or(BAD_ANSWER)? {
            proto::owner_frame::Frame::Batch(batch) if fits(batch.items.len()) => {
                let read: Result<_, _> = batch.items.into_iter().map(items::read_to_edge).collect();
                read.map(Event::Batch).map_err(|_| BAD_ANSWER)
            }
            proto::owner_frame::Frame::Batch(_) => Err(BAD_ANSWER),
            proto::owner_frame::Frame::Grant(batches) => Ok(Event::Grant(batches)),
        }
    }
}

const fn edge_frame(frame: proto::edge_frame::Frame) -> proto::EdgeFrame {
    proto::EdgeFrame { frame: Some(frame) }
}

/// An empty batch would pass for the end of the edge.
const fn fits(items: usize) -> bool {
    items > 0 && items <= BATCH_ITEMS
}

// === The owner's side ===

/// A local router as a gRPC service. Clones share its seats.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    router: RouterClient,
    seal: SealKey,
    tasks: Tasks,
    seats: Seats,
}

impl Serving {
    pub(super) fn new(router: RouterClient, seal: SealKey, tasks: Tasks) -> Self {
        Self {
            router,
            seal,
            tasks,
            seats: Seats::default(),
        }
    }

    async fn open(
        &self,
        mut inbound: Streaming<proto::EdgeFrame>,
    ) -> Result<mpsc::Receiver<Result<proto::OwnerFrame, Status>>, Fault> {
        let hello = timeout(HELLO_PATIENCE, inbound.message())
            .await
            .map_err(|_| LATE)?
            .map_err(|_| BAD_REQUEST)?;
        let Some(proto::edge_frame::Frame::Attach(hello)) = hello.and_then(|hello| hello.frame)
        else {
            return Err(BAD_REQUEST);
        };
        let (edge, shard) = (EdgeId(hello.edge), ShardId::new(hello.shard));
        let ending = self.tasks.cancelled();
        let seat = self.seats.take(edge, shard, &ending).await?;
        let stream = timeout(CALL_DEADLINE, self.router.attach(edge, shard))
            .await
            .map_err(|_| NOT_TAKEN)??;
        let (out, frames) = mpsc::channel(OUT_FRAMES);
        let (id, inbox) = stream.to_router.into_inbox();
        let end = OwnerEnd {
            stream: id,
            seal: self.seal.clone(),
        };
        let pump = Pump::new(end, stream.to_edge, inbox, out, (seat.stop.clone(), ENDING));
        let stream = carry(id, pump, inbound, seat, ending);
        self.tasks.spawn("router stream, owner side", stream);
        Ok(frames)
    }
}

/// Runs one stream, tells each side of its end, and then gives the seat up.
async fn carry(
    stream: StreamId,
    mut pump: Pump<OwnerEnd>,
    mut inbound: Streaming<proto::EdgeFrame>,
    seat: Seat,
    ending: CancellationToken,
) {
    let over = pump.run(&mut inbound).await;
    let Pump {
        mut source,
        sink,
        out,
        ..
    } = pump;
    if let Over::Fault(fault) = over {
        // The caller may be gone or take nothing; its own keepalive tells it then.
        let _unheard = timeout(LAST_WORDS, out.send(Err(status_of(fault)))).await;
    }
    drop(out);
    drop(inbound);
    if over != Over::Local {
        // The owner answers an empty batch by dropping its sender; until it has, an attach of the
        // same edge would be taken for the one that ended.
        let farewell = async {
            if sink.send((stream, Vec::new())).await.is_ok() {
                while source.recv().await.is_some() {}
            }
        };
        let patient = timeout(FAREWELL_PATIENCE, farewell);
        let _gone_or_late = ending.run_until_cancelled(patient).await;
    }
    drop(seat);
}

#[async_trait]
impl proto::router_server::Router for Serving {
    type AttachStream = ReceiverStream<Result<proto::OwnerFrame, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<proto::EdgeFrame>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        // A caller that goes away meanwhile must not leave the seat half taken, or an owner with an
        // edge that nobody told it the end of: the opening is always carried through.
        let serving = self.clone();
        let inbound = request.into_inner();
        let opening = self.tasks.spawn("router stream opening", async move {
            serving.open(inbound).await
        });
        let frames = opening.await.map_err(|_| status_of(ENDING))?;
        let frames = frames.map_err(status_of)?;
        Ok(Response::new(ReceiverStream::new(frames)))
    }
}

struct OwnerEnd {
    stream: StreamId,
    seal: SealKey,
}

impl End for OwnerEnd {
    type Source = Vec<ToEdge>;
    type Sink = Inbound;
    type Item = proto::ToEdge;
    type Out = Result<proto::OwnerFrame, Status>;
    type In = proto::EdgeFrame;
    /// An owner that let go of the edge says nothing more.
    const ENDS_WITH_SOURCE: bool = true;

    fn items(&self, batch: Vec<ToEdge>) -> Vec<proto::ToEdge> {
        batch.into_iter().map(items::to_edge).collect()
    }

    fn batch(items: Vec<proto::ToEdge>) -> Self::Out {
        let batch = proto::ToEdgeBatch { items };
        Ok(owner_frame(proto::owner_frame::Frame::Batch(batch)))
    }

    fn grant(batches: u32) -> Self::Out {
        Ok(owner_frame(proto::owner_frame::Frame::Grant(batches)))
    }

    fn read(&self, frame: proto::EdgeFrame) -> Result<Event<Inbound>, Fault> {
        match frame.frame.ok_or(BAD_REQUEST)? {
            proto::edge_frame::Frame::Batch(batch) if fits(batch.items.len()) => {
                let read = |item| items::read_to_router(item, &self.seal);
                let items: Result<_, _> = batch.items.into_iter().map(read).collect();
                Ok(Event::Batch((self.stream, items?)))
            }
            proto::edge_frame::Frame::Attach(_) | proto::edge_frame::Frame::Batch(_) => {
                Err(BAD_REQUEST)
            }
            proto::edge_frame::Frame::Grant(batches) => Ok(Event::Grant(batches)),
        }
    }
}

const fn owner_frame(frame: proto::owner_frame::Frame) -> proto::OwnerFrame {
    proto::OwnerFrame { frame: Some(frame) }
}
