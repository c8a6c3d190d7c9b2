//! The door at which a partner's user becomes an account: `POST /3p/interop_reg`.
//!
//! In: a form as the framework defines it. Out: always 200 with JSON, `{"login":…,"status":"ok"}` or
//! `{"reason":…,"status":"fail"}`. The partner is chosen by the request, by `?partner=<number>` or by
//! the host name of its record; the token is then held against that record (T51).
//!
//! **Invariants**
//! - Nothing is written before every field, the signed prekey's signature and the token are good.
//! - A token enlists one form: the same form may be repeated after a lost answer and gives the same
//!   login, another form is refused. If that cannot be told, nobody is enlisted (T57).
//! - Outsiders cannot use up a partner's budget: it is spent after the token was verified.

mod form;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::routing::post;
use bytes::Bytes;
use entente_core::{Enlisted, FaultKind, Timestamp};
use entente_proto::DirectoryClient;
use entente_table::{Key, Table};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use ring::digest;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::events::{EnlistmentEnded, Events};
use crate::partners::{Partner, Registry, State};
use crate::verify::{Proof, SKEW, TokenError, Verifier};

use form::Form;

/// The path of the framework.
pub const PATH: &str = "/3p/interop_reg";

/// Longest body, in bytes: a token of 4 KiB and 500 bytes of names and keys fit.
const MAX_BODY_BYTES: usize = 6 * 1024;

/// Time in which the whole body must be there.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Why somebody was not enlisted, as the answer names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No partner is named by the request, or it is not active.
    BadIntegrator,
    /// A key is of another type, of small order or not canonical.
    BadKey,
    /// Not a form, or a field is missing, unknown, twice there or not of its size.
    BadRequest,
    /// The identity key did not sign the signed prekey.
    BadSignature,
    /// The token does not verify for this partner, or is bound to another transport key.
    BadToken,
    /// The partner's budget or the gateway's capacity is used up; later is better.
    Overloaded,
    /// The token has enlisted other keys already.
    TokenUsed,
    /// Something needed does not answer; the same form may be sent again.
    Unavailable,
}

impl Reason {
    /// The word in the answer.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadIntegrator => "bad_integrator",
            Self::BadKey => "bad_key",
            Self::BadRequest => "bad_request",
            Self::BadSignature => "bad_signature",
            Self::BadToken => "bad_token",
            Self::Overloaded => "overloaded",
            Self::TokenUsed => "token_used",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Enlists users.
pub struct Enlist {
    pub(crate) registry: Arc<Registry>,
    pub(crate) verifier: Verifier,
    pub(crate) directory: DirectoryClient,
    pub(crate) table: Arc<dyn Table>,
    pub(crate) clock: Clock,
    pub(crate) events: Events,
    pub(crate) places: Semaphore,
}

impl Enlist {
    /// The door as a router of one route.
    pub fn router(self: Arc<Self>) -> Router {
        let answer =
            move |request: Request<axum::body::Body>| async move { self.answer(request).await };
        Router::new().route(PATH, post(answer))
    }

