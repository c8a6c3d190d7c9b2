use super::*;
use crate::limits::{DECLARATIONS, STANZA_BYTES_AFTER_AUTH};

const HEAD: &str = "<stream:stream to='example.org' version='1.0' xml:lang='en' xmlns='jabber:client' \
                    xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='urn:p'>";

fn opened() -> Reader {
    let mut reader = Reader::new(ns::CLIENT, Framing::Stream, Limits::AFTER_AUTH);
    reader.open(HEAD.as_bytes()).unwrap();
    reader
}

fn read(stanza: &str) -> Result<Element, StreamFault> {
    opened().element(stanza.as_bytes())
}

#[test]
fn the_header_stays_in_scope_and_stanzas_do_not() {
    let mut reader = opened();
    let first = reader.element(b"<a xmlns:q='urn:q'><p:b/><q:c xmlns='urn:d'><e/></q:c></a>");
    let first = first.unwrap();
    assert!(first.is("a", &ns::CLIENT));
    let spaces: Vec<_> = first.elements().map(|child| child.ns().clone()).collect();
    assert_eq!(spaces, ["urn:p", "urn:q"]);
    let inner = first.elements().nth(1).unwrap();
    assert!(inner.child("e", &Ns::new("urn:d")).is_some());
    assert_eq!(reader.element(b"<q:a/>"), Err(StreamFault::BadPrefix));
    assert!(
        reader
            .element(b"<p:a/>")
            .unwrap()
            .is("a", &Ns::new("urn:p"))
    );
}

#[test]
fn headers_are_read() {
    let mut reader = Reader::new(ns::CLIENT, Framing::Stream, Limits::BEFORE_AUTH);
    let header = reader.open(HEAD.as_bytes()).unwrap();
    assert_eq!(header.to.unwrap().as_str(), "example.org");
    assert_eq!(header.version, Some((1, 0)));
    assert_eq!(header.lang.as_deref(), Some("en"));
    assert_eq!((header.from, header.id), (None, None));
    let cases = [
        (HEAD.replace("version='1.0'", ""), StreamFault::Version),
        (HEAD.replace("'1.0'", "'0.9'"), StreamFault::Version),
        (HEAD.replace("'1.0'", "'+1.0'"), StreamFault::Version),
        (
            HEAD.replace("jabber:client", "jabber:server"),
            StreamFault::StreamNamespace,
        ),
        (
            HEAD.replace("xmlns='jabber:client'", ""),
            StreamFault::StreamNamespace,
        ),
        (
            HEAD.replace("etherx", "ether"),
            StreamFault::StreamNamespace,
        ),
        (
            HEAD.replace("stream:stream", "stream:flow"),
            StreamFault::StreamHeader,
        ),
        (HEAD.replace("example.org", "@"), StreamFault::StreamAddress),
        (
            HEAD.replace("'urn:p'", "''"),
            StreamFault::ReservedNamespace,
        ),
    ];
    for (bad, fault) in cases {
        assert_eq!(reader.open(bad.as_bytes()), Err(fault), "{bad}");
    }
    let other = HEAD
        .replace("stream:stream", "flow:stream")
        .replace("xmlns:stream", "xmlns:flow");
    assert_eq!(
        reader.open(other.as_bytes()),
        Err(StreamFault::StreamPrefix)
    );
}

/// T2: CDATA is read as text, and so it is written.
#[test]
fn cdata_is_text() {
    let element = read("<a>x<![CDATA[<b>&amp;]]]]><![CDATA[>]]>y</a>").unwrap();
    assert_eq!(element.text(), "x<b>&amp;]]>y");
    assert_eq!(element.children().len(), 1);
    assert_eq!(element.to_bytes(), "<a>x&lt;b&gt;&amp;amp;]]&gt;y</a>");
}

