//! XML namespaces: a cheap owned name and the ones that this program knows.

use std::fmt;

use smol_str::SmolStr;

/// A namespace name. Cloning never copies text; known ones need no memory.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ns(SmolStr);

impl Ns {
    /// No namespace (`xmlns=''`, or an attribute without a prefix).
    pub const NONE: Self = Self::known("");

    /// Wraps a namespace that is written in the program.
    pub const fn known(uri: &'static str) -> Self {
        Self(SmolStr::new_static(uri))
    }

    /// Takes a namespace as it came; known ones are replaced by the program's constant.
    pub fn new(uri: &str) -> Self {
        match KNOWN.iter().find(|known| known.as_str() == uri) {
            Some(known) => known.clone(),
            None => Self(SmolStr::new(uri)),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no namespace.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<&str> for Ns {
    fn from(uri: &str) -> Self {
        Self::new(uri)
    }
}

impl PartialEq<str> for Ns {
    fn eq(&self, uri: &str) -> bool {
        self.as_str() == uri
    }
}

impl PartialEq<&str> for Ns {
    fn eq(&self, uri: &&str) -> bool {
        self.as_str() == *uri
    }
}

macro_rules! known {
    ($($(#[$doc:meta])* $name:ident = $uri:literal;)*) => {
        $($(#[$doc])* pub const $name: Ns = Ns::known($uri);)*
        static KNOWN: &[Ns] = &[$($name),*];
    };
}

known! {
    /// Content of client streams (RFC 6120 4.8.2).
    CLIENT = "jabber:client";
    /// Our own elements.
    ENTENTE = "urn:entente:0";
    /// Receipts between users (XEP-0184).
    RECEIPTS = "urn:xmpp:receipts";
    /// Delayed delivery (XEP-0203).
    DELAY = "urn:xmpp:delay";
    /// Stanza ids (XEP-0359).
    STANZA_ID = "urn:xmpp:sid:0";
    /// Stream management (XEP-0198).
    SM = "urn:xmpp:sm:3";
    /// Chat states (XEP-0085).
    CHAT_STATES = "http://jabber.org/protocol/chatstates";
    /// Hints (XEP-0334).
    HINTS = "urn:xmpp:hints";
    /// Ping (XEP-0199).
    PING = "urn:xmpp:ping";
    /// Stanza error conditions (RFC 6120 8.3).
    STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas";
    /// Streams (RFC 6120 4.8.1).
    STREAMS = "http://etherx.jabber.org/streams";
    /// Stream error conditions (RFC 6120 4.9.2).
    STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams";
    /// Opening and closing over WebSocket (RFC 7395 3.3).
    FRAMING = "urn:ietf:params:xml:ns:xmpp-framing";
    /// SASL (RFC 6120 6.4).
    SASL = "urn:ietf:params:xml:ns:xmpp-sasl";
    /// Extensible SASL profile (XEP-0388).
    SASL2 = "urn:xmpp:sasl:2";
    /// Fast authentication by token (XEP-0484).
    FAST = "urn:xmpp:fast:0";
    /// Resource binding (RFC 6120 7).
    BIND = "urn:ietf:params:xml:ns:xmpp-bind";
    /// Bind 2 (XEP-0386).
    BIND2 = "urn:xmpp:bind:0";
    /// Legacy session (RFC 3921 3).
    SESSION = "urn:ietf:params:xml:ns:xmpp-session";
    /// STARTTLS (RFC 6120 5).
    TLS = "urn:ietf:params:xml:ns:xmpp-tls";
    /// Stream limits (XEP-0478).
    STREAM_LIMITS = "urn:xmpp:stream-limits:0";
    /// Stream compression (XEP-0138); only ever refused.
    COMPRESS = "http://jabber.org/protocol/compress";
    /// Client state indication (XEP-0352).
    CSI = "urn:xmpp:csi:0";
    /// Service discovery, information (XEP-0030).
    DISCO_INFO = "http://jabber.org/protocol/disco#info";
    /// Service discovery, items (XEP-0030).
    DISCO_ITEMS = "http://jabber.org/protocol/disco#items";
    /// Block lists (XEP-0191).
    BLOCKING = "urn:xmpp:blocking";
    /// Rosters (RFC 6121 2); answered, not kept.
    ROSTER = "jabber:iq:roster";
    /// Software version (XEP-0092).
    VERSION = "jabber:iq:version";
    /// Private storage (XEP-0049).
    PRIVATE = "jabber:iq:private";
    /// Carbons (XEP-0280).
    CARBONS = "urn:xmpp:carbons:2";
    /// Forwarded stanzas (XEP-0297); opaque here.
    FORWARD = "urn:xmpp:forward:0";
    /// Push (XEP-0357).
    PUSH = "urn:xmpp:push:0";
    /// External component streams (XEP-0114).
    COMPONENT = "jabber:component:accept";
    /// Names beginning with `xml:` (XML Namespaces 3).
    XML = "http://www.w3.org/XML/1998/namespace";
}

/// What the prefix `xmlns` means (XML Namespaces 3); no element or attribute is in it.
pub(crate) const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_namespaces_are_equal_to_their_text() {
        for known in KNOWN {
            assert_eq!(&Ns::new(known.as_str()), known);
        }
        assert_eq!(Ns::new("urn:example:a"), "urn:example:a");
        assert!(Ns::new("").is_none());
    }
}
