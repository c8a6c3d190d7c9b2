//! Who may call which service.
//!
//! In: requests of peers whose certificates were checked. Out: the same requests, or the status
//! `PERMISSION_DENIED` that says who may not call what. What is not listed may be called by nobody.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::events::Events;
use crate::listen::Peer;
use crate::name::Role;

/// The service that every node may ask how it is.
const HEALTH: &str = "grpc.health.v1.Health";

/// Which roles may call which gRPC services, by their full names.
#[derive(Clone, Debug, Default)]
pub struct Access(Vec<(&'static str, &'static [Role])>);

impl Access {
    /// Nobody may call anything but health.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets roles call a service.
    #[must_use]
    pub fn allow(mut self, service: &'static str, roles: &'static [Role]) -> Self {
        self.0.push((service, roles));
        self
    }

    /// Why a peer may not call the method of a path; nothing if it may.
    fn refusal(&self, peer: Option<&Peer>, path: &str) -> Option<String> {
        let service = path.split('/').nth(1).unwrap_or_default();
        let Some(peer) = peer else {
            return Some("the connection names nobody".to_owned());
        };
        if service == HEALTH {
            return None;
        }
        let allowed = |roles: &[Role]| peer.names().iter().any(|name| roles.contains(&name.role()));
        let mut rules = self.0.iter().filter(|(name, _)| *name == service);
        if rules.any(|(_, roles)| allowed(roles)) {
            return None;
        }
        let names = peer.names().iter();
        let names: Vec<_> = names
            .map(|name| format!("{}/{}", name.role(), name.node()))
            .collect();
        let known = self.0.iter().any(|(name, _)| *name == service);
        let service = if known { service } else { "this" };
        Some(format!("{} may not call {service}", names.join(" and ")))
    }
}

/// Puts the rules before a server's services.
#[derive(Clone, Debug)]
pub(crate) struct Guarded {
    pub(crate) access: Arc<Access>,
    pub(crate) events: Events,
}

impl<S> Layer<S> for Guarded {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            rules: self.clone(),
            inner,
        }
    }
}

/// A service behind the rules.
#[derive(Clone, Debug)]
pub(crate) struct Guard<S> {
    rules: Guarded,
    inner: S,
}

impl<S, B> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        match self.rules.access.refusal(peer, request.uri().path()) {
            None => Box::pin(self.inner.call(request)),
            Some(why) => {
                self.rules.events.call_refused(&why);
                let refused = Status::permission_denied(why).into_http();
                Box::pin(std::future::ready(Ok(refused)))
            }
        }
    }
}