    /// Answers one request to the door.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: HttpBody<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let result = self.enlist(request).await;
        let (outcome, body) = match result {
            Ok(enlisted) => {
                let login = enlisted.account;
                (
                    "ok",
                    format!(r#"{{"login":"{login}@interop","status":"ok"}}"#),
                )
            }
            Err(reason) => {
                let word = reason.word();
                (word, format!(r#"{{"reason":"{word}","status":"fail"}}"#))
            }
        };
        EnlistmentEnded { outcome }.emit(&self.events);
        let mut response = Response::new(Full::new(body.into()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        response
    }

    async fn enlist<B>(&self, request: Request<B>) -> Result<Enlisted, Reason>
    where
        B: HttpBody<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let _place = self.places.try_acquire().map_err(|_| Reason::Overloaded)?;
        let (head, body) = request.into_parts();
        if !is_form(&head.headers) {
            return Err(Reason::BadRequest);
        }
        let partner = self.partner(&head.uri, &head.headers)?;
        let body = timeout(BODY_DEADLINE, Limited::new(body, MAX_BODY_BYTES).collect());
        let body = match body.await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) | Err(_) => return Err(Reason::BadRequest),
        };
        let form = Form::parse(&body)?;
        let now = self.clock.now();
        let proof = self.verifier.verify(&partner, form.token(), now).await;
        let proof = proof.map_err(|error| match error {
            TokenError::KeysUnavailable => Reason::Unavailable,
            _ => Reason::BadToken,
        })?;
        let transport = form.transport().thumbprint();
        if proof.bound.is_some_and(|bound| bound != transport) {
            return Err(Reason::BadToken);
        }
        self.spend(&partner).await?;
        self.use_token(&proof, &body, now).await?;
        let enlistment = form.into_enlistment(&proof);
        self.directory
            .enlist(enlistment)
            .await
            .map_err(|fault| match fault.kind() {
                FaultKind::Overloaded => Reason::Overloaded,
                _ => Reason::Unavailable,
            })
    }

    /// The active partner that the request names, by number or by host. Two that differ are none.
    fn partner(&self, uri: &Uri, headers: &HeaderMap) -> Result<Arc<Partner>, Reason> {
        let by_host = host(uri, headers).and_then(|host| self.registry.by_host(&host));
        let by_number = match uri.query() {
            Some(query) => {
                let number = query.strip_prefix("partner=");
                let number = number.and_then(canonical_number);
                let named = number.and_then(|number| self.registry.partner(number));
                Some(named.ok_or(Reason::BadIntegrator)?)
            }
            None => None,
        };
        let chosen = match (by_number, by_host) {
            (Some(number), Some(host)) if number.number != host.number => None,
            (Some(number), _) => Some(number),
            (None, host) => host,
        };
        chosen
            .filter(|partner| partner.state == State::Active)
            .ok_or(Reason::BadIntegrator)
    }

    async fn spend(&self, partner: &Partner) -> Result<(), Reason> {
        let mut name = b"enlist".to_vec();
        name.extend(partner.number.number().to_be_bytes());
        let rate = partner.quotas.enlistments();
        let key = Key::new(name).map_err(|_| Reason::Unavailable)?;
        match self.table.take(&key, rate).await {
            Ok(taken) if taken.is_allowed() => Ok(()),
            Ok(_) => Err(Reason::Overloaded),
            Err(_) => Err(Reason::Unavailable),
        }
    }

    async fn use_token(&self, proof: &Proof, body: &[u8], now: Timestamp) -> Result<(), Reason> {
        let mut name = b"token".to_vec();
        name.extend(proof.partner.number().to_be_bytes());
        name.extend(sha256(proof.id.as_str().as_bytes()).as_ref());
        let key = Key::new(name).map_err(|_| Reason::Unavailable)?;
        let form = Bytes::copy_from_slice(sha256(body).as_ref());
        // As long as the token is taken, and a second for rounding.
        let life = proof.expires.plus(SKEW).since(now) + Duration::from_secs(1);
        match self.table.insert_if_absent(&key, form.clone(), life).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(_) => return Err(Reason::Unavailable),
        }
        match self.table.get(&key).await {
            Ok(Some(first)) if first == form => Ok(()),
            Ok(Some(_)) => Err(Reason::TokenUsed),
            Ok(None) | Err(_) => Err(Reason::Unavailable),
        }
    }
}

impl std::fmt::Debug for Enlist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enlist")
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = only.to_str().ok().and_then(|text| text.split(';').next());
    let encoded = headers.contains_key(header::CONTENT_ENCODING);
    !encoded && essence.is_some_and(|text| text.trim().eq_ignore_ascii_case(FORM))
}

/// The host that the client meant, in lower case without a port: of the request target (HTTP/2, or
/// absolute form) or of the one Host header.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let authority = match (uri.authority(), hosts.next(), hosts.next()) {
        (Some(target), _, None) => target.as_str(),
        (None, Some(only), None) => only.to_str().ok()?,
        _ => return None,
    };
    let name = authority
        .split_once(':')
        .map_or(authority, |(name, _)| name);
    Some(name.to_ascii_lowercase())
}

fn canonical_number(digits: &str) -> Option<entente_core::PartnerId> {
    let number: u16 = digits.parse().ok()?;
    // One spelling: no sign, no leading zero.
    (number.to_string() == digits).then_some(())?;
    entente_core::PartnerId::new(number)
}

fn sha256(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
