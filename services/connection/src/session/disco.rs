//! Service discovery (XEP-0030): only what is true.

use entente_stanza::{Element, StanzaCondition, ns};

use super::Session;
use super::iq::{Reply, Target};
use super::keys::KEYS;

/// What the domain does, sorted.
const DOMAIN_FEATURES: &[&str] = &[
    "http://jabber.org/protocol/disco#info",
    "http://jabber.org/protocol/disco#items",
    "jabber:iq:version",
    "urn:xmpp:blocking",
    "urn:xmpp:carbons:2",
    "urn:xmpp:ping",
];

/// What an account does by itself: the server answers for it (RFC 6121 8.5.1).
const ACCOUNT_FEATURES: &[&str] = &[
    "http://jabber.org/protocol/disco#info",
    "http://jabber.org/protocol/disco#items",
    "urn:xmpp:ping",
    "urn:xmpp:sid:0",
];

impl Session {
    pub(super) fn information(what: &Element, target: Target) -> Reply {
        // There are no nodes; one that is asked for is not there (XEP-0030 section 3.2).
        if what.attribute("node").is_some() {
            return StanzaCondition::ItemNotFound.into();
        }
        let (category, kind, features) = match target {
            Target::Domain => ("server", "im", DOMAIN_FEATURES),
            Target::Account | Target::Device | Target::Other => {
                ("account", "registered", ACCOUNT_FEATURES)
            }
        };
        let identity = Element::new("identity", ns::DISCO_INFO)
            .with_attribute("category", category)
            .with_attribute("type", kind)
            .with_attribute("name", "Entente");
        let mut query = Element::new("query", ns::DISCO_INFO).with_child(identity);
        let own = (target == Target::Domain).then(|| KEYS.as_str().to_owned());
        let features = features.iter().map(|feature| (*feature).to_owned());
        for feature in features.chain(own) {
            query.push(Element::new("feature", ns::DISCO_INFO).with_attribute("var", feature));
        }
        Reply::Result(Some(query))
    }
}
