//! From an open socket to a bound or resumed session.
//!
//! RFC 6120 SASL, bind and `<enable/>`, a round trip each; or SASL2 with all of it inline (XEP-0388,
//! XEP-0386, XEP-0198 section 8, XEP-0484).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_stanza::{Element, Jid, Received, ns};
use ring::hmac;

use super::config::{ClientConfig, Mechanism};
use super::error::ClientError;
use super::wire::{Turn, Wire};

/// Stanzas that may come between bind and `<enabled/>`; a server that floods there is broken.
const MAX_EARLY: usize = 1024;

/// What the client holds from an earlier login.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// The session to resume, with the client's own `h`.
    pub(super) resume: Option<(String, u32)>,
    /// A FAST token.
    pub(super) fast: Option<String>,
}

/// A session that began or goes on.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// The full address, if the session is new.
    pub(super) bound: Option<Jid>,
    /// The id by which it can be resumed, if the server granted it anew.
    pub(super) resumable: Option<String>,
    /// Whether the server counts stanzas.
    pub(super) counts: bool,
    /// Set if the old session goes on: the server's `h`.
    pub(super) resumed: Option<u32>,
    /// Set if it does not: the server's last `h`, if it still knew.
    pub(super) failed: Option<Option<u32>>,
    /// A new FAST token.
    pub(super) fast: Option<String>,
    /// Stanzas that came before counting began.
    pub(super) early: Vec<Element>,
}

/// Logs in over a new connection.
pub(super) async fn login(
    wire: &mut Wire,
    config: &ClientConfig,
    before: &Before,
) -> Result<Login, ClientError> {
    let mut login = Login::default();
    wire.open(&config.domain, false)?;
    let features = features(wire).await?;
    match config.mechanism {
        Mechanism::OauthBearer | Mechanism::Plain => {
            if features.child("mechanisms", &ns::SASL).is_none() {
                return Err(ClientError::Unmet("SASL"));
            }
            sasl(wire, config).await?;
            wire.open(&config.domain, true)?;
            self::features(wire).await?;
            if let Some((previous, h)) = &before.resume {
                wire.queue(&resume(previous, *h));
                let answer = nonza(wire, &mut login).await?;
                if take_resumption(&answer, &mut login) {
                    return Ok(login);
                }
            }
            bind(wire, config, &mut login).await?;
        }
        Mechanism::Sasl2 { fast } => {
            if features.child("authentication", &ns::SASL2).is_none() {
                return Err(ClientError::Unmet("SASL2"));
            }
            sasl2(wire, config, before, fast, &mut login).await?;
        }
    }
    Ok(login)
}

// === RFC 6120 ===

async fn sasl(wire: &mut Wire, config: &ClientConfig) -> Result<(), ClientError> {
    let (mechanism, data) = initial(config)?;
    wire.queue(
        &Element::new("auth", ns::SASL)
            .with_attribute("mechanism", mechanism)
            .with_text(&STANDARD.encode(data)),
    );
    let answer = element(wire).await?;
    if answer.is("success", &ns::SASL) {
        return Ok(());
    }
    if answer.is("challenge", &ns::SASL) {
        // RFC 7628 3.2.3: the error comes as a challenge, and is acknowledged with ^A.
        wire.queue(&Element::new("response", ns::SASL).with_text("AQ=="));
        let answer = element(wire).await?;
        return Err(refusal(&answer));
    }
    Err(refusal(&answer))
}

async fn bind(
    wire: &mut Wire,
    config: &ClientConfig,
    login: &mut Login,
) -> Result<(), ClientError> {
    wire.queue(
        &Element::new("iq", ns::CLIENT)
            .with_attribute("type", "set")
            .with_attribute("id", "bind")
            .with_child(Element::new("bind", ns::BIND)),
    );
    let answer = loop {
        let answer = element(wire).await?;
        if answer.is("iq", &ns::CLIENT) && answer.attribute("id") == Some("bind") {
            break answer;
        }
        early(login, answer)?;
    };
    let jid = answer
        .child("bind", &ns::BIND)
        .and_then(|bind| bind.child("jid", &ns::BIND))
        .map(Element::text)
        .ok_or(ClientError::Unmet("bind"))?;
    login.bound = Some(Jid::parse(&jid).map_err(|_| ClientError::Unmet("bind"))?);
    if config.stream_management {
        wire.queue(&enable());
        let answer = nonza(wire, login).await?;
        take_enabled(&answer, login);
    }
    Ok(())
}

// === SASL2 ===

async fn sasl2(
    wire: &mut Wire,
    config: &ClientConfig,
    before: &Before,
    fast: bool,
    login: &mut Login,
) -> Result<(), ClientError> {
    let mut request = Element::new("authenticate", ns::SASL2);
    match before.fast.as_ref().filter(|_| fast) {
        Some(token) => {
            request.set_attribute("mechanism", "HT-SHA-256-NONE");
            request.push(initial_response(&hashed(&config.localpart, token)));
            request.push(Element::new("fast", ns::FAST));
        }
        None => {
            request.set_attribute("mechanism", "PLAIN");
            request.push(initial_response(&plain(config)?));
        }
    }
    // FAST binds a token to the user agent: one id for one device.
    request.push(
        Element::new("user-agent", ns::SASL2)
            .with_attribute("id", user_agent(&config.localpart))
            .with_child(Element::new("software", ns::SASL2).with_text("entente-kit")),
    );
    if fast {
        request.push(
            Element::new("request-token", ns::FAST).with_attribute("mechanism", "HT-SHA-256-NONE"),
        );
    }
    if let Some((previous, h)) = &before.resume {
        request.push(resume(previous, *h));
    }
    let mut bind = Element::new("bind", ns::BIND2)
        .with_child(Element::new("tag", ns::BIND2).with_text("entente-kit"));
    if config.stream_management {
        bind.push(enable());
    }
    wire.queue(&request.with_child(bind));

    let answer = element(wire).await?;
    if !answer.is("success", &ns::SASL2) {
        return Err(refusal(&answer));
    }
    login.fast = answer
        .child("token", &ns::FAST)
        .and_then(|token| token.attribute("token"))
        .map(str::to_owned);
    for child in answer.elements() {
        if take_resumption(child, login) {
            return Ok(());
        }
    }
    let bound = answer.child("bound", &ns::BIND2);
    let bound = bound.ok_or(ClientError::Unmet("Bind 2"))?;
    let jid = answer
        .child("authorization-identifier", &ns::SASL2)
        .map(Element::text)
        .ok_or(ClientError::Unmet("Bind 2"))?;
    login.bound = Some(Jid::parse(&jid).map_err(|_| ClientError::Unmet("Bind 2"))?);
    if let Some(enabled) = bound.child("enabled", &ns::SM) {
        take_enabled(enabled, login);
    }
    Ok(())
}

