//! Owners and intake over gRPC: unary calls with a deadline.
//!
//! **Invariants**
//! - Unless the service itself said what became of an append, its outcome is unknown.

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{Epoch, Fault, Offset, ShardId, Timestamp};
use prost::Message;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::intake::{Ephemeral, Intake, Taken, Topic};
use crate::owners::Owners;
use crate::wire::fault::{BAD_ANSWER, BAD_REQUEST, LATE, TOO_LARGE, said_of, status_of};
use crate::wire::generated as proto;
use crate::wire::generated::intake_client::IntakeClient as GeneratedIntake;
use crate::wire::generated::owners_client::OwnersClient as GeneratedOwners;
use crate::wire::words::bad_request;
use crate::wire::{CALL_DEADLINE, MESSAGE_BYTES, Malformed, call, words};
use crate::{IntakeClient, OwnersClient};

/// Most shards that a node is believed to own: more than a deployment may have.
const MAX_SHARDS: usize = 4_096;

/// What a node owns, behind a channel.
#[derive(Debug)]
pub(super) struct RemoteOwners(GeneratedOwners<Channel>);

impl RemoteOwners {
    pub(super) fn new(channel: Channel) -> Self {
        Self(GeneratedOwners::new(channel))
    }
}

#[async_trait]
impl Owners for RemoteOwners {
    async fn owned(&self) -> Result<Vec<(ShardId, Epoch)>, Fault> {
        let mut client = self.0.clone();
        let ask = proto::OwnedRequest {};
        let answer = call(ask, async |request| client.owned(request).await).await?;
        if answer.shards.len() > MAX_SHARDS {
            return Err(BAD_ANSWER);
        }
        let owned = answer.shards.iter();
        let owned = owned.map(|each| (ShardId::new(each.shard), Epoch::new(each.epoch)));
        Ok(owned.collect())
    }
}

/// What a node owns, as a gRPC service.
#[derive(Debug)]
pub(super) struct ServingOwners(pub(super) OwnersClient);

#[async_trait]
impl proto::owners_server::Owners for ServingOwners {
    async fn owned(
        &self,
        _: Request<proto::OwnedRequest>,
    ) -> Result<Response<proto::OwnedShards>, Status> {
        let owned = self.0.owned().await.map_err(status_of)?;
        let shards = owned.into_iter().map(|(shard, epoch)| proto::OwnedShard {
            shard: shard.index(),
            epoch: epoch.value(),
        });
        let shards = shards.collect();
        Ok(Response::new(proto::OwnedShards { shards }))
    }
}

/// An intake behind a channel.
#[derive(Debug)]
pub(super) struct RemoteIntake(GeneratedIntake<Channel>);

impl RemoteIntake {
    pub(super) fn new(channel: Channel) -> Self {
        Self(
            GeneratedIntake::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES)
                .max_encoding_message_size(MESSAGE_BYTES),
        )
    }
}

#[async_trait]
impl Intake for RemoteIntake {
    async fn append(
        &self,
        topic: Topic,
        partition: u32,
        records: Vec<Bytes>,
    ) -> Result<Taken, Fault> {
        let topic = match topic {
            Topic::Input => proto::Topic::Input,
            Topic::Wake => proto::Topic::Wake,
        };
        let batch = proto::AppendRequest {
            topic: topic.into(),
            partition,
            records,
        };
        if batch.encoded_len() > MESSAGE_BYTES {
            return Err(TOO_LARGE);
        }
        let mut request = Request::new(batch);
        request.set_timeout(CALL_DEADLINE);
        let mut client = self.0.clone();
        match timeout(CALL_DEADLINE, client.append(request)).await {
            Ok(Ok(answer)) => Ok(read_taken(answer.get_ref())),
            Ok(Err(status)) => Err(said_of(&status).unwrap_or(LATE)),
            Err(_) => Err(LATE),
        }
    }

    async fn pass(&self, shard: ShardId, stanzas: Vec<Ephemeral>) -> Result<(), Fault> {
        let mut client = self.0.clone();
        let stanzas = stanzas.into_iter().map(|stanza| proto::Ephemeral {
            from: Some(words::account(stanza.from)),
            to: Some(words::account(stanza.to)),
            payload: stanza.payload,
        });
        let pass = proto::PassRequest {
            shard: shard.index(),
            stanzas: stanzas.collect(),
        };
        call(pass, async |request| client.pass(request).await).await?;
        Ok(())
    }
}

/// A local intake as a gRPC service.
#[derive(Debug)]
pub(super) struct ServingIntake(pub(super) IntakeClient);

#[async_trait]
impl proto::intake_server::Intake for ServingIntake {
    async fn append(
        &self,
        request: Request<proto::AppendRequest>,
    ) -> Result<Response<proto::Taken>, Status> {
        let batch = request.into_inner();
        let topic = match batch.topic() {
            proto::Topic::Input => Topic::Input,
            proto::Topic::Wake => Topic::Wake,
            proto::Topic::Unspecified => return Err(status_of(BAD_REQUEST)),
        };
        if batch.records.is_empty() {
            return Err(status_of(BAD_REQUEST));
        }
        let taken = self.0.append(topic, batch.partition, batch.records).await;
        let taken = taken.map_err(status_of)?;
        Ok(Response::new(proto::Taken {
            first: taken.first.value(),
            last: taken.last.value(),
            at: taken.at.millis(),
        }))
    }

    async fn pass(
        &self,
        request: Request<proto::PassRequest>,
    ) -> Result<Response<proto::Done>, Status> {
        let pass = request.into_inner();
        let stanzas = pass.stanzas.into_iter().map(read_ephemeral);
        let stanzas: Result<Vec<_>, Malformed> = stanzas.collect();
        let stanzas = stanzas.map_err(bad_request)?;
        let passed = self.0.pass(ShardId::new(pass.shard), stanzas).await;
        passed.map_err(status_of)?;
        Ok(Response::new(proto::Done {}))
    }
}

fn read_ephemeral(stanza: proto::Ephemeral) -> Result<Ephemeral, Malformed> {
    Ok(Ephemeral {
        from: words::read_account(stanza.from)?,
        to: words::read_account(stanza.to)?,
        payload: stanza.payload,
    })
}

fn read_taken(taken: &proto::Taken) -> Taken {
    Taken {
        first: Offset::new(taken.first),
        last: Offset::new(taken.last),
        at: Timestamp::from_millis(taken.at),
    }
}