#[test]
fn values_are_normalised() {
    let element =
        read("<a b=' \t\r\n&#9;&#xA;&lt;' c=\"&apos;'&quot;\">\r\n\r&#13;&gt;&#x1F600;</a>");
    let element = element.unwrap();
    assert_eq!(element.attribute("b"), Some("   \t\n<"));
    assert_eq!(element.attribute("c"), Some("''\""));
    assert_eq!(element.text(), "\n\n\r>\u{1F600}");
    assert_eq!(
        element.to_bytes(),
        "<a b='   &#9;&#10;&lt;' c='&apos;&apos;\"'>\n\n&#13;&gt;\u{1F600}</a>"
    );
}

/// T6: names, prefixes and duplicates that quick-xml lets through.
#[test]
fn what_the_tag_finder_lets_through_is_refused() {
    let cases = [
        (
            "<a xmlns:q='urn:p' p:b='' q:b=''/>",
            StreamFault::DuplicateAttribute,
        ),
        ("<a b='' b=''/>", StreamFault::DuplicateAttribute),
        (
            "<a xmlns='urn:a' xmlns='urn:a'/>",
            StreamFault::DuplicateAttribute,
        ),
        (
            "<a xmlns:b='urn:a' xmlns:b='urn:c'/>",
            StreamFault::DuplicateAttribute,
        ),
        ("<q:a/>", StreamFault::BadPrefix),
        ("<a q:b=''/>", StreamFault::BadPrefix),
        ("<a><b xmlns:q='urn:q'/><q:c/></a>", StreamFault::BadPrefix),
        ("<a>]]></a>", StreamFault::NotWellFormed),
        ("<a>x ]]>y</a>", StreamFault::NotWellFormed),
        ("<a$b/>", StreamFault::BadName),
        ("<a b$=''/>", StreamFault::BadName),
        ("<a 1=''/>", StreamFault::BadName),
        ("<p:a:b/>", StreamFault::BadName),
        ("<a p:b:c=''/>", StreamFault::BadName),
        ("<a xmlns:1='urn:a'/>", StreamFault::BadName),
        ("<a xmlns:='urn:a'/>", StreamFault::BadName),
        ("<a:/>", StreamFault::BadName),
        ("<a/b='c'/>", StreamFault::BadName),
        ("<a b='x'/c='y'/>", StreamFault::BadName),
        ("<\u{B7}a/>", StreamFault::BadName),
        ("<a xmlns:q=''/>", StreamFault::ReservedNamespace),
        ("<a xmlns:xml='urn:a'/>", StreamFault::ReservedNamespace),
        ("<a xmlns:xmlns='urn:a'/>", StreamFault::ReservedNamespace),
        (
            "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
            StreamFault::ReservedNamespace,
        ),
        (
            "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
            StreamFault::ReservedNamespace,
        ),
        (
            "<a xmlns:q='http://www.w3.org/XML/1998/namespace'/>",
            StreamFault::ReservedNamespace,
        ),
        ("<a xmlns='urn:&#10;a'/>", StreamFault::ReservedNamespace),
        ("<xml:a/>", StreamFault::ReservedNamespace),
        ("<xmlns:a/>", StreamFault::ReservedNamespace),
        ("<a></b>", StreamFault::NotWellFormed),
        ("<a b/>", StreamFault::NotWellFormed),
        ("<a b=c/>", StreamFault::NotWellFormed),
        ("<a b=/>", StreamFault::NotWellFormed),
        ("<a 'b'/>", StreamFault::NotWellFormed),
    ];
    for (bad, fault) in cases {
        assert_eq!(read(bad), Err(fault), "{bad}");
    }
    for good in [
        "<a p:b='' b=''/>",
        "<a xml:lang='en' lang='de'/>",
        "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns=''><b xmlns='urn:b'/></a>",
        "<a>]] > ]&gt;</a>",
        "<日本 é=''/>",
    ] {
        assert!(read(good).is_ok(), "{good}");
    }
}

