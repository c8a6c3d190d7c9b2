//! Questions of a person on call over gRPC: unary calls with a deadline.

use async_trait::async_trait;
use entente_core::{Fault, MAX_STANZA_ID_BYTES, ShardId};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::InspectClient;
use crate::inspect::{Inspect, Question};
use crate::wire::generated as proto;
use crate::wire::generated::inspect_client::InspectClient as Generated;
use crate::wire::generated::inspect_request::About;
use crate::wire::words::bad_request;
use crate::wire::{MESSAGE_BYTES, Malformed, call, words};

/// Whoever answers, behind a channel.
#[derive(Debug)]
pub(super) struct Remote(Generated<Channel>);

impl Remote {
    pub(super) fn new(channel: Channel) -> Self {
        Self(Generated::new(channel).max_decoding_message_size(MESSAGE_BYTES))
    }
}

#[async_trait]
impl Inspect for Remote {
    async fn inspect(&self, question: Question) -> Result<String, Fault> {
        let about = match question {
            Question::Device(account) => About::Device(words::account(account)),
            Question::Quarantine(shard) => About::Quarantine(shard.index()),
            Question::Shard(shard) => About::Shard(shard.index()),
            Question::Stanza {
                from,
                from_device,
                to,
                id,
            } => About::Stanza(proto::InspectStanza {
                from: Some(words::account(from)),
                from_device: from_device.into(),
                to: Some(words::account(to)),
                id,
            }),
        };
        let ask = proto::InspectRequest { about: Some(about) };
        let mut client = self.0.clone();
        let answer = call(ask, async |request| client.ask(request).await).await?;
        Ok(answer.json)
    }
}

/// Whoever answers, as a gRPC service.
#[derive(Debug)]
pub(super) struct Serving(pub(super) InspectClient);

#[async_trait]
impl proto::inspect_server::Inspect for Serving {
    async fn ask(
        &self,
        request: Request<proto::InspectRequest>,
    ) -> Result<Response<proto::InspectAnswer>, Status> {
        let question = read(request.into_inner()).map_err(bad_request)?;
        let answer = self.0.inspect(question).await;
        let json = answer.map_err(super::fault::status_of)?;
        Ok(Response::new(proto::InspectAnswer { json }))
    }
}

fn read(request: proto::InspectRequest) -> Result<Question, Malformed> {
    Ok(match request.about.ok_or(Malformed)? {
        About::Device(account) => Question::Device(words::read_account(Some(account))?),
        About::Quarantine(shard) => Question::Quarantine(ShardId::new(shard)),
        About::Shard(shard) => Question::Shard(ShardId::new(shard)),
        About::Stanza(stanza) if stanza.id.len() <= MAX_STANZA_ID_BYTES => Question::Stanza {
            from: words::read_account(stanza.from)?,
            from_device: u16::try_from(stanza.from_device).map_err(|_| Malformed)?,
            to: words::read_account(stanza.to)?,
            id: stanza.id,
        },
        About::Stanza(_) => return Err(Malformed),
    })
}
