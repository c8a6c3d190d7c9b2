//! The identity service over gRPC: unary calls with a deadline, and revocations as a server stream.
//!
//! **Invariants**
//! - No login is granted to a caller that does not hear of revocations at that time.
//! - What a client proves itself with is in no `Debug` output, and wiped where it is a token.

use std::pin::Pin;

use async_trait::async_trait;
use entente_core::{AccountId, Bundle, Fault, PrekeyCount, PrekeyUpload, Secret, Timestamp};
use entente_node::Tasks;
use futures::{Stream, StreamExt, stream};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::IdentityClient;
use crate::directory::BlockChange;
use crate::identity::{Credential, FastToken, Grounds, Identity, LoggedIn, Revocation};
use crate::wire::fault::status_of;
use crate::wire::generated as proto;
use crate::wire::generated::identity_client::IdentityClient as Generated;
use crate::wire::revocations::{Ear, notice, standing};
use crate::wire::words::{bad_answer, bad_request, subject};
use crate::wire::{MESSAGE_BYTES, Malformed, call, keys, words};

/// An identity service behind a channel.
#[derive(Debug)]
pub(super) struct Remote {
    client: Generated<Channel>,
    ear: Ear,
}

impl Remote {
    pub(super) fn new(channel: Channel, tasks: &Tasks) -> Self {
        let client = Generated::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let ear = Ear::listen(client.clone(), tasks);
        Self { client, ear }
    }

    fn client(&self) -> Generated<Channel> {
        self.client.clone()
    }
}

#[async_trait]
impl Identity for Remote {
    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault> {
        let mut client = self.client();
        let of = words::of_account(account);
        let answer = call(of, async |request| client.blocked(request).await).await?;
        words::read_accounts(answer.accounts).map_err(bad_answer)
    }

    async fn bundle(&self, requester: AccountId, target: AccountId) -> Result<Bundle, Fault> {
        let mut client = self.client();
        let wanted = proto::BundleRequest {
            requester: Some(words::account(requester)),
            target: Some(words::account(target)),
        };
        let answer = call(wanted, async |request| client.take_bundle(request).await).await?;
        keys::read_bundle(answer).map_err(bad_answer)
    }

    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault> {
        let mut client = self.client();
        let change = words::change(account, change);
        call(change, async |request| client.change_blocked(request).await).await?;
        Ok(())
    }

    async fn issue_fast(&self, account: AccountId) -> Result<FastToken, Fault> {
        let mut client = self.client();
        let of = words::of_account(account);
        let answer = call(of, async |request| client.issue_fast(request).await).await?;
        Ok(FastToken {
            token: answer.token.into_boxed_str(),
            expires: Timestamp::from_millis(answer.expires),
        })
    }

    async fn login(&self, account: AccountId, credential: Credential) -> Result<LoggedIn, Fault> {
        let heard = self.ear.hears().await?;
        let mut client = self.client();
        let credential = match credential {
            Credential::Fast { token, proof } => {
                proto::login_request::Credential::Fast(proto::FastProof {
                    token: token.into_string(),
                    proof: Vec::from(proof).into(),
                })
            }
            Credential::Token(token) => {
                proto::login_request::Credential::Token(token.expose().clone())
            }
        };
        let login = proto::LoginRequest {
            account: Some(words::account(account)),
            credential: Some(credential),
        };
        let answer = call(login, async |request| client.login(request).await).await?;
        // A revocation that fell into a gap could not end the session that begins now.
        heard.still()?;
        read_logged_in(answer).map_err(bad_answer)
    }

    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault> {
        let mut client = self.client();
        let of = words::of_account(account);
        let answer = call(of, async |request| client.count_prekeys(request).await).await?;
        Ok(keys::read_count(answer))
    }

    /// Of nobody: who hears through this one misses what it misses.
    fn grounds(&self) -> Grounds {
        Grounds::new()
    }

    fn revocations(&self) -> broadcast::Receiver<Revocation> {
        self.ear.subscribe()
    }

    async fn unenlist(&self, account: AccountId) -> Result<(), Fault> {
        let mut client = self.client();
        let of = words::of_account(account);
        call(of, async |request| client.unenlist(request).await).await?;
        Ok(())
    }