fn initial_response(data: &[u8]) -> Element {
    Element::new("initial-response", ns::SASL2).with_text(&STANDARD.encode(data))
}

/// A version 4 UUID that is the same for the same account, as an installed client would keep one.
fn user_agent(localpart: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, localpart.as_bytes());
    let hex: String = digest
        .as_ref()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-4{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

// === Mechanisms ===

fn initial(config: &ClientConfig) -> Result<(&'static str, Vec<u8>), ClientError> {
    if config.mechanism != Mechanism::OauthBearer {
        return Ok(("PLAIN", plain(config)?));
    }
    let token = config.credential.text().ok_or(ClientError::Credential)?;
    let who = format!("{}@{}", config.localpart, config.domain);
    let data = format!("n,a={who},\u{1}auth=Bearer {token}\u{1}\u{1}");
    Ok(("OAUTHBEARER", data.into_bytes()))
}

fn plain(config: &ClientConfig) -> Result<Vec<u8>, ClientError> {
    let token = config.credential.text().ok_or(ClientError::Credential)?;
    Ok(format!("\0{}\0{token}", config.localpart).into_bytes())
}

/// `authcid NUL HMAC(token, "Initiator" || channel binding)`, here without channel binding.
fn hashed(localpart: &str, token: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
    let proof = hmac::sign(&key, b"Initiator");
    let mut data = localpart.as_bytes().to_vec();
    data.push(0);
    data.extend_from_slice(proof.as_ref());
    data
}

// === XEP-0198 ===

fn enable() -> Element {
    Element::new("enable", ns::SM).with_attribute("resume", "true")
}

fn resume(previous: &str, h: u32) -> Element {
    Element::new("resume", ns::SM)
        .with_attribute("previd", previous)
        .with_attribute("h", h.to_string())
}

fn take_enabled(answer: &Element, login: &mut Login) {
    // A refused `<enable/>` leaves an ordinary session (XEP-0198 3).
    login.counts = answer.is("enabled", &ns::SM);
    if login.counts && matches!(answer.attribute("resume"), Some("true" | "1")) {
        login.resumable = answer.attribute("id").map(str::to_owned);
    }
}

/// True if the session goes on.
fn take_resumption(answer: &Element, login: &mut Login) -> bool {
    let h = || answer.attribute("h").and_then(|h| h.parse().ok());
    if answer.is("resumed", &ns::SM) {
        login.resumed = Some(h().unwrap_or(0));
        login.counts = true;
        return true;
    }
    if answer.is("failed", &ns::SM) {
        login.failed = Some(h());
    }
    false
}

// === Waiting ===

/// The next element that is no stanza; stanzas before it are kept.
async fn nonza(wire: &mut Wire, login: &mut Login) -> Result<Element, ClientError> {
    loop {
        let element = element(wire).await?;
        if element.ns() != &ns::CLIENT {
            return Ok(element);
        }
        early(login, element)?;
    }
}

fn early(login: &mut Login, element: Element) -> Result<(), ClientError> {
    if login.early.len() >= MAX_EARLY {
        return Err(ClientError::Full);
    }
    login.early.push(element);
    Ok(())
}

async fn features(wire: &mut Wire) -> Result<Element, ClientError> {
    match received(wire).await? {
        Received::Open(_) => {}
        Received::Close | Received::Element(_) => return Err(ClientError::Unmet("a stream")),
    }
    let features = element(wire).await?;
    if features.is("features", &ns::STREAMS) {
        Ok(features)
    } else {
        Err(ClientError::Unmet("features"))
    }
}

async fn element(wire: &mut Wire) -> Result<Element, ClientError> {
    match received(wire).await? {
        Received::Element(element) => match stream_error(&element) {
            Some(error) => Err(error),
            None => Ok(element),
        },
        Received::Close | Received::Open(_) => Err(ClientError::Closed),
    }
}

async fn received(wire: &mut Wire) -> Result<Received, ClientError> {
    loop {
        if let Turn::Received(received) = wire.turn(true).await? {
            return Ok(received);
        }
    }
}

/// The client's error for a `<stream:error/>`.
pub(super) fn stream_error(element: &Element) -> Option<ClientError> {
    element.is("error", &ns::STREAMS).then(|| {
        let condition = element.elements().find(|child| child.name() != "text");
        ClientError::Stream(condition.map_or("none", Element::name).to_owned())
    })
}

fn refusal(answer: &Element) -> ClientError {
    let condition = answer.elements().find(|child| child.name() != "text");
    ClientError::Refused(condition.map_or(answer.name(), Element::name).to_owned())
}
