//! XEP-0198 and its stand-in: who has received what, in both directions, and when the backlog starts.
//!
//! **Invariants**
//! - `<r/>` is answered as soon as what the client sent before it is handled, and after
//!   [`ANSWER_PATIENCE`] with what is handled by then; in that case `<a/>` follows.
//! - One `<r/>` of ours is under way at a time; without XEP-0198, one ping.
//! - After `<enabled/>` the outbox holds the rest back: a common client resets its counter only after
//!   it has read the whole flight.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entente_core::Position;
use entente_proto::edge::{self, ResumeKey, ToRouter};
use entente_stanza::{Element, Head, Iq, IqKind, Ns, StreamCondition, ns};
use smol_str::SmolStr;

use super::count::Counters;
use super::{Cause, Effects, LocalKind, Parting, Session};

/// How long an `<r/>` waits for the log. XEP-0198 section 4 lets an answer be held back for a time,
/// and for nothing but a time; a sync takes milliseconds, so that one `<a/>` nearly always says all.
pub(crate) const ANSWER_PATIENCE: Duration = Duration::from_millis(200);

/// Stream errors of XEP-0198 and the errors in `<failed/>`.
const SM: Ns = ns::SM;

/// Where XEP-0198 stands.
#[derive(Debug)]
pub(crate) enum Management {
    /// Not asked for.
    Off,
    /// Asked for; the owner has not answered.
    Asked {
        resume: Option<ResumeKey>,
        /// The last stanza before.
        inbound: Position,
        /// The client asked for `h` in the same breath, after the stanza at this position.
        request: Option<Position>,
    },
    /// In use.
    On(Box<Managed>),
}

/// The state of XEP-0198 in use.
#[derive(Debug)]
pub(crate) struct Managed {
    counters: Counters,
    resume: Option<ResumeKey>,
    asked: Option<Asked>,
    /// An `<r/>` of ours waits for its answer.
    requested: bool,
}

/// What the client's `<r/>` wait for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// The oldest came after the stanza at this position.
    first: Position,
    /// The newest.
    last: Position,
    /// They were answered once, with less than they asked for.
    put_off: bool,
}

/// Whether the backlog may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It comes with the first stanza or when time is up.
    Expected,
    /// The client said by a negative priority that it wants none (RFC 6121 4.7.2.3).
    Declined,
    /// It was asked for.
    Started,
}

/// A ping that tells by its answer that everything before it arrived.
#[derive(Debug)]
pub(crate) struct Barrier {
    id: SmolStr,
    /// Where it stands in what is written; none while it waits for that.
    position: Option<Position>,
}

impl Management {
    pub(super) fn resumed(counters: Counters, key: ResumeKey) -> Self {
        Self::On(Box::new(Managed::new(counters, Some(key))))
    }

    /// As the owner knows it.
    pub(super) fn told(&self) -> Option<edge::Management> {
        let Self::On(managed) = self else { return None };
        let (inbound, outbound) = managed.counters.zeros();
        Some(edge::Management {
            inbound,
            outbound,
            resume: managed.resume.clone(),
        })
    }

    pub(super) const fn is_resumable(&self) -> bool {
        match self {
            Self::On(managed) => managed.resume.is_some(),
            // The answer may be under way; the owner has the key already.
            Self::Asked { resume, .. } => resume.is_some(),
            Self::Off => false,
        }
    }
}

impl Managed {
    const fn new(counters: Counters, resume: Option<ResumeKey>) -> Self {
        Self {
            counters,
            resume,
            asked: None,
            requested: false,
        }
    }
}

impl Asked {
    const fn at(position: Position) -> Self {
        Self {
            first: position,
            last: position,
            put_off: false,
        }
    }
}

/// The `id` of `<enabled/>`: the key and, because no owner remembers it, the resource. A client that
/// changes the resource only changes its own address, which it could have chosen at bind.
pub(crate) fn resume_id(key: &ResumeKey, resource: &str) -> String {
    format!("{}.{resource}", URL_SAFE_NO_PAD.encode(key.0))
}

/// Reads a `previd`; none if we cannot have made it.
pub(crate) fn read_resume_id(text: &str) -> Option<(ResumeKey, &str)> {
    let (key, resource) = text.split_once('.')?;
    let bytes = URL_SAFE_NO_PAD.decode(key).ok()?;
    Some((ResumeKey(bytes.try_into().ok()?), resource))
}

/// `<enabled/>`.
fn enabled_element(resume: Option<(&ResumeKey, &str)>, max_secs: u64) -> Element {
    let enabled = Element::new("enabled", SM);
    match resume {
        Some((key, resource)) => enabled
            .with_attribute("id", resume_id(key, resource))
            .with_attribute("resume", "true")
            .with_attribute("max", max_secs.to_string()),
        None => enabled,
    }
}

/// `<failed/>` with a stanza error condition, and `h` if it is known (XEP-0198 section 5).
pub(crate) fn failed_element(condition: &'static str, h: Option<u32>) -> Element {
    let failed = Element::new("failed", SM).with_child(Element::new(condition, ns::STANZA_ERRORS));
    match h {
        Some(h) => failed.with_attribute("h", h.to_string()),
        None => failed,
    }
}