/// T7: forbidden characters and references to them.
#[test]
fn forbidden_characters_are_refused() {
    for bad in [
        "&#0;",
        "&#x1b;",
        "&#xFFFE;",
        "&#xD800;",
        "&#x110000;",
        "&#;",
        "&#x;",
        "&#+1;",
        "&#xfffffffff;",
        "&#X41;",
    ] {
        for place in [format!("<a>{bad}</a>"), format!("<a b='{bad}'/>")] {
            assert_eq!(read(&place), Err(StreamFault::BadReference), "{place}");
        }
    }
    for bad in ["\u{0}", "\u{1}", "\u{B}", "\u{1F}", "\u{FFFE}", "\u{FFFF}"] {
        assert_eq!(
            read(&format!("<a>{bad}</a>")),
            Err(StreamFault::BadCharacter)
        );
    }
    for bad in ["&nbsp;", "&a;", "&amp ;", "&;"] {
        assert_eq!(read(&format!("<a>{bad}</a>")), Err(StreamFault::Entity));
        assert_eq!(read(&format!("<a b='{bad}'/>")), Err(StreamFault::Entity));
    }
    assert_eq!(read("<a>& </a>"), Err(StreamFault::NotWellFormed));
    assert_eq!(read("<a b='&'/>"), Err(StreamFault::NotWellFormed));
    assert_eq!(
        read("<a>&#9;&#x10FFFF;\u{7F}\u{FEFF}</a>").unwrap().text(),
        "\t\u{10FFFF}\u{7F}\u{FEFF}"
    );
}

#[test]
fn bytes_must_be_utf8() {
    for bad in [
        &b"<a>\xC0\xAF</a>"[..],
        b"<a>\xED\xA0\x80</a>",
        b"<a>\xF4\x90\x80\x80</a>",
        b"<a>\xE9</a>",
    ] {
        assert_eq!(opened().element(bad), Err(StreamFault::BadUtf8));
    }
}

/// T9: declarations are limited in number and length, and so is what they add to the written form.
#[test]
fn declarations_are_limited() {
    let many = |count: usize| {
        let all: String = (0..count)
            .map(|at| format!(" xmlns:q{at}='urn:{at}'"))
            .collect();
        read(&format!("<a{all}/>"))
    };
    assert!(many(DECLARATIONS).is_ok());
    assert_eq!(many(DECLARATIONS + 1), Err(StreamFault::TooComplex));
    let long = |bytes: usize| read(&format!("<a xmlns='{}'/>", "u".repeat(bytes)));
    assert!(long(NAMESPACE_BYTES).is_ok());
    assert_eq!(long(NAMESPACE_BYTES + 1), Err(StreamFault::TooLarge));
    let attributes: String = (0..60).map(|at| format!(" q:a{at}=''")).collect();
    let swollen = format!(
        "<a xmlns:q='{}'>{}</a>",
        "u".repeat(NAMESPACE_BYTES),
        format!("<b{attributes}/>").repeat(40)
    );
    assert!(swollen.len() < STANZA_BYTES_AFTER_AUTH / 8);
    assert_eq!(read(&swollen), Err(StreamFault::TooComplex));
}

#[test]
fn repeated_unknown_namespaces_are_stored_once() {
    let mut reader = opened();
    for at in 0..100 {
        let stanza =
            format!("<a xmlns='urn:example:of:a:long:namespace:{at}'><b xmlns='urn:x'/></a>");
        assert!(reader.element(stanza.as_bytes()).is_ok());
        assert!(reader.remembered.len() <= REMEMBERED);
    }
}

#[test]
fn a_websocket_element_declares_its_own_namespace() {
    let mut reader = Reader::new(ns::CLIENT, Framing::WebSocket, Limits::BEFORE_AUTH);
    let open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0'/>";
    let header = reader.open(open.as_bytes()).unwrap();
    assert_eq!(header.to.unwrap().as_str(), "example.org");
    assert_eq!(
        reader.open(b"<open version='1.0'/>"),
        Err(StreamFault::StreamNamespace)
    );
    let message = reader.element(b"<message xmlns='jabber:client'><body/></message>");
    assert!(message.unwrap().child("body", &ns::CLIENT).is_some());
    assert_eq!(
        reader.element(b"<message/>"),
        Err(StreamFault::MissingNamespace)
    );
    assert_eq!(
        reader.element(b"<stream:error/>"),
        Err(StreamFault::BadPrefix)
    );
}
