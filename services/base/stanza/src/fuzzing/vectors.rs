//! 48 documents on which XML parsers differ, with what this crate and the oracle do with each.

use crate::error::StreamFault;
use crate::inbound::Received;
use crate::limits::Limits;

use super::{HEADER, events, oracle};

/// What happens to a vector here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Here {
    /// So many first-level elements come out, and no fault.
    Reads(usize),
    /// The stream ends with this fault.
    Refuses(StreamFault),
}

use Here::{Reads, Refuses};

/// Name, bytes after an honest header, what happens here, whether the oracle refuses.
type Vector = (&'static str, Vec<u8>, Here, bool);

fn text(name: &'static str, content: &str, here: Here, refused: bool) -> Vector {
    (name, content.as_bytes().to_vec(), here, refused)
}

/// What quick-xml alone would let through and the oracle refuses.
fn lenient() -> Vec<Vector> {
    let wrong = Refuses(StreamFault::NotWellFormed);
    let character = Refuses(StreamFault::BadCharacter);
    let reference = Refuses(StreamFault::BadReference);
    let name = Refuses(StreamFault::BadName);
    vec![
        text("second root", "</stream:stream><a/>", wrong, true),
        text(
            "declaration inside",
            "<?xml version='1.0'?>",
            Refuses(StreamFault::ProcessingInstruction),
            true,
        ),
        text(
            "document type inside",
            "<!DOCTYPE a>",
            Refuses(StreamFault::Doctype),
            true,
        ),
        text(
            "entity bomb",
            "<a><!DOCTYPE a [<!ENTITY b '&c;'>]></a>",
            Refuses(StreamFault::Doctype),
            true,
        ),
        text(
            "comment",
            "<a><!-- b --></a>",
            Refuses(StreamFault::Comment),
            true,
        ),
        text(
            "instruction",
            "<a><?b c?></a>",
            Refuses(StreamFault::ProcessingInstruction),
            true,
        ),
        text("missing end tag", "<a><b></b>", Reads(0), false),
        text("wrong end tag", "<a></b>", wrong, true),
        text("end tag crosses", "<a><b></a></b>", wrong, true),
        text("reference to NUL", "<a>&#0;</a>", reference, true),
        text("reference to U+FFFE", "<a>&#xFFFE;</a>", reference, true),
        text("reference to escape", "<a>&#x1b;</a>", reference, true),
        text("raw control", "<a>\u{1}</a>", character, true),
        text("raw NUL", "<a>\u{0}</a>", character, true),
        text("name starts with a digit", "<1a/>", wrong, true),
        text("bad character in a name", "<a$b/>", name, true),
        text("empty name", "< />", wrong, true),
    ]
}

/// The same for attributes, prefixes and text.
fn lenient_values() -> Vec<Vector> {
    let wrong = Refuses(StreamFault::NotWellFormed);
    let prefix = Refuses(StreamFault::BadPrefix);
    vec![
        text("less-than in a value", "<a b='<'/>", wrong, true),
        text(
            "unknown entity",
            "<a>&nbsp;</a>",
            Refuses(StreamFault::Entity),
            true,
        ),
        text(
            "one attribute, two prefixes",
            "<a xmlns:q='urn:example:p' p:b='' q:b=''/>",
            Refuses(StreamFault::DuplicateAttribute),
            true,
        ),
        text("unbound prefix of an element", "<q:a/>", prefix, true),
        text(
            "unbound prefix of an attribute",
            "<a q:b=''/>",
            prefix,
            true,
        ),
        text(
            "no space between attributes",
            "<a b='1'c='2'/>",
            wrong,
            true,
        ),
        text("end of CDATA in text", "<a>]]></a>", wrong, true),
        text(
            "two colons",
            "<p:a:b/>",
            Refuses(StreamFault::BadName),
            true,
        ),
        text(
            "prefix unbound again",
            "<a xmlns:q=''/>",
            Refuses(StreamFault::ReservedNamespace),
            true,
        ),
        text(
            "attribute of a mebibyte",
            &format!("<a b='{}'/>", "x".repeat(1 << 20)),
            Refuses(StreamFault::TooLarge),
            true,
        ),
        text(
            "text between stanzas",
            "<a/>x<b/>",
            Refuses(StreamFault::StrayText),
            false,
        ),
    ]
}

/// What everybody refuses.
fn refused() -> Vec<Vector> {
    let wrong = Refuses(StreamFault::NotWellFormed);
    let bytes = |name, content: &[u8]| {
        let whole = [b"<a>", content, b"</a>"].concat();
        (name, whole, Refuses(StreamFault::BadUtf8), true)
    };
    vec![
        bytes("overlong slash", b"\xC0\xAF"),
        bytes("overlong in three bytes", b"\xE0\x80\xAF"),
        bytes("surrogate", b"\xED\xA0\x80"),
        bytes("beyond Unicode", b"\xF4\x90\x80\x80"),
        bytes("cut short", b"\xE2\x82"),
        bytes("lone continuation", b"\x80"),
        text(
            "attribute twice",
            "<a b='1' b='2'/>",
            Refuses(StreamFault::DuplicateAttribute),
            true,
        ),
        text("bare ampersand", "<a>b & c</a>", wrong, true),
        text("value without quotes", "<a b=c/>", wrong, true),
        text(
            "prefix xml bound elsewhere",
            "<a xmlns:xml='urn:x'/>",
            Refuses(StreamFault::ReservedNamespace),
            true,
        ),
    ]
}

/// What is well-formed, but not for us, or not for everybody.
fn legal() -> Vec<Vector> {
    let many: String = (0..2000).map(|at| format!(" a{at}=''")).collect();
    let bound: String = (0..129)
        .map(|at| format!(" xmlns:q{at}='urn:{at}'"))
        .collect();
    vec![
        text("space in an end tag", "<a></a >", Reads(1), false),
        text("CDATA", "<a><![CDATA[<b>]]></a>", Reads(1), false),
        text(
            "line feed in a namespace",
            "<a xmlns='urn:&#10;a'/>",
            Refuses(StreamFault::ReservedNamespace),
            false,
        ),
        text(
            "byte-order mark between stanzas",
            "<a/>\u{FEFF}<b/>",
            Refuses(StreamFault::StrayText),
            false,
        ),
        text(
            "5,000 levels",
            &"<a>".repeat(5000),
            Refuses(StreamFault::TooDeep),
            false,
        ),
        text(
            "70,000 levels",
            &"<a>".repeat(70_000),
            Refuses(StreamFault::TooDeep),
            false,
        ),
        text(
            "2,000 attributes",
            &format!("<a{many}/>"),
            Refuses(StreamFault::TooComplex),
            false,
        ),
        text(
            "129 declarations",
            &format!("<a{bound}/>"),
            Refuses(StreamFault::TooComplex),
            false,
        ),
        text(
            "white space between stanzas",
            "<a/> \r\n\t<b/>",
            Reads(2),
            false,
        ),
    ]
}

/// Documents whose very beginning is the point.
fn beginnings() -> Vec<Vector> {
    let with = |start: &str| [start.as_bytes(), HEADER].concat();
    vec![
        (
            "text before the root",
            with("x"),
            Refuses(StreamFault::StrayText),
            true,
        ),
        (
            "document type before the root",
            with("<!DOCTYPE a>"),
            Refuses(StreamFault::Doctype),
            true,
        ),
        (
            "version 1.1",
            with("<?xml version='1.1'?>"),
            Refuses(StreamFault::Declaration),
            true,
        ),
        (
            "standalone",
            with("<?xml version='1.0' standalone='yes'?>"),
            Refuses(StreamFault::Declaration),
            true,
        ),
        (
            "Latin-1",
            with("<?xml version='1.0' encoding='iso-8859-1'?>"),
            Refuses(StreamFault::DeclaredEncoding),
            true,
        ),
        (
            "honest declaration",
            with("<?xml version='1.0' encoding='UTF-8'?>"),
            Reads(0),
            false,
        ),
    ]
}

fn here(input: &[u8]) -> Here {
    let (seen, fault) = events(input, 4096, Limits::AFTER_AUTH);
    let elements = seen
        .iter()
        .filter(|event| matches!(event, Received::Element(_)));
    fault.map_or_else(|| Reads(elements.count()), Refuses)
}

/// T2, T6, T7: each vector has its outcome here and at the oracle; where they differ, we refuse.
#[test]
fn every_vector_has_its_outcome() {
    let whole = beginnings();
    let inside = [lenient(), lenient_values(), refused(), legal()].concat();
    assert!(whole.len() + inside.len() >= 48);
    let inside = inside
        .into_iter()
        .map(|(name, content, here, refused)| (name, [HEADER, &content].concat(), here, refused));
    for (name, input, expected, refused) in whole.into_iter().chain(inside) {
        assert_eq!(here(&input), expected, "{name}, here");
        assert_eq!(oracle::refuses(&input), refused, "{name}, at the oracle");
        assert!(
            !refused || matches!(expected, Refuses(_)),
            "{name}: never more than the oracle"
        );
    }
}