    async fn upload(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault> {
        let mut client = self.client();
        let upload = keys::upload(account, keys);
        let answer = call(upload, async |request| client.upload(request).await).await?;
        Ok(keys::read_count(answer))
    }
}

fn read_logged_in(answer: proto::LoggedIn) -> Result<LoggedIn, Malformed> {
    Ok(LoggedIn {
        facts: words::read_facts(answer.facts.as_ref().ok_or(Malformed)?)?,
        kid: answer.kid.into_boxed_str(),
        responder: answer.responder.map(|bytes| bytes.to_vec().into()),
    })
}

/// A local identity service as a gRPC service.
#[derive(Debug)]
pub(super) struct Serving {
    identity: IdentityClient,
    ending: CancellationToken,
}

impl Serving {
    pub(super) const fn new(identity: IdentityClient, ending: CancellationToken) -> Self {
        Self { identity, ending }
    }
}

#[async_trait]
impl proto::identity_server::Identity for Serving {
    async fn blocked(
        &self,
        request: Request<proto::OfAccount>,
    ) -> Result<Response<proto::Blocked>, Status> {
        let accounts = self.identity.blocked(subject(request)?).await;
        let accounts = accounts.map_err(status_of)?;
        Ok(Response::new(words::blocked(accounts)))
    }

    async fn take_bundle(
        &self,
        request: Request<proto::BundleRequest>,
    ) -> Result<Response<proto::Bundle>, Status> {
        let wanted = request.into_inner();
        let requester = words::read_account(wanted.requester).map_err(bad_request)?;
        let target = words::read_account(wanted.target).map_err(bad_request)?;
        let bundle = self.identity.bundle(requester, target).await;
        Ok(Response::new(keys::bundle(bundle.map_err(status_of)?)))
    }

    async fn change_blocked(
        &self,
        request: Request<proto::ChangeBlockedRequest>,
    ) -> Result<Response<proto::Done>, Status> {
        let (account, change) = words::read_change(request.into_inner()).map_err(bad_request)?;
        let done = self.identity.change_blocked(account, change).await;
        done.map_err(status_of)?;
        Ok(Response::new(proto::Done {}))
    }

    async fn issue_fast(
        &self,
        request: Request<proto::OfAccount>,
    ) -> Result<Response<proto::FastToken>, Status> {
        let fast = self.identity.issue_fast(subject(request)?).await;
        let fast = fast.map_err(status_of)?;
        Ok(Response::new(proto::FastToken {
            token: fast.token.into_string(),
            expires: fast.expires.millis(),
        }))
    }

    async fn login(
        &self,
        request: Request<proto::LoginRequest>,
    ) -> Result<Response<proto::LoggedIn>, Status> {
        let login = request.into_inner();
        let account = words::read_account(login.account).map_err(bad_request)?;
        let credential = login.credential.ok_or_else(|| bad_request(Malformed))?;
        let credential = match credential {
            proto::login_request::Credential::Fast(fast) => Credential::Fast {
                token: fast.token.into_boxed_str(),
                proof: fast.proof.to_vec().into(),
            },
            proto::login_request::Credential::Token(token) => Credential::Token(Secret::new(token)),
        };
        let granted = self.identity.login(account, credential).await;
        let granted = granted.map_err(status_of)?;
        Ok(Response::new(proto::LoggedIn {
            facts: Some(words::facts(&granted.facts)),
            kid: granted.kid.into_string(),
            responder: granted.responder.map(|bytes| Vec::from(bytes).into()),
        }))
    }

    async fn count_prekeys(
        &self,
        request: Request<proto::OfAccount>,
    ) -> Result<Response<proto::PrekeyCount>, Status> {
        let count = self.identity.prekey_count(subject(request)?).await;
        Ok(Response::new(keys::count(count.map_err(status_of)?)))
    }

    type RevocationsStream =
        Pin<Box<dyn Stream<Item = Result<proto::RevocationNotice, Status>> + Send>>;

    async fn revocations(
        &self,
        _: Request<proto::RevocationsRequest>,
    ) -> Result<Response<Self::RevocationsStream>, Status> {
        // Subscribed before the response begins: the caller counts from its headers.
        let notices = BroadcastStream::new(self.identity.revocations());
        let first = standing(&self.identity.grounds());
        let identity = self.identity.clone();
        let notices = notices.flat_map(move |heard| {
            stream::iter([notice(heard.ok()), standing(&identity.grounds())])
        });
        let notices = stream::iter([first]).chain(notices).map(Ok);
        let ended = self.ending.clone().cancelled_owned();
        Ok(Response::new(Box::pin(notices.take_until(ended))))
    }

    async fn unenlist(
        &self,
        request: Request<proto::OfAccount>,
    ) -> Result<Response<proto::Done>, Status> {
        let done = self.identity.unenlist(subject(request)?).await;
        done.map_err(status_of)?;
        Ok(Response::new(proto::Done {}))
    }

    async fn upload(
        &self,
        request: Request<proto::UploadRequest>,
    ) -> Result<Response<proto::PrekeyCount>, Status> {
        let (account, keys) = keys::read_upload(request.into_inner()).map_err(bad_request)?;
        let count = self.identity.upload(account, keys).await;
        Ok(Response::new(keys::count(count.map_err(status_of)?)))
    }
}
