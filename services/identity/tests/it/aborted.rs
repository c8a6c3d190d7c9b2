//! An enlistment that ends in the middle, at each place where it waits.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{
    AccountFacts, AccountId, Bundle, Enlisted, Enlistment, Fault, PartnerId, PrekeyCount,
    PrekeyUpload, Timestamp, VisibleId,
};
use entente_egress::test::Answers;
use entente_egress::{EgressError, Http, Request as HttpRequest, Response};
use entente_identity::test::{Claims, Client, Issuer, MemoryDirectory, body};
use entente_identity::{Algorithm, Built, Clock, build};
use entente_node::Metrics;
use entente_proto::Directory;
use entente_proto::directory::BlockChange;
use entente_table::{Key, MemoryTable, Rate, Table, TableError, Taken};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::Value;
use tokio::task::{JoinSet, yield_now};

use crate::bench::{AUDIENCE, NOW, PartnersFile, account, both, config, deps, form_request};
use crate::bench::{partner, reason};

/// More waits than an enlistment has.
const MOST_POLLS: usize = 200;

/// Waits once before and once after each call, as a call over a network does: what is dropped
/// before never happened, what is dropped after happened and nobody was told.
#[derive(Debug)]
struct Slow<P>(Arc<P>);

#[async_trait]
impl Directory for Slow<MemoryDirectory> {
    async fn account(&self, account: AccountId) -> Result<Option<AccountFacts>, Fault> {
        self.0.account(account).await
    }

    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault> {
        self.0.blocked(account).await
    }

    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault> {
        self.0.change_blocked(account, change).await
    }

    async fn enlist(&self, enlistment: Enlistment) -> Result<Enlisted, Fault> {
        yield_now().await;
        let enlisted = self.0.enlist(enlistment).await;
        yield_now().await;
        enlisted
    }

    async fn lookup(
        &self,
        partner: PartnerId,
        visible: &VisibleId,
    ) -> Result<Option<AccountId>, Fault> {
        self.0.lookup(partner, visible).await
    }

    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault> {
        self.0.prekey_count(account).await
    }

    async fn take_bundle(&self, target: AccountId) -> Result<Bundle, Fault> {
        self.0.take_bundle(target).await
    }

    async fn unenlist(&self, account: AccountId) -> Result<(), Fault> {
        self.0.unenlist(account).await
    }

    async fn upload(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault> {
        self.0.upload(account, keys).await
    }
}

#[async_trait]
impl Table for Slow<MemoryTable> {
    async fn insert_if_absent(
        &self,
        key: &Key,
        value: Bytes,
        life: Duration,
    ) -> Result<bool, TableError> {
        yield_now().await;
        let inserted = self.0.insert_if_absent(key, value, life).await;
        yield_now().await;
        inserted
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>, TableError> {
        yield_now().await;
        let found = self.0.get(key).await;
        yield_now().await;
        found
    }

    async fn put(&self, key: &Key, value: Bytes, life: Duration) -> Result<(), TableError> {
        self.0.put(key, value, life).await
    }

    async fn remove(&self, key: &Key) -> Result<bool, TableError> {
        self.0.remove(key).await
    }

    async fn take(&self, key: &Key, rate: Rate) -> Result<Taken, TableError> {
        yield_now().await;
        let taken = self.0.take(key, rate).await;
        yield_now().await;
        taken
    }
}

#[async_trait]
impl Http for Slow<Answers> {
    async fn send(&self, request: HttpRequest) -> Result<Response, EgressError> {
        yield_now().await;
        let answer = self.0.send(request).await;
        yield_now().await;
        answer
    }
}

/// One life of the process.
struct Life {
    built: Built,
    _file: PartnersFile,
    _tasks: JoinSet<()>,
}

impl Life {
    fn new(directory: &Arc<MemoryDirectory>, table: &Arc<MemoryTable>, keys: &str) -> Self {
        let keys = keys.to_owned();
        let http = Answers::new(move |_| Ok(Response::json(keys.clone())));
        let file = PartnersFile::new(&both(""));
        let clock = Clock::new(|| Timestamp::from_secs(NOW));
        let deps = deps(
            Arc::new(Slow(Arc::clone(directory))),
            Arc::new(Slow(Arc::clone(table))),
            Arc::new(Slow(Arc::new(http))),
            clock,
            &Metrics::new(),
        );
        let built = build(&config(&file), deps).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&built.jwks).run());
        Self {
            built,
            _file: file,
            _tasks: tasks,
        }
    }

    /// Posts a form that arrives in three parts, and goes away after so many polls.
    async fn post(&self, form: &str, polls: usize) -> Option<Value> {
        let (head, rest) = form.split_at(form.len() / 3);
        let (middle, tail) = rest.split_at(rest.len() / 2);
        let parts = [head, middle, tail].map(|part| Bytes::copy_from_slice(part.as_bytes()));
        let parts = futures::stream::unfold(parts.into_iter(), |mut parts| async {
            yield_now().await;
            let frame = Ok::<_, Infallible>(Frame::data(parts.next()?));
            Some((frame, parts))
        });
        let request = form_request("/3p/interop_reg?partner=7")
            .body(BodyExt::boxed_unsync(StreamBody::new(Box::pin(parts))))
            .unwrap();
        let answer = polled(self.built.enlist.answer(request), polls).await?;
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Some(serde_json::from_slice(&body).unwrap())
    }

    async fn posted(&self, form: &str) -> Value {
        self.post(form, usize::MAX).await.unwrap()
    }
}

/// Polls a future so often at most, then drops it where it is.
async fn polled<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn check(polls: usize, killed: bool) -> bool {
    let issuer = Issuer::new(Algorithm::Es256, "k1");
    let keys = Issuer::set(&[&issuer]);
    let directory = Arc::new(MemoryDirectory::default());
    let table = Arc::new(MemoryTable::default());
    let claims = Claims::new("https://id7.example", AUDIENCE, "ada", NOW);
    let token = issuer.token(&claims);
    let form = body(&Client::new(1).fields(&token));
    let mut life = Life::new(&directory, &table, &keys);
    let first = life.post(&form, polls).await;
    if killed {
        // What was in memory is gone with the process; the directory is what the log holds.
        table.wipe();
        life = Life::new(&directory, &table, &keys);
    }
    let login = account(&life.posted(&form).await);
    assert_eq!(
        account(&life.posted(&form).await),
        login,
        "after {polls} polls"
    );
    if let Some(first) = &first {
        assert_eq!(account(first), login, "after {polls} polls");
    }
    let visible = VisibleId::new("ada").unwrap();
    let found = directory.lookup(partner(7), &visible).await.unwrap();
    assert_eq!(found, Some(login));
    let facts = directory.account(login).await.unwrap().unwrap();
    assert_eq!(
        facts.generation, 1,
        "no second identity after {polls} polls"
    );
    // The repetition was taken because it is the same form, not because nothing was noted.
    let thief = body(&Client::new(2).fields(&token));
    assert_eq!(reason(&life.posted(&thief).await), "token_used");
    first.is_some()
}

/// T66: an enlistment that ends at any place where it waits leaves nothing half done: the same form
/// sent again gives one login, whether the process lived on or began anew.
#[tokio::test(start_paused = true)]
async fn an_enlistment_cut_anywhere_is_repeated() {
    for killed in [false, true] {
        let mut cut = 0;
        while !check(cut + 1, killed).await {
            cut += 1;
            assert!(cut < MOST_POLLS, "it ends at last");
        }
        // Three parts of a body, a fetch of keys, and two waits at each of three calls.
        assert!(cut >= 10, "only {cut} places to end at");
    }
}
