//! The end of this node, spread over a budget so that clients do not all come back at once (T40).
//!
//! **Invariants**
//! - Sessions that can be resumed stay resumable: their owner is told `Detach`.
//! - A second request ends the waiting.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use entente_node::{Drain, Phase};
use entente_stanza::{Element, Framing, StreamCondition, ns};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use crate::config::Config;
use crate::links::{Links, Notice};

/// How often the rest is looked at once everybody has been told.
const LOOK: Duration = Duration::from_millis(50);
/// Sessions are told in steps of this length.
const STEP: Duration = Duration::from_millis(20);
/// Longest DNS name.
const NAME_BYTES: usize = 253;

/// Where clients of a draining node are sent: `host:port`, the host a DNS name in lower case, an
/// IPv4 address or an IPv6 address in brackets. The port is needed: without one a client takes that
/// of another kind of listener (RFC 6120 4.9.3.19).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Elsewhere(Box<str>);

/// A place that no client can be sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not `host:port`: a DNS name in lower case or an address (IPv6 in brackets), and a port"
)]
pub struct ElsewhereError(String);

impl Elsewhere {
    /// The text, as clients are told.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Elsewhere {
    type Err = ElsewhereError;

    fn from_str(text: &str) -> Result<Self, ElsewhereError> {
        let good = text.rsplit_once(':').is_some_and(|(host, port)| {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            digits && port.parse::<u16>().is_ok_and(|port| port != 0) && is_host(host)
        });
        if good {
            Ok(Self(text.into()))
        } else {
            Err(ElsewhereError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Elsewhere {
    type Error = ElsewhereError;

    fn try_from(text: String) -> Result<Self, ElsewhereError> {
        text.parse()
    }
}

impl From<Elsewhere> for String {
    fn from(elsewhere: Elsewhere) -> Self {
        elsewhere.0.into()
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']');
        return address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let ends_in_number = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or_default();
        last.bytes().all(|byte| byte.is_ascii_digit())
    };
    if ends_in_number(host) {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| {
        let edge = label.starts_with('-') || label.ends_with('-');
        !edge && (1..=63).contains(&label.len()) && label.bytes().all(inside)
    };
    host.len() <= NAME_BYTES && host.split('.').all(label)
}

/// The stream error that sends a client to the other place, if there is one. A host and a port say
/// nothing to a client on a WebSocket, which comes back by its URL.
pub(crate) fn elsewhere(config: &Config, framing: Framing) -> Option<Element> {
    let place = config.see_other_host.as_ref()?;
    let condition = StreamCondition::SeeOtherHost.as_str();
    (framing == Framing::Stream).then(|| {
        Element::new("error", ns::STREAMS)
            .with_child(Element::new(condition, ns::STREAM_ERRORS).with_text(place.as_str()))
    })
}

/// Tells every session to go, paced over three quarters of the budget, and waits for the rest.
/// Returns how many were left.
pub(crate) async fn drain(links: &Links, drain: &Drain, budget: Duration) -> usize {
    let deadline = Instant::now() + budget;
    let paced = timeout(budget, tell(links, budget * 3 / 4));
    tokio::select! {
        _told = paced => {}
        () = drain.leaving() => {}
    }
    // New sessions may have come in between; nobody is left untold.
    links
        .inboxes()
        .iter()
        .for_each(|inbox| inbox.put(Notice::Drained));
    loop {
        let left = links.inboxes().len();
        let patient = drain.phase() != Phase::Leaving && Instant::now() < deadline;
        if left == 0 || !patient {
            return left;
        }
        sleep(LOOK).await;
    }
}

async fn tell(links: &Links, budget: Duration) {
    let inboxes = links.inboxes();
    let steps = (budget.as_millis() / STEP.as_millis()).max(1);
    let steps = usize::try_from(steps).unwrap_or(usize::MAX);
    let each = inboxes.len().div_ceil(steps).max(1);
    for chunk in inboxes.chunks(each) {
        chunk.iter().for_each(|inbox| inbox.put(Notice::Drained));
        sleep(STEP).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_a_host_and_a_port() {
        for good in [
            "other.example:5223",
            "192.0.2.7:443",
            "[2001:db8::7]:5223",
            "a:1",
        ] {
            assert_eq!(good.parse::<Elsewhere>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "other.example",
            "other.example:",
            ":5223",
            "other.example:0",
            "other.example:65536",
            "other.example:+1",
            "Other.example:5223",
            "other..example:5223",
            "-other.example:5223",
            "other.example.:5223",
            "2001:db8::7:5223",
            "[192.0.2.7]:5223",
            "192.0.2.256:5223",
            "a b:1",
            "<x/>:1",
        ] {
            assert!(bad.parse::<Elsewhere>().is_err(), "{bad}");
        }
    }
}
