//! Stream features: what a client may do next (RFC 6120 4.3.2).

use entente_core::ByteSize;
use entente_stanza::{Element, ns};

use super::sasl::Mechanism;
use crate::session::Rules;

/// Before login: the mechanisms of both SASL profiles.
pub(super) fn before_login(rules: &Rules) -> Element {
    let mut mechanisms = Element::new("mechanisms", ns::SASL);
    let mut authentication = Element::new("authentication", ns::SASL2);
    for mechanism in Mechanism::PASSWORDS {
        mechanisms.push(Element::new("mechanism", ns::SASL).with_text(mechanism.as_str()));
        authentication.push(Element::new("mechanism", ns::SASL2).with_text(mechanism.as_str()));
    }
    authentication.push(inline());
    Element::new("features", ns::STREAMS)
        .with_child(mechanisms)
        .with_child(authentication)
        .with_child(limits(rules, rules.config.limits.stanza_before_auth))
}

/// What can be done in one go with a SASL2 login (XEP-0388 section 2.1).
fn inline() -> Element {
    let feature = |var| Element::new("feature", ns::BIND2).with_attribute("var", var);
    let bind = Element::new("bind", ns::BIND2).with_child(
        Element::new("inline", ns::BIND2)
            .with_child(feature("urn:xmpp:carbons:2"))
            .with_child(feature("urn:xmpp:csi:0"))
            .with_child(feature("urn:xmpp:sm:3")),
    );
    let fast = Element::new("fast", ns::FAST).with_child(
        Element::new("mechanism", ns::FAST).with_text(Mechanism::HtSha256None.as_str()),
    );
    Element::new("inline", ns::SASL2)
        .with_child(bind)
        .with_child(fast)
        .with_child(Element::new("sm", ns::SM))
}

/// After login: a resource or an earlier session.
pub(super) fn after_login(rules: &Rules) -> Element {
    let session = Element::new("session", ns::SESSION)
        // RFC 3921 3 is history; clients that look for it are told that they need not ask.
        .with_child(Element::new("optional", ns::SESSION));
    Element::new("features", ns::STREAMS)
        .with_child(Element::new("bind", ns::BIND))
        .with_child(session)
        .with_child(Element::new("sm", ns::SM))
        .with_child(Element::new("csi", ns::CSI))
        .with_child(limits(rules, rules.config.limits.stanza_after_auth))
}

/// After a SASL2 login that bound or resumed in one go. What is on already is not offered again: a
/// common client would take the offer and lose what it has.
pub(super) fn after_bind(rules: &Rules, managed: bool) -> Element {
    let mut features = Element::new("features", ns::STREAMS);
    if !managed {
        features.push(Element::new("sm", ns::SM));
    }
    features
        .with_child(Element::new("csi", ns::CSI))
        .with_child(limits(rules, rules.config.limits.stanza_after_auth))
}

/// XEP-0478.
fn limits(rules: &Rules, stanza: ByteSize) -> Element {
    let number =
        |name, value: u64| Element::new(name, ns::STREAM_LIMITS).with_text(&value.to_string());
    let idle = rules.config.deadlines.idle.get().as_secs();
    Element::new("limits", ns::STREAM_LIMITS)
        .with_child(number(
            "max-bytes",
            u64::try_from(stanza.get()).unwrap_or(u64::MAX),
        ))
        .with_child(number("idle-seconds", idle))
}
