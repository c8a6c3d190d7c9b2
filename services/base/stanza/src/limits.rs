//! What one stream may make us hold, in numbers.

/// Bytes of one stanza before authentication. RFC 6120 13.12 forbids less; nobody unknown gets more.
pub const STANZA_BYTES_BEFORE_AUTH: usize = 10_000;
/// Bytes of one stanza after authentication: what large servers allow to clients.
pub const STANZA_BYTES_AFTER_AUTH: usize = 256 * 1024;
/// Nesting of one stanza, itself counted. Real extensions stay below 12.
pub const DEPTH: usize = 32;
/// Elements of one stanza, itself counted. A full page of service discovery has some hundreds.
pub const ELEMENTS: usize = 1024;
/// Attributes of one element, namespace declarations counted. Real ones stay below 12.
pub const ATTRIBUTES: usize = 64;
/// Namespace declarations of one element. A stream header has at most 5.
pub const DECLARATIONS: usize = 32;
/// Bytes of one namespace name. The canonical form repeats it where a prefix stood, so a long name
/// used a thousand times would grow a small stanza to megabytes. Real ones stay below 80.
pub const NAMESPACE_BYTES: usize = 256;
/// Whitespace bytes in a row between stanzas. A keep-alive is one; more than this is a flood.
pub const WHITESPACE_BYTES: usize = 4096;
/// Input memory that a connection keeps when it is idle; more is given back after a large stanza.
pub const IDLE_BUFFER_BYTES: usize = 8 * 1024;

/// The limits of one stream at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one stanza, of the stream header and of the XML declaration.
    pub stanza_bytes: usize,
    /// Nesting of one stanza, itself counted.
    pub depth: usize,
    /// Elements of one stanza, itself counted.
    pub elements: usize,
    /// Attributes of one element, namespace declarations counted.
    pub attributes: usize,
    /// Namespace declarations of one element.
    pub declarations: usize,
}

impl Limits {
    /// For a peer who has not shown who it is.
    pub const BEFORE_AUTH: Self = Self::with_stanza_bytes(STANZA_BYTES_BEFORE_AUTH);
    /// For an authenticated peer.
    pub const AFTER_AUTH: Self = Self::with_stanza_bytes(STANZA_BYTES_AFTER_AUTH);

    /// The usual limits around a stanza size of one's own.
    pub const fn with_stanza_bytes(stanza_bytes: usize) -> Self {
        Self {
            stanza_bytes,
            depth: DEPTH,
            elements: ELEMENTS,
            attributes: ATTRIBUTES,
            declarations: DECLARATIONS,
        }
    }
}
