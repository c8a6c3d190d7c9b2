//! The directory over gRPC: each call of the trait is one unary call with a deadline.

use async_trait::async_trait;
use entente_core::{
    AccountFacts, AccountId, Bundle, Enlisted, Enlistment, Fault, PartnerId, PrekeyCount,
    PrekeyUpload, VisibleId,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::DirectoryClient;
use crate::directory::{BlockChange, Directory};
use crate::wire::fault::status_of;
use crate::wire::generated as proto;
use crate::wire::generated::directory_client::DirectoryClient as Generated;
use crate::wire::words::{bad_answer, bad_request, subject};
use crate::wire::{MESSAGE_BYTES, call, keys, words};

/// A directory behind a channel.
#[derive(Debug)]
pub(super) struct Remote {
    client: Generated<Channel>,
}

impl Remote {
    pub(super) fn new(channel: Channel) -> Self {
        let client = Generated::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        Self { client }
    }

    fn client(&self) -> Generated<Channel> {
        self.client.clone()
    }
}

#[async_trait]
impl Directory for Remote {
    async fn account(&self, account: AccountId) -> Result<Option<AccountFacts>, Fault> {
        let mut client = self.client();
        let of = words::of_account(account);
        let answer = call(of, async |request| client.facts(request).await).await?;
        let facts = answer.facts.as_ref().map(words::read_facts).transpose();
        facts.map_err(bad_answer)
    }

    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault> {
        let mut client = self.client();
        let of = words::of_account(account);
        let answer = call(of, async |request| client.list_blocked(request).await).await?;
        words::read_accounts(answer.accounts).map_err(bad_answer)
    }

    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault> {
        let mut client = self.client();
        let change = words::change(account, change);
        call(change, async |request| client.change_blocked(request).await).await?;
        Ok(())
    }

    async fn enlist(&self, enlistment: Enlistment) -> Result<Enlisted, Fault> {
        let mut client = self.client();
        let enlistment = keys::enlistment(enlistment);
        let answer = call(enlistment, async |request| client.enlist(request).await).await?;
        keys::read_enlisted(answer).map_err(bad_answer)
    }

    async fn lookup(
        &self,
        partner: PartnerId,
        visible: &VisibleId,
    ) -> Result<Option<AccountId>, Fault> {
        let mut client = self.client();
        let lookup = proto::LookupRequest {
            partner: partner.number().into(),
            visible: visible.as_str().to_owned(),
        };
        let answer = call(lookup, async |request| client.lookup(request).await).await?;
        let found = answer
            .account
            .map(|account| words::read_account(Some(account)));
        found.transpose().map_err(bad_answer)
    }

    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault> {
        let mut client = self.client();
        let of = words::of_account(account);
        let answer = call(of, async |request| client.count_prekeys(request).await).await?;
        Ok(keys::read_count(answer))
    }

    async fn take_bundle(&self, target: AccountId) -> Result<Bundle, Fault> {
        let mut client = self.client();
        let of = words::of_account(target);
        let answer = call(of, async |request| client.take_bundle(request).await).await?;
        keys::read_bundle(answer).map_err(bad_answer)
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

/// A local directory as a gRPC service.
#[derive(Debug)]
pub(super) struct Serving {
    directory: DirectoryClient,
}

impl Serving {
    pub(super) const fn new(directory: DirectoryClient) -> Self {
        Self { directory }
    }
}

#[async_trait]
impl proto::directory_server::Directory for Serving {
    async fn facts(
        &self,
        request: Request<proto::OfAccount>,
    ) -> Result<Response<proto::FactsAnswer>, Status> {
        let facts = self.directory.account(subject(request)?).await;
        let facts = facts.map_err(status_of)?.as_ref().map(words::facts);
        Ok(Response::new(proto::FactsAnswer { facts }))
    }

    async fn list_blocked(
        &self,
        request: Request<proto::OfAccount>,
    ) -> Result<Response<proto::Blocked>, Status> {
        let accounts = self.directory.blocked(subject(request)?).await;
        let accounts = accounts.map_err(status_of)?;
        Ok(Response::new(words::blocked(accounts)))
    }

    async fn change_blocked(
        &self,
        request: Request<proto::ChangeBlockedRequest>,
    ) -> Result<Response<proto::Done>, Status> {
        let (account, change) = words::read_change(request.into_inner()).map_err(bad_request)?;
        let done = self.directory.change_blocked(account, change).await;
        done.map_err(status_of)?;
        Ok(Response::new(proto::Done {}))
    }

    async fn enlist(
        &self,
        request: Request<proto::Enlistment>,
    ) -> Result<Response<proto::Enlisted>, Status> {
        let enlistment = keys::read_enlistment(request.into_inner()).map_err(bad_request)?;
        let enlisted = self.directory.enlist(enlistment).await.map_err(status_of)?;
        Ok(Response::new(keys::enlisted(enlisted)))
    }

    async fn lookup(
        &self,
        request: Request<proto::LookupRequest>,
    ) -> Result<Response<proto::LookupAnswer>, Status> {
        let lookup = request.into_inner();
        let partner = words::read_partner(lookup.partner).map_err(bad_request)?;
        let visible = words::read_visible(&lookup.visible).map_err(bad_request)?;
        let account = self.directory.lookup(partner, &visible).await;
        let account = account.map_err(status_of)?.map(words::account);
        Ok(Response::new(proto::LookupAnswer { account }))
    }

    async fn count_prekeys(
        &self,
        request: Request<proto::OfAccount>,
    ) -> Result<Response<proto::PrekeyCount>, Status> {
        let count = self.directory.prekey_count(subject(request)?).await;
        Ok(Response::new(keys::count(count.map_err(status_of)?)))
    }

    async fn take_bundle(
        &self,
        request: Request<proto::OfAccount>,
    ) -> Result<Response<proto::Bundle>, Status> {
        let bundle = self.directory.take_bundle(subject(request)?).await;
        Ok(Response::new(keys::bundle(bundle.map_err(status_of)?)))
    }

    async fn unenlist(
        &self,
        request: Request<proto::OfAccount>,
    ) -> Result<Response<proto::Done>, Status> {
        let done = self.directory.unenlist(subject(request)?).await;
        done.map_err(status_of)?;
        Ok(Response::new(proto::Done {}))
    }

    async fn upload(
        &self,
        request: Request<proto::UploadRequest>,
    ) -> Result<Response<proto::PrekeyCount>, Status> {
        let (account, keys) = keys::read_upload(request.into_inner()).map_err(bad_request)?;
        let count = self.directory.upload(account, keys).await;
        Ok(Response::new(keys::count(count.map_err(status_of)?)))
    }
}
