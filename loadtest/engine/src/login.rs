//! From an open connection to a bound or resumed session.
//!
//! RFC 6120 SASL, bind and `<enable/>`, a round trip each; or SASL2 with all of it inline (XEP-0388,
//! XEP-0386).

mod sasl;

use bytes::Bytes;

use crate::account::Account;
use crate::scenario::Sasl;
use crate::wire::{Door, Line, LineError};
use crate::xml::{self, Kind, attribute, holds, number};

/// Stanzas that may come before `<enabled/>`; a server that floods there is broken.
const MAX_EARLY: usize = 1_024;

/// How to log in.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// The mechanism.
    pub sasl: Sasl,
    /// Whether XEP-0198 is turned on.
    pub manage: bool,
    /// Whether the session shall be resumable.
    pub resume: bool,
}

/// A session that began or goes on.
#[derive(Debug, Default)]
pub struct Session {
    /// Whether the server counts stanzas.
    pub counts: bool,
    /// The id by which it can be resumed, if one was granted.
    pub resumable: Option<Box<str>>,
    /// Set if the old session goes on: the server's `h`.
    pub resumed: Option<u32>,
    /// Set if it was asked for and does not: the server's last `h`, if it still knew.
    pub failed: Option<Option<u32>>,
    /// Stanzas that came before counting began.
    pub early: Vec<Bytes>,
}

/// Logs in over a new connection; `before` is an earlier session with the client's own `h`.
///
/// # Errors
/// [`LineError`]; a refusal names its condition.
pub async fn log_in(
    door: &Door,
    line: &mut Line,
    account: &Account,
    how: How,
    before: Option<(&str, u32)>,
) -> Result<Session, LineError> {
    let mut session = Session::default();
    let features = door.open(line).await?;
    if how.sasl == Sasl::Sasl2 {
        if !holds(&features, b"urn:xmpp:sasl:2") {
            return Err(LineError::Unmet("SASL2"));
        }
        inline(line, account, how, before, &mut session).await?;
        return Ok(session);
    }
    sasl::authenticate(door.domain(), line, account, how.sasl).await?;
    line.restart();
    let features = door.open(line).await?;
    if let Some((previous, h)) = before {
        line.queue(resume(previous, h).as_bytes());
        let answer = nonza(line, &mut session).await?;
        if take_resumption(&answer, &mut session) {
            return Ok(session);
        }
    }
    line.queue(b"<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
    loop {
        let answer = line.element().await?;
        if xml::kind(&answer) == Kind::Iq && attribute(&answer, b"id") == Some(b"b") {
            refused(&answer, "bind")?;
            break;
        }
        early(&mut session, answer)?;
    }
    if how.manage {
        if !holds(&features, b"urn:xmpp:sm:3") {
            return Err(LineError::Unmet("XEP-0198"));
        }
        line.queue(enable(how).as_bytes());
        let answer = nonza(line, &mut session).await?;
        take_enabled(&answer, how, &mut session)?;
    }
    Ok(session)
}

/// SASL2 with everything in one round trip.
async fn inline(
    line: &mut Line,
    account: &Account,
    how: How,
    before: Option<(&str, u32)>,
    session: &mut Session,
) -> Result<(), LineError> {
    let resume = before
        .map(|(previous, h)| resume(previous, h))
        .unwrap_or_default();
    let enable = if how.manage {
        enable(how)
    } else {
        String::new()
    };
    let request = format!(
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>\
         <initial-response>{}</initial-response>{resume}\
         <bind xmlns='urn:xmpp:bind:0'><tag>entente-loadtest</tag>{enable}</bind></authenticate>",
        sasl::plain(account)?
    );
    line.queue(request.as_bytes());
    let answer = line.element().await?;
    if !answer.starts_with(b"<success") {
        return Err(LineError::login(&answer));
    }
    // The features that follow a success are of no interest; a stream that ends shows later.
    if let Some(at) = memchr::memmem::find(&answer, b"<resumed") {
        take_resumption(answer.get(at..).unwrap_or_default(), session);
        return Ok(());
    }
    if before.is_some() {
        let at = memchr::memmem::find(&answer, b"<failed");
        let failed = at.and_then(|at| answer.get(at..)).unwrap_or_default();
        session.failed = Some(attribute(failed, b"h").and_then(number));
    }
    if !holds(&answer, b"<bound") {
        return Err(LineError::Unmet("Bind 2"));
    }
    if how.manage {
        let at = memchr::memmem::find(&answer, b"<enabled")
            .ok_or(LineError::Unmet("XEP-0198 in Bind 2"))?;
        take_enabled(answer.get(at..).unwrap_or_default(), how, session)?;
    }
    Ok(())
}

fn enable(how: How) -> String {
    let resume = if how.resume { " resume='true'" } else { "" };
    format!("<enable xmlns='urn:xmpp:sm:3'{resume}/>")
}

fn resume(previous: &str, h: u32) -> String {
    format!("<resume xmlns='urn:xmpp:sm:3' previd='{previous}' h='{h}'/>")
}

fn take_enabled(answer: &[u8], how: How, session: &mut Session) -> Result<(), LineError> {
    if !answer.starts_with(b"<enabled") {
        return Err(LineError::Refused {
            step: "stream management",
            condition: crate::wire::condition(answer),
        });
    }
    session.counts = true;
    if how.resume && matches!(attribute(answer, b"resume"), Some(b"true" | b"1")) {
        let id = attribute(answer, b"id").and_then(|id| std::str::from_utf8(id).ok());
        // It goes back into an attribute as it came; what would end that cannot.
        session.resumable = id.filter(|id| !id.contains('\'')).map(Into::into);
    }
    Ok(())
}

/// True if the session goes on.
fn take_resumption(answer: &[u8], session: &mut Session) -> bool {
    let h = attribute(answer, b"h").and_then(number);
    if answer.starts_with(b"<resumed") {
        session.resumed = Some(h.unwrap_or(0));
        session.counts = true;
        return true;
    }
    session.failed = Some(h);
    false
}

/// The next element that is no stanza; stanzas before it are kept.
async fn nonza(line: &mut Line, session: &mut Session) -> Result<Bytes, LineError> {
    loop {
        let element = line.element().await?;
        match xml::kind(&element) {
            Kind::Iq | Kind::Message | Kind::Presence => early(session, element)?,
            _ => return Ok(element),
        }
    }
}

fn early(session: &mut Session, element: Bytes) -> Result<(), LineError> {
    if session.early.len() >= MAX_EARLY {
        return Err(LineError::Unmet("end of stanzas before the session"));
    }
    session.early.push(element);
    Ok(())
}

/// An error if an iq is one.
fn refused(answer: &[u8], step: &'static str) -> Result<(), LineError> {
    if attribute(answer, b"type") == Some(b"result") {
        return Ok(());
    }
    let error = memchr::memmem::find(answer, b"<error").and_then(|at| answer.get(at..));
    Err(LineError::Refused {
        step,
        condition: crate::wire::condition(error.unwrap_or_default()),
    })
}
