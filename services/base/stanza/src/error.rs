//! Why a stream is ended: each fault of the input, and the RFC 6120 condition that it maps to.
//!
//! **Invariants**
//! - No text in here carries any byte of the input.
//! - Every fault ends the stream: RFC 6120 4.9.1.1 knows no recovery, and recovery is how elements
//!   get injected.

use entente_core::FaultKind;

use crate::condition::StreamCondition;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident => $condition:ident, $text:literal;)*) => {
        /// What is wrong with the bytes of a stream.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum StreamFault {
            $($(#[$doc])* #[error($text)] $name,)*
        }

        impl StreamFault {
            /// Every fault, for tables.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stream error condition with which the stream is closed.
            pub const fn condition(self) -> StreamCondition {
                match self {
                    $(Self::$name => StreamCondition::$condition,)*
                }
            }

            /// A fixed text for the peer; it holds nothing of what the peer sent.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

faults! {
    /// A prefixed name whose prefix is bound to nothing here.
    BadPrefix => BadNamespacePrefix, "namespace prefix is not declared";
    /// A name that XML does not allow, or two colons in one.
    BadName => NotWellFormed, "name is not allowed";
    /// A reference to a character that XML does not allow, or a broken one.
    BadReference => NotWellFormed, "character reference is not allowed";
    /// Bytes that are not UTF-8.
    BadUtf8 => UnsupportedEncoding, "bytes are not UTF-8";
    /// A control character, U+FFFE or U+FFFF.
    BadCharacter => NotWellFormed, "character is not allowed";
    /// A comment.
    Comment => RestrictedXml, "comments are not allowed";
    /// An XML declaration that says another version or encoding, or anything more.
    Declaration => NotWellFormed, "XML declaration is not understood";
    /// The declared encoding is not UTF-8.
    DeclaredEncoding => UnsupportedEncoding, "encoding must be UTF-8";
    /// A document type declaration.
    Doctype => RestrictedXml, "document types are not allowed";
    /// One attribute given twice, by whatever prefixes.
    DuplicateAttribute => NotWellFormed, "attribute is given twice";
    /// A reference to anything but the five predefined entities.
    Entity => RestrictedXml, "entities are not allowed";
    /// A stanza or a header without the namespace that it must have.
    MissingNamespace => InvalidNamespace, "namespace is missing";
    /// Markup that is not XML.
    NotWellFormed => NotWellFormed, "not well-formed XML";
    /// A processing instruction, or a declaration that is not the first thing.
    ProcessingInstruction => RestrictedXml, "processing instructions are not allowed";
    /// A namespace declaration that XML Namespaces forbids.
    ReservedNamespace => NotWellFormed, "namespace declaration is not allowed";
    /// The stream header has another prefix than `stream`.
    StreamPrefix => BadNamespacePrefix, "stream prefix must be stream";
    /// The first element is not a stream header, or a header is not where it belongs.
    StreamHeader => BadFormat, "stream header expected";
    /// An address in the stream header that is no address.
    StreamAddress => ImproperAddressing, "stream address is not valid";
    /// The stream header's namespaces are not those of this port.
    StreamNamespace => InvalidNamespace, "stream namespace is not served here";
    /// Text where only elements may stand.
    StrayText => BadFormat, "text outside of an element";
    /// More elements, attributes or declarations than the limits allow.
    TooComplex => PolicyViolation, "element has too many parts";
    /// Nested deeper than the limits allow.
    TooDeep => PolicyViolation, "elements are nested too deeply";
    /// Longer than the limits allow.
    TooLarge => PolicyViolation, "stanza is too large";
    /// A message of a WebSocket that is not exactly one element.
    WebSocketFrame => BadFormat, "one message must be one element";
    /// A protocol version before 1.0, or none.
    Version => UnsupportedVersion, "protocol version is not supported";
}

impl StreamFault {
    /// Who is to blame: always the peer.
    pub const fn kind(self) -> FaultKind {
        FaultKind::PeerMisbehaved
    }
}