/// Whether an `<enable/>` asks for resumption.
pub(crate) fn wants_resume(enable: &Element) -> bool {
    matches!(enable.attribute("resume"), Some("true" | "1"))
}

impl Session {
    /// What is between the two ends of the stream only.
    pub(super) fn nonza(&mut self, element: &Element, fx: &mut Effects<'_>) {
        let ns = element.ns();
        match element.name() {
            "r" if ns == &SM => self.take_request(fx),
            "a" if ns == &SM => self.take_acknowledgement(element, fx),
            "enable" if ns == &SM => self.enable(element, fx),
            "resume" if ns == &SM => fx.out.element(&failed_element("unexpected-request", None)),
            // XEP-0352: nothing is held back from an inactive client; the mailbox coalesces enough.
            "active" | "inactive" if ns == &ns::CSI => {}
            // XEP-0138 is not offered: a compressed stream can be a bomb (T14).
            "compress" if ns == &ns::COMPRESS => fx.out.element(
                &Element::new("failure", ns::COMPRESS)
                    .with_child(Element::new("unsupported-method", ns::COMPRESS)),
            ),
            "message" | "presence" | "iq" => {
                fx.fault(
                    StreamCondition::InvalidNamespace,
                    "stanzas are in jabber:client",
                );
            }
            _ => fx.fault(
                StreamCondition::UnsupportedStanzaType,
                "this element is not known here",
            ),
        }
    }

    fn enable(&mut self, enable: &Element, fx: &mut Effects<'_>) {
        if !matches!(self.management, Management::Off) {
            fx.out.element(&failed_element("unexpected-request", None));
            return;
        }
        let resume = wants_resume(enable).then(|| ResumeKey(entente_core::random_array()));
        fx.router.push(self.enable_request(resume));
    }

    /// Asks the owner for XEP-0198.
    pub(crate) fn enable_request(&mut self, resume: Option<ResumeKey>) -> ToRouter {
        self.management = Management::Asked {
            resume: resume.clone(),
            inbound: self.inbound,
            request: None,
        };
        ToRouter::Enable {
            session: self.id,
            inbound: self.inbound,
            resume,
        }
    }

    /// The owner said from where to count. Gives what to write; the rest of the flight must wait.
    pub(crate) fn enabled(&mut self, inbound: Position, outbound: Position) -> Option<Element> {
        let Management::Asked {
            resume, request, ..
        } = &mut self.management
        else {
            return None;
        };
        let (resume, request) = (resume.take(), *request);
        let max = self.rules.config.resume_time.get().as_secs();
        let resource = self.me.full.resource().unwrap_or_default();
        let element = enabled_element(resume.as_ref().map(|key| (key, resource)), max);
        let counters = Counters::new(inbound, outbound, self.rules.config.first_count);
        let mut managed = Managed::new(counters, resume);
        managed.asked = request.map(Asked::at);
        self.management = Management::On(Box::new(managed));
        // A ping that is under way settles nothing more than `<a/>` will.
        self.barrier = None;
        Some(element)
    }

    /// Whether XEP-0198 is in use.
    pub(crate) const fn is_managed(&self) -> bool {
        matches!(self.management, Management::On(_))
    }

    fn take_request(&mut self, fx: &mut Effects<'_>) {
        let managed = match &mut self.management {
            Management::On(managed) => managed,
            Management::Asked { request, .. } => {
                *request = Some(self.inbound);
                return;
            }
            Management::Off => {
                fx.fault(StreamCondition::PolicyViolation, "stream management is off");
                return;
            }
        };
        match &mut managed.asked {
            Some(asked) => {
                asked.last = self.inbound;
                // Each is answered within the patience, also while the log stands still.
                asked.put_off = false;
            }
            None => managed.asked = Some(Asked::at(self.inbound)),
        }
    }

    /// Whether an `<r/>` waits for its first answer.
    pub(crate) fn owes_answer(&self) -> bool {
        match &self.management {
            Management::On(managed) => managed.asked.is_some_and(|asked| !asked.put_off),
            Management::Asked { .. } | Management::Off => false,
        }
    }

    /// The log takes its time: the client hears how far it got by now.
    pub(crate) fn put_off(&mut self, fx: &mut Effects<'_>) {
        if let Some(waited) = self.ledger.waited() {
            self.rules.pace.hear(waited);
        }
        if let Management::On(managed) = &mut self.management
            && let Some(asked) = &mut managed.asked
        {
            asked.put_off = true;
            fx.out
                .element(&acknowledgement(managed.counters.h(self.handled)));
        }
    }

    fn take_acknowledgement(&mut self, element: &Element, fx: &mut Effects<'_>) {
        let h = element.attribute("h").and_then(|h| h.trim().parse().ok());
        let (Management::On(managed), Some(h)) = (&mut self.management, h) else {
            fx.fault(
                StreamCondition::PolicyViolation,
                "acknowledgement is not expected",
            );
            return;
        };
        managed.requested = false;
        let Ok(through) = managed.counters.acknowledge(h, self.written) else {
            self.too_high(fx);
            return;
        };
        self.ledger.acknowledged(through);
        fx.router.push(ToRouter::Acked {
            session: self.id,
            through,
        });
    }

