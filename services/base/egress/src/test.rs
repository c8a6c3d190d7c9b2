//! Answers without a network, for the tests of crates that send requests.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{EgressError, Http, Request, Response};

/// Requests remembered per [`Answers`]; a test that sends more is refused.
const MAX_REQUESTS: usize = 10_000;

type Answer = dyn Fn(&Request) -> Result<Response, EgressError> + Send + Sync;

/// An [`Http`] whose answers a closure makes; it remembers what was sent.
///
/// It enforces what the real client does with an answer: redirects and bodies over the request's
/// bound are errors, and so are reserved headers.
#[derive(Clone)]
pub struct Answers(Arc<Inner>);

struct Inner {
    answer: Box<Answer>,
    seen: Mutex<Vec<Request>>,
    arrived: Notify,
}

impl Answers {
    /// Answers with what the closure says.
    pub fn new(
        answer: impl Fn(&Request) -> Result<Response, EgressError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            answer: Box::new(answer),
            seen: Mutex::default(),
            arrived: Notify::new(),
        }))
    }

    /// Answers every request alike.
    pub fn always(response: Response) -> Self {
        Self::new(move |_| Ok(response.clone()))
    }

    /// Fails every request alike.
    pub fn failing(error: EgressError) -> Self {
        Self::new(move |_| Err(error))
    }

    /// What was sent so far, oldest first.
    pub fn seen(&self) -> Vec<Request> {
        self.0.seen.lock().clone()
    }

    /// Waits until at least so many requests were sent, and returns them.
    pub async fn wait_for(&self, count: usize) -> Vec<Request> {
        loop {
            let arrived = self.0.arrived.notified();
            let seen = self.seen();
            if seen.len() >= count {
                return seen;
            }
            arrived.await;
        }
    }
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answers({} seen)", self.0.seen.lock().len())
    }
}

#[async_trait]
impl Http for Answers {
    async fn send(&self, request: Request) -> Result<Response, EgressError> {
        request.check()?;
        let answer = (self.0.answer)(&request);
        let max_body = request.max_body;
        {
            let mut seen = self.0.seen.lock();
            if seen.len() == MAX_REQUESTS {
                return Err(EgressError::Unreachable);
            }
            seen.push(request);
        }
        self.0.arrived.notify_waiters();
        let response = answer?;
        if response.status.is_redirection() {
            return Err(EgressError::Redirected);
        }
        if response.body.len() > max_body {
            return Err(EgressError::BodyTooLarge);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, StatusCode, Target};

    fn request(path: &str) -> Request {
        let text = format!("https://partner.example{path}");
        Request::get(Target::parse(&text, &Policy::production()).unwrap())
    }

    #[tokio::test]
    async fn answers_remember_requests_and_keep_to_the_clients_rules() {
        let http = Answers::new(|request| match request.target.path() {
            "/moved" => Ok(Response::new(StatusCode::FOUND)),
            "/down" => Err(EgressError::Unreachable),
            _ => Ok(Response::json("{}")),
        });
        let sent = http.send(request("/ok")).await;
        assert_eq!(sent, Ok(Response::json("{}")));
        let moved = http.send(request("/moved")).await;
        assert_eq!(moved, Err(EgressError::Redirected));
        let down = http.send(request("/down")).await;
        assert_eq!(down, Err(EgressError::Unreachable));
        let long = http.send(request("/ok").max_body(1)).await;
        assert_eq!(long, Err(EgressError::BodyTooLarge));
        let seen = http.wait_for(4).await;
        assert_eq!(seen[1].target.path(), "/moved");
    }
}
