//! What a SASL2 login does in one go: resume, bind, stream management, a new token (XEP-0388,
//! XEP-0386, XEP-0198 section 9, XEP-0484).
//!
//! **Invariants**
//! - Success is said only when everything that it says has happened.
//! - Resumption comes before binding; a session that was resumed is not bound again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_core::Timestamp;
use entente_stanza::{Element, Jid, ns};

use super::login::{Granted, Outcome};
use super::sasl::{Mechanism, SaslFailure};
use super::{Login, Negotiated, Refusal, Talk, features};
use crate::session::{failed_element, hex, wants_resume};

/// Bytes of a client's tag that become a part of its resource (XEP-0386 section 2.1).
const TAG_BYTES: usize = 64;

impl Talk<'_> {
    pub(super) async fn finish_sasl2(
        &mut self,
        request: &Element,
        granted: Granted,
    ) -> Result<Result<Outcome, SaslFailure>, Refusal> {
        let Granted { login, responder } = granted;
        self.trust();
        let mut success = Element::new("success", ns::SASL2);
        if let Some(responder) = responder {
            success.push(
                Element::new("additional-data", ns::SASL2).with_text(&STANDARD.encode(responder)),
            );
        }
        let mut said = Vec::new();
        let mut negotiated = None;
        if let Some(resume) = request.child("resume", &ns::SM) {
            match self.resume(resume, &login).await? {
                Ok((resumed, element)) => {
                    negotiated = Some(resumed);
                    said.push(element);
                }
                Err(h) => said.push(failed_element("item-not-found", h)),
            }
        }
        if let (None, Some(bind)) = (&negotiated, request.child("bind", &ns::BIND2)) {
            match self.bind2(bind, &login).await {
                Ok((bound, element)) => {
                    negotiated = Some(bound);
                    said.push(element);
                }
                Err(fault) => return Ok(Err(fault)),
            }
        }
        if let Some(token) = self.new_token(request, &login).await {
            said.push(token);
        }
        let address = negotiated
            .as_ref()
            .map_or(&login.bare, |negotiated| &negotiated.session.me.full);
        success
            .push(Element::new("authorization-identifier", ns::SASL2).with_text(address.as_str()));
        said.into_iter().for_each(|element| success.push(element));
        self.stream.out.element(&success);
        let Some(negotiated) = negotiated else {
            return Ok(Ok(Outcome::Unbound(login)));
        };
        // XEP-0388 section 2.6.1: features follow without a new header.
        let features = features::after_bind(&self.host.rules, negotiated.session.is_managed());
        self.stream.out.element(&features);
        self.stream.out.hold();
        Ok(Ok(Outcome::Seated(Box::new(negotiated))))
    }

    /// XEP-0386: bind, and what is to be enabled with it.
    async fn bind2(
        &mut self,
        bind: &Element,
        login: &Login,
    ) -> Result<(Negotiated, Element), SaslFailure> {
        let random = hex(&entente_core::random_array::<8>());
        let resource = match bind.child("tag", &ns::BIND2).map(Element::text) {
            Some(tag) if !tag.is_empty() && tag.len() <= TAG_BYTES => format!("{tag}/{random}"),
            _ => random.clone(),
        };
        let full = self.address(login, &resource, &random);
        let mut bound = self
            .bind(login, full)
            .await
            .map_err(|fault| SaslFailure::from(fault.kind()))?;
        let mut element = Element::new("bound", ns::BIND2);
        if let Some(enable) = bind.child("enable", &ns::SM)
            && let Some(enabled) = self.enable(&mut bound, wants_resume(enable)).await
        {
            element.push(enabled);
        }
        Ok((bound, element))
    }

    /// A full address; if the client's wish cannot be one, a resource of ours.
    pub(super) fn address(&self, login: &Login, wish: &str, random: &str) -> Jid {
        login
            .bare
            .with_resource(wish)
            .or_else(|_| login.bare.with_resource(random))
            .unwrap_or_else(|_| login.bare.clone())
    }

    /// XEP-0484 section 3.3: a token for the next login, if one was asked for and can be made.
    async fn new_token(&mut self, request: &Element, login: &Login) -> Option<Element> {
        let asked = request.child("request-token", &ns::FAST)?;
        let ours = Some(Mechanism::HtSha256None.as_str());
        if asked.attribute("mechanism") != ours {
            return None;
        }
        let issued = self.host.identity.issue_fast(login.account);
        let token = tokio::time::timeout_at(self.answer_by(), issued)
            .await
            .ok()?
            .ok()?;
        // A clock that runs behind must not make a token that was never good.
        (token.expires > Timestamp::now()).then(|| {
            Element::new("token", ns::FAST)
                .with_attribute("expiry", token.expires.to_rfc3339())
                .with_attribute("token", &*token.token)
        })
    }
}
