//! One attempt: who is it, where is the partner's door, and one request to it.
//!
//! In: an account and the wake-up's id. Out: an [`Answer`]. Account and endpoint are asked for at
//! each attempt, so a changed URL, a suspended partner or an erased account counts at once.
//!
//! **Invariants**
//! - The body is the visible id and nothing else: no sender, no count, no reason.
//! - Requests go out through [`Http`] alone, which judges every address.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{AccountId, PartnerId, Timestamp};
use entente_egress::{Base, Http, Request};
use entente_proto::DirectoryClient;
use entente_trace::{Stage, Tracer};
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::time::{Instant, timeout};

use crate::coalesce::Attempt;
use crate::consume::WakeId;
use crate::retire::Answer;
use crate::sign::Signer;

/// What is posted to, below the partner's base.
const DOOR: &str = "push";

/// The longest answer that is read, in bytes. The framework asks for an empty one; a page that a
/// load balancer adds to its errors is let pass.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Where a partner is woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The base of its push door; `/push` below it takes the wake-ups.
    pub base: Base,
    /// Whether the partner is served now. If not, its wake-ups wait.
    pub active: bool,
}

/// What push needs to know of partners.
pub trait Endpoints: Send + Sync + std::fmt::Debug {
    /// Where the partner is woken; none if it is unknown or has no push door. Asked at each
    /// attempt, so it answers from memory.
    fn endpoint(&self, partner: PartnerId) -> Option<Endpoint>;
}

/// Makes attempts.
#[derive(Clone)]
pub(crate) struct Dispatcher {
    pub(crate) directory: DirectoryClient,
    pub(crate) endpoints: Arc<dyn Endpoints>,
    pub(crate) http: Arc<dyn Http>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) deadline: Duration,
    pub(crate) tracer: Tracer,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dispatcher")
    }
}

#[derive(Serialize)]
struct Body<'a> {
    to: &'a str,
}

impl Dispatcher {
    /// Makes one attempt; takes twice the deadline at most. Dropped, it may have been received.
    pub(crate) async fn attempt(&self, attempt: Attempt) -> (Answer, Duration) {
        let started = Instant::now();
        let (first, others) = attempt.causes.split();
        let mut span = self.tracer.child(first, Stage::Request, None);
        if let Some(span) = &mut span {
            span.link(others);
        }
        let answer = self.answer(attempt.account, attempt.id).await;
        if let (Some(mut span), Answer::Status(status, _)) = (span, answer) {
            span.status(status.as_u16());
            if status.is_success() {
                span.done();
            }
        }
        (answer, started.elapsed())
    }

    async fn answer(&self, account: AccountId, id: WakeId) -> Answer {
        let Some(endpoint) = self.endpoints.endpoint(account.partner()) else {
            return Answer::NoEndpoint;
        };
        if !endpoint.active {
            return Answer::Inactive;
        }
        let facts = match timeout(self.deadline, self.directory.account(account)).await {
            Ok(Ok(Some(facts))) => facts,
            Ok(Ok(None)) => return Answer::NotEnlisted,
            Ok(Err(_)) | Err(_) => return Answer::DirectoryDown,
        };
        let to = facts.visible.as_str();
        let Some(request) = self.request(&endpoint.base, to, id) else {
            return Answer::Unsigned;
        };
        match self.http.send(request).await {
            Ok(response) => Answer::Status(response.status, response.retry_after),
            Err(error) => Answer::Failed(error),
        }
    }

    fn request(&self, base: &Base, to: &str, id: WakeId) -> Option<Request> {
        let target = base.join(DOOR).ok()?;
        // A registered `https://push.example` is spelled with a slash by the URL library; partners
        // compare with what they registered.
        let audience = base.target().as_str().trim_end_matches('/');
        let bearer = self.signer.bearer(audience, &id, Timestamp::now()).ok()?;
        let body = serde_json::to_vec(&Body { to }).ok()?;
        let json = HeaderValue::from_static("application/json");
        Some(
            Request::post(target, json, Bytes::from(body))
                .header(header::AUTHORIZATION, bearer)
                .deadline(self.deadline)
                .max_body(MAX_ANSWER_BYTES),
        )
    }
}