    /// XEP-0198 section 4: a client that acknowledges what was never sent.
    fn too_high(&self, fx: &mut Effects<'_>) {
        let mut error = StreamCondition::UndefinedCondition
            .to_element(Some("acknowledged more stanzas than were sent"));
        error.push(Element::new("handled-count-too-high", SM));
        fx.stop(Cause::Misbehaved, Parting::End, Some(error));
    }

    /// The owner handled everything up to a position.
    pub(super) fn take_handled(&mut self, through: Position) {
        self.handled = self.handled.max(through);
        if let Some(waited) = self.ledger.handled(self.handled) {
            self.rules.pace.hear(waited);
        }
    }

    /// At the end of a round: answers what can be answered, and asks for what was written.
    pub(crate) fn settle(&mut self, fx: &mut Effects<'_>) {
        let Management::On(managed) = &mut self.management else {
            self.raise_barrier(fx);
            return;
        };
        if let Some(asked) = managed.asked
            && self.handled >= asked.first
        {
            managed.asked = (asked.last > self.handled).then(|| Asked::at(asked.last));
            fx.out
                .element(&acknowledgement(managed.counters.h(self.handled)));
        }
        if !managed.requested && managed.counters.waits(self.written) {
            managed.requested = true;
            fx.out.element(&Element::new("r", SM));
        }
    }

    /// Asks for a sign of life; any byte counts as the answer.
    pub(crate) fn probe(&mut self, fx: &mut Effects<'_>) {
        if matches!(self.management, Management::On(_)) {
            fx.out.element(&Element::new("r", SM));
        } else if self.barrier.is_none() {
            self.ping(fx);
        }
    }

    // === Without XEP-0198 ===

    /// Pings after a burst of deliveries: the answer covers all that came before it.
    fn raise_barrier(&mut self, fx: &mut Effects<'_>) {
        if self.barrier.is_none() && self.unsettled {
            self.ping(fx);
        }
    }

    fn ping(&mut self, fx: &mut Effects<'_>) {
        // An answer is matched by this id and the stream alone, so it must not be guessed (T23).
        let id = SmolStr::from(hex(&entente_core::random_array::<16>()));
        let ping = Iq {
            head: Head {
                from: Some(self.rules.domain.clone()),
                to: Some(self.me.full.clone()),
                id: Some(id.clone()),
                ..Head::default()
            },
            kind: IqKind::Get,
            payload: vec![Element::new("ping", ns::PING)],
        };
        self.barrier = Some(Box::new(Barrier { id, position: None }));
        self.queue(ping.into_element().to_bytes(), LocalKind::Barrier, fx);
    }

    /// The ping has its place.
    pub(super) fn place_barrier(&mut self, position: Position) {
        if let Some(barrier) = &mut self.barrier {
            barrier.position = Some(position);
        }
        self.unsettled = false;
    }

    /// Takes an answer to the ping; false if it answers nothing that we asked.
    pub(super) fn take_answer(&mut self, iq: &Iq, fx: &mut Effects<'_>) -> bool {
        let to_us = iq
            .head
            .to
            .as_ref()
            .is_none_or(|to| *to == self.rules.domain);
        let Some(barrier) = &self.barrier else {
            return false;
        };
        let (Some(position), true) = (barrier.position, to_us) else {
            return false;
        };
        if iq.head.id.as_ref() != Some(&barrier.id) {
            return false;
        }
        self.barrier = None;
        self.ledger.acknowledged(position);
        fx.router.push(ToRouter::Acked {
            session: self.id,
            through: position,
        });
        true
    }

    // === The backlog ===

    /// Whether the backlog comes when time is up.
    pub(crate) fn expects_start(&self) -> bool {
        self.readiness == Readiness::Expected
    }

    pub(super) fn has_started(&self) -> bool {
        self.readiness == Readiness::Started
    }

    /// The client is ready: the count, then the backlog.
    pub(crate) fn start(&mut self, fx: &mut Effects<'_>) {
        if self.readiness == Readiness::Started {
            return;
        }
        self.readiness = Readiness::Started;
        if let Some(waiting) = self.waiting.take() {
            let count = self.offline_count(waiting);
            self.local(&count, fx);
        }
        fx.router.push(ToRouter::Start { session: self.id });
    }

    /// A stanza that is no presence makes the backlog come, unless the client declined.
    pub(super) fn start_by_stanza(&mut self, fx: &mut Effects<'_>) {
        if self.readiness == Readiness::Expected {
            self.start(fx);
        }
    }

    pub(super) fn take_priority(&mut self, priority: i8, fx: &mut Effects<'_>) {
        if priority >= 0 {
            self.start(fx);
        } else if self.readiness == Readiness::Expected {
            self.readiness = Readiness::Declined;
        }
    }
}

fn acknowledgement(h: u32) -> Element {
    Element::new("a", SM).with_attribute("h", h.to_string())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| {
        char::from(if half < 10 {
            b'0' + half
        } else {
            b'a' + half - 10
        })
    };
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}
